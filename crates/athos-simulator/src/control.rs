//! The control plane, for tests, the page and curl: end calls, list deliveries and wait for them, switch generations, set
//! faults, count requests.

mod bulk;

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{Method, header};
use axum::middleware::from_fn;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower_http::cors::{Any, CorsLayer};
use url::Url;

use super::active::Active;
use super::directory::Handle;
use super::error::ApiError;
use super::faults::Faults;
use super::options::Contract;
use super::request::{Body, json_object, parameters};
use super::state::Memory;
use super::vendor::SharedVendor;
use super::{deliver, middleware};

const MAX_DURATION_SECS: u64 = 2 * 60 * 60;
const DEFAULT_WAIT_MS: u64 = 10_000;
const MAX_WAIT_MS: u64 = 120_000;

type Answer = Result<Json<Value>, ApiError>;

/// What only tests and people at a terminal call.
pub(super) fn router() -> Router<SharedVendor> {
    Router::new()
        .route("/_simulator/calls", get(list_everything))
        .route("/_simulator/burst", post(bulk::burst))
        .route("/_simulator/real-calls", post(bulk::make_real_calls))
        .route("/_simulator/deliveries", get(list_deliveries))
        .route("/_simulator/requests", get(count_requests))
        .route("/_simulator/agents/{id}", delete(remove_agent))
        .route("/_simulator/contract", get(show_contract).put(put_contract))
        .route("/_simulator/faults", get(show_faults).put(put_faults))
        .route("/_simulator/webhook-url", put(put_webhook_url))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(from_fn(middleware::refuse_cross_origin))
}

/// What the stand-in for the SDK calls from a page of another origin.
pub(super) fn browser_router() -> Router<SharedVendor> {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST])
        .allow_headers([header::CONTENT_TYPE]);
    Router::new()
        .route("/_simulator/calls/{callId}/end", post(end_call))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(cors)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EndCall {
    duration_sec: Option<u64>,
}

async fn end_call(
    State(vendor): State<SharedVendor>,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let body = body.map_err(|_| ApiError::too_large())?;
    let end: EndCall = if body.is_empty() {
        EndCall { duration_sec: None }
    } else {
        parameters(json_object(Ok(body))?)?
    };
    check_duration(end.duration_sec, MAX_DURATION_SECS)?;
    let now = vendor.now();
    let (ended, is_first) = vendor.change(|memory| memory.end_call(&id, end.duration_sec, now))?;
    if is_first {
        tracing::info!(call_id = id, "simulator ended a call");
        deliver::score_later(&vendor, vec![id.clone()]);
    }
    Ok(Json(json!({
        "callId": id,
        "status": "ended",
        "alreadyEnded": !is_first,
        "endedAt": ended.at,
        "durationSec": ended.duration_secs,
    })))
}

async fn list_everything(State(vendor): State<SharedVendor>) -> Json<Value> {
    let memory = vendor.memory();
    let calls: Vec<Value> = memory.calls().iter().map(|call| call.report()).collect();
    Json(json!({ "calls": calls }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wait {
    /// Until there are so many attempts.
    wait: Option<usize>,
    /// Until nothing is being scored, held, sent or waiting for its retry.
    #[serde(default)]
    idle: bool,
    timeout_ms: Option<u64>,
}

async fn list_deliveries(
    State(vendor): State<SharedVendor>,
    query: Result<Query<Wait>, QueryRejection>,
) -> Answer {
    let Query(wait) = query.map_err(|why| ApiError::invalid_request(why.body_text()))?;
    let is_there = |memory: &Memory| {
        let is_idle = memory.scoring == 0 && memory.unsettled == 0;
        memory.deliveries.len() >= wait.wait.unwrap_or(0) && (is_idle || !wait.idle)
    };
    let limit_ms = wait.timeout_ms.unwrap_or(DEFAULT_WAIT_MS).min(MAX_WAIT_MS);
    let mut bell = vendor.bell();
    let until_there = async {
        while !is_there(&vendor.memory()) {
            if bell.changed().await.is_err() {
                break;
            }
        }
    };
    let came = tokio::select! {
        waited = tokio::time::timeout(Duration::from_millis(limit_ms), until_there) => waited.is_ok(),
        () = vendor.shutdown.cancelled() => false,
    };
    let memory = vendor.memory();
    if !came {
        return Err(ApiError::wait_timeout(format!(
            "After {limit_ms} ms there are {} deliveries, {} webhooks not settled and {} calls being scored.",
            memory.deliveries.len(),
            memory.unsettled,
            memory.scoring,
        )));
    }
    Ok(Json(json!({
        "deliveries": memory.deliveries,
        "unsettled": memory.unsettled,
        "scoring": memory.scoring,
    })))
}

async fn count_requests(State(vendor): State<SharedVendor>) -> Json<Value> {
    Json(vendor.memory().requests_report())
}

async fn show_faults(State(vendor): State<SharedVendor>) -> Json<Value> {
    Json(vendor.memory().faults.report())
}

async fn put_faults(State(vendor): State<SharedVendor>, body: Body) -> Answer {
    let body = json_object(body)?;
    let names: Vec<String> = body.keys().cloned().collect();
    let faults = Faults::parse(body)?;
    let key = faults
        .key_revoked
        .as_ref()
        .and_then(|fault| fault.key.as_ref());
    if key.is_some_and(|key| !vendor.knows_key(&key.0)) {
        let message = "fault \"key-revoked\": key is not one of the simulator's keys";
        return Err(ApiError::invalid_request(message));
    }
    let report = vendor.change(|memory| {
        memory.faults = Active::new(faults);
        memory.faults.report()
    });
    tracing::info!(?names, "simulator's faults were replaced");
    deliver::release_held(&vendor);
    Ok(Json(report))
}

/// The current generation.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CurrentContract {
    contract: Contract,
}

async fn show_contract(State(vendor): State<SharedVendor>) -> Json<CurrentContract> {
    let contract = vendor.memory().contract;
    Json(CurrentContract { contract })
}

/// Switches the generation in place: what is stored stays, and is shown in the other shape.
async fn put_contract(
    State(vendor): State<SharedVendor>,
    body: Body,
) -> Result<Json<CurrentContract>, ApiError> {
    let CurrentContract { contract } = parameters(json_object(body)?)?;
    vendor.change(|memory| memory.contract = contract);
    tracing::info!(?contract, "simulator speaks another generation");
    Ok(Json(CurrentContract { contract }))
}

/// Removes an agent, named by the customer's id or the vendor's. Its calls stay, under the ids they have.
async fn remove_agent(State(vendor): State<SharedVendor>, Path(id): Path<String>) -> Answer {
    let handles = [Handle::Platform(id.clone()), Handle::Agent(id)];
    let removed = vendor.change(|memory| {
        let mut removed = handles
            .iter()
            .map(|handle| memory.directory.remove_agent(handle));
        removed.find_map(|agent| agent)
    });
    let agent = removed.ok_or_else(ApiError::agent_not_found)?;
    tracing::info!(agent = agent.id, "simulator forgot an agent");
    Ok(Json(json!({ "agent": agent })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookUrl {
    url: Option<Url>,
}

async fn put_webhook_url(State(vendor): State<SharedVendor>, body: Body) -> Answer {
    let WebhookUrl { url } = parameters(json_object(body)?)?;
    let is_http = |url: &Url| matches!(url.scheme(), "http" | "https");
    if url.as_ref().is_some_and(|url| !is_http(url)) {
        return Err(ApiError::invalid_request("url must be http or https."));
    }
    vendor.set_webhook_url(url.clone());
    Ok(Json(json!({ "url": url })))
}

fn check_duration(given_secs: Option<u64>, max_secs: u64) -> Result<(), ApiError> {
    match given_secs {
        Some(secs) if secs > max_secs => Err(ApiError::invalid_request(format!(
            "durationSec must be at most {max_secs}: no call is longer."
        ))),
        _ => Ok(()),
    }
}
