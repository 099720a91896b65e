//! `GET /athos/calls/{callId}/recording`: a redirect to the recording, by a link that Athos has just made. The link
//! opens the recording for whoever holds it, so it is neither kept nor logged.

use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use secrecy::ExposeSecret;

use super::api::{Api, routes};
use super::error::{ApiError, ErrorEnvelope};
use super::extract::Listener;
use super::state::AppState;
use athos_api::Class;

pub(super) fn router() -> Api {
    routes!(play_recording)
}

/// Play a call's recording
///
/// Redirects to a link that is good for about an hour; ask again for a fresh one.
#[utoipa::path(
    get, path = "/athos/calls/{callId}/recording", tag = "athos",
    params(("callId" = String, Path, description = "Athos's id of the call")),
    responses(
        (status = 302, description = "To the recording"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "CROSS_SITE_REQUEST: another site's page asks with the caller's cookie; SCOPE_MISSING"),
        (status = 404, body = ErrorEnvelope, description = "CALL_NOT_FOUND: not there, or not yours; RECORDING_NOT_AVAILABLE"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: 20 in a minute for each caller"),
        (status = 502, body = ErrorEnvelope, description = "Athos refused, in its own words"),
        (status = 504, body = ErrorEnvelope, description = "UPSTREAM_TIMEOUT"),
    ),
    security(("bearer" = ["transcripts"])),
)]
async fn play_recording(
    State(state): State<AppState>,
    Listener(caller): Listener,
    Path(call_id): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let call = state
        .store
        .find_call(&caller.scope(), &call_id)
        .await?
        .ok_or(ApiError::CallNotFound)?;
    let counted = state.limits.recordings.count(&caller.id());
    counted.map_err(|retry_after| ApiError::RateLimited {
        of: "recordings",
        retry_after,
    })?;
    let link = match state.athos.recording(&call.row.id).await {
        Ok(link) => link.ok_or(ApiError::RecordingNotAvailable)?,
        Err(error) if error.class() == Class::NotFound => {
            return Err(ApiError::RecordingNotAvailable);
        }
        Err(error) => return Err(error.into()),
    };
    let mut location =
        HeaderValue::try_from(link.expose_secret()).map_err(|_| ApiError::RecordingNotAvailable)?;
    location.set_sensitive(true);
    Ok((StatusCode::FOUND, [(LOCATION, location)]))
}
