//! One attempt at one event: read it, fetch what it is about, and say how the attempt ended. It writes nothing;
//! the worker settles what comes back.

use crate::athos::{self, types};
use crate::model::Timestamp;
use crate::store::{ClaimedEvent, Failure, Settlement};

use super::gate::Gate;
use super::retention::Keeping;
use super::retry::{self, Next};
use crate::clock::Clock;

/// Makes one attempt. `jitter` is between 0 and 1.
pub(super) async fn attempt(
    claimed: &ClaimedEvent,
    athos: &athos::Client,
    gate: &Gate,
    keeping: Keeping,
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
    if !event.needs_fetch() {
        gate.not_asked(clock.now());
        return Settlement::Unscored(Box::new(event));
    }
    let fetched = athos.call(&event.call_id).await;
    let outcome = fetched.as_ref().err().map_or("ok", athos::Error::name);
    metrics::counter!("athos_fetch_attempts_total", "outcome" => outcome).increment(1);
    match fetched {
        Ok(detail) => {
            gate.succeeded();
            Settlement::Scored(Box::new(keeping.of(detail, clock.now())))
        }
        Err(error) => {
            let now = clock.now();
            let is_held = gate.failed(&error, now).is_some();
            after_failure(claimed, &error, is_held, now, jitter)
        }
    }
}

fn after_failure(
    claimed: &ClaimedEvent,
    error: &athos::Error,
    is_held: bool,
    now: Timestamp,
    jitter: f64,
) -> Settlement {
    let reason = error.to_string();
    let failure = Some(as_failure(error));
    // A refused key is our fault, not the event's: it spends nothing, and waits for the gate alone, which may open at any
    // time.
    if error.class() == athos::Class::KeyFault && is_held {
        return Settlement::Retry {
            at: now,
            reason,
            spent: false,
            failure,
        };
    }
    match retry::after_failure(error, claimed.attempts + 1, now, jitter) {
        Next::Retry(at) => Settlement::Retry {
            at,
            reason,
            spent: true,
            failure,
        },
        Next::Dead(reason) => Settlement::Dead { reason, failure },
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
