//! What answers carry for browsers: who may read them, where they may be shown, and that they are not to be kept. A
//! resource that needs another value sets it itself. No value is taken from a request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::Entry;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::map_response_with_state;
use axum::response::Response;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::live;
use super::observe::REQUEST_ID;
use super::state::AppState;
use crate::config::Config;

/// For everything but the page, which has a policy of its own: nothing here is a document to look at.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A year, and this host only: what else the domain has is not ours to decide.
const ONLY_BY_TLS: &str = "max-age=31536000";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Gives every answer of `routes` these headers, errors too. One layer for all of them: each costs every request.
pub(super) fn protect(routes: Router<AppState>, config: &Config) -> Router<AppState> {
    let is_embedded = !config.cors_origins.is_empty();
    let by_tls = config
        .public_url
        .as_ref()
        .is_some_and(|url| url.scheme() == "https");
    // A page that embeds ours plays recordings in an <audio>, which asks without CORS.
    let resources = if is_embedded {
        "cross-origin"
    } else {
        "same-origin"
    };
    let mut defaults = vec![
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, resources),
        (OPENER_POLICY, "same-origin"),
    ];
    if by_tls {
        defaults.push((header::STRICT_TRANSPORT_SECURITY, ONLY_BY_TLS));
    }
    let routes = if is_embedded {
        routes.layer(cors(&config.cors_origins))
    } else {
        routes
    };
    routes.layer(map_response_with_state(Defaults(defaults.into()), add))
}

/// Headers, and what they say unless a resource says otherwise.
#[derive(Clone)]
struct Defaults(Arc<[(HeaderName, &'static str)]>);

async fn add(State(Defaults(defaults)): State<Defaults>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in &*defaults {
        if let Entry::Vacant(missing) = headers.entry(name) {
            missing.insert(HeaderValue::from_static(value));
        }
    }
    response
}

/// Pages of exactly these origins may call with credentials.
fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins
        .iter()
        .filter_map(|origin| HeaderValue::try_from(origin).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            live::LAST_EVENT_ID,
        ])
        .expose_headers([REQUEST_ID, header::RETRY_AFTER])
        .max_age(Duration::from_secs(600))
}
