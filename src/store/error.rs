//! Why the store did not do what it was asked, and what that means for whoever runs it.

use std::sync::Arc;

/// What SQLite's primary result codes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Another process has the file.
    Busy,
    /// The file, or its folder, may not be written to.
    ReadOnly,
    /// The disk is full.
    Full,
    /// The disk fails, or the file cannot be opened.
    Io,
    /// The file is not, or no longer, what SQLite wrote.
    Damage,
    /// It ran longer than it may.
    Interrupted,
    /// Something about this statement.
    Other,
}

impl Cause {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        let code = code.and_then(|code| code.parse::<u32>().ok());
        // The low byte is the primary result code.
        match code.map(|code| code & 0xff) {
            Some(5 | 6) => Self::Busy,
            Some(8) => Self::ReadOnly,
            Some(9) => Self::Interrupted,
            Some(10 | 14) => Self::Io,
            Some(11 | 26) => Self::Damage,
            Some(13) => Self::Full,
            _ => Self::Other,
        }
    }
}

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was changed; the same may succeed later (a full disk, a locked file).
    #[error("the database refused: {0}")]
    Refused(Arc<sqlx::Error>),
    /// The file is not what was written to it. It will not mend by itself.
    #[error("the database is damaged: {0}")]
    Damaged(Arc<sqlx::Error>),
    /// What was read is not what was ever written.
    #[error("the database holds something unreadable: {0}")]
    Unreadable(String),
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
    /// Whether every other write would fail for the same reason now: the file is locked, or full, or gone.
    pub(super) fn concerns_all_writes(&self) -> bool {
        match self {
            Self::Refused(error) => Cause::of(error) != Cause::Other,
            // Other pages may be whole.
            Self::Damaged(_) => false,
            _ => true,
        }
    }

    /// What to do about it, in words that may be shown to anyone.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        let cause = match self {
            Self::Refused(error) => Cause::of(error),
            Self::Damaged(_) => Cause::Damage,
            _ => Cause::Other,
        };
        match cause {
            Cause::Busy => "another process holds the database's lock",
            Cause::ReadOnly => "the database, or its folder, may not be written to",
            Cause::Full => "the disk is full",
            Cause::Io => "the disk fails, or the database file is gone",
            Cause::Damage => "the database is damaged: stop, and restore a backup",
            Cause::Interrupted | Cause::Other => {
                "the database does not answer as it should; the log says more"
            }
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match Cause::of(&error) {
            Cause::Damage => Self::Damaged(Arc::new(error)),
            Cause::Interrupted => Self::ReadTimedOut,
            _ if matches!(error, sqlx::Error::PoolTimedOut) => Self::ReadTimedOut,
            _ => Self::Refused(Arc::new(error)),
        }
    }
}
