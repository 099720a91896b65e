//! The endpoints that came with the roster: register agencies and agents, look agents up. Each rule of theirs is here;
//! that handles are unique is kept in `directory.rs`. To clients of the older generation they do not exist.

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::cursor::{List, Place};
use super::directory::{Handle, NewAgent};
use super::error::ApiError;
use super::faults::Endpoint;
use super::request::{
    Body, DEFAULT_LIMIT, check_length, check_own_id, json_object, pairs, parse_limit, text,
};
use super::routes::{AGENCIES, AGENTS};
use super::vendor::{SharedVendor, Vendor};

const MAX_NAME_CHARS: usize = 100;
const MAX_AGENCY_NAME_CHARS: usize = 200;
const NPN_DIGITS: std::ops::RangeInclusive<usize> = 4..=10;

type Answer = Result<Response, ApiError>;

pub(super) fn router() -> Router<SharedVendor> {
    Router::new()
        .route(AGENCIES, post(put_agency))
        .route(AGENTS, post(add_agent).get(find_agents))
}

async fn admit(vendor: &Vendor, endpoint: Endpoint, headers: &HeaderMap) -> Result<(), ApiError> {
    if !vendor.memory().generation().has_roster() {
        return Err(ApiError::route_not_found());
    }
    vendor.admit(endpoint, headers).await
}

async fn put_agency(State(vendor): State<SharedVendor>, headers: HeaderMap, body: Body) -> Answer {
    admit(&vendor, Endpoint::Agencies, &headers).await?;
    let body = json_object(body)?;
    let platform_id = required(own_id(&body, "platformAgencyId")?, "platformAgencyId")?;
    let name = name(&body, "name", MAX_AGENCY_NAME_CHARS)?;
    let now = vendor.now();
    let (agency, is_new) = vendor.change(|memory| {
        let seed = memory.seed;
        memory
            .directory
            .put_agency(Some(platform_id), name, seed, now)
    });
    let status = match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    tracing::info!(agency = agency.id, is_new, "simulator registered an agency");
    Ok((status, Json(agency)).into_response())
}

async fn add_agent(State(vendor): State<SharedVendor>, headers: HeaderMap, body: Body) -> Answer {
    admit(&vendor, Endpoint::Agents, &headers).await?;
    let body = json_object(body)?;
    let new = parse_agent(&body)?;
    let by_id = trimmed(&body, "agencyId")?;
    let by_platform_id = own_id(&body, "platformAgencyId")?;
    if by_id.is_some() == by_platform_id.is_some() {
        return Err(ApiError::invalid_request(
            "Exactly one of agencyId and platformAgencyId is required.",
        ));
    }

    let now = vendor.now();
    let (agent, agency) = vendor.change(|memory| {
        let (seed, directory) = (memory.seed, &mut memory.directory);
        let agency = match (&by_id, &by_platform_id) {
            (Some(id), _) => directory.agency(id),
            (None, Some(id)) => directory.agency_of_platform(id),
            (None, None) => None,
        };
        let agency = agency.ok_or_else(ApiError::agency_not_found)?.clone();
        if let Some((taken, by)) = directory.holder(&new) {
            return Err(ApiError::agent_already_exists(json!({
                "agentId": taken.id,
                "agencyId": taken.agency_id,
                "matchedOn": by,
            })));
        }
        let agent = directory.add_agent(new, agency.id.clone(), seed, now);
        Ok((agent, agency))
    })?;
    tracing::info!(agent = agent.id, "simulator registered an agent");
    let answer = json!({ "agent": agent, "agency": agency });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

fn parse_agent(body: &Map<String, Value>) -> Result<NewAgent, ApiError> {
    let new = NewAgent {
        first_name: name(body, "firstName", MAX_NAME_CHARS)?,
        last_name: name(body, "lastName", MAX_NAME_CHARS)?,
        email: email(body)?,
        npn: npn(body)?,
        platform_agent_id: own_id(body, "platformAgentId")?,
    };
    if new.email.is_none() && new.npn.is_none() && new.platform_agent_id.is_none() {
        return Err(ApiError::invalid_request(
            "At least one of npn, email and platformAgentId is required.",
        ));
    }
    Ok(new)
}

fn required(value: Option<String>, key: &str) -> Result<String, ApiError> {
    value.ok_or_else(|| ApiError::invalid_request(format!("{key} is required.")))
}

/// A text without the white space around it, as all texts are stored.
fn trimmed(body: &Map<String, Value>, key: &str) -> Result<Option<String>, ApiError> {
    Ok(text(body, key)?.map(|text| text.trim().to_owned()))
}

fn name(body: &Map<String, Value>, key: &str, max_chars: usize) -> Result<String, ApiError> {
    let name = required(trimmed(body, key)?, key)?;
    check_length(key, &name, max_chars)?;
    Ok(name)
}

/// An id of the customer's own.
fn own_id(body: &Map<String, Value>, key: &str) -> Result<Option<String>, ApiError> {
    let id = trimmed(body, key)?;
    if let Some(id) = &id {
        check_own_id(key, id)?;
    }
    Ok(id)
}

fn npn(body: &Map<String, Value>) -> Result<Option<String>, ApiError> {
    let npn = text(body, "npn")?;
    npn.as_deref().map(npn_digits).transpose()
}

/// A national producer number without its spaces and punctuation.
fn npn_digits(text: &str) -> Result<String, ApiError> {
    let plain: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
    let is_npn =
        NPN_DIGITS.contains(&plain.len()) && plain.bytes().all(|byte| byte.is_ascii_digit());
    match is_npn {
        true => Ok(plain),
        false => Err(ApiError::invalid_request("npn must be 4 to 10 digits.")),
    }
}

/// The contract does not say what an address is; what has no name or no host is none.
fn email(body: &Map<String, Value>) -> Result<Option<String>, ApiError> {
    let email = trimmed(body, "email")?.map(|email| email.to_lowercase());
    let is_address = |email: &String| {
        let parts = email.rsplit_once('@');
        parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
    };
    match email {
        Some(email) if !is_address(&email) => Err(ApiError::invalid_request(
            "email must be an e-mail address.",
        )),
        email => Ok(email),
    }
}

/// A handle to look for, as it would have been stored.
fn sought(key: &str, value: &str) -> Result<Option<Handle>, ApiError> {
    let value = value.trim();
    match key {
        "npn" => return Ok(Some(Handle::Npn(npn_digits(value)?))),
        "platformAgentId" => check_own_id(key, value)?,
        _ => {}
    }
    Ok(Handle::parse(key, value))
}

async fn find_agents(
    State(vendor): State<SharedVendor>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    admit(&vendor, Endpoint::Agents, &headers).await?;
    let memory = vendor.memory();
    let (mut handle, mut agency_id) = (None, None);
    let (mut limit, mut after) = (DEFAULT_LIMIT, None);
    for (key, value) in pairs(&query.unwrap_or_default()) {
        match &*key {
            "agencyId" => agency_id = Some(value.into_owned()),
            "limit" => limit = parse_limit(&value)?,
            "cursor" => after = Some(Place::from_cursor(&value, memory.seed, List::Agents)?),
            _ => {
                let Some(named) = sought(&key, &value)? else {
                    continue;
                };
                if handle.replace(named).is_some() {
                    return Err(ApiError::invalid_request(
                        "At most one of agentId, platformAgentId, npn and email may be given.",
                    ));
                }
            }
        }
    }

    let directory = &memory.directory;
    if agency_id
        .as_ref()
        .is_some_and(|id| directory.agency(id).is_none())
    {
        return Err(ApiError::agency_not_found());
    }
    let named = handle.map(|handle| directory.agent(&handle).map(|agent| agent.id.clone()));
    let mut found = directory
        .agents_after(after.map(|place| place.number))
        .filter(|(_, agent)| {
            named
                .as_ref()
                .is_none_or(|id| id.as_ref() == Some(&agent.id))
        })
        .filter(|(_, agent)| agency_id.as_ref().is_none_or(|id| *id == agent.agency_id));
    let page: Vec<_> = found.by_ref().take(limit).collect();
    let next = match (page.last(), found.next()) {
        (Some((number, _)), Some(_)) => Some(Place::nth(*number)),
        _ => None,
    };
    let agents = page.iter().map(|(_, agent)| {
        let mut row = json!(agent);
        if let Value::Object(row) = &mut row {
            memory.faults.surprise(row);
        }
        row
    });
    let next_cursor = next.map(|place| place.to_cursor(memory.seed, List::Agents));
    let answer = json!({ "data": agents.collect::<Value>(), "nextCursor": next_cursor });
    Ok(Json(answer).into_response())
}
