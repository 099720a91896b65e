//! Request bodies: read whole, up to the route's limit and within one deadline, whatever the Content-Type says.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use http_body_util::LengthLimitError;
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

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        Self::read(request.into_body(), state).await
    }
}

impl<const LIMIT: usize> RawBody<LIMIT> {
    /// Reads it within its deadline.
    pub(super) async fn read(body: Body, state: &AppState) -> Result<Self, ApiError> {
        let arrived = timeout(state.deadlines.body, to_bytes(body, LIMIT)).await;
        let arrived = arrived.map_err(|_| ApiError::RequestTimeout)?;
        let bytes = arrived.map_err(|error| match error.into_inner().is::<LengthLimitError>() {
            true => ApiError::PayloadTooLarge { limit: LIMIT },
            false => ApiError::InvalidRequest("the body broke off".to_owned()),
        })?;
        Ok(Self(bytes))
    }

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
