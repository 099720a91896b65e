//! The forwarder: takes messages from the outbox, sends each to its endpoint, signed, and settles what came of it. Endpoints
//! do not wait for each other: each has slots, a circuit breaker and a queue of its own.

pub mod address;
pub mod endpoint;
mod endpoints;
mod message;
mod ping;
mod settings;
pub mod signature;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock::Clock;
use crate::model::Timestamp;
use crate::queue::LEASE;
use crate::queue::run::{self, Attempts, POLL, Queue};
use crate::queue::schedule::Schedule;
use crate::queue::slots::Slots;
use crate::reloadable::Reloadable;
use crate::store::{
    ClaimedMessage, MessageLease, MessageSettled, NewEndpoint, SendOutcome, SharedStore,
    StoreResult, StoredDelivery,
};
use crate::telemetry::metric;
use endpoint::{ANSWER_DEADLINE, Endpoint, Failure, Message};
use endpoints::{Endpoints, Room};
pub use ping::Pinged;
pub use settings::Settings;

/// At once, and then for some four days.
pub const SCHEDULE: Schedule = Schedule {
    first: &[
        Duration::from_secs(5),
        Duration::from_secs(5 * 60),
        Duration::from_secs(30 * 60),
        Duration::from_secs(2 * 60 * 60),
        Duration::from_secs(5 * 60 * 60),
        Duration::from_secs(10 * 60 * 60),
        Duration::from_secs(14 * 60 * 60),
        Duration::from_secs(20 * 60 * 60),
    ],
    then: Duration::from_secs(24 * 60 * 60),
    max_attempts: 10,
};
/// An endpoint that has failed for so long, without a success, is disabled.
const DISABLE_AFTER: Duration = Duration::from_secs(5 * 24 * 60 * 60);
/// The status of an endpoint that is gone for good.
const GONE: u16 = 410;

/// Sends messages.
pub struct Forwarder {
    store: SharedStore,
    clock: Clock,
    active: Reloadable<Active>,
    endpoints: Endpoints,
}

/// The settings in force, with the store's number of each endpoint.
#[derive(Debug, Default)]
struct Active {
    settings: Settings,
    endpoints: Vec<(i64, Endpoint)>,
}

/// What one step of the forwarder did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendSummary {
    /// Messages that were taken.
    pub delivered: usize,
    /// Messages to be sent again.
    pub retried: usize,
    /// Messages given up.
    pub failed: usize,
    /// Attempts whose lease had gone to somebody else, or whose message is no more.
    pub lease_lost: usize,
}

impl Forwarder {
    /// A forwarder with these settings; tells the store which endpoints there are.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn start(
        settings: Settings,
        store: &SharedStore,
        clock: &Clock,
    ) -> StoreResult<Self> {
        let forwarder = Self {
            store: Arc::clone(store),
            clock: clock.clone(),
            active: Reloadable::new(Active::default()),
            endpoints: Endpoints::default(),
        };
        forwarder.replace(settings).await?;
        Ok(forwarder)
    }

    /// Puts other settings in force. Endpoints that were disabled are tried again.
    ///
    /// # Errors
    /// When the store cannot be used; then nothing has changed.
    pub async fn replace(&self, settings: Settings) -> StoreResult<()> {
        let urls = settings.endpoints.iter().map(|endpoint| NewEndpoint {
            url: endpoint.url().to_string(),
            kinds: settings.kinds.clone(),
        });
        let numbers = self
            .store
            .register_endpoints(urls.collect(), self.clock.now())
            .await?;
        let endpoints = numbers
            .into_iter()
            .zip(settings.endpoints.iter().cloned())
            .collect();
        self.endpoints.clear();
        self.active.replace(Active {
            settings,
            endpoints,
        });
        Ok(())
    }

    /// Whether anything is forwarded.
    fn is_on(&self) -> bool {
        !self.active.get().endpoints.is_empty()
    }

    /// Sends a ping to each endpoint, or to this one, whether or not messages are sent to it now.
    pub async fn test(&self, only: Option<i64>) -> Vec<(i64, Pinged)> {
        let active = self.active.get();
        let asked = active
            .endpoints
            .iter()
            .filter(|(number, _)| only.is_none_or(|only| only == *number));
        let pings = asked.map(async |(number, endpoint)| {
            let pinged = ping::ping(endpoint, &active.settings.secrets, &self.clock).await;
            (*number, pinged)
        });
        futures_util::future::join_all(pings).await
    }

    /// The body of a delivery's message as it would be sent now; `None` where what it tells of is gone, or cannot be read.
    #[must_use]
    pub fn body_of(&self, delivery: &StoredDelivery) -> Option<Vec<u8>> {
        body_of(delivery, self.active.get().settings.link())
    }

    /// One step: sends what is due, and settles it.
    ///
    /// # Errors
    /// When the store fails; what was claimed is due again when its lease ends.
    pub async fn run_once(self: &Arc<Self>) -> StoreResult<SendSummary> {
        let mut attempts = Attempts::new();
        let active = self.active.get();
        for (number, endpoint) in &active.endpoints {
            self.start_for(&active, *number, endpoint, &mut attempts)
                .await?;
        }
        let mut summary = SendSummary::default();
        for ending in run::finish::<Self>(attempts).await? {
            summary.count(ending);
        }
        Ok(summary)
    }

    /// Sends until `shutdown`, then lets the attempts under way finish.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        run::run(self, shutdown).await;
    }

    async fn start_for(
        self: &Arc<Self>,
        active: &Arc<Active>,
        number: i64,
        endpoint: &Endpoint,
        attempts: &mut Attempts<Ending>,
    ) -> StoreResult<Duration> {
        let now = self.clock.now();
        let room = match self.endpoints.room(number, now) {
            Room::For(room) => room,
            // That attempt wakes the forwarder.
            Room::None => return Ok(POLL),
            Room::Later(at) => return Ok(at.since(now).min(POLL)),
        };
        let due = self.store.messages_due(number, now).await;
        let wanted = u32::try_from(room).unwrap_or(u32::MAX);
        let claimed = match &due {
            Ok(due) if due.any => {
                let until = now.plus(LEASE);
                self.store.claim_messages(number, now, wanted, until).await
            }
            _ => Ok(Vec::new()),
        };
        let started = claimed.as_ref().map_or(0, Vec::len);
        let slots = self.endpoints.claimed(number, started, room);
        for message in claimed? {
            let (active, endpoint) = (Arc::clone(active), endpoint.clone());
            let slots = Arc::clone(&slots);
            let claim = Claim {
                forwarder: Arc::clone(self),
                number,
            };
            attempts.spawn(async move {
                let forwarder = &claim.forwarder;
                forwarder
                    .attempt(&active, (number, &endpoint), &slots, message)
                    .await
            });
        }
        if started == room {
            return Ok(Duration::ZERO);
        }
        Ok(due?.next.map_or(POLL, |due| due.since(now).min(POLL)))
    }

    async fn attempt(
        &self,
        active: &Active,
        endpoint: (i64, &Endpoint),
        slots: &Slots,
        claimed: ClaimedMessage,
    ) -> StoreResult<Ending> {
        let (number, endpoint) = endpoint;
        let settings = &active.settings;
        let (lease, attempt) = (claimed.lease, claimed.attempts + 1);
        let Some(slot) = slots.take().await else {
            let now = self.clock.now();
            self.store
                .settle_message(lease, SendOutcome::NotTried, now)
                .await?;
            return Ok(Ending::Released);
        };
        let rendered = message::render(claimed.kind, claimed.at, claimed.subject, settings.link());
        let started = Instant::now();
        let sent = match rendered {
            Ok(body) => {
                let id = lease.message_id.clone();
                let message = Message { id, body };
                let now = self.clock.now();
                endpoint.send(&message, &settings.secrets, now).await
            }
            Err(why) => Err(Failure {
                status: None,
                reason: format!("the message cannot be made: {why}"),
                retry_after: None,
            }),
        };
        slot.answered(sent.is_ok());
        let took = started.elapsed();
        let now = self.clock.now();
        let (outcome, ending) = match sent {
            Ok(status) => {
                let outcome = SendOutcome::Delivered {
                    status: status.as_u16(),
                    resumes: self.endpoints.succeeded(number),
                };
                (outcome, Ending::Delivered)
            }
            Err(failure) => self.after_failure(number, &lease, attempt, failure, now),
        };
        let message_id = lease.message_id.clone();
        let is_gone = matches!(
            &outcome,
            SendOutcome::NotDelivered {
                status: Some(GONE),
                ..
            }
        );
        let settled = self.store.settle_message(lease, outcome, now).await?;
        let ending = match settled {
            MessageSettled::Yes { failing_since } => {
                let failing = failing_since.map_or(Duration::ZERO, |since| now.since(since));
                if is_gone || failing >= DISABLE_AFTER {
                    self.disable(number, is_gone, now).await?;
                }
                ending
            }
            MessageSettled::LeaseLost => {
                tracing::warn!(
                    endpoint = number,
                    message_id,
                    "attempt to deliver a message discarded: its lease expired before it settled"
                );
                Ending::LeaseLost
            }
        };
        let labels = [
            ("endpoint", number.to_string()),
            ("outcome", ending.as_str().to_owned()),
        ];
        metrics::counter!(metric::MESSAGES_SENT_TOTAL, &labels).increment(1);
        metrics::histogram!(metric::MESSAGE_SEND_SECONDS, &labels).record(took);
        Ok(ending)
    }

    fn after_failure(
        &self,
        number: i64,
        lease: &MessageLease,
        attempt: u32,
        failure: Failure,
        now: Timestamp,
    ) -> (SendOutcome, Ending) {
        let asked = failure.retry_after;
        let retry_at = SCHEDULE.next(attempt, now, rand::random(), asked);
        self.endpoints.failed(number, lease.seq, asked, now);
        tracing::warn!(
            endpoint = number,
            message_id = lease.message_id,
            attempt,
            status = failure.status,
            next = retry_at.map(tracing::field::display),
            reason = failure.reason,
            "failed to deliver a message"
        );
        let ending = match retry_at {
            Some(_) => Ending::Retried,
            None => Ending::Failed,
        };
        let outcome = SendOutcome::NotDelivered {
            retry_at,
            status: failure.status,
            reason: failure.reason,
        };
        (outcome, ending)
    }

    async fn disable(&self, number: i64, is_gone: bool, now: Timestamp) -> StoreResult<()> {
        let reason = match is_gone {
            true => "it answered 410 Gone",
            false => "it has failed for five days",
        };
        self.store.disable_endpoint(number, reason, now).await?;
        tracing::error!(
            endpoint = number,
            reason,
            "endpoint disabled: nothing is sent to it until a reload or a restart; its messages wait"
        );
        Ok(())
    }
}

impl Queue for Forwarder {
    type Ending = Ending;
    const PANICKED: Ending = Ending::LeaseLost;
    const NAME: &'static str = "forwarder";
    const DRAIN: Duration = ANSWER_DEADLINE;

    async fn start_due(self: &Arc<Self>, attempts: &mut Attempts<Ending>) -> StoreResult<Duration> {
        let active = self.active.get();
        let mut wait = POLL;
        for (number, endpoint) in &active.endpoints {
            let next = match self.endpoints.gathers_for(*number) {
                Duration::ZERO => self.start_for(&active, *number, endpoint, attempts).await?,
                left => left,
            };
            wait = wait.min(next);
        }
        Ok(wait)
    }

    fn woken(&self) -> impl Future<Output = ()> + Send {
        let mut changes = self.is_on().then(|| self.store.changes());
        let mut reloads = self.active.follow();
        let changed = async move {
            match &mut changes {
                Some(changes) => drop(changes.changed().await),
                // Nothing is forwarded, whatever changes.
                None => std::future::pending().await,
            }
        };
        async move {
            tokio::select! {
                () = changed => {}
                _ = reloads.changed() => {}
            }
        }
    }
}

/// The body of a delivery's message as it would be sent now; `public_url` begins its links.
#[must_use]
pub fn body_of(delivery: &StoredDelivery, public_url: Option<&Url>) -> Option<Vec<u8>> {
    let (row, subject) = (&delivery.row, delivery.subject.clone()?);
    message::render(row.kind, row.at, subject, public_url).ok()
}

/// A message that was claimed, until its attempt has ended.
struct Claim {
    forwarder: Arc<Forwarder>,
    number: i64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.forwarder.endpoints.ended(self.number);
    }
}

/// How an attempt ended.
#[derive(Clone, Copy)]
pub(crate) enum Ending {
    Delivered,
    Retried,
    Failed,
    LeaseLost,
    /// It waited too long for others, and was not sent.
    Released,
}

impl Ending {
    /// The label in metrics.
    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::LeaseLost => "lease_lost",
            Self::Released => "released",
        }
    }
}

impl SendSummary {
    fn count(&mut self, ending: Ending) {
        match ending {
            Ending::Delivered => self.delivered += 1,
            Ending::Retried => self.retried += 1,
            Ending::Failed => self.failed += 1,
            Ending::LeaseLost => self.lease_lost += 1,
            Ending::Released => {}
        }
    }
}
