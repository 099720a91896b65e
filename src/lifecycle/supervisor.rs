//! The background tasks: each runs until shutdown, and is restarted when it panics. They share a thread of their own.

use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Delay before a task that panicked is restarted: it may panic at once.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The supervised tasks.
pub(super) struct Supervisor {
    /// Its one thread has its share of the processor from the system. Among the tasks of hundreds of connections, each step
    /// of an attempt would wait for a turn behind all of them. Taken when it is dropped.
    runtime: Option<Runtime>,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Supervisor {
    /// No task yet; all of them end at `shutdown`.
    ///
    /// # Errors
    /// When the system gives it no thread.
    pub(super) fn new(shutdown: &CancellationToken) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("background")
            .enable_all()
            .build();
        Ok(Self {
            runtime: Some(runtime.context("cannot start the thread of the background tasks")?),
            shutdown: shutdown.clone(),
            tasks: Vec::new(),
        })
    }

    /// Starts `run` on `subject`; it must return when its token is cancelled.
    pub(super) fn keep_up<S, T>(
        &mut self,
        subject: &S,
        run: impl Fn(S, CancellationToken) -> T + Send + 'static,
    ) where
        S: Clone + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let (subject, until) = (subject.clone(), self.shutdown.clone());
        let task = move || run(subject.clone(), until.clone());
        let kept = supervise(self.shutdown.clone(), RESTART_PAUSE, task);
        let spawned = match &self.runtime {
            Some(runtime) => runtime.spawn(kept),
            None => return,
        };
        self.tasks.push(spawned);
    }

    /// Waits for all of them. Call it after `shutdown`.
    pub(super) async fn end(mut self) {
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                tracing::error!(%error, "background task ended with an error");
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // An async context may not wait for threads.
            runtime.shutdown_background();
        }
    }
}

/// Runs a task to its end, and restarts it when it panics: its state is in the store, as after a crash of the process.
async fn supervise<T>(shutdown: CancellationToken, pause: Duration, mut task: impl FnMut() -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    while let Err(error) = tokio::spawn(task()).await {
        tracing::error!(%error, "background task panicked; restarting it");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_task_that_panics_starts_again_until_it_ends_well() {
        let starts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&starts);
        supervise(CancellationToken::new(), Duration::ZERO, move || {
            let nth = counted.fetch_add(1, Ordering::Relaxed);
            async move { assert!(nth >= 2, "a fault of ours") }
        })
        .await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn at_shutdown_nothing_starts_again() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        supervise(shutdown, Duration::MAX, || async {
            panic!("a fault of ours")
        })
        .await;
    }
}
