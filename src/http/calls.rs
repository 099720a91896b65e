//! `GET /athos/calls` and `GET /athos/calls/{callId}`: scores and transcripts, for those who may see them. The
//! scope comes from the caller; filters only narrow it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::VARY;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::{Api, routes};
use super::download;
use super::error::{ApiError, ErrorEnvelope};
use super::extract::{Asked, Reader, admit};
use super::query::{Bound, Cursor, PageLimit, Parsed, Query, known_source};
use super::state::AppState;
use super::wire::{CallRow, Turn, schema};
use crate::export::{Export, ExportOptions, FileFormat};
use crate::model::{CallStatus, KeyScope, Timestamp, string_enum};
use crate::store::{CallFilter, PageKey, StoreError};
use athos_api::types;

pub(super) fn router() -> Api {
    routes!(list_calls, show_call)
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
    /// Rows in a page, 1 to 100; 50 unless given. A file has all.
    #[param(value_type = Option<String>)]
    limit: Option<PageLimit>,
    /// `nextCursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor<(i64, i64)>>,
    /// `transcript`: a file has what was said in each call, too. It takes the scope `transcripts`.
    #[param(value_type = Option<String>)]
    include: Option<Parsed<Include>>,
    /// A file of CSV begins with a byte order mark, by which Excel knows UTF-8.
    bom: Option<bool>,
}

/// What a file may have besides the rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Include {
    Transcript,
}

string_enum!(Include, "part of a call", {
    Transcript: "transcript",
});

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
    transcript: Option<Vec<Turn>>,
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

/// List calls
///
/// Newest first; a rep sees their own, a manager those of the agency, an admin or a service all. With `Accept: text/csv` or
/// `application/x-ndjson`, all rows as a file, streamed; one that breaks off does not end as if it were whole.
#[utoipa::path(
    get, path = "/athos/calls", tag = "athos", params(ListQuery),
    responses(
        (status = 200, content((CallList = "application/json"), (String = "text/csv"), (String = "application/x-ndjson"))),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "SCOPE_MISSING"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
        (status = 503, body = ErrorEnvelope, description = "READ_TIMED_OUT: ask for less; STORE_UNAVAILABLE; TOO_MANY_STREAMS: files count as live streams"),
    ),
    security(("bearer" = ["read"])),
)]
async fn list_calls(
    State(state): State<AppState>,
    asked: Asked<Reader>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let now = state.clock.now();
    let filter = CallFilter {
        scope: match &asked {
            Asked::Page(reader) => reader.scope(),
            Asked::File(_, standing) => standing.caller.scope(),
        },
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
    if let Asked::File(format, standing) = asked {
        download::refuse_paging(query.limit.is_some() || after.is_some())?;
        let options = ExportOptions {
            format,
            with_transcripts: query.include.is_some(),
            bom: query.bom.unwrap_or(false),
        };
        if options.bom && format != FileFormat::Csv {
            return Err(ApiError::InvalidRequest(
                "bom is for CSV: JSON has no byte order mark".to_owned(),
            ));
        }
        if options.with_transcripts {
            admit(standing.caller.clone(), Some(KeyScope::Transcripts), &state)?;
        }
        let export = Export::new(state.store.clone(), filter, options, None);
        return download::answer(state, *standing, format, "calls", export.head(), export).await;
    }
    if query.include.is_some() || query.bom.is_some() {
        return Err(ApiError::InvalidRequest(
            "include and bom are for files: ask with Accept: text/csv or application/x-ndjson"
                .to_owned(),
        ));
    }
    let limit = query.limit.unwrap_or_default().0;
    let page = state.store.list_calls(&filter, limit, after).await?;
    let key = |next: PageKey| Cursor((next.sort_at.as_millis(), next.seq));
    let list = CallList {
        data: page.rows.into_iter().map(CallRow::from).collect(),
        next_cursor: page.next.map(key),
    };
    Ok(([(VARY, "accept")], Json(list)).into_response())
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
            let turns = content.transcript.into_iter().map(Turn::from);
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
