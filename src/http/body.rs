//! Request bodies: read whole, up to the route's limit and within one deadline, whatever the Content-Type says.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::ApiError;
use super::state::AppState;

/// Largest body of a delivery, in bytes.
pub const MAX_WEBHOOK_BYTES: usize = 64 * 1024;
/// Largest body of any other request, in bytes: a few ids and times.
pub const MAX_BODY_BYTES: usize = 8 * 1024;

/// A request's body of at most `LIMIT` bytes, byte for byte.
pub(super) struct RawBody<const LIMIT: usize = MAX_BODY_BYTES>(pub Bytes);

impl<const LIMIT: usize> FromRequest<AppState> for RawBody<LIMIT> {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, state: &AppState) -> Result<Self, ApiError> {
        DefaultBodyLimit::max(LIMIT).apply(&mut request);
        let arrived = timeout(state.deadlines.body, Bytes::from_request(request, state)).await;
        match arrived.map_err(|_| ApiError::RequestTimeout)? {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) => Err(match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::PayloadTooLarge { limit: LIMIT },
                _ => ApiError::InvalidRequest("the body broke off".to_owned()),
            }),
        }
    }
}

impl<const LIMIT: usize> RawBody<LIMIT> {
    /// Reads it as JSON; people who type curl by hand send no Content-Type.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        // serde would also fill a struct from an array.
        if self.0.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(ApiError::InvalidRequest(
                "the body must be a JSON object".to_owned(),
            ));
        }
        serde_json::from_slice(&self.0).map_err(|error| {
            ApiError::InvalidRequest(format!("the body is not the JSON expected here: {error}"))
        })
    }
}
