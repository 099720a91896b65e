//! `GET /athos/calls` and `GET /athos/calls/{callId}`: scores and transcripts, for those who may see them. The
//! scope comes from the caller; filters only narrow it.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ErrorEnvelope};
use super::extract::Reader;
use super::query::{Bound, Cursor, PageLimit, Parsed, Query, known_source};
use super::state::AppState;
use super::wire::{CallRow, plain, schema};
use crate::model::{CallStatus, KeyScope, Timestamp, Turn};
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
    #[param(value_type = Option<String>)]
    from: Option<Bound>,
    /// Ended at or before: the same, and a day to its end.
    #[param(value_type = Option<String>)]
    to: Option<Bound>,
    /// Of this rep.
    rep: Option<String>,
    /// Of this agency.
    agency: Option<String>,
    /// Of this drill.
    drill: Option<String>,
    /// `processing`, `scored` or `unscored`.
    #[param(value_type = Option<String>)]
    status: Option<Parsed<CallStatus>>,
    /// Of this source: `roleplay` or `real_call`.
    source: Option<String>,
    /// Rows in a page, 1 to 100; 50 unless given.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    limit: PageLimit,
    /// `nextCursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor<(i64, i64)>>,
}

/// A page of calls, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CallList {
    /// The rows.
    data: Vec<CallRow>,
    /// Where the next page starts; `null` on the last.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<Cursor<(i64, i64)>>,
}

/// A call with its score and transcript.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CallView {
    #[serde(flatten)]
    row: CallRow,
    /// Athos's score object, every key of it; `null` until the call is scored. To a key without the scope `transcripts` it
    /// has no quotes.
    #[schema(value_type = Option<Object>)]
    score: Option<serde_json::Value>,
    /// The turns, in order; `null` until the call is scored, and to a key without the scope `transcripts`; empty when they
    /// are not kept.
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
        (status = 403, body = ErrorEnvelope, description = "SCOPE_MISSING"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
        (status = 503, body = ErrorEnvelope, description = "READ_TIMED_OUT: ask for less; STORE_UNAVAILABLE"),
    ),
    security(("bearer" = ["read"])),
)]
async fn list_calls(
    State(state): State<AppState>,
    reader: Reader,
    Query(query): Query<ListQuery>,
) -> Result<Json<CallList>, ApiError> {
    let now = state.clock.now();
    let filter = CallFilter {
        scope: reader.scope(),
        from: query.from.map(|bound| bound.first(now)),
        to: query.to.map(|bound| bound.last(now)),
        rep: query.rep,
        agency: query.agency,
        drill: query.drill,
        status: query.status.map(|Parsed(status)| status),
        source: known_source(&state.store, query.source).await?,
    };
    let after = query.cursor.map(|Cursor((sort_at, seq))| PageKey {
        sort_at: Timestamp::from_millis(sort_at),
        seq,
    });
    let PageLimit(limit) = query.limit;
    let page = state.store.list_calls(&filter, limit, after).await?;
    let key = |next: PageKey| Cursor((next.sort_at.as_millis(), next.seq));
    Ok(Json(CallList {
        data: page.rows.into_iter().map(CallRow::from).collect(),
        next_cursor: page.next.map(key),
    }))
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
        (status = 403, body = ErrorEnvelope, description = "SCOPE_MISSING"),
        (status = 404, body = ErrorEnvelope, description = "CALL_NOT_FOUND: not there, or not yours"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
        (status = 503, body = ErrorEnvelope, description = "READ_TIMED_OUT: ask for less; STORE_UNAVAILABLE"),
    ),
    security(("bearer" = ["read"])),
)]
async fn show_call(
    State(state): State<AppState>,
    reader: Reader,
    Path(call_id): Path<String>,
) -> Result<Json<CallView>, ApiError> {
    let call = state
        .store
        .find_call(&reader.scope(), &call_id)
        .await?
        .ok_or(ApiError::CallNotFound)?;
    let with_words = reader.check(KeyScope::Transcripts).is_ok();
    let raw = call.raw.map(|raw| match with_words {
        true => raw,
        // What retention leaves of a call.
        false => types::redact_transcript(&raw),
    });
    let content = raw
        .as_deref()
        .map(types::read_content)
        .transpose()
        .map_err(StoreError::Unreadable)?;
    let (score, transcript) = match content {
        Some(content) => {
            let turns = content.transcript.into_iter().map(TurnView::from);
            (content.score, with_words.then(|| turns.collect()))
        }
        None => (None, None),
    };
    Ok(Json(CallView {
        row: call.row.into(),
        score,
        transcript,
        transcript_purged_at: call.purged_at,
        reason: call.reason,
        reason_message: call.reason_message,
        has_recording: call.has_recording,
    }))
}
