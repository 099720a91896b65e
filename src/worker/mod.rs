//! The worker: claims due events, attempts them, and settles them. It holds no lock while it waits for Athos: a claim is a
//! lease, and after a crash its events are due again when the lease expires.

pub mod circuit_breaker;
pub mod drift;
mod opening;
mod process;
pub mod reconcile;
pub mod replay;
pub mod retention;
pub mod retry;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::Timestamp;
use crate::queue::run::{self, Attempts, POLL, Queue};
use crate::queue::slots::Slots;
use crate::store::{
    ClaimFilter, ClaimedEvent, Listening, SettleResult, Settlement, SharedStore, StoreResult,
};
use crate::telemetry::metric;
use athos_api as athos;
use circuit_breaker::{Candidates, CircuitBreaker, Permit};
use process::Fetching;
use retention::RetentionPolicy;

/// How long a claim lasts. Longer than a fetch can take over every key, with its settlement.
pub const LEASE: Duration = crate::queue::LEASE;
/// Polls between two looks for accepted events whose calls were given no row: a minute.
const POLLS_TO_LEFT_BEHIND: u32 = 12;

/// What one step of the worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepSummary {
    /// Calls whose detail was stored.
    pub scored: usize,
    /// Calls stored as not scored.
    pub unscored: usize,
    /// Events to be tried again.
    pub retried: usize,
    /// Events that became dead.
    pub dead: usize,
    /// Events that turned out not to be known ones.
    pub ignored: usize,
    /// Attempts whose lease had expired.
    pub lease_lost: usize,
    /// Attempts at calls of reps whose data was erased.
    pub erased: usize,
    /// The circuit breaker let nothing through.
    pub held: bool,
}

impl StepSummary {
    fn count(&mut self, ending: AttemptOutcome) {
        match ending {
            AttemptOutcome::Scored => self.scored += 1,
            AttemptOutcome::Unscored => self.unscored += 1,
            AttemptOutcome::Retried => self.retried += 1,
            AttemptOutcome::Dead => self.dead += 1,
            AttemptOutcome::Ignored => self.ignored += 1,
            AttemptOutcome::LeaseLost => self.lease_lost += 1,
            AttemptOutcome::Erased => self.erased += 1,
            AttemptOutcome::Released => {}
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy)]
pub(crate) enum AttemptOutcome {
    Scored,
    Unscored,
    Retried,
    Dead,
    Ignored,
    LeaseLost,
    Erased,
    Released,
}

impl AttemptOutcome {
    /// The label in metrics.
    fn as_str(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::Unscored => "unscored",
            Self::Retried => "retried",
            Self::Dead => "dead",
            Self::Ignored => "ignored",
            Self::LeaseLost => "lease_lost",
            Self::Erased => "erased",
            Self::Released => "released",
        }
    }
}

/// Turns events into calls.
pub struct Worker {
    store: SharedStore,
    athos: Arc<athos::Client>,
    clock: Clock,
    breaker: Arc<CircuitBreaker>,
    retention_policy: RetentionPolicy,
    slots: Slots,
    heartbeat: AtomicI64,
    polls: AtomicU32,
    /// The client, with the drift it has counted.
    recording: Mutex<()>,
    /// What time it was; at the start later than any, for what an earlier process wrote may be of another clock, too.
    latest: AtomicI64,
}

impl Worker {
    /// A worker that asks Athos about up to `concurrency` calls at a time.
    pub fn new(
        store: &SharedStore,
        athos: &Arc<athos::Client>,
        clock: &Clock,
        retention_policy: RetentionPolicy,
        concurrency: u32,
    ) -> Self {
        let heartbeat = AtomicI64::new(clock.now().as_millis());
        Self {
            store: Arc::clone(store),
            athos: Arc::clone(athos),
            clock: clock.clone(),
            breaker: Arc::default(),
            retention_policy,
            slots: Slots::new(concurrency as usize),
            heartbeat,
            polls: AtomicU32::new(0),
            recording: Mutex::new(()),
            latest: AtomicI64::new(i64::MAX),
        }
    }

    /// Stores the drift counts.
    pub async fn record_drift(&self) {
        let _turn = self.recording.lock().await;
        drift::record(&self.athos, &*self.store, self.clock.now()).await;
    }

    /// Whether Athos may be asked, and why not.
    pub fn circuit_breaker(&self) -> &Arc<CircuitBreaker> {
        &self.breaker
    }

    /// The time of the worker's last heartbeat.
    pub fn last_beat(&self) -> Timestamp {
        Timestamp::from_millis(self.heartbeat.load(Ordering::Relaxed))
    }

    /// Whether the worker's last heartbeat is recent.
    pub fn is_alive(&self) -> bool {
        let (now, beat) = (self.clock.now(), self.last_beat());
        // A heartbeat far in the future is from before the clock was set back.
        now.since(beat).max(beat.since(now)) < POLL * 6
    }

    fn beat(&self) {
        let now = self.clock.now().as_millis();
        self.heartbeat.store(now, Ordering::Relaxed);
    }

    /// One step: claims what is due, attempts it, and settles it.
    ///
    /// # Errors
    /// When the store fails; whatever was claimed is due again when its lease ends.
    pub async fn run_once(self: &Arc<Self>) -> StoreResult<StepSummary> {
        // Another process may have written.
        self.store.next_due().await?;
        let mut attempts = Attempts::new();
        let mut outcome = StepSummary {
            held: self.start_attempts(&mut attempts).await? == ClaimResult::Held,
            ..StepSummary::default()
        };
        for ending in run::finish::<Self>(attempts).await? {
            outcome.count(ending);
        }
        Ok(outcome)
    }

    /// Works until `shutdown`, then lets the attempts in flight finish.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        run::run(self, shutdown).await;
    }

    /// Has the store write the rows of calls that a process which ended has left without one. To be called before the first
    /// reader: whose webhook was acknowledged has a call.
    pub async fn open_left_behind(&self) {
        if let Err(error) = opening::resume(&*self.store).await {
            tracing::error!(%error, "failed to read which calls have no row yet; their attempts write them");
        }
    }

    /// Claims as many events as there is room for. Events that need nothing from Athos pass an open breaker.
    async fn start_attempts(
        self: &Arc<Self>,
        attempts: &mut Attempts<AttemptOutcome>,
    ) -> StoreResult<ClaimResult> {
        // What arrives from now on is of the same time, or later.
        let arrived = self.store.due_times().take_last_arrival();
        let now = self.clock.now();
        self.detect_clock_rollback(arrived, now).await?;
        let due_times = self.store.due_times();
        let room = self.slots.room(attempts.len());
        if room == 0 {
            due_times.listen(Listening::No);
            return Ok(ClaimResult::Some);
        }
        let permit = self.breaker.permit(now);
        due_times.listen(match permit {
            Permit::Wait(_) => Listening::WithoutFetch,
            Permit::All | Permit::Probe(_) => Listening::All,
        });
        let which = match permit {
            Permit::All => ClaimFilter::All,
            Permit::Probe(_) | Permit::Wait(_) => ClaimFilter::WithoutFetch,
        };
        let claimed = self.claim(which, now, room).await?;
        let mut started = match permit {
            _ if claimed.len() == room => ClaimResult::All,
            Permit::Wait(_) => ClaimResult::Held,
            Permit::All | Permit::Probe(_) => ClaimResult::Some,
        };
        for event in claimed {
            self.spawn_attempt(attempts, event, false);
        }
        if let Permit::Probe(candidates) = permit {
            let probe = self.claim_probe(candidates, now).await;
            if !matches!(&probe, Ok(Some(_))) {
                self.breaker.probe_unused();
            }
            match probe? {
                Some(event) => self.spawn_attempt(attempts, event, true),
                None if candidates == Candidates::Untried && started == ClaimResult::Some => {
                    started = ClaimResult::Held;
                }
                None => {}
            }
        }
        Ok(started)
    }

    fn spawn_attempt(
        self: &Arc<Self>,
        attempts: &mut Attempts<AttemptOutcome>,
        event: ClaimedEvent,
        is_probe: bool,
    ) {
        let worker = Arc::clone(self);
        attempts.spawn(async move { worker.attempt(event, is_probe).await });
    }

    async fn claim_probe(
        &self,
        candidates: Candidates,
        now: Timestamp,
    ) -> StoreResult<Option<ClaimedEvent>> {
        let which = match candidates {
            Candidates::Any => ClaimFilter::Probe,
            Candidates::Untried => ClaimFilter::UntriedProbe,
        };
        Ok(self.claim(which, now, 1).await?.pop())
    }

    /// Due times are stored. After the clock was set back, every event would wait that much longer.
    async fn detect_clock_rollback(&self, arrived: Timestamp, now: Timestamp) -> StoreResult<()> {
        let latest = self.latest.swap(now.as_millis(), Ordering::Relaxed);
        let before = latest.max(arrived.as_millis());
        if now.as_millis() >= before {
            return Ok(());
        }
        let waits = retry::max_delays();
        match self.store.clamp_schedules(now, LEASE, &waits).await {
            Ok(0) => Ok(()),
            Ok(events) => {
                tracing::warn!(
                    events,
                    "clock rollback detected; due times and leases were clamped"
                );
                Ok(())
            }
            Err(error) => {
                self.latest.store(before, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    async fn claim(
        &self,
        which: ClaimFilter,
        now: Timestamp,
        limit: usize,
    ) -> StoreResult<Vec<ClaimedEvent>> {
        let due = self.store.due_times().earliest(which);
        if due.is_none_or(|due| due > now) {
            return Ok(Vec::new());
        }
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        self.store.claim_due(which, now, limit, LEASE).await
    }

    async fn attempt(&self, claimed: ClaimedEvent, is_probe: bool) -> StoreResult<AttemptOutcome> {
        let fetching = Fetching {
            athos: &self.athos,
            breaker: &self.breaker,
            slots: &self.slots,
            retention_policy: self.retention_policy,
            clock: &self.clock,
        };
        let settlement = process::attempt(&claimed, fetching, is_probe, rand::random()).await;
        let Some(settlement) = settlement else {
            self.store.release(claimed.lease, self.clock.now()).await?;
            return Ok(AttemptOutcome::Released);
        };
        let ending = attempt_outcome(&settlement);
        log_settlement(&claimed, &settlement);
        let now = self.clock.now();
        let event = claimed.lease.event_id;
        let outcome = match self.store.settle(claimed.lease, settlement, now).await? {
            SettleResult::Yes => ending,
            SettleResult::LeaseLost => {
                tracing::warn!(
                    event,
                    "attempt discarded: its lease expired before it settled"
                );
                AttemptOutcome::LeaseLost
            }
            SettleResult::Erased => {
                tracing::info!(event, "call discarded: the data of its rep was erased");
                AttemptOutcome::Erased
            }
        };
        metrics::counter!(metric::EVENTS_SETTLED_TOTAL, "outcome" => outcome.as_str()).increment(1);
        Ok(outcome)
    }
}

impl Queue for Worker {
    type Ending = AttemptOutcome;
    const PANICKED: AttemptOutcome = AttemptOutcome::LeaseLost;
    const NAME: &'static str = "worker";
    /// Athos answers within 10 s or not at all.
    const DRAIN: Duration = Duration::from_secs(12);

    async fn start_due(
        self: &Arc<Self>,
        attempts: &mut Attempts<AttemptOutcome>,
    ) -> StoreResult<Duration> {
        let started = self.start_attempts(attempts).await;
        self.beat();
        let started = started?;
        if self.slots.room(attempts.len()) == 0 {
            // The next slot that is free, or attempt that is settled, wakes the worker.
            return Ok(POLL);
        }
        if started == ClaimResult::All {
            return Ok(Duration::ZERO);
        }
        let due = self.store.due_times().earliest(ClaimFilter::All);
        let now = self.clock.now();
        // Until Athos may be asked again, events that come in do not wake the worker.
        let next = due.max(self.breaker.next_permit(now));
        Ok(next.map_or(POLL, |next| next.since(now).min(POLL)))
    }

    fn woken(&self) -> impl Future<Output = ()> + Send {
        let arrival = self.store.due_times().arrival();
        async move {
            tokio::select! {
                () = arrival => {}
                () = self.slots.freed() => {}
            }
        }
    }

    async fn poll(&self) {
        // Another replica may have ended.
        let polls = self.polls.fetch_add(1, Ordering::Relaxed) + 1;
        if polls.is_multiple_of(POLLS_TO_LEFT_BEHIND) {
            self.open_left_behind().await;
        }
        if let Err(error) = self.store.next_due().await {
            tracing::error!(%error, "failed to read when events are due; the worker reads it again soon");
        }
    }
}

#[derive(PartialEq, Eq)]
enum ClaimResult {
    /// There was no room for all: more may be due.
    All,
    /// Nothing more is due, or there is no room.
    Some,
    /// The circuit breaker is open.
    Held,
}

fn attempt_outcome(settlement: &Settlement) -> AttemptOutcome {
    match settlement {
        Settlement::Scored(_) => AttemptOutcome::Scored,
        Settlement::Unscored(_) => AttemptOutcome::Unscored,
        Settlement::Retry { .. } => AttemptOutcome::Retried,
        Settlement::Dead { .. } => AttemptOutcome::Dead,
        Settlement::Ignored { .. } => AttemptOutcome::Ignored,
    }
}

fn log_settlement(claimed: &ClaimedEvent, settlement: &Settlement) {
    let event = claimed.lease.event_id;
    let attempt = claimed.attempts + 1;
    match settlement {
        Settlement::Scored(detail) => {
            tracing::info!(event, attempt, call = detail.header.id, "call scored");
        }
        Settlement::Unscored(said) => {
            tracing::info!(
                event,
                attempt,
                call = said.call_id,
                "call not scored by Athos"
            );
        }
        Settlement::Retry { at, reason, .. } => {
            tracing::warn!(event, attempt, next = %at, reason, "event will be tried again");
        }
        Settlement::Dead { reason, .. } => {
            tracing::error!(event, attempt, reason, "event is dead; it can be replayed");
        }
        Settlement::Ignored { reason } => tracing::warn!(event, reason, "event ignored"),
    }
}
