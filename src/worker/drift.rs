//! Stores the counts of names that the contract does not mention: from time to time, so that no webhook and no fetch waits
//! for the write.

use crate::model::Timestamp;
use crate::store::Store;
use crate::telemetry::metric;
use athos_api as athos;

/// Stores the counts since the last time, and logs each name that is stored for the first time.
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
                    "Athos sent a name that the contract does not mention; it is stored unchanged"
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
