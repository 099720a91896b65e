//! The outcomes of mints, which are written many together, moments after the answers. That a token was asked for is on record
//! before; a crash in between leaves an outcome that is not known.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Minter;
use crate::store::MintOutcome;

/// How long an outcome waits for others. Each transaction costs as much as half a mint.
const OTHERS_MAY_TAKE: Duration = Duration::from_millis(100);
/// Most outcomes that are written in one step: webhooks wait for it.
const STEP: usize = 128;

impl Minter {
    /// Keeps the outcome of the mint `id` for [`write_outcomes`](Self::write_outcomes); `true` when that is to be called,
    /// because nobody has yet.
    pub(crate) fn keep_outcome(&self, id: String, outcome: MintOutcome) -> bool {
        let mut unwritten = self.unwritten();
        unwritten.push((id, outcome));
        unwritten.len() == 1
    }

    /// Waits for other outcomes, at most until `stopping`, and completes the records of all.
    pub(crate) async fn write_outcomes(&self, stopping: &CancellationToken) {
        let _ = timeout(OTHERS_MAY_TAKE, stopping.cancelled()).await;
        let mut outcomes = std::mem::take(&mut *self.unwritten());
        while !outcomes.is_empty() {
            let rest = outcomes.split_off(outcomes.len().min(STEP));
            let mints = outcomes.len();
            if let Err(error) = self.store.finish_mints(outcomes).await {
                tracing::warn!(%error, mints, "failed to record the outcomes of mints");
            }
            outcomes = rest;
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, Vec<(String, MintOutcome)>> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
