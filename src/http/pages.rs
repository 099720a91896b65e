//! The page at `/`, from files inside the binary. Nothing of a caller's data is ever put into it.

use axum::Router;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::RustEmbed;

use super::error::ApiError;
use super::state::AppState;

#[derive(RustEmbed)]
#[folder = "static/"]
struct Static;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(async || serve("index.html")))
        .route(
            "/static/{*path}",
            get(async |Path(path): Path<String>| serve(&path)),
        )
}

fn serve(path: &str) -> Result<Response, ApiError> {
    let file = Static::get(path).ok_or(ApiError::NoRoute)?;
    let content_type = match path.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")];
    Ok((headers, file.data).into_response())
}
