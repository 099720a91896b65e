//! The service's HTTP face: which routes there are, and which layers a request passes, on one screen.

mod auth;
mod body;
mod calls;
mod demo;
mod error;
mod events;
mod health;
mod live;
mod me;
mod observe;
mod overview;
mod pages;
mod progress;
mod query;
mod rate_limit;
mod recording;
mod server;
mod state;
mod token;
mod webhook;

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

pub use auth::Authenticator;
pub use body::MAX_BODY_BYTES;
pub use demo::{DEMO_COOKIE, DemoSecret};
pub use error::ApiError;
use observe::Observer;
pub use observe::REQUEST_ID;
pub use pages::Page;
pub use rate_limit::MintLimit;
pub use server::{Deadlines, Limits, serve};
pub use state::{AppState, Shared};

/// Longest a request may take, body and all. Longer than we wait for Athos; the live stream is answered at once and
/// goes on in its body, which this does not limit.
const REQUEST_DEADLINE: Duration = Duration::from_secs(15);

/// For everything but the page, which has a policy of its own: nothing here is a document to look at.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(info(
    title = "athos-backend",
    description = "Session tokens, signed webhooks and scores of Athos role-play calls. Every error has the same \
                   envelope, and every response carries X-Request-Id.",
    license(name = "MIT"),
))]
struct Document;

/// Every documented route, and the document itself.
fn api() -> (Router<AppState>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(token::router())
        .merge(webhook::router())
        .merge(me::router())
        .merge(calls::router())
        .merge(recording::router())
        .merge(progress::router())
        .merge(live::router())
        .merge(events::router())
        .merge(overview::router())
        .merge(health::router())
        .split_for_parts();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A rep's JWT, or a service token"))
        .build();
    document
        .components
        .get_or_insert_default()
        .security_schemes
        .insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    (router, document)
}

/// This service's OpenAPI 3.1 document, as JSON.
///
/// # Errors
/// Never in practice: the document is made of strings.
pub fn openapi() -> serde_json::Result<String> {
    api().1.to_pretty_json()
}

/// The whole service. Layers run from the bottom of this function up.
pub fn router(
    state: AppState,
    cors_origins: &[String],
    page: Page,
    demo: Option<DemoSecret>,
) -> Router {
    let (routes, document) = api();
    // Handlers are cloned with every connection: what they hold must be cheap to clone.
    let document = (
        [(header::CONTENT_TYPE, "application/json")],
        to_bytes(&document),
    );
    let demo = demo.map_or_else(Router::new, demo::router);
    let observer = Observer::new(state.clock.clone());
    let routes = routes
        .merge(pages::router(page))
        .merge(demo)
        .route("/openapi.json", get(async move || document))
        .fallback(async || ApiError::NoRoute)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            REQUEST_DEADLINE,
        ));
    let routes = match cors(cors_origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes
        .layer(CatchPanicLayer::custom(told_panic))
        .layer(default_header(
            header::CONTENT_SECURITY_POLICY,
            CONTENT_SECURITY_POLICY,
        ))
        .layer(default_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(default_header(header::REFERRER_POLICY, "no-referrer"))
        .layer(from_fn_with_state(observer, observe::observe))
        .with_state(state)
}

fn to_bytes(document: &utoipa::openapi::OpenApi) -> Bytes {
    // It is made of strings and maps of strings; there is nothing in it that cannot be written.
    serde_json::to_vec(document).unwrap_or_default().into()
}

fn default_header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// Pages of exactly these origins may call with credentials; without any, no page of another origin may.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins = origins
        .iter()
        .filter_map(|origin| HeaderValue::try_from(origin).ok());
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            live::LAST_EVENT_ID,
        ])
        .expose_headers([REQUEST_ID, header::RETRY_AFTER])
        .max_age(Duration::from_secs(600));
    Some(layer)
}

/// A panic in one request is that request's 500; the process goes on.
fn told_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    ApiError::Internal(anyhow::anyhow!("panicked: {text}")).into_response()
}
