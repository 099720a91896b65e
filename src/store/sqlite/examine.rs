//! Examines a database without changing it: its content, and whether it is intact. For `doctor`, beside a running service
//! or before its first start.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{migrations, open};
use crate::store::sql::{self, contents};
use crate::store::{Examined, Integrity, Place, Schema, StoreError, StoreResult};

/// Instructions of SQLite between two checks of the deadline.
const CHECK_EVERY_INSTRUCTIONS: i32 = 10_000;

/// Examines the database in `file`. Its pages are checked for at most `limit`, and its content is read for at most as long.
pub(in crate::store) async fn examine(file: &Path, limit: Duration) -> anyhow::Result<Examined> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || examine_now(&file, limit)).await?
}

fn examine_now(file: &Path, limit: Duration) -> anyhow::Result<Examined> {
    let size_bytes = std::fs::metadata(file)?.len();
    let log = PathBuf::from(format!("{}-wal", file.display()));
    let log_bytes = std::fs::metadata(&log).map_or(0, |log| log.len());
    // Without a log no process has it open, and reading it creates no file beside it.
    let connection = open::open_to_read(file, !log.exists())?;
    let schema = migrations::schema(&connection)?;
    Ok(Examined {
        place: Place::File {
            size_bytes,
            log_bytes,
            integrity: integrity(&connection, limit)?,
        },
        contents: match schema {
            Schema::Current => Some(within(&connection, limit, contents)?),
            Schema::Older | Schema::Newer | Schema::Copying => None,
        },
        schema,
    })
}

fn integrity(connection: &Connection, limit: Duration) -> StoreResult<Integrity> {
    let checked = within(connection, limit, |db| {
        db.scalar::<String>("PRAGMA quick_check(1)", &[])
    });
    match checked {
        Ok(said) if said == "ok" => Ok(Integrity::Sound),
        Ok(said) | Err(StoreError::Damaged(said)) => Ok(Integrity::Broken(said)),
        Err(StoreError::ReadTimedOut) => Ok(Integrity::Unfinished),
        Err(error) => Err(error),
    }
}

/// Reads for at most `limit`.
fn within<T>(
    connection: &Connection,
    limit: Duration,
    read: impl FnOnce(&dyn sql::Connection) -> StoreResult<T>,
) -> StoreResult<T> {
    let started = Instant::now();
    let is_over = move || started.elapsed() >= limit;
    connection.progress_handler(CHECK_EVERY_INSTRUCTIONS, Some(is_over))?;
    read(connection)
}
