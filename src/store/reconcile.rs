//! What reconciliation asks of the store, in words: calls that Athos lists, repairs, and runs with their windows.

use async_trait::async_trait;

use super::{NewEvent, StoreResult};
use crate::model::{Source, Timestamp};

/// Calls that Athos lists and no webhook brought, and the record of runs.
#[async_trait]
pub trait Reconciliation: Send + Sync {
    /// Which of these calls [`Self::ingest_missing`] would bring in. Writes nothing.
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
}

/// A call that Athos lists as scored, ready to come in like a webhook.
#[derive(Clone, Debug)]
pub struct ListedCall {
    /// Athos's id of the call.
    pub id: String,
    /// When Athos scored it.
    pub scored_at: Option<Timestamp>,
    /// What comes in if the call is missing; its key is the same whenever this call with this score is listed.
    pub event: NewEvent,
}

/// A listed call that we lacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredCall {
    /// Athos's id of the call.
    pub call_id: String,
    /// What was wrong with what we had.
    pub cause: RecoveryCause,
}

/// Why a listed call has to come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryCause {
    /// We have never heard of it.
    Missing,
    /// We know of it, have no score, and no event that would bring one is waiting.
    NotScored,
    /// We have a score of another time.
    ScoredAgain,
}

impl RecoveryCause {
    /// The cause in words, for logs and people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotScored => "not scored here",
            Self::ScoredAgain => "scored again",
        }
    }
}

/// A reconciliation that begins.
#[derive(Clone, Copy, Debug)]
pub struct NewRun {
    /// Whose list it reads.
    pub source: Source,
    /// Whether it continues where the one before ended; only such runs say until when all is reconciled.
    pub continues: bool,
    /// The earliest it looks at, on the axis of the source.
    pub from: Timestamp,
    /// The latest, until its end says better.
    pub to: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
}

/// How a reconciliation ended.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// When.
    pub finished_at: Timestamp,
    /// Pages read.
    pub pages: u32,
    /// Calls on them.
    pub seen: u32,
    /// Calls brought in.
    pub repaired: u32,
    /// Why it did not reach the end, in words.
    pub error: Option<String>,
    /// Up to where all is reconciled, if that is not where it was to look.
    pub until: Option<Timestamp>,
}

/// A reconciliation, as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whose calls it looked at: `roleplay` or `real_call`.
    pub source: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `null` while it goes on, or if its process died.
    pub finished_at: Option<Timestamp>,
    /// Calls that it found in Athos's list.
    pub seen: u32,
    /// Calls that it brought in: each is a webhook that never came.
    pub repaired: u32,
    /// Why it did not reach the end, in words.
    pub error: Option<String>,
}
