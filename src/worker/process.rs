//! One attempt at one event: read it, fetch what it is about, and say how the attempt ended. It writes nothing;
//! the worker settles what comes back.

use crate::athos::{self, types};
use crate::model::{EventOutcome, Timestamp};
use crate::store::{ClaimedEvent, Settlement};

use super::gate::Gate;
use super::retry::{self, Next};
use crate::clock::Clock;

/// Makes one attempt. `jitter` is between 0 and 1.
pub(super) async fn attempt(
    claimed: &ClaimedEvent,
    athos: &athos::Client,
    gate: &Gate,
    clock: &Clock,
    jitter: f64,
) -> Settlement {
    let event = match types::read_event(&claimed.body) {
        Ok(event) => event,
        Err(why) => {
            gate.not_asked(clock.now());
            return Settlement::Ignored {
                reason: why.to_string(),
            };
        }
    };
    if let EventOutcome::Unscored { .. } = event.outcome {
        gate.not_asked(clock.now());
        return Settlement::Unscored(Box::new(event));
    }
    let fetched = athos.call(&event.call_id).await;
    let outcome = fetched.as_ref().err().map_or("ok", athos::Error::name);
    metrics::counter!("athos_fetch_attempts_total", "outcome" => outcome).increment(1);
    match fetched {
        Ok(detail) => {
            gate.succeeded();
            Settlement::Scored(Box::new(detail))
        }
        Err(error) => {
            let now = clock.now();
            let held_until = gate.failed(&error, now);
            after_failure(claimed, &error, held_until, now, jitter)
        }
    }
}

fn after_failure(
    claimed: &ClaimedEvent,
    error: &athos::Error,
    held_until: Option<Timestamp>,
    now: Timestamp,
    jitter: f64,
) -> Settlement {
    let reason = error.to_string();
    // A refused key is our fault, not the event's: it waits, and spends nothing.
    if let (athos::Class::KeyFault, Some(at)) = (error.class(), held_until) {
        let spent = false;
        return Settlement::Retry { at, reason, spent };
    }
    match retry::after_failure(error, claimed.attempts + 1, now, jitter) {
        Next::Retry(at) => Settlement::Retry {
            at,
            reason,
            spent: true,
        },
        Next::Dead(reason) => Settlement::Dead { reason },
    }
}
