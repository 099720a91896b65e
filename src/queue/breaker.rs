//! A circuit breaker's state: closed while work succeeds, open while the other side fails, half-open while one probe is under
//! way. Which failure opens it is for whoever uses it to judge.

use std::time::Duration;

use crate::model::Timestamp;

/// No breaker stays open for longer, whatever the other side asks for. A time further ahead is of a clock that was set back.
pub(crate) const MAX_HOLD: Duration = Duration::from_secs(5 * 60);

/// How long a breaker stays open: twice as long after each failed probe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holds {
    /// The first time.
    pub first: Duration,
    /// At most, unless the other side asks for more.
    pub longest: Duration,
}

/// What may go through now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// As much as there are slots.
    All,
    /// One, to see whether things are better.
    Probe,
    /// None before this time, or before the probe under way is back.
    Wait(Timestamp),
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// Everything goes through.
    #[default]
    Closed,
    /// Nothing goes through until then.
    Open {
        /// When a probe may go.
        until: Timestamp,
        /// How long the breaker was opened for.
        wait: Duration,
    },
    /// One probe is under way.
    HalfOpen {
        /// When a probe might go, before this one did.
        until: Timestamp,
        /// How long the breaker was open before.
        wait: Duration,
        /// When the probe counts as lost.
        lost_at: Timestamp,
    },
}

impl Breaker {
    /// What may go through. A probe that is let through keeps others out until it is reported, or as long as `probe_takes` and
    /// the breaker was open.
    pub(crate) fn permit(&mut self, now: Timestamp, probe_takes: Duration) -> Permit {
        match *self {
            Self::Closed => Permit::All,
            Self::HalfOpen { lost_at, .. } if is_ahead(lost_at, now) => Permit::Wait(lost_at),
            Self::Open { until, .. } if is_ahead(until, now) => Permit::Wait(until),
            Self::Open { .. } | Self::HalfOpen { .. } => {
                self.let_probe(now, probe_takes);
                Permit::Probe
            }
        }
    }

    /// Lets one probe through, also before its time.
    pub(crate) fn let_probe(&mut self, now: Timestamp, probe_takes: Duration) {
        if let Self::Open { until, wait } | Self::HalfOpen { until, wait, .. } = *self {
            let lost_at = now.plus(wait.max(probe_takes));
            *self = Self::HalfOpen {
                until,
                wait,
                lost_at,
            };
        }
    }

    /// Whether nothing failed since the last success, so that everything goes through.
    pub(crate) fn is_closed(&self) -> bool {
        *self == Self::Closed
    }

    /// Whether it is open, and no probe is under way.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Whether a probe is under way.
    pub(crate) fn is_half_open(&self) -> bool {
        matches!(self, Self::HalfOpen { .. })
    }

    /// When it may let something through, unless it is closed.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        match *self {
            Self::Closed => None,
            Self::Open { until, .. } => Some(until),
            Self::HalfOpen { lost_at, .. } => Some(lost_at),
        }
    }

    /// Whether the time has not come at which a probe may go. One under way may have been let through before it.
    pub(crate) fn is_early(&self, now: Timestamp) -> bool {
        match *self {
            Self::Closed => false,
            Self::Open { until, .. } | Self::HalfOpen { until, .. } => is_ahead(until, now),
        }
    }

    /// Opens, or opens for longer after a probe failed; `asked` is how long the other side asks to be left alone. A failure
    /// of what was under way when the breaker opened changes nothing.
    pub(crate) fn open(&mut self, now: Timestamp, holds: Holds, asked: Option<Duration>) {
        if !self.is_open() {
            self.open_longer(now, holds, asked);
        }
    }

    /// Opens for twice as long as before, from now.
    pub(crate) fn open_longer(&mut self, now: Timestamp, holds: Holds, asked: Option<Duration>) {
        let before = match *self {
            Self::Closed => Duration::ZERO,
            Self::Open { wait, .. } | Self::HalfOpen { wait, .. } => wait,
        };
        let wait = (before * 2).clamp(holds.first, holds.longest);
        let until = now.plus(wait.max(asked.unwrap_or_default()).min(MAX_HOLD));
        *self = Self::Open { until, wait };
    }

    /// Opens for no time, or as long as it was open anyway: the next probe may go when this one might have.
    pub(crate) fn stay_open(&mut self, now: Timestamp) {
        *self = match *self {
            Self::Closed => Self::Open {
                until: now,
                wait: Duration::ZERO,
            },
            Self::Open { until, wait } | Self::HalfOpen { until, wait, .. } => {
                Self::Open { until, wait }
            }
        };
    }

    /// The probe was not used: the next may go when this one might have.
    pub(crate) fn probe_unused(&mut self) {
        if let Self::HalfOpen { until, wait, .. } = *self {
            *self = Self::Open { until, wait };
        }
    }

    /// Something has changed: a probe may go at once.
    pub(crate) fn try_now(&mut self, now: Timestamp) {
        if let Self::Open { wait, .. } | Self::HalfOpen { wait, .. } = *self {
            *self = Self::Open { until: now, wait };
        }
    }
}

fn is_ahead(time: Timestamp, now: Timestamp) -> bool {
    now < time && time.since(now) <= MAX_HOLD
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDS: Holds = Holds {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(4),
    };
    const TAKES: Duration = Duration::from_secs(15);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn an_open_breaker_lets_one_probe_through_and_each_failed_one_doubles_the_wait() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.permit(at(0), TAKES), Permit::All);
        breaker.open(at(0), HOLDS, None);
        assert_eq!(breaker.permit(at(0), TAKES), Permit::Wait(at(1)));
        let mut now = 1;
        for wait in [2, 4, 4] {
            assert_eq!(breaker.permit(at(now), TAKES), Permit::Probe);
            assert_eq!(breaker.permit(at(now), TAKES), Permit::Wait(at(now + 15)));
            breaker.open(at(now), HOLDS, None);
            assert_eq!(breaker.permit(at(now), TAKES), Permit::Wait(at(now + wait)));
            now += wait;
        }
    }

    #[test]
    fn what_was_under_way_when_it_opened_makes_it_wait_no_longer() {
        let mut breaker = Breaker::default();
        breaker.open(at(0), HOLDS, None);
        breaker.open(at(0), HOLDS, None);
        assert_eq!(breaker.permit(at(0), TAKES), Permit::Wait(at(1)));
    }

    #[test]
    fn a_lost_probe_is_followed_by_another() {
        let mut breaker = Breaker::default();
        breaker.open(at(0), HOLDS, None);
        assert_eq!(breaker.permit(at(1), TAKES), Permit::Probe);
        assert_eq!(breaker.permit(at(16), TAKES), Permit::Probe);
    }

    #[test]
    fn what_the_other_side_asks_for_is_kept_for_minutes_and_not_for_a_day() {
        let mut breaker = Breaker::default();
        breaker.open(at(0), HOLDS, Some(Duration::from_secs(3)));
        assert_eq!(breaker.permit(at(0), TAKES), Permit::Wait(at(3)));
        let mut breaker = Breaker::default();
        breaker.open(at(0), HOLDS, Some(Duration::from_secs(3600)));
        assert_eq!(breaker.permit(at(0), TAKES), Permit::Wait(at(300)));
    }

    #[test]
    fn a_probe_that_was_not_used_or_came_early_makes_no_other_wait_longer() {
        let mut breaker = Breaker::default();
        breaker.open(at(0), HOLDS, None);
        breaker.let_probe(at(0), TAKES);
        assert!(breaker.is_early(at(0)));
        breaker.stay_open(at(0));
        assert_eq!(breaker.permit(at(0), TAKES), Permit::Wait(at(1)));
        assert_eq!(breaker.permit(at(1), TAKES), Permit::Probe);
        breaker.probe_unused();
        assert_eq!(breaker.permit(at(1), TAKES), Permit::Probe);
        breaker.try_now(at(1));
        assert_eq!(breaker.permit(at(1), TAKES), Permit::Probe);
    }

    #[test]
    fn a_time_that_another_clock_has_set_keeps_nothing_out() {
        let mut breaker = Breaker::default();
        breaker.open(at(1_000_000), HOLDS, None);
        assert_eq!(breaker.permit(at(0), TAKES), Permit::Probe);
    }
}
