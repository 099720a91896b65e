//! What goes on for as long as the service runs: tasks that start again when they panic, and the house that is kept beside
//! them: gauges, memory, and notes that are written by and by.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::http::AppState;
use crate::telemetry::metric;

/// Before a task that panicked starts again: it may panic at once.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How often gauges are set and idle memory is given back.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// Starts a task that is kept up until shutdown.
pub(super) fn spawn<T>(
    shutdown: &CancellationToken,
    task: impl FnMut() -> T + Send + 'static,
) -> JoinHandle<()>
where
    T: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(supervise(shutdown.clone(), RESTART_PAUSE, task))
}

/// Runs a task to its end, and anew when it panics: what it works on is in the store, as after a crash of the process.
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

/// Sets the gauges and gives idle memory back, until shutdown.
pub(super) async fn housekeeping(state: AppState, metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Histograms hold every sample until somebody scrapes, or this runs.
        metrics.run_upkeep();
        state.mint_limit.forget_idle();
        state.recording_limit.forget_idle();
        state.authenticator.get().refresh_keys();
        state.worker.record_drift().await;
        if let Err(error) = state.credentials.note().await {
            tracing::warn!(%error, "failed to persist credential usage");
        }
        state.log_limit.sum_up();
        let paused = state.worker.circuit_breaker().hold().is_some();
        metrics::gauge!(metric::FETCHING_PAUSED).set(f64::from(u8::from(paused)));
        match state.store.queue_depth().await {
            Ok(depth) => {
                let age = depth
                    .oldest_received_at
                    .map_or(Duration::ZERO, |oldest| state.clock.now().since(oldest));
                #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                metrics::gauge!(metric::QUEUE_WAITING).set(depth.waiting as f64);
                metrics::gauge!(metric::QUEUE_OLDEST_AGE_SECONDS).set(age.as_secs_f64());
                #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                metrics::gauge!(metric::EVENTS_DEAD).set(depth.dead as f64);
            }
            Err(error) => tracing::warn!(%error, "failed to read the queue depth"),
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
