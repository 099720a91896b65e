//! The store on SQLite: one writer, which commits in groups, and a pool of readers. WAL with a sync at every commit.

mod backup;
mod connection;
mod copy;
mod error;
mod examine;
mod migrations;
mod open;
mod readers;
#[cfg(test)]
mod tests;
mod wal;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::{AbortHandle, spawn_blocking};

use super::sql::{Connection, Gates, ReadPools, SqlStore, Trouble, Upkeep};
use super::{ClockDifference, Following, StoreResult};
pub(super) use backup::back_up;
pub(super) use copy::{source as copy_source, target as copy_target};
pub(super) use examine::examine;
use open::Location;
pub(super) use open::database_file;
use readers::ReadSource;
use wal::Wal;
use writer::SqliteCommitter;

/// How long to wait for another process's lock. Well under the vendor's deadline of 10 s.
const BUSY_TIMEOUT: Duration = Duration::from_secs(4);

/// What a database in a file needs beside reading and writing.
struct SqliteUpkeep {
    wal: Arc<Wal>,
    /// Keeps the write-ahead log short.
    keeper: AbortHandle,
}

#[async_trait]
impl Upkeep for SqliteUpkeep {
    async fn truncate_log(&self) -> StoreResult<bool> {
        self.wal.empty().await
    }

    /// Other processes on the file are not intended.
    fn following(&self) -> Option<Following> {
        None
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn clock_difference(&self, _: &dyn Connection) -> StoreResult<Option<ClockDifference>> {
        Ok(None)
    }

    fn stop(&self) {
        self.keeper.abort();
    }
}

/// Opens the database at `url` (`sqlite://path`), creating file and folders, and brings its schema up to date.
///
/// # Errors
/// With advice, when the file cannot be created, is not a database, or was written by a newer version.
pub(super) async fn open(url: &str) -> anyhow::Result<SqlStore> {
    Ok(open_with_upkeep(url).await?.0)
}

async fn open_with_upkeep(url: &str) -> anyhow::Result<(SqlStore, Arc<SqliteUpkeep>)> {
    let location = Location::of(url)?;
    let (file, url) = (location.file.clone(), url.to_owned());
    let writing = spawn_blocking(move || open::open_to_write(&location, &url));
    let writing = writing.await??;
    let (gates, trouble) = (Gates::default(), Arc::<Trouble>::default());
    let readers = ReadPools::open(ReadSource::new(&file), [4, 2], &gates, &trouble);
    let wal = Arc::new(Wal::new(&file, writing.clone(), gates));
    let log = wal.open()?;
    let kept = Arc::clone(&wal);
    let keeper = tokio::spawn(async move { kept.keep_short().await }).abort_handle();
    let upkeep = Arc::new(SqliteUpkeep { wal, keeper });
    let beside: Arc<dyn Upkeep> = Arc::clone(&upkeep) as _;
    let store =
        SqlStore::start(SqliteCommitter::new(writing, log), readers, trouble, beside).await?;
    Ok((store, upkeep))
}

/// The same for a database that is there: who asks about its content in the wrong folder must not be told that there
/// is nothing.
///
/// # Errors
/// As `open`, and when there is no such file.
pub(super) async fn open_existing(url: &str) -> anyhow::Result<SqlStore> {
    open::existing(&database_file(url)?)?;
    open(url).await
}
