//! What SQLite's errors mean.

use crate::store::StoreError;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(told) => {
                let code = told.code().and_then(|code| code.parse().ok());
                of_code(code.unwrap_or_default(), told.to_string())
            }
            sqlx::Error::PoolTimedOut => Self::ReadTimedOut,
            error => Self::Refused(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error().map(|told| told.extended_code);
        of_code(code.unwrap_or_default().cast_unsigned(), error.to_string())
    }
}

/// The error of a result code; the low byte is the primary one.
fn of_code(code: u32, text: String) -> StoreError {
    match code & 0xff {
        5 | 6 => StoreError::Busy(text),
        8 => StoreError::ReadOnly(text),
        9 => StoreError::ReadTimedOut,
        10 | 14 => StoreError::Io(text),
        11 | 26 => StoreError::Damaged(text),
        13 => StoreError::Full(text),
        _ => StoreError::Refused(text),
    }
}
