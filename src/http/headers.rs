//! What answers carry for browsers: who may read them, where they may be shown, and that they are not to be kept. A
//! resource that needs another value sets it itself. No value is taken from a request.

use std::time::Duration;

use axum::http::header::Entry;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::live;
use super::request_id::REQUEST_ID;
use crate::config::Config;

/// For everything but the page, which has a policy of its own: nothing here is a document to look at.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A year, and this host only: what else the domain has is not ours to decide.
const ONLY_BY_TLS: &str = "max-age=31536000";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// What answers say unless a resource says otherwise.
pub(super) struct Defaults(Vec<(HeaderName, HeaderValue)>);

impl Defaults {
    /// Their values under `config`.
    pub(super) fn new(config: &Config) -> Self {
        let by_tls = config
            .public_url
            .as_ref()
            .is_some_and(|url| url.scheme() == "https");
        // A page that embeds ours plays recordings in an <audio>, which asks without CORS.
        let resources = match config.cors_origins.as_slice() {
            [] => "same-origin",
            _ => "cross-origin",
        };
        let defaults = [
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (RESOURCE_POLICY, resources),
            (OPENER_POLICY, "same-origin"),
        ];
        let tls_only = by_tls.then_some((header::STRICT_TRANSPORT_SECURITY, ONLY_BY_TLS));
        let defaults = defaults.into_iter().chain(tls_only);
        Self(
            defaults
                .map(|(name, value)| (name, HeaderValue::from_static(value)))
                .collect(),
        )
    }

    /// Adds those that are missing.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        headers.reserve(self.0.len());
        for (name, value) in &self.0 {
            if let Entry::Vacant(missing) = headers.entry(name) {
                missing.insert(value.clone());
            }
        }
    }
}

/// Pages of exactly these origins may call with credentials.
pub(super) fn cors(origins: &[String]) -> CorsLayer {
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
