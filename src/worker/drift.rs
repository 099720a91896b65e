//! Writes down what Athos sends that no document mentions: by and by, so that no webhook and no fetch waits for it.

use crate::model::Timestamp;
use crate::store::Store;
use crate::telemetry::metric;
use athos_api as athos;

/// Writes what was noted since the last time, and logs each name when it is the first of its kind ever.
pub async fn record(athos: &athos::Client, store: &dyn Store, now: Timestamp) {
    let counted = athos.drift().take();
    if counted.is_empty() {
        return;
    }
    match store.record_drift_counts(counted.clone(), now).await {
        Ok(new) => {
            for drift in new {
                tracing::warn!(
                    kind = drift.kind.as_str(),
                    place = drift.place,
                    name = drift.name,
                    "Athos sent a name that the contract does not mention; it is kept as it is"
                );
            }
            for (drift, count) in counted {
                metrics::counter!(metric::DRIFT_TOTAL, "kind" => drift.kind.as_str())
                    .increment(count);
            }
        }
        Err(error) => {
            tracing::warn!(%error, "failed to persist drift counts; they are written later");
            athos.drift().give_back(counted);
        }
    }
}
