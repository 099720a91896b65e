//! `/athos/events`: the inbox for those who run the service. List, look into one event, and replay; every replay is on
//! record. Reps and managers have no business here.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::{Api, routes};
use super::body::RawBody;
use super::error::{ApiError, ErrorEnvelope};
use super::extract::Operator;
use super::query::{Bound, Cursor, PageLimit, Parsed, Query};
use super::replay::{MAX_LISTED_IDS, ReplayAnswer, replay_steps};
use super::state::AppState;
use super::wire::{EventRow, EventState, StoredEvent};
use crate::model::{self, TimeBound};
use crate::store::{self, EventFilter, EventVerdict, Origin, Replay};
use crate::worker::replay::replay_next;

pub(super) fn router() -> Api {
    routes!(list_events, show_event, replay_event, replay_events)
}

/// Which events to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    /// `pending`, `processing`, `done`, `ignored` or `dead`.
    #[param(value_type = Option<String>)]
    state: Option<Parsed<model::EventState>>,
    /// `accepted`, or `ignored`: signed, but not understood.
    #[param(value_type = Option<String>)]
    verdict: Option<Parsed<EventVerdict>>,
    /// `webhook`, or `reconcile`: its webhook never came.
    #[param(value_type = Option<String>)]
    origin: Option<Parsed<Origin>>,
    /// Came in at or after: a moment (ISO 8601), a day in UTC (`2026-06-05`, from its start), or how long ago (`2h`, `7d`).
    #[param(value_type = Option<String>)]
    from: Option<Bound>,
    /// Came in at or before: the same, and a day to its end.
    #[param(value_type = Option<String>)]
    to: Option<Bound>,
    /// About this call.
    call: Option<String>,
    /// With this webhook id.
    webhook: Option<String>,
    /// Rows in a page, 1 to 100; 50 unless given.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    limit: PageLimit,
    /// `nextCursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor<i64>>,
}

/// A page of events, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EventList {
    /// The rows.
    data: Vec<EventRow>,
    /// Where the next page starts; `null` on the last.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<Cursor<i64>>,
}

/// Which events to replay.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReplayRequest {
    /// `dead`, `ignored` or `done`.
    #[schema(value_type = EventState, example = "dead")]
    state: Parsed<model::EventState>,
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
    #[schema(value_type = Option<String>)]
    cursor: Option<Cursor<i64>>,
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
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, SCOPE_MISSING"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn list_events(
    State(state): State<AppState>,
    _: Operator,
    Query(query): Query<EventQuery>,
) -> Result<Json<EventList>, ApiError> {
    let now = state.clock.now();
    let filter = EventFilter {
        state: query.state.map(|Parsed(state)| state),
        origin: query.origin.map(|Parsed(origin)| origin),
        verdict: query.verdict.map(|Parsed(verdict)| verdict),
        from: query.from.map(|bound| bound.first(now)),
        to: query.to.map(|bound| bound.last(now)),
        call: query.call,
        webhook: query.webhook,
    };
    let (limit, after) = (query.limit.0, query.cursor.map(|Cursor(id)| id));
    let page = state.store.list_events(&filter, limit, after).await?;
    Ok(Json(EventList {
        data: page.rows.into_iter().map(EventRow::from).collect(),
        next_cursor: page.next.map(Cursor),
    }))
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
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, SCOPE_MISSING"),
        (status = 404, body = ErrorEnvelope, description = "EVENT_NOT_FOUND"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn show_event(
    State(state): State<AppState>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<StoredEvent>, ApiError> {
    let event = find(&state, &id).await?;
    Ok(Json(event.into()))
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
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, CROSS_SITE_REQUEST, SCOPE_MISSING"),
        (status = 404, body = ErrorEnvelope, description = "EVENT_NOT_FOUND"),
        (status = 409, body = ErrorEnvelope, description = "EVENT_WAITING: it is pending or being processed already"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn replay_event(
    State(state): State<AppState>,
    Operator { actor, .. }: Operator,
    Path(id): Path<String>,
) -> Result<Json<ReplayAnswer>, ApiError> {
    let event = find(&state, &id).await?;
    let now = state.clock.now();
    let what = Replay::One(event.row.id);
    let replayed = replay_next(&*state.store, what, 0, actor.clone(), now).await?;
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
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, CROSS_SITE_REQUEST, SCOPE_MISSING"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn replay_events(
    State(state): State<AppState>,
    operator: Operator,
    body: RawBody,
) -> Result<Json<ReplayAnswer>, ApiError> {
    let asked: ReplayRequest = body.json()?;
    if matches!(
        asked.state.0,
        model::EventState::Pending | model::EventState::Processing
    ) {
        return Err(ApiError::InvalidRequest(
            "state must be dead, ignored or done: the others wait already".to_owned(),
        ));
    }
    let now = state.clock.now();
    let range = Replay::Range {
        state: asked.state.0,
        since: asked.since.map(|bound| bound.first(now)),
        until: asked.until.map(|bound| bound.last(now)),
    };
    if asked.dry_run {
        let would = state.store.count_replayable(range, MAX_LISTED_IDS).await?;
        return Ok(Json(would.into()));
    }
    let after = asked.cursor.map_or(0, |Cursor(id)| id);
    let actor = operator.actor;
    let step = |after| {
        let (state, actor) = (state.clone(), actor.clone());
        async move {
            let step = replay_next(&*state.store, range, after, actor, now).await?;
            Ok((step.ids, step.next))
        }
    };
    let done = replay_steps(after, step).await?;
    tracing::info!(?actor, events = done.count(), "events replayed by hand");
    Ok(Json(done))
}

async fn find(state: &AppState, id: &str) -> Result<store::StoredEvent, ApiError> {
    let id = id.parse().map_err(|_| ApiError::EventNotFound)?;
    let event = state.store.find_event(id).await?;
    event.ok_or(ApiError::EventNotFound)
}
