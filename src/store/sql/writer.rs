//! The one writer. Group commit: whatever has arrived while the last batch was syncing goes into the next one, and
//! all of it is acknowledged after that batch's commit. It never waits for a fuller batch.

use std::any::Any;
use std::iter::once;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::trouble::{Trouble, lock};
use super::{Connection, StoreError, StoreResult, replicas};
use crate::model::{Engine, Timestamp};
use crate::store::{Term, WRITE_DEADLINE};
use crate::telemetry::metric;

/// How many writes may wait; beyond it, whoever writes waits to queue.
const QUEUE: usize = 4096;
/// Most operations of one batch: keeps the wait for it small.
const MAX_BATCH: usize = 512;
/// What must be true before the caller of an operation is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) enum Durability {
    /// It is committed: it outlives the process. A power cut may undo it, together with what was committed after it,
    /// until the next synced commit; it must be something that is done again then.
    Committed,
    /// It is on the disk, and so is everything that was committed before.
    Synced,
}

/// A write that shares its transaction with others. It may be applied twice, when the first transaction is rolled back.
/// It must be short: everyone else's writes wait for it.
pub(in crate::store) trait Operation: Send + 'static {
    /// What the caller gets once it is as durable as it must be.
    type Output: Send + 'static;

    const DURABILITY: Durability = Durability::Synced;

    /// Whether readers of the live stream should look.
    const CHANGES_CALLS: bool = false;

    /// Whether several replicas may do it at the same time, on an engine that they share. Otherwise it may rely on what it
    /// has read as if it were the only writer: nothing else is written until it is committed.
    const BESIDE_OTHERS: bool = false;

    /// When it changes what is known of calls, and endpoints must be told.
    fn announced_at(&self) -> Option<Timestamp> {
        None
    }

    /// Does it, inside a transaction that somebody else commits.
    fn apply(&self, tx: &dyn Connection) -> StoreResult<Self::Output>;

    /// Does what can be done together with few statements, on an engine to which each statement is a journey; nothing for
    /// those that must be applied by themselves.
    fn apply_together(
        operations: &[&Self],
        _tx: &dyn Connection,
    ) -> StoreResult<Vec<Option<Self::Output>>>
    where
        Self: Sized,
    {
        Ok(operations.iter().map(|_| None).collect())
    }

    /// What else is to happen once it is committed.
    fn committed(self, _output: &Self::Output)
    where
        Self: Sized,
    {
    }
}

/// Does an operation and takes it back: the output says what it would have done.
pub(in crate::store) struct DryRun<O>(pub(in crate::store) O);

impl<O: Operation> Operation for DryRun<O> {
    type Output = O::Output;
    const DURABILITY: Durability = Durability::Committed;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<O::Output> {
        tx.batch("SAVEPOINT dry_run")?;
        let output = self.0.apply(tx);
        tx.batch("ROLLBACK TO dry_run; RELEASE dry_run")?;
        output
    }
}

/// A queued operation of any kind, and whoever waits for it.
trait Queued: Any + Send {
    /// Forgets what an attempt that was rolled back has done.
    fn begin(&mut self);
    /// Does it, unless that is done, and all of its kind among `others` that can be done with it.
    fn apply(&mut self, others: &mut [Box<dyn Queued>], tx: &dyn Connection) -> StoreResult<()>;
    fn beside_others(&self) -> bool;
    fn durability(&self) -> Durability;
    fn changes_calls(&self) -> bool;
    fn announced_at(&self) -> Option<Timestamp>;
    fn acknowledge(self: Box<Self>, committed: StoreResult<()>);
}

struct Waiting<O: Operation> {
    operation: O,
    /// What it may only be done in.
    term: Option<Arc<Term>>,
    /// What it came to; an error is this one's alone, and the batch goes on.
    output: Option<StoreResult<O::Output>>,
    tried_together: bool,
    reply: oneshot::Sender<StoreResult<O::Output>>,
}

impl<O: Operation> Queued for Waiting<O> {
    fn begin(&mut self) {
        self.output = None;
        self.tried_together = false;
    }

    fn apply(&mut self, others: &mut [Box<dyn Queued>], tx: &dyn Connection) -> StoreResult<()> {
        if let Some(term) = &self.term {
            let done = match replicas::holds(tx, term)? {
                true => Ok(self.operation.apply(tx)?),
                false => Err(StoreError::NotLeader),
            };
            self.output = Some(done);
            return Ok(());
        }
        if !self.tried_together && tx.engine() == Engine::Postgres {
            let others = others.iter_mut().map(|other| &mut **other as &mut dyn Any);
            let others = others.filter_map(|other| other.downcast_mut::<Self>());
            let others = others.filter(|other| other.term.is_none());
            let mut kind: Vec<_> = once(&mut *self).chain(others).collect();
            let operations: Vec<_> = kind.iter().map(|each| &each.operation).collect();
            let outputs = O::apply_together(&operations, tx)?;
            for (each, output) in kind.iter_mut().zip(outputs) {
                each.output = output.map(Ok);
                each.tried_together = true;
            }
        }
        if self.output.is_none() {
            self.output = Some(Ok(self.operation.apply(tx)?));
        }
        Ok(())
    }

    fn beside_others(&self) -> bool {
        O::BESIDE_OTHERS
    }

    fn durability(&self) -> Durability {
        O::DURABILITY
    }

    fn changes_calls(&self) -> bool {
        O::CHANGES_CALLS
    }

    fn announced_at(&self) -> Option<Timestamp> {
        self.operation.announced_at()
    }

    fn acknowledge(self: Box<Self>, committed: StoreResult<()>) {
        let Self {
            operation,
            output,
            reply,
            ..
        } = *self;
        let outcome = committed.and_then(|()| output.unwrap_or(Err(StoreError::Closed)));
        if let Ok(output) = &outcome {
            operation.committed(output);
        }
        // Nobody may be waiting any more; the write stands all the same.
        let _ = reply.send(outcome);
    }
}

/// What is written with every batch that says something new of calls, in the same transaction.
pub(in crate::store) type AfterChanges = fn(&dyn Connection, Timestamp) -> StoreResult<()>;

/// Writes that share a transaction, and whoever waits for them.
pub(in crate::store) struct Batch {
    operations: Vec<Box<dyn Queued>>,
    after_changes: AfterChanges,
}

impl Batch {
    /// How durable the transaction must be: as its most demanding operation.
    pub(in crate::store) fn durability(&self) -> Durability {
        let each = self.operations.iter();
        let most = each.map(|operation| operation.durability()).max();
        most.unwrap_or(Durability::Synced)
    }

    /// Whether one of its operations changes calls, or tells endpoints of a change.
    pub(in crate::store) fn changes_calls(&self) -> bool {
        let mut each = self.operations.iter();
        each.any(|operation| operation.changes_calls() || operation.announced_at().is_some())
    }

    /// Whether other replicas may write at the same time.
    pub(in crate::store) fn is_beside_others(&self) -> bool {
        let mut each = self.operations.iter();
        !self.changes_calls() && each.all(|operation| operation.beside_others())
    }

    /// Does all of it, inside a transaction that the caller commits.
    pub(in crate::store) fn apply(&mut self, tx: &dyn Connection) -> StoreResult<()> {
        for operation in &mut self.operations {
            operation.begin();
        }
        let mut left = &mut self.operations[..];
        while let Some((operation, others)) = left.split_first_mut() {
            operation.apply(others, tx)?;
            left = others;
        }
        let each = self.operations.iter();
        let announced_at = each.filter_map(|operation| operation.announced_at());
        let Some(at) = announced_at.max() else {
            return Ok(());
        };
        (self.after_changes)(tx, at)
    }

    /// Each operation in a batch of its own.
    fn split(self) -> impl Iterator<Item = Self> {
        self.operations.into_iter().map(move |operation| Self {
            operations: vec![operation],
            after_changes: self.after_changes,
        })
    }

    fn acknowledge(self, committed: &StoreResult<()>, shared: &Shared) {
        let changed_calls = self.operations.iter().any(|each| each.changes_calls());
        let durability = self.durability();
        shared.note_commit(committed.as_ref().map(|()| (durability, changed_calls)));
        for operation in self.operations {
            operation.acknowledge(committed.clone());
        }
    }
}

/// How an engine commits a batch.
#[async_trait]
pub(in crate::store) trait Committer: Send + 'static {
    /// Applies it in one transaction, and gives it back once that is committed, or has been rolled back.
    async fn commit(&mut self, batch: Batch) -> (Batch, StoreResult<()>);

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

struct Shared {
    changes: watch::Sender<u64>,
    /// The task has ended, in whatever way.
    ended: CancellationToken,
    trouble: Arc<Trouble>,
}

impl Shared {
    /// Takes note of how a transaction ended, how durable it was, and whether it changed calls.
    fn note_commit(&self, committed: Result<(Durability, bool), &StoreError>) {
        match committed {
            Ok((durability, changed_calls)) => {
                // What fits without a sync says little about webhooks.
                if durability == Durability::Synced {
                    self.trouble.end();
                }
                if changed_calls {
                    self.changes.send_modify(|tick| *tick += 1);
                }
            }
            Err(error) => self.trouble.begin(error),
        }
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
        let (reply, answer) = oneshot::channel();
        let waiting: Box<dyn Queued> = Box::new(Waiting {
            operation,
            term: self.term.clone(),
            output: None,
            tried_together: false,
            reply,
        });
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
    while let Some(first) = queue.recv().await {
        // Whoever can run now may have something to write as well.
        tokio::task::yield_now().await;
        let mut operations = vec![first];
        while operations.len() < MAX_BATCH
            && let Ok(operation) = queue.try_recv()
        {
            operations.push(operation);
        }
        let batch = Batch {
            operations,
            after_changes,
        };
        write_batch(&mut committer, batch, &shared).await;
    }
    committer.close().await;
}

/// Writes a batch and answers everyone in it. When it fails and could succeed in parts, each operation gets a transaction of
/// its own: nothing suffers for a neighbour's fault.
async fn write_batch(committer: &mut impl Committer, batch: Batch, shared: &Shared) {
    let operations = batch.operations.len();
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    metrics::histogram!(metric::COMMIT_BATCH_SIZE).record(operations as f64);
    let started = Instant::now();
    let (batch, committed) = committer.commit(batch).await;
    metrics::histogram!(metric::COMMIT_SYNC_SECONDS).record(started.elapsed());
    if let Err(error) = &committed {
        tracing::error!(%error, operations, "failed to commit a batch to the database");
        if operations > 1 && !error.concerns_all_writes() {
            for alone in batch.split() {
                let (alone, committed) = committer.commit(alone).await;
                alone.acknowledge(&committed, shared);
            }
            return;
        }
    }
    batch.acknowledge(&committed, shared);
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
