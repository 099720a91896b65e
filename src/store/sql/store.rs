//! The store on any engine: the writer, the readers, and what they share. The roles are in the files of their statements.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::accept::Arrivals;
use super::readers::ReadPools;
use super::trouble::Trouble;
use super::writer::{Committer, Writer};
use super::{StoreResult, identities, outbox};
use crate::store::Following;

/// What an engine does beside reading and writing.
#[async_trait]
pub(in crate::store) trait Upkeep: Send + Sync {
    /// Takes what was removed out of the engine's log; `false` when somebody still reads it.
    async fn truncate_log(&self) -> StoreResult<bool>;

    /// How changes by other replicas are noticed.
    fn following(&self) -> Option<Following>;

    /// Ends the engine's own tasks.
    fn stop(&self);
}

/// A store.
pub(in crate::store) struct SqlStore {
    pub(in crate::store) writer: Arc<Writer>,
    pub(in crate::store) arrivals: Arrivals,
    pub(in crate::store) readers: ReadPools,
    pub(super) upkeep: Arc<dyn Upkeep>,
    /// Gives accepted events' calls their rows.
    pub(in crate::store) opener: AbortHandle,
    /// One erasure at a time.
    pub(super) erasing: Mutex<()>,
}

impl SqlStore {
    /// Starts a store on a database that is up to date, and goes on with what an earlier process left.
    pub(in crate::store) async fn start(
        committer: impl Committer,
        readers: ReadPools,
        trouble: Arc<Trouble>,
        upkeep: Arc<dyn Upkeep>,
    ) -> StoreResult<Self> {
        let writer = Arc::new(Writer::start(committer, outbox::write_messages, trouble));
        for (pairing, learnt_at) in readers.background.read(identities::unfinished).await? {
            identities::go_on(&writer, vec![pairing], learnt_at).await?;
        }
        let arrivals = Arrivals::default();
        let (opening, opens) = (Arc::clone(&arrivals.opening), Arc::clone(&writer));
        let opener = tokio::spawn(async move { opening.run(&opens).await }).abort_handle();
        Ok(Self {
            writer,
            arrivals,
            readers,
            upkeep,
            opener,
            erasing: Mutex::new(()),
        })
    }
}

impl Drop for SqlStore {
    fn drop(&mut self) {
        self.upkeep.stop();
        self.opener.abort();
    }
}
