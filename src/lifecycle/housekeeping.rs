//! Housekeeping every few seconds: sets gauges, frees idle memory, and stores usage counts.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::credentials::Credentials;
use crate::http::{Authenticator, CallerLimits};
use crate::reloadable::Reloadable;
use crate::store::SharedStore;
use crate::telemetry::metric;
use crate::worker::Worker;

/// How often it runs.
const INTERVAL: Duration = Duration::from_secs(5);

/// The parts that it looks after.
pub(super) struct Housekeeping {
    pub(super) metrics: PrometheusHandle,
    pub(super) limits: Arc<CallerLimits>,
    pub(super) authenticator: Arc<Reloadable<Authenticator>>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) worker: Arc<Worker>,
    pub(super) store: SharedStore,
    pub(super) clock: Clock,
}

impl Housekeeping {
    /// Runs until shutdown.
    pub(super) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // Histograms hold every sample until a scrape, or until this runs.
            self.metrics.run_upkeep();
            self.limits.tidy();
            self.authenticator.get().refresh_keys();
            self.worker.record_drift().await;
            if let Err(error) = self.credentials.note().await {
                tracing::warn!(%error, "failed to persist credential usage");
            }
            let paused = self.worker.circuit_breaker().outage().is_some();
            metrics::gauge!(metric::FETCHING_PAUSED).set(f64::from(u8::from(paused)));
            self.measure_queue().await;
            self.measure_endpoints().await;
        }
    }

    async fn measure_queue(&self) {
        match self.store.queue_depth().await {
            Ok(depth) => {
                let age = depth
                    .oldest_received_at
                    .map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest));
                #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                metrics::gauge!(metric::QUEUE_WAITING).set(depth.waiting as f64);
                metrics::gauge!(metric::QUEUE_OLDEST_AGE_SECONDS).set(age.as_secs_f64());
                #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                metrics::gauge!(metric::EVENTS_DEAD).set(depth.dead as f64);
            }
            Err(error) => tracing::warn!(%error, "failed to read the queue depth"),
        }
    }

    async fn measure_endpoints(&self) {
        let endpoints = match self.store.endpoints().await {
            Ok(endpoints) => endpoints,
            Err(error) => {
                tracing::warn!(%error, "failed to read how endpoints fare");
                return;
            }
        };
        for endpoint in endpoints {
            let is_failing = endpoint.failing_since.is_some() || endpoint.disabled.is_some();
            let is_failing = f64::from(u8::from(endpoint.is_active && is_failing));
            let number = endpoint.id.to_string();
            metrics::gauge!(metric::ENDPOINT_FAILING, "endpoint" => number.clone()).set(is_failing);
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            metrics::gauge!(metric::MESSAGES_WAITING, "endpoint" => number.clone())
                .set(endpoint.waiting as f64);
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            metrics::gauge!(metric::MESSAGES_FAILED, "endpoint" => number)
                .set(endpoint.failed as f64);
        }
    }
}
