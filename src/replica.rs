//! This process as one of the replicas on a database: says that it lives, leads the duties that fall to it, and compares its
//! clock with the server's. A process that is alone on its database leads everything, and writes nothing about it.

mod duties;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::Timestamp;
use crate::store::{
    CLOCKS_MAY_DIFFER, ClockDifference, Duty, Leader, ReplicaRow, SharedStore, StoreResult,
    TERM_LASTS,
};
use crate::telemetry::metric;
use duties::Duties;
pub use duties::Lead;

/// How often a replica says that it lives, and looks for duties that nobody leads.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// This process among the replicas.
pub struct Replica {
    store: SharedStore,
    clock: Clock,
    id: String,
    started_at: Timestamp,
    settings: Mutex<Settings>,
    clock_difference: Mutex<Option<ClockDifference>>,
    duties: Duties,
    soon: Notify,
}

/// What it has read last.
struct Settings {
    read_at: Timestamp,
    /// A fingerprint of the credentials.
    credentials: String,
}

/// The replicas, and who leads what.
pub struct Seen {
    /// The id of this one.
    pub this: String,
    /// By the server's clock, where there is one.
    pub now: Timestamp,
    /// Those that have been heard of lately.
    pub replicas: Vec<ReplicaRow>,
    /// The duties, each with its latest term.
    pub leaders: Vec<Leader>,
}

impl Replica {
    /// This process, which has just started with credentials of this fingerprint.
    #[must_use]
    pub fn new(store: &SharedStore, clock: &Clock, credentials: String) -> Self {
        let now = clock.now();
        Self {
            store: Arc::clone(store),
            clock: clock.clone(),
            id: new_id(),
            started_at: now,
            settings: Mutex::new(Settings {
                read_at: now,
                credentials,
            }),
            clock_difference: Mutex::default(),
            duties: Duties::new(clock),
            soon: Notify::new(),
        }
    }

    /// Names this process, and no other before or after it: machine, process id, and a random part.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How the clock of this machine differs from the server's, as it was measured last; none where there is no server.
    #[must_use]
    pub fn clock_difference(&self) -> Option<ClockDifference> {
        *lock(&self.clock_difference)
    }

    /// The time by which terms and heartbeats are told: the server's, which all replicas share, as it was measured last.
    fn shared_time(&self) -> Timestamp {
        let now = self.clock.now();
        self.clock_difference()
            .map_or(now, |difference| difference.server_time(now))
    }

    /// Notes that the settings were read again, and what the credentials are now.
    pub fn reloaded(&self, credentials: String) {
        *lock(&self.settings) = Settings {
            read_at: self.clock.now(),
            credentials,
        };
        self.soon.notify_one();
    }

    /// Returns once this replica leads `duty`. From then on it goes after the duty whenever nobody leads it.
    pub async fn lead(&self, duty: Duty) -> Lead {
        if self.duties.add(duty) {
            self.soon.notify_one();
        }
        match self.store.is_shared() {
            true => self.duties.lead(duty, &self.store).await,
            false => self.duties.lead_alone(&self.store),
        }
    }

    /// The replicas that have been heard of lately, and who leads what.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn seen(&self) -> StoreResult<Seen> {
        let now = self.shared_time();
        let (replicas, leaders) = match self.store.is_shared() {
            true => (
                self.store.list_replicas(now).await?,
                self.store.observe().await?.leaders,
            ),
            false => (vec![self.row(now)], self.led_alone()),
        };
        Ok(Seen {
            this: self.id.clone(),
            now,
            replicas,
            leaders,
        })
    }

    /// What a process leads that is alone.
    fn led_alone(&self) -> Vec<Leader> {
        let led = |duty| Leader {
            duty,
            term: 1,
            replica: Some(self.id.clone()),
            expires_at: self.shared_time().plus(TERM_LASTS),
        };
        self.duties.all().into_iter().map(led).collect()
    }

    fn row(&self, now: Timestamp) -> ReplicaRow {
        let settings = lock(&self.settings);
        ReplicaRow {
            id: self.id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            heartbeat_at: now,
            reloaded_at: settings.read_at,
            credentials: settings.credentials.clone(),
            clock_difference: self.clock_difference(),
        }
    }

    /// Says every few seconds that it lives, until `shutdown`; then gives up its duties at once, so that others need not wait
    /// until they expire.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        if !self.store.is_shared() {
            return;
        }
        tracing::info!(replica = self.id, "this process is one of the replicas");
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let beats = async {
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = self.soon.notified() => {}
                }
                if let Err(error) = self.beat().await {
                    tracing::warn!(%error, "failed to record the heartbeat of this replica");
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = beats => {}
        }
        self.duties.end_all("the service stops");
        if let Err(error) = self.store.resign(&self.id, Some(self.clock.now())).await {
            tracing::warn!(%error, "failed to give up the duties of this replica; others take them when its terms expire");
        }
    }

    /// One heartbeat: compares the clocks, says that it lives, renews its terms, and takes the duties that nobody leads. A
    /// process that is alone has nobody to say it to.
    ///
    /// # Errors
    /// When the store fails. Terms that are not renewed expire.
    pub async fn beat(&self) -> StoreResult<()> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let observed = self.store.observe().await?;
        let may_lead = self.note_clock(observed.clock_difference);
        if !may_lead && self.duties.end_all("its clock is wrong") {
            self.store.resign(&self.id, None).await?;
        }
        let (began, now) = (self.clock.now(), self.shared_time());
        let terms = self.duties.terms();
        let renewed = self.store.heartbeat(self.row(now), terms).await?;
        self.duties.renewed(&renewed, began);
        if !may_lead {
            return Ok(());
        }
        for duty in self.duties.not_led() {
            let mut leaders = observed.leaders.iter();
            if leaders.any(|leader| leader.duty == duty && !leader.is_over(now)) {
                continue;
            }
            if let Some(term) = self.store.take_lead(duty, &self.id, now).await? {
                self.duties.took(term, began);
            }
        }
        Ok(())
    }

    /// Whether the clock is right enough to lead: what a leader does is a matter of times. Retention by a clock that is ahead
    /// removes too much.
    fn note_clock(&self, difference: Option<ClockDifference>) -> bool {
        let before = std::mem::replace(&mut *lock(&self.clock_difference), difference);
        let Some(difference) = difference else {
            return true;
        };
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!(metric::CLOCK_DIFFERENCE_SECONDS).set(difference.millis as f64 / 1000.0);
        let was_wrong = before.is_some_and(ClockDifference::is_too_large);
        match (was_wrong, difference.is_too_large()) {
            (false, true) => tracing::error!(
                "this machine's clock is {difference} the database server's, and they may differ by {} s: this replica leads \
                 nothing until it is right; have both set by NTP",
                CLOCKS_MAY_DIFFER.as_secs()
            ),
            (true, false) => tracing::info!(
                "this machine's clock agrees with the database server's again: it is {difference} it"
            ),
            _ => {}
        }
        !difference.is_too_large()
    }
}

/// The machine is named so that people find it: in a container, that is the container's name or the pod's.
fn new_id() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let is_plain = |sign: &char| sign.is_ascii_alphanumeric() || "-_.".contains(*sign);
    let host: String = host.chars().filter(is_plain).take(63).collect();
    let process = std::process::id();
    format!("{host}.{process}.{:08x}", rand::random::<u32>())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
