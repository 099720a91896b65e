//! Keeps the write-ahead log short. SQLite starts it over only when nobody reads it. Overlapping readers leave no such
//! moment, so this makes one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{sleep, timeout};

use super::writer::WriteConnection;
use crate::store::sql::{Gates, lock};
use crate::store::{StoreError, StoreResult};
use crate::telemetry::metric;

/// Size of the log, in bytes, below which nothing is done: twice what SQLite checkpoints by itself.
pub(super) const LOG_AT_REST_BYTES: u64 = 16 << 20;
/// Size, in bytes, from which reads wait until the log is truncated. Below, it is truncated only when no read would wait.
pub(super) const MAX_LOG_BYTES: u64 = 32 << 20;
/// How often to check the size.
const TICK: Duration = Duration::from_secs(1);
/// Delay after a checkpoint: while somebody reads the log, it stays long, and every commit would ask for another.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(20);
/// Delay after a failed attempt: another process reads, and may take long.
const BACK_OFF: Duration = Duration::from_secs(30);
/// How long the writer waits for readers of the log. Reads that begin meanwhile use the database itself.
const READERS_MAY_TAKE: Duration = Duration::from_millis(200);
/// How long a request to truncate the log waits for its turn. All reads end within seconds.
const TURN_MAY_TAKE: Duration = Duration::from_secs(5);

/// The log of one database.
pub(super) struct Wal {
    file: PathBuf,
    writing: WriteConnection,
    pub(super) gates: Gates,
    /// Whether the failure was logged already.
    failing: Mutex<bool>,
}

impl Wal {
    pub(super) fn new(database: &Path, writing: WriteConnection, gates: Gates) -> Self {
        Self {
            file: PathBuf::from(format!("{}-wal", database.display())),
            writing,
            gates,
            failing: Mutex::new(false),
        }
    }

    /// Copies the log whenever it is long, and checks every second what became of it, until dropped.
    pub(super) async fn keep_short(&self) {
        let check = async {
            loop {
                let pause = self.tend().await;
                sleep(pause).await;
            }
        };
        tokio::join!(self.checkpoint_long_logs(), check);
    }

    pub(super) async fn checkpoint_long_logs(&self) {
        loop {
            self.writing.log_is_long().await;
            let copied = self.writing.checkpoint_log().await;
            let pause = match copied {
                Ok(()) => CHECKPOINT_PAUSE,
                Err(_) => TICK,
            };
            self.note(copied, self.bytes());
            sleep(pause).await;
        }
    }

    /// Truncates the log if it is long; returns when to check again.
    pub(super) async fn tend(&self) -> Duration {
        let bytes = self.bytes();
        let (emptied, or_else) = if bytes <= LOG_AT_REST_BYTES {
            (Ok(true), TICK)
        } else if bytes <= MAX_LOG_BYTES {
            (self.writing.truncate_log(Duration::ZERO).await, TICK)
        } else {
            (self.empty_within(Duration::MAX).await, BACK_OFF)
        };
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!(metric::DATABASE_WAL_BYTES).set(self.bytes() as f64);
        let pause = match emptied {
            Ok(true) => TICK,
            _ => or_else,
        };
        self.note(emptied, bytes);
        pause
    }

    /// Copies the log into the database and cuts it to nothing. `false` when somebody reads an older state and goes on,
    /// which then is another process, or a statement of the worker.
    pub(super) async fn empty(&self) -> StoreResult<bool> {
        self.empty_within(TURN_MAY_TAKE).await
    }

    async fn empty_within(&self, turn: Duration) -> StoreResult<bool> {
        // The pools of long reads first: short reads go on while those end.
        let Ok(_long) = timeout(turn, self.gates.long.write()).await else {
            return Ok(false);
        };
        if self.writing.truncate_log(READERS_MAY_TAKE).await? {
            return Ok(true);
        }
        let Ok(_short) = timeout(turn, self.gates.short.write()).await else {
            return Ok(false);
        };
        self.writing.truncate_log(READERS_MAY_TAKE).await
    }

    /// Opens the log's file, which is there as long as a connection is.
    pub(super) fn open(&self) -> anyhow::Result<File> {
        File::open(&self.file).with_context(|| format!("cannot open {}", self.file.display()))
    }

    pub(super) fn bytes(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |log| log.len())
    }

    fn note<T>(&self, shortened: StoreResult<T>, bytes: u64) {
        let mut failing = lock(&self.failing);
        match shortened {
            Err(StoreError::Closed) => {}
            Err(error) if !*failing => {
                tracing::warn!(%error, bytes, "failed to checkpoint the database's write-ahead log");
                *failing = true;
            }
            Err(_) => {}
            Ok(_) => *failing = false,
        }
    }
}
