//! The id of a request: a proxy's, or ours. It is in the log, in the answer's header and in the envelope of errors.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::clock::{Clock, new_id};

/// The header that carries the request's id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken over from whoever is in front of us.
const MAX_REQUEST_ID_BYTES: usize = 64;
/// How ours begin.
const PREFIX: &str = "req_";

/// A request's id, for handlers that log.
#[derive(Clone)]
pub(super) enum RequestId {
    /// That of a proxy in front of us.
    Given(HeaderValue),
    /// Ours.
    Fresh(Uuid),
}

impl RequestId {
    /// The id a proxy in front of us gave, when it is one; else a fresh one.
    pub(super) fn of(headers: &HeaderMap, clock: &Clock) -> Self {
        let given = headers.get(&REQUEST_ID).filter(|id| {
            let id = id.as_bytes();
            let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
            (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(is_plain)
        });
        match given {
            Some(id) => Self::Given(id.clone()),
            None => Self::Fresh(new_id(clock)),
        }
    }

    /// As it is sent.
    pub(super) fn value(&self) -> HeaderValue {
        match self {
            Self::Given(id) => id.clone(),
            Self::Fresh(id) => {
                let mut text = [0; PREFIX.len() + Hyphenated::LENGTH];
                let (prefix, rest) = text.split_at_mut(PREFIX.len());
                prefix.copy_from_slice(PREFIX.as_bytes());
                id.hyphenated().encode_lower(rest);
                HeaderValue::from_bytes(&text)
                    .unwrap_or_else(|_| HeaderValue::from_static("req_unknown"))
            }
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(id) => f.write_str(id.to_str().unwrap_or_default()),
            Self::Fresh(id) => write!(f, "{PREFIX}{id}"),
        }
    }
}
