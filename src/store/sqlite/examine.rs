//! Examines a database without changing it: its content, and whether it is intact. For `doctor`, beside a running service
//! or before its first start.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use rusqlite::{Connection, OpenFlags};

use super::MIGRATIONS;
use crate::store::sql::{self, contents};
use crate::store::{Examined, Integrity, Schema, StoreError, StoreResult};

/// How long to wait for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
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
    let connection = open_to_read(file, !log.exists())?;
    let schema = schema(&connection)?;
    Ok(Examined {
        size_bytes,
        log_bytes,
        integrity: integrity(&connection, limit)?,
        contents: match schema {
            Schema::Current => Some(within(&connection, limit, contents)?),
            Schema::Older | Schema::Newer => None,
        },
        schema,
    })
}

/// Opens a file that nothing is written to; an immutable one is not looked at for changes either.
fn open_to_read(file: &Path, immutable: bool) -> anyhow::Result<Connection> {
    let path = file.to_str().context("the path is not UTF-8")?;
    // What means something in a URI.
    let path = ["%", "?", "#"].iter().fold(path.to_owned(), |path, sign| {
        path.replace(sign, &format!("%{:02x}", sign.as_bytes()[0]))
    });
    let uri = format!("file:{path}?immutable={}", u8::from(immutable));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags).map_err(StoreError::from)?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(StoreError::from)?;
    Ok(connection)
}

fn schema(db: &dyn sql::Connection) -> StoreResult<Schema> {
    let table = "SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    if !db.exists(table, &[])? {
        return Ok(Schema::Older);
    }
    let applied = "SELECT version FROM _sqlx_migrations";
    let applied: Vec<i64> = db.rows(applied, &[], |row| row.get(0))?;
    let known: Vec<i64> = MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .collect();
    Ok(if applied.iter().any(|version| !known.contains(version)) {
        Schema::Newer
    } else if known.iter().any(|version| !applied.contains(version)) {
        Schema::Older
    } else {
        Schema::Current
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
