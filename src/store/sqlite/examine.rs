//! Examines a database without changing it: its content, and whether it is intact. For `doctor`, beside a running service
//! or before its first start.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::SqliteConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use super::readers::ReadPool;
use super::{MIGRATIONS, contract, credentials, drift, inbox, reconcile};
use crate::model::Timestamp;
use crate::store::{Contents, Examined, Integrity, Schema, StoreError, StoreResult};

/// Instructions of SQLite between two checks of the deadline.
const CHECK_EVERY_INSTRUCTIONS: i32 = 10_000;

/// Examines the database in `file`. Its pages are checked for at most `limit`.
pub(in crate::store) async fn examine(file: &Path, limit: Duration) -> anyhow::Result<Examined> {
    let size_bytes = std::fs::metadata(file)?.len();
    let log = PathBuf::from(format!("{}-wal", file.display()));
    let log_bytes = std::fs::metadata(&log).map_or(0, |log| log.len());
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        // Without a log no process has it open, and reading it creates no file beside it.
        .immutable(!log.exists())
        .busy_timeout(Duration::from_secs(1));
    let reader = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(3))
        .connect_with(options)
        .await?;
    let schema = schema(&reader).await?;
    let integrity = integrity(&mut *reader.acquire().await?, limit).await?;
    let contents = if schema == Schema::Current {
        Some(contents(&ReadPool::of_its_own(reader.clone(), limit)).await?)
    } else {
        None
    };
    reader.close().await;
    Ok(Examined {
        size_bytes,
        log_bytes,
        integrity,
        schema,
        contents,
    })
}

async fn schema(reader: &SqlitePool) -> StoreResult<Schema> {
    let table = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let is_ours: i64 = sqlx::query_scalar(table).fetch_one(reader).await?;
    if is_ours == 0 {
        return Ok(Schema::Older);
    }
    let applied: Vec<i64> = sqlx::query_scalar("SELECT version FROM _sqlx_migrations")
        .fetch_all(reader)
        .await?;
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

async fn integrity(connection: &mut SqliteConnection, limit: Duration) -> StoreResult<Integrity> {
    let started = Instant::now();
    connection
        .lock_handle()
        .await?
        .set_progress_handler(CHECK_EVERY_INSTRUCTIONS, move || started.elapsed() < limit);
    let checked = sqlx::query_scalar::<_, String>("PRAGMA quick_check(1)")
        .fetch_one(&mut *connection)
        .await;
    connection.lock_handle().await?.remove_progress_handler();
    match checked.map_err(StoreError::from) {
        Ok(said) if said == "ok" => Ok(Integrity::Sound),
        Ok(said) | Err(StoreError::Damaged(said)) => Ok(Integrity::Broken(said)),
        Err(StoreError::ReadTimedOut) => Ok(Integrity::Unfinished),
        Err(error) => Err(error),
    }
}

async fn contents(reader: &ReadPool) -> StoreResult<Contents> {
    let last_webhook_at: Option<i64> = sqlx::query_scalar(
        "SELECT received_at FROM events WHERE origin = 'webhook' AND webhook_id NOT GLOB 'doctor_*' \
         ORDER BY id DESC LIMIT 1",
    )
    .fetch_optional(reader)
    .await?;
    Ok(Contents {
        depth: inbox::queue_depth(reader).await?,
        last_webhook_at: last_webhook_at.map(Timestamp::from_millis),
        runs: reconcile::latest_runs(reader, 50).await?,
        credentials: credentials::list(reader).await?,
        learned_contract: contract::learnt(reader).await?,
        drift: drift::list(reader).await?,
    })
}
