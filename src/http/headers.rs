//! What answers carry for browsers: who may read them, where they may be shown, and that they are not to be kept. A
//! resource that needs another value sets it itself. No value is taken from a request.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;

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

/// Gives every answer of `routes` these headers, errors too.
pub(super) fn protect(routes: Router<AppState>, config: &Config) -> Router<AppState> {
    let is_embedded = !config.cors_origins.is_empty();
    let by_tls = config
        .public_url
        .as_ref()
        .is_some_and(|url| url.scheme() == "https");
    let routes = if is_embedded {
        routes.layer(cors(&config.cors_origins))
    } else {
        routes
    };
    let routes = if by_tls {
        routes.layer(default_header(
            header::STRICT_TRANSPORT_SECURITY,
            ONLY_BY_TLS,
        ))
    } else {
        routes
    };
    // A page that embeds ours plays recordings in an <audio>, which asks without CORS.
    let resources = if is_embedded {
        "cross-origin"
    } else {
        "same-origin"
    };
    routes
        .layer(default_header(header::CACHE_CONTROL, "no-store"))
        .layer(default_header(
            header::CONTENT_SECURITY_POLICY,
            CONTENT_SECURITY_POLICY,
        ))
        .layer(default_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(default_header(header::REFERRER_POLICY, "no-referrer"))
        .layer(default_header(RESOURCE_POLICY, resources))
        .layer(default_header(OPENER_POLICY, "same-origin"))
}

fn default_header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
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
