//! Retention: removes old transcripts and bodies, and tells attempts to leave out transcripts that would be too old already.
//! It also finishes interrupted erasures.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::model::{CallDetail, Timestamp};
use crate::replica::Replica;
use crate::store::{Duty, REPLICA_FORGOTTEN_AFTER, SharedStore, StoreError, StoreResult};
use crate::telemetry::metric;
use athos_api::types;

/// How often it runs.
const PURGE_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Delay after a run that could not finish: readers held the log, or the store failed.
const CATCH_UP_INTERVAL: Duration = Duration::from_secs(60);

/// How long a message is kept after it was delivered or given up, whatever the policy.
const MESSAGE_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long transcripts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Whether they are stored at all.
    pub transcripts: bool,
    /// How long after the call; `None` is for ever.
    pub retention: Option<Duration>,
}

impl RetentionPolicy {
    /// What `config` lets be kept.
    #[must_use]
    pub fn from_config(config: &Config) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            transcripts: config.store_transcripts,
            retention: config.retention_days.map(|days| DAY * days.get()),
        }
    }

    /// The time before which data is too old.
    fn cutoff(self, now: Timestamp) -> Option<Timestamp> {
        self.retention.map(|retention| now.minus(retention))
    }

    /// What may be stored of a detail that was fetched now.
    pub(super) fn of(self, mut detail: CallDetail, now: Timestamp) -> CallDetail {
        let call = &detail.header;
        let ended_at = call.ended_at.or(call.started_at).unwrap_or(now);
        let too_old = self.cutoff(now).is_some_and(|cutoff| ended_at < cutoff);
        if too_old || !self.transcripts {
            detail.raw = types::redact_transcript(&detail.raw);
            detail.purged = true;
        }
        detail
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Calls whose transcripts were removed.
    pub calls: u64,
    /// Events whose bodies were removed.
    pub bodies: u64,
    /// Records of mints and reconciliations that were removed.
    pub records: u64,
    /// Messages to endpoints, settled long ago, that were removed.
    pub messages: u64,
    /// Interrupted erasures that were finished.
    pub erasures: usize,
    /// Whether the write-ahead log was truncated as well.
    pub log_emptied: bool,
}

/// The retention task.
pub struct Retention {
    store: SharedStore,
    clock: Clock,
    retention_policy: RetentionPolicy,
    soon: Notify,
}

impl Retention {
    /// Retention by this policy.
    #[must_use]
    pub fn new(store: &SharedStore, clock: &Clock, retention_policy: RetentionPolicy) -> Self {
        Self {
            store: Arc::clone(store),
            clock: clock.clone(),
            retention_policy,
            soon: Notify::new(),
        }
    }

    /// Starts the next run at once.
    pub fn run_soon(&self) {
        self.soon.notify_one();
    }

    /// One run, in small batches, so that webhooks do not wait. The next run continues an interrupted one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_once(&self) -> StoreResult<Purged> {
        self.run_on(&self.store).await
    }

    async fn run_on(&self, store: &SharedStore) -> StoreResult<Purged> {
        let mut purged = Purged {
            erasures: store.resume_erasures().await?,
            ..Purged::default()
        };
        let now = self.clock.now();
        if let Some(cutoff) = self.retention_policy.cutoff(now) {
            self.purge(store, cutoff, now, &mut purged).await?;
        }
        loop {
            let messages = store.purge_messages(now.minus(MESSAGE_RETENTION));
            match messages.await? {
                0 => break,
                removed => purged.messages += removed,
            }
        }
        metrics::counter!(metric::PURGED_TOTAL, "what" => "messages").increment(purged.messages);
        if store.is_shared() {
            let forgotten = now.minus(REPLICA_FORGOTTEN_AFTER);
            store.purge_replicas(forgotten).await?;
        }
        purged.log_emptied = store.truncate_wal().await?;
        let Purged {
            calls,
            bodies,
            records,
            messages,
            erasures,
            log_emptied,
        } = purged;
        if self.retention_policy.retention.is_some() || erasures > 0 {
            tracing::info!(
                calls,
                bodies,
                records,
                messages,
                erasures,
                log_emptied,
                "retention run finished"
            );
        }
        Ok(purged)
    }

    async fn purge(
        &self,
        store: &SharedStore,
        cutoff: Timestamp,
        now: Timestamp,
        purged: &mut Purged,
    ) -> StoreResult<()> {
        let count = |what, removed: u64| {
            metrics::counter!(metric::PURGED_TOTAL, "what" => what).increment(removed);
            removed
        };
        loop {
            let calls = count("calls", self.redact(store, cutoff, now).await?);
            let bodies = count("bodies", store.purge_bodies(cutoff).await?);
            let records = count("records", store.purge_records(cutoff).await?);
            if calls + bodies + records == 0 {
                return Ok(());
            }
            purged.calls += calls;
            purged.bodies += bodies;
            purged.records += records;
        }
    }

    /// Redacts some transcripts; how many.
    async fn redact(
        &self,
        store: &SharedStore,
        cutoff: Timestamp,
        now: Timestamp,
    ) -> StoreResult<u64> {
        let mut found = store.find_transcripts(cutoff).await?;
        for transcript in &mut found {
            transcript.raw = transcript.raw.as_deref().map(types::redact_transcript);
        }
        let count = found.len() as u64;
        if count > 0 {
            store.redact_transcripts(found, now).await?;
        }
        Ok(count)
    }

    /// Runs at once and then every hour, while `replica` leads retention, until `shutdown`.
    pub async fn run(self: Arc<Self>, replica: Arc<Replica>, shutdown: CancellationToken) {
        let rounds = async {
            loop {
                let mut lead = replica.lead(Duty::Retention).await;
                let wait = match self.run_on(&lead.store).await {
                    Ok(purged) if purged.log_emptied => PURGE_INTERVAL,
                    Ok(_) => CATCH_UP_INTERVAL,
                    Err(StoreError::NotLeader) => {
                        tracing::info!("another replica leads retention now and goes on with it");
                        CATCH_UP_INTERVAL
                    }
                    Err(error) => {
                        tracing::error!(%error, "retention failed to read or write the store; it tries again");
                        CATCH_UP_INTERVAL
                    }
                };
                tokio::select! {
                    () = lead.wait(wait) => {}
                    () = self.soon.notified() => {}
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = rounds => {}
        }
    }
}
