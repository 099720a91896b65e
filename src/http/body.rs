//! Request bodies: read whole, up to the route's limit and within one deadline, whatever the Content-Type says.

use std::pin::pin;

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::ApiError;
use super::state::AppState;

/// Largest body of a delivery, in bytes.
pub const MAX_WEBHOOK_BYTES: usize = 64 * 1024;
/// Largest body of any other request, in bytes: a few ids and times.
pub const MAX_BODY_BYTES: usize = 8 * 1024;

/// A request's body of at most `LIMIT` bytes, byte for byte. It is a copy: what arrives is in the connection's buffer, of
/// which it would keep all.
pub(super) struct RawBody<const LIMIT: usize = MAX_BODY_BYTES>(pub Vec<u8>);

impl<const LIMIT: usize> FromRequest<AppState> for RawBody<LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        Self::read(request.into_body(), state).await
    }
}

impl<const LIMIT: usize> RawBody<LIMIT> {
    /// Reads it within its deadline.
    pub(super) async fn read(
        body: impl HttpBody<Data = Bytes>,
        state: &AppState,
    ) -> Result<Self, ApiError> {
        let mut reading = pin!(Self::collect(body));
        // Most bodies are here with their head, and need no timer.
        if let Some(here) = reading.as_mut().now_or_never() {
            return here;
        }
        let arrived = timeout(state.deadlines.body, reading).await;
        arrived.unwrap_or(Err(ApiError::RequestTimeout))
    }

    async fn collect(body: impl HttpBody<Data = Bytes>) -> Result<Self, ApiError> {
        let mut body = pin!(body);
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|_| ApiError::InvalidRequest("the body broke off".to_owned()))?;
            // Trailers are of no use here.
            let data = frame.into_data().unwrap_or_default();
            if bytes.len() + data.len() > LIMIT {
                return Err(ApiError::PayloadTooLarge { limit: LIMIT });
            }
            bytes.extend_from_slice(&data);
        }
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
