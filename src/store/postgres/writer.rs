//! Commits the writer's batches to PostgreSQL. Each is one transaction that says itself what it needs, so that it is the same
//! behind a pooler.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::BEGIN;
use super::connector::Connector;
use super::session::Session;
use crate::store::sql::{Batch, Committer, Connection, Durability, Log, UNSYNCED_REVS_MAX};
use crate::store::{StoreError, StoreResult};

/// Longest that a batch is tried again for, while there is no connection or another transaction is in the way. Well under the
/// deadline of whoever waits for it.
const RETRY_FOR: Duration = Duration::from_secs(4);
/// Delay before that.
const RETRY_DELAY: Duration = Duration::from_millis(20);
/// Longest wait for the answer to one statement.
const PATIENCE: Duration = Duration::from_secs(7);
/// Held by every batch until it is committed: shared by those that may run beside others, and alone by all others.
///
/// So all other statements may rely on what they have read, as they do where there is one writer; and `rev`, which only they
/// give, grows in the order of commits. The next `rev` is one more than the highest that is committed; it is read after the
/// lock was got, by a statement whose snapshot is newer, and PostgreSQL shows a transaction to others before it releases its
/// locks. So whoever holds the lock sees every `rev` that was given before, no two transactions give the same, and none becomes
/// visible after a higher one: a reader who has seen all up to n finds all that is new above n. The lock ends with its
/// transaction, so that no pooler and no crash can strand it. It costs one message for a batch of hundreds of operations; its
/// limit is that what changes calls is written by one replica at a time.
pub(super) const LOCK_OF_WRITES: i64 = 0x6174_686f_7302;
/// The channel on which replicas hear that calls have changed.
pub(super) const CHANNEL: &str = "athos_backend_calls";

/// How a transaction begins, up to its lock, in one message. Whatever the server's settings are, its commit waits for the disk, and
/// for the standby where the server waits for one; and the server ends what takes too long, also when this process hangs in the
/// middle of it. What may be lost is what is done again (`Durability::Committed`), unless it changes calls: readers have seen their
/// revs.
///
/// Statements of batches find few rows of tables that may be large, by an index and in its order. The server is told so: what it
/// plans while it does not know yet how large a table is, or for a table that was empty, would read or sort all of it.
fn begin(batch: &Batch) -> String {
    let lock = match batch.is_beside_others() {
        true => "pg_advisory_xact_lock_shared",
        false => "pg_advisory_xact_lock",
    };
    let synchronous_commit = match (batch.durability(), batch.changes_calls()) {
        (Durability::Committed, false) => "'off'",
        _ => {
            "CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END"
        }
    };
    format!(
        "{BEGIN}; SELECT set_config('statement_timeout', '6s', true), set_config('lock_timeout', '3s', true), \
           set_config('idle_in_transaction_session_timeout', '3s', true), \
           set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true), \
           set_config('jit', 'off', true), set_config('synchronous_commit', {synchronous_commit}, true); \
         SELECT {lock}({LOCK_OF_WRITES})"
    )
}

/// The connection that writes; made when it is needed.
pub(super) struct BatchCommitter {
    connector: Connector,
    session: Option<Session>,
    /// Tells the other replicas of changes, and commits.
    notify_and_commit: Arc<str>,
}

impl BatchCommitter {
    pub(super) fn new(connector: &Connector, session: Session, replica: &str) -> Self {
        Self {
            connector: connector.clone(),
            session: Some(session),
            notify_and_commit: format!("NOTIFY {CHANNEL}, '{replica}'; COMMIT").into(),
        }
    }
}

#[async_trait]
impl Committer for BatchCommitter {
    async fn commit(&mut self, mut batch: Batch) -> (Batch, StoreResult<()>) {
        let connector = self.connector.clone();
        let mut session = self.session.take();
        let notify_and_commit = Arc::clone(&self.notify_and_commit);
        let committing = move || {
            let committed = commit(&connector, &mut session, &mut batch, &notify_and_commit);
            (session, batch, committed)
        };
        let (session, batch, committed) = match tokio::task::spawn_blocking(committing).await {
            Ok(done) => done,
            // A panic of an operation, which ends the writer, as it does everywhere.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.session = session;
        (batch, committed)
    }

    /// The server syncs its log before it answers a commit.
    fn log(&self) -> Option<Arc<dyn Log>> {
        None
    }

    async fn close(&mut self) {
        self.session = None;
    }
}

/// Makes a connection one that writes batches.
pub(super) fn prepare(session: &mut Session) -> StoreResult<()> {
    session.set_patience(PATIENCE);
    skip_undone_revs(session)
}

/// A standby that was made the primary may lack the last commits of the server before it. It counts its timelines, and on
/// another one revs go on beyond those that may have been lost: a stream that resumes with one of them is told that it has
/// missed changes, instead of waiting for others with the same revs.
fn skip_undone_revs(db: &dyn Connection) -> StoreResult<()> {
    const TIMELINE: &str = "'timeline ' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
    let is_new = format!("SELECT 1 FROM rev_floor WHERE boot IS DISTINCT FROM {TIMELINE}");
    if !db.exists(&is_new, &[])? {
        return Ok(());
    }
    db.batch(&format!(
        "{BEGIN}; SELECT pg_advisory_xact_lock({LOCK_OF_WRITES}); \
         UPDATE rev_floor SET boot = {TIMELINE}, \
           rev = CASE WHEN boot IS NULL THEN rev ELSE (SELECT rev + {UNSYNCED_REVS_MAX} FROM latest_rev) END \
         WHERE boot IS DISTINCT FROM {TIMELINE}; \
         COMMIT"
    ))
}

/// Commits a batch; again when that may help: without a connection nothing was done, and one that another transaction was in
/// the way of was rolled back. Once the commit was sent and not answered it may have happened, and whoever waits is told that
/// it failed.
fn commit(
    connector: &Connector,
    session: &mut Option<Session>,
    batch: &mut Batch,
    notify_and_commit: &str,
) -> StoreResult<()> {
    let started = Instant::now();
    loop {
        let tried = try_once(connector, session, batch, notify_and_commit);
        let may_retry = match &tried {
            Err(Failed::Before(error)) => matches!(error, StoreError::Io(_) | StoreError::Busy(_)),
            Err(Failed::During(_)) | Ok(()) => false,
        };
        if !may_retry || started.elapsed() >= RETRY_FOR {
            return tried.map_err(Failed::into_error);
        }
        std::thread::sleep(RETRY_DELAY);
    }
}

/// Where a batch failed.
enum Failed {
    /// Before its commit was sent: nothing of it is there.
    Before(StoreError),
    /// At the commit: it may be there.
    During(StoreError),
}

impl Failed {
    fn into_error(self) -> StoreError {
        let (Self::Before(error) | Self::During(error)) = self;
        error
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Before(error)
    }
}

fn try_once(
    connector: &Connector,
    session: &mut Option<Session>,
    batch: &mut Batch,
    notify_and_commit: &str,
) -> Result<(), Failed> {
    let current = match session.take().filter(Session::is_usable) {
        Some(current) => current,
        None => {
            let mut session = connector.connect_writer(PATIENCE)?;
            prepare(&mut session)?;
            session
        }
    };
    let committed = write(&current, batch, notify_and_commit);
    if committed.is_err() {
        // Fails where nothing is left to roll back.
        let _ = current.batch("ROLLBACK");
    }
    if current.is_usable() {
        *session = Some(current);
    }
    committed
}

fn write(db: &dyn Connection, batch: &mut Batch, notify_and_commit: &str) -> Result<(), Failed> {
    db.batch(&begin(batch))?;
    batch.apply(db)?;
    let commit = if batch.changes_calls() {
        notify_and_commit
    } else {
        "COMMIT"
    };
    db.batch(commit).map_err(|error| match error {
        // The server has answered: it is rolled back.
        StoreError::Busy(_) => Failed::Before(error),
        error => Failed::During(error),
    })
}
