//! Answers whoever waits for a batch, once it is as durable as it must be. The log is synced for one batch while the writer
//! applies the next.

use std::sync::Arc;

use tokio::sync::mpsc::error::SendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

use super::writer::Shared;
use super::{Batch, Durability};
use crate::store::{StoreError, StoreResult};

/// The log of an engine whose commits outlive the process, and not a power cut before the log is synced.
pub(in crate::store) trait Log: Send + Sync + 'static {
    /// Returns once everything that was committed before is on the disk.
    ///
    /// # Errors
    /// When the disk fails. What is on it then is not known, however a later sync ends.
    fn sync(&self) -> StoreResult<()>;
}

/// Answers for committed batches: those that must be synced, in the order of their commits.
pub(super) struct Acknowledger {
    /// None where a commit waits for the disk by itself.
    syncer: Option<Handle>,
    shared: Arc<Shared>,
}

/// A handle on the thread that syncs.
struct Handle {
    log: Arc<dyn Log>,
    /// For the one batch that is synced beside the writer.
    free: Arc<Semaphore>,
    queue: mpsc::Sender<(Batch, Option<OwnedSemaphorePermit>)>,
    running: JoinHandle<()>,
}

impl Acknowledger {
    pub(super) fn start(log: Option<Arc<dyn Log>>, shared: &Arc<Shared>) -> Self {
        Self {
            syncer: log.map(|log| Handle::start(log, Arc::clone(shared))),
            shared: Arc::clone(shared),
        }
    }

    /// Answers for a batch. While nothing else is to be written (`is_idle`), the log is synced here: to hand that over would take
    /// longer.
    pub(super) async fn finish(&self, batch: Batch, is_idle: bool) {
        let Some(syncer) = &self.syncer else {
            return self.shared.answer(batch, &Ok(()));
        };
        if batch.durability() == Durability::Committed {
            return self.shared.answer(batch, &Ok(()));
        }
        if is_idle && syncer.free.available_permits() > 0 {
            return self.shared.sync_and_answer(batch, &*syncer.log);
        }
        // It is never closed.
        let permit = Arc::clone(&syncer.free).acquire_owned().await.ok();
        let sent = syncer.queue.send((batch, permit)).await;
        if let Err(SendError((batch, _))) = sent {
            self.shared.answer(batch, &Err(StoreError::Closed));
        }
    }

    /// Returns once everything that is committed is answered for.
    pub(super) async fn close(self) {
        let Some(Handle { queue, running, .. }) = self.syncer else {
            return;
        };
        drop(queue);
        if let Err(error) = running.await {
            tracing::error!(%error, "the thread that syncs the database's log ended with an error");
        }
    }
}

impl Handle {
    /// Syncs on a thread of its own, which answers as well: a task would wait for its turn behind all requests that are being
    /// worked on.
    fn start(log: Arc<dyn Log>, shared: Arc<Shared>) -> Self {
        let (queue, mut queued) = mpsc::channel(1);
        let syncing = Arc::clone(&log);
        let running = spawn_blocking(move || {
            // Also when it panics: then nothing can be acknowledged any more.
            let _ends = shared.ended.clone().drop_guard();
            while let Some((batch, permit)) = queued.blocking_recv() {
                shared.sync_and_answer(batch, &*syncing);
                drop(permit);
            }
        });
        Self {
            log,
            free: Arc::new(Semaphore::new(1)),
            queue,
            running,
        }
    }
}
