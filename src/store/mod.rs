//! What the service remembers, as a trait in the domain's verbs: the inbox of events, the calls, the mints.
//! How it is kept (SQLite today) is the business of the modules below; no SQL leaves them.

mod calls;
mod erasure;
mod error;
mod identity;
mod inbox;
mod inspect;
mod mints;
mod reconcile;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use crate::model::LearnedContract;
use crate::model::{Credential, Drift, PlatformId, RepId, Scope, SeenDrift, Source, Timestamp};

pub use calls::{
    CallChange, CallFilter, CallPage, Changes, PageKey, Progress, ProgressFilter, ScorePoint,
    StoredCall,
};
pub use erasure::ErasedRows;
pub use error::StoreError;
pub use identity::{IdentityKind, LinkedIds};
pub use inbox::{
    Accepted, Claimable, ClaimedEvent, Failure, Lease, NewEvent, QueueDepth, Settled, Settlement,
};
pub use inspect::{
    Actor, Attempt, AuditEntry, EventCall, EventFilter, EventPage, EventRow, EventVerdict, Origin,
    Received, Replay, Replayed, StoredEvent, WouldReplay,
};
pub use mints::{MINT_MAY_TAKE, Mint, MintFilter, MintOutcome, MintPage, NewMint};
pub use reconcile::{ListedCall, NewRun, RecoveredCall, RecoveryCause, Run, RunEnd};
pub use sqlite::{
    Backup, Contents, Examined, Integrity, Schema, SqliteStore, Step, back_up, database_file,
    examine,
};

/// Longest anyone waits for a write. Athos gives a delivery up after 10 s (docs/athos-contract.md, "Webhooks"): a
/// refusal before that makes it come again.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(8);

/// A store, shared.
pub type SharedStore = Arc<dyn Store>;

/// What the store answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// Says what is left of a stored detail when its words go.
pub type Strip = fn(&str) -> String;

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
    async fn clamp_schedules(
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
        pairings: Vec<LinkedIds>,
        now: Timestamp,
    ) -> StoreResult<Vec<LinkedIds>>;

    /// What Athos calls a rep of ours, if that has been learnt.
    async fn find_agent(&self, rep: &PlatformId) -> StoreResult<Option<LinkedIds>>;

    /// Which agencies of ours are which of Athos's, as far as that has been learnt.
    async fn known_agencies(&self) -> StoreResult<Vec<LinkedIds>>;

    /// Remembers which generation of the contract Athos speaks.
    async fn record_learned_contract(&self, learnt: LearnedContract) -> StoreResult<()>;

    /// Which generation Athos was last found to speak.
    async fn learned_contract(&self) -> StoreResult<Option<LearnedContract>>;

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

    /// Which of these calls [`Store::ingest_missing`] would bring in. Writes nothing.
    async fn find_missing_calls(&self, listed: &[ListedCall]) -> StoreResult<Vec<RecoveredCall>>;

    /// Takes those of these calls into the inbox that are missing or not scored here, or scored again since, unless an
    /// event about them is waiting or they came in this way before.
    async fn ingest_missing(&self, listed: Vec<ListedCall>) -> StoreResult<Vec<RecoveredCall>>;

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

    /// Some of the changes after `rev`, oldest first, that this reader may see. One step on a way whose length is that of
    /// the history since, not of the reader's own.
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

    /// Which events [`Store::replay`] would replay, the first `limit` of them by id. Writes nothing.
    async fn count_replayable(&self, replay: Replay, limit: u32) -> StoreResult<WouldReplay>;

    /// Makes some events pending as if they had just come in, unless they wait already or have no body any more, and records
    /// who did it: the next few after the one with the id `after`, which is 0 at first. Whoever asks goes on from there.
    async fn replay(
        &self,
        replay: Replay,
        after: i64,
        actor: Actor,
        now: Timestamp,
    ) -> StoreResult<Replayed>;

    /// Adds to the counts of what Athos sends that no document mentions; those that are new. There is an end to how many
    /// are kept.
    async fn record_drift_counts(
        &self,
        counted: Vec<(Drift, u64)>,
        now: Timestamp,
    ) -> StoreResult<Vec<Drift>>;

    /// What Athos sends that no document mentions, the latest to appear first.
    async fn list_drift(&self) -> StoreResult<Vec<SeenDrift>>;

    /// Records how secrets and keys fare; what is on record and later stays.
    async fn record_credential_usage(&self, credentials: Vec<Credential>) -> StoreResult<()>;

    /// Every secret and key that was ever noted.
    async fn credentials(&self) -> StoreResult<Vec<Credential>>;

    /// Removes every trace of the rep with this id, ours or Athos's, and keeps away what comes late about calls that began
    /// until `now`; says how many rows went. An erasure that breaks off is finished by [`Store::resume_erasures`].
    async fn erase(&self, rep: &RepId, actor: Actor, now: Timestamp) -> StoreResult<ErasedRows>;

    /// How many rows [`Store::erase`] would remove. Writes nothing.
    async fn preview_erasure(&self, rep: &RepId, now: Timestamp) -> StoreResult<ErasedRows>;

    /// Finishes the erasures that were begun and broke off; how many there were.
    async fn resume_erasures(&self) -> StoreResult<usize>;

    /// Removes the words of some calls that ended before; `strip` says what is left of a detail. How many; none are left
    /// when it is 0.
    async fn redact_transcripts(
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
    async fn truncate_wal(&self) -> StoreResult<bool>;

    /// What has come in since then, and what became of it so far.
    async fn received_since(&self, from: Timestamp) -> StoreResult<Received>;

    /// How much work lies in the inbox.
    async fn queue_depth(&self) -> StoreResult<QueueDepth>;

    /// Whether it can be read and its last write succeeded.
    async fn check(&self) -> StoreResult<()>;

    /// Finishes what was queued and closes the files.
    async fn close(&self);

    /// Returns when nothing can be written any more, closed or failed; only a new process helps.
    async fn failed(&self);
}
