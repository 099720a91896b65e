//! `/athos/events`: the inbox for those who run the service. List, look into one event, and replay; every replay is on
//! record. Reps and managers have no business here.

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
}

/// What was replayed; in a dry run, what would be.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Replayed {
    /// How many events.
    count: usize,
    /// Their ids.
    ids: Vec<i64>,
    /// Whether nothing was done.
    dry_run: bool,
}

impl Replayed {
    fn new(ids: Vec<i64>, dry_run: bool) -> Self {
        Self {
            count: ids.len(),
            ids,
            dry_run,
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
        (status = 200, body = Replayed),
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
    let ids = replay(&state, Replay::One(event.row.id), actor).await?;
    if ids.is_empty() {
        return Err(match event.row.settled_at {
            Some(_) => ApiError::EventPurged,
            None => ApiError::EventWaiting,
        });
    }
    Ok(Json(Replayed::new(ids, false)))
}

/// Replay many events
///
/// All in one state that came in within a time; a dry run says which.
#[utoipa::path(
    post, path = "/athos/events/replay", tag = "operations",
    request_body(content = ReplayRequest, content_type = "application/json"),
    responses(
        (status = 200, body = Replayed),
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
    let ids = if asked.dry_run {
        state.store.would_replay(range).await?
    } else {
        replay(&state, range, actor).await?
    };
    Ok(Json(Replayed::new(ids, asked.dry_run)))
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

async fn replay(state: &AppState, what: Replay, actor: Actor) -> Result<Vec<i64>, ApiError> {
    let now = state.clock.now();
    let ids = state.store.replay(what, actor.clone(), now).await?;
    tracing::info!(?actor, events = ids.len(), "events replayed by hand");
    Ok(ids)
}

fn read_cursor(cursor: &str) -> Result<i64, ApiError> {
    let id = cursor.parse();
    id.map_err(|_| ApiError::InvalidRequest("cursor is not one of ours".to_owned()))
}
