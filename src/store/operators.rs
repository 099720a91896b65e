//! What operators see of the inbox, and what they do to it: events with their history, filters, replays.

use async_trait::async_trait;

use super::{Actor, AuditEntry, Mint, Page, StoreResult};
use crate::model::{CallEvent, CallRow, EventState, Timestamp, string_enum};

/// The inbox as operators see it, and what they do to it.
#[async_trait]
pub trait Operators: Send + Sync {
    /// One page of events, newest first, after the one with the id `after`.
    async fn list_events(
        &self,
        filter: &EventFilter,
        limit: u32,
        after: Option<i64>,
    ) -> StoreResult<Page<EventRow, i64>>;

    /// One event, with its history and what is known of its call.
    async fn find_event(&self, id: i64) -> StoreResult<Option<StoredEvent>>;

    /// Which events a replay would replay, the first `limit` of them by id. Writes nothing.
    async fn count_replayable(&self, replay: Replay, limit: u32) -> StoreResult<WouldReplay>;

    /// The next few events that may be replayed, after the one with the id `after`, which is 0 at first.
    async fn find_replayable(&self, replay: Replay, after: i64) -> StoreResult<Replayable>;

    /// Makes those of these events pending that still may be, as if they had just come in, and records who did it; their
    /// ids. Events that were not understood when they came in, and are now, get their call.
    async fn replay(
        &self,
        replay: Replay,
        events: Vec<ReplayableEvent>,
        actor: Actor,
        now: Timestamp,
    ) -> StoreResult<Vec<i64>>;

    /// What has come in since then, and what became of it so far.
    async fn received_since(&self, from: Timestamp) -> StoreResult<Received>;
}

/// How an event came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Athos delivered it.
    Webhook,
    /// Its webhook never came; reconciliation found the call.
    Reconcile,
}

/// How an event was judged when it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventVerdict {
    /// Understood, and taken up.
    Accepted,
    /// Signed, but nothing we know; kept and left alone.
    Ignored,
}

string_enum!(Origin, "origin", {
    Webhook: "webhook",
    Reconcile: "reconcile",
});
string_enum!(EventVerdict, "verdict", {
    Accepted: "accepted",
    Ignored: "ignored",
});

/// Which events to list.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// In this state.
    pub state: Option<EventState>,
    /// That came in this way.
    pub origin: Option<Origin>,
    /// Judged so.
    pub verdict: Option<EventVerdict>,
    /// Came in at or after.
    pub from: Option<Timestamp>,
    /// Came in at or before.
    pub to: Option<Timestamp>,
    /// About this call.
    pub call: Option<String>,
    /// With this webhook id.
    pub webhook: Option<String>,
}

/// An event, without its body and its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Ours.
    pub id: i64,
    /// Athos's id of the delivery; the idempotency key.
    pub webhook_id: String,
    /// How it came in.
    pub origin: Origin,
    /// Where it stands.
    pub state: EventState,
    /// How it was judged when it came in.
    pub verdict: EventVerdict,
    /// The call it is about.
    pub call_id: Option<String>,
    /// When it came in.
    pub received_at: Timestamp,
    /// When it is due, or its lease ends.
    pub next_attempt_at: Option<Timestamp>,
    /// Attempts spent since it came in, or was replayed.
    pub attempts: u32,
    /// How often it was delivered.
    pub deliveries: u32,
    /// In words: why the last attempt failed, why it is ignored or dead.
    pub reason: Option<String>,
    /// Athos's code at the last attempt, or our word for what went wrong; `null` when nothing did.
    pub last_code: Option<String>,
    /// When it was dealt with.
    pub settled_at: Option<Timestamp>,
}

/// An event with everything that is kept of it.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// The row.
    pub row: EventRow,
    /// `t` of its signature; when it was found, if it did not come by webhook.
    pub signed_at: Timestamp,
    /// Fingerprint of the secret that matched; nothing if it did not come by webhook.
    pub secret_fingerprint: Option<String>,
    /// The bytes as they came, as text.
    pub body: String,
    /// Every attempt that ended, in order.
    pub history: Vec<Attempt>,
    /// Everything that was done to it by hand, in order.
    pub acts: Vec<AuditEntry>,
    /// The call it is about, as it stands now.
    pub call: Option<EventCall>,
    /// The tokens that may have begun that call, newest first; the latest few.
    pub mints: Vec<Mint>,
    /// The latest other events about that call, newest first.
    pub siblings: Vec<EventRow>,
}

/// The call an event is about.
#[derive(Clone, Debug, PartialEq)]
pub struct EventCall {
    /// The row.
    pub row: CallRow,
    /// Why it could not be scored; a machine code.
    pub reason: Option<String>,
    /// The same for people.
    pub reason_message: Option<String>,
}

/// How an attempt at an event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 1. One that is missing died with its worker.
    pub number: i64,
    /// When it ended.
    pub at: Timestamp,
    /// `scored`, `unscored`, `retry`, `dead` or `ignored`.
    pub outcome: String,
    /// Athos's HTTP status, when it refused.
    pub status: Option<u16>,
    /// Athos's code, or our word for what went wrong.
    pub code: Option<String>,
    /// How long until the next attempt, in milliseconds.
    pub delay_ms: Option<u64>,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// Athos's request id, to quote.
    pub athos_request_id: Option<String>,
}

/// What has come in within a time, and what became of it so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Counted from here on.
    pub from: Timestamp,
    /// Webhooks, each counted once however often it was delivered.
    pub webhooks: u64,
    /// Deliveries of a webhook that had been delivered before.
    pub duplicates: u64,
    /// Events of calls that reconciliation brought in: their webhook never came.
    pub repaired: u64,
    /// Of all these events, those whose call is scored.
    pub scored: u64,
    /// Those whose call could not be scored.
    pub unscored: u64,
    /// Those that are pending or being processed.
    pub waiting: u64,
    /// Those that were not understood.
    pub ignored: u64,
    /// Those that were given up.
    pub dead: u64,
}

/// Some events that may be replayed.
#[derive(Clone, Debug)]
pub struct Replayable {
    /// The events, by id.
    pub events: Vec<ReplayableEvent>,
    /// After which id the next ones are; `None` when these are the last.
    pub next: Option<i64>,
}

/// An event that may be replayed: neither does it wait, nor has it lost its body.
#[derive(Clone, Debug)]
pub struct ReplayableEvent {
    /// The event.
    pub id: i64,
    /// When it came in.
    pub received_at: Timestamp,
    /// The bytes as they came, where they were not understood.
    pub unread: Option<Vec<u8>>,
    /// What they say to whoever understands them by now.
    pub parsed: Option<CallEvent>,
}

/// What a replay would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WouldReplay {
    /// How many events there are.
    pub count: u64,
    /// The first of them.
    pub first: Vec<i64>,
}

/// Which events to replay. Those that are waiting already are never among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// This one.
    One(i64),
    /// All in this state that came in from `since` to `until`.
    Range {
        /// `dead`, `ignored` or `done`.
        state: EventState,
        /// Came in at or after.
        since: Option<Timestamp>,
        /// Came in at or before.
        until: Option<Timestamp>,
    },
}
