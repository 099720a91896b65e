//! `GET /athos/calls` and `GET /athos/calls/{callId}`: scores and transcripts, for those who may see them. The
//! scope comes from the caller; filters only narrow it.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ErrorEnvelope};
use super::query::{parse_limit, parse_range, parse_source, parse_word};
use super::read_limit::Reader;
use super::state::AppState;
use crate::model::{CallRow, Timestamp, Turn, plain, schema};
use crate::store::{CallFilter, PageKey, StoreError};
use athos_api::types;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_calls))
        .routes(routes!(show_call))
}

/// Which calls to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Ended (began, while no end is known) at or after: a moment (ISO 8601), a day in UTC (`2026-06-05`, from its start), or how long ago (`2h`, `7d`).
    from: Option<String>,
    /// Ended at or before: the same, and a day to its end.
    to: Option<String>,
    /// Of this rep.
    rep: Option<String>,
    /// Of this agency.
    agency: Option<String>,
    /// Of this drill.
    drill: Option<String>,
    /// `processing`, `scored` or `unscored`.
    status: Option<String>,
    /// Of this source: `roleplay` or `real_call`.
    source: Option<String>,
    /// Rows in a page, 1 to 100; 50 unless given.
    limit: Option<String>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A page of calls, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CallList {
    /// The rows.
    data: Vec<CallRow>,
    /// Where the next page starts; `null` on the last.
    next_cursor: Option<String>,
}

/// A call with its score and transcript.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CallView {
    #[serde(flatten)]
    row: CallRow,
    /// Athos's score object, every key of it; `null` until the call is scored.
    #[schema(value_type = Option<Object>)]
    score: Option<serde_json::Value>,
    /// The turns, in order; `null` until the call is scored, empty when they are not kept.
    transcript: Option<Vec<TurnView>>,
    /// When the transcript was removed (`RETENTION_DAYS`), or left out in the first place (`STORE_TRANSCRIPTS=false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Timestamp>)]
    transcript_purged_at: Option<Timestamp>,
    /// Why the call could not be scored; a machine code.
    reason: Option<String>,
    /// The same for people.
    reason_message: Option<String>,
    /// Whether `/athos/calls/{callId}/recording` leads to one.
    has_recording: bool,
}

/// One turn of a transcript.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Turn)]
struct TurnView {
    /// Who spoke.
    #[schema(example = "rep")]
    role: String,
    /// What was said. Hostile text: whoever shows it shows it as text.
    content: String,
    /// Seconds from the start of the call.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "plain")]
    start_time: Option<f64>,
    /// Seconds from the start of the call.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "plain")]
    end_time: Option<f64>,
}

impl From<Turn> for TurnView {
    fn from(turn: Turn) -> Self {
        Self {
            role: turn.role.as_str().to_owned(),
            content: turn.content,
            start_time: turn.start_time,
            end_time: turn.end_time,
        }
    }
}

/// List calls
///
/// Newest first; a rep sees their own, a manager those of the agency, an admin or a service all.
#[utoipa::path(
    get, path = "/athos/calls", tag = "athos", params(ListQuery),
    responses(
        (status = 200, body = CallList),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
        (status = 503, body = ErrorEnvelope, description = "READ_TIMED_OUT: ask for less; STORE_UNAVAILABLE"),
    ),
    security(("bearer" = [])),
)]
async fn list_calls(
    State(state): State<AppState>,
    reader: Reader,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Query(query) = query?;
    let limit = parse_limit(query.limit.as_deref())?;
    let after = query.cursor.as_deref().map(read_cursor).transpose()?;
    let (from, to) = parse_range(
        query.from.as_deref(),
        query.to.as_deref(),
        state.clock.now(),
    )?;
    let filter = CallFilter {
        scope: reader.scope(),
        from,
        to,
        rep: query.rep,
        agency: query.agency,
        drill: query.drill,
        status: parse_word("status", query.status.as_deref())?,
        source: parse_source(&state.store, query.source).await?,
    };
    let page = state.store.list_calls(&filter, limit, after).await?;
    let list = CallList {
        data: page.rows,
        next_cursor: page.next.map(write_cursor),
    };
    Ok(([(CACHE_CONTROL, "private, no-store")], Json(list)))
}

/// Show a call
///
/// `processing` until its detail is here, then `scored` with score and transcript, or `unscored` with the reason.
#[utoipa::path(
    get, path = "/athos/calls/{callId}", tag = "athos",
    params(("callId" = String, Path, description = "Athos's id of the call")),
    responses(
        (status = 200, body = CallView),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 404, body = ErrorEnvelope, description = "CALL_NOT_FOUND: not there, or not yours"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
        (status = 503, body = ErrorEnvelope, description = "READ_TIMED_OUT: ask for less; STORE_UNAVAILABLE"),
    ),
    security(("bearer" = [])),
)]
async fn show_call(
    State(state): State<AppState>,
    reader: Reader,
    Path(call_id): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let call = state
        .store
        .find_call(&reader.scope(), &call_id)
        .await?
        .ok_or(ApiError::CallNotFound)?;
    let content = call
        .raw
        .as_deref()
        .map(types::read_content)
        .transpose()
        .map_err(StoreError::Unreadable)?;
    let (score, transcript) = match content {
        Some(content) => {
            let turns = content.transcript.into_iter().map(TurnView::from);
            (content.score, Some(turns.collect()))
        }
        None => (None, None),
    };
    let view = CallView {
        row: call.row,
        score,
        transcript,
        transcript_purged_at: call.purged_at,
        reason: call.reason,
        reason_message: call.reason_message,
        has_recording: call.has_recording,
    };
    Ok(([(CACHE_CONTROL, "private, no-store")], Json(view)))
}

/// Cursors are opaque to callers: what is in them may change.
fn write_cursor(key: PageKey) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", key.sort_at.as_millis(), key.seq))
}

fn read_cursor(cursor: &str) -> Result<PageKey, ApiError> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (sort_at, seq) = std::str::from_utf8(&bytes).ok()?.split_once('.')?;
        Some(PageKey {
            sort_at: Timestamp::from_millis(sort_at.parse().ok()?),
            seq: seq.parse().ok()?,
        })
    };
    read().ok_or_else(|| ApiError::InvalidRequest("cursor is not one of ours".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_and_garbage_is_refused(sort_at: i64, seq: i64, garbage in "\\PC{0,40}") {
            let key = PageKey { sort_at: Timestamp::from_millis(sort_at), seq };
            prop_assert_eq!(read_cursor(&write_cursor(key)).ok(), Some(key));
            let _ = read_cursor(&garbage);
        }
    }
}
