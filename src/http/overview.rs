//! What operators see beside the inbox: how much waits and what was lost (`/athos/overview`), and every request for a
//! session token, with those whose call never appeared (`/athos/mints`).

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ErrorEnvelope};
use super::events::operator;
use super::query::{parse_limit, parse_range};
use super::read_limit::Reader;
use super::state::AppState;
use crate::model::{Timestamp, schema};
use crate::store::{MINT_MAY_TAKE, Mint, MintFilter, Received, Run};

/// What was lost is counted this far back.
const RECENT_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// Runs to look at for that: a day of the usual interval, and some.
const RUNS: u32 = 400;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(show_overview))
        .routes(routes!(list_mints))
}

/// How much work lies in the inbox, and what was lost on the way.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Overview {
    /// Now, by the service's clock.
    #[schema(value_type = schema::Timestamp)]
    now: Timestamp,
    /// Events pending or being processed.
    waiting: u64,
    /// When the oldest of them came in.
    #[schema(value_type = Option<schema::Timestamp>)]
    oldest_received_at: Option<Timestamp>,
    /// Events given up.
    dead: u64,
    /// Calls that reconciliation brought in during the last 24 hours: each is a webhook that never came.
    repaired: u64,
    /// Tokens of the last 24 hours, less the last three, without a call of their rep at the time.
    mints_without_call: u64,
    /// The latest reconciliation of each source.
    last_runs: Vec<Run>,
    /// What has come in since `from`, and what became of it; only when `from` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<Received>,
}

/// Which time to count for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OverviewQuery {
    /// Also count what has come in since: a moment (ISO 8601), a day in UTC (`2026-06-05`), or how long ago (`10m`, `2h`).
    from: Option<String>,
}

/// Which tokens to list.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct MintQuery {
    /// `true`: only those that were given out more than three hours ago, and have no call of their rep at the time.
    without_call: Option<bool>,
    /// For this rep.
    rep: Option<String>,
    /// Asked for at or after: a moment (ISO 8601), a day in UTC (`2026-06-05`, from its start), or how long ago (`2h`, `7d`).
    from: Option<String>,
    /// Asked for at or before: the same, and a day to its end.
    to: Option<String>,
    /// Rows in a page, 1 to 100; 50 unless given.
    limit: Option<String>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A page of requests for tokens, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MintList {
    /// The rows.
    data: Vec<Mint>,
    /// Where the next page starts; `null` on the last.
    next_cursor: Option<String>,
}

/// Show how the inbox does
///
/// What waits, what was given up, and what was lost in the last 24 hours.
#[utoipa::path(
    get, path = "/athos/overview", tag = "operations", params(OverviewQuery),
    responses(
        (status = 200, body = Overview),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = [])),
)]
async fn show_overview(
    State(state): State<AppState>,
    reader: Reader,
    query: Result<Query<OverviewQuery>, QueryRejection>,
) -> Result<impl IntoResponse, ApiError> {
    operator(&reader)?;
    let Query(query) = query?;
    let now = state.clock.now();
    let (from, _) = parse_range(query.from.as_deref(), None, now)?;
    let received = match from {
        Some(from) => Some(state.store.received_since(from).await?),
        None => None,
    };
    let since = now.minus(RECENT_WINDOW);
    let depth = state.store.queue_depth().await?;
    let runs = state.store.latest_runs(RUNS).await?;
    let lately = runs.iter().filter(|run| run.started_at >= since);
    let overview = Overview {
        now,
        waiting: depth.waiting,
        oldest_received_at: depth.oldest_received_at,
        dead: depth.dead,
        repaired: lately.map(|run| u64::from(run.repaired)).sum(),
        mints_without_call: state
            .store
            .mints_without_call(since, now.minus(MINT_MAY_TAKE))
            .await?,
        last_runs: latest_of_each_source(runs),
        received,
    };
    Ok(([(CACHE_CONTROL, "private, no-store")], Json(overview)))
}

/// List session tokens
///
/// Every request for one, newest first, and whether its rep has a call of that time. The tokens themselves are not kept.
#[utoipa::path(
    get, path = "/athos/mints", tag = "operations", params(MintQuery),
    responses(
        (status = 200, body = MintList),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = [])),
)]
async fn list_mints(
    State(state): State<AppState>,
    reader: Reader,
    query: Result<Query<MintQuery>, QueryRejection>,
) -> Result<impl IntoResponse, ApiError> {
    operator(&reader)?;
    let Query(query) = query?;
    let limit = parse_limit(query.limit.as_deref())?;
    let without_call = query.without_call.unwrap_or(false);
    let now = state.clock.now();
    let (from, mut to) = parse_range(query.from.as_deref(), query.to.as_deref(), now)?;
    if without_call {
        let over = now.minus(MINT_MAY_TAKE);
        to = Some(to.map_or(over, |to| to.min(over)));
    }
    let filter = MintFilter {
        from,
        to,
        rep: query.rep,
        without_call,
    };
    let page = state
        .store
        .list_mints(&filter, limit, query.cursor.as_deref())
        .await?;
    let list = MintList {
        data: page.rows,
        next_cursor: page.next,
    };
    Ok(([(CACHE_CONTROL, "private, no-store")], Json(list)))
}

/// Of runs, newest first.
fn latest_of_each_source(runs: Vec<Run>) -> Vec<Run> {
    let mut latest: Vec<Run> = Vec::new();
    for run in runs {
        if latest.iter().all(|known| known.source != run.source) {
            latest.push(run);
        }
    }
    latest
}
