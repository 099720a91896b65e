//! Athos as a stub that costs next to nothing: every call is scored, after `DELAY_MS`, and no list has any. For what the
//! simulator is too slow for. It takes forwarded messages, too.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, serve};
use tokio::net::TcpListener;

const CALL: &str = include_str!("../../../../tests/fixtures/call.external.json");
const CALL_ID: &str = "athos_call_GZ1DjOkZv_VEPoE-CJ8mp";
const JSON: [(axum::http::HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

async fn call(State(delay): State<Duration>, Path(id): Path<String>) -> impl IntoResponse {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    (JSON, CALL.replacen(CALL_ID, &id, 1))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let delay = Duration::from_millis(std::env::var("DELAY_MS")?.parse()?);
    let app = Router::new()
        .route("/api/external/v1/calls/{id}", get(call))
        .route(
            "/api/external/v1/calls",
            get(async || (JSON, r#"{"data":[],"nextCursor":null}"#)),
        )
        .route("/hook", post(async |_: axum::body::Bytes| StatusCode::NO_CONTENT))
        .with_state(delay);
    let listener = TcpListener::bind(std::env::var("BIND_ADDR")?).await?;
    Ok(serve(listener, app).await?)
}
