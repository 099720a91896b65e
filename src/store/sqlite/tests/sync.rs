//! What is synced, and when whoever waits for it is answered.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use futures_util::FutureExt;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::*;
use crate::store::sql::{Batch, Committer, Log, Writer, lock};

/// A log that counts its syncs.
#[derive(Default)]
struct TestLog {
    syncs: AtomicUsize,
    fails: AtomicBool,
    /// Each sync says that it begins, and waits for its turn to end, if turns are given.
    turns: Mutex<Option<(UnboundedSender<()>, Receiver<()>)>>,
}

impl Log for TestLog {
    fn sync(&self) -> StoreResult<()> {
        if let Some((begins, turns)) = &*lock(&self.turns) {
            begins.send(()).unwrap();
            turns.recv().unwrap();
        }
        self.syncs.fetch_add(1, Ordering::SeqCst);
        match self.fails.load(Ordering::SeqCst) {
            true => Err(StoreError::Io("the disk fails".to_owned())),
            false => Ok(()),
        }
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// Commits to a database whose log is another, and calls a hook after each commit.
struct TestCommitter {
    committer: SqliteCommitter,
    log: Arc<TestLog>,
    after_commits: Arc<Mutex<VecDeque<Hook>>>,
}

#[async_trait]
impl Committer for TestCommitter {
    async fn commit(&mut self, batch: Batch) -> (Batch, StoreResult<()>) {
        let committed = self.committer.commit(batch).await;
        let hook = lock(&self.after_commits).pop_front();
        if let Some(hook) = hook {
            hook();
        }
        committed
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        Some(Arc::clone(&self.log) as _)
    }

    async fn close(&mut self) {
        self.committer.close().await;
    }
}

struct Opened {
    writer: Arc<Writer>,
    log: Arc<TestLog>,
    after_commits: Arc<Mutex<VecDeque<Hook>>>,
}

fn open(folder: &tempfile::TempDir) -> Opened {
    let url = format!("sqlite://{}/athos.db", folder.path().display());
    let location = Location::of(&url).unwrap();
    let writing = open::open_to_write(&location, &url).unwrap();
    let wal = Wal::new(&location.file, writing.clone(), Gates::default());
    let (log, after_commits) = (Arc::<TestLog>::default(), Arc::default());
    let committer = TestCommitter {
        committer: SqliteCommitter::new(writing, wal.open().unwrap()),
        log: Arc::clone(&log),
        after_commits: Arc::clone(&after_commits),
    };
    let writer = Writer::start(committer, |_, _| Ok(()), Arc::default());
    Opened {
        writer: Arc::new(writer),
        log,
        after_commits,
    }
}

/// Something that whoever asked for it relies on.
fn relied_on() -> Pragma {
    Pragma("SELECT 1")
}

struct OfNoConsequence;

impl Operation for OfNoConsequence {
    type Output = ();
    const DURABILITY: Durability = Durability::Committed;

    fn apply(&self, _: &dyn sql::Connection) -> StoreResult<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_commit_is_synced_unless_nobody_in_it_relies_on_that() {
    let folder = tempfile::tempdir().unwrap();
    let Opened { writer, log, .. } = open(&folder);
    let syncs = || log.syncs.load(Ordering::SeqCst);
    writer.write(relied_on()).await.unwrap();
    assert_eq!(syncs(), 1);
    writer.write(OfNoConsequence).await.unwrap();
    assert_eq!(syncs(), 1);
    let shared = tokio::join!(writer.write(OfNoConsequence), writer.write(relied_on()));
    shared.0.unwrap();
    shared.1.unwrap();
    assert_eq!(syncs(), 2);
    writer.close().await;
}

#[tokio::test]
async fn while_the_log_is_synced_others_are_committed_and_each_is_answered_after_a_sync_of_its_own()
{
    let folder = tempfile::tempdir().unwrap();
    let Opened {
        writer,
        log,
        after_commits,
    } = open(&folder);
    let (give_turn, turns) = channel();
    let (begins, mut begun) = unbounded_channel();
    *lock(&log.turns) = Some((begins, turns));
    let (second, both_committed) = (Arc::clone(&writer), oneshot::channel());
    let (queued, queueing) = oneshot::channel();
    let queue_second: Hook = Box::new(move || {
        let mut second = Box::pin(second.write(relied_on()));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(queued.send(second).is_ok());
    });
    let tell: Hook = Box::new(|| both_committed.0.send(()).unwrap());
    lock(&after_commits).extend([queue_second, tell]);
    let mut first = Box::pin(writer.write(relied_on()));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = queueing.await.unwrap();
    both_committed.1.await.unwrap();
    begun.recv().await.unwrap();
    assert!(first.as_mut().now_or_never().is_none());
    give_turn.send(()).unwrap();
    first.await.unwrap();
    begun.recv().await.unwrap();
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(log.syncs.load(Ordering::SeqCst), 1);
    give_turn.send(()).unwrap();
    second.await.unwrap();
    // No turn is left to wait for.
    *lock(&log.turns) = None;
    writer.close().await;
}

#[tokio::test]
async fn after_a_sync_that_failed_nothing_is_acknowledged_and_the_writer_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let Opened { writer, log, .. } = open(&folder);
    log.fails.store(true, Ordering::SeqCst);
    let failed = writer.write(relied_on()).await;
    assert!(matches!(failed, Err(StoreError::Io(_))), "{failed:?}");
    writer.ended().await;
    log.fails.store(false, Ordering::SeqCst);
    let refused = writer.write(relied_on()).await;
    assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
    assert_eq!(log.syncs.load(Ordering::SeqCst), 1);
    writer.close().await;
}
