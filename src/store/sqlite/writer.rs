//! The one writer. Group commit: whatever has arrived while the last batch was syncing goes into the next one, and
//! all of it is acknowledged after that batch's sync. It never waits for a fuller batch.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{BUSY_TIMEOUT, accept, transaction};
use crate::store::{Accepted, NewEvent, Origin, StoreError, StoreResult, WRITE_DEADLINE};
use crate::telemetry::metric;

/// How many writes may wait; beyond it, whoever writes waits to queue.
const QUEUE: usize = 4096;
/// Most events of one batch: keeps a batch's SQL, and the wait for it, small.
const MAX_BATCH: usize = 512;

/// A write that shares its transaction with others. It may be applied twice, when the first transaction is rolled back.
#[async_trait]
pub(super) trait Operation: Send + Sync + 'static {
    /// What the caller gets once it is on disk.
    type Output: Send + 'static;

    /// Whether readers of the live stream should look.
    const CHANGES_CALLS: bool = false;

    /// Does it, inside a transaction that somebody else commits.
    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<Self::Output>;
}

/// A queued operation of any kind, and whoever waits for it.
#[async_trait]
trait Queued: Send {
    async fn apply(&mut self, tx: &mut SqliteConnection) -> StoreResult<()>;
    fn changes_calls(&self) -> bool;
    fn acknowledge(self: Box<Self>, committed: StoreResult<()>);
}

struct Waiting<O: Operation> {
    operation: O,
    output: Option<O::Output>,
    reply: oneshot::Sender<StoreResult<O::Output>>,
}

#[async_trait]
impl<O: Operation> Queued for Waiting<O> {
    async fn apply(&mut self, tx: &mut SqliteConnection) -> StoreResult<()> {
        self.output = Some(self.operation.apply(tx).await?);
        Ok(())
    }

    fn changes_calls(&self) -> bool {
        O::CHANGES_CALLS
    }

    fn acknowledge(self: Box<Self>, committed: StoreResult<()>) {
        let Self { output, reply, .. } = *self;
        // Nobody may be waiting any more; the write stands all the same.
        let _ = reply.send(committed.and_then(|()| output.ok_or(StoreError::Closed)));
    }
}

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

type AcceptReply = oneshot::Sender<StoreResult<Accepted>>;

#[expect(
    clippy::large_enum_variant,
    reason = "most commands are the large one; a box for each would cost more than the room"
)]
enum Command {
    Accept(NewEvent, AcceptReply),
    Operate(Box<dyn Queued>),
}

/// A handle on the writer's task.
pub(super) struct Writer {
    /// Emptied by `close`, which ends the task once the queue is drained.
    queue: Mutex<Option<mpsc::Sender<Command>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    truncations: Truncations,
    shared: Arc<Shared>,
}

struct Shared {
    arrivals: Notify,
    changes: watch::Sender<u64>,
    /// The task has ended, in whatever way.
    ended: CancellationToken,
    /// Why the last batch failed, until one succeeds; damage stays.
    trouble: Mutex<Option<StoreError>>,
    /// Something was erased: webhooks may be about it.
    erased: AtomicBool,
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
}

impl Writer {
    pub(super) fn start(connection: SqliteConnection) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE);
        let (truncations, truncate) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            arrivals: Notify::new(),
            changes: watch::Sender::new(0),
            ended: CancellationToken::new(),
            trouble: Mutex::new(None),
            erased: AtomicBool::new(false),
        });
        let task = tokio::spawn(run(connection, commands, truncate, Arc::clone(&shared)));
        Self {
            queue: Mutex::new(Some(queue)),
            task: Mutex::new(Some(task)),
            truncations: Truncations(truncations),
            shared,
        }
    }

    pub(super) async fn accept(&self, event: NewEvent) -> StoreResult<Accepted> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Accept(event, reply), answer).await
    }

    pub(super) async fn write<O: Operation>(&self, operation: O) -> StoreResult<O::Output> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            operation,
            output: None,
            reply,
        };
        self.send(Command::Operate(Box::new(waiting)), answer).await
    }

    async fn send<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<StoreResult<T>>,
    ) -> StoreResult<T> {
        let queue = lock(&self.queue).clone().ok_or(StoreError::Closed)?;
        let answered = timeout(WRITE_DEADLINE, async {
            queue.send(command).await.map_err(|_| StoreError::Closed)?;
            answer.await.map_err(|_| StoreError::Closed)?
        });
        answered.await.unwrap_or(Err(StoreError::TimedOut))
    }

    pub(super) fn truncations(&self) -> Truncations {
        self.truncations.clone()
    }

    pub(super) fn arrivals(&self) -> &Notify {
        &self.shared.arrivals
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

/// What one transaction writes.
#[derive(Default)]
struct Batch {
    events: Vec<NewEvent>,
    replies: Vec<AcceptReply>,
    operations: Vec<Box<dyn Queued>>,
}

impl Batch {
    fn push(&mut self, command: Command) {
        match command {
            Command::Accept(event, reply) => {
                self.events.push(event);
                self.replies.push(reply);
            }
            Command::Operate(operation) => self.operations.push(operation),
        }
    }

    fn is_full(&self) -> bool {
        self.events.len() + self.operations.len() >= MAX_BATCH
    }

    /// The same work in transactions of their own, the events first: nothing suffers for a neighbour's fault.
    fn split(self) -> impl Iterator<Item = Self> {
        let events = Self {
            events: self.events,
            replies: self.replies,
            operations: Vec::new(),
        };
        let each = self.operations.into_iter().map(|operation| Self {
            operations: vec![operation],
            ..Self::default()
        });
        std::iter::once(events).chain(each)
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.operations.is_empty()
    }

    fn has_neighbours(&self) -> bool {
        self.operations.len() + usize::from(!self.events.is_empty()) > 1
    }
}

async fn run(
    mut connection: SqliteConnection,
    mut commands: mpsc::Receiver<Command>,
    mut truncate: mpsc::Receiver<Truncation>,
    shared: Arc<Shared>,
) {
    let _ends = shared.ended.clone().drop_guard();
    let batch_size = metrics::histogram!(metric::COMMIT_BATCH_SIZE);
    let sync_seconds = metrics::histogram!(metric::COMMIT_SYNC_SECONDS);
    loop {
        let first = tokio::select! {
            Some((wait, reply)) = truncate.recv() => {
                let _ = reply.send(truncate_log(&mut connection, wait).await);
                continue;
            }
            command = commands.recv() => match command {
                Some(first) => first,
                None => break,
            },
        };
        let mut batch = Batch::default();
        batch.push(first);
        while !batch.is_full() {
            match commands.try_recv() {
                Ok(command) => batch.push(command),
                Err(_) => break,
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        batch_size.record((batch.events.len() + batch.operations.len()) as f64);
        let started = Instant::now();
        let failed = commit(&mut connection, batch, &shared).await;
        sync_seconds.record(started.elapsed());
        if let Some(failed) = failed {
            for part in failed.split().filter(|part| !part.is_empty()) {
                // A part by itself has no neighbours, so it is answered either way.
                commit(&mut connection, part, &shared).await;
            }
        }
    }
    super::close(connection).await;
}

async fn truncate_log(connection: &mut SqliteConnection, wait: Duration) -> StoreResult<bool> {
    wait_for_locks(connection, wait).await?;
    let truncated = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&mut *connection)
        .await;
    wait_for_locks(connection, BUSY_TIMEOUT).await?;
    Ok(truncated?.get::<i64, _>(0) == 0)
}

async fn wait_for_locks(connection: &mut SqliteConnection, wait: Duration) -> StoreResult<()> {
    let set = format!("PRAGMA busy_timeout = {}", wait.as_millis());
    sqlx::query(AssertSqlSafe(set)).execute(connection).await?;
    Ok(())
}

/// Writes a batch and answers everyone in it, except when it fails and could succeed in parts: then it is returned.
async fn commit(
    connection: &mut SqliteConnection,
    mut batch: Batch,
    shared: &Shared,
) -> Option<Batch> {
    match transact(connection, &mut batch, &shared.erased).await {
        Ok(written) => {
            shared.end_trouble();
            if written.accepted.iter().any(|accepted| accepted.is_new()) {
                shared.arrivals.notify_one();
            }
            for (reply, accepted) in batch.replies.into_iter().zip(written.accepted) {
                let _ = reply.send(Ok(accepted));
            }
            for operation in batch.operations {
                operation.acknowledge(Ok(()));
            }
            if written.changed_calls {
                shared.changes.send_modify(|tick| *tick += 1);
            }
            None
        }
        Err(error) => {
            tracing::error!(%error, events = batch.events.len(), "failed to commit a batch to the database");
            if batch.has_neighbours() && !error.concerns_all_writes() {
                return Some(batch);
            }
            shared.begin_trouble(&error);
            for reply in batch.replies {
                let _ = reply.send(Err(error.clone()));
            }
            for operation in batch.operations {
                operation.acknowledge(Err(error.clone()));
            }
            None
        }
    }
}

async fn transact(
    connection: &mut SqliteConnection,
    batch: &mut Batch,
    erased: &AtomicBool,
) -> StoreResult<Written> {
    if batch.operations.is_empty() {
        let acceptance = accept::accept(connection, &batch.events, erased).await?;
        return Ok(Written {
            accepted: acceptance.accepted,
            changed_calls: acceptance.opened_calls,
        });
    }
    transaction::run(connection, async |tx| {
        let acceptance = accept::accept_within(tx, &batch.events, Origin::Webhook).await?;
        let mut changed_calls = acceptance.opened_calls;
        for operation in &mut batch.operations {
            operation.apply(tx).await?;
            changed_calls |= operation.changes_calls();
        }
        Ok(Written {
            accepted: acceptance.accepted,
            changed_calls,
        })
    })
    .await
}

/// What a committed batch means for those who wait for it.
struct Written {
    accepted: Vec<Accepted>,
    changed_calls: bool,
}

/// A write that changes nothing, and goes to the disk all the same; it needs the room of a large webhook, for where only
/// that is lacking, webhooks cannot be kept.
struct Probe;

#[async_trait]
impl Operation for Probe {
    type Output = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<()> {
        let sql =
            "CREATE TABLE probe (x); INSERT INTO probe VALUES (zeroblob(65536)); DROP TABLE probe";
        sqlx::query(sql).execute(tx).await?;
        Ok(())
    }
}
