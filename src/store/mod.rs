//! What the service remembers, as a trait in the domain's verbs: the inbox of events, the calls, the mints.
//! How it is kept (SQLite today) is the business of the modules below; no SQL leaves them.

mod erasure;
mod error;
mod identity;
mod inspect;
mod mints;
mod reconcile;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use crate::athos::contract::LearntContract;
use crate::model::{
    CallDetail, CallEvent, CallRow, CallStatus, Credential, Drift, PlatformId, RepId, Scope,
    SeenDrift, Source, Timestamp,
};

pub use erasure::ErasedRows;
pub use error::StoreError;
pub use identity::{IdentityKind, Pairing};
pub use inspect::{
    Act, Actor, Attempt, EventCall, EventFilter, EventPage, EventRow, EventVerdict, Origin, Replay,
    StoredEvent,
};
pub use mints::{MINT_MAY_TAKE, Mint, MintFilter, MintPage};
pub use reconcile::{ListedCall, NewRun, Repair, RepairCause, Run, RunEnd};
pub use sqlite::{
    Backup, Contents, Examined, Integrity, Schema, SqliteStore, Step, back_up, database_file,
    examine,
};

/// Longest anyone waits for a write. Athos gives a delivery up after 10 s (contract, "Rules"): a refusal before that
/// makes it come again.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(8);

/// A store, shared.
pub type SharedStore = Arc<dyn Store>;

/// What the store answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// Says what is left of a stored detail when its words go.
pub type Strip = fn(&str) -> String;

/// A signed delivery, on its way into the inbox.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The idempotency key.
    pub webhook_id: String,
    /// When it came in.
    pub received_at: Timestamp,
    /// `t` of its signature, in unix seconds.
    pub signed_at_secs: i64,
    /// Fingerprint of the secret that matched.
    pub secret: String,
    /// The bytes as they came.
    pub body: Vec<u8>,
    /// What they say; or why they are not understood, and will not be processed.
    pub said: Result<CallEvent, String>,
}

/// Whether a delivery was new. Its row is on disk, unless it must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The first with this key.
    New,
    /// There was one before.
    Duplicate,
    /// It is about what was erased: nothing of it is kept.
    Erased,
}

/// The right to settle an event, until it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The event.
    pub event_id: i64,
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
}

/// Which due events to claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimable {
    /// All of them.
    All,
    /// Those that need nothing from Athos.
    WithoutFetch,
}

/// How an attempt at an event ended.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// The call's detail is here.
    Scored(Box<CallDetail>),
    /// There is nothing to fetch: what the event says is all there is.
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
    /// Give up, until somebody replays it.
    Dead {
        /// Why, in words.
        reason: String,
        /// What Athos did, for the record.
        failure: Option<Failure>,
    },
    /// It turned out to be nothing we know.
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
pub enum Settled {
    /// It did.
    Yes,
    /// The lease had expired and somebody else has the event; nothing was changed.
    LeaseLost,
    /// What was fetched is of a rep whose data was erased: nothing of it is kept, and the event is gone.
    Erased,
}

/// A request for a session token.
#[derive(Clone, Debug)]
pub struct NewMint {
    /// Ours, unique.
    pub id: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// For whom.
    pub rep: RepId,
    /// Of which agency.
    pub agency: Option<PlatformId>,
    /// Who asked: `user` or `service`.
    pub caller: &'static str,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct MintOutcome {
    /// `minted`, or the error's code.
    pub outcome: String,
    /// When Athos answered, or did not.
    pub answered_at: Timestamp,
    /// When the token expires.
    pub expires_at: Option<Timestamp>,
    /// Athos's request id, to quote.
    pub athos_request_id: Option<String>,
}

/// Which calls to list. Filters narrow the scope; they never widen it.
#[derive(Clone, Debug)]
pub struct CallFilter {
    /// Whose calls the reader may see.
    pub scope: Scope,
    /// Ended at or after.
    pub from: Option<Timestamp>,
    /// Ended at or before.
    pub to: Option<Timestamp>,
    /// Of this rep.
    pub rep: Option<String>,
    /// Of this agency.
    pub agency: Option<String>,
    /// Of this drill.
    pub drill: Option<String>,
    /// In this status.
    pub status: Option<CallStatus>,
    /// Of this source.
    pub source: Option<String>,
}

/// A place in a list: the last row of the page before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageKey {
    /// The axis: when the call ended, or the best we know.
    pub sort_at: Timestamp,
    /// Breaks ties.
    pub seq: i64,
}

/// One page of calls, newest first.
#[derive(Clone, Debug)]
pub struct CallPage {
    /// The rows.
    pub rows: Vec<CallRow>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<PageKey>,
}

/// A call with everything that is kept of it.
#[derive(Clone, Debug)]
pub struct StoredCall {
    /// The projection.
    pub row: CallRow,
    /// Why it could not be scored; a machine code.
    pub reason: Option<String>,
    /// The same for people.
    pub reason_message: Option<String>,
    /// Whether there is a recording to ask for.
    pub has_recording: bool,
    /// When the words that were spoken were removed, or left out in the first place.
    pub purged_at: Option<Timestamp>,
    /// Athos's JSON, once it is here.
    pub raw: Option<String>,
}

/// Whose progress to show, over which time. Filters narrow the scope; they never widen it.
#[derive(Clone, Debug)]
pub struct ProgressFilter {
    /// Whose calls the reader may see.
    pub scope: Scope,
    /// Ended at or after.
    pub from: Option<Timestamp>,
    /// Ended at or before.
    pub to: Option<Timestamp>,
    /// Of this rep.
    pub rep: Option<String>,
    /// Of this agency.
    pub agency: Option<String>,
    /// Of this source. There is no progress over several: real calls are judged on another scale than practice.
    pub source: String,
}

/// How one rep does at one drill; or on real calls, which have none.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Whose it is.
    pub rep: Option<String>,
    /// Which exercise.
    pub drill_key: Option<String>,
    /// Calls with a headline score.
    pub count: i64,
    /// Its mean; absent without any.
    pub mean: Option<f64>,
    /// The best; absent without any.
    pub best: Option<f64>,
    /// Calls whose compliance was assessed.
    pub compliance_count: i64,
    /// The mean of what it came to; absent without any.
    pub compliance_mean: Option<f64>,
    /// The latest with a headline score, oldest first.
    pub points: Vec<ScorePoint>,
}

/// One score, as a point over time.
#[derive(Clone, Debug, PartialEq)]
pub struct ScorePoint {
    /// The call.
    pub id: String,
    /// When it ended, or the best we know.
    pub ended_at: Timestamp,
    /// 0 to 100.
    pub score: f64,
}

/// One change of a call, for the live stream.
#[derive(Clone, Debug)]
pub struct CallChange {
    /// Grows with every change of any call.
    pub rev: i64,
    /// The call.
    pub id: String,
    /// Where it stands now.
    pub status: CallStatus,
    /// Whose it is.
    pub rep: Option<String>,
    /// 0 to 100, once scored.
    pub overall_score: Option<f64>,
}

/// Some of the changes a reader may see.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The changes, oldest first.
    pub changes: Vec<CallChange>,
    /// There are none for this reader up to here but these; go on from here.
    pub up_to: i64,
}

/// How much work lies in the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// Events pending or leased.
    pub waiting: u64,
    /// When the oldest of them came in.
    pub oldest_received_at: Option<Timestamp>,
    /// Events given up.
    pub dead: u64,
}

/// Everything the service remembers. All methods are safe to call from any task; a write is on disk when it returns.
#[async_trait]
pub trait Store: Send + Sync {
    /// Takes a signed delivery into the inbox, once for each webhook id, and gives its call a row in `processing` unless
    /// it has one; returns after the sync.
    async fn accept_event(&self, event: NewEvent) -> StoreResult<Accepted>;

    /// Leases up to `limit` events that are due at `now`, for `lease`; an expired lease is due again.
    async fn claim_due(
        &self,
        which: Claimable,
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
    ) -> StoreResult<Settled>;

    /// Shortens the waits that a clock which was set back to `now` has made long: a lease to `lease`, an event that has
    /// spent `n` attempts to the `n`th of `waits`, or to the last. Says how many there were.
    async fn shorten_waits(
        &self,
        now: Timestamp,
        lease: Duration,
        waits: &[Duration],
    ) -> StoreResult<u64>;

    /// When the next event is due, if any is waiting.
    async fn next_due(&self) -> StoreResult<Option<Timestamp>>;

    /// Woken when an event has been accepted. Register before querying.
    fn arrivals(&self) -> &Notify;

    /// Records that a token is being asked for.
    async fn record_mint(&self, mint: NewMint) -> StoreResult<()>;

    /// Records what came of it.
    async fn finish_mint(&self, id: &str, outcome: MintOutcome) -> StoreResult<()>;

    /// Learns ids from Athos's roster, and gives ours to the calls and mints that had only Athos's. What Athos has on
    /// record replaces what was known; the rest does not. Returns what is known now, one for each.
    async fn learn_identities(
        &self,
        pairings: Vec<Pairing>,
        now: Timestamp,
    ) -> StoreResult<Vec<Pairing>>;

    /// What Athos calls a rep of ours, if that has been learnt.
    async fn find_agent(&self, rep: &PlatformId) -> StoreResult<Option<Pairing>>;

    /// Remembers which generation of the contract Athos speaks.
    async fn learn_contract(&self, learnt: LearntContract) -> StoreResult<()>;

    /// Which generation Athos was last found to speak.
    async fn learnt_contract(&self) -> StoreResult<Option<LearntContract>>;

    /// How many of the tokens minted from `since` to `until` have no call to show for it: their rep began none while they
    /// were good. A token that was never used looks the same.
    async fn mints_without_call(&self, since: Timestamp, until: Timestamp) -> StoreResult<u64>;

    /// One page of requests for tokens, newest first, after the one with the id `after`.
    async fn list_mints(
        &self,
        filter: &MintFilter,
        limit: u32,
        after: Option<&str>,
    ) -> StoreResult<MintPage>;

    /// Which of these calls [`Store::bring_in`] would bring in. Writes nothing.
    async fn would_bring_in(&self, listed: &[ListedCall]) -> StoreResult<Vec<Repair>>;

    /// Takes those of these calls into the inbox that are missing or not scored here, or scored again since, unless an
    /// event about them is waiting or they came in this way before.
    async fn bring_in(&self, listed: Vec<ListedCall>) -> StoreResult<Vec<Repair>>;

    /// Records that a reconciliation begins; its number.
    async fn begin_run(&self, run: NewRun) -> StoreResult<i64>;

    /// Records how it ended.
    async fn finish_run(&self, id: i64, end: RunEnd) -> StoreResult<()>;

    /// Until when all calls of a source have been reconciled; `None` before the first run. Runs over a window that
    /// somebody named do not count: there may be a gap before it.
    async fn reconciled_until(&self, source: Source) -> StoreResult<Option<Timestamp>>;

    /// The latest runs, newest first.
    async fn latest_runs(&self, limit: u32) -> StoreResult<Vec<Run>>;

    /// One page of calls, newest first, after `after`.
    async fn list_calls(
        &self,
        filter: &CallFilter,
        limit: u32,
        after: Option<PageKey>,
    ) -> StoreResult<CallPage>;

    /// One call, when it exists for this reader.
    async fn find_call(&self, scope: &Scope, id: &str) -> StoreResult<Option<StoredCall>>;

    /// How each rep does at each drill, the latest practised first: at most `limit` pairs of them, each with up to
    /// `points` scores.
    async fn progress(
        &self,
        filter: &ProgressFilter,
        limit: u32,
        points: u32,
    ) -> StoreResult<Vec<Progress>>;

    /// Changes after `rev`, oldest first, that this reader may see.
    async fn changes_since(&self, scope: &Scope, rev: i64, limit: u32) -> StoreResult<Changes>;

    /// The latest change of any call; 0 before the first.
    async fn latest_rev(&self) -> StoreResult<i64>;

    /// Ticks whenever some call has changed.
    fn changes(&self) -> watch::Receiver<u64>;

    /// One page of events, newest first, after the one with the id `after`.
    async fn list_events(
        &self,
        filter: &EventFilter,
        limit: u32,
        after: Option<i64>,
    ) -> StoreResult<EventPage>;

    /// One event, with its history and what is known of its call.
    async fn find_event(&self, id: i64) -> StoreResult<Option<StoredEvent>>;

    /// Which events [`Store::replay`] would replay. Writes nothing.
    async fn would_replay(&self, replay: Replay) -> StoreResult<Vec<i64>>;

    /// Makes events pending as if they had just come in, unless they wait already or have no body any more, and records who
    /// did it; their ids.
    async fn replay(&self, replay: Replay, actor: Actor, now: Timestamp) -> StoreResult<Vec<i64>>;

    /// Adds to the counts of what Athos sends that no document mentions; those that are new. There is an end to how many
    /// are kept.
    async fn note_drift(
        &self,
        counted: Vec<(Drift, u64)>,
        now: Timestamp,
    ) -> StoreResult<Vec<Drift>>;

    /// What Athos sends that no document mentions, the latest to appear first.
    async fn list_drift(&self) -> StoreResult<Vec<SeenDrift>>;

    /// Records how secrets and keys fare; what is on record and later stays.
    async fn note_credentials(&self, credentials: Vec<Credential>) -> StoreResult<()>;

    /// Every secret and key that was ever noted.
    async fn credentials(&self) -> StoreResult<Vec<Credential>>;

    /// Removes every trace of the rep with this id, ours or Athos's, and keeps away what comes late about calls that began
    /// until `now`; says how many rows went. An erasure that breaks off is finished by [`Store::resume_erasures`].
    async fn erase(&self, rep: &RepId, actor: Actor, now: Timestamp) -> StoreResult<ErasedRows>;

    /// How many rows [`Store::erase`] would remove. Writes nothing.
    async fn would_erase(&self, rep: &RepId, now: Timestamp) -> StoreResult<ErasedRows>;

    /// Finishes the erasures that were begun and broke off; how many there were.
    async fn resume_erasures(&self) -> StoreResult<usize>;

    /// Removes the words of some calls that ended before; `strip` says what is left of a detail. How many; none are left
    /// when it is 0.
    async fn purge_words(
        &self,
        before: Timestamp,
        strip: Strip,
        now: Timestamp,
    ) -> StoreResult<u64>;

    /// Empties the bodies of some events that are settled and came in before; they cannot be replayed any more.
    async fn purge_bodies(&self, before: Timestamp) -> StoreResult<u64>;

    /// Removes some records of session tokens and of reconciliations from before.
    async fn purge_records(&self, before: Timestamp) -> StoreResult<u64>;

    /// Removes what is no longer part of the database from its log as well; `false` while somebody is reading.
    async fn empty_log(&self) -> StoreResult<bool>;

    /// How much work lies in the inbox.
    async fn queue_depth(&self) -> StoreResult<QueueDepth>;

    /// Whether it can be read and its last write succeeded.
    async fn check(&self) -> StoreResult<()>;

    /// Finishes what was queued and closes the files.
    async fn close(&self);

    /// Returns when nothing can be written any more, closed or failed; only a new process helps.
    async fn failed(&self);
}
