//! The vendor's external API: mint, redeem, list, detail. Shapes that differ between generations of the
//! contract are in `contract.rs`; what is remembered is in `state.rs`; registering agents is in `roster_api.rs`.

use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::middleware::from_fn;
use axum::routing::{get, post};
use axum::{Json, Router};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value, json};
use tower_http::cors::{Any, CorsLayer};

use super::call::{Drill, NewCall};
use super::cursor::{List, Place};
use super::data;
use super::directory::Filter;
use super::error::ApiError;
use super::faults::Endpoint;
use super::link::Link;
use super::listed::Wanted;
use super::request::{Body, DEFAULT_LIMIT, bearer, json_object, pairs, parse_limit};
use super::routes::{CALL, CALLS, REDEEM, SESSION};
use super::scenario::{self, Difficulty};
use super::state::{Memory, TOKEN_LIFE_MS};
use super::vendor::SharedVendor;
use super::{middleware, roster_api};
use athos_api::Timestamp;

type Answer = Result<Json<Value>, ApiError>;

/// The endpoints that take an API key; no browser of another origin may call them.
pub(super) fn keyed_router() -> Router<SharedVendor> {
    Router::new()
        .route(SESSION, post(mint_token))
        .route(CALLS, get(list_calls))
        .route(CALL, get(show_call))
        .merge(roster_api::router())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(from_fn(middleware::refuse_cross_origin))
}

/// The one endpoint that browsers call.
pub(super) fn browser_router() -> Router<SharedVendor> {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([HeaderName::from_static("x-athos-request-id")]);
    Router::new()
        .route(REDEEM, post(redeem_token))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(cors)
}

async fn mint_token(State(vendor): State<SharedVendor>, headers: HeaderMap, body: Body) -> Answer {
    vendor.admit(Endpoint::Session, &headers).await?;
    let body = json_object(body)?;
    let now = vendor.now();
    let expires_at = now.plus(Duration::from_millis(TOKEN_LIFE_MS));
    let token = vendor.change(|memory| {
        let whom = memory.generation().parse_mint(&body)?;
        if memory.faults.faults.quota.is_some() {
            return Err(ApiError::quota_exceeded());
        }
        let rep = memory.resolve(&whom, now)?;
        let number = memory.next_token_number();
        let claims = json!({
            "jti": memory.seed.id("tok_", number),
            "sub": rep.name(),
            "iat": now.as_secs(),
            "exp": expires_at.as_secs(),
        });
        // The seed is not a secret: a token is valid because it is stored here, not by its signature.
        let key = EncodingKey::from_secret(&memory.seed.bytes("token-key", 0));
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key)
            .map_err(|_| ApiError::internal())?;
        tracing::info!(rep = rep.name(), "simulator minted a token");
        memory.keep_token(token.clone(), rep, expires_at);
        Ok(token)
    })?;
    Ok(Json(json!({ "token": token, "expiresAt": expires_at })))
}

async fn redeem_token(
    State(vendor): State<SharedVendor>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    // Failures up to here leave the token usable; later ones spend it.
    let token = bearer(&headers).ok_or_else(ApiError::invalid_token)?;
    vendor.memory().check_token(token, vendor.now())?;
    let wanted = Redeem::parse(&json_object(body)?)?;
    let rep = vendor.change(|memory| memory.spend_token(token, vendor.now()))?;

    vendor.suffer_faults(Endpoint::Redeem).await?;
    let product = data::product_of(&wanted.drill_key)
        .ok_or_else(|| ApiError::drill_not_found(&wanted.drill_key))?;
    let new = NewCall {
        rep,
        drill: Some(Drill {
            key: wanted.drill_key,
            difficulty: wanted.difficulty,
        }),
        product,
        state: wanted.state,
        category: wanted.category,
    };
    let host = host(&headers);
    let answer = vendor.change(|memory| {
        let (seed, generation) = (memory.seed, memory.generation());
        let call = memory.begin_call(new, vendor.now());
        tracing::info!(
            call_id = call.id,
            drill = call.drill_key(),
            "simulator began a call"
        );
        // Opaque to all but the SDK. The stand-in posts to `<connectionUrl>/end`.
        json!({
            "connectionTicket": seed.id("ticket_", call.number),
            "connectionUrl": format!("http://{host}/_simulator/calls/{}", call.id),
            "sessionId": seed.id("ext_", call.number),
            "callId": call.id,
            "persona": generation.persona(call),
        })
    });
    Ok(Json(answer))
}

/// The body of a redeem, as far as it matters.
struct Redeem {
    drill_key: String,
    difficulty: Difficulty,
    state: Option<String>,
    category: Option<String>,
}

impl Redeem {
    fn parse(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let drill_key = body.get("drillKey").and_then(Value::as_str).unwrap_or("");
        if drill_key.trim().is_empty() {
            return Err(ApiError::invalid_request("drillKey is required."));
        }
        let difficulty = match body.get("difficulty") {
            None | Some(Value::Null) => Some(Difficulty::Advanced),
            Some(word) => word.as_str().and_then(Difficulty::parse),
        };
        let difficulty = difficulty.ok_or_else(|| {
            ApiError::invalid_request("difficulty must be Beginner, Advanced or Elite.")
        })?;
        // Filters are best effort: one that cannot be read is ignored.
        let filter = |key: &str| {
            let wish = body.get("filters")?.get(key)?.as_str()?.trim();
            (!wish.is_empty()).then(|| wish.to_owned())
        };
        Ok(Self {
            drill_key: drill_key.to_owned(),
            difficulty,
            state: filter("state"),
            category: filter("category"),
        })
    }
}

async fn list_calls(
    State(vendor): State<SharedVendor>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    vendor.admit(Endpoint::Calls, &headers).await?;
    let memory = vendor.memory();
    let asked = ListQuery::parse(&query.unwrap_or_default(), &memory)?;
    let (calls, next) = memory.list_scored(&asked.wanted, &asked.filter, asked.limit);
    let rows = calls.into_iter().map(|call| {
        let mut row = memory.generation().slim_call(call);
        memory.faults.surprise(&mut row);
        Value::Object(row)
    });
    let mut page = Map::new();
    page.insert("data".into(), rows.collect());
    let list = List::Calls(asked.wanted.source);
    let next_cursor = next.map(|place| place.to_cursor(memory.seed, list));
    page.insert("nextCursor".into(), json!(next_cursor));
    memory.faults.surprise(&mut page);
    Ok(Json(Value::Object(page)))
}

/// The parsed query of a list.
struct ListQuery {
    wanted: Wanted,
    filter: Filter,
    limit: usize,
}

impl ListQuery {
    /// Malformed parameters are refused before unknown ids.
    fn parse(query: &str, memory: &Memory) -> Result<Self, ApiError> {
        let generation = memory.generation();
        let (mut source, mut cursor, mut from, mut to) = (None, None, None, None);
        let mut limit = DEFAULT_LIMIT;
        let mut filter = Filter::default();
        for (key, value) in pairs(query) {
            match &*key {
                "source" => source = Some(value),
                "from" => from = Some(time("from", &value)?),
                "to" => to = Some(time("to", &value)?),
                "limit" => limit = parse_limit(&value)?,
                "cursor" => cursor = Some(value),
                other => generation.narrow(&mut filter, other, &value)?,
            }
        }
        filter.check()?;
        let source = generation.parse_source(source.as_deref())?;
        let unseal = |cursor| Place::from_cursor(cursor, memory.seed, List::Calls(source));
        let asked = Self {
            wanted: Wanted {
                source,
                from: from.ok_or_else(|| ApiError::invalid_request("from is required."))?,
                to,
                after: cursor.as_deref().map(unseal).transpose()?,
            },
            filter,
            limit,
        };
        memory.directory.check(&asked.filter)?;
        Ok(asked)
    }
}

fn time(name: &str, value: &str) -> Result<Timestamp, ApiError> {
    let time = value.parse::<Timestamp>();
    time.map_err(|why| ApiError::invalid_request(format!("{name} is {why}.")))
}

async fn show_call(
    State(vendor): State<SharedVendor>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answer {
    vendor.admit(Endpoint::Call, &headers).await?;
    let detail = vendor.change(|memory| {
        let generation = memory.generation();
        let call = memory.call_mut(&id).ok_or_else(ApiError::call_not_found)?;
        call.fetches += 1;
        let is_there = call.is_scored() && generation.shows(call.source());
        if !is_there || memory.faults.hides(&id) {
            return Err(ApiError::call_not_found());
        }
        let call = memory.call(&id).ok_or_else(ApiError::call_not_found)?;
        let rng = &mut memory.seed.rng("transcript", call.number);
        let lines = scenario::transcript(rng, call.product, &call.persona, call.duration_secs());
        let now = vendor.now();
        let is_recorded = generation.has_roster() && call.is_recorded(now);
        let link = is_recorded.then(|| Link::sign(&id, host(&headers), memory.seed, now));
        let mut detail = generation.call_detail(call, &lines, link.as_ref());
        if let Some(Value::Object(score)) = detail.get_mut("score") {
            memory.faults.surprise(score);
        }
        memory.faults.surprise(&mut detail);
        Ok(detail)
    })?;
    Ok(Json(Value::Object(detail)))
}

/// The host that the request named, for links to the simulator itself.
fn host(headers: &HeaderMap) -> &str {
    let host = headers.get(header::HOST);
    host.and_then(|host| host.to_str().ok())
        .unwrap_or("localhost")
}
