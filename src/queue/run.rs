//! The loop of a queue of work: starts what is due in the free slots, waits until more may be, and lets the attempts under way
//! finish at the end. What is due, and what an attempt does, is for the queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::store::StoreResult;

/// How often a queue looks although nothing woke it: another process may have written.
pub(crate) const POLL: Duration = Duration::from_secs(5);
/// How soon it tries again when the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Attempts under way; each says how it ended.
pub(crate) type Attempts<E> = JoinSet<StoreResult<E>>;

/// A queue of work. Whatever is claimed is a lease: it is due again when that ends.
pub(crate) trait Queue: Send + Sync + Sized + 'static {
    /// How an attempt ended.
    type Ending: Send + 'static;
    /// How one ended that panicked: what it worked on is due again when its lease ends.
    const PANICKED: Self::Ending;
    /// In the log.
    const NAME: &'static str;
    /// How long attempts under way may take to finish at the end.
    const DRAIN: Duration;

    /// Starts attempts at what is due, as many as there are free slots. Says how long nothing more will be due, unless an
    /// attempt ends or something wakes it.
    fn start_due(
        self: &Arc<Self>,
        attempts: &mut Attempts<Self::Ending>,
    ) -> impl Future<Output = StoreResult<Duration>> + Send;

    /// Ends when more may be due. Whatever happens after the call counts, before the future is first polled, too.
    fn woken(&self) -> impl Future<Output = ()> + Send;

    /// Looks for what another process may have written.
    fn poll(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Works until `shutdown`, then lets the attempts under way finish.
pub(crate) async fn run<Q: Queue>(queue: Arc<Q>, shutdown: CancellationToken) {
    let mut attempts = Attempts::new();
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shutdown.is_cancelled() {
        // Registered before the look: what arrives in between still wakes the queue.
        let woken = queue.woken();
        let wait = match queue.start_due(&mut attempts).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::error!(%error, queue = Q::NAME, "failed to read or write the store; retrying");
                STORE_RETRY
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = woken => {}
            _ = poll.tick() => queue.poll().await,
            Some(attempted) = attempts.join_next() => note::<Q>(attempted),
            () = tokio::time::sleep(wait) => {}
        }
        // All slots that are free by now are filled at once.
        while let Some(attempted) = attempts.try_join_next() {
            note::<Q>(attempted);
        }
    }
    let drained = tokio::time::timeout(Q::DRAIN, async {
        while let Some(attempted) = attempts.join_next().await {
            note::<Q>(attempted);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(
            queue = Q::NAME,
            attempts = attempts.len(),
            "shutdown cut attempts short; what they worked on is due again when the leases expire"
        );
    }
}

/// The attempts that were started, to their end: the other half of a single step.
///
/// # Errors
/// When the store fails; what was claimed is due again when its lease ends.
pub(crate) async fn finish<Q: Queue>(
    mut attempts: Attempts<Q::Ending>,
) -> StoreResult<Vec<Q::Ending>> {
    let mut endings = Vec::with_capacity(attempts.len());
    while let Some(attempted) = attempts.join_next().await {
        match attempted {
            Ok(ending) => endings.push(ending?),
            Err(panic) => {
                tell_panic::<Q>(&panic);
                endings.push(Q::PANICKED);
            }
        }
    }
    Ok(endings)
}

fn note<Q: Queue>(attempted: Result<StoreResult<Q::Ending>, JoinError>) {
    match attempted {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, queue = Q::NAME, "failed to settle an attempt; what it worked on is due again when the lease expires");
        }
        Err(panic) => tell_panic::<Q>(&panic),
    }
}

fn tell_panic<Q: Queue>(panic: &JoinError) {
    tracing::error!(error = %panic, queue = Q::NAME, "attempt panicked; what it worked on is due again when the lease expires");
}
