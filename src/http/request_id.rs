//! The id of a request: a proxy's, or ours. It is in the log, in the answer's header and in the envelope of errors.

use std::fmt;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};

use crate::clock::{Clock, new_id};

/// The header that carries the request's id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken over from whoever is in front of us.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// A request's id, for handlers that log.
#[derive(Clone)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The id a proxy in front of us gave, when it is one; else a fresh one.
    pub(super) fn of(request: &Request, clock: &Clock) -> Self {
        let given = request.headers().get(&REQUEST_ID).filter(|id| {
            let id = id.as_bytes();
            let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
            (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(is_plain)
        });
        Self(given.cloned().unwrap_or_else(|| {
            let fresh = format!("req_{}", new_id(clock));
            HeaderValue::try_from(fresh).unwrap_or_else(|_| HeaderValue::from_static("req_unknown"))
        }))
    }

    /// As it is sent.
    pub(super) fn value(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}
