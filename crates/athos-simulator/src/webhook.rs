//! A webhook, and the record of each attempt to deliver it.

use axum::body::Bytes;
use serde::Serialize;

use athos_api::Timestamp;

/// A webhook: one id and one body for all its attempts.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub(super) id: String,
    pub(super) call_id: String,
    pub(super) body: Bytes,
}

/// One attempt to deliver a webhook, as `GET /_simulator/deliveries` lists it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delivery {
    /// The webhook's id: the same for all of its attempts.
    pub(super) id: String,
    pub(super) call_id: String,
    /// 1, or 2 for the retry.
    pub(super) attempt: u8,
    /// 1, or more for what the fault `duplicate` adds.
    pub(super) copy: usize,
    pub(super) at: Timestamp,
    pub(super) status: Option<u16>,
    pub(super) outcome: DeliveryOutcome,
    pub(super) latency_ms: u64,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DeliveryOutcome {
    /// Answered 2xx.
    Delivered,
    /// Answered, but not 2xx; a redirect is that, too.
    Refused,
    /// Not answered in time.
    Timeout,
    /// No connection, or it broke.
    Unreachable,
    /// There is no URL to send it to.
    Undelivered,
    /// Kept back by the fault `never-send`.
    Suppressed,
}
