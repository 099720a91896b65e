//! What SQLite's errors mean.

use crate::store::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        let code = error.sqlite_error().map(|told| told.extended_code);
        // The low byte is the primary code.
        match code.unwrap_or_default() & 0xff {
            5 | 6 => Self::Busy(text),
            8 => Self::ReadOnly(text),
            9 => Self::ReadTimedOut,
            10 | 14 => Self::Io(text),
            11 | 26 => Self::Damaged(text),
            13 => Self::Full(text),
            _ => Self::Refused(text),
        }
    }
}
