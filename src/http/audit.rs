//! `GET /athos/audit`: what people did by hand, by whom and to what, for those who run the service.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::{Api, routes};
use super::download::{self, Pages};
use super::error::{ApiError, ErrorEnvelope};
use super::extract::{Asked, Operator};
use super::query::{Bound, Cursor, PageLimit, Query};
use super::state::AppState;
use super::wire::AuditEntry;
use crate::store::{AuditFilter, SharedStore, StoreResult};

/// Entries of one page of a file.
const PAGE_ENTRIES: u32 = 1000;

pub(super) fn router() -> Api {
    routes!(list_audit)
}

/// Which entries to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// By this person (their id) or key (its name); `command` for those at a terminal.
    who: Option<String>,
    /// What was done: `replay`, `delete_rep`, or another word of `action`.
    action: Option<String>,
    /// Done at or after: a moment (ISO 8601), a day in UTC (`2026-06-05`, from its start), or how long ago (`2h`, `7d`).
    #[param(value_type = Option<String>)]
    from: Option<Bound>,
    /// Done at or before: the same, and a day to its end.
    #[param(value_type = Option<String>)]
    to: Option<Bound>,
    /// Rows in a page, 1 to 100; 50 unless given. A file has all.
    #[param(value_type = Option<String>)]
    limit: Option<PageLimit>,
    /// `nextCursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor<i64>>,
}

/// A page of the audit log, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditList {
    /// The rows.
    data: Vec<AuditEntry>,
    /// Where the next page starts; `null` on the last.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<Cursor<i64>>,
}

/// Read the audit log
///
/// Newest first: replays, erasures, and whatever else people do by hand. With `Accept: application/x-ndjson`, all of it, one
/// entry a line.
#[utoipa::path(
    get, path = "/athos/audit", tag = "operations", params(AuditQuery),
    responses(
        (status = 200, content((AuditList = "application/json"), (String = "application/x-ndjson"))),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, SCOPE_MISSING"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
        (status = 503, body = ErrorEnvelope, description = "TOO_MANY_STREAMS: files count as live streams; READ_TIMED_OUT, STORE_UNAVAILABLE"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn list_audit(
    State(state): State<AppState>,
    asked: Asked<Operator>,
    Query(query): Query<AuditQuery>,
) -> Result<Response, ApiError> {
    let now = state.clock.now();
    let filter = AuditFilter {
        who: query.who,
        action: query.action,
        from: query.from.map(|bound| bound.first(now)),
        to: query.to.map(|bound| bound.last(now)),
    };
    match asked {
        Asked::Page(_) => {
            let limit = query.limit.unwrap_or_default().0;
            let after = query.cursor.map(|Cursor(id)| id);
            let page = state.store.list_audit(&filter, limit, after).await?;
            let list = AuditList {
                data: page.rows.into_iter().map(AuditEntry::from).collect(),
                next_cursor: page.next.map(Cursor),
            };
            Ok(Json(list).into_response())
        }
        Asked::File(format, standing) => {
            download::refuse_paging(query.limit.is_some() || query.cursor.is_some())?;
            let pages = AuditPages {
                store: state.store.clone(),
                filter,
                after: None,
                has_ended: false,
            };
            download::answer(state, *standing, format, "audit", String::new(), pages).await
        }
    }
}

/// The audit log on its way into a file.
struct AuditPages {
    store: SharedStore,
    filter: AuditFilter,
    after: Option<i64>,
    has_ended: bool,
}

impl Pages for AuditPages {
    async fn next(&mut self) -> StoreResult<Option<String>> {
        if self.has_ended {
            return Ok(None);
        }
        let page = self
            .store
            .list_audit(&self.filter, PAGE_ENTRIES, self.after)
            .await?;
        self.after = page.next;
        self.has_ended = page.next.is_none();
        let mut text = String::new();
        for entry in page.rows {
            // It is made of strings and numbers; there is nothing in it that cannot be written.
            text += &serde_json::to_string(&AuditEntry::from(entry)).unwrap_or_default();
            text.push('\n');
        }
        Ok(Some(text))
    }
}
