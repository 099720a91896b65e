//! The store on SQLite: one writer, which commits in groups, and a pool of readers. WAL with a sync at every commit.

mod accept;
mod audit;
mod backup;
mod calls;
mod changes;
mod connection;
mod contract;
mod credentials;
mod deliveries;
mod drift;
mod error;
mod examine;
mod identities;
mod inbox;
mod maintenance;
mod migrations;
mod mints;
mod open;
mod opening;
mod operators;
mod outbox;
mod privacy;
mod progress;
mod readers;
mod reconcile;
mod rows;
#[cfg(test)]
mod tests;
mod waits;
mod wal;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::{StoreError, StoreResult};
use crate::telemetry::metric;
use accept::Arrivals;
pub(super) use backup::back_up;
pub(super) use examine::examine;
use migrations::MIGRATIONS;
pub(super) use open::database_file;
use readers::ReadPools;
use wal::Wal;
use writer::Writer;

/// How long to wait for another process's lock. Well under the vendor's deadline of 10 s.
const BUSY_TIMEOUT: Duration = Duration::from_secs(4);
/// The store in one SQLite file.
pub(super) struct SqliteStore {
    writer: Arc<Writer>,
    arrivals: Arrivals,
    readers: ReadPools,
    wal: Arc<Wal>,
    /// Keeps the write-ahead log short.
    keeper: AbortHandle,
    /// Gives accepted events' calls their rows.
    opener: AbortHandle,
    /// One erasure at a time.
    erasing: Mutex<()>,
}

impl SqliteStore {
    /// Opens the database at `url` (`sqlite://path`), creating file and folders, and brings its schema up to date.
    ///
    /// # Errors
    /// With advice, when the file cannot be created, is not a database, or was written by a newer version.
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        let options = open::options(url)?;
        let file = options.get_filename().to_owned();
        open::create_folder(&file)?;
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            // Where the root is read-only there is no place for temporary files.
            .pragma("temp_store", "MEMORY")
            // What is deleted is overwritten.
            .pragma("secure_delete", "ON")
            .disable_statement_logging();
        let explain = |error: StoreError| open::explain(error, &file);
        let mut connection = open::connect(&options).await.map_err(explain)?;
        open::check_durable(&mut connection, url).await?;
        open::check_sound(&mut connection, &file).await?;
        open::migrate(&mut connection, &file).await?;
        let skipped = open::skip_undone_revs(&mut connection).await;
        skipped.map_err(|error| explain(error.into()))?;
        let writing = open::connect_writer(&file).map_err(|error| explain(error.into()))?;
        let _ = connection.close().await;
        let readers = ReadPools::open(&options.pragma("query_only", "ON"));
        let writer = Arc::new(Writer::start(writing, outbox::write_messages));
        let arrivals = Arrivals::default();
        let wal = Arc::new(Wal::new(&file, writer.truncations(), readers.gates.clone()));
        let kept = Arc::clone(&wal);
        let keeper = tokio::spawn(async move { kept.keep_short().await }).abort_handle();
        for (pairing, learnt_at) in identities::unfinished(&readers.background).await? {
            identities::go_on(&writer, vec![pairing], learnt_at).await?;
        }
        let (opening, opens) = (Arc::clone(&arrivals.opening), Arc::clone(&writer));
        let opener = tokio::spawn(async move { opening.run(&opens).await }).abort_handle();
        Ok(Self {
            writer,
            arrivals,
            readers,
            wal,
            keeper,
            opener,
            erasing: Mutex::new(()),
        })
    }

    /// The same for a database that is there: who asks about its content in the wrong folder must not be told that there
    /// is nothing.
    ///
    /// # Errors
    /// As `open`, and when there is no such file.
    pub(super) async fn open_existing(url: &str) -> anyhow::Result<Self> {
        open::existing(open::options(url)?.get_filename())?;
        Self::open(url).await
    }

    /// Remembers damage that a reader came upon: it does not mend by itself. Counts what took too long.
    fn noting<T>(&self, read: StoreResult<T>) -> StoreResult<T> {
        read.inspect_err(|error| {
            self.writer.note(error);
            if matches!(error, StoreError::ReadTimedOut) {
                metrics::counter!(metric::DATABASE_READS_TIMED_OUT_TOTAL).increment(1);
            }
        })
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.keeper.abort();
        self.opener.abort();
    }
}
