//! Whether Athos may be asked at all. When our key is refused, or Athos is down, asking for each event in turn would
//! only spend their attempts: the gate closes, lets one request through now and then, and opens when one succeeds.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::athos::{ANSWER_DEADLINE, Class, Error};
use crate::model::Timestamp;

/// Failures in a row, of whatever calls, after which Athos counts as down.
const DOWN_AFTER: u32 = 5;
const FIRST_HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(60);
/// A refused key needs a person; asking more often helps nobody.
const FIRST_KEY_HOLD: Duration = Duration::from_secs(5);
const LONGEST_KEY_HOLD: Duration = Duration::from_secs(5 * 60);

/// What the gate lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As many requests as there are slots.
    All,
    /// One, to see whether things are better.
    Probe,
    /// None before this time, or before the probe in flight is back.
    Closed(Timestamp),
}

/// Why the gate is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldCause {
    /// Our key, tenant or address is refused; an operator must act.
    KeyRefused,
    /// Athos fails, whatever is asked.
    AthosDown,
}

/// A closed gate, for `/readyz` and the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Why it is closed.
    pub cause: HoldCause,
    /// The last failure, in words.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// When the next request goes through.
    pub until: Timestamp,
}

/// The gate between the worker and Athos.
#[derive(Debug, Default)]
pub struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures_in_a_row: u32,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    hold: Hold,
    wait: Duration,
    /// A request was let through to see, and has not been reported back.
    probing: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may pass now. A probe that is let through keeps others out until it is reported back, or for the length of
    /// the hold again.
    pub fn admit(&self, now: Timestamp) -> Admission {
        match &mut self.state().held {
            None => Admission::All,
            // A hold longer than any we make is of a clock that was set back since.
            Some(held)
                if now < held.hold.until && held.hold.until.since(now) <= LONGEST_KEY_HOLD =>
            {
                Admission::Closed(held.hold.until)
            }
            Some(held) => {
                held.probing = true;
                held.hold.until = now.plus(held.wait.max(ANSWER_DEADLINE));
                Admission::Probe
            }
        }
    }

    /// The probe had nothing to ask for; the next may go at once.
    pub fn not_asked(&self, now: Timestamp) {
        if let Some(held) = &mut self.state().held
            && held.probing
        {
            held.probing = false;
            held.hold.until = now;
        }
    }

    /// Something has changed, a key perhaps: one request may go at once.
    pub fn try_now(&self, now: Timestamp) {
        if let Some(held) = &mut self.state().held {
            held.probing = false;
            held.hold.until = now;
        }
    }

    /// Athos answered as it should: open.
    pub fn succeeded(&self) {
        let mut state = self.state();
        state.failures_in_a_row = 0;
        if let Some(held) = state.held.take() {
            tracing::info!(cause = ?held.hold.cause, "fetching from Athos goes on");
        }
    }

    /// Athos did not. Says until when the gate is closed, if it is.
    pub fn failed(&self, error: &Error, now: Timestamp) -> Option<Timestamp> {
        let class = error.class();
        if matches!(class, Class::NotFound | Class::Permanent) {
            // An answer about one call says that Athos and the key are well.
            self.succeeded();
            return None;
        }
        let mut state = self.state();
        state.failures_in_a_row += 1;
        let (cause, first, longest, asked) = match class {
            Class::KeyFault => (
                HoldCause::KeyRefused,
                FIRST_KEY_HOLD,
                LONGEST_KEY_HOLD,
                None,
            ),
            Class::Transient { after }
                if after.is_some() || state.failures_in_a_row >= DOWN_AFTER =>
            {
                (HoldCause::AthosDown, FIRST_HOLD, LONGEST_HOLD, after)
            }
            _ => return state.held.as_ref().map(|held| held.hold.until),
        };
        let (since, wait) = match &state.held {
            Some(held) if held.hold.cause == cause && !held.probing => {
                // It was in flight when the gate closed, and says nothing new.
                return Some(held.hold.until);
            }
            Some(held) if held.hold.cause == cause => {
                (held.hold.since, (held.wait * 2).min(longest))
            }
            _ => {
                tracing::error!(?cause, %error, "fetching from Athos pauses; events wait");
                (now, first)
            }
        };
        // Whatever one answer asks for, the others go on without a probe for minutes, not for a day.
        let until = now.plus(wait.max(asked.unwrap_or_default().min(LONGEST_KEY_HOLD)));
        state.held = Some(Held {
            hold: Hold {
                cause,
                reason: error.to_string(),
                since,
                until,
            },
            wait,
            probing: false,
        });
        Some(until)
    }

    /// Why it is closed, if it is.
    pub fn hold(&self) -> Option<Hold> {
        self.state().held.as_ref().map(|held| held.hold.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn five_failures_in_a_row_close_it_and_each_failed_probe_doubles_the_wait() {
        let gate = Gate::default();
        let mut now = Timestamp::from_millis(0);
        for _ in 0..4 {
            assert_eq!(gate.failed(&Error::Timeout, now), None);
        }
        assert_eq!(gate.admit(now), Admission::All);
        assert_eq!(gate.failed(&Error::Timeout, now), Some(now.plus(SECOND)));
        assert_eq!(gate.admit(now), Admission::Closed(now.plus(SECOND)));
        // Others that were in flight do not make it longer.
        assert_eq!(gate.failed(&Error::Timeout, now), Some(now.plus(SECOND)));
        for wait in [2, 4, 8, 16, 32, 60, 60] {
            now = gate.hold().unwrap().until;
            assert_eq!(gate.admit(now), Admission::Probe);
            assert!(
                matches!(gate.admit(now), Admission::Closed(_)),
                "one probe at a time"
            );
            let until = gate.failed(&Error::Timeout, now).unwrap();
            assert_eq!(until.since(now).as_secs(), wait);
        }
        now = gate.hold().unwrap().until;
        assert_eq!(gate.admit(now), Admission::Probe);
        gate.succeeded();
        assert_eq!(gate.admit(now), Admission::All);
        assert_eq!(gate.hold(), None);
    }

    #[test]
    fn neither_a_day_of_retry_after_nor_a_clock_set_back_keeps_it_closed() {
        let gate = Gate::default();
        let now = Timestamp::from_millis(10_000_000);
        let busy = Error::Refused(crate::athos::Refusal {
            status: 503,
            code: "SERVICE_UNAVAILABLE".to_owned(),
            message: String::new(),
            request_id: None,
            retry_after: Some(Duration::from_secs(86_400)),
            existing_agent: None,
        });
        let until = gate.failed(&busy, now).unwrap();
        assert_eq!(until.since(now), LONGEST_KEY_HOLD);
        assert!(matches!(gate.admit(now), Admission::Closed(_)));
        let set_back = now.minus(Duration::from_secs(3600));
        assert_eq!(gate.admit(set_back), Admission::Probe);
    }

    #[test]
    fn a_refused_key_closes_it_at_once_and_a_probe_that_never_returns_is_replaced() {
        let gate = Gate::default();
        let now = Timestamp::from_millis(0);
        let until = gate.failed(&Error::NoKey, now).unwrap();
        assert_eq!(until.since(now), FIRST_KEY_HOLD);
        assert_eq!(gate.hold().unwrap().cause, HoldCause::KeyRefused);
        assert_eq!(gate.admit(until), Admission::Probe);
        let Admission::Closed(again) = gate.admit(until) else {
            panic!("a second probe");
        };
        assert_eq!(gate.admit(again), Admission::Probe);
        gate.not_asked(again);
        assert_eq!(gate.admit(again), Admission::Probe);
    }
}
