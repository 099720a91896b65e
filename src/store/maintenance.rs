//! What the service stores about Athos and its credentials, and the state of the database.

use async_trait::async_trait;

use super::StoreResult;
use crate::model::{Credential, Drift, SeenDrift, Timestamp};

/// How changes of calls by other replicas are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// By notifications of the server, at once.
    Notified,
    /// By looking every now and then: no notification comes, as behind a pooler in transaction mode.
    Polling,
}

/// Drift counts, credential usage, and the state of the database.
#[async_trait]
pub trait Maintenance: Send + Sync {
    /// Adds to the counts of what Athos sends that no document mentions; those that are new. There is an end to how many
    /// are kept.
    async fn record_drift_counts(
        &self,
        counted: Vec<(Drift, u64)>,
        now: Timestamp,
    ) -> StoreResult<Vec<Drift>>;

    /// What Athos sends that no document mentions, the latest to appear first.
    async fn list_drift(&self) -> StoreResult<Vec<SeenDrift>>;

    /// Stores the usage of secrets and keys; a later time on record stays.
    async fn record_credential_usage(&self, credentials: Vec<Credential>) -> StoreResult<()>;

    /// Every secret and key that was ever stored.
    async fn credentials(&self) -> StoreResult<Vec<Credential>>;

    /// Whether it can be read and its last write succeeded.
    async fn check(&self) -> StoreResult<()>;

    /// How changes by other replicas are noticed; nothing where there can be none, or nobody follows them.
    fn following(&self) -> Option<Following>;

    /// Finishes what was queued and closes the files.
    async fn close(&self);

    /// Returns when nothing can be written any more, closed or failed; only a new process helps.
    async fn failed(&self);
}
