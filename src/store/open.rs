//! Opens, copies and examines the database that a URL names. The one place that knows how each engine does it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::postgres::{self, ServerOptions};
use super::sql;
use super::sqlite;
use super::{CopiedTable, CopyStep, QueueDepth, Run, ServerState, SharedStore};
use crate::model::{Credential, Engine, LearnedContract, SeenDrift, Timestamp};

/// Why a URL cannot be used, and what to write instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUrl(pub(super) String);

fn engine_of(url: &str) -> Result<Engine, InvalidUrl> {
    Engine::of(url).map_err(|unknown| InvalidUrl(unknown.to_string()))
}

/// Opens the database at `url`, creating it where the engine can, and brings its schema up to date.
///
/// # Errors
/// With advice: [`InvalidUrl`], or when the database cannot be created, is damaged, or was written by a newer version.
pub async fn open(url: &str) -> anyhow::Result<SharedStore> {
    open_with(url, &ServerOptions::default()).await
}

/// The same, with options for a database on a server.
///
/// # Errors
/// As [`open`].
pub async fn open_with(url: &str, options: &ServerOptions) -> anyhow::Result<SharedStore> {
    match engine_of(url)? {
        Engine::Sqlite => Ok(Arc::new(sqlite::open(url).await?)),
        Engine::Postgres => Ok(Arc::new(postgres::open(url, options).await?)),
    }
}

/// Opens an existing database: a command with a wrong URL must fail, not report an empty database.
///
/// # Errors
/// As [`open`], and when there is no such database.
pub async fn open_existing(url: &str) -> anyhow::Result<SharedStore> {
    match engine_of(url)? {
        Engine::Sqlite => Ok(Arc::new(sqlite::open_existing(url).await?)),
        Engine::Postgres => open(url).await,
    }
}

/// The file of the database at `url`; none when it is on a server.
///
/// # Errors
/// [`InvalidUrl`].
pub fn database_file(url: &str) -> Result<Option<PathBuf>, InvalidUrl> {
    match engine_of(url)? {
        Engine::Sqlite => sqlite::database_file(url).map(Some),
        Engine::Postgres => Ok(None),
    }
}

/// Looks at the database at `url`, which must be there, and changes nothing. Looking at its pages takes no longer than
/// `limit`.
///
/// # Errors
/// When it cannot be read, or is no database.
pub async fn examine(
    url: &str,
    options: &ServerOptions,
    limit: Duration,
) -> anyhow::Result<Examined> {
    match engine_of(url)? {
        Engine::Sqlite => sqlite::examine(&sqlite::database_file(url)?, limit).await,
        Engine::Postgres => postgres::examine(url, options, limit).await,
    }
}

/// Copies the database at `url` to `file`, beside a running service or without one. `watch` is told now and then.
///
/// # Errors
/// With advice: a file that exists, no room, a damaged database. Nothing is left behind.
pub async fn back_up(
    url: &str,
    file: &Path,
    overwrite: bool,
    watch: impl FnMut(Step),
) -> anyhow::Result<Backup> {
    match engine_of(url)? {
        Engine::Sqlite => sqlite::back_up(url, file, overwrite, watch).await,
        Engine::Postgres => {
            let told = "a database on a server is backed up by the server's own programs: pg_dump --format=custom, or the \
                        snapshots of whoever runs it";
            Err(InvalidUrl(told.to_owned()).into())
        }
    }
}

/// A database into which a copy has begun and not ended.
#[derive(Debug, thiserror::Error)]
#[error(
    "the database {0} has only a part of another as yet: run the `copy` that began it again, which goes on where it stopped, or \
     use another database"
)]
pub struct PartialCopy(pub(super) String);

/// Copies the store at `from` into the empty database at `to`, which may be of another engine. Nobody can write to `from`
/// meanwhile. `watch` is told often. After `stop`, and after a crash, the same again goes on where it stopped.
///
/// # Errors
/// With advice: a target that is not empty, a database in use on a server, tables that are not equal at the end.
pub async fn copy(
    from: &str,
    to: &str,
    mut watch: impl FnMut(CopyStep<'_>) + Send + 'static,
    stop: CancellationToken,
) -> anyhow::Result<Vec<CopiedTable>> {
    let of = |flag: &'static str, url: &str| {
        let named = move |error: InvalidUrl| InvalidUrl(error.0.replace("DATABASE_URL", flag));
        engine_of(url).map_err(named)
    };
    let engines = (of("--from", from)?, of("--to", to)?);
    let (from, to) = (from.to_owned(), to.to_owned());
    let copying = move || {
        let source = match engines.0 {
            Engine::Sqlite => sqlite::copy_source(&from)?,
            Engine::Postgres => postgres::copy_source(&from)?,
        };
        let target = match engines.1 {
            Engine::Sqlite => sqlite::copy_target(&to)?,
            Engine::Postgres => postgres::copy_target(&to)?,
        };
        sql::copy(&source, &target, &mut watch, &stop)
    };
    // It only waits, for databases: on a thread that may.
    tokio::task::spawn_blocking(copying).await?
}

/// What a database looks like from outside.
#[derive(Clone, Debug)]
pub struct Examined {
    /// What is seen of where it is.
    pub place: Place,
    /// Whether this version can use it.
    pub schema: Schema,
    /// What it holds; only when the schema is this version's.
    pub contents: Option<Contents>,
}

/// Where a database is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a file.
    File {
        /// Its size, in bytes.
        size_bytes: u64,
        /// Size of its write-ahead log, in bytes.
        log_bytes: u64,
        /// Whether its pages hold together.
        integrity: Integrity,
    },
    /// On a server.
    Server(Box<ServerState>),
}

/// Whether the pages hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// They are intact.
    Sound,
    /// Not all were checked in time.
    Unfinished,
    /// Damaged; the first fault.
    Broken(String),
}

/// How the database's schema compares with what this version expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// It is current.
    Current,
    /// `serve` brings it up to date when it starts.
    Older,
    /// A later version wrote it; this one refuses to start.
    Newer,
    /// A copy into it has begun and not ended; nothing else uses it before.
    Copying,
}

impl Schema {
    /// By the steps that were taken, and those that this version knows.
    pub(super) fn of(applied: Vec<i64>, known: Vec<i64>) -> Self {
        if applied.iter().any(|version| !known.contains(version)) {
            Self::Newer
        } else if known.iter().any(|version| !applied.contains(version)) {
            Self::Older
        } else {
            Self::Current
        }
    }

    /// Refuses to copy from a database that this version does not know as it is.
    pub(super) fn check_copyable(self, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Current => Ok(()),
            Self::Older => anyhow::bail!(
                "the database {name} is of an earlier version of athos-backend, or of none: start this version on it once, which \
                 brings it up to date, and stop it"
            ),
            Self::Newer => anyhow::bail!(
                "the database {name} is of a newer version of athos-backend: copy it with that version"
            ),
            Self::Copying => Err(PartialCopy(name.to_owned()).into()),
        }
    }
}

/// What a database holds, in numbers.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The queue.
    pub depth: QueueDepth,
    /// When the last webhook came in, other than `doctor`'s own.
    pub last_webhook_at: Option<Timestamp>,
    /// The latest reconciliations, newest first.
    pub runs: Vec<Run>,
    /// The secrets and keys that were ever configured.
    pub credentials: Vec<Credential>,
    /// Which generation of the contract Athos was found to speak.
    pub learned_contract: Option<LearnedContract>,
    /// What Athos sent that no document mentions.
    pub drift: Vec<SeenDrift>,
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// How large it is.
    pub bytes: u64,
    /// How many rows its tables have.
    pub rows: Vec<(&'static str, u64)>,
    /// When the latest event in it came in.
    pub latest_event: Option<Timestamp>,
}

/// The progress of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes have been written.
    Copying {
        /// So far.
        bytes: u64,
        /// Of the database, with what is free in it; a copy may be smaller.
        of: u64,
    },
    /// The copy is read from end to end.
    Verifying,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_of_no_known_engine_is_refused_without_its_secrets() {
        for url in ["mysql://athos:secret@db/athos", "athos.db", ""] {
            let refused = open(url).await.map(drop).unwrap_err();
            assert!(refused.is::<InvalidUrl>(), "{url}: {refused:#}");
            let said = refused.to_string();
            assert!(said.contains("sqlite://data/athos.db"), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
