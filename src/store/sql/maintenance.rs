//! Maintenance: notes of drift and credentials, and whether the database can be used.

use async_trait::async_trait;

use super::{Connection, SqlStore, contract, credentials, drift, inbox, reconcile};
use crate::model::{Credential, Drift, SeenDrift, Timestamp};
use crate::store::{Contents, Following, Maintenance, StoreResult};

/// Reconciliations of the past to show.
const RUNS_SHOWN: u32 = 50;

#[async_trait]
impl Maintenance for SqlStore {
    async fn record_drift_counts(
        &self,
        counted: Vec<(Drift, u64)>,
        now: Timestamp,
    ) -> StoreResult<Vec<Drift>> {
        self.writer.write(drift::Note { counted, now }).await
    }

    async fn list_drift(&self) -> StoreResult<Vec<SeenDrift>> {
        self.readers.requests.read(drift::list).await
    }

    async fn record_credential_usage(&self, credentials: Vec<Credential>) -> StoreResult<()> {
        self.writer.write(credentials::Note(credentials)).await
    }

    async fn credentials(&self) -> StoreResult<Vec<Credential>> {
        self.readers.work.read(credentials::list).await
    }

    async fn check(&self) -> StoreResult<()> {
        self.writer.check().await?;
        let read = |db: &dyn Connection| db.exists("SELECT id FROM events LIMIT 1", &[]);
        self.readers.work.read(read).await.map(drop)
    }

    fn following(&self) -> Option<Following> {
        self.upkeep.following()
    }

    async fn close(&self) {
        self.upkeep.stop();
        // Whoever asks another replica for these calls finds them; what is not written in time is found by whoever works next.
        self.arrivals.opening.caught_up().await;
        self.tasks.stop();
        self.writer.close().await;
        self.readers.close().await;
    }

    async fn failed(&self) {
        self.writer.ended().await;
    }
}

/// What the database holds, for whoever looks at it from outside.
pub(in crate::store) fn contents(db: &dyn Connection) -> StoreResult<Contents> {
    // Those of `doctor`; the underscore is a wildcard.
    let latest = "SELECT received_at FROM events \
                  WHERE origin = 'webhook' AND webhook_id NOT LIKE 'doctor^_%' ESCAPE '^' \
                  ORDER BY id DESC LIMIT 1";
    Ok(Contents {
        depth: inbox::queue_depth(db)?,
        last_webhook_at: db.first(latest, &[], |row| row.get(0))?,
        runs: reconcile::latest_runs(db, RUNS_SHOWN)?,
        credentials: credentials::list(db)?,
        learned_contract: contract::learnt(db)?,
        drift: drift::list(db)?,
    })
}
