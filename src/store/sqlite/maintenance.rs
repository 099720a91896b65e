//! Maintenance on SQLite: notes of drift and credentials, and whether the database can be used.

use async_trait::async_trait;

use super::{SqliteStore, credentials, drift};
use crate::model::{Credential, Drift, SeenDrift, Timestamp};
use crate::store::{Maintenance, StoreResult};

#[async_trait]
impl Maintenance for SqliteStore {
    async fn record_drift_counts(
        &self,
        counted: Vec<(Drift, u64)>,
        now: Timestamp,
    ) -> StoreResult<Vec<Drift>> {
        self.writer.write(drift::Note { counted, now }).await
    }

    async fn list_drift(&self) -> StoreResult<Vec<SeenDrift>> {
        drift::list(&self.readers.requests).await
    }

    async fn record_credential_usage(&self, credentials: Vec<Credential>) -> StoreResult<()> {
        self.writer.write(credentials::Note(credentials)).await
    }

    async fn credentials(&self) -> StoreResult<Vec<Credential>> {
        self.noting(credentials::list(&self.readers.work).await)
    }

    async fn check(&self) -> StoreResult<()> {
        self.writer.check().await?;
        let read = sqlx::query("SELECT id FROM events LIMIT 1")
            .execute(&self.readers.work)
            .await;
        self.noting(read.map(drop).map_err(Into::into))
    }

    async fn close(&self) {
        self.keeper.abort();
        self.opener.abort();
        self.writer.close().await;
        self.readers.close().await;
    }

    async fn failed(&self) {
        self.writer.ended().await;
    }
}
