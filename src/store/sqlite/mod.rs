//! The store on SQLite: one writer, which commits in groups, and a pool of readers. WAL with a sync at every commit.

mod accept;
mod backup;
mod calls;
mod contract;
mod credentials;
mod drift;
mod examine;
mod identities;
mod inbox;
mod inspect;
mod migrations;
mod mints;
mod open;
mod privacy;
mod progress;
mod readers;
mod reconcile;
#[cfg(test)]
mod tests;
mod transaction;
mod waits;
mod wal;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::AbortHandle;

use super::{
    Accepted, Actor, CallFilter, CallPage, Changes, Claimable, ClaimedEvent, ErasedRows,
    EventFilter, EventPage, Lease, LinkedIds, ListedCall, MintFilter, MintOutcome, MintPage,
    NewEvent, NewMint, NewRun, PageKey, Progress, ProgressFilter, QueueDepth, Received,
    RecoveredCall, Replay, Replayed, Run, RunEnd, Settled, Settlement, Store, StoreError,
    StoreResult, StoredCall, StoredEvent, Strip, WouldReplay,
};
use crate::model::LearnedContract;
use crate::model::{Credential, Drift, PlatformId, RepId, Scope, SeenDrift, Source, Timestamp};
use crate::telemetry::metric;
pub use examine::{Contents, Examined, Integrity, Schema, database_file, examine};
use migrations::MIGRATIONS;
use privacy::data_subject::DataSubject;
use privacy::{erase, purge};
use readers::ReadPools;
use wal::Wal;
use writer::Writer;

pub use backup::{Backup, Step, back_up};

/// How long to wait for another process's lock. Well under the vendor's deadline of 10 s.
const BUSY_TIMEOUT: Duration = Duration::from_secs(4);
/// The log is copied into the database when it has this many pages, and used again from its start: 8 MB. Longer logs
/// copy a page that changed often only once; shorter ones start faster after a crash.
const CHECKPOINT_PAGES: &str = "2000";
/// Pages of the random index on webhook ids stay in memory, in KiB.
const WRITER_CACHE_KIB: &str = "-16384";

/// The store in one SQLite file.
pub struct SqliteStore {
    writer: Writer,
    readers: ReadPools,
    wal: Arc<Wal>,
    /// Keeps the write-ahead log short.
    keeper: AbortHandle,
    /// One erasure at a time.
    erasing: Mutex<()>,
}

impl SqliteStore {
    /// Opens the database at `url` (`sqlite://path`), creating file and folders, and brings its schema up to date.
    ///
    /// # Errors
    /// With advice, when the file cannot be created, is not a database, or was written by a newer version.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
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
        let writing = options
            .clone()
            .pragma("cache_size", WRITER_CACHE_KIB)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("journal_size_limit", wal::LOG_AT_REST_BYTES.to_string());
        let explain = |error| open::explain(error, &file);
        let mut connection = open::connect(&writing).await.map_err(explain)?;
        open::check_durable(&mut connection, url).await?;
        open::check_sound(&mut connection, &file).await?;
        open::migrate(&mut connection, &file).await?;
        let readers = ReadPools::open(&options.pragma("query_only", "ON"));
        let writer = Writer::start(connection);
        let wal = Arc::new(Wal::new(&file, writer.truncations(), readers.gates.clone()));
        let kept = Arc::clone(&wal);
        let keeper = tokio::spawn(async move { kept.keep_short().await }).abort_handle();
        let unfinished = identities::unfinished(&readers.background).await?;
        identities::go_on(&writer, unfinished).await?;
        Ok(Self {
            writer,
            readers,
            wal,
            keeper,
            erasing: Mutex::new(()),
        })
    }

    /// The same for a database that is there: who asks about its content in the wrong folder must not be told that there
    /// is nothing.
    ///
    /// # Errors
    /// As `open`, and when there is no such file.
    pub async fn open_existing(url: &str) -> anyhow::Result<Self> {
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

#[async_trait]
impl Store for SqliteStore {
    async fn accept_event(&self, event: NewEvent) -> StoreResult<Accepted> {
        self.writer.accept(event).await
    }

    async fn claim_due(
        &self,
        which: Claimable,
        now: Timestamp,
        limit: u32,
        lease: Duration,
    ) -> StoreResult<Vec<ClaimedEvent>> {
        // Every arrival wakes the worker; one that finds nothing to do must not get in the way of the next arrival.
        if !inbox::is_any_due(&self.readers.work, which, now).await? {
            return Ok(Vec::new());
        }
        self.writer
            .write(inbox::Claim {
                which,
                now,
                limit,
                until: now.plus(lease),
            })
            .await
    }

    async fn settle(
        &self,
        lease: Lease,
        settlement: Settlement,
        now: Timestamp,
    ) -> StoreResult<Settled> {
        let settle = inbox::Settle {
            lease,
            settlement,
            now,
        };
        let (settled, unfinished) = self.writer.write(settle).await?;
        // It is settled; what is left is gone on with at the next start, too.
        if let Err(error) = identities::go_on(&self.writer, unfinished).await {
            tracing::warn!(%error, "ids of ours are not filled in yet");
        }
        Ok(settled)
    }

    async fn clamp_schedules(
        &self,
        now: Timestamp,
        lease: Duration,
        waits: &[Duration],
    ) -> StoreResult<u64> {
        waits::shorten(&self.readers.work, &self.writer, now, lease, waits).await
    }

    async fn next_due(&self) -> StoreResult<Option<Timestamp>> {
        self.noting(inbox::next_due(&self.readers.work).await)
    }

    fn arrivals(&self) -> &Notify {
        self.writer.arrivals()
    }

    async fn record_mint(&self, mint: NewMint) -> StoreResult<()> {
        self.writer.write(mint).await
    }

    async fn finish_mint(&self, id: &str, outcome: MintOutcome) -> StoreResult<()> {
        let id = id.to_owned();
        self.writer.write(mints::Finish { id, outcome }).await
    }

    async fn learn_identities(
        &self,
        pairings: Vec<LinkedIds>,
        now: Timestamp,
    ) -> StoreResult<Vec<LinkedIds>> {
        let learn = identities::Learn { pairings, now };
        let (known, unfinished) = self.writer.write(learn).await?;
        identities::go_on(&self.writer, unfinished).await?;
        Ok(known)
    }

    async fn find_agent(&self, rep: &PlatformId) -> StoreResult<Option<LinkedIds>> {
        self.noting(identities::of_rep(&self.readers.work, rep).await)
    }

    async fn known_agencies(&self) -> StoreResult<Vec<LinkedIds>> {
        self.noting(identities::agencies(&self.readers.background).await)
    }

    async fn record_learned_contract(&self, learnt: LearnedContract) -> StoreResult<()> {
        self.writer.write(contract::Learn(learnt)).await
    }

    async fn learned_contract(&self) -> StoreResult<Option<LearnedContract>> {
        self.noting(contract::learnt(&self.readers.work).await)
    }

    async fn mints_without_call(&self, since: Timestamp, until: Timestamp) -> StoreResult<u64> {
        self.noting(mints::without_call(&self.readers.scans, since, until).await)
    }

    async fn list_mints(
        &self,
        filter: &MintFilter,
        limit: u32,
        after: Option<&str>,
    ) -> StoreResult<MintPage> {
        self.noting(mints::list(&self.readers.requests, filter, limit, after).await)
    }

    async fn find_missing_calls(&self, listed: &[ListedCall]) -> StoreResult<Vec<RecoveredCall>> {
        self.noting(reconcile::find_missing_calls(&self.readers.background, listed).await)
    }

    async fn ingest_missing(&self, listed: Vec<ListedCall>) -> StoreResult<Vec<RecoveredCall>> {
        let repairs =
            reconcile::ingest_missing(&self.readers.background, &self.writer, listed).await?;
        if !repairs.is_empty() {
            self.writer.arrivals().notify_one();
        }
        Ok(repairs)
    }

    async fn begin_run(&self, run: NewRun) -> StoreResult<i64> {
        self.writer.write(run).await
    }

    async fn finish_run(&self, id: i64, end: RunEnd) -> StoreResult<()> {
        self.writer.write(reconcile::Finish { id, end }).await
    }

    async fn reconciled_until(&self, source: Source) -> StoreResult<Option<Timestamp>> {
        self.noting(reconcile::reconciled_until(&self.readers.work, source).await)
    }

    async fn latest_runs(&self, limit: u32) -> StoreResult<Vec<Run>> {
        self.noting(reconcile::latest_runs(&self.readers.requests, limit).await)
    }

    async fn list_calls(
        &self,
        filter: &CallFilter,
        limit: u32,
        after: Option<PageKey>,
    ) -> StoreResult<CallPage> {
        self.noting(calls::list(&self.readers.requests, filter, limit, after).await)
    }

    async fn find_call(&self, scope: &Scope, id: &str) -> StoreResult<Option<StoredCall>> {
        self.noting(calls::find(&self.readers.requests, scope, id).await)
    }

    async fn progress(
        &self,
        filter: &ProgressFilter,
        limit: u32,
        points: u32,
    ) -> StoreResult<Vec<Progress>> {
        self.noting(progress::of_reps(&self.readers.scans, filter, limit, points).await)
    }

    async fn changes_since(&self, scope: &Scope, rev: i64, limit: u32) -> StoreResult<Changes> {
        self.noting(calls::changes_since(&self.readers.streams, scope, rev, limit).await)
    }

    async fn latest_rev(&self) -> StoreResult<i64> {
        self.noting(calls::latest_rev(&self.readers.streams).await)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.writer.changes()
    }

    async fn list_events(
        &self,
        filter: &EventFilter,
        limit: u32,
        after: Option<i64>,
    ) -> StoreResult<EventPage> {
        self.noting(inspect::list(&self.readers.requests, filter, limit, after).await)
    }

    async fn find_event(&self, id: i64) -> StoreResult<Option<StoredEvent>> {
        self.noting(inspect::find(&self.readers.requests, id).await)
    }

    async fn count_replayable(&self, replay: Replay, limit: u32) -> StoreResult<WouldReplay> {
        self.noting(inspect::count_replayable(&self.readers.background, replay, limit).await)
    }

    async fn replay(
        &self,
        replay: Replay,
        after: i64,
        actor: Actor,
        now: Timestamp,
    ) -> StoreResult<Replayed> {
        let replayed = inspect::replay(
            &self.readers.background,
            &self.writer,
            replay,
            after,
            actor,
            now,
        )
        .await;
        let replayed = self.noting(replayed)?;
        if !replayed.ids.is_empty() {
            self.writer.arrivals().notify_one();
        }
        Ok(replayed)
    }

    async fn record_drift_counts(
        &self,
        counted: Vec<(Drift, u64)>,
        now: Timestamp,
    ) -> StoreResult<Vec<Drift>> {
        self.writer.write(drift::Note { counted, now }).await
    }

    async fn list_drift(&self) -> StoreResult<Vec<SeenDrift>> {
        drift::list(&self.readers.requests).await
    }

    async fn record_credential_usage(&self, credentials: Vec<Credential>) -> StoreResult<()> {
        self.writer.write(credentials::Note(credentials)).await
    }

    async fn credentials(&self) -> StoreResult<Vec<Credential>> {
        self.noting(credentials::list(&self.readers.work).await)
    }

    async fn erase(&self, rep: &RepId, actor: Actor, now: Timestamp) -> StoreResult<ErasedRows> {
        let _turn = self.erasing.lock().await;
        let begin = erase::Begin {
            asked_for: rep.clone(),
            person: DataSubject::find(&self.readers.background, rep.as_str()).await?,
            actor,
            now,
        };
        let id = self.writer.write(begin).await?;
        erase::carry_out(&self.readers.background, &self.writer, id).await
    }

    async fn preview_erasure(&self, rep: &RepId, now: Timestamp) -> StoreResult<ErasedRows> {
        self.noting(erase::preview_erasure(&self.readers.background, rep.as_str(), now).await)
    }

    async fn resume_erasures(&self) -> StoreResult<usize> {
        let _turn = self.erasing.lock().await;
        let ids = erase::unfinished(&self.readers.background).await?;
        for id in &ids {
            erase::carry_out(&self.readers.background, &self.writer, *id).await?;
        }
        Ok(ids.len())
    }

    async fn redact_transcripts(
        &self,
        before: Timestamp,
        strip: Strip,
        now: Timestamp,
    ) -> StoreResult<u64> {
        purge::words(&self.readers.background, &self.writer, before, strip, now).await
    }

    async fn purge_bodies(&self, before: Timestamp) -> StoreResult<u64> {
        purge::bodies(&self.readers.background, &self.writer, before).await
    }

    async fn purge_records(&self, before: Timestamp) -> StoreResult<u64> {
        purge::records(&self.writer, before).await
    }

    async fn truncate_wal(&self) -> StoreResult<bool> {
        self.wal.empty().await
    }

    async fn received_since(&self, from: Timestamp) -> StoreResult<Received> {
        self.noting(inspect::received_since(&self.readers.requests, from).await)
    }

    async fn queue_depth(&self) -> StoreResult<QueueDepth> {
        self.noting(inbox::queue_depth(&self.readers.background).await)
    }

    async fn check(&self) -> StoreResult<()> {
        self.writer.check().await?;
        let read = sqlx::query("SELECT id FROM events LIMIT 1")
            .execute(&self.readers.work)
            .await;
        self.noting(read.map(drop).map_err(Into::into))
    }

    async fn close(&self) {
        self.keeper.abort();
        self.writer.close().await;
        self.readers.close().await;
    }

    async fn failed(&self) {
        self.writer.ended().await;
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Closes the writer's connection; SQLite checkpoints the log when the last one goes.
async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "failed to close the database; the next start recovers from its log");
    }
}
