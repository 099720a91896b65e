//! One attempt at one event: reads it, fetches its call, and returns the settlement. It writes nothing; the worker settles.

use crate::model::Timestamp;
use crate::store::{ClaimedEvent, Failure, Settlement};
use crate::telemetry::metric;
use athos_api::{self as athos, types};

use super::circuit_breaker::{Attempt, CircuitBreaker, Verdict};
use super::retention::RetentionPolicy;
use super::retry::{self, Next};
use crate::clock::Clock;
use crate::queue::slots::Slots;

/// How to ask Athos.
pub(super) struct Fetching<'w> {
    pub(super) athos: &'w athos::Client,
    pub(super) breaker: &'w CircuitBreaker,
    pub(super) slots: &'w Slots,
    pub(super) retention_policy: RetentionPolicy,
    pub(super) clock: &'w Clock,
}

/// Makes one attempt. `is_probe` says that the circuit breaker let it through as a probe, which goes beside full slots;
/// `jitter` is between 0 and 1. `None` when it was not made: the event is to be given back.
pub(super) async fn attempt(
    claimed: &ClaimedEvent,
    fetching: Fetching<'_>,
    is_probe: bool,
    jitter: f64,
) -> Option<Settlement> {
    let Fetching {
        athos,
        breaker,
        slots,
        retention_policy,
        clock,
    } = fetching;
    let release_probe = || {
        if is_probe {
            breaker.probe_unused();
        }
    };
    let event = match types::read_event(&claimed.body) {
        Ok(event) => event,
        Err(why) => {
            release_probe();
            return Some(Settlement::Ignored {
                reason: why.to_string(),
            });
        }
    };
    if !event.needs_fetch() {
        release_probe();
        return Some(Settlement::Unscored(Box::new(event)));
    }
    let slot = if is_probe {
        None
    } else {
        let slot = slots.take().await?;
        // Athos may have failed while the event waited.
        if breaker.next_permit(clock.now()).is_some() {
            return None;
        }
        Some(slot)
    };
    let fetched = athos.call(&event.call_id).await;
    if let Some(slot) = slot {
        slot.answered(fetched.is_ok());
    }
    let outcome = fetched.as_ref().err().map_or("ok", athos::Error::name);
    metrics::counter!(metric::FETCH_ATTEMPTS_TOTAL, "outcome" => outcome).increment(1);
    Some(match fetched {
        Ok(detail) => {
            breaker.succeeded(clock.now());
            Settlement::Scored(Box::new(retention_policy.of(detail, clock.now())))
        }
        Err(error) => {
            let now = clock.now();
            let attempt = Attempt {
                call_id: &event.call_id,
                has_failed: claimed.has_failed,
                is_probe,
            };
            let verdict = breaker.failed(attempt, &error, now);
            after_failure(claimed, &error, verdict, now, jitter)
        }
    })
}

fn after_failure(
    claimed: &ClaimedEvent,
    error: &athos::Error,
    verdict: Verdict,
    now: Timestamp,
    jitter: f64,
) -> Settlement {
    let reason = error.to_string();
    let failure = Some(as_failure(error));
    let attempt = claimed.attempts + 1;
    let spared = |at| Settlement::Retry {
        at,
        reason: reason.clone(),
        spent: false,
        failure: failure.clone(),
    };
    match verdict {
        // Due at once: only the breaker holds it back, and that may close at any time.
        Verdict::Await => spared(now),
        Verdict::Spare => spared(retry::after_outage(error, attempt, now, jitter)),
        Verdict::Spend => match retry::after_failure(error, attempt, now, jitter) {
            Next::Retry(at) => Settlement::Retry {
                at,
                reason,
                spent: true,
                failure,
            },
            Next::Dead(reason) => Settlement::Dead { reason, failure },
        },
    }
}

fn as_failure(error: &athos::Error) -> Failure {
    let (status, code) = match error {
        athos::Error::Refused(refusal) => (Some(refusal.status), &*refusal.code),
        other => (None, other.name()),
    };
    Failure {
        status,
        code: code.to_owned(),
        athos_request_id: error.request_id().map(str::to_owned),
    }
}
