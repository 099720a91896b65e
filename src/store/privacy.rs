//! What is said of the erasure of a rep: how many rows of each kind.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Actor, StoreResult};
use crate::model::{RepId, Timestamp};

/// What leaves the store for good: by erasure of a rep, and by retention.
#[async_trait]
pub trait Privacy: Send + Sync {
    /// Removes every trace of the rep with this id, ours or Athos's, and keeps away what comes late about calls that began
    /// until `now`; says how many rows went. An erasure that breaks off is finished by [`Self::resume_erasures`].
    async fn erase(&self, rep: &RepId, actor: Actor, now: Timestamp) -> StoreResult<ErasedRows>;

    /// How many rows [`Self::erase`] would remove: it is carried out, and each step is rolled back.
    async fn preview_erasure(&self, rep: &RepId, now: Timestamp) -> StoreResult<ErasedRows>;

    /// Finishes the erasures that were begun and broke off; how many there were.
    async fn resume_erasures(&self) -> StoreResult<usize>;

    /// Some details with what was spoken, of calls that ended before; none are left when it is empty.
    async fn find_transcripts(&self, before: Timestamp) -> StoreResult<Vec<Transcript>>;

    /// Puts these in the place of what was found, except where a call has changed since: that one is found again.
    async fn redact_transcripts(
        &self,
        redacted: Vec<Transcript>,
        now: Timestamp,
    ) -> StoreResult<()>;

    /// Empties the bodies of some events that are settled and came in before; they cannot be replayed any more.
    async fn purge_bodies(&self, before: Timestamp) -> StoreResult<u64>;

    /// Removes some records of session tokens and of reconciliations from before.
    async fn purge_records(&self, before: Timestamp) -> StoreResult<u64>;

    /// Removes some messages that were settled before, whether or not they were delivered.
    async fn purge_messages(&self, before: Timestamp) -> StoreResult<u64>;

    /// Removes the records of replicas that were last heard of before.
    async fn purge_replicas(&self, before: Timestamp) -> StoreResult<u64>;

    /// Removes what is no longer part of the database from its log as well; `false` while somebody is reading.
    async fn truncate_wal(&self) -> StoreResult<bool>;
}

/// A stored detail, as it was at some change of its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// The call's number in the store.
    pub call: i64,
    /// Which change of the call it was.
    pub rev: i64,
    /// Athos's JSON; none where none is kept.
    pub raw: Option<String>,
}

/// How many rows of each kind are gone; in a dry run, how many would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErasedRows {
    /// Calls.
    pub calls: u64,
    /// What Athos said of them: score and transcript.
    pub details: u64,
    /// Webhooks and other events about these calls, or naming the rep.
    pub events: u64,
    /// Attempts at these events.
    pub attempts: u64,
    /// Acts of others on these events; acts of the rep's own stay, without the name.
    pub acts: u64,
    /// Requests for session tokens.
    pub mints: u64,
    /// Which of Athos's ids are this rep's.
    pub identities: u64,
}

impl ErasedRows {
    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            calls: self.calls + more.calls,
            details: self.details + more.details,
            events: self.events + more.events,
            attempts: self.attempts + more.attempts,
            acts: self.acts + more.acts,
            mints: self.mints + more.mints,
            identities: self.identities + more.identities,
        }
    }

    /// Each kind in words, one of it, with its count.
    #[must_use]
    pub fn by_kind(&self) -> [(&'static str, u64); 7] {
        [
            ("call", self.calls),
            ("call detail", self.details),
            ("event", self.events),
            ("attempt", self.attempts),
            ("audit entry", self.acts),
            ("session token record", self.mints),
            ("linked id", self.identities),
        ]
    }
}
