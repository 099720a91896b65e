//! Logs and metrics. Logs go to standard error; neither ever holds a body, a token, a key or a transcript, because
//! nothing that does is handed to them.

mod filter;

use std::sync::OnceLock;

use anyhow::Context;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::fmt;

use crate::config::LogFormat;
pub(crate) use filter::Filter;

/// Starts logging to standard error. A second call changes nothing.
///
/// # Errors
/// When `RUST_LOG` cannot be understood.
pub fn start_logging(format: LogFormat) -> anyhow::Result<()> {
    let Filter { filter, warning } = Filter::from_environment()?;
    let lines = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would panic on a standard error that nobody reads any more.
        .log_internal_errors(false);
    // The subscriber of a test, or of an earlier call, stays.
    let _ = match format {
        LogFormat::Pretty => lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_target(false)
            .try_init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init(),
    };
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// The process's metrics; installed at the first call.
///
/// # Errors
/// When another recorder was installed before.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets(&[
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ])
        .context("metric buckets")?
        .set_buckets_for_metric(
            Matcher::Full("athos_commit_batch_size".to_owned()),
            &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0],
        )
        .context("metric buckets")?
        .build_recorder();
    let handle = HANDLE.get_or_init(|| recorder.handle()).clone();
    // Tests start several services in one process; they share the first recorder.
    if metrics::set_global_recorder(recorder).is_ok() {
        describe();
    }
    Ok(handle)
}

fn describe() {
    describe_counter!("athos_webhooks_total", "Webhook deliveries, by verdict");
    describe_counter!(
        "athos_fetch_attempts_total",
        "Requests for a call's detail, by outcome"
    );
    describe_counter!(
        "athos_events_settled_total",
        "Attempts at events, by how they ended"
    );
    describe_counter!(
        "athos_reconcile_runs_total",
        "Reconciliations, by source and outcome: completed, failed, refused, or held by an open circuit breaker"
    );
    describe_counter!(
        "athos_reconcile_repaired_total",
        "Calls that reconciliation brought in, by source: each is a webhook that did not"
    );
    describe_counter!(
        "athos_drift_total",
        "Bodies in which Athos sent a name that no document mentions, by its kind"
    );
    describe_counter!(
        "athos_purged_total",
        "What retention removed: words of calls, bodies of events, records of tokens and runs"
    );
    describe_counter!(
        "athos_erased_stopped_total",
        "What would have brought back what was erased, by the way it came"
    );
    describe_counter!(
        "athos_http_requests_total",
        "Requests, by route, method and status"
    );
    describe_gauge!("athos_connections_open", "Connections, by listener");
    describe_counter!(
        "athos_connections_closed_total",
        "Connections closed on clients who kept us waiting, by reason"
    );
    describe_histogram!(
        "athos_http_request_seconds",
        Unit::Seconds,
        "Time to answer, by route"
    );
    describe_histogram!(
        "athos_mint_seconds",
        Unit::Seconds,
        "Time Athos takes to mint, by outcome"
    );
    describe_histogram!(
        "athos_commit_batch_size",
        "Writes that share one transaction"
    );
    describe_histogram!(
        "athos_commit_sync_seconds",
        Unit::Seconds,
        "Time from a transaction's first write to its sync"
    );
    describe_counter!(
        "athos_credential_uses_total",
        "Webhooks that a secret signed, requests that an API key was good for; by fingerprint"
    );
    describe_counter!(
        "athos_credential_refusals_total",
        "Requests with an API key that Athos refused; by fingerprint"
    );
    describe_gauge!(
        "athos_credential_last_used_timestamp_seconds",
        Unit::Seconds,
        "When each secret and API key was last used, in unix seconds; 0 is never"
    );
    describe_gauge!(
        "athos_database_wal_bytes",
        Unit::Bytes,
        "Size of the database's write-ahead log"
    );
    describe_counter!(
        "athos_database_reads_timed_out_total",
        "Reads of the database that were ended because they took too long, or found no connection in time"
    );
    describe_gauge!("athos_queue_waiting", "Events pending or leased");
    describe_gauge!(
        "athos_queue_oldest_age_seconds",
        Unit::Seconds,
        "Age of the oldest of them"
    );
    describe_gauge!("athos_events_dead", "Events given up; they can be replayed");
    describe_gauge!(
        "athos_fetching_paused",
        "1 while a refused key or a failing Athos pauses fetching"
    );
}
