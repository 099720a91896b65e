//! The one writer. Group commit: whatever has arrived while the last batch was syncing goes into the next one, and
//! all of it is acknowledged after that batch's commit. It never waits for a fuller batch.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::acknowledge::{Acknowledger, Log};
use super::batch::{self, AfterChanges, Batch, Durability, Operation, Queued};
use super::trouble::{Trouble, lock};
use super::{Connection, StoreError, StoreResult};
use crate::model::Engine;
use crate::store::{Term, WRITE_DEADLINE};
use crate::telemetry::metric;

/// How many writes may wait; beyond it, whoever writes waits to queue.
const QUEUE: usize = 4096;
/// Most operations of one batch: keeps the wait for it small.
const MAX_BATCH: usize = 512;

/// How an engine commits a batch.
#[async_trait]
pub(in crate::store) trait Committer: Send + 'static {
    /// Applies it in one transaction, and gives it back once that is committed, or has been rolled back.
    async fn commit(&mut self, batch: Batch) -> (Batch, StoreResult<()>);

    /// What is synced after a commit; none where a commit waits for the disk by itself.
    fn log(&self) -> Option<Arc<dyn Log>>;

    /// Closes the connection.
    async fn close(&mut self);
}

/// A handle on the writer's task.
pub(in crate::store) struct Writer {
    task: Arc<Task>,
    shared: Arc<Shared>,
    /// What is written through this handle is refused once this is not the latest term of its duty any more.
    term: Option<Arc<Term>>,
}

/// The task as its handles see it; without them it ends.
struct Task {
    /// Emptied by `close`, which ends the task once the queue is drained.
    queue: Mutex<Option<mpsc::Sender<Box<dyn Queued>>>>,
    running: Mutex<Option<JoinHandle<()>>>,
}

pub(super) struct Shared {
    changes: watch::Sender<u64>,
    /// The task has ended, in whatever way, or cannot acknowledge anything any more.
    pub(super) ended: CancellationToken,
    trouble: Arc<Trouble>,
}

impl Shared {
    /// Syncs the log after a commit, and tells those who wait for the batch.
    pub(super) fn sync_and_answer(&self, batch: Batch, log: &dyn Log) {
        let synced = self.sync(log);
        self.answer(batch, &synced);
    }

    /// Once a sync fails, nobody knows what of the log is on the disk: nothing is acknowledged any more, and the writer has ended.
    fn sync(&self, log: &dyn Log) -> StoreResult<()> {
        if self.ended.is_cancelled() {
            return Err(StoreError::Closed);
        }
        log.sync().inspect_err(|error| {
            tracing::error!(%error, "failed to sync the database's write-ahead log");
            self.ended.cancel();
        })
    }

    /// Takes note of how a batch ended, and tells those who wait for it.
    pub(super) fn answer(&self, batch: Batch, durable: &StoreResult<()>) {
        metrics::histogram!(metric::COMMIT_SYNC_SECONDS).record(batch.started.elapsed());
        match durable {
            Ok(()) => {
                // What fits without a sync says little about webhooks.
                if batch.durability() == Durability::Synced {
                    self.trouble.end();
                }
                if batch.changes_calls() {
                    self.changes.send_modify(|tick| *tick += 1);
                }
            }
            Err(error) => self.trouble.begin(error),
        }
        batch.acknowledge(durable);
    }
}

impl Writer {
    pub(in crate::store) fn start(
        committer: impl Committer,
        after_changes: AfterChanges,
        trouble: Arc<Trouble>,
    ) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            changes: watch::Sender::new(0),
            ended: CancellationToken::new(),
            trouble,
        });
        let running = tokio::spawn(run(committer, queued, after_changes, Arc::clone(&shared)));
        let task = Task {
            queue: Mutex::new(Some(queue)),
            running: Mutex::new(Some(running)),
        };
        Self {
            task: Arc::new(task),
            shared,
            term: None,
        }
    }

    /// Another handle on the same writer, for the writes of a leader.
    pub(in crate::store) fn under(&self, term: Term) -> Self {
        Self {
            task: Arc::clone(&self.task),
            shared: Arc::clone(&self.shared),
            term: Some(Arc::new(term)),
        }
    }

    /// Queues a write; its output once it is as durable as it must be. The operation is moved to the heap before the first
    /// wait: whoever waits holds a future with little in it.
    pub(in crate::store) fn write<O: Operation>(
        &self,
        operation: O,
    ) -> impl Future<Output = StoreResult<O::Output>> + Send + use<O> {
        let (waiting, answer) = batch::queued(operation, self.term.clone());
        let queue = lock(&self.task.queue).clone();
        async {
            let queue = queue.ok_or(StoreError::Closed)?;
            let answered = timeout(WRITE_DEADLINE, async {
                queue.send(waiting).await.map_err(|_| StoreError::Closed)?;
                answer.await.map_err(|_| StoreError::Closed)?
            });
            answered.await.unwrap_or(Err(StoreError::TimedOut))
        }
    }

    pub(in crate::store) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Has readers of the live stream look: somebody else has changed calls.
    pub(in crate::store) fn announce(&self) {
        self.shared.changes.send_modify(|tick| *tick += 1);
    }

    /// Whether the last write succeeded; if it did not, whether one does now. A service that nobody sends traffic to,
    /// because it is not ready, has no other way to find out.
    pub(in crate::store) async fn check(&self) -> StoreResult<()> {
        if self.shared.ended.is_cancelled() {
            return Err(StoreError::Closed);
        }
        match self.shared.trouble.current() {
            None => Ok(()),
            Some(damage @ StoreError::Damaged(_)) => Err(damage),
            Some(_) => self.write(Probe).await,
        }
    }

    pub(in crate::store) async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }

    /// Refuses new writes, finishes the queued ones, and closes the connection.
    pub(in crate::store) async fn close(&self) {
        lock(&self.task.queue).take();
        let task = lock(&self.task.running).take();
        if let Some(Err(error)) = match task {
            Some(task) => Some(task.await),
            None => None,
        } {
            tracing::error!(%error, "database writer ended with an error");
        }
    }
}

async fn run(
    mut committer: impl Committer,
    mut queue: mpsc::Receiver<Box<dyn Queued>>,
    after_changes: AfterChanges,
    shared: Arc<Shared>,
) {
    let _ends = shared.ended.clone().drop_guard();
    let acknowledger = Acknowledger::start(committer.log(), &shared);
    while let Some(first) = queue.recv().await {
        // Whoever can run now may have something to write as well.
        tokio::task::yield_now().await;
        let mut operations = vec![first];
        while operations.len() < MAX_BATCH
            && let Ok(operation) = queue.try_recv()
        {
            operations.push(operation);
        }
        let batch = Batch::new(operations, after_changes);
        for committed in write_batch(&mut committer, batch, &shared).await {
            acknowledger.finish(committed, queue.is_empty()).await;
        }
    }
    acknowledger.close().await;
    committer.close().await;
}

/// Writes a batch. When it fails and could succeed in parts, each operation gets a transaction of its own: nothing suffers for a
/// neighbour's fault. Returns what is committed; whoever waits for the rest is told why it failed.
async fn write_batch(committer: &mut impl Committer, batch: Batch, shared: &Shared) -> Vec<Batch> {
    let operations = batch.len();
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    metrics::histogram!(metric::COMMIT_BATCH_SIZE).record(operations as f64);
    let (batch, committed) = committer.commit(batch).await;
    let Err(error) = committed else {
        return vec![batch];
    };
    tracing::error!(%error, operations, "failed to commit a batch to the database");
    let mut parts = Vec::new();
    if operations == 1 || error.concerns_all_writes() {
        shared.answer(batch, &Err(error));
        return parts;
    }
    for alone in batch.split() {
        let (alone, committed) = committer.commit(alone).await;
        match committed {
            Ok(()) => parts.push(alone),
            Err(error) => shared.answer(alone, &Err(error)),
        }
    }
    parts
}

/// A write that changes nothing, and goes to the disk all the same; it needs the room of a large webhook, for where only
/// that is lacking, webhooks cannot be kept.
struct Probe;

impl Operation for Probe {
    type Output = ();
    const BESIDE_OTHERS: bool = true;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        tx.batch(match tx.engine() {
            Engine::Sqlite => {
                "CREATE TABLE probe (x); INSERT INTO probe VALUES (zeroblob(65536)); DROP TABLE probe"
            }
            // Into the log, which is what a commit waits for; a table would need the right to make one.
            Engine::Postgres => {
                "SELECT pg_logical_emit_message(true, 'athos-backend', repeat('x', 65536))"
            }
        })
    }
}
