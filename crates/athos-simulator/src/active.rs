//! The active faults: how often each has been applied, and whether it applies now. Handlers and deliveries ask here and
//! act on the answer.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::Scoring;
use super::directory::Rep;
use super::error::ApiError;
use super::faults::{DownHow, Endpoint, Faults, NAMES, On};

/// The active faults, and how often each has been applied.
#[derive(Debug, Default)]
pub(super) struct Active {
    pub(super) faults: Faults,
    struck: BTreeMap<&'static str, u32>,
    not_found: HashMap<String, u32>,
}

impl Active {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }

    /// Counts one application, unless the fault is used up.
    fn strikes(&mut self, name: &'static str, times: Option<u32>) -> bool {
        let struck = self.struck.entry(name).or_default();
        if times.is_some_and(|times| *struck >= times) {
            return false;
        }
        *struck = struck.saturating_add(1);
        true
    }

    /// How late this endpoint answers, and whether it fails.
    pub(super) fn on_request(&mut self, endpoint: Endpoint) -> (Duration, Option<ApiError>) {
        let slow = self.faults.slow.as_ref();
        let delay_ms = slow
            .filter(|slow| concerns(&slow.on, endpoint))
            .and_then(|slow| slow.ms);
        let delay = Duration::from_millis(delay_ms.unwrap_or(0));
        (delay, self.failure(endpoint))
    }

    fn failure(&mut self, endpoint: Endpoint) -> Option<ApiError> {
        if let Some(down) = &self.faults.down
            && concerns(&down.on, endpoint)
        {
            return Some(match down.how {
                Some(DownHow::Hangup) => ApiError::hangup(),
                _ => ApiError::unavailable(),
            });
        }
        if let Some(fault) = self.faults.rate_limited.clone()
            && concerns(&fault.on, endpoint)
            && self.strikes("429", fault.times)
        {
            return Some(ApiError::rate_limited(fault.retry_after_sec));
        }
        if let Some(fault) = self.faults.internal_error.clone()
            && concerns(&fault.on, endpoint)
            && self.strikes("500-then-ok", Some(fault.times.unwrap_or(1)))
        {
            return Some(ApiError::internal());
        }
        None
    }

    /// Whether this key, which the simulator knows, is revoked.
    pub(super) fn revokes(&self, key: &str) -> bool {
        let revoked = self.faults.key_revoked.as_ref();
        revoked.is_some_and(|fault| fault.key.as_ref().is_none_or(|revoked| revoked.0 == key))
    }

    /// How the account behind a good key is refused, if it is.
    pub(super) fn refuses_account(&self) -> Option<ApiError> {
        if self.faults.tenant_inactive.is_some() {
            return Some(ApiError::tenant_inactive());
        }
        let is_refused = self.faults.ip_not_allowed.is_some();
        is_refused.then(ApiError::ip_not_allowed)
    }

    /// Whether this agent, who is registered, cannot be found this time.
    pub(super) fn loses(&mut self, rep: &Rep) -> bool {
        let Some(fault) = self.faults.agent_not_found.clone() else {
            return false;
        };
        let is_meant = |agent: &String| *agent == rep.agent_id || agent == rep.name();
        fault.agent.as_ref().is_none_or(is_meant) && self.strikes("agent-not-found", fault.times)
    }

    /// Whether this call's detail is still missing this time.
    pub(super) fn hides(&mut self, call_id: &str) -> bool {
        let Some(fault) = &self.faults.not_found_then_ok else {
            return false;
        };
        let times = fault.times.unwrap_or(1);
        let struck = self.not_found.entry(call_id.to_owned()).or_default();
        if *struck >= times {
            return false;
        }
        *struck += 1;
        true
    }

    /// How this call's scoring fails, if it does.
    pub(super) fn fails_scoring(&mut self) -> Option<Scoring> {
        let fault = self.faults.unscored.clone()?;
        if !self.strikes("unscored", fault.times) {
            return None;
        }
        let Scoring::Failed { reason, message } = Scoring::incomplete() else {
            return None;
        };
        Some(Scoring::Failed {
            reason: fault.reason.unwrap_or(reason),
            message: fault.reason_message.unwrap_or(message),
        })
    }

    /// Whether this webhook is not sent.
    pub(super) fn suppresses(&mut self) -> bool {
        let fault = self.faults.never_send.clone();
        fault.is_some_and(|fault| self.strikes("never-send", fault.times))
    }

    /// How far in the past this delivery is signed.
    pub(super) fn age_secs(&mut self) -> i64 {
        match self.faults.stale.clone() {
            Some(fault) if self.strikes("stale", fault.times) => fault.age_sec.unwrap_or(600),
            _ => 0,
        }
    }

    /// Whether this delivery is signed wrongly.
    pub(super) fn spoils_signature(&mut self) -> bool {
        let fault = self.faults.bad_signature.clone();
        fault.is_some_and(|fault| self.strikes("bad-signature", fault.times))
    }

    /// How many copies of a webhook go out at once.
    pub(super) fn copies(&self) -> usize {
        let fault = self.faults.duplicate.as_ref();
        fault.map_or(1, |fault| fault.copies.unwrap_or(2))
    }

    /// How many webhooks are held before they go out in reverse.
    pub(super) fn hold(&self) -> Option<usize> {
        let fault = self.faults.reorder.as_ref()?;
        Some(fault.hold.unwrap_or(2))
    }

    /// Adds members, or puts values in them, that no document mentions, when the fault says so.
    pub(super) fn surprise(&self, object: &mut Map<String, Value>) {
        let Some(fault) = &self.faults.unknown_fields else {
            return;
        };
        for (key, unknown) in [("source", &fault.source), ("event", &fault.event)] {
            if let (Some(value), Some(unknown)) = (object.get_mut(key), unknown) {
                *value = json!(unknown);
            }
        }
        object.insert("futureField".into(), json!("added after this was written"));
        object.insert("futureObject".into(), json!({ "nested": [1, null, true] }));
    }

    /// The code that errors have instead of their own.
    pub(super) fn unknown_code(&self) -> Option<String> {
        self.faults.unknown_fields.as_ref()?.code.clone()
    }

    /// What `GET /_simulator/faults` answers: the set as it was put, and what is left of the counts, and
    /// which faults there are.
    pub(super) fn report(&self) -> Value {
        let mut remaining = Map::new();
        for (name, times) in self.faults.counted() {
            let Some(times) = times else { continue };
            let left = |struck: u32| times.saturating_sub(struck);
            let report = if name == "not-found-then-ok" {
                let calls = self
                    .not_found
                    .iter()
                    .map(|(id, struck)| (id, left(*struck)));
                json!(calls.collect::<BTreeMap<_, _>>())
            } else {
                json!(left(self.struck.get(name).copied().unwrap_or(0)))
            };
            remaining.insert(name.into(), report);
        }
        json!({ "faults": self.faults, "remaining": remaining, "known": NAMES })
    }
}

fn concerns(on: &On, endpoint: Endpoint) -> bool {
    on.as_ref().is_none_or(|on| on.contains(&endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(faults: Value) -> Active {
        let Value::Object(body) = faults else {
            panic!("not an object");
        };
        Active::new(Faults::parse(body).unwrap())
    }

    #[test]
    fn a_counted_fault_wears_out_and_says_what_is_left() {
        let mut active = active(json!({ "429": { "times": 2, "on": ["session"] } }));
        assert!(active.on_request(Endpoint::Call).1.is_none());
        assert!(active.on_request(Endpoint::Session).1.is_some());
        assert_eq!(active.report()["remaining"]["429"], 1);
        assert!(active.on_request(Endpoint::Session).1.is_some());
        assert!(active.on_request(Endpoint::Session).1.is_none());
        assert_eq!(active.report()["remaining"]["429"], 0);
    }

    #[test]
    fn a_key_that_is_put_is_not_shown_again() {
        let active = active(json!({ "key-revoked": { "key": "ath_live_x" } }));
        assert!(active.revokes("ath_live_x") && !active.revokes("ath_live_y"));
        assert!(!active.report().to_string().contains("ath_live_x"));
        assert!(!format!("{active:?}").contains("ath_live_x"));
    }
}
