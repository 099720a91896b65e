//! `/athos/events`: the inbox for those who run the service. List, look into one event, and replay; every replay is on
//! record. Reps and managers have no business here.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Caller, Role};
use super::body::RawBody;
use super::error::{ApiError, ErrorEnvelope};
use super::query::{parse_limit, parse_range, parse_word};
use super::read_limit::Reader;
use super::state::AppState;
use crate::model::{EventState, TimeBound};
use crate::store::{Actor, EventFilter, EventRow, Replay, StoredEvent};

/// Ids that a dry run lists.
const LISTED_IDS: u32 = 1_000;
/// Events after which a request is answered, though there may be more.
const MOST_REPLAYED: usize = 5_000;
/// The same after some time: well before the request's own deadline.
const REPLAY_TIME: Duration = Duration::from_secs(5);

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_events))
        .routes(routes!(show_event))
        .routes(routes!(replay_event))
        .routes(routes!(replay_events))
}

/// Which events to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    /// `pending`, `processing`, `done`, `ignored` or `dead`.
    state: Option<String>,
    /// `accepted`, or `ignored`: signed, but not understood.
    verdict: Option<String>,
    /// `webhook`, or `reconcile`: its webhook never came.
    origin: Option<String>,
    /// Came in at or after: a moment (ISO 8601), a day in UTC (`2026-06-05`, from its start), or how long ago (`2h`, `7d`).
    from: Option<String>,
    /// Came in at or before: the same, and a day to its end.
    to: Option<String>,
    /// About this call.
    call: Option<String>,
    /// With this webhook id.
    webhook: Option<String>,
    /// Rows in a page, 1 to 100; 50 unless given.
    limit: Option<String>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A page of events, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EventList {
    /// The rows.
    data: Vec<EventRow>,
    /// Where the next page starts; `null` on the last.
    next_cursor: Option<String>,
}

/// Which events to replay.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReplayRequest {
    /// `dead`, `ignored` or `done`.
    #[schema(example = "dead")]
    state: EventState,
    /// Came in at or after: a moment (ISO 8601), a day in UTC (`2026-06-05`, from its start), or how long ago (`2h`, `7d`).
    #[schema(value_type = Option<String>, example = "2h")]
    since: Option<TimeBound>,
    /// Came in at or before: the same, and a day to its end.
    #[schema(value_type = Option<String>, example = "2026-06-05")]
    until: Option<TimeBound>,
    /// Say which, and do nothing.
    #[serde(default)]
    dry_run: bool,
    /// `nextCursor` of the answer before.
    cursor: Option<String>,
}

/// What was replayed; in a dry run, what would be.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReplayAnswer {
    /// How many events were replayed by this request; in a dry run, how many there are.
    count: u64,
    /// Their ids; in a dry run, the first thousand.
    ids: Vec<i64>,
    /// Whether nothing was done.
    dry_run: bool,
    /// There may be more: ask again with it. `null` when all is done.
    next_cursor: Option<String>,
}

impl ReplayAnswer {
    fn done(ids: Vec<i64>, next: Option<i64>) -> Self {
        Self {
            count: ids.len() as u64,
            ids,
            dry_run: false,
            next_cursor: next.map(|id| id.to_string()),
        }
    }
}

/// List events
///
/// The inbox, newest first.
#[utoipa::path(
    get, path = "/athos/events", tag = "operations", params(EventQuery),
    responses(
        (status = 200, body = EventList),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = [])),
)]
async fn list_events(
    State(state): State<AppState>,
    reader: Reader,
    query: Result<Query<EventQuery>, QueryRejection>,
) -> Result<impl IntoResponse, ApiError> {
    operator(&reader)?;
    let Query(query) = query?;
    let limit = parse_limit(query.limit.as_deref())?;
    let (from, to) = parse_range(
        query.from.as_deref(),
        query.to.as_deref(),
        state.clock.now(),
    )?;
    let filter = EventFilter {
        state: parse_word("state", query.state.as_deref())?,
        origin: parse_word("origin", query.origin.as_deref())?,
        verdict: parse_word("verdict", query.verdict.as_deref())?,
        from,
        to,
        call: query.call,
        webhook: query.webhook,
    };
    let after = query.cursor.as_deref().map(read_cursor).transpose()?;
    let page = state.store.list_events(&filter, limit, after).await?;
    let list = EventList {
        data: page.rows,
        next_cursor: page.next.map(|id| id.to_string()),
    };
    Ok(([(CACHE_CONTROL, "private, no-store")], Json(list)))
}

/// Show an event
///
/// With the body as it came, every attempt, and everything that was done by hand.
#[utoipa::path(
    get, path = "/athos/events/{id}", tag = "operations",
    params(("id" = i64, Path, description = "our id of the event")),
    responses(
        (status = 200, body = StoredEvent),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY"),
        (status = 404, body = ErrorEnvelope, description = "EVENT_NOT_FOUND"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = [])),
)]
async fn show_event(
    State(state): State<AppState>,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    operator(&reader)?;
    let event = find(&state, &id).await?;
    Ok(([(CACHE_CONTROL, "private, no-store")], Json(event)))
}

/// Replay an event
///
/// It is pending again, as if it had just come in.
#[utoipa::path(
    post, path = "/athos/events/{id}/replay", tag = "operations",
    params(("id" = i64, Path, description = "our id of the event")),
    responses(
        (status = 200, body = ReplayAnswer),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, CROSS_SITE_REQUEST"),
        (status = 404, body = ErrorEnvelope, description = "EVENT_NOT_FOUND"),
        (status = 409, body = ErrorEnvelope, description = "EVENT_WAITING: it is pending or being processed already"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = [])),
)]
async fn replay_event(
    State(state): State<AppState>,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let actor = operator(&reader)?;
    let event = find(&state, &id).await?;
    let now = state.clock.now();
    let what = Replay::One(event.row.id);
    let replayed = state.store.replay(what, 0, actor.clone(), now).await?;
    if replayed.ids.is_empty() {
        return Err(match event.row.settled_at {
            Some(_) => ApiError::EventPurged,
            None => ApiError::EventWaiting,
        });
    }
    tracing::info!(?actor, event = event.row.id, "event replayed by hand");
    Ok(Json(ReplayAnswer::done(replayed.ids, None)))
}

/// Replay many events
///
/// Those in one state that came in within a time; a dry run says which. A request replays some thousands at most and says
/// what it did, also where it broke off: while `nextCursor` is not `null`, ask again with it as `cursor`.
#[utoipa::path(
    post, path = "/athos/events/replay", tag = "operations",
    request_body(content = ReplayRequest, content_type = "application/json"),
    responses(
        (status = 200, body = ReplayAnswer),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, CROSS_SITE_REQUEST"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = [])),
)]
async fn replay_events(
    State(state): State<AppState>,
    reader: Reader,
    body: RawBody,
) -> Result<impl IntoResponse, ApiError> {
    let actor = operator(&reader)?;
    let asked: ReplayRequest = body.json()?;
    if matches!(asked.state, EventState::Pending | EventState::Processing) {
        return Err(ApiError::InvalidRequest(
            "state must be dead, ignored or done: the others wait already".to_owned(),
        ));
    }
    let now = state.clock.now();
    let range = Replay::Range {
        state: asked.state,
        since: asked.since.map(|bound| bound.first(now)),
        until: asked.until.map(|bound| bound.last(now)),
    };
    if asked.dry_run {
        let would = state.store.count_replayable(range, LISTED_IDS).await?;
        return Ok(Json(ReplayAnswer {
            count: would.count,
            ids: would.first,
            dry_run: true,
            next_cursor: None,
        }));
    }
    let after = asked.cursor.as_deref().map(read_cursor).transpose()?;
    replay_steps(&state, range, after.unwrap_or(0), actor)
        .await
        .map(Json)
}

/// Replays until all is done, or as much as one request may. Of what was done the caller is told in any case: an error
/// after the first step only ends it.
async fn replay_steps(
    state: &AppState,
    range: Replay,
    mut after: i64,
    actor: Actor,
) -> Result<ReplayAnswer, ApiError> {
    let started = tokio::time::Instant::now();
    let now = state.clock.now();
    let mut ids = Vec::new();
    let next = loop {
        let step = state.store.replay(range, after, actor.clone(), now).await;
        let step = match step {
            Ok(step) => step,
            Err(error) if ids.is_empty() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, replayed = ids.len(), "failed to finish a range replay");
                break Some(after);
            }
        };
        ids.extend(step.ids);
        let Some(next) = step.next else { break None };
        after = next;
        if ids.len() >= MOST_REPLAYED || started.elapsed() >= REPLAY_TIME {
            break Some(after);
        }
    };
    tracing::info!(?actor, events = ids.len(), "events replayed by hand");
    Ok(ReplayAnswer::done(ids, next))
}

/// The caller as one who may look into the inbox and act on it: it has the calls of all reps.
pub(super) fn operator(caller: &Caller) -> Result<Actor, ApiError> {
    match caller {
        Caller::Service => Ok(Actor::Service),
        Caller::User(user) if user.role == Role::Admin => Ok(Actor::User(user.rep.clone())),
        Caller::User(_) => Err(ApiError::AdminOnly),
    }
}

async fn find(state: &AppState, id: &str) -> Result<StoredEvent, ApiError> {
    let id = id.parse().map_err(|_| ApiError::EventNotFound)?;
    let event = state.store.find_event(id).await?;
    event.ok_or(ApiError::EventNotFound)
}

fn read_cursor(cursor: &str) -> Result<i64, ApiError> {
    let id = cursor.parse();
    id.map_err(|_| ApiError::InvalidRequest("cursor is not one of ours".to_owned()))
}
