//! Reads: a pool of connections for each purpose, so that one purpose never waits for another. A read runs in a thread that
//! may block; it is interrupted at its pool's deadline, and as soon as its caller is gone.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{RwLock, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::trouble::{Trouble, lock};
use super::{Connection, StoreError, StoreResult};
use crate::telemetry::metric;

/// Longest that a read waits for a connection of its pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(4);

/// Connects for reading.
pub(in crate::store) trait Source: Send + Sync + 'static {
    fn connect(&self) -> StoreResult<Box<dyn Reader>>;
}

/// A connection for reading.
pub(in crate::store) trait Reader: Connection + Send {
    /// Has the statements of the next read end when `watch` is over.
    fn begin(&mut self, watch: Watch) -> StoreResult<()>;

    /// Whether it can be used for another read.
    fn is_reusable(&self) -> bool;
}

/// Says when a read must end.
#[derive(Clone)]
pub(in crate::store) struct Watch {
    /// Cancelled when nobody waits for the read any more.
    pub(in crate::store) abandoned: CancellationToken,
    /// When it has taken too long; never, if there is no time.
    pub(in crate::store) deadline: Option<Instant>,
}

impl Watch {
    pub(in crate::store) fn is_over(&self) -> bool {
        let is_late = |deadline| Instant::now() >= deadline;
        self.abandoned.is_cancelled() || self.deadline.is_some_and(is_late)
    }
}

/// The pools.
#[derive(Clone)]
pub(in crate::store) struct ReadPools {
    /// For the worker, readiness and mints: callers cannot make these wait.
    pub(in crate::store) work: ReadPool,
    /// For erasure, retention, reconciliation, previews and gauges.
    pub(in crate::store) background: ReadPool,
    /// Callers' reads that follow an index to a few rows.
    pub(in crate::store) requests: ReadPool,
    /// Live streams: every change wakes all of them.
    pub(in crate::store) streams: ReadPool,
    /// Callers' reads that add up many rows.
    pub(in crate::store) scans: ReadPool,
}

/// Held shared by each read; held alone, by whoever needs a moment in which nobody reads. The pool of the worker has none:
/// its reads end in milliseconds.
#[derive(Clone, Default)]
pub(in crate::store) struct Gates {
    /// For reads that may take long.
    pub(in crate::store) long: Arc<RwLock<()>>,
    /// For all others.
    pub(in crate::store) short: Arc<RwLock<()>>,
}

#[cfg(test)]
impl Gates {
    /// Whether a read of this pool would begin at once.
    pub(in crate::store) fn is_open_to(&self, pool: &ReadPool) -> bool {
        let gate = pool.0.gate.as_ref();
        gate.is_none_or(|gate| gate.try_read().is_ok())
    }
}

impl ReadPools {
    /// Pools that connect when they must. `requests` is how many connections those have; each other pool has `others`.
    pub(in crate::store) fn open(
        source: impl Source,
        [requests, others]: [usize; 2],
        gates: &Gates,
        trouble: &Arc<Trouble>,
    ) -> Self {
        let source: Arc<dyn Source> = Arc::new(source);
        let pool = |connections, seconds, gate: Option<&Arc<RwLock<()>>>| {
            ReadPool(Arc::new(Pool {
                source: Arc::clone(&source),
                idle: Mutex::default(),
                permits: Arc::new(Semaphore::new(connections)),
                connections,
                deadline: Duration::from_secs(seconds),
                gate: gate.cloned(),
                trouble: Arc::clone(trouble),
            }))
        };
        Self {
            work: pool(others, 10, None),
            background: pool(others, 10, Some(&gates.long)),
            requests: pool(requests, 5, Some(&gates.short)),
            streams: pool(others, 5, Some(&gates.short)),
            scans: pool(others, 8, Some(&gates.long)),
        }
    }

    /// Waits for reads that have begun, refuses others, and closes the connections.
    pub(in crate::store) async fn close(&self) {
        for pool in [
            &self.work,
            &self.background,
            &self.requests,
            &self.streams,
            &self.scans,
        ] {
            pool.close().await;
        }
    }
}

/// Connections for reads of one kind.
#[derive(Clone)]
pub(in crate::store) struct ReadPool(Arc<Pool>);

struct Pool {
    source: Arc<dyn Source>,
    /// The one used last is at the end, and is used next.
    idle: Mutex<Vec<Box<dyn Reader>>>,
    permits: Arc<Semaphore>,
    connections: usize,
    /// Longest that a read may take.
    deadline: Duration,
    gate: Option<Arc<RwLock<()>>>,
    trouble: Arc<Trouble>,
}

impl ReadPool {
    /// A pool of its own, of one connection.
    #[cfg(test)]
    pub(in crate::store) fn of_its_own(source: impl Source, deadline: Duration) -> Self {
        Self(Arc::new(Pool {
            source: Arc::new(source),
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(1)),
            connections: 1,
            deadline,
            gate: None,
            trouble: Arc::default(),
        }))
    }

    /// Runs `read` on a connection of this pool. What it reads together ends together, at the deadline.
    pub(in crate::store) async fn read<T, F>(&self, read: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Connection) -> StoreResult<T> + Send + 'static,
    {
        let read = self.try_read(read).await;
        read.inspect_err(|error| {
            self.0.trouble.note(error);
            if matches!(error, StoreError::ReadTimedOut) {
                metrics::counter!(metric::DATABASE_READS_TIMED_OUT_TOTAL).increment(1);
            }
        })
    }

    async fn try_read<T, F>(&self, read: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Connection) -> StoreResult<T> + Send + 'static,
    {
        let permit = Arc::clone(&self.0.permits).acquire_owned();
        let permit = timeout(ACQUIRE_TIMEOUT, permit).await;
        let permit = permit
            .map_err(|_| StoreError::ReadTimedOut)?
            .map_err(|_| StoreError::Closed)?;
        let gate = match &self.0.gate {
            Some(gate) => Some(Arc::clone(gate).read_owned().await),
            None => None,
        };
        let watch = Watch {
            abandoned: CancellationToken::new(),
            deadline: Instant::now().checked_add(self.0.deadline),
        };
        let _abandons = watch.abandoned.clone().drop_guard();
        let pool = Arc::clone(&self.0);
        let reading = spawn_blocking(move || {
            let result = pool.run(watch, read);
            drop((gate, permit));
            result
        });
        match reading
            .await
            .map_err(tokio::task::JoinError::try_into_panic)
        {
            Ok(result) => result,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => Err(StoreError::Closed),
        }
    }

    async fn close(&self) {
        // Whoever waits for a connection is told when all have come back.
        let all = u32::try_from(self.0.connections).unwrap_or(u32::MAX);
        let _all = self.0.permits.acquire_many(all).await;
        self.0.permits.close();
        let idle = std::mem::take(&mut *lock(&self.0.idle));
        // The last connection to a database may have work to do.
        let _ = spawn_blocking(|| drop(idle)).await;
    }

    /// Takes every connection, so that no other task gets one.
    #[cfg(test)]
    pub(in crate::store) async fn occupy(&self) -> tokio::sync::OwnedSemaphorePermit {
        let all = u32::try_from(self.0.connections).unwrap();
        let permits = Arc::clone(&self.0.permits).acquire_many_owned(all);
        permits.await.unwrap()
    }
}

impl Pool {
    fn run<T>(
        &self,
        watch: Watch,
        read: impl FnOnce(&dyn Connection) -> StoreResult<T>,
    ) -> StoreResult<T> {
        if watch.is_over() {
            return Err(StoreError::ReadTimedOut);
        }
        let idle = lock(&self.idle).pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => self.source.connect()?,
        };
        reader.begin(watch)?;
        let result = read(&*reader);
        if reader.is_reusable() {
            lock(&self.idle).push(reader);
        }
        result
    }
}
