//! What the forwarder knows of each endpoint while it runs: whether it may be asked, and how many messages are on their way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::endpoint::ANSWER_DEADLINE;
use crate::model::Timestamp;
use crate::queue::breaker::{Breaker, Holds, Permit};
use crate::queue::slots::Slots;

/// How long an endpoint's breaker stays open.
const HOLDS: Holds = Holds {
    first: Duration::from_secs(5),
    longest: Duration::from_secs(5 * 60),
};
/// Distinct messages that must fail, with no success in between, before an endpoint counts as down.
const TRIP_AFTER: usize = 5;
/// Messages under way to one endpoint at a time.
const CONCURRENCY: usize = 32;
/// A message after a while without any is sent at once; those that come within this time of a claim share the next one, with
/// what it and their settlements cost the writer.
const GATHER: Duration = Duration::from_millis(20);
/// The endpoints, by their number in the store.
#[derive(Default)]
pub(super) struct Endpoints(Mutex<HashMap<i64, EndpointState>>);

struct EndpointState {
    breaker: Breaker,
    /// Messages that failed since the last success; at most [`TRIP_AFTER`] are told apart.
    failing: Vec<i64>,
    slots: Arc<Slots>,
    /// Claimed, and not settled yet.
    unsettled: usize,
    /// When all that was due was claimed.
    caught_up_at: Option<Instant>,
}

impl Default for EndpointState {
    fn default() -> Self {
        Self {
            breaker: Breaker::default(),
            failing: Vec::new(),
            slots: Arc::new(Slots::new(CONCURRENCY)),
            unsettled: 0,
            caught_up_at: None,
        }
    }
}

/// How many messages may be claimed.
pub(super) enum Room {
    /// So many, at least one.
    For(usize),
    /// None until an attempt ends.
    None,
    /// None until then: the circuit breaker is open.
    Later(Timestamp),
}

impl Endpoints {
    /// Forgets what was known: other settings are in force.
    pub(super) fn clear(&self) {
        self.states().clear();
    }

    /// How long the messages of an endpoint wait for others.
    pub(super) fn gathers_for(&self, number: i64) -> Duration {
        let states = self.states();
        let caught_up_at = states.get(&number).and_then(|state| state.caught_up_at);
        caught_up_at.map_or(Duration::ZERO, |at| GATHER.saturating_sub(at.elapsed()))
    }

    /// How many messages may be claimed for an endpoint now. A claim must follow, and `claimed` be told of it.
    pub(super) fn room(&self, number: i64, now: Timestamp) -> Room {
        let mut states = self.states();
        let state = states.entry(number).or_default();
        let room = match state.breaker.permit(now, ANSWER_DEADLINE) {
            Permit::All => state.slots.room(state.unsettled),
            Permit::Probe => 1,
            Permit::Wait(until) => return Room::Later(until),
        };
        match room {
            0 => Room::None,
            room => Room::For(room),
        }
    }

    /// So many messages were claimed of the `room` that there was; the slots that they go through.
    pub(super) fn claimed(&self, number: i64, claimed: usize, room: usize) -> Arc<Slots> {
        let mut states = self.states();
        let state = states.entry(number).or_default();
        state.unsettled += claimed;
        if claimed == 0 {
            state.breaker.probe_unused();
        }
        state.caught_up_at = (0 < claimed && claimed < room).then(Instant::now);
        Arc::clone(&state.slots)
    }

    /// The attempt at a message that was claimed has ended.
    pub(super) fn ended(&self, number: i64) {
        if let Some(state) = self.states().get_mut(&number) {
            state.unsettled = state.unsettled.saturating_sub(1);
        }
    }

    /// An endpoint has taken a message. Closes the breaker; whether it was open, so that what failed meanwhile is to be sent again.
    pub(super) fn succeeded(&self, number: i64) -> bool {
        let mut states = self.states();
        let state = states.entry(number).or_default();
        let resumes = !state.breaker.is_closed();
        state.breaker = Breaker::Closed;
        state.failing.clear();
        if resumes {
            tracing::info!(
                endpoint = number,
                "circuit breaker closed: sending to the endpoint resumes"
            );
        }
        resumes
    }

    /// It has not taken one; `asked` is how long it wants to be left alone.
    pub(super) fn failed(&self, number: i64, seq: i64, asked: Option<Duration>, now: Timestamp) {
        let mut states = self.states();
        let state = states.entry(number).or_default();
        if state.failing.len() < TRIP_AFTER && !state.failing.contains(&seq) {
            state.failing.push(seq);
        }
        let was_closed = state.breaker.is_closed();
        if !was_closed || asked.is_some() || state.failing.len() == TRIP_AFTER {
            state.breaker.open(now, HOLDS, asked);
        }
        if was_closed && !state.breaker.is_closed() {
            tracing::error!(
                endpoint = number,
                "circuit breaker opened: sending to the endpoint is paused; messages wait"
            );
        }
    }

    fn states(&self) -> MutexGuard<'_, HashMap<i64, EndpointState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
