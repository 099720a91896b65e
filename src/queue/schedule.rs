//! When work that failed is tried again, and when it is given up. Pure: the caller brings the time and the jitter.

use std::time::Duration;

use crate::model::Timestamp;

/// How far a delay strays from the schedule, up or down, so that a burst does not come back as a burst.
const JITTER: f64 = 0.2;

/// The delays between the attempts at one piece of work.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The delays after the first failures.
    pub first: &'static [Duration],
    /// The delay after any later failure.
    pub then: Duration,
    /// Attempts in all.
    pub max_attempts: u32,
}

impl Schedule {
    /// When to try again after the failure of attempt number `attempt` (from 1): on schedule, or later when the answer asked
    /// for it. `None` when the attempts are spent. `jitter` is between 0 and 1.
    #[must_use]
    pub fn next(
        &self,
        attempt: u32,
        now: Timestamp,
        jitter: f64,
        asked: Option<Duration>,
    ) -> Option<Timestamp> {
        let wait = self.delay(attempt, jitter).max(asked.unwrap_or_default());
        (attempt < self.max_attempts).then(|| now.plus(wait))
    }

    /// The delay after attempt number `attempt` (from 1), jittered.
    #[must_use]
    pub fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let index = attempt.saturating_sub(1) as usize;
        let scheduled = self.first.get(index).copied().unwrap_or(self.then);
        scheduled.mul_f64(1.0 - JITTER + 2.0 * JITTER * jitter.clamp(0.0, 1.0))
    }

    /// The longest wait of work that has spent none, one, two … attempts; the last is for any more.
    #[must_use]
    pub fn max_delays(&self) -> Vec<Duration> {
        let spent = 0..=u32::try_from(self.first.len() + 1).unwrap_or(u32::MAX);
        spent
            .map(|spent| match spent {
                0 => Duration::ZERO,
                spent => self.delay(spent, 1.0),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const SCHEDULE: Schedule = Schedule {
        first: &[Duration::from_secs(1), Duration::from_secs(10)],
        then: Duration::from_secs(100),
        max_attempts: 4,
    };

    fn wait(attempt: u32, jitter: f64, asked: Option<u64>) -> Option<u64> {
        let next = SCHEDULE.next(attempt, NOW, jitter, asked.map(Duration::from_secs));
        next.map(|at| at.since(NOW).as_secs())
    }

    #[test]
    fn the_delays_come_in_order_and_end_with_the_attempts() {
        let waits: Vec<_> = (1..=4).map(|attempt| wait(attempt, 0.5, None)).collect();
        assert_eq!(waits, [Some(1), Some(10), Some(100), None]);
    }

    #[test]
    fn jitter_strays_a_fifth_and_a_longer_wait_that_was_asked_for_is_kept() {
        assert_eq!(wait(3, 0.0, None), Some(80));
        assert_eq!(wait(3, 1.0, None), Some(120));
        assert_eq!(wait(1, 0.5, Some(7)), Some(7));
        assert_eq!(wait(3, 0.5, Some(7)), Some(100));
    }

    #[test]
    fn no_delay_is_longer_than_the_longest_of_its_attempt() {
        let longest = SCHEDULE.max_delays();
        assert_eq!(longest[0], Duration::ZERO);
        for attempt in 1..9 {
            let place = (attempt as usize).min(longest.len() - 1);
            assert_eq!(SCHEDULE.delay(attempt, 1.0), longest[place], "{attempt}");
        }
    }
}
