//! Makes calls in bulk: bursts of role-plays that end now, and real calls. Reps who are named and not registered are
//! registered first.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use rand::RngExt;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, MAX_DURATION_SECS, check_duration};
use crate::call::{Drill, NewCall};
use crate::data::{PRODUCTS, Product, product_of};
use crate::deliver;
use crate::directory::{Handle, Rep};
use crate::error::ApiError;
use crate::request::{Body, json_object, parameters};
use crate::scenario::Difficulty;
use crate::state::Memory;
use crate::vendor::SharedVendor;
use athos_api::Timestamp;

const MAX_CALLS: u64 = 100_000;
/// Longest real call, in seconds.
const MAX_REAL_SECS: u64 = 8 * 60 * 60;
/// The reps of the calls when none is named and none is registered.
const REPS: [&str; 5] = ["rep_1", "rep_2", "rep_3", "rep_4", "rep_5"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Burst {
    calls: u64,
    reps: Option<Vec<String>>,
    agency: Option<String>,
    drill_key: Option<String>,
    duration_sec: Option<u64>,
}

pub(super) async fn burst(State(vendor): State<SharedVendor>, body: Body) -> Answer {
    let burst: Burst = parameters(json_object(body)?)?;
    check_count("calls", burst.calls)?;
    check_duration(burst.duration_sec, MAX_DURATION_SECS)?;
    let reps = burst
        .reps
        .unwrap_or_else(|| REPS.map(str::to_owned).to_vec());
    if reps.is_empty() || reps.iter().any(|rep| rep.trim().is_empty()) {
        return Err(ApiError::invalid_request(
            "reps must name at least one rep, none blank.",
        ));
    }
    let drill_key = burst.drill_key.unwrap_or_else(|| "ma-full-sale".into());
    let product = product_of(&drill_key).ok_or_else(|| ApiError::drill_not_found(&drill_key))?;

    let now = vendor.now();
    let one = |memory: &mut Memory, rep: &str| {
        let new = NewCall {
            rep: rep_named(memory, rep, burst.agency.as_deref(), now),
            drill: Some(Drill {
                key: drill_key.clone(),
                difficulty: Difficulty::Advanced,
            }),
            product,
            state: None,
            category: None,
        };
        let (id, number) = {
            let call = memory.begin_call(new, now);
            (call.id.clone(), call.number)
        };
        let drawn = memory.seed.rng("duration", number).random_range(45..=900);
        memory.end_call(&id, Some(burst.duration_sec.unwrap_or(drawn)), now)?;
        Ok(id)
    };
    let ids = vendor.change(|memory| {
        let reps = reps.iter().cycle();
        let wanted = usize::try_from(burst.calls).unwrap_or(usize::MAX);
        reps.take(wanted)
            .map(|rep| one(memory, rep))
            .collect::<Result<Vec<String>, ApiError>>()
    })?;
    tracing::info!(calls = ids.len(), "simulator ended a burst of calls");
    deliver::score_later(&vendor, ids.clone());
    Ok(Json(json!({ "callIds": ids })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RealCalls {
    /// By either id; without it, those who are registered take turns.
    agent: Option<String>,
    /// The customer's id of the agency of an agent who is not registered yet.
    agency: Option<String>,
    #[serde(default = "one")]
    count: u64,
    /// Without it, they end now.
    started_at: Option<Timestamp>,
    duration_sec: Option<u64>,
    /// Whether they can be scored at all; the webhook tells if not.
    #[serde(default = "yes")]
    scored: bool,
    /// 60 to 100, or 0 for no headline score; drawn without it.
    overall_score: Option<u8>,
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

/// Real calls that have ended; each is scored like any other.
pub(super) async fn make_real_calls(State(vendor): State<SharedVendor>, body: Body) -> Answer {
    let wanted: RealCalls = parameters(json_object(body)?)?;
    check_count("count", wanted.count)?;
    check_duration(wanted.duration_sec, MAX_REAL_SECS)?;
    if wanted
        .overall_score
        .is_some_and(|score| score != 0 && !(60..=100).contains(&score))
    {
        return Err(ApiError::invalid_request(
            "overallScore must be 60 to 100, or 0.",
        ));
    }
    let is_blank = |id: &Option<String>| id.as_ref().is_some_and(|id| id.trim().is_empty());
    if is_blank(&wanted.agent) || is_blank(&wanted.agency) {
        return Err(ApiError::invalid_request(
            "agent and agency must not be blank.",
        ));
    }

    let now = vendor.now();
    let at_least = Duration::from_secs(wanted.duration_sec.unwrap_or(1));
    if wanted.started_at.is_some_and(|at| at.plus(at_least) > now) {
        return Err(ApiError::invalid_request(
            "startedAt must be so long ago that the call has ended.",
        ));
    }
    let ids = vendor.change(|memory| {
        if !memory.generation().has_roster() {
            return Err(ApiError::invalid_request(
                "Generation external has no real calls; PUT /_simulator/contract first.",
            ));
        }
        let reps = real_reps(memory, &wanted, now);
        let wanted_calls = usize::try_from(wanted.count).unwrap_or(usize::MAX);
        let reps = reps.into_iter().cycle().take(wanted_calls);
        Ok(reps
            .map(|rep| one_real_call(memory, rep, &wanted, now))
            .collect::<Vec<_>>())
    })?;
    tracing::info!(calls = ids.len(), "simulator heard real calls");
    deliver::score_later(&vendor, ids.clone());
    Ok(Json(json!({ "callIds": ids })))
}

fn real_reps(memory: &mut Memory, wanted: &RealCalls, now: Timestamp) -> Vec<Rep> {
    let agency = wanted.agency.as_deref();
    if let Some(agent) = &wanted.agent {
        return vec![rep_named(memory, agent, agency, now)];
    }
    let directory = &memory.directory;
    let registered = directory.agents_after(None);
    let all: Vec<_> = registered
        .filter_map(|(_, agent)| directory.rep(&Handle::Agent(agent.id.clone())))
        .collect();
    if !all.is_empty() {
        return all;
    }
    REPS.map(|rep| rep_named(memory, rep, agency, now)).to_vec()
}

/// The rep with this id, ours or the vendor's, in the named agency, else (with a roster) in their own.
fn rep_named(memory: &mut Memory, id: &str, agency: Option<&str>, now: Timestamp) -> Rep {
    let (seed, has_roster) = (memory.seed, memory.generation().has_roster());
    let directory = &mut memory.directory;
    let handles = [
        Handle::Platform(id.to_owned()),
        Handle::Agent(id.to_owned()),
    ];
    let registered = handles.iter().find_map(|handle| directory.rep(handle));
    match registered {
        Some(rep) if has_roster && agency.is_none() => rep,
        _ => directory.adopt(id, agency, seed, now),
    }
}

fn one_real_call(memory: &mut Memory, rep: Rep, wanted: &RealCalls, now: Timestamp) -> String {
    let number = memory.calls().len() as u64;
    let rng = &mut memory.seed.rng("real-call", number);
    let products: Vec<&Product> = PRODUCTS
        .iter()
        .filter(|product| product.has_real_calls)
        .collect();
    let product = products[rng.random_range(0..products.len())];
    let drawn_secs = rng.random_range(120..=2 * 60 * 60);
    let since_start = wanted.started_at.map(|at| now.since(at).as_secs());
    let drawn_secs = since_start.map_or(drawn_secs, |secs| secs.min(drawn_secs));
    let duration_secs = wanted.duration_sec.unwrap_or(drawn_secs);
    let ending_now = now.minus(Duration::from_secs(duration_secs));
    let started_at = wanted.started_at.unwrap_or(ending_now);
    let new = NewCall {
        rep,
        drill: None,
        product,
        state: None,
        category: None,
    };
    let id = memory.begin_call(new, started_at).id.clone();
    memory.hear_call(&id, duration_secs, wanted.scored, wanted.overall_score);
    id
}

fn check_count(name: &str, count: u64) -> Result<(), ApiError> {
    if (1..=MAX_CALLS).contains(&count) {
        return Ok(());
    }
    let message = format!("{name} must be 1 to {MAX_CALLS}.");
    Err(ApiError::invalid_request(message))
}
