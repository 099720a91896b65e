//! What operators see beside the inbox: how much waits and what was lost (`/athos/overview`), and every request for a
//! session token, with those whose call never appeared (`/athos/mints`).

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::{Api, routes};
use super::error::{ApiError, ErrorEnvelope};
use super::extract::Operator;
use super::query::{Bound, Cursor, PageLimit, Query};
use super::state::AppState;
use super::wire::{Endpoint, Mint, ReplicasSeen, schema};
use crate::model::Timestamp;
use crate::store::{self, MINT_MAY_TAKE, MintFilter};

/// What was lost is counted this far back.
const RECENT_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// Runs to look at for that: a day of the usual interval, and some.
const MAX_RUNS: u32 = 400;

pub(super) fn router() -> Api {
    routes!(show_overview, list_mints)
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
    /// The endpoints of `FORWARD_URLS`, and those taken out of it that messages are left for.
    endpoints: Vec<Endpoint>,
    #[serde(flatten)]
    seen: ReplicasSeen,
    /// What has come in since `from`, and what became of it; only when `from` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<Received>,
}

/// A reconciliation, as it is on record.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Run {
    /// Whose calls it looked at: `roleplay` or `real_call`.
    source: String,
    /// When it began.
    #[schema(value_type = schema::Timestamp)]
    started_at: Timestamp,
    /// When it ended; `null` while it goes on, or if its process died.
    #[schema(value_type = Option<schema::Timestamp>)]
    finished_at: Option<Timestamp>,
    /// Calls that it found in Athos's list.
    seen: u32,
    /// Calls that it brought in: each is a webhook that never came.
    repaired: u32,
    /// Why it did not reach the end, in words.
    error: Option<String>,
}

impl From<store::Run> for Run {
    fn from(run: store::Run) -> Self {
        Self {
            source: run.source,
            started_at: run.started_at,
            finished_at: run.finished_at,
            seen: run.seen,
            repaired: run.repaired,
            error: run.error,
        }
    }
}

/// What has come in within a time, and what became of it so far.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Received {
    /// Counted from here on.
    #[schema(value_type = schema::Timestamp)]
    from: Timestamp,
    /// Webhooks, each counted once however often it was delivered.
    webhooks: u64,
    /// Deliveries of a webhook that had been delivered before.
    duplicates: u64,
    /// Events of calls that reconciliation brought in: their webhook never came.
    repaired: u64,
    /// Of all these events, those whose call is scored.
    scored: u64,
    /// Those whose call could not be scored.
    unscored: u64,
    /// Those that are pending or being processed.
    waiting: u64,
    /// Those that were not understood.
    ignored: u64,
    /// Those that were given up.
    dead: u64,
}

impl From<store::Received> for Received {
    fn from(received: store::Received) -> Self {
        Self {
            from: received.from,
            webhooks: received.webhooks,
            duplicates: received.duplicates,
            repaired: received.repaired,
            scored: received.scored,
            unscored: received.unscored,
            waiting: received.waiting,
            ignored: received.ignored,
            dead: received.dead,
        }
    }
}

/// Which time to count for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OverviewQuery {
    /// Also count what has come in since: a moment (ISO 8601), a day in UTC (`2026-06-05`), or how long ago (`10m`, `2h`).
    #[param(value_type = Option<String>)]
    from: Option<Bound>,
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
    #[param(value_type = Option<String>)]
    from: Option<Bound>,
    /// Asked for at or before: the same, and a day to its end.
    #[param(value_type = Option<String>)]
    to: Option<Bound>,
    /// Rows in a page, 1 to 100; 50 unless given.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    limit: PageLimit,
    /// `nextCursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor<String>>,
}

/// A page of requests for tokens, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MintList {
    /// The rows.
    data: Vec<Mint>,
    /// Where the next page starts; `null` on the last.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<Cursor<String>>,
}

/// Show how the inbox does
///
/// What waits, what was given up, what was lost in the last 24 hours, and which replicas there are.
#[utoipa::path(
    get, path = "/athos/overview", tag = "operations", params(OverviewQuery),
    responses(
        (status = 200, body = Overview),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, SCOPE_MISSING"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn show_overview(
    State(state): State<AppState>,
    _: Operator,
    Query(query): Query<OverviewQuery>,
) -> Result<Json<Overview>, ApiError> {
    let now = state.clock.now();
    let received = match query.from {
        Some(from) => Some(state.store.received_since(from.first(now)).await?.into()),
        None => None,
    };
    let since = now.minus(RECENT_WINDOW);
    let depth = state.store.queue_depth().await?;
    let runs = state.store.latest_runs(MAX_RUNS).await?;
    let lately = runs.iter().filter(|run| run.started_at >= since);
    Ok(Json(Overview {
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
        endpoints: Endpoint::of_interest(state.store.endpoints().await?),
        seen: state.replica.seen().await?.into(),
        received,
    }))
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
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, SCOPE_MISSING"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn list_mints(
    State(state): State<AppState>,
    _: Operator,
    Query(query): Query<MintQuery>,
) -> Result<Json<MintList>, ApiError> {
    let now = state.clock.now();
    let without_call = query.without_call.unwrap_or(false);
    let mut to = query.to.map(|bound| bound.last(now));
    if without_call {
        let over = now.minus(MINT_MAY_TAKE);
        to = Some(to.map_or(over, |to| to.min(over)));
    }
    let filter = MintFilter {
        from: query.from.map(|bound| bound.first(now)),
        to,
        rep: query.rep,
        without_call,
    };
    let (limit, after) = (query.limit.0, query.cursor.map(|Cursor(id)| id));
    let page = state
        .store
        .list_mints(&filter, limit, after.as_deref())
        .await?;
    Ok(Json(MintList {
        data: page.rows.into_iter().map(Mint::from).collect(),
        next_cursor: page.next.map(Cursor),
    }))
}

/// Of runs, newest first.
fn latest_of_each_source(runs: Vec<store::Run>) -> Vec<Run> {
    let mut latest: Vec<Run> = Vec::new();
    for run in runs {
        if latest.iter().all(|known| known.source != run.source) {
            latest.push(run.into());
        }
    }
    latest
}
