//! The store on any engine: the writer, the readers, and what they share. The roles are in the files of their statements.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::accept::Arrivals;
use super::readers::ReadPools;
use super::trouble::Trouble;
use super::writer::{Committer, Writer};
use super::{Connection, StoreResult, identities, outbox};
use crate::store::{ClockDifference, Following, Term};

/// What an engine does beside reading and writing.
#[async_trait]
pub(in crate::store) trait Upkeep: Send + Sync {
    /// Takes what was removed out of the engine's log; `false` when somebody still reads it.
    async fn truncate_log(&self) -> StoreResult<bool>;

    /// How changes by other replicas are noticed.
    fn following(&self) -> Option<Following>;

    /// Whether several replicas are meant to use the database.
    fn is_shared(&self) -> bool;

    /// How this machine's clock differs from that of the database's server; none where there is no server.
    fn clock_difference(&self, db: &dyn Connection) -> StoreResult<Option<ClockDifference>>;

    /// Ends the engine's own tasks.
    fn stop(&self);
}

/// A store.
pub(in crate::store) struct SqlStore {
    pub(in crate::store) writer: Arc<Writer>,
    pub(in crate::store) arrivals: Arrivals,
    pub(in crate::store) readers: ReadPools,
    pub(super) upkeep: Arc<dyn Upkeep>,
    pub(in crate::store) tasks: Arc<Tasks>,
    /// One erasure at a time.
    pub(super) erasing: Arc<Mutex<()>>,
}

/// What runs as long as the store, or a part of it, is there.
pub(in crate::store) struct Tasks {
    upkeep: Arc<dyn Upkeep>,
    /// Gives accepted events' calls their rows.
    pub(in crate::store) opener: AbortHandle,
}

impl Tasks {
    pub(super) fn stop(&self) {
        self.upkeep.stop();
        self.opener.abort();
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.stop();
    }
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
        let is_shared = upkeep.is_shared();
        let opener = tokio::spawn(async move { opening.run(&opens, is_shared).await });
        let tasks = Tasks {
            upkeep: Arc::clone(&upkeep),
            opener: opener.abort_handle(),
        };
        Ok(Self {
            writer,
            arrivals,
            readers,
            upkeep,
            tasks: Arc::new(tasks),
            erasing: Arc::default(),
        })
    }

    /// The same store, whose writes are refused once this is not the latest term of its duty any more.
    pub(super) fn under(&self, term: Term) -> Self {
        Self {
            writer: Arc::new(self.writer.under(term)),
            arrivals: self.arrivals.clone(),
            readers: self.readers.clone(),
            upkeep: Arc::clone(&self.upkeep),
            tasks: Arc::clone(&self.tasks),
            erasing: Arc::clone(&self.erasing),
        }
    }
}
