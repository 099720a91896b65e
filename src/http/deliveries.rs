//! `/athos/deliveries`: the outbox for those who run the service. List, look into one delivery, replay, and send a ping; what
//! is done by hand is on record. Reps and managers have no business here.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::api::{Api, routes};
use super::body::RawBody;
use super::error::{ApiError, ErrorEnvelope};
use super::extract::Operator;
use super::query::{Bound, Cursor, PageLimit, Parsed, Query};
use super::replay::{MAX_LISTED_IDS, ReplayAnswer, replay_steps};
use super::state::AppState;
use super::wire::{DeliveryRow, DeliveryState, PingAnswer, StoredDelivery};
use crate::model::{MessageKind, TimeBound};
use crate::store::{self, Act, DeliveryFilter, DeliveryReplay};

pub(super) fn router() -> Api {
    routes!(
        list_deliveries,
        show_delivery,
        replay_delivery,
        replay_deliveries,
        test_endpoints
    )
}

/// Which deliveries to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeliveryQuery {
    /// To the endpoint with this number.
    #[param(value_type = Option<i64>)]
    endpoint: Option<Parsed<i64>>,
    /// `waiting`, `sending`, `delivered`, `failed` or `superseded`.
    #[param(value_type = Option<String>)]
    state: Option<Parsed<store::DeliveryState>>,
    /// Of this type: `call.scored`, `call.unscored`, `call.updated`, `event.dead`, `audit.recorded`.
    #[param(value_type = Option<String>)]
    r#type: Option<Parsed<MessageKind>>,
    /// Written at or after: a moment (ISO 8601), a day in UTC (`2026-06-05`, from its start), or how long ago (`2h`, `7d`).
    #[param(value_type = Option<String>)]
    from: Option<Bound>,
    /// Written at or before: the same, and a day to its end.
    #[param(value_type = Option<String>)]
    to: Option<Bound>,
    /// About this call.
    call: Option<String>,
    /// Of the message with this `webhook-id`.
    message: Option<String>,
    /// Rows in a page, 1 to 100; 50 unless given.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    limit: PageLimit,
    /// `nextCursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor<i64>>,
}

/// A page of deliveries, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeliveryList {
    /// The rows.
    data: Vec<DeliveryRow>,
    /// Where the next page starts; `null` on the last.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<Cursor<i64>>,
}

/// Which deliveries to replay.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeliveryReplayRequest {
    /// `failed`, `delivered`, or `waiting`: sends now what waits for its next attempt.
    #[schema(value_type = DeliveryState, example = "failed")]
    state: Parsed<store::DeliveryState>,
    /// To the endpoint with this number; else to each.
    endpoint: Option<i64>,
    /// Written at or after: a moment (ISO 8601), a day in UTC (`2026-06-05`, from its start), or how long ago (`2h`, `7d`).
    #[schema(value_type = Option<String>, example = "2h")]
    since: Option<TimeBound>,
    /// Written at or before: the same, and a day to its end.
    #[schema(value_type = Option<String>, example = "2026-06-05")]
    until: Option<TimeBound>,
    /// Say which, and do nothing.
    #[serde(default)]
    dry_run: bool,
    /// `nextCursor` of the answer before.
    #[schema(value_type = Option<String>)]
    cursor: Option<Cursor<i64>>,
}

/// Which endpoints to test.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TestRequest {
    /// The endpoint with this number; else each.
    endpoint: Option<i64>,
}

/// What the endpoints answered.
#[derive(Serialize, ToSchema)]
struct TestAnswer {
    /// One for each endpoint.
    data: Vec<PingAnswer>,
}

/// List deliveries
///
/// The outbox, newest first: each message on its way to each endpoint.
#[utoipa::path(
    get, path = "/athos/deliveries", tag = "operations", params(DeliveryQuery),
    responses(
        (status = 200, body = DeliveryList),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, SCOPE_MISSING"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn list_deliveries(
    State(state): State<AppState>,
    _: Operator,
    Query(query): Query<DeliveryQuery>,
) -> Result<Json<DeliveryList>, ApiError> {
    let now = state.clock.now();
    let filter = DeliveryFilter {
        endpoint: query.endpoint.map(|Parsed(endpoint)| endpoint),
        state: query.state.map(|Parsed(state)| state),
        kind: query.r#type.map(|Parsed(kind)| kind),
        call: query.call,
        message: query.message,
        from: query.from.map(|bound| bound.first(now)),
        to: query.to.map(|bound| bound.last(now)),
    };
    let (limit, after) = (query.limit.0, query.cursor.map(|Cursor(id)| id));
    let page = state.store.list_deliveries(&filter, limit, after).await?;
    Ok(Json(DeliveryList {
        data: page.rows.into_iter().map(DeliveryRow::from).collect(),
        next_cursor: page.next.map(Cursor),
    }))
}

/// Show a delivery
///
/// With the body of its message as it would be sent now, and what was done to it by hand.
#[utoipa::path(
    get, path = "/athos/deliveries/{id}", tag = "operations",
    params(("id" = i64, Path, description = "our id of the delivery")),
    responses(
        (status = 200, body = StoredDelivery),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, SCOPE_MISSING"),
        (status = 404, body = ErrorEnvelope, description = "DELIVERY_NOT_FOUND"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn show_delivery(
    State(state): State<AppState>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<StoredDelivery>, ApiError> {
    let delivery = find(&state, &id).await?;
    let body = state.forwarder.body_of(&delivery);
    Ok(Json(StoredDelivery::new(delivery, body.as_deref())))
}

/// Replay a delivery
///
/// Its message is due now, with all its attempts and under the same `webhook-id`; it says what is true now.
#[utoipa::path(
    post, path = "/athos/deliveries/{id}/replay", tag = "operations",
    params(("id" = i64, Path, description = "our id of the delivery")),
    responses(
        (status = 200, body = ReplayAnswer),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, CROSS_SITE_REQUEST, SCOPE_MISSING"),
        (status = 404, body = ErrorEnvelope, description = "DELIVERY_NOT_FOUND"),
        (status = 409, body = ErrorEnvelope, description = "DELIVERY_WAITING: it is due or under way already; DELIVERY_OUTDATED: a newer message about the same call replaces it, or its endpoint is not configured any more"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn replay_delivery(
    State(state): State<AppState>,
    Operator { actor, .. }: Operator,
    Path(id): Path<String>,
) -> Result<Json<ReplayAnswer>, ApiError> {
    let row = find(&state, &id).await?.row;
    let now = state.clock.now();
    let one = DeliveryReplay::One(row.id);
    let replayed = state
        .store
        .replay_deliveries(&one, 0, actor.clone(), now)
        .await?;
    if replayed.ids.is_empty() {
        return Err(match row.due_at {
            Some(_) => ApiError::DeliveryWaiting,
            None => ApiError::DeliveryOutdated,
        });
    }
    tracing::info!(?actor, delivery = row.id, "delivery replayed by hand");
    Ok(Json(ReplayAnswer::done(replayed.ids, None)))
}

/// Replay many deliveries
///
/// Those in one state that were written within a time; a dry run says which. A request replays some thousands at most and
/// says what it did, also where it broke off: while `nextCursor` is not `null`, ask again with it as `cursor`.
#[utoipa::path(
    post, path = "/athos/deliveries/replay", tag = "operations",
    request_body(content = DeliveryReplayRequest, content_type = "application/json"),
    responses(
        (status = 200, body = ReplayAnswer),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, CROSS_SITE_REQUEST, SCOPE_MISSING"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn replay_deliveries(
    State(state): State<AppState>,
    Operator { actor, .. }: Operator,
    body: RawBody,
) -> Result<Json<ReplayAnswer>, ApiError> {
    let asked: DeliveryReplayRequest = body.json()?;
    if !asked.state.0.can_be_replayed() {
        return Err(ApiError::InvalidRequest(
            "state must be failed, delivered or waiting: the others are under way or replaced"
                .to_owned(),
        ));
    }
    let now = state.clock.now();
    let range = DeliveryReplay::Range {
        endpoint: asked.endpoint,
        state: asked.state.0,
        since: asked.since.map(|bound| bound.first(now)),
        until: asked.until.map(|bound| bound.last(now)),
    };
    if asked.dry_run {
        let would = state
            .store
            .count_replayable_deliveries(&range, MAX_LISTED_IDS, now);
        return Ok(Json(would.await?.into()));
    }
    let after = asked.cursor.map_or(0, |Cursor(id)| id);
    let step = |after| {
        let (state, actor) = (state.clone(), actor.clone());
        async move {
            let step = state
                .store
                .replay_deliveries(&range, after, actor, now)
                .await?;
            Ok((step.ids, step.next))
        }
    };
    let done = replay_steps(after, step).await?;
    tracing::info!(
        ?actor,
        deliveries = done.count(),
        "deliveries replayed by hand"
    );
    Ok(Json(done))
}

/// Test endpoints
///
/// Sends a signed message of type `ping` to each endpoint, or to one, and says what it answered. It says nothing of
/// messages that wait.
#[utoipa::path(
    post, path = "/athos/deliveries/test", tag = "operations",
    request_body(content = TestRequest, content_type = "application/json"),
    responses(
        (status = 200, body = TestAnswer),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "ADMIN_ONLY, CROSS_SITE_REQUEST, SCOPE_MISSING"),
        (status = 404, body = ErrorEnvelope, description = "ENDPOINT_NOT_FOUND"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
    ),
    security(("bearer" = ["admin"])),
)]
async fn test_endpoints(
    State(state): State<AppState>,
    Operator { actor, .. }: Operator,
    body: RawBody,
) -> Result<Json<TestAnswer>, ApiError> {
    let asked: TestRequest = body.json()?;
    let pinged = state.forwarder.test(asked.endpoint).await;
    if pinged.is_empty() && asked.endpoint.is_some() {
        return Err(ApiError::EndpointNotFound);
    }
    let mut data = Vec::with_capacity(pinged.len());
    for (endpoint, pinged) in pinged {
        let act = Act {
            at: state.clock.now(),
            actor: actor.clone(),
            act: "test_endpoint",
            subject: format!("endpoint {endpoint}"),
            result: Some(json!({ "status": pinged.status }).to_string()),
        };
        state.store.record_act(act).await?;
        data.push(PingAnswer::new(Some(endpoint), pinged));
    }
    Ok(Json(TestAnswer { data }))
}

async fn find(state: &AppState, id: &str) -> Result<store::StoredDelivery, ApiError> {
    let id = id.parse().map_err(|_| ApiError::DeliveryNotFound)?;
    let delivery = state.store.find_delivery(id).await?;
    delivery.ok_or(ApiError::DeliveryNotFound)
}
