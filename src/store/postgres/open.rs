//! Opens a database on a server. Errors say what to do.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use super::connector::Connector;
use super::listener::Listener;
use super::migrations;
use super::session::Session;
use super::writer::{self, BatchCommitter};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::store::sql::{Connection, Gates, ReadPools, SqlStore, Trouble, Upkeep};
use crate::store::{
    CLOCKS_MAY_DIFFER, ClockDifference, Following, PartialCopy, StoreError, StoreResult,
};

/// Longest that a step of the schema may take, and the wait for another process that takes it.
const MIGRATING_MAY_TAKE: Duration = Duration::from_secs(15 * 60);

/// Connections that are not for callers' short reads: one each for the writer, the worker, the background, streams and sums.
const OTHER_CONNECTIONS: u32 = 5;

/// How a database on a server is used.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Most connections, besides the one that listens; at least six are taken.
    pub pool: NonZeroU32,
    /// How often to look for changes of other replicas, also when they are not heard of; never, for who follows no changes.
    pub poll: Option<Duration>,
    /// The same database without the pooler before it.
    pub listen_url: Option<String>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            pool: NonZeroU32::MIN.saturating_add(7),
            poll: None,
            listen_url: None,
        }
    }
}

/// What a database on a server needs beside reading and writing.
#[derive(Default)]
struct PostgresUpkeep {
    listener: OnceLock<Listener>,
}

#[async_trait]
impl Upkeep for PostgresUpkeep {
    /// The server recycles its log itself.
    async fn truncate_log(&self) -> StoreResult<bool> {
        Ok(true)
    }

    fn following(&self) -> Option<Following> {
        let hears = self.listener.get()?.hears();
        Some(if hears {
            Following::Notified
        } else {
            Following::Polling
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn clock_difference(&self, db: &dyn Connection) -> StoreResult<Option<ClockDifference>> {
        measure_clock(db).map(Some)
    }

    fn stop(&self) {
        if let Some(listener) = self.listener.get() {
            listener.stop();
        }
    }
}

/// Opens the database at `url` and brings its schema up to date.
///
/// # Errors
/// With advice, when the server cannot be reached, lets nobody in, does not keep what is written, or was written by a newer
/// version.
pub(in crate::store) async fn open(url: &str, options: &ServerOptions) -> anyhow::Result<SqlStore> {
    let connector = Connector::new("DATABASE_URL", url)?;
    let listening = match &options.listen_url {
        Some(url) => Connector::new("DATABASE_LISTEN_URL", url)?,
        None => connector.clone(),
    };
    let connecting = connector.clone();
    let session = spawn_blocking(move || connect_first(&connecting)).await??;
    let trouble = Arc::<Trouble>::default();
    let requests = options.pool.get().saturating_sub(OTHER_CONNECTIONS).max(1);
    let readers = ReadPools::open(
        connector.clone(),
        [requests as usize, 1],
        &Gates::default(),
        &trouble,
    );
    // Who this is among the replicas, for the notes that they send each other.
    let replica = rand::random::<u64>().to_string();
    let committer = BatchCommitter::new(&connector, session, &replica);
    let upkeep = Arc::new(PostgresUpkeep::default());
    let store = SqlStore::start(committer, readers, trouble, Arc::clone(&upkeep) as _).await?;
    if let Some(poll) = options.poll {
        let writer = Arc::clone(&store.writer);
        let listener = Listener::start(listening, poll, replica, move || writer.announce());
        let _ = upkeep.listener.set(listener);
    }
    Ok(store)
}

/// Makes the connection that writes, when the database is one that can be served from, with this version's schema.
fn connect_first(connector: &Connector) -> anyhow::Result<Session> {
    let name = connector.name();
    let explain = |error| explain(error, &name);
    let mut session = connector
        .connect_writer(MIGRATING_MAY_TAKE)
        .map_err(explain)?;
    check_clock(&session).map_err(explain)?;
    migrations::run(&session, &name)?;
    check_whole(&session, &name)?;
    writer::prepare(&mut session).map_err(explain)?;
    Ok(session)
}

/// How this machine's clock differs from the server's. The machine's: a clock of tests has nothing to do with it.
pub(super) fn measure_clock(db: &dyn Connection) -> StoreResult<ClockDifference> {
    let clock = Clock::system();
    let before = clock.now();
    let server = server_time(db)?;
    Ok(ClockDifference::between(before, server, clock.now()))
}

/// The time by the server's clock.
pub(super) fn server_time(db: &dyn Connection) -> StoreResult<Timestamp> {
    db.scalar(
        "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        &[],
    )
}

fn check_clock(db: &dyn Connection) -> StoreResult<()> {
    let difference = measure_clock(db)?;
    if !difference.is_too_large() {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "this machine's clock is {difference} the server's: they may differ by {} s; have both set by NTP",
        CLOCKS_MAY_DIFFER.as_secs()
    )))
}

/// Refuses a database that is only a part of another as yet.
pub(super) fn check_whole(db: &dyn Connection, name: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        !migrations::is_being_copied_into(db).map_err(|error| explain(error, name))?,
        PartialCopy(name.to_owned())
    );
    Ok(())
}

/// An error of opening, with what to do.
pub(super) fn explain(error: StoreError, name: &str) -> anyhow::Error {
    let told = match &error {
        StoreError::Io(_) => format!(
            "the database {name} cannot be reached: check its URL (host, port, user, password, sslmode), and that the \
             server is running and has connections left"
        ),
        StoreError::ReadOnly(_) => format!("the database {name} cannot be served from"),
        StoreError::Full(_) => format!("there is no room on the disk of the database {name}"),
        _ => format!("cannot open the database {name}"),
    };
    anyhow::Error::new(error).context(told)
}
