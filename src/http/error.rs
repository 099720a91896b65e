//! Every way a request can fail, one variant per cause, and the one envelope they are all told in:
//! `{"error":{"code","message","requestId"}}`. The cause of a 5xx goes to the log, never into the body.

use std::time::Duration;

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::mint::MintError;
use crate::model::KeyScope;
use crate::store::StoreError;
use athos_api as athos;
use athos_api::signature::InvalidSignature;

/// The code of a refusal for want of a scope, which is also on record of the key.
pub(super) const SCOPE_MISSING: &str = "SCOPE_MISSING";

/// Why a request was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No credentials came with the request.
    #[error("sign in first: send a bearer token, or come through the sign-in page")]
    Unauthenticated,
    /// Credentials came, and are not good; the text says why, without quoting them.
    #[error("{0}")]
    InvalidCredentials(&'static str),
    /// A JWT that was good once.
    #[error("the token has expired; sign in again")]
    ExpiredCredentials,
    /// The keys that JWTs are verified with could not be fetched yet.
    #[error("sign-in cannot be checked right now; try again")]
    NoVerifyingKeys,
    /// A browser sent credentials along on behalf of a page that may not use them.
    #[error("pages of this origin may not do that with the caller's credentials")]
    CrossSite,
    /// The request itself is wrong.
    #[error("{0}")]
    InvalidRequest(String),
    /// No such call, for this caller.
    #[error("there is no such call")]
    CallNotFound,
    /// The caller is known, and may not do this.
    #[error("this is for admins and other backends only")]
    AdminOnly,
    /// The caller's key is known, and was not given this.
    #[error("the key {key} lacks the scope {scope}")]
    ScopeMissing {
        /// What it lacks.
        scope: KeyScope,
        /// What it is called.
        key: String,
    },
    /// No such event.
    #[error("there is no such event")]
    EventNotFound,
    /// An event that cannot be replayed, because it is going to be processed anyway.
    #[error("the event is pending or being processed already")]
    EventWaiting,
    /// An event that says nothing any more.
    #[error(
        "the event's body was removed by retention; reconcile its time to fetch the call again"
    )]
    EventPurged,
    /// No such delivery.
    #[error("there is no such delivery")]
    DeliveryNotFound,
    /// A delivery that cannot be replayed, because it is going to be made anyway.
    #[error("the delivery is due or under way already")]
    DeliveryWaiting,
    /// A delivery that must not be replayed.
    #[error(
        "a newer message about the same call replaces this one, or its endpoint is not configured any more"
    )]
    DeliveryOutdated,
    /// No such endpoint.
    #[error("there is no such endpoint in FORWARD_URLS")]
    EndpointNotFound,
    /// The call is there; a recording of it is not.
    #[error("there is no recording of this call")]
    RecordingNotAvailable,
    /// Athos does not know the rep; the text says what to do.
    #[error("{advice}")]
    NotOnRoster {
        /// What to do, for people.
        advice: String,
        /// Athos's request id, to quote.
        athos_request_id: Option<String>,
    },
    /// No such route.
    #[error("there is nothing at this path")]
    NoRoute,
    /// The route does not take this method.
    #[error("this path does not take this method")]
    MethodNotAllowed,
    /// The body did not arrive whole and in time.
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// The body is larger than the route takes.
    #[error("the body is larger than {limit} bytes")]
    PayloadTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Too much of something for one caller.
    #[error("too many {of}; wait a little")]
    RateLimited {
        /// Of what.
        of: &'static str,
        /// When there will be room again.
        retry_after: Duration,
    },
    /// A read that would have kept others waiting.
    #[error("reading this took too long; ask for less of it (from, to, rep), or try again")]
    ReadTimedOut,
    /// A place in the change feed that is not there yet.
    #[error(
        "the cursor is ahead of every change here: it is of another database, or this one was restored from a backup; begin again with after=0 and an empty copy"
    )]
    CursorAhead,
    /// Every place for a live stream is taken.
    #[error("too many live streams are open; try again, or ask for the list")]
    TooManyStreams,
    /// A delivery whose signature does not hold.
    #[error("{0}")]
    BadSignature(InvalidSignature),
    /// The store could not do it.
    #[error("{}", store_message(.0))]
    StoreUnavailable(#[source] StoreError),
    /// Athos did not do it.
    #[error(transparent)]
    Upstream(#[from] athos::Error),
    /// A fault of ours.
    #[error("something went wrong here")]
    Internal(#[source] anyhow::Error),
}

/// The envelope.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorEnvelope {
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorBody {
    /// Branch on this.
    #[schema(example = "CALL_NOT_FOUND")]
    pub code: String,
    /// For people; it may change.
    pub message: String,
    /// Quote it: it is in our log, or in Athos's when the error is theirs.
    pub request_id: String,
}

/// An error on its way out. The observer, which knows the request's id, writes the body.
#[derive(Clone)]
pub(super) struct ErrorReport {
    code: String,
    message: String,
    athos_request_id: Option<String>,
    /// For the log only.
    pub(super) cause: Option<String>,
}

impl ErrorReport {
    /// For answers that layers and the router make on their own.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let error = match status {
            StatusCode::NOT_FOUND => ApiError::NoRoute,
            StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed,
            status if status.is_client_error() => {
                ApiError::InvalidRequest("the request cannot be understood".to_owned())
            }
            status => ApiError::Internal(anyhow::anyhow!("a layer answered {status}")),
        };
        error.report()
    }

    pub(super) fn code(&self) -> &str {
        &self.code
    }

    pub(super) fn into_body(self, request_id: &str) -> Json<ErrorEnvelope> {
        Json(ErrorEnvelope {
            error: ErrorBody {
                code: self.code,
                message: self.message,
                request_id: self
                    .athos_request_id
                    .unwrap_or_else(|| request_id.to_owned()),
            },
        })
    }
}

impl ApiError {
    fn status_and_code(&self) -> (StatusCode, &str) {
        match self {
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
            Self::InvalidCredentials(_) => (StatusCode::UNAUTHORIZED, "INVALID_TOKEN"),
            Self::ExpiredCredentials => (StatusCode::UNAUTHORIZED, "TOKEN_EXPIRED"),
            Self::NoVerifyingKeys => (StatusCode::SERVICE_UNAVAILABLE, "AUTH_UNAVAILABLE"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "CROSS_SITE_REQUEST"),
            Self::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
            Self::CallNotFound => (StatusCode::NOT_FOUND, "CALL_NOT_FOUND"),
            Self::AdminOnly => (StatusCode::FORBIDDEN, "ADMIN_ONLY"),
            Self::ScopeMissing { .. } => (StatusCode::FORBIDDEN, SCOPE_MISSING),
            Self::EventNotFound => (StatusCode::NOT_FOUND, "EVENT_NOT_FOUND"),
            Self::EventWaiting => (StatusCode::CONFLICT, "EVENT_WAITING"),
            Self::EventPurged => (StatusCode::CONFLICT, "EVENT_PURGED"),
            Self::DeliveryNotFound => (StatusCode::NOT_FOUND, "DELIVERY_NOT_FOUND"),
            Self::DeliveryWaiting => (StatusCode::CONFLICT, "DELIVERY_WAITING"),
            Self::DeliveryOutdated => (StatusCode::CONFLICT, "DELIVERY_OUTDATED"),
            Self::EndpointNotFound => (StatusCode::NOT_FOUND, "ENDPOINT_NOT_FOUND"),
            Self::RecordingNotAvailable => (StatusCode::NOT_FOUND, "RECORDING_NOT_AVAILABLE"),
            Self::NotOnRoster { .. } => (StatusCode::NOT_FOUND, "AGENT_NOT_FOUND"),
            Self::NoRoute => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT"),
            Self::PayloadTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE"),
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"),
            Self::CursorAhead => (StatusCode::GONE, "CURSOR_AHEAD"),
            Self::TooManyStreams => (StatusCode::SERVICE_UNAVAILABLE, "TOO_MANY_STREAMS"),
            Self::BadSignature(why) => (StatusCode::UNAUTHORIZED, signature_code(*why)),
            Self::ReadTimedOut => (StatusCode::SERVICE_UNAVAILABLE, "READ_TIMED_OUT"),
            Self::StoreUnavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "STORE_UNAVAILABLE"),
            Self::Upstream(error) => upstream(error),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            Self::StoreUnavailable(_)
            | Self::ReadTimedOut
            | Self::NoVerifyingKeys
            | Self::TooManyStreams => Some(Duration::from_secs(5)),
            Self::Upstream(athos::Error::Refused(refusal)) => match upstream_status(refusal) {
                StatusCode::SERVICE_UNAVAILABLE => {
                    Some(refusal.retry_after.unwrap_or(Duration::from_secs(5)))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The words for the caller, and those for the log.
    fn report(&self) -> ErrorReport {
        let (message, athos_request_id) = match self {
            Self::Upstream(error @ athos::Error::Refused(refusal)) => {
                let is_ours = error.class() == athos::Class::KeyFault
                    && upstream_status(refusal) == StatusCode::BAD_GATEWAY;
                let message = match is_ours {
                    true => key_fault_message(refusal),
                    false => refusal.message.clone(),
                };
                (message, refusal.request_id.clone())
            }
            Self::Upstream(error) => (upstream_message(error), None),
            Self::NotOnRoster {
                advice,
                athos_request_id,
            } => (advice.clone(), athos_request_id.clone()),
            other => (other.to_string(), None),
        };
        let cause = match self {
            Self::StoreUnavailable(error) => Some(error.to_string()),
            Self::Upstream(error) => Some(error.to_string()),
            Self::Internal(error) => Some(format!("{error:#}")),
            Self::ScopeMissing { .. } => Some(self.to_string()),
            _ => None,
        };
        ErrorReport {
            code: self.status_and_code().1.to_owned(),
            message,
            athos_request_id,
            cause,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::ReadTimedOut => Self::ReadTimedOut,
            error => Self::StoreUnavailable(error),
        }
    }
}

impl From<MintError> for ApiError {
    fn from(error: MintError) -> Self {
        match error {
            MintError::Athos(error) => Self::Upstream(error),
            MintError::Store(error) => error.into(),
            MintError::NoSuchId(_) => Self::InvalidRequest(error.to_string()),
            MintError::NotOnRoster { advice, refusal } => Self::NotOnRoster {
                advice,
                athos_request_id: refusal.request_id,
            },
        }
    }
}

fn signature_code(why: InvalidSignature) -> &'static str {
    match why {
        InvalidSignature::Missing => "MISSING_SIGNATURE",
        InvalidSignature::Malformed(_) => "MALFORMED_SIGNATURE",
        InvalidSignature::Stale { .. } => "STALE_SIGNATURE",
        InvalidSignature::Mismatch => "SIGNATURE_MISMATCH",
    }
}

fn upstream(error: &athos::Error) -> (StatusCode, &str) {
    match error {
        athos::Error::Refused(refusal) => (upstream_status(refusal), &refusal.code),
        athos::Error::Timeout => (StatusCode::GATEWAY_TIMEOUT, "UPSTREAM_TIMEOUT"),
        athos::Error::NoKey => (StatusCode::SERVICE_UNAVAILABLE, "NOT_CONFIGURED"),
        athos::Error::Unreachable(_) | athos::Error::Interrupted(_) => {
            (StatusCode::BAD_GATEWAY, "UPSTREAM_UNREACHABLE")
        }
        athos::Error::Unreadable { .. } | athos::Error::TooLarge { .. } => {
            (StatusCode::BAD_GATEWAY, "UPSTREAM_INVALID_RESPONSE")
        }
    }
}

fn upstream_status(refusal: &athos::Refusal) -> StatusCode {
    match (refusal.status, refusal.code.as_str()) {
        (_, "TENANT_QUOTA_EXCEEDED") => StatusCode::FORBIDDEN,
        (_, "AGENT_NOT_FOUND") => StatusCode::NOT_FOUND,
        (429 | 503, _) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Whose key it is that Athos's words are about: the caller has sent none.
fn key_fault_message(refusal: &athos::Refusal) -> String {
    let what = match refusal.code.as_str() {
        "IP_NOT_ALLOWED" => "does not allow the address of this service",
        "TENANT_INACTIVE" => "has made the account of this service inactive",
        _ => "refuses the API key of this service (ATHOS_API_KEY)",
    };
    format!(
        "Athos {what}; the caller's credentials are fine, and the operator of this service must act. Athos says: {}",
        refusal.message
    )
}

/// A write that took too long may still be made.
fn store_message(error: &StoreError) -> &'static str {
    match error {
        StoreError::TimedOut => {
            "the store did not answer in time, and may still do what was asked; look before you try again"
        }
        _ => "the store is not available, and nothing was changed; try again",
    }
}

fn upstream_message(error: &athos::Error) -> String {
    match error {
        athos::Error::Timeout => "Athos did not answer in time; try again",
        athos::Error::NoKey => {
            "this service has no Athos API key yet: its operator must set ATHOS_API_KEY"
        }
        athos::Error::Unreadable { .. } | athos::Error::TooLarge { .. } => {
            "the answer of Athos cannot be read; try again"
        }
        _ => "Athos could not be reached; try again",
    }
    .to_owned()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, _) = self.status_and_code();
        let mut response = status.into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after() {
            // Rounded up: who comes back a moment early is refused once more.
            let wait_secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(wait_secs.max(1)));
        }
        if status == StatusCode::UNAUTHORIZED && !matches!(self, Self::BadSignature(_)) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self.report());
        response
    }
}
