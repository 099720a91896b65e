//! When to try an event again, and when to give up. Pure: the caller passes the time and the jitter.

use std::time::Duration;

use athos_api::{Class, Error};

use crate::model::{Timestamp, counted};

/// Delays after the first failures; after the last of them, [`HOURLY`].
const FIRST_DELAYS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
];
const HOURLY: Duration = Duration::from_secs(60 * 60);
/// Attempts in all: the first delays, then three days of hourly ones.
const MAX_ATTEMPTS: u32 = 5 + 3 * 24;
/// Attempts at a call that Athos does not find: about six minutes. A call exists when its webhook is sent, or moments later,
/// or never.
const MAX_ATTEMPTS_NOT_FOUND: u32 = 6;
/// Largest relative deviation of a delay, up or down, so that a burst is not retried as a burst.
const JITTER: f64 = 0.2;

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
    let (limit, asked) = match error.class() {
        Class::Permanent => return Next::Dead(format!("Trying again cannot help: {error}.")),
        Class::NotFound => (MAX_ATTEMPTS_NOT_FOUND, None),
        Class::Transient { after } => (MAX_ATTEMPTS, after),
        Class::KeyFault => (MAX_ATTEMPTS, None),
    };
    if attempt >= limit {
        return Next::Dead(format!(
            "Given up after {}; the last: {error}.",
            counted(attempt, "attempt")
        ));
    }
    let wait = delay(attempt, jitter).max(asked.unwrap_or_default());
    Next::Retry(now.plus(wait))
}

/// When an event is due again whose attempt number `attempt` (from 1) did not count, since Athos as a whole failed.
#[must_use]
pub fn after_outage(error: &Error, attempt: u32, now: Timestamp, jitter: f64) -> Timestamp {
    let asked = error.retry_after().unwrap_or_default();
    now.plus(delay(attempt, jitter).max(asked))
}

/// The longest delay of the schedule after 0, 1, 2 … spent attempts; the last one is for any more.
#[must_use]
pub fn max_delays() -> [Duration; FIRST_DELAYS.len() + 2] {
    std::array::from_fn(|spent| match u32::try_from(spent) {
        Ok(spent @ 1..) => delay(spent, 1.0),
        _ => Duration::ZERO,
    })
}

/// The delay after attempt number `attempt` (from 1), jittered.
fn delay(attempt: u32, jitter: f64) -> Duration {
    let index = attempt.saturating_sub(1) as usize;
    let scheduled = FIRST_DELAYS.get(index).copied().unwrap_or(HOURLY);
    scheduled.mul_f64(1.0 - JITTER + 2.0 * JITTER * jitter.clamp(0.0, 1.0))
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
        let last = after_failure(&Error::Timeout, MAX_ATTEMPTS - 1, NOW, 0.5);
        assert_eq!(wait(&last), HOURLY);
        let spent = after_failure(&Error::Timeout, MAX_ATTEMPTS, NOW, 0.5);
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
    fn no_wait_of_the_schedule_is_longer_than_the_longest() {
        let longest = max_delays();
        assert_eq!(longest[0], Duration::ZERO);
        for attempt in 1..20 {
            let waited = wait(&after_failure(&Error::Timeout, attempt, NOW, 1.0));
            let place = (attempt as usize).min(longest.len() - 1);
            assert_eq!(waited.as_millis(), longest[place].as_millis(), "{attempt}");
        }
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
