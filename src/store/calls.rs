//! Calls as readers see them: lists, one call with its detail, progress, and the stream of changes.

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Page, StoreResult};
use crate::model::{CallRow, CallStatus, Scope, Timestamp};

/// Calls, as readers may see them.
#[async_trait]
pub trait Calls: Send + Sync {
    /// One page of calls, newest first, after `after`.
    async fn list_calls(
        &self,
        filter: &CallFilter,
        limit: u32,
        after: Option<PageKey>,
    ) -> StoreResult<Page<CallRow, PageKey>>;

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

    /// Signals every change of a call.
    fn changes(&self) -> watch::Receiver<u64>;
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

/// A call with everything that is stored of it.
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
    /// When the transcript was removed, or left out at first.
    pub purged_at: Option<Timestamp>,
    /// Athos's JSON, once it was fetched.
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
    /// The rep.
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
    /// The mean compliance; absent without any.
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
    /// The rev up to which these are all changes for this reader; continue from here.
    pub up_to: i64,
    /// The latest change of any call: beyond `up_to`, there may be more.
    pub latest: i64,
}
