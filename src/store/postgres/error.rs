//! What PostgreSQL's errors mean.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::store::StoreError;

/// How texts begin of errors by which the connection ended.
pub(super) const CONNECTION_LOST: &str = "the connection to the server was lost";

pub(super) fn error_of(error: &Error) -> StoreError {
    let Some(told) = error.as_db_error() else {
        // The driver's own text names the kind, and the cause says what happened.
        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        return StoreError::Io(format!("{CONNECTION_LOST}: {error}{cause}"));
    };
    let text = format!("{} (SQLSTATE {})", told.message(), told.code().code());
    if is_about_plan(error) {
        return StoreError::Busy(text);
    }
    of_state(told.code(), text)
}

/// Whether nothing more will come of the connection.
pub(super) fn ends_connection(error: &Error) -> bool {
    let severity = error.as_db_error().map(DbError::parsed_severity);
    severity.is_none_or(|severity| matches!(severity, Some(Severity::Fatal | Severity::Panic)))
        || is_about_plan(error)
}

/// Whether a statement was prepared for a schema that has changed since, by the migration of another version. A new connection
/// prepares it anew.
fn is_about_plan(error: &Error) -> bool {
    let told = error.as_db_error();
    told.is_some_and(|told| told.routine() == Some("RevalidateCachedQuery"))
}

fn of_state(state: &SqlState, text: String) -> StoreError {
    match state.code() {
        // Serialization failures, deadlocks, locks that were not got in time.
        "40001" | "40P01" | "55P03" => StoreError::Busy(text),
        // A standby, a read-only transaction; a role without the right to write.
        "25006" | "42501" => StoreError::ReadOnly(text),
        "53100" => StoreError::Full(text),
        // `statement_timeout`, or somebody cancelled it.
        "57014" => StoreError::ReadTimedOut,
        // Damage that a checksum or an index shows.
        "XX001" | "XX002" => StoreError::Damaged(text),
        // Connections, resources, an administrator's shutdown, the disk or the network: it concerns every statement.
        code if ["08", "53", "57", "58", "28", "3D"].contains(&&code[..2]) => StoreError::Io(text),
        // The transaction has failed already; whoever waits is told why by the first statement that did.
        _ => StoreError::Refused(text),
    }
}
