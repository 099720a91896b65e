//! An event of the inbox: its row, and everything that is kept of it.

use serde::Serialize;
use utoipa::ToSchema;

use super::{AuditEntry, CallRow, Mint, schema, wire_enum};
use crate::model::{self, Timestamp};
use crate::store;

wire_enum! {
    /// Where an event stands. A row is in exactly one state.
    pub(crate) enum EventState of model::EventState {
        /// Waiting for its next attempt.
        Pending,
        /// Leased by a worker.
        Processing,
        /// Dealt with.
        Done,
        /// Signed, but not understood; kept and left alone.
        Ignored,
        /// Given up, with the reason in words; can be replayed.
        Dead,
    }
}

wire_enum! {
    /// How an event came in.
    pub(crate) enum Origin of store::Origin {
        /// Athos delivered it.
        Webhook,
        /// Its webhook never came; reconciliation found the call.
        Reconcile,
    }
}

wire_enum! {
    /// How an event was judged when it came in.
    pub(crate) enum EventVerdict of store::EventVerdict {
        /// Understood, and taken up.
        Accepted,
        /// Signed, but nothing we know; kept and left alone.
        Ignored,
    }
}

/// An event, without its body and its history.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventRow {
    /// Ours.
    id: i64,
    /// Athos's id of the delivery; the idempotency key.
    #[schema(example = "wh_dU7l3ZDbhZBVF5K3gGJz")]
    webhook_id: String,
    /// How it came in.
    origin: Origin,
    /// Where it stands.
    state: EventState,
    /// How it was judged when it came in.
    verdict: EventVerdict,
    /// The call it is about.
    call_id: Option<String>,
    /// When it came in.
    #[schema(value_type = schema::Timestamp)]
    received_at: Timestamp,
    /// When it is due, or its lease ends.
    #[schema(value_type = Option<schema::Timestamp>)]
    next_attempt_at: Option<Timestamp>,
    /// Attempts spent since it came in, or was replayed.
    attempts: u32,
    /// How often it was delivered.
    deliveries: u32,
    /// In words: why the last attempt failed, why it is ignored or dead.
    reason: Option<String>,
    /// Athos's code at the last attempt, or our word for what went wrong; `null` when nothing did.
    #[schema(example = "CALL_NOT_FOUND")]
    last_code: Option<String>,
    /// When it was dealt with.
    #[schema(value_type = Option<schema::Timestamp>)]
    settled_at: Option<Timestamp>,
}

impl From<store::EventRow> for EventRow {
    fn from(row: store::EventRow) -> Self {
        Self {
            id: row.id,
            webhook_id: row.webhook_id,
            origin: row.origin.into(),
            state: row.state.into(),
            verdict: row.verdict.into(),
            call_id: row.call_id,
            received_at: row.received_at,
            next_attempt_at: row.next_attempt_at,
            attempts: row.attempts,
            deliveries: row.deliveries,
            reason: row.reason,
            last_code: row.last_code,
            settled_at: row.settled_at,
        }
    }
}

/// An event with everything that is kept of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredEvent {
    /// The row.
    #[serde(flatten)]
    row: EventRow,
    /// `t` of its signature; when it was found, if it did not come by webhook.
    #[schema(value_type = schema::Timestamp)]
    signed_at: Timestamp,
    /// Fingerprint of the secret that matched; nothing if it did not come by webhook.
    secret_fingerprint: Option<String>,
    /// The bytes as they came, as text.
    body: String,
    /// Every attempt that ended, in order.
    history: Vec<Attempt>,
    /// Everything that was done to it by hand, in order.
    acts: Vec<AuditEntry>,
    /// The call it is about, as it stands now.
    call: Option<EventCall>,
    /// The tokens that may have begun that call, newest first; the latest few.
    mints: Vec<Mint>,
    /// The latest other events about that call, newest first.
    siblings: Vec<EventRow>,
}

impl From<store::StoredEvent> for StoredEvent {
    fn from(event: store::StoredEvent) -> Self {
        Self {
            row: event.row.into(),
            signed_at: event.signed_at,
            secret_fingerprint: event.secret_fingerprint,
            body: event.body,
            history: event.history.into_iter().map(Attempt::from).collect(),
            acts: event.acts.into_iter().map(AuditEntry::from).collect(),
            call: event.call.map(EventCall::from),
            mints: event.mints.into_iter().map(Mint::from).collect(),
            siblings: event.siblings.into_iter().map(EventRow::from).collect(),
        }
    }
}

/// The call an event is about.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EventCall {
    /// The row.
    #[serde(flatten)]
    row: CallRow,
    /// Why it could not be scored; a machine code.
    reason: Option<String>,
    /// The same for people.
    reason_message: Option<String>,
}

impl From<store::EventCall> for EventCall {
    fn from(call: store::EventCall) -> Self {
        Self {
            row: call.row.into(),
            reason: call.reason,
            reason_message: call.reason_message,
        }
    }
}

/// How an attempt at an event ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    /// From 1. One that is missing died with its worker.
    number: i64,
    /// When it ended.
    #[schema(value_type = schema::Timestamp)]
    at: Timestamp,
    /// `scored`, `unscored`, `retry`, `dead` or `ignored`.
    outcome: String,
    /// Athos's HTTP status, when it refused.
    status: Option<u16>,
    /// Athos's code, or our word for what went wrong.
    code: Option<String>,
    /// How long until the next attempt, in milliseconds.
    delay_ms: Option<u64>,
    /// What went wrong, in words.
    error: Option<String>,
    /// Athos's request id, to quote.
    athos_request_id: Option<String>,
}

impl From<store::Attempt> for Attempt {
    fn from(attempt: store::Attempt) -> Self {
        Self {
            number: attempt.number,
            at: attempt.at,
            outcome: attempt.outcome,
            status: attempt.status,
            code: attempt.code,
            delay_ms: attempt.delay_ms,
            error: attempt.error,
            athos_request_id: attempt.athos_request_id,
        }
    }
}
