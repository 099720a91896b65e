//! The change feed: what changed, in the order of `rev`, for those who keep copies of calls elsewhere.

use async_trait::async_trait;

use super::StoreResult;
use crate::model::{CallRow, Scope};

/// Changes of calls, in the order in which they were made.
#[async_trait]
pub trait ChangeFeed: Send + Sync {
    /// Some of the changes after `rev`, oldest first, at most `limit` of them, that this reader may see. A call that changed
    /// several times is there once, as it is now. One step on a way whose length is that of the history since, not of the
    /// reader's own.
    async fn read_feed(&self, scope: &Scope, rev: i64, limit: u32) -> StoreResult<FeedPage>;
}

/// Some of the changes a reader may see.
#[derive(Clone, Debug)]
pub struct FeedPage {
    /// The changes, oldest first.
    pub changes: Vec<FeedChange>,
    /// The rev up to which these are all changes for this reader; continue from here.
    pub up_to: i64,
    /// The latest change of any call: beyond `up_to`, there may be more.
    pub latest: i64,
}

/// What a copy must do.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedChange {
    /// Keep this call as it is here.
    Call {
        /// Of its last change.
        rev: i64,
        /// The call.
        row: CallRow,
    },
    /// Forget this call. Only for readers who see every call: what is kept of one that was erased does not say whose it was.
    Erased {
        /// Of the erasure.
        rev: i64,
        /// Athos's id of the call.
        id: String,
    },
}

impl FeedChange {
    /// Where it stands in the feed.
    #[must_use]
    pub fn rev(&self) -> i64 {
        match self {
            Self::Call { rev, .. } | Self::Erased { rev, .. } => *rev,
        }
    }
}
