//! The one writer. Group commit: whatever has arrived while the last batch was syncing goes into the next one, and
//! all of it is acknowledged after that batch's commit. It never waits for a fuller batch.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::BUSY_TIMEOUT;
use crate::model::Timestamp;
use crate::store::{StoreError, StoreResult, WRITE_DEADLINE};
use crate::telemetry::metric;

/// How many writes may wait; beyond it, whoever writes waits to queue.
const QUEUE: usize = 4096;
/// Most operations of one batch: keeps the wait for it small.
const MAX_BATCH: usize = 512;
/// How soon to try again to begin a transaction while another process writes.
const LOCKED_RETRY_DELAY: Duration = Duration::from_millis(2);

/// What must be true before the caller of an operation is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durability {
    /// It is committed: it outlives the process. A power cut may undo it, together with what was committed after it,
    /// until the next synced commit; it must be something that is done again then.
    Committed,
    /// It is on the disk, and so is everything that was committed before.
    Synced,
}

impl Durability {
    fn pragma(self) -> &'static str {
        match self {
            Self::Committed => "PRAGMA synchronous = NORMAL",
            Self::Synced => "PRAGMA synchronous = FULL",
        }
    }
}

/// A write that shares its transaction with others. It may be applied twice, when the first transaction is rolled back.
/// It must be short: it holds a thread of the runtime.
pub(super) trait Operation: Send + 'static {
    /// What the caller gets once it is as durable as it must be.
    type Output: Send + 'static;

    const DURABILITY: Durability = Durability::Synced;

    /// Whether readers of the live stream should look.
    const CHANGES_CALLS: bool = false;

    /// When it changes what is known of calls, and endpoints must be told.
    fn announced_at(&self) -> Option<Timestamp> {
        None
    }

    /// Does it, inside a transaction that somebody else commits.
    fn apply(&self, tx: &Connection) -> StoreResult<Self::Output>;

    /// What else is to happen once it is committed.
    fn committed(self, _output: &Self::Output)
    where
        Self: Sized,
    {
    }
}

/// Does an operation and takes it back: the output says what it would have done.
pub(super) struct DryRun<O>(pub(super) O);

impl<O: Operation> Operation for DryRun<O> {
    type Output = O::Output;
    const DURABILITY: Durability = Durability::Committed;

    fn apply(&self, tx: &Connection) -> StoreResult<O::Output> {
        tx.execute_batch("SAVEPOINT dry_run")?;
        let output = self.0.apply(tx);
        tx.execute_batch("ROLLBACK TO dry_run; RELEASE dry_run")?;
        output
    }
}

/// A queued operation of any kind, and whoever waits for it.
trait Queued: Send {
    fn apply(&mut self, tx: &Connection) -> StoreResult<()>;
    fn durability(&self) -> Durability;
    fn changes_calls(&self) -> bool;
    fn announced_at(&self) -> Option<Timestamp>;
    fn acknowledge(self: Box<Self>, committed: StoreResult<()>);
}

struct Waiting<O: Operation> {
    operation: O,
    output: Option<O::Output>,
    reply: oneshot::Sender<StoreResult<O::Output>>,
}

impl<O: Operation> Queued for Waiting<O> {
    fn apply(&mut self, tx: &Connection) -> StoreResult<()> {
        self.output = Some(self.operation.apply(tx)?);
        Ok(())
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
        } = *self;
        let outcome = committed.and_then(|()| output.ok_or(StoreError::Closed));
        if let Ok(output) = &outcome {
            operation.committed(output);
        }
        // Nobody may be waiting any more; the write stands all the same.
        let _ = reply.send(outcome);
    }
}

/// What is written with every batch that says something new of calls, in the same transaction.
pub(super) type AfterChanges = fn(&Connection, Timestamp) -> StoreResult<()>;

/// How long to wait for readers, and who wants to know.
type Truncation = (Duration, oneshot::Sender<StoreResult<bool>>);

/// Has the writer empty the write-ahead log between two batches.
#[derive(Clone)]
pub(super) struct Truncations(mpsc::Sender<Truncation>);

impl Truncations {
    /// Copies the log into the database and cuts it to nothing; `false` when readers of it do not end within `wait`. Nothing
    /// is written meanwhile.
    pub(super) async fn ask(&self, wait: Duration) -> StoreResult<bool> {
        let (reply, answer) = oneshot::channel();
        let asked = self.0.send((wait, reply)).await;
        asked.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

/// A handle on the writer's task.
pub(super) struct Writer {
    /// Emptied by `close`, which ends the task once the queue is drained.
    queue: Mutex<Option<mpsc::Sender<Box<dyn Queued>>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    truncations: Truncations,
    shared: Arc<Shared>,
}

struct Shared {
    changes: watch::Sender<u64>,
    /// The task has ended, in whatever way.
    ended: CancellationToken,
    /// Why the last batch failed, until one succeeds; damage stays.
    trouble: Mutex<Option<StoreError>>,
    after_changes: AfterChanges,
}

impl Shared {
    fn begin_trouble(&self, error: &StoreError) {
        let mut trouble = lock(&self.trouble);
        if !matches!(*trouble, Some(StoreError::Damaged(_))) {
            *trouble = Some(error.clone());
        }
    }

    /// A damaged file does not mend because another page of it could be written.
    fn end_trouble(&self) {
        let mut trouble = lock(&self.trouble);
        if !matches!(*trouble, Some(StoreError::Damaged(_))) {
            *trouble = None;
        }
    }

    fn note(&self, error: &StoreError) {
        if matches!(error, StoreError::Damaged(_)) {
            self.begin_trouble(error);
        }
    }

    /// Takes note of how a transaction ended, how durable it was, and whether it changed calls.
    fn note_commit(&self, committed: Result<(Durability, bool), &StoreError>) {
        match committed {
            Ok((durability, changed_calls)) => {
                // What fits without a sync says little about webhooks.
                if durability == Durability::Synced {
                    self.end_trouble();
                }
                if changed_calls {
                    self.changes.send_modify(|tick| *tick += 1);
                }
            }
            Err(error) => self.begin_trouble(error),
        }
    }
}

impl Writer {
    pub(super) fn start(connection: Connection, after_changes: AfterChanges) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE);
        let (truncations, truncate) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            changes: watch::Sender::new(0),
            ended: CancellationToken::new(),
            trouble: Mutex::new(None),
            after_changes,
        });
        let task = tokio::spawn(run(connection, commands, truncate, Arc::clone(&shared)));
        Self {
            queue: Mutex::new(Some(queue)),
            task: Mutex::new(Some(task)),
            truncations: Truncations(truncations),
            shared,
        }
    }

    pub(super) async fn write<O: Operation>(&self, operation: O) -> StoreResult<O::Output> {
        let (reply, answer) = oneshot::channel();
        let waiting = Box::new(Waiting {
            operation,
            output: None,
            reply,
        });
        let queue = lock(&self.queue).clone().ok_or(StoreError::Closed)?;
        let answered = timeout(WRITE_DEADLINE, async {
            queue.send(waiting).await.map_err(|_| StoreError::Closed)?;
            answer.await.map_err(|_| StoreError::Closed)?
        });
        answered.await.unwrap_or(Err(StoreError::TimedOut))
    }

    pub(super) fn truncations(&self) -> Truncations {
        self.truncations.clone()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Takes note of an error that somebody else came upon, when it will not pass by itself.
    pub(super) fn note(&self, error: &StoreError) {
        self.shared.note(error);
    }

    /// Whether the last write succeeded; if it did not, whether one does now. A service that nobody sends traffic to,
    /// because it is not ready, has no other way to find out.
    pub(super) async fn check(&self) -> StoreResult<()> {
        if self.shared.ended.is_cancelled() {
            return Err(StoreError::Closed);
        }
        let trouble = lock(&self.shared.trouble).clone();
        match trouble {
            None => Ok(()),
            Some(damage @ StoreError::Damaged(_)) => Err(damage),
            Some(_) => self.write(Probe).await,
        }
    }

    pub(super) async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }

    /// Refuses new writes, finishes the queued ones, and closes the connection.
    pub(super) async fn close(&self) {
        lock(&self.queue).take();
        let task = lock(&self.task).take();
        if let Some(Err(error)) = match task {
            Some(task) => Some(task.await),
            None => None,
        } {
            tracing::error!(%error, "database writer ended with an error");
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn run(
    mut connection: Connection,
    mut operations: mpsc::Receiver<Box<dyn Queued>>,
    mut truncate: mpsc::Receiver<Truncation>,
    shared: Arc<Shared>,
) {
    let _ends = shared.ended.clone().drop_guard();
    loop {
        let first = tokio::select! {
            Some((wait, reply)) = truncate.recv() => {
                let truncated = truncate_log(connection, wait).await;
                let Some((same, truncated)) = truncated else { return };
                connection = same;
                let _ = reply.send(truncated);
                continue;
            }
            operation = operations.recv() => match operation {
                Some(first) => first,
                None => break,
            },
        };
        // Whoever can run now may have something to write as well.
        tokio::task::yield_now().await;
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH
            && let Ok(operation) = operations.try_recv()
        {
            batch.push(operation);
        }
        write_batch(&mut connection, batch, &shared).await;
    }
    // SQLite copies the log into the database when the last connection goes.
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "failed to close the database; the next start recovers from its log");
    }
}

/// Writes a batch and answers everyone in it. When it fails and could succeed in parts, each operation gets a transaction of
/// its own: nothing suffers for a neighbour's fault.
async fn write_batch(
    connection: &mut Connection,
    mut batch: Vec<Box<dyn Queued>>,
    shared: &Shared,
) {
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    metrics::histogram!(metric::COMMIT_BATCH_SIZE).record(batch.len() as f64);
    let started = Instant::now();
    let committed = commit(connection, &mut batch, shared.after_changes).await;
    metrics::histogram!(metric::COMMIT_SYNC_SECONDS).record(started.elapsed());
    if let Err(error) = &committed {
        tracing::error!(%error, operations = batch.len(), "failed to commit a batch to the database");
        if batch.len() > 1 && !error.concerns_all_writes() {
            for operation in batch {
                let mut alone = vec![operation];
                let committed = commit(connection, &mut alone, shared.after_changes).await;
                acknowledge(alone, &committed, shared);
            }
            return;
        }
    }
    acknowledge(batch, &committed, shared);
}

fn acknowledge(batch: Vec<Box<dyn Queued>>, committed: &StoreResult<()>, shared: &Shared) {
    let changed_calls = batch.iter().any(|operation| operation.changes_calls());
    let durability = durability_of(&batch);
    shared.note_commit(committed.as_ref().map(|()| (durability, changed_calls)));
    for operation in batch {
        operation.acknowledge(committed.clone());
    }
}

/// That of the most demanding operation.
fn durability_of(batch: &[Box<dyn Queued>]) -> Durability {
    let each = batch.iter().map(|operation| operation.durability());
    each.max().unwrap_or(Durability::Synced)
}

/// Writes a batch in one transaction, which is as durable as the most demanding of its operations.
async fn commit(
    connection: &mut Connection,
    batch: &mut [Box<dyn Queued>],
    after_changes: AfterChanges,
) -> StoreResult<()> {
    let durability = durability_of(batch);
    // SQLite does this while it reads the text: such a statement cannot be kept.
    connection.execute_batch(durability.pragma())?;
    begin(connection).await?;
    let written = apply(connection, batch, after_changes);
    let committed = written.and_then(|()| Ok(run_cached(connection, "COMMIT")?));
    if committed.is_err() {
        // Where SQLite has rolled back by itself there is none left to end, and this fails, as it should.
        let _ = run_cached(connection, "ROLLBACK");
    }
    committed
}

fn apply(
    connection: &Connection,
    batch: &mut [Box<dyn Queued>],
    after_changes: AfterChanges,
) -> StoreResult<()> {
    for operation in batch.iter_mut() {
        operation.apply(connection)?;
    }
    let announced_at = batch
        .iter()
        .filter_map(|operation| operation.announced_at());
    announced_at
        .max()
        .map_or(Ok(()), |at| after_changes(connection, at))
}

/// Begins a transaction. While another process writes, it waits without holding a thread of the runtime.
async fn begin(connection: &mut Connection) -> StoreResult<()> {
    let started = Instant::now();
    loop {
        match run_cached(connection, "BEGIN IMMEDIATE") {
            Err(error) if is_busy(&error) && started.elapsed() < BUSY_TIMEOUT => {
                sleep(LOCKED_RETRY_DELAY).await;
            }
            begun => return Ok(begun?),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

fn run_cached(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Waits for readers on a thread that may wait.
async fn truncate_log(
    connection: Connection,
    wait: Duration,
) -> Option<(Connection, StoreResult<bool>)> {
    let truncate = move || {
        let truncated = connection.busy_timeout(wait).and_then(|()| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                Ok(row.get::<_, i64>(0)? == 0)
            })
        });
        let truncated = connection.busy_timeout(Duration::ZERO).and(truncated);
        (connection, truncated.map_err(StoreError::from))
    };
    tokio::task::spawn_blocking(truncate).await.ok()
}

/// A write that changes nothing, and goes to the disk all the same; it needs the room of a large webhook, for where only
/// that is lacking, webhooks cannot be kept.
struct Probe;

impl Operation for Probe {
    type Output = ();

    fn apply(&self, tx: &Connection) -> StoreResult<()> {
        let sql =
            "CREATE TABLE probe (x); INSERT INTO probe VALUES (zeroblob(65536)); DROP TABLE probe";
        Ok(tx.execute_batch(sql)?)
    }
}
