//! Commits the writer's batches to SQLite, in the writer's task; and checkpoints its log beside it.

use std::cell::Cell;
use std::ffi::c_int;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, hooks};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};
use tokio::time::sleep;

use super::BUSY_TIMEOUT;
use crate::store::sql::{Batch, Committer, Log};
use crate::store::{StoreError, StoreResult};

/// How soon to try again to begin a transaction while another process writes.
const LOCKED_RETRY_DELAY: Duration = Duration::from_millis(2);

/// Pages of the log from which it is copied into the database, to be used again from its start: 8 MB. Longer logs copy a
/// page that changed often only once; shorter ones start faster after a crash.
const CHECKPOINT_PAGES: u32 = 2000;
/// Pages from which the writer copies the log itself after each commit, as SQLite does by default: copying beside it is too
/// slow, or does not happen.
const MAX_LOG_PAGES: u32 = 4 * CHECKPOINT_PAGES;
/// Pages that are few enough to be copied while nothing is written.
const LAST_PAGES: u32 = CHECKPOINT_PAGES / 8;
/// How often the log is copied beside the writer before it has to wait.
const PASSES_BESIDE: u32 = 3;

/// Commits batches by the connection that writes.
pub(super) struct SqliteCommitter {
    connection: WriteConnection,
    log: Arc<LogFile>,
}

impl SqliteCommitter {
    pub(super) fn new(connection: WriteConnection, log: File) -> Self {
        Self {
            connection,
            log: Arc::new(LogFile(log)),
        }
    }
}

/// The log's file. What SQLite has written to it is synced by a descriptor of its own, on any thread.
struct LogFile(File);

impl Log for LogFile {
    fn sync(&self) -> StoreResult<()> {
        self.0
            .sync_data()
            .map_err(|error| StoreError::Io(error.to_string()))
    }
}

/// The connection that writes; none once it is closed. Whoever empties the log has it between two batches.
#[derive(Clone)]
pub(super) struct WriteConnection(Arc<Connections>);

struct Connections {
    writing: Arc<Mutex<Option<Connection>>>,
    /// Copies the log into the database, beside the one that writes.
    checkpointing: Arc<Mutex<Option<Connection>>>,
    /// Pages of the log after the latest commit.
    log_pages: AtomicU32,
    log_is_long: Notify,
}

impl WriteConnection {
    pub(super) fn new(writing: Connection, checkpointing: Connection) -> Self {
        writing.wal_hook(Some(note_log_pages));
        Self(Arc::new(Connections {
            writing: Arc::new(Mutex::new(Some(writing))),
            checkpointing: Arc::new(Mutex::new(Some(checkpointing))),
            log_pages: AtomicU32::new(0),
            log_is_long: Notify::new(),
        }))
    }

    /// Waits for a commit that leaves a long log.
    pub(super) async fn log_is_long(&self) {
        self.0.log_is_long.notified().await;
    }

    /// Copies the log into the database beside the writer. A commit that did so would keep all webhooks waiting for two syncs and
    /// thousands of pages. Only the last few pages are copied while nothing is written: then none is left, and the next commit
    /// starts the log over, unless somebody reads it.
    pub(super) async fn checkpoint_log(&self) -> StoreResult<()> {
        let mut checkpointing = Arc::clone(&self.0.checkpointing).lock_owned().await;
        for _ in 0..PASSES_BESIDE {
            let (held, copied) = checkpoint(checkpointing, "PASSIVE", Duration::ZERO).await?;
            checkpointing = held;
            let pages = self.0.log_pages.load(Ordering::Relaxed);
            if pages.saturating_sub(copied.pages) <= LAST_PAGES {
                break;
            }
        }
        let _nothing_is_written = self.0.writing.lock().await;
        checkpoint(checkpointing, "PASSIVE", Duration::ZERO).await?;
        Ok(())
    }

    /// Copies the log into the database and cuts it to nothing; `false` when readers of it do not end within `wait`. Nothing
    /// is written meanwhile. It waits on a thread that may wait.
    pub(super) async fn truncate_log(&self, wait: Duration) -> StoreResult<bool> {
        // Only one may copy the log at a time.
        let _checkpointing = self.0.checkpointing.lock().await;
        let writing = Arc::clone(&self.0.writing).lock_owned().await;
        let (_, copied) = checkpoint(writing, "TRUNCATE", wait).await?;
        Ok(copied.is_whole)
    }
}

/// How much of the log is in the database.
struct Checkpointed {
    pages: u32,
    /// Whether nothing stood in the way.
    is_whole: bool,
}

type Held = OwnedMutexGuard<Option<Connection>>;

/// Copies the log by this connection, on a thread that may wait: for other connections as long as `wait`.
async fn checkpoint(held: Held, mode: &str, wait: Duration) -> StoreResult<(Held, Checkpointed)> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let copy = move || {
        let connection = held.as_ref().ok_or(StoreError::Closed)?;
        let copied = connection.busy_timeout(wait).and_then(|()| {
            connection.query_row(&sql, [], |row| {
                Ok(Checkpointed {
                    pages: row.get::<_, i64>(2)?.try_into().unwrap_or_default(),
                    is_whole: row.get::<_, i64>(0)? == 0,
                })
            })
        });
        let copied = connection.busy_timeout(Duration::ZERO).and(copied)?;
        Ok((held, copied))
    };
    let copied = tokio::task::spawn_blocking(copy).await;
    copied.map_err(|_| StoreError::Closed)?
}

thread_local! {
    /// Pages of the log after this thread's latest commit: SQLite calls a plain function with it.
    static LOG_PAGES: Cell<u32> = const { Cell::new(0) };
}

fn note_log_pages(log: &hooks::Wal, pages: c_int) -> rusqlite::Result<()> {
    let pages = pages.try_into().unwrap_or_default();
    LOG_PAGES.set(pages);
    if pages > MAX_LOG_PAGES {
        // While somebody else copies it, this fails. It is tried again after the next commit.
        let _ = log.checkpoint();
    }
    Ok(())
}

#[async_trait]
impl Committer for SqliteCommitter {
    async fn commit(&mut self, mut batch: Batch) -> (Batch, StoreResult<()>) {
        let shared = &self.connection.0;
        let mut connection = shared.writing.lock().await;
        let committed = match connection.as_mut() {
            Some(connection) => commit(connection, &mut batch).await,
            None => Err(StoreError::Closed),
        };
        if committed.is_ok() {
            // Nothing was waited for since: it is the same thread.
            let pages = LOG_PAGES.get();
            shared.log_pages.store(pages, Ordering::Relaxed);
            if pages >= CHECKPOINT_PAGES {
                shared.log_is_long.notify_one();
            }
        }
        (batch, committed)
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        Some(Arc::clone(&self.log) as _)
    }

    async fn close(&mut self) {
        // The one that writes is the last to go: then SQLite copies the log into the database, and removes it.
        let shared = &self.connection.0;
        drop(shared.checkpointing.lock().await.take());
        let connection = shared.writing.lock().await.take();
        if let Some(Err((_, error))) = connection.map(Connection::close) {
            tracing::warn!(%error, "failed to close the database; the next start recovers from its log");
        }
    }
}

async fn commit(connection: &mut Connection, batch: &mut Batch) -> StoreResult<()> {
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
