//! Opens databases: a file that is durable, writable and intact. Errors say what to do.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use rusqlite::{Connection, OpenFlags};
use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection};

use super::wal::LOG_AT_REST_BYTES;
use super::{BUSY_TIMEOUT, MIGRATIONS};
use crate::store::{InvalidUrl, StoreError, StoreResult};

/// A database up to this size is looked through whole at the start, which takes a fraction of a second; of a larger one
/// the schema and both ends of every table.
const FULL_CHECK_MAX_BYTES: u64 = 32 << 20;

/// The log is copied into the database when it has this many pages, and used again from its start: 8 MB. Longer logs
/// copy a page that changed often only once; shorter ones start faster after a crash.
const CHECKPOINT_PAGES: u32 = 2000;
/// Pages of the random index on webhook ids stay in memory, in KiB.
const WRITER_CACHE_KIB: i32 = 16_384;
/// Prepared statements that are cached: more than the writer has fixed ones.
const WRITER_STATEMENTS: usize = 64;

/// Delay before connecting again.
const LOCKED_RETRY_DELAY: Duration = Duration::from_millis(20);

/// Connects. Of several processes that make a new database at the same time, each may hold what another needs; SQLite then
/// says to one of them that it is locked, without having waited, and that one begins again.
pub(super) async fn connect(options: &SqliteConnectOptions) -> StoreResult<SqliteConnection> {
    let started = Instant::now();
    loop {
        match options.connect().await.map_err(StoreError::from) {
            Err(StoreError::Busy(_)) if started.elapsed() < BUSY_TIMEOUT => {
                tokio::time::sleep(LOCKED_RETRY_DELAY).await;
            }
            connected => return connected,
        }
    }
}

/// More changes of calls than are ever committed and not synced.
const UNSYNCED_REVS_MAX: i64 = 100_000;

/// After another start of the machine, revs go on beyond those that a power cut may have undone: a stream that resumes with
/// one of them is told that it has missed changes, instead of waiting for others with the same revs.
pub(super) async fn skip_undone_revs(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    sqlx::query(
        "UPDATE rev_floor SET boot = ?1, \
           rev = CASE WHEN boot IS NULL THEN rev ELSE (SELECT rev + ?2 FROM latest_rev) END \
         WHERE boot IS NOT ?1",
    )
    .bind(boot.trim())
    .bind(UNSYNCED_REVS_MAX)
    .execute(connection)
    .await?;
    Ok(())
}

/// The connection that writes, to a database that is there and up to date. It waits for no lock: whoever begins a
/// transaction does.
pub(super) fn connect_writer(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_prepared_statement_cache_capacity(WRITER_STATEMENTS);
    connection.execute_batch(&format!(
        "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON; \
         PRAGMA cache_size = -{WRITER_CACHE_KIB}; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; \
         PRAGMA journal_size_limit = {LOG_AT_REST_BYTES}"
    ))?;
    Ok(connection)
}

/// Checks that the database is a file that is synced at every commit: a URL can ask for less.
pub(super) async fn check_durable(
    connection: &mut SqliteConnection,
    url: &str,
) -> anyhow::Result<()> {
    let file: String =
        sqlx::query_scalar("SELECT file FROM pragma_database_list WHERE name = 'main'")
            .fetch_one(&mut *connection)
            .await?;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(connection)
        .await?;
    let durable = !file.is_empty() && journal == "wal" && synchronous == 2;
    if durable {
        return Ok(());
    }
    Err(InvalidUrl(format!(
        "DATABASE_URL={url} is not a file that keeps what is written (journal {journal}, synchronous \
         {synchronous}): name a file on a local disk, for example sqlite://data/athos.db"
    ))
    .into())
}

pub(super) fn options(url: &str) -> Result<SqliteConnectOptions, InvalidUrl> {
    SqliteConnectOptions::from_str(url)
        .map_err(|why| InvalidUrl(format!("DATABASE_URL is not a SQLite URL: {why}")))
}

/// The file that `url` (`sqlite://path`) names.
pub(in crate::store) fn database_file(url: &str) -> Result<PathBuf, InvalidUrl> {
    Ok(options(url)?.get_filename().to_owned())
}

/// The absolute path of an existing database.
pub(super) fn existing(file: &Path) -> anyhow::Result<PathBuf> {
    file.canonicalize().map_err(|_| {
        anyhow::anyhow!(
            "there is no database {}: set DATABASE_URL to that of the service",
            file.display()
        )
    })
}

pub(super) fn create_folder(file: &Path) -> anyhow::Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the database's folder {}", folder.display())),
        _ => Ok(()),
    }
}

/// Checks that the database is writable, and intact as far as a quick check shows.
pub(super) async fn check_sound(
    connection: &mut SqliteConnection,
    file: &Path,
) -> anyhow::Result<()> {
    let explain = |error| explain(error, file);
    let problem = check_integrity(connection, FULL_CHECK_MAX_BYTES)
        .await
        .map_err(explain)?;
    if let Some(problem) = problem {
        anyhow::bail!("{} (SQLite says: {problem})", damaged(file));
    }
    // A transaction alone would also begin on a read-only file.
    let written = sqlx::query("BEGIN IMMEDIATE; CREATE TABLE probe (x); ROLLBACK")
        .execute(connection)
        .await
        .map_err(StoreError::from);
    match written {
        // Another process holds the write lock, so the file is writable.
        Ok(_) | Err(StoreError::Busy(_)) => Ok(()),
        Err(error) => Err(explain(error)),
    }
}

/// Brings the schema up to date. Processes that start at the same time get in each other's way, each step being there
/// already or in the making: whoever finds that the others have come further begins again.
pub(super) async fn migrate(connection: &mut SqliteConnection, file: &Path) -> anyhow::Result<()> {
    let name = file.display();
    loop {
        let before = steps(connection).await;
        match MIGRATIONS.run(&mut *connection).await {
            Ok(()) => return Ok(()),
            Err(MigrateError::VersionMissing(step)) => anyhow::bail!(
                "the database {name} is of a newer version of athos-backend, whose schema has a step {step} that this one \
                 does not know: start that version again, or restore a backup from before it"
            ),
            Err(_) if steps(connection).await > before => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot bring the schema of {name} up to date"));
            }
        }
    }
}

/// How many migrations were applied; none when there is no record of them.
async fn steps(connection: &mut SqliteConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await
        .unwrap_or(-1)
}

/// The size of the database, in bytes, with the content of its log.
pub(super) async fn size(connection: &mut SqliteConnection) -> StoreResult<u64> {
    let bytes: i64 = sqlx::query_scalar(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    )
    .fetch_one(connection)
    .await?;
    Ok(bytes.unsigned_abs())
}

/// The first fault of the pages, if any.
async fn check_integrity(
    connection: &mut SqliteConnection,
    whole_up_to_bytes: u64,
) -> StoreResult<Option<String>> {
    let bytes = size(connection).await?;
    if bytes <= whole_up_to_bytes {
        let said: String = sqlx::query_scalar("PRAGMA quick_check(1)")
            .fetch_one(connection)
            .await?;
        return Ok((said != "ok").then_some(said));
    }
    let tables: Vec<(String, bool)> = sqlx::query_as(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (table, is_without_rowid) in tables {
        let ends = match is_without_rowid {
            true => &[""][..],
            false => &["", " ORDER BY rowid DESC"],
        };
        for end in ends {
            let sql = format!("SELECT * FROM \"{table}\"{end} LIMIT 20");
            sqlx::query(AssertSqlSafe(sql))
                .fetch_all(&mut *connection)
                .await?;
        }
    }
    Ok(None)
}

/// An error of opening, with what to do.
pub(super) fn explain(error: impl Into<StoreError>, file: &Path) -> anyhow::Error {
    let name = file.display();
    let error = error.into();
    let told = match &error {
        StoreError::Damaged(_) => damaged(file),
        StoreError::ReadOnly(_) => format!(
            "the database {name} may not be written to: check the owner and the permissions of the file and its folder, \
             and that the file system is not mounted read-only"
        ),
        StoreError::Full(_) => format!("there is no room on the disk of the database {name}"),
        StoreError::Busy(_) => format!("the database {name} is locked by another process"),
        StoreError::Io(_) => format!(
            "the database {name} cannot be opened: check that it is a file on a local disk, and that this user may write \
             to it and its folder"
        ),
        _ => format!("cannot open the database {name}"),
    };
    anyhow::Error::new(error).context(told)
}

fn damaged(file: &Path) -> String {
    let name = file.display();
    format!(
        "the database {name} is damaged, or not a database: keep the file, and restore a backup (docs/operation.md, \
         \"Backup and restore\"), or save what can be read with: sqlite3 {name} .recover | sqlite3 recovered.db"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use futures_util::future::join_all;

    use super::super::open;
    use super::*;
    use crate::model::Timestamp;
    use crate::store::sql::SqlStore;
    use crate::store::{EventFilter, Inbox, Maintenance, NewEvent, Operators, Privacy, StoreError};

    fn url(folder: &tempfile::TempDir) -> String {
        format!("sqlite://{}/athos.db", folder.path().display())
    }

    async fn fill(store: &SqlStore) {
        for number in 0..40 {
            let event = NewEvent {
                webhook_id: format!("wh_{number}"),
                received_at: Timestamp::from_millis(1),
                signed_at_secs: 0,
                secret: "0".repeat(8),
                body: format!("{number:3000}").into_bytes(),
                parsed: Err("a test".to_owned()),
            };
            store.accept_event(event).await.unwrap();
        }
        assert!(store.truncate_wal().await.unwrap());
    }

    /// Overwrites the pages of the database from this one on.
    fn spoil(folder: &tempfile::TempDir, from_page: u64) {
        const PAGE: u64 = 4096;
        let file = folder.path().join("athos.db");
        let length = std::fs::metadata(&file).unwrap().len();
        assert!(length > from_page * PAGE);
        let rest = usize::try_from(length - from_page * PAGE).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        file.write_all_at(&vec![0xa5; rest], from_page * PAGE)
            .unwrap();
    }

    async fn refusal(url: &str) -> String {
        let refused = open(url).await.map(drop).unwrap_err();
        format!("{refused:#}")
    }

    #[tokio::test]
    async fn a_damaged_database_is_refused_with_advice() {
        for from_page in [0, 1, 40] {
            let folder = tempfile::tempdir().unwrap();
            let store = open(&url(&folder)).await.unwrap();
            fill(&store).await;
            store.close().await;
            spoil(&folder, from_page);
            let said = refusal(&url(&folder)).await;
            for advice in ["is damaged", "restore a backup", ".recover"] {
                assert!(said.contains(advice), "page {from_page}: {said}");
            }
        }
    }

    #[tokio::test]
    async fn of_a_large_database_the_ends_of_tables_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&url(&folder)).await.unwrap();
        fill(&store).await;
        store.close().await;
        let open = async || {
            let file = folder.path().join("athos.db");
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
            sqlx::ConnectOptions::connect(&options).await.unwrap()
        };
        assert_eq!(check_integrity(&mut open().await, 0).await.unwrap(), None);
        spoil(&folder, 40);
        let error = check_integrity(&mut open().await, 0).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    }

    #[tokio::test]
    async fn processes_that_start_at_the_same_time_share_the_making_of_the_schema() {
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let url = url(&folder);
            let opened = join_all((0..4).map(|_| open(&url))).await;
            for store in opened {
                store.unwrap().close().await;
            }
        }
    }

    #[tokio::test]
    async fn a_database_of_a_newer_version_is_refused_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&url(&folder)).await.unwrap();
        store.close().await;
        let file = folder.path().join("athos.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
        let mut db = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'of the future', 1, x'00', 1)",
        )
        .execute(&mut db)
        .await
        .unwrap();
        drop(db);
        let said = refusal(&url(&folder)).await;
        assert!(said.contains("newer version"), "{said}");
        assert!(said.contains("step 9999"), "{said}");
    }

    #[tokio::test]
    async fn a_database_that_may_not_be_written_is_refused_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        open(&url(&folder)).await.unwrap().close().await;
        let said = refusal(&format!("{}?mode=ro", url(&folder))).await;
        assert!(said.contains("may not be written to"), "{said}");
        assert!(said.contains("permissions"), "{said}");
    }

    #[tokio::test]
    async fn damage_that_a_reader_comes_upon_stays_known_though_writing_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&url(&folder)).await.unwrap();
        fill(&store).await;
        store.check().await.unwrap();
        spoil(&folder, 40);
        let filter = EventFilter::default();
        let read = store.list_events(&filter, 100, None).await;
        assert!(matches!(read, Err(StoreError::Damaged(_))), "{read:?}");
        for _ in 0..2 {
            let unsound = store.check().await.unwrap_err();
            assert!(unsound.advice().contains("restore a backup"), "{unsound}");
        }
        store.close().await;
    }
}
