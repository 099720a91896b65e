//! The practice page and the operator's page: their embedded files, their content security policies, and the part of the
//! configuration that the browser needs. They contain no data of a caller.

mod files;

use std::sync::Arc;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, extract};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tower_http::compression::CompressionLayer;
use url::Url;

use super::error::ApiError;
use super::state::AppState;
use crate::config::Config;

/// The origin of Athos's own API, which the SDK uses by default.
const ATHOS_ORIGIN: &str = "https://app.useathos.ai";
/// The file that `scripts/vendor-sdk` creates.
const VENDORED_SDK: &str = "vendor/athos-sdk.js";
/// Where a public CDN would serve the SDK once it is published, when nothing better is configured.
const PUBLIC_SDK: &str = "https://esm.sh/@useathos/sdk@1.0.0";
/// The hosts that calls connect to (docs/athos-contract.md).
const CALL_SERVERS: &str = "https://*.livekit.cloud wss://*.livekit.cloud";

/// The operator's page talks to us alone, and is never in a frame: one click there can replay many events.
const CONSOLE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                              connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// What is wrong with the SDK's address, if that is nothing but the default.
#[must_use]
pub fn sdk_warning(config: &Config) -> Option<String> {
    warning_of(&Settings::new(config, false, is_vendored()))
}

fn warning_of(settings: &Settings) -> Option<String> {
    (settings.sdk_url == PUBLIC_SDK).then(|| {
        format!(
            "ATHOS_SDK_URL is not set, and this build has no copy of Athos's browser SDK: the practice page tries \
             {PUBLIC_SDK}, which may not exist. Set ATHOS_SDK_URL, or run scripts/vendor-sdk before the build."
        )
    })
}

fn is_vendored() -> bool {
    files::find(VENDORED_SDK).is_some()
}

/// The page as configured.
pub(super) struct Page {
    settings: Settings,
    policy: HeaderValue,
}

/// The configuration for the browser.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    /// Absolute, or relative to the service.
    sdk_url: String,
    /// The SDK's `apiBase`; only when calls are not held at Athos.
    api_base: Option<String>,
    /// Whether the demo's sign-in is on.
    demo: bool,
}

impl Page {
    /// The page for a configuration.
    #[must_use]
    pub(super) fn new(config: &Config, demo: bool) -> Self {
        let settings = Settings::new(config, demo, is_vendored());
        let policy = content_security_policy(&settings, &config.frame_ancestors);
        // Made of origins and fixed words, both of which are header text.
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
        Self { settings, policy }
    }
}

impl Settings {
    fn new(config: &Config, demo: bool, vendored: bool) -> Self {
        let sdk_url = match &config.athos_sdk_url {
            Some(url) => url.to_string(),
            None if vendored => format!("static/{VENDORED_SDK}"),
            None => PUBLIC_SDK.to_owned(),
        };
        let api = config.athos_base_url.origin().ascii_serialization();
        Self {
            sdk_url,
            api_base: (api != ATHOS_ORIGIN).then_some(api),
            demo,
        }
    }
}

/// No script but our own files and the SDK, no style but ours, and nobody to talk to but us, Athos and where it holds
/// its calls. Recordings come from a host that Athos chooses.
fn content_security_policy(settings: &Settings, frame_ancestors: &[String]) -> String {
    let sdk = Url::parse(&settings.sdk_url)
        .map(|url| format!(" {}", url.origin().ascii_serialization()))
        .unwrap_or_default();
    let api = settings.api_base.as_deref().unwrap_or(ATHOS_ORIGIN);
    let ancestors = match frame_ancestors {
        [] => "'none'".to_owned(),
        some => some.join(" "),
    };
    format!(
        "default-src 'none'; script-src 'self'{sdk}; style-src 'self'; img-src 'self'; \
         connect-src 'self' {api} {CALL_SERVERS}; media-src 'self' https: {api}; \
         base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
    )
}

pub(super) fn router(page: Page) -> Router<AppState> {
    let Page { settings, policy } = page;
    let settings = Arc::new(settings);
    let index = async move |headers: HeaderMap| {
        let own = [
            (CONTENT_SECURITY_POLICY, policy),
            (
                PERMISSIONS_POLICY,
                HeaderValue::from_static(
                    "microphone=(self), camera=(), geolocation=(), payment=()",
                ),
            ),
        ];
        (own, serve("index.html", &headers))
    };
    let console = async |headers: HeaderMap| {
        let own = [(CONTENT_SECURITY_POLICY, CONSOLE_POLICY)];
        (own, serve("console.html", &headers))
    };
    let file = async |extract::Path(path): extract::Path<String>, headers: HeaderMap| {
        serve(&path, &headers)
    };
    Router::new()
        .route("/", get(index))
        .route("/console", get(console))
        .route("/static/{*path}", get(file))
        .route(
            "/athos/config",
            get(async move || ([(CACHE_CONTROL, "no-cache")], Json(settings))),
        )
        .layer(CompressionLayer::new())
}

/// Answers with a file, or with 304 when the browser has it already. Names do not change with content, so browsers ask
/// each time.
fn serve(path: &str, request: &HeaderMap) -> Result<Response, ApiError> {
    let file = files::find(path).ok_or(ApiError::NoRoute)?;
    // Weak, as compression changes the bytes.
    let etag = format!(
        "W/\"{}\"",
        base16ct::lower::encode_string(&Sha256::digest(&file)[..16])
    );
    let known = request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .any(|tag| tag.trim() == etag);
    let caching = [(CACHE_CONTROL, "no-cache".to_owned()), (ETAG, etag)];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, [(CONTENT_TYPE, content_type(path))], file).into_response())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(flags: &[&str], vendored: bool) -> (Settings, String) {
        let config = Config::from_flags(flags).unwrap();
        let settings = Settings::new(&config, false, vendored);
        let policy = content_security_policy(&settings, &config.frame_ancestors);
        (settings, policy)
    }

    #[test]
    fn against_athos_the_sdk_is_told_no_api_and_may_reach_athos_only() {
        let (settings, policy) = page(&[], false);
        assert_eq!(settings.api_base, None);
        assert_eq!(settings.sdk_url, PUBLIC_SDK);
        assert!(policy.contains("script-src 'self' https://esm.sh;"));
        assert!(policy.contains("connect-src 'self' https://app.useathos.ai https://*.livekit.cloud wss://*.livekit.cloud;"));
        assert!(policy.ends_with("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn another_api_is_told_to_the_sdk_and_allowed() {
        let (settings, policy) = page(
            &["--athos-base-url=http://127.0.0.1:8081/api/external/v1"],
            false,
        );
        assert_eq!(settings.api_base.as_deref(), Some("http://127.0.0.1:8081"));
        assert!(policy.contains("connect-src 'self' http://127.0.0.1:8081 "));
        assert!(!policy.contains(ATHOS_ORIGIN));
    }

    #[test]
    fn a_configured_sdk_wins_over_a_vendored_one_and_that_over_the_cdn() {
        let configured = ["--athos-sdk-url=https://cdn.example.com/a/sdk.js?x"];
        let (settings, policy) = page(&configured, true);
        assert_eq!(settings.sdk_url, "https://cdn.example.com/a/sdk.js?x");
        assert!(policy.contains("script-src 'self' https://cdn.example.com;"));

        let (settings, policy) = page(&[], true);
        assert_eq!(settings.sdk_url, "static/vendor/athos-sdk.js");
        assert!(policy.contains("script-src 'self';"));
    }

    #[test]
    fn only_the_default_address_of_the_sdk_is_warned_of() {
        let warning = |flags: &[&str], vendored| warning_of(&page(flags, vendored).0);
        let message = warning(&[], false).unwrap();
        assert!(message.contains("ATHOS_SDK_URL") && message.contains("scripts/vendor-sdk"));
        assert!(message.contains(PUBLIC_SDK));
        assert_eq!(warning(&[], true), None);
        assert_eq!(
            warning(&["--athos-sdk-url=https://cdn.example.com/sdk.js"], false),
            None
        );
    }

    #[test]
    fn only_named_origins_may_frame_the_page() {
        let (_, policy) = page(&["--frame-ancestors=https://a.com,https://b.com"], true);
        assert!(policy.ends_with("frame-ancestors https://a.com https://b.com"));
    }

    #[test]
    fn a_file_is_sent_once_and_then_only_asked_for() {
        let first = serve("app.js", &HeaderMap::new()).unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(
            first.headers()[CONTENT_TYPE],
            "text/javascript; charset=utf-8"
        );
        let mut again = HeaderMap::new();
        again.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(
            serve("app.js", &again).unwrap().status(),
            StatusCode::NOT_MODIFIED
        );
        assert!(serve("../Cargo.toml", &HeaderMap::new()).is_err());
    }
}
