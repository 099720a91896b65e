//! The vendor's errors: one constructor per code. The body is written by the layer that knows the
//! request's id (see `middleware.rs`), so that no handler can forget it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// A refusal on its way to becoming the vendor's envelope.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) details: Option<Box<Value>>,
    pub(super) retry_after_secs: Option<u32>,
    /// Close the connection instead of answering.
    pub(super) hangs_up: bool,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: None,
            retry_after_secs: None,
            hangs_up: false,
        }
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
    }

    pub(super) fn two_names(of: &str) -> Self {
        Self::invalid_request(format!("Only one id of one {of} may be given."))
    }

    pub(super) fn drill_not_found(key: &str) -> Self {
        let message = format!("There is no drill {key:?}.");
        Self::new(StatusCode::BAD_REQUEST, "DRILL_NOT_FOUND", message)
    }

    pub(super) fn invalid_api_key() -> Self {
        let message = "The API key is missing or unknown.";
        Self::new(StatusCode::UNAUTHORIZED, "INVALID_API_KEY", message)
    }

    pub(super) fn api_key_revoked() -> Self {
        let message = "This API key was revoked.";
        Self::new(StatusCode::UNAUTHORIZED, "API_KEY_REVOKED", message)
    }

    pub(super) fn invalid_token() -> Self {
        let message = "The session token is missing or unknown.";
        Self::new(StatusCode::UNAUTHORIZED, "INVALID_TOKEN", message)
    }

    pub(super) fn token_expired() -> Self {
        let message = "The session token has expired; mint a new one.";
        Self::new(StatusCode::UNAUTHORIZED, "TOKEN_EXPIRED", message)
    }

    pub(super) fn token_already_used() -> Self {
        let message = "The session token was used before; mint a new one.";
        Self::new(StatusCode::UNAUTHORIZED, "TOKEN_ALREADY_USED", message)
    }

    pub(super) fn quota_exceeded() -> Self {
        let message = "The monthly quota is used up; it clears next calendar month.";
        Self::new(StatusCode::FORBIDDEN, "TENANT_QUOTA_EXCEEDED", message)
    }

    pub(super) fn tenant_inactive() -> Self {
        let message = "This account is not active.";
        Self::new(StatusCode::FORBIDDEN, "TENANT_INACTIVE", message)
    }

    pub(super) fn ip_not_allowed() -> Self {
        let message = "This address is not on the account's list.";
        Self::new(StatusCode::FORBIDDEN, "IP_NOT_ALLOWED", message)
    }

    /// The contract says that cross-origin calls are refused, but not with which code: this one is made up.
    pub(super) fn cross_origin() -> Self {
        let message = "This endpoint is for backends; browsers may not call it cross-origin.";
        Self::new(StatusCode::FORBIDDEN, "CROSS_ORIGIN_REFUSED", message)
    }

    pub(super) fn call_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "CALL_NOT_FOUND", "No such call.")
    }

    pub(super) fn agent_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "AGENT_NOT_FOUND", "No such agent.")
    }

    pub(super) fn agency_not_found() -> Self {
        let message = "No such agency.";
        Self::new(StatusCode::NOT_FOUND, "AGENCY_NOT_FOUND", message)
    }

    pub(super) fn agent_already_exists(details: Value) -> Self {
        let message = "An agent with this handle is registered already.";
        Self {
            details: Some(Box::new(details)),
            ..Self::new(StatusCode::CONFLICT, "AGENT_ALREADY_EXISTS", message)
        }
    }

    /// A storage service's answer to a bad link; not part of the external API, so the code is made up.
    pub(super) fn link_refused() -> Self {
        let message =
            "The link is not signed, has expired, or is used with another method than GET.";
        Self::new(StatusCode::FORBIDDEN, "LINK_REFUSED", message)
    }

    pub(super) fn range_not_satisfiable() -> Self {
        let message = "The range is not within the recording.";
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "RANGE_NOT_SATISFIABLE",
            message,
        )
    }

    pub(super) fn route_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "No such route.")
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "This route does not answer this method.";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            message,
        )
    }

    pub(super) fn too_large() -> Self {
        let message = "The request body is too large or broke off.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_REQUEST", message)
    }

    /// The contract names no code for a rate limit; the list is append-only, so this is one to come.
    pub(super) fn rate_limited(retry_after_secs: Option<u32>) -> Self {
        let message = "Too many requests.";
        Self {
            retry_after_secs,
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message)
        }
    }

    pub(super) fn internal() -> Self {
        let message = "Something broke at Athos; retry.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", message)
    }

    pub(super) fn unavailable() -> Self {
        let message = "Athos is not available at the moment.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SERVICE_UNAVAILABLE",
            message,
        )
    }

    /// Closes the connection without an answer. The status is for the counters only.
    pub(super) fn hangup() -> Self {
        Self {
            hangs_up: true,
            ..Self::unavailable()
        }
    }

    /// The control plane's own: the wait timed out.
    pub(super) fn wait_timeout(message: String) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "WAIT_TIMEOUT", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(secs) = self.retry_after_secs {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response.extensions_mut().insert(self);
        response
    }
}
