//! Reads: a pool of connections for each purpose, so that one purpose never waits for another. A statement is interrupted
//! at its pool's deadline, and as soon as its caller is gone.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryFutureExt};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteQueryResult, SqliteRow,
    SqliteStatement, SqliteTypeInfo,
};
use sqlx::{Either, Execute, Executor, SqlStr, Sqlite, SqliteConnection};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::BUSY_TIMEOUT;

/// Instructions of SQLite between two checks of the deadline: about 50 µs.
const CHECK_EVERY_INSTRUCTIONS: i32 = 4096;

/// The pools. Each connection keeps a page cache of 2 MB at most.
pub(super) struct ReadPools {
    /// For the worker, readiness and mints: callers cannot make these wait.
    pub(super) work: ReadPool,
    /// For erasure, retention, reconciliation, previews and gauges.
    pub(super) background: ReadPool,
    /// Callers' reads that follow an index to a few rows.
    pub(super) requests: ReadPool,
    /// Live streams: every change wakes all of them.
    pub(super) streams: ReadPool,
    /// Callers' reads that add up many rows.
    pub(super) scans: ReadPool,
    pub(super) gates: Gates,
}

/// Held shared by each statement; held alone, by whoever needs a moment in which nobody reads. The pool of the worker has
/// none: its statements end in milliseconds.
#[derive(Clone, Default)]
pub(super) struct Gates {
    /// For statements that may take long.
    pub(super) long: Arc<RwLock<()>>,
    /// For all others.
    pub(super) short: Arc<RwLock<()>>,
}

#[cfg(test)]
impl Gates {
    /// Whether a statement of this pool would begin at once.
    pub(super) fn is_open_to(&self, pool: &ReadPool) -> bool {
        pool.gate
            .as_ref()
            .is_none_or(|gate| gate.try_read().is_ok())
    }
}

impl ReadPools {
    pub(super) fn open(options: &SqliteConnectOptions) -> Self {
        let gates = Gates::default();
        let pool = |connections, seconds, gate: Option<&Arc<RwLock<()>>>| ReadPool {
            pool: SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(BUSY_TIMEOUT)
                // The driver's warnings are not rate-limited; a wait that fails is logged by us.
                .acquire_slow_threshold(BUSY_TIMEOUT)
                .test_before_acquire(false)
                .connect_lazy_with(options.clone()),
            deadline: Duration::from_secs(seconds),
            gate: gate.cloned(),
        };
        Self {
            work: pool(2, 10, None),
            background: pool(2, 10, Some(&gates.long)),
            requests: pool(4, 5, Some(&gates.short)),
            streams: pool(2, 5, Some(&gates.short)),
            scans: pool(2, 8, Some(&gates.long)),
            gates,
        }
    }

    pub(super) async fn close(&self) {
        for pool in [
            &self.work,
            &self.background,
            &self.requests,
            &self.streams,
            &self.scans,
        ] {
            pool.pool.close().await;
        }
    }
}

/// Connections for reads of one kind; as an executor, it runs each statement on one of them.
#[derive(Debug)]
pub(super) struct ReadPool {
    pool: SqlitePool,
    /// Longest that a statement may run.
    deadline: Duration,
    gate: Option<Arc<RwLock<()>>>,
}

impl ReadPool {
    /// A pool of its own.
    pub(super) fn of_its_own(pool: SqlitePool, deadline: Duration) -> Self {
        Self {
            pool,
            deadline,
            gate: None,
        }
    }

    /// A connection, for statements that end together at the deadline.
    pub(super) async fn begin(&self) -> sqlx::Result<Reading> {
        let mut connection = self.pool.acquire().await?;
        let gate = match &self.gate {
            Some(gate) => Some(Arc::clone(gate).read_owned().await),
            None => None,
        };
        let abandoned = Arc::new(AtomicBool::new(false));
        let (is_abandoned, begun, deadline) =
            (Arc::clone(&abandoned), Instant::now(), self.deadline);
        // An abandoned statement on this connection ends before the handle is available.
        connection
            .lock_handle()
            .await?
            .set_progress_handler(CHECK_EVERY_INSTRUCTIONS, move || {
                !is_abandoned.load(Ordering::Relaxed) && begun.elapsed() < deadline
            });
        Ok(Reading {
            abandoned,
            connection,
            _gate: gate,
        })
    }

    /// Takes every connection, so that no other task gets one.
    #[cfg(test)]
    pub(super) async fn occupy(&self) -> Vec<PoolConnection<Sqlite>> {
        let mut held = Vec::new();
        for _ in 0..self.pool.options().get_max_connections() {
            held.push(self.pool.acquire().await.unwrap());
        }
        held
    }
}

/// A connection in use; dropped, it interrupts its statement.
pub(super) struct Reading {
    abandoned: Arc<AtomicBool>,
    connection: PoolConnection<Sqlite>,
    _gate: Option<OwnedRwLockReadGuard<()>>,
}

impl Deref for Reading {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

impl<'p> Executor<'p> for &'p ReadPool {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, sqlx::Result<Either<SqliteQueryResult, SqliteRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        // All rows are read first: a slow consumer must not hold a connection.
        let steps = async move {
            let mut reading = self.begin().await?;
            let steps: Vec<_> = reading.fetch_many(query).collect().await;
            Ok(stream::iter(steps))
        };
        steps.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, sqlx::Result<Option<SqliteRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        async move {
            let mut reading = self.begin().await?;
            reading.fetch_optional(query).await
        }
        .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<SqliteStatement>>
    where
        'p: 'e,
    {
        self.pool.prepare_with(sql, parameters)
    }
}
