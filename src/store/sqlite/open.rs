//! Opens databases: a file that is durable, writable and intact. Errors say what to do.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use percent_encoding::percent_decode_str;
use rusqlite::{Connection, OpenFlags};

use super::BUSY_TIMEOUT;
use super::connection::keep_plans;
use super::migrations::{self, MigrateError};
use super::wal::LOG_AT_REST_BYTES;
use super::writer::WriteConnection;
use crate::store::sql::{self, UNSYNCED_REVS_MAX, values};
use crate::store::{InvalidUrl, PartialCopy, StoreError, StoreResult};

/// A database up to this size is looked through whole at the start, which takes a fraction of a second; of a larger one
/// the schema and both ends of every table.
const FULL_CHECK_MAX_BYTES: u64 = 32 << 20;

/// Pages that stay in memory, in KiB: all that is hot but the random indexes, of which no cache holds much. SQLite looks through
/// all of them at most commits.
const WRITER_CACHE_KIB: i32 = 4_096;
/// Prepared statements that are cached: more than the writer has fixed ones.
const WRITER_STATEMENTS: usize = 64;

/// How long who looks at a database from outside waits for another process's lock.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Delay before connecting again.
const LOCKED_RETRY_DELAY: Duration = Duration::from_millis(20);

/// What a URL says of a database.
pub(super) struct Location {
    /// Where it is.
    pub(super) file: PathBuf,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Create,
    Existing,
    ReadOnly,
}

impl Location {
    /// Reads `sqlite://path`, whose path may be percent-encoded, with `?mode=rwc` (the default), `rw` (never makes a new file) or
    /// `ro`.
    pub(super) fn of(url: &str) -> Result<Self, InvalidUrl> {
        let invalid = |why: &str| InvalidUrl(format!("DATABASE_URL is not a SQLite URL: {why}"));
        let rest = url.strip_prefix("sqlite:").unwrap_or(url);
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let path = percent_decode_str(path).decode_utf8();
        let path = path.map_err(|_| invalid("its path is not UTF-8"))?;
        let mut mode = Mode::Create;
        let mut is_file = !path.is_empty() && path != ":memory:";
        for parameter in parameters
            .split('&')
            .filter(|parameter| !parameter.is_empty())
        {
            match parameter.split_once('=').unwrap_or((parameter, "")) {
                ("mode", "rwc") => mode = Mode::Create,
                ("mode", "rw") => mode = Mode::Existing,
                ("mode", "ro") => mode = Mode::ReadOnly,
                ("mode", "memory") => is_file = false,
                // Of no consequence: what is shared is the file.
                ("cache", "private" | "shared") => {}
                (name, _) => {
                    return Err(invalid(&format!(
                        "it says {name}, which means nothing here"
                    )));
                }
            }
        }
        match is_file {
            true => Ok(Self {
                file: PathBuf::from(&*path),
                mode,
            }),
            false => Err(not_durable(url, "it is in memory")),
        }
    }

    /// Connects. Of several processes that make a new database at the same time, each may hold what another needs; SQLite
    /// then says to one of them that it is locked, without having waited, and that one begins again.
    fn connect(&self) -> StoreResult<Connection> {
        let started = Instant::now();
        loop {
            match self.connect_once() {
                Err(StoreError::Busy(_)) if started.elapsed() < BUSY_TIMEOUT => {
                    std::thread::sleep(LOCKED_RETRY_DELAY);
                }
                connected => return connected,
            }
        }
    }

    fn connect_once(&self) -> StoreResult<Connection> {
        let mode = match self.mode {
            Mode::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            Mode::Existing => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Mode::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.file, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Where the root is read-only there is no place for temporary files. What is deleted is overwritten.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON",
        )?;
        Ok(connection)
    }
}

/// Opens the database that a URL names, creating file and folders; brings its schema up to date; and makes a connection that
/// writes, and one that checkpoints the log.
pub(super) fn open_to_write(location: &Location, url: &str) -> anyhow::Result<WriteConnection> {
    let file = &location.file;
    let explain = |error: StoreError| explain(error, file);
    let connection = open_current(location, url)?;
    check_whole(&connection, file)?;
    skip_undone_revs(&connection).map_err(explain)?;
    make_writer(&connection).map_err(explain)?;
    let checkpointing = location.connect().map_err(explain)?;
    Ok(WriteConnection::new(connection, checkpointing))
}

/// Opens the database that a URL names, creating file and folders, and brings its schema up to date; the rows stay as they are.
pub(super) fn open_current(location: &Location, url: &str) -> anyhow::Result<Connection> {
    let file = &location.file;
    create_folder(file)?;
    let connection = location.connect().map_err(|error| explain(error, file))?;
    check_durable(&connection, url)?;
    check_sound(&connection, file)?;
    migrate(&connection, file)?;
    Ok(connection)
}

/// After another start of the machine, revs go on beyond those that a power cut may have undone: a stream that resumes with
/// one of them is told that it has missed changes, instead of waiting for others with the same revs.
fn skip_undone_revs(db: &dyn sql::Connection) -> StoreResult<()> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    db.execute(
        "UPDATE rev_floor SET boot = ?1, \
           rev = CASE WHEN boot IS NULL THEN rev ELSE (SELECT rev + ?2 FROM latest_rev) END \
         WHERE boot IS NOT ?1",
        values![boot.trim(), UNSYNCED_REVS_MAX],
    )?;
    Ok(())
}

/// Makes a connection the one that writes. It waits for no lock: whoever begins a transaction does.
fn make_writer(connection: &Connection) -> StoreResult<()> {
    connection.busy_timeout(Duration::ZERO)?;
    keep_plans(connection)?;
    connection.flush_prepared_statement_cache();
    connection.set_prepared_statement_cache_capacity(WRITER_STATEMENTS);
    connection.execute_batch(&format!(
        "PRAGMA cache_size = -{WRITER_CACHE_KIB}; PRAGMA journal_size_limit = {LOG_AT_REST_BYTES}; \
         PRAGMA synchronous = NORMAL"
    ))?;
    Ok(())
}

/// Checks that what is written is kept: not every file system can have the log.
fn check_durable(db: &dyn sql::Connection, url: &str) -> anyhow::Result<()> {
    let journal: String = db.scalar("PRAGMA journal_mode", &[])?;
    match &*journal {
        "wal" => Ok(()),
        _ => Err(not_durable(url, &format!("its journal is {journal}")).into()),
    }
}

fn not_durable(url: &str, why: &str) -> InvalidUrl {
    InvalidUrl(format!(
        "DATABASE_URL={url} is not a file that keeps what is written ({why}): name a file on a local disk, for example \
         sqlite://data/athos.db"
    ))
}

/// The file that `url` (`sqlite://path`) names.
pub(in crate::store) fn database_file(url: &str) -> Result<PathBuf, InvalidUrl> {
    Ok(Location::of(url)?.file)
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

fn create_folder(file: &Path) -> anyhow::Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the database's folder {}", folder.display())),
        _ => Ok(()),
    }
}

/// Checks that the database is writable, and intact as far as a quick check shows.
fn check_sound(connection: &Connection, file: &Path) -> anyhow::Result<()> {
    let explain = |error| explain(error, file);
    let problem = check_integrity(connection, FULL_CHECK_MAX_BYTES).map_err(explain)?;
    if let Some(problem) = problem {
        anyhow::bail!("{} (SQLite says: {problem})", damaged(file));
    }
    // A transaction alone would also begin on a read-only file.
    let written = connection.execute_batch("BEGIN IMMEDIATE; CREATE TABLE probe (x); ROLLBACK");
    match written.map_err(StoreError::from) {
        // Another process holds the write lock, so the file is writable.
        Ok(()) | Err(StoreError::Busy(_)) => Ok(()),
        Err(error) => Err(explain(error)),
    }
}

/// Brings the schema up to date.
fn migrate(connection: &Connection, file: &Path) -> anyhow::Result<()> {
    let name = file.display();
    match migrations::run(connection) {
        Ok(()) => Ok(()),
        Err(MigrateError::Unknown(step)) => anyhow::bail!(
            "the database {name} is of a newer version of athos-backend, whose schema has a step {step} that this one does not \
             know: start that version again, or restore a backup from before it"
        ),
        Err(error) => {
            Err(error).with_context(|| format!("cannot bring the schema of {name} up to date"))
        }
    }
}

/// Refuses a database that is only a part of another as yet.
fn check_whole(db: &dyn sql::Connection, file: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        !migrations::is_being_copied_into(db).map_err(|error| explain(error, file))?,
        PartialCopy(file.display().to_string())
    );
    Ok(())
}

/// Opens a database that is there, to copy it.
pub(super) fn open_to_copy(file: &Path) -> StoreResult<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch("PRAGMA temp_store = MEMORY")?;
    Ok(connection)
}

/// Opens a file that nothing is written to; an immutable one is not looked at for changes either.
pub(super) fn open_to_read(file: &Path, immutable: bool) -> anyhow::Result<Connection> {
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
        .busy_timeout(READ_TIMEOUT)
        .map_err(StoreError::from)?;
    Ok(connection)
}

/// The size of the database, in bytes, with the content of its log.
pub(super) fn size(db: &dyn sql::Connection) -> StoreResult<u64> {
    let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    db.scalar(size, &[])
}

/// The first fault of the pages, if any.
fn check_integrity(connection: &Connection, whole_up_to_bytes: u64) -> StoreResult<Option<String>> {
    let db: &dyn sql::Connection = connection;
    if size(db)? <= whole_up_to_bytes {
        let said: String = db.scalar("PRAGMA quick_check(1)", &[])?;
        return Ok((said != "ok").then_some(said));
    }
    let tables = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'";
    let tables: Vec<(String, bool)> = db.rows(tables, &[], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (table, is_without_rowid) in tables {
        read_rows(connection, &format!("SELECT * FROM \"{table}\" LIMIT 20"))?;
        if !is_without_rowid {
            let end = format!("SELECT * FROM \"{table}\" ORDER BY rowid DESC LIMIT 20");
            read_rows(connection, &end)?;
        }
    }
    Ok(None)
}

/// Reads every column, with the pages that a long one goes on in.
fn read_rows(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            row.get_ref(column)?;
        }
    }
    Ok(())
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
        let open = || Connection::open(folder.path().join("athos.db")).unwrap();
        assert_eq!(check_integrity(&open(), 0).unwrap(), None);
        spoil(&folder, 40);
        let error = check_integrity(&open(), 0).unwrap_err();
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
        let db = Connection::open(folder.path().join("athos.db")).unwrap();
        db.execute_batch(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'of the future', 1, x'00', 1)",
        )
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

    #[test]
    fn a_url_names_a_file_and_says_how_it_is_opened() {
        for (url, file) in [
            ("sqlite://data/athos.db", "data/athos.db"),
            ("sqlite:///data/athos.db", "/data/athos.db"),
            ("sqlite:athos.db", "athos.db"),
            ("sqlite://a%20b%3f.db?mode=rwc", "a b?.db"),
        ] {
            assert_eq!(database_file(url).unwrap(), Path::new(file), "{url}");
        }
        for url in [
            "sqlite://a.db?mode=fast",
            "sqlite://a.db?vfs=none",
            "sqlite://%ff",
        ] {
            let refused = database_file(url).unwrap_err().to_string();
            assert!(
                refused.contains("DATABASE_URL is not a SQLite URL"),
                "{refused}"
            );
        }
    }

    #[tokio::test]
    async fn a_url_that_makes_no_new_file_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let said = refusal(&format!("{}?mode=rw", url(&folder))).await;
        assert!(said.contains("cannot be opened"), "{said}");
        assert!(!folder.path().join("athos.db").exists());
    }
}
