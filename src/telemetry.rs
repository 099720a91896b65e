//! Logs and metrics. Logs go to standard error. Neither is ever given a body, a token, a key or a transcript.

mod filter;
pub(crate) mod metric;

use std::sync::OnceLock;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::fmt;

use crate::config::LogFormat;
pub(crate) use filter::Filter;

/// Starts logging to standard error. A second call changes nothing.
///
/// # Errors
/// When `RUST_LOG` cannot be understood.
pub(crate) fn start_logging(format: LogFormat) -> anyhow::Result<()> {
    let Filter { filter, warning } = Filter::from_environment()?;
    let lines = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would panic when standard error is closed.
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
pub(crate) fn metrics() -> anyhow::Result<PrometheusHandle> {
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
        metric::describe();
    }
    Ok(handle)
}
