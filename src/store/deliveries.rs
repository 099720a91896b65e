//! What operators see of the outbox and what they do to it, in words: messages on their way to each endpoint, replays, and
//! messages about calls from before there was an endpoint.

use async_trait::async_trait;

use super::{Actor, AuditEntry, MessageSubject, Page, PageKey, StoreResult, WouldReplay};
use crate::model::{MessageKind, Timestamp, string_enum};

/// The outbox as operators see it, and what they do to it.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// One page of deliveries, newest first, after the one with the id `after`.
    async fn list_deliveries(
        &self,
        filter: &DeliveryFilter,
        limit: u32,
        after: Option<i64>,
    ) -> StoreResult<Page<DeliveryRow, i64>>;

    /// One delivery, with what its message tells of as that is now.
    async fn find_delivery(&self, id: i64) -> StoreResult<Option<StoredDelivery>>;

    /// Which deliveries a replay would replay at `now`, the first `limit` of them by id. Writes nothing.
    async fn count_replayable_deliveries(
        &self,
        replay: &DeliveryReplay,
        limit: u32,
        now: Timestamp,
    ) -> StoreResult<WouldReplay>;

    /// Makes the next few of these due, with all their attempts, after the one with the id `after`, which is 0 at first;
    /// records who did it.
    async fn replay_deliveries(
        &self,
        replay: &DeliveryReplay,
        after: i64,
        actor: Actor,
        now: Timestamp,
    ) -> StoreResult<ReplayedDeliveries>;

    /// The next few calls of a time after `after`, and for which of them an endpoint lacks a message.
    async fn find_untold(
        &self,
        told: &CallsToForward,
        after: Option<PageKey>,
    ) -> StoreResult<UntoldCalls>;

    /// Writes a message about each of these calls for each endpoint that still has none about it; how many it wrote.
    async fn forward_calls(
        &self,
        told: &CallsToForward,
        calls: Vec<i64>,
        now: Timestamp,
    ) -> StoreResult<u64>;

    /// Puts on record what somebody did by hand to something that is no row.
    async fn record_act(&self, act: Act) -> StoreResult<()>;
}

/// Where a message stands on its way to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// For its next attempt.
    Waiting,
    /// Leased by the forwarder.
    Sending,
    /// The endpoint took it.
    Delivered,
    /// Given up.
    Failed,
    /// Not taken, and a newer message about the same call replaces it.
    Superseded,
}

string_enum!(DeliveryState, "state of a delivery", {
    Waiting: "waiting",
    Sending: "sending",
    Delivered: "delivered",
    Failed: "failed",
    Superseded: "superseded",
});

impl DeliveryState {
    /// Whether a replay of deliveries in this state does anything.
    #[must_use]
    pub fn can_be_replayed(self) -> bool {
        matches!(self, Self::Waiting | Self::Delivered | Self::Failed)
    }
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// To this endpoint.
    pub endpoint: Option<i64>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Of this type.
    pub kind: Option<MessageKind>,
    /// About this call.
    pub call: Option<String>,
    /// Of the message with this id.
    pub message: Option<String>,
    /// Written at or after.
    pub from: Option<Timestamp>,
    /// Written at or before.
    pub to: Option<Timestamp>,
}

/// A message on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its number.
    pub id: i64,
    /// `webhook-id`; the same at every endpoint that is told.
    pub message_id: String,
    /// The endpoint's number.
    pub endpoint: i64,
    /// What happened.
    pub kind: MessageKind,
    /// Where it stands.
    pub state: DeliveryState,
    /// The call that it is about.
    pub call_id: Option<String>,
    /// The event that it is about.
    pub event_id: Option<i64>,
    /// The entry of the audit log that it is about.
    pub audit_id: Option<i64>,
    /// When it was written.
    pub at: Timestamp,
    /// When it is due, or its lease ends.
    pub due_at: Option<Timestamp>,
    /// Attempts that ended since it was written, or was replayed.
    pub attempts: u32,
    /// HTTP status of the last answer.
    pub status: Option<u16>,
    /// What went wrong at the last attempt, in words.
    pub error: Option<String>,
    /// When it was delivered, given up or replaced.
    pub settled_at: Option<Timestamp>,
}

/// A delivery with everything that is kept of it.
#[derive(Clone, Debug)]
pub struct StoredDelivery {
    /// The row.
    pub row: DeliveryRow,
    /// What its message tells of, as it is now; nothing where that was erased.
    pub subject: Option<MessageSubject>,
    /// What was done to it by hand, in order.
    pub acts: Vec<AuditEntry>,
}

/// Which deliveries to replay. What is under way or due is never among them, nor what a newer message about the same call
/// replaces, nor what an endpoint that is not configured any more did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryReplay {
    /// This one.
    One(i64),
    /// All in this state that were written from `since` to `until`.
    Range {
        /// To this endpoint; else to each.
        endpoint: Option<i64>,
        /// `failed`, `delivered`, or `waiting`, which sends now what waits for its next attempt.
        state: DeliveryState,
        /// Written at or after.
        since: Option<Timestamp>,
        /// Written at or before.
        until: Option<Timestamp>,
    },
}

/// What a step of a replay did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedDeliveries {
    /// The deliveries that are due.
    pub ids: Vec<i64>,
    /// Where the next step goes on; `None` when this was the last.
    pub next: Option<i64>,
}

/// Calls to tell endpoints about that have no message about them: those that ended within a time, by the axis of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallsToForward {
    /// Ended at or after.
    pub from: Timestamp,
    /// Ended at or before.
    pub to: Timestamp,
    /// Only this endpoint is told; else each.
    pub endpoint: Option<i64>,
}

/// Some calls that an endpoint was not told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntoldCalls {
    /// Calls that were looked at.
    pub seen: u64,
    /// Those for which a message is missing, by their number.
    pub calls: Vec<i64>,
    /// How many messages are missing.
    pub messages: u64,
    /// Where the next step goes on; `None` when these are the last.
    pub next: Option<PageKey>,
}

/// What somebody did by hand to something that is no row.
#[derive(Clone, Debug)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// A word for it.
    pub act: &'static str,
    /// What it was done to.
    pub subject: String,
    /// What came of it, as JSON.
    pub result: Option<String>,
}
