//! The inbox: deliveries, leases on events, and settlements.

use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::{DueTimes, StoreResult};
use crate::model::{CallDetail, CallEvent, Timestamp};

/// Events from their arrival to their settlement.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Takes a signed delivery into the inbox, once for each webhook id; returns after the sync. Its call has a row in
    /// `processing` moments later, unless it has one, and before anybody who asks for calls is answered.
    async fn accept_event(&self, event: NewEvent) -> StoreResult<Accepted>;

    /// Leases up to `limit` events that are due at `now`, for `lease`; an expired lease is due again.
    async fn claim_due(
        &self,
        which: ClaimFilter,
        now: Timestamp,
        limit: u32,
        lease: Duration,
    ) -> StoreResult<Vec<ClaimedEvent>>;

    /// Ends an attempt: the event's new state and the call's new row, in one transaction.
    async fn settle(
        &self,
        lease: Lease,
        settlement: Settlement,
        now: Timestamp,
    ) -> StoreResult<SettleResult>;

    /// Gives up a claim with which nothing was attempted: the event is due at once. Nothing happens when the lease is another's.
    async fn release(&self, lease: Lease, now: Timestamp) -> StoreResult<()>;

    /// Shortens the waits that a clock which was set back to `now` has made long: a lease to `lease`, an event that has
    /// spent `n` attempts to the `n`th of `waits`, or to the last. Says how many there were.
    async fn clamp_schedules(
        &self,
        now: Timestamp,
        lease: Duration,
        waits: &[Duration],
    ) -> StoreResult<u64>;

    /// When the next event is due, if any is waiting, whichever process wrote it.
    async fn next_due(&self) -> StoreResult<Option<Timestamp>>;

    /// Accepted events that wait, and whose calls a process that ended gave no row.
    async fn find_unopened(&self) -> StoreResult<Vec<UnopenedEvent>>;

    /// Gives the call of such an event its row in moments.
    fn open_call(&self, event_id: i64, said: CallEvent, received_at: Timestamp);

    /// When events are due, as far as this process knows.
    fn due_times(&self) -> &DueTimes;

    /// The size of the queue.
    async fn queue_depth(&self) -> StoreResult<QueueDepth>;
}

/// Prefix of an id that is made of the content of a delivery.
const OF_CONTENT: &str = "sha256:";
/// Prefix of the id of an event that reconciliation made.
const OF_RECONCILIATION: &str = "reconcile:";

/// A signed delivery, on its way into the inbox.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The vendor's idempotency key. It is not signed: what was signed is a key as well.
    pub webhook_id: String,
    /// When it came in.
    pub received_at: Timestamp,
    /// `t` of its signature, in unix seconds.
    pub signed_at_secs: i64,
    /// Fingerprint of the secret that matched.
    pub secret: String,
    /// The bytes as they came.
    pub body: Vec<u8>,
    /// The parsed event; or why it is not understood, and will not be processed.
    pub parsed: Result<CallEvent, String>,
}

impl NewEvent {
    /// The id of a signed delivery that came without a usable one: the same bytes are the same event.
    #[must_use]
    pub fn id_of_content(body: &[u8]) -> String {
        let digest = Sha256::digest(body);
        format!("{OF_CONTENT}{}", base16ct::lower::encode_string(&digest))
    }

    /// The id of an event that no webhook brought: the same call with the same score is the same event.
    #[must_use]
    pub fn id_of_listed(call: &str, score: &str) -> String {
        format!("{OF_RECONCILIATION}{call}:{score}")
    }

    /// Whether an id has a prefix that is reserved for ids made here.
    #[must_use]
    pub fn is_own_id(id: &str) -> bool {
        id.starts_with(OF_CONTENT) || id.starts_with(OF_RECONCILIATION)
    }
}

/// An event whose call has no row yet.
#[derive(Clone, Debug)]
pub struct UnopenedEvent {
    /// Its number.
    pub event_id: i64,
    /// When it came in.
    pub received_at: Timestamp,
    /// The bytes as they came.
    pub body: Vec<u8>,
}

/// Whether a delivery was new. Its row is on disk, unless it must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The first with this webhook id and this content.
    New,
    /// The first with this content. Its webhook id belongs to an event with another; it is kept under one of its own.
    NewUnderUsedId,
    /// A duplicate.
    Duplicate,
    /// A duplicate of the content under another webhook id.
    Replayed,
    /// It is about erased data: nothing of it is stored.
    Erased,
}

impl Accepted {
    /// Whether it will be processed.
    #[must_use]
    pub fn is_new(self) -> bool {
        matches!(self, Self::New | Self::NewUnderUsedId)
    }
}

/// The right to settle an event, until it expires. The number counts the claims of the event; the webhook id makes sure
/// that it is the event that was claimed, even in a database that was restored meanwhile and numbers its rows anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The event.
    pub event_id: i64,
    /// Its webhook id.
    pub webhook_id: String,
    /// Which claim of it this is.
    pub number: i64,
}

/// An event, and the right to settle it.
#[derive(Clone, Debug)]
pub struct ClaimedEvent {
    /// The right to settle it.
    pub lease: Lease,
    /// The bytes as they came.
    pub body: Vec<u8>,
    /// How many attempts were spent before this one.
    pub attempts: u32,
    /// Whether an attempt at it failed before, spent or not.
    pub has_failed: bool,
}

/// Which due events to claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimFilter {
    /// All of them.
    All,
    /// Those that need no fetch from Athos.
    WithoutFetch,
    /// Those that tell most about whether Athos can be asked: the latest of those never tried, or else the one that has
    /// been due for longest.
    Probe,
    /// The latest of those never tried.
    UntriedProbe,
}

/// How an attempt at an event ended.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// The call's detail was fetched.
    Scored(Box<CallDetail>),
    /// Athos has no detail; the event says it all.
    Unscored(Box<CallEvent>),
    /// Try again.
    Retry {
        /// Not before.
        at: Timestamp,
        /// Why this attempt failed, in words.
        reason: String,
        /// Whether this attempt counts; it does not when the fault is ours.
        spent: bool,
        /// What Athos did, for the record.
        failure: Option<Failure>,
    },
    /// Dead, until it is replayed.
    Dead {
        /// Why, in words.
        reason: String,
        /// What Athos did, for the record.
        failure: Option<Failure>,
    },
    /// Not a known event.
    Ignored {
        /// Why, in words.
        reason: String,
    },
}

/// What Athos did instead of giving what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status, when it answered.
    pub status: Option<u16>,
    /// Its code, or our word for what went wrong.
    pub code: String,
    /// Its request id, to quote.
    pub athos_request_id: Option<String>,
}

/// Whether a settlement took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleResult {
    /// It took effect.
    Yes,
    /// The lease had expired; nothing was changed.
    LeaseLost,
    /// The call is of an erased rep: nothing of it is stored, and the event is removed.
    Erased,
}

/// The size of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// Events pending or leased.
    pub waiting: u64,
    /// When the oldest of them was received.
    pub oldest_received_at: Option<Timestamp>,
    /// Dead events.
    pub dead: u64,
}
