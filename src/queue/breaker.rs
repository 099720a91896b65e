//! A circuit breaker's state: closed while work succeeds, open while the other side fails, half-open while one probe is under
//! way. Which failure opens it is for whoever uses it to judge.

use std::time::Duration;

use crate::model::Timestamp;

/// No breaker stays open for longer.
const MAX_HOLD: Duration = Duration::from_secs(60 * 60);

/// How long a breaker stays open: twice as long after each failed probe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holds {
    /// The first time.
    pub first: Duration,
    /// At most; no more than an hour.
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
        /// When it counts as lost.
        until: Timestamp,
        /// How long the breaker was open before.
        wait: Duration,
    },
}

impl Breaker {
    /// What may go through. A probe that is let through keeps others out until it is reported, or for `probe_takes`.
    pub(crate) fn permit(&mut self, now: Timestamp, probe_takes: Duration) -> Permit {
        match *self {
            Self::Closed => Permit::All,
            // One further ahead is of a clock that was set back since.
            Self::Open { until, .. } | Self::HalfOpen { until, .. }
                if now < until && until.since(now) <= MAX_HOLD =>
            {
                Permit::Wait(until)
            }
            Self::Open { wait, .. } | Self::HalfOpen { wait, .. } => {
                let until = now.plus(probe_takes);
                *self = Self::HalfOpen { until, wait };
                Permit::Probe
            }
        }
    }

    /// Whether something failed since the last success, so that not everything goes through.
    #[must_use]
    pub(crate) fn is_closed(&self) -> bool {
        *self == Self::Closed
    }

    /// Opens, or opens for longer after a probe failed; `asked` is how long the other side asks to be left alone. A failure
    /// of what was under way when the breaker opened changes nothing.
    pub(crate) fn open(&mut self, now: Timestamp, holds: Holds, asked: Option<Duration>) {
        let before = match *self {
            Self::Closed => Duration::ZERO,
            Self::HalfOpen { wait, .. } => wait,
            Self::Open { .. } => return,
        };
        let wait = (before * 2).clamp(holds.first, holds.longest);
        let asked = asked.unwrap_or_default().min(holds.longest);
        let until = now.plus(wait.max(asked).min(MAX_HOLD));
        *self = Self::Open { until, wait };
    }

    /// The probe was not used: the next may go at once.
    pub(crate) fn probe_unused(&mut self, now: Timestamp) {
        if let Self::HalfOpen { wait, .. } = *self {
            *self = Self::Open { until: now, wait };
        }
    }
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
    fn what_the_other_side_asks_for_is_kept_up_to_the_longest() {
        let mut breaker = Breaker::default();
        breaker.open(at(0), HOLDS, Some(Duration::from_secs(3)));
        assert_eq!(breaker.permit(at(0), TAKES), Permit::Wait(at(3)));
        let mut breaker = Breaker::default();
        breaker.open(at(0), HOLDS, Some(Duration::from_secs(3600)));
        assert_eq!(breaker.permit(at(0), TAKES), Permit::Wait(at(4)));
    }
}
