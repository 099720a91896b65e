//! The service's HTTP face: which routes there are, and which layers a request passes, on one screen.

mod accept;
mod api;
mod app;
mod audit;
mod auth;
mod body;
mod caller_limits;
mod calls;
mod changes;
mod client_ip;
mod deliveries;
mod demo;
mod download;
mod error;
mod events;
mod extract;
mod headers;
mod health;
mod live;
mod me;
mod metrics;
mod observe;
mod overview;
mod pages;
mod progress;
mod query;
mod rate_limit;
mod read_limit;
mod recording;
mod replay;
mod reps;
mod request_id;
mod server;
mod state;
mod stream_limiter;
mod token;
mod webhook;
pub(crate) mod wire;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::config::Config;

use api::Api;
pub use app::App;
pub use auth::{Authenticator, published_keys};
pub use body::{MAX_BODY_BYTES, MAX_WEBHOOK_BYTES};
pub use caller_limits::CallerLimits;
pub use demo::{DEMO_COOKIE, Demo, Received};
pub use error::ApiError;
pub use metrics::admin_app;
use observe::Observer;
use pages::Page;
pub use pages::sdk_warning;
pub use request_id::REQUEST_ID;
pub use server::{Deadlines, Limits, serve};
pub use state::{AppState, Shared};

#[derive(OpenApi)]
#[openapi(info(
    title = "athos-backend",
    description = "Session tokens, signed webhooks and scores of Athos role-play calls. Every error has the same \
                   envelope, and every response carries X-Request-Id.",
    license(name = "MIT"),
))]
struct Document;

/// Every documented route.
fn api() -> Api {
    Api::described_by(Document::openapi)
        .merge(token::router())
        .merge(webhook::router())
        .merge(me::router())
        .merge(calls::router())
        .merge(recording::router())
        .merge(progress::router())
        .merge(live::router())
        .merge(changes::router())
        .merge(events::router())
        .merge(deliveries::router())
        .merge(overview::router())
        .merge(audit::router())
        .merge(reps::router())
        .merge(health::router())
}

fn document() -> utoipa::openapi::OpenApi {
    let mut document = api().document();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A rep's JWT, or a service token. Each route lists the scope that a service token needs for it",
        ))
        .build();
    document
        .components
        .get_or_insert_default()
        .security_schemes
        .insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    document
}

/// This service's OpenAPI 3.1 document, as JSON.
///
/// # Errors
/// Never in practice: the document is made of strings.
pub fn openapi() -> serde_json::Result<String> {
    document().to_pretty_json()
}

/// The same on one line, made once.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    // It is made of strings and maps of strings; there is nothing in it that cannot be written.
    serde_json::to_vec(&document()).unwrap_or_default().into()
});

async fn show_document() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        DOCUMENT.clone(),
    )
}

/// The whole service: the routes, and one layer around them. Pages of other origins get a second one, within which late
/// answers and panics become answers too, so that those pages may read them.
pub fn app(state: AppState, config: &Config, demo: Option<Demo>) -> App {
    let page = Page::new(config, demo.is_some());
    let demo = demo.map_or_else(Router::new, demo::router);
    let observer = Observer::new(state.clone(), config);
    let mut routes = api()
        .into_router()
        .merge(pages::router(page))
        .merge(demo)
        .route("/openapi.json", get(show_document))
        .fallback(async || ApiError::NoRoute);
    if !config.cors_origins.is_empty() {
        routes = routes
            .layer(from_fn_with_state(Arc::clone(&observer), observe::guard))
            .layer(headers::cors(&config.cors_origins));
    }
    let routes = routes
        .layer(from_fn_with_state(Arc::clone(&observer), observe::observe))
        .with_state(state);
    App::new(routes, Some(observer))
}
