//! Why the store did not do what it was asked, and what that means for whoever runs it. Whichever engine it is: each says
//! which of its errors is which of these, and adds its own words for the log.

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the database.
    #[error("the database refused: {0}")]
    Busy(String),
    /// The database may not be written to.
    #[error("the database refused: {0}")]
    ReadOnly(String),
    /// The disk is full.
    #[error("the database refused: {0}")]
    Full(String),
    /// The disk fails, or the database cannot be reached.
    #[error("the database refused: {0}")]
    Io(String),
    /// Something about this statement, or these values.
    #[error("the database refused: {0}")]
    Refused(String),
    /// The database is not what was written to it. It will not mend by itself.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// What was read is not what was ever written.
    #[error("the database holds something unreadable: {0}")]
    Unreadable(String),
    /// It was for the leader of a duty, and another replica leads it now; nothing was written.
    #[error("another replica leads this duty now")]
    NotLeader,
    /// The store is shutting down, or its writer is gone.
    #[error("the store is closed")]
    Closed,
    /// It took longer than whoever asked could wait; it may still happen.
    #[error("the database did not answer in time")]
    TimedOut,
    /// A read took longer than reads may, or waited too long for its turn.
    #[error("the read took too long")]
    ReadTimedOut,
}

impl StoreError {
    /// Whether every other write would fail for the same reason now: the database is locked, or full, or gone.
    pub(super) fn concerns_all_writes(&self) -> bool {
        // Of a damaged database, other pages may be whole.
        !matches!(self, Self::Refused(_) | Self::Damaged(_))
    }

    /// What to do about it, in words that may be shown to anyone.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Busy(_) => "another process holds the database's lock",
            Self::ReadOnly(_) => "the database, or its folder, may not be written to",
            Self::Full(_) => "the disk is full",
            Self::Io(_) => "the disk fails, or the database file is gone",
            Self::Damaged(_) => "the database is damaged: stop, and restore a backup",
            _ => "the database does not answer as it should; the log says more",
        }
    }
}
