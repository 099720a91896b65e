//! How requests are read: bodies, members, queries, ids and credentials, whatever the endpoint. What is wrong is refused in
//! the vendor's words.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::directory::{AGENCY_PREFIX, AGENT_PREFIX};
use super::error::ApiError;

/// Rows of a page when the request names no limit.
pub(super) const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 100;
const MAX_ID_CHARS: usize = 200;

/// A body as it came in, or why it did not.
pub(super) type Body = Result<Bytes, BytesRejection>;

/// The body as a JSON object.
pub(super) fn json_object(body: Body) -> Result<Map<String, Value>, ApiError> {
    let body = body.map_err(|_| ApiError::too_large())?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(ApiError::invalid_request("The body must be a JSON object.")),
    }
}

/// The body as the parameters of an endpoint of the control plane.
pub(super) fn parameters<T: DeserializeOwned>(body: Map<String, Value>) -> Result<T, ApiError> {
    serde_json::from_value(Value::Object(body))
        .map_err(|why| ApiError::invalid_request(why.to_string()))
}

/// A member that is a text: absent and `null` are the same, and blank is wrong.
pub(super) fn text(body: &Map<String, Value>, key: &str) -> Result<Option<String>, ApiError> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::invalid_request(format!(
            "{key} must be a string that is not blank."
        ))),
    }
}

/// A query, decoded, in the order in which it was written.
pub(super) fn pairs(query: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    url::form_urlencoded::parse(query.as_bytes()).collect()
}

pub(super) fn check_length(key: &str, text: &str, max_chars: usize) -> Result<(), ApiError> {
    match text.chars().count() {
        1.. if text.chars().nth(max_chars).is_none() => Ok(()),
        _ => Err(ApiError::invalid_request(format!(
            "{key} must be 1 to {max_chars} characters."
        ))),
    }
}

/// What an id of the customer's own may be, wherever one is given.
pub(super) fn check_own_id(key: &str, id: &str) -> Result<(), ApiError> {
    check_length(key, id, MAX_ID_CHARS)?;
    let prefixes = [AGENT_PREFIX, AGENCY_PREFIX];
    if prefixes.iter().any(|prefix| id.starts_with(prefix)) {
        let message = format!("{key} must not begin with {AGENT_PREFIX} or {AGENCY_PREFIX}.");
        return Err(ApiError::invalid_request(message));
    }
    Ok(())
}

pub(super) fn parse_limit(value: &str) -> Result<usize, ApiError> {
    let limit = value.parse().ok();
    limit
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| ApiError::invalid_request(format!("limit must be 1 to {MAX_LIMIT}.")))
}

/// The bearer credential of a request; the scheme is case-insensitive, as everywhere in HTTP.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    let credential = credential.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
}
