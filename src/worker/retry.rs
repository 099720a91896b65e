//! When to try an event again, and when to give up. Pure: the caller passes the time and the jitter.

use std::time::Duration;

use athos_api::{Class, Error};

use crate::model::{Timestamp, counted};
use crate::queue::schedule::Schedule;

/// Seconds, then minutes, then hourly for three days.
const SCHEDULE: Schedule = Schedule {
    first: &[
        Duration::from_secs(1),
        Duration::from_secs(4),
        Duration::from_secs(15),
        Duration::from_secs(60),
        Duration::from_secs(5 * 60),
    ],
    then: Duration::from_secs(60 * 60),
    max_attempts: 5 + 3 * 24,
};
/// Attempts at a call that Athos does not find: about six minutes. A call exists when its webhook is sent, or moments later,
/// or never.
const NOT_FOUND_SCHEDULE: Schedule = Schedule {
    max_attempts: 6,
    ..SCHEDULE
};

/// What to do with an event whose attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again, not before this time.
    Retry(Timestamp),
    /// Give up; the text says why.
    Dead(String),
}

/// Decides after the failure of attempt number `attempt` (from 1). `jitter` is between 0 and 1.
///
/// A refused key is not an event's failure and never comes here; see [`super::circuit_breaker`]. The exception is a refusal
/// of one call while others are fetched.
#[must_use]
pub fn after_failure(error: &Error, attempt: u32, now: Timestamp, jitter: f64) -> Next {
    let (schedule, asked) = match error.class() {
        Class::Permanent => return Next::Dead(format!("Trying again cannot help: {error}.")),
        Class::NotFound => (NOT_FOUND_SCHEDULE, None),
        Class::Transient { after } => (SCHEDULE, after),
        Class::KeyFault => (SCHEDULE, None),
    };
    match schedule.next(attempt, now, jitter, asked) {
        Some(at) => Next::Retry(at),
        None => Next::Dead(format!(
            "Given up after {}; the last: {error}.",
            counted(attempt, "attempt")
        )),
    }
}

/// When an event is due again whose attempt number `attempt` (from 1) did not count, since Athos as a whole failed.
#[must_use]
pub fn after_outage(error: &Error, attempt: u32, now: Timestamp, jitter: f64) -> Timestamp {
    let asked = error.retry_after().unwrap_or_default();
    now.plus(SCHEDULE.delay(attempt, jitter).max(asked))
}

/// The longest delay of the schedule after 0, 1, 2 … spent attempts; the last one is for any more.
#[must_use]
pub fn max_delays() -> Vec<Duration> {
    SCHEDULE.max_delays()
}

#[cfg(test)]
mod tests {
    use super::*;
    use athos_api::Refusal;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn refused(status: u16, retry_after: Option<u64>) -> Error {
        Error::Refused(Refusal {
            status,
            code: "X".to_owned(),
            message: "m".to_owned(),
            request_id: Some("req_7".to_owned()),
            retry_after: retry_after.map(Duration::from_secs),
            existing_agent: None,
        })
    }

    fn wait(next: &Next) -> Duration {
        match next {
            Next::Retry(at) => at.since(NOW),
            Next::Dead(why) => panic!("dead: {why}"),
        }
    }

    #[test]
    fn the_schedule_is_seconds_then_minutes_then_hours_for_three_days() {
        let waits: Vec<u64> = (1..=7)
            .map(|attempt| wait(&after_failure(&Error::Timeout, attempt, NOW, 0.5)).as_secs())
            .collect();
        assert_eq!(waits, [1, 4, 15, 60, 300, 3600, 3600]);
        let last = after_failure(&Error::Timeout, SCHEDULE.max_attempts - 1, NOW, 0.5);
        assert_eq!(wait(&last), Duration::from_secs(60 * 60));
        let spent = after_failure(&Error::Timeout, SCHEDULE.max_attempts, NOW, 0.5);
        assert!(matches!(spent, Next::Dead(_)));
    }

    #[test]
    fn jitter_strays_a_fifth_and_retry_after_is_a_floor() {
        assert_eq!(
            wait(&after_failure(&Error::Timeout, 3, NOW, 0.0)).as_secs(),
            12
        );
        assert_eq!(
            wait(&after_failure(&Error::Timeout, 3, NOW, 1.0)).as_secs(),
            18
        );
        let asked = after_failure(&refused(503, Some(90)), 1, NOW, 0.5);
        assert_eq!(wait(&asked).as_secs(), 90);
        let asked_less = after_failure(&refused(503, Some(1)), 4, NOW, 0.5);
        assert_eq!(wait(&asked_less).as_secs(), 60);
    }

    #[test]
    fn what_cannot_be_helped_dies_at_once_with_the_reason_in_words() {
        let Next::Dead(why) = after_failure(&refused(400, None), 1, NOW, 0.5) else {
            panic!("must be dead");
        };
        assert!(why.contains("400 X: m (Athos request req_7)"), "{why}");
    }

    #[test]
    fn a_call_not_found_is_retried_for_minutes_not_days() {
        assert_eq!(
            wait(&after_failure(&refused(404, None), 5, NOW, 0.5)).as_secs(),
            300
        );
        let given_up = after_failure(&refused(404, None), 6, NOW, 0.5);
        assert!(matches!(given_up, Next::Dead(_)));
    }
}
