//! `DELETE /athos/reps/{rep}`: removes every trace of a rep, for those who run the service. What was begun goes on when
//! the request ends, and after a crash.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::{Api, routes};
use super::error::{ApiError, ErrorEnvelope};
use super::extract::Operator;
use super::query::Query;
use super::state::AppState;
use super::wire::ErasedRows;
use crate::model::RepId;
use crate::store;

/// How long a caller waits for the end. Less than a request may take.
const ERASE_DEADLINE: Duration = Duration::from_secs(10);

pub(super) fn router() -> Api {
    routes!(erase_rep)
}

/// How to erase.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EraseQuery {
    /// Say how many rows there are, and do nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What was erased; in a dry run, what would be.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Erased {
    /// Whether all is gone. If not, the service goes on by itself.
    finished: bool,
    /// Whether nothing was done.
    dry_run: bool,
    /// How many rows of each kind; `null` while they are being removed.
    rows: Option<ErasedRows>,
}

/// Erase a rep
///
/// Removes every trace of a rep, by our id or Athos's: calls with scores and transcripts, events, session tokens' records.
/// Whatever comes late about calls that began before now is kept out; calls that begin later are new data. Repeating it
/// is harmless.
#[utoipa::path(
    delete, path = "/athos/reps/{rep}", tag = "operations",
    params(("rep" = String, Path, description = "our id of the rep, or Athos's"), EraseQuery),
    responses(
        (status = 200, body = Erased),
        (status = 202, body = Erased, description = "there is much to remove: it goes on"),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, CROSS_SITE_REQUEST, SCOPE_MISSING"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn erase_rep(
    State(state): State<AppState>,
    Operator { actor, .. }: Operator,
    Path(rep): Path<String>,
    Query(query): Query<EraseQuery>,
) -> Result<Response, ApiError> {
    let rep =
        RepId::new(&rep).map_err(|why| ApiError::InvalidRequest(format!("the rep's id {why}")))?;
    let now = state.clock.now();
    if query.dry_run {
        let rows = state.store.preview_erasure(&rep, now).await?;
        return Ok(answer(StatusCode::OK, Some(rows), true));
    }
    let erasing = {
        let state = state.clone();
        async move {
            let rows = state.store.erase(&rep, actor.clone(), now).await?;
            tracing::info!(?actor, ?rows, "a rep's data was erased");
            // If somebody is reading, retention does it later.
            if !matches!(state.store.truncate_wal().await, Ok(true)) {
                state.retention.run_soon();
            }
            Ok::<_, ApiError>(rows)
        }
    };
    let task = state.tasks.spawn(erasing);
    match tokio::time::timeout(ERASE_DEADLINE, task).await {
        Ok(Ok(erased)) => Ok(answer(StatusCode::OK, Some(erased?), false)),
        Ok(Err(panic)) => Err(ApiError::Internal(panic.into())),
        Err(_) => Ok(answer(StatusCode::ACCEPTED, None, false)),
    }
}

fn answer(status: StatusCode, rows: Option<store::ErasedRows>, dry_run: bool) -> Response {
    let erased = Erased {
        finished: rows.is_some() && !dry_run,
        dry_run,
        rows: rows.map(ErasedRows::from),
    };
    (status, Json(erased)).into_response()
}
