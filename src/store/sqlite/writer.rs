//! Commits the writer's batches to SQLite, in the writer's task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::BUSY_TIMEOUT;
use crate::store::sql::{Batch, Committer, Durability};
use crate::store::{StoreError, StoreResult};

/// How soon to try again to begin a transaction while another process writes.
const LOCKED_RETRY_DELAY: Duration = Duration::from_millis(2);

/// The connection that writes; none once it is closed. Whoever empties the log has it between two batches.
#[derive(Clone)]
pub(super) struct WriteConnection(Arc<Mutex<Option<Connection>>>);

impl WriteConnection {
    pub(super) fn new(connection: Connection) -> Self {
        Self(Arc::new(Mutex::new(Some(connection))))
    }

    /// Copies the log into the database and cuts it to nothing; `false` when readers of it do not end within `wait`. Nothing
    /// is written meanwhile. It waits on a thread that may wait.
    pub(super) async fn truncate_log(&self, wait: Duration) -> StoreResult<bool> {
        let held = Arc::clone(&self.0).lock_owned().await;
        let truncate = move || {
            let connection = held.as_ref().ok_or(StoreError::Closed)?;
            let truncated = connection.busy_timeout(wait).and_then(|()| {
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                    Ok(row.get::<_, i64>(0)? == 0)
                })
            });
            Ok(connection.busy_timeout(Duration::ZERO).and(truncated)?)
        };
        let truncated = tokio::task::spawn_blocking(truncate).await;
        truncated.map_err(|_| StoreError::Closed)?
    }
}

fn pragma(durability: Durability) -> &'static str {
    match durability {
        Durability::Committed => "PRAGMA synchronous = NORMAL",
        Durability::Synced => "PRAGMA synchronous = FULL",
    }
}

#[async_trait]
impl Committer for WriteConnection {
    async fn commit(&mut self, mut batch: Batch) -> (Batch, StoreResult<()>) {
        let mut connection = self.0.lock().await;
        let committed = match connection.as_mut() {
            Some(connection) => commit(connection, &mut batch).await,
            None => Err(StoreError::Closed),
        };
        (batch, committed)
    }

    async fn close(&mut self) {
        let connection = self.0.lock().await.take();
        // SQLite copies the log into the database when the last connection goes.
        if let Some(Err((_, error))) = connection.map(Connection::close) {
            tracing::warn!(%error, "failed to close the database; the next start recovers from its log");
        }
    }
}

async fn commit(connection: &mut Connection, batch: &mut Batch) -> StoreResult<()> {
    // SQLite does this while it reads the text: such a statement cannot be kept.
    connection.execute_batch(pragma(batch.durability()))?;
    begin(connection).await?;
    let written = batch.apply(connection);
    let committed = written.and_then(|()| Ok(run_cached(connection, "COMMIT")?));
    if committed.is_err() {
        // Where SQLite has rolled back by itself there is none left to end, and this fails, as it should.
        let _ = run_cached(connection, "ROLLBACK");
    }
    committed
}

/// Begins a transaction. While another process writes, it waits without holding a thread of the runtime.
async fn begin(connection: &mut Connection) -> StoreResult<()> {
    let started = Instant::now();
    loop {
        match run_cached(connection, "BEGIN IMMEDIATE") {
            Err(error) if is_busy(&error) && started.elapsed() < BUSY_TIMEOUT => {
                sleep(LOCKED_RETRY_DELAY).await;
            }
            begun => return Ok(begun?),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

fn run_cached(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}
