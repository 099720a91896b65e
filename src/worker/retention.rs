//! How long the words of a call are kept: retention removes them on time, and an attempt leaves them out of what it
//! fetches when they would be too old already. It also finishes erasures that broke off.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::{CallDetail, Timestamp};
use crate::store::{SharedStore, StoreResult};
use athos_api::types;

/// How often it runs.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How soon it looks again after a run that could not finish: somebody was reading, or the store failed.
const SOON: Duration = Duration::from_secs(60);

/// What is kept of the words that were spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Whether they are kept at all.
    pub transcripts: bool,
    /// For how long after the call, if not for ever.
    pub retention: Option<Duration>,
}

impl Keeping {
    /// What came in, and ended, before this is too old.
    fn horizon(self, now: Timestamp) -> Option<Timestamp> {
        self.retention.map(|retention| now.minus(retention))
    }

    /// What may be kept of a detail that was fetched now.
    pub(super) fn of(self, mut detail: CallDetail, now: Timestamp) -> CallDetail {
        let call = &detail.header;
        let ended_at = call.ended_at.or(call.started_at).unwrap_or(now);
        let too_old = self.horizon(now).is_some_and(|horizon| ended_at < horizon);
        if too_old || !self.transcripts {
            detail.raw = types::without_words(&detail.raw);
            detail.purged = true;
        }
        detail
    }
}

/// What a run removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Calls whose words are gone.
    pub calls: u64,
    /// Events whose bodies are gone.
    pub bodies: u64,
    /// Records of session tokens and of reconciliations that are gone.
    pub records: u64,
    /// Erasures that had broken off, and are finished.
    pub erasures: usize,
    /// Whether it is gone from the database's log as well.
    pub log_emptied: bool,
}

/// Removes what is too old.
pub struct Retention {
    store: SharedStore,
    clock: Clock,
    keeping: Keeping,
    soon: Notify,
}

impl Retention {
    /// Retention as `keeping` says.
    #[must_use]
    pub fn new(store: SharedStore, clock: Clock, keeping: Keeping) -> Self {
        Self {
            store,
            clock,
            keeping,
            soon: Notify::new(),
        }
    }

    /// Has the next run come at once.
    pub fn run_soon(&self) {
        self.soon.notify_one();
    }

    /// One run: in small batches, so that webhooks are not held up. One that breaks off is made up for by the next.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_once(&self) -> StoreResult<Purged> {
        let mut purged = Purged {
            erasures: self.store.resume_erasures().await?,
            ..Purged::default()
        };
        let now = self.clock.now();
        if let Some(horizon) = self.keeping.horizon(now) {
            self.purge(horizon, now, &mut purged).await?;
        }
        purged.log_emptied = self.store.empty_log().await?;
        let Purged {
            calls,
            bodies,
            records,
            erasures,
            log_emptied,
        } = purged;
        if self.keeping.retention.is_some() || erasures > 0 {
            tracing::info!(
                calls,
                bodies,
                records,
                erasures,
                log_emptied,
                "retention has run"
            );
        }
        Ok(purged)
    }

    async fn purge(
        &self,
        horizon: Timestamp,
        now: Timestamp,
        purged: &mut Purged,
    ) -> StoreResult<()> {
        let count = |what, removed: u64| {
            metrics::counter!("athos_purged_total", "what" => what).increment(removed);
            removed
        };
        loop {
            let calls = self.store.purge_words(horizon, types::without_words, now);
            let calls = count("calls", calls.await?);
            let bodies = count("bodies", self.store.purge_bodies(horizon).await?);
            let records = count("records", self.store.purge_records(horizon).await?);
            if calls + bodies + records == 0 {
                return Ok(());
            }
            purged.calls += calls;
            purged.bodies += bodies;
            purged.records += records;
        }
    }

    /// Runs at once and then every hour, until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let rounds = async {
            loop {
                let wait = match self.run_once().await {
                    Ok(purged) if purged.log_emptied => EVERY,
                    Ok(_) => SOON,
                    Err(error) => {
                        tracing::error!(%error, "retention cannot use the store; it tries again");
                        SOON
                    }
                };
                // Elapsed or woken, it is time.
                let _ = tokio::time::timeout(wait, self.soon.notified()).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = rounds => {}
        }
    }
}
