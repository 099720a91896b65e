//! Request bodies: read whole, up to one limit, whatever the Content-Type says.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// Largest body any route takes, in bytes. The root router enforces it.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// A request's body, byte for byte.
pub(super) struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) => Err(match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::PayloadTooLarge {
                    limit: MAX_BODY_BYTES,
                },
                _ => ApiError::InvalidRequest("the body broke off".to_owned()),
            }),
        }
    }
}

impl RawBody {
    /// Reads it as JSON; people who type curl by hand send no Content-Type.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.0).map_err(|error| {
            ApiError::InvalidRequest(format!("the body is not the JSON expected here: {error}"))
        })
    }
}
