//! Named faults: what can go wrong at the vendor or on the way, each with its parameters. This file says
//! what they are and refuses what they are not; `active.rs` counts down those in force.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::error::ApiError;

const MAX_DELAY_MS: u64 = 600_000;
const MAX_COPIES: usize = 100;

/// Every fault's name, as `GET /_simulator/faults` lists them.
pub(super) const NAMES: [&str; 17] = [
    "slow",
    "500-then-ok",
    "429",
    "down",
    "key-revoked",
    "quota",
    "tenant-inactive",
    "ip-not-allowed",
    "agent-not-found",
    "not-found-then-ok",
    "duplicate",
    "reorder",
    "stale",
    "bad-signature",
    "never-send",
    "unscored",
    "unknown-fields",
];

/// The body of `PUT /_simulator/faults`: the whole set, by name. What is absent is off, so `{}` clears all.
///
/// `times` always means: the first that many times, then no more; where it may be absent, for ever.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Faults {
    /// `{"slow": {"ms": 1500, "on": ["call"]}}`: answers come late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) slow: Option<Slow>,
    /// `{"500-then-ok": {"times": 2, "on": ["call"]}}`: 500 `INTERNAL_ERROR`, then all is well.
    #[serde(rename = "500-then-ok", skip_serializing_if = "Option::is_none")]
    pub(super) internal_error: Option<InternalError>,
    /// `{"429": {"times": 1, "retryAfterSec": 3, "on": ["session"]}}`: 429 `RATE_LIMITED`, with
    /// `Retry-After` when `retryAfterSec` is given.
    #[serde(rename = "429", skip_serializing_if = "Option::is_none")]
    pub(super) rate_limited: Option<RateLimited>,
    /// `{"down": {"how": "503", "on": ["session"]}}`: 503 `SERVICE_UNAVAILABLE`, or with `"hangup"` the
    /// connection is closed without a byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) down: Option<Down>,
    /// `{"key-revoked": {"key": "ath_live_…"}}`: 401 `API_KEY_REVOKED` for this key, or for all without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_revoked: Option<KeyRevoked>,
    /// `{"quota": {}}`: minting answers 403 `TENANT_QUOTA_EXCEEDED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quota: Option<Quota>,
    /// `{"tenant-inactive": {}}`: every request with an API key answers 403 `TENANT_INACTIVE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant_inactive: Option<TenantInactive>,
    /// `{"ip-not-allowed": {}}`: every request with an API key answers 403 `IP_NOT_ALLOWED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip_not_allowed: Option<IpNotAllowed>,
    /// `{"agent-not-found": {"agent": "rep_1", "times": 1}}`: minting for this agent (either id), or for any, answers
    /// 404 `AGENT_NOT_FOUND`, though the agent is registered. `DELETE /_simulator/agents/{id}` makes one really gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent_not_found: Option<AgentNotFound>,
    /// `{"not-found-then-ok": {"times": 2}}`: each scored call's detail is 404 the first so many times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_found_then_ok: Option<NotFoundThenOk>,
    /// `{"duplicate": {"copies": 3}}`: a webhook arrives so many times at once, under one id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duplicate: Option<Duplicate>,
    /// `{"reorder": {"hold": 3}}`: webhooks wait until so many are there, then go out one by one, last
    /// first. Replacing the faults lets go of those that still wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reorder: Option<Reorder>,
    /// `{"stale": {"ageSec": 600, "times": 1}}`: webhooks are signed so long ago; negative: in the future.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stale: Option<Stale>,
    /// `{"bad-signature": {"times": 1}}`: webhooks are signed with a secret that nobody shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bad_signature: Option<BadSignature>,
    /// `{"never-send": {"times": 1}}`: calls are scored, and nobody is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) never_send: Option<NeverSend>,
    /// `{"unscored": {"reason": "SCORING_INCOMPLETE", "reasonMessage": "…", "times": 1}}`: scoring fails;
    /// the webhook says `success: false`, and the call's detail stays 404.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unscored: Option<Unscored>,
    /// `{"unknown-fields": {}}`: webhooks, details and lists have members that no document mentions. With
    /// `{"source": "video_call", "event": "call.archived", "code": "AGENT_ON_LEAVE"}`, any of them, also such sources on
    /// calls and webhooks, such events, and such codes in place of those of all errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unknown_fields: Option<UnknownFields>,
}

/// The endpoints of the external API, as faults and counters name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Endpoint {
    /// `POST /session`: mint.
    Session,
    /// `POST /roleplay/session`: redeem.
    Redeem,
    /// `GET /calls`: list.
    Calls,
    /// `GET /calls/{id}`: detail.
    Call,
    /// `POST /agencies`: create or rename.
    Agencies,
    /// `POST /agents` and `GET /agents`: register and look up.
    Agents,
}

/// Which endpoints a fault concerns; all of them when absent.
pub(super) type On = Option<Vec<Endpoint>>;

macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        pub(super) struct $name {
            $(#[serde(default, skip_serializing_if = "Option::is_none")]
            pub(super) $field: Option<$type>,)*
        }
    )*};
}

parameters! {
    /// `ms` is required: milliseconds before the answer.
    Slow { ms: u64, on: Vec<Endpoint> }
    /// `times` defaults to 1.
    InternalError { times: u32, on: Vec<Endpoint> }
    /// Without `times`, until cleared; without `retryAfterSec`, no such header.
    RateLimited { times: u32, retry_after_sec: u32, on: Vec<Endpoint> }
    /// `how` is `503` (the default) or `hangup`.
    Down { how: DownHow, on: Vec<Endpoint> }
    /// `key` is one of the simulator's keys; it is not shown again.
    KeyRevoked { key: MaskedKey }
    /// No parameters.
    Quota { }
    /// No parameters.
    TenantInactive { }
    /// No parameters.
    IpNotAllowed { }
    /// Without `agent`, whoever it is; without `times`, until cleared.
    AgentNotFound { agent: String, times: u32 }
    /// `times` defaults to 1 and is counted for each call.
    NotFoundThenOk { times: u32 }
    /// `copies` defaults to 2.
    Duplicate { copies: usize }
    /// `hold` defaults to 2.
    Reorder { hold: usize }
    /// `ageSec` defaults to 600.
    Stale { age_sec: i64, times: u32 }
    /// Without `times`, until cleared.
    BadSignature { times: u32 }
    /// Without `times`, until cleared.
    NeverSend { times: u32 }
    /// `reason` defaults to `SCORING_INCOMPLETE`.
    Unscored { reason: String, reason_message: String, times: u32 }
    /// Without a parameter, there are only unknown fields.
    UnknownFields { source: String, event: String, code: String }
}

/// In which way the vendor is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum DownHow {
    /// It answers, to say that it cannot.
    #[serde(rename = "503")]
    Unavailable,
    /// It closes the connection.
    #[serde(rename = "hangup")]
    Hangup,
}

/// An API key that arrives in a request and is never shown again.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct MaskedKey(pub(super) String);

impl std::fmt::Debug for MaskedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(masked)")
    }
}

impl Serialize for MaskedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(masked)")
    }
}

impl Faults {
    /// Reads and checks a set of faults.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, naming the fault and the parameter that is wrong.
    pub(super) fn parse(body: Map<String, Value>) -> Result<Self, ApiError> {
        // One by one, so that an error can say which fault it is about.
        for (name, parameters) in &body {
            serde_json::from_value::<Self>(json!({ name: parameters }))
                .map_err(|why| invalid(name, why))?;
        }
        let faults: Self = serde_json::from_value(Value::Object(body))
            .map_err(|why| ApiError::invalid_request(why.to_string()))?;
        faults.check()?;
        Ok(faults)
    }

    fn check(&self) -> Result<(), ApiError> {
        if let Some(slow) = &self.slow {
            match slow.ms {
                Some(ms) if ms <= MAX_DELAY_MS => {}
                Some(_) => return Err(invalid("slow", format!("ms is over {MAX_DELAY_MS}"))),
                None => return Err(invalid("slow", "ms is required")),
            }
        }
        let copies = self.duplicate.as_ref().and_then(|fault| fault.copies);
        if copies.is_some_and(|copies| !(2..=MAX_COPIES).contains(&copies)) {
            return Err(invalid(
                "duplicate",
                format!("copies must be 2 to {MAX_COPIES}"),
            ));
        }
        let hold = self.reorder.as_ref().and_then(|fault| fault.hold);
        if hold.is_some_and(|hold| hold < 2) {
            return Err(invalid("reorder", "hold must be at least 2"));
        }
        let age_secs = self.stale.as_ref().and_then(|fault| fault.age_sec);
        if age_secs.is_some_and(|age| age.unsigned_abs() > 1_000_000_000) {
            return Err(invalid("stale", "ageSec is out of range"));
        }
        let reason = self
            .unscored
            .as_ref()
            .and_then(|fault| fault.reason.as_ref());
        if reason.is_some_and(|reason| reason.trim().is_empty()) {
            return Err(invalid("unscored", "reason must not be blank"));
        }
        match self
            .counted()
            .into_iter()
            .find(|(_, times)| *times == Some(0))
        {
            Some((name, _)) => Err(invalid(name, "times must be at least 1")),
            None => Ok(()),
        }
    }

    /// The faults that wear out, and after how many times; `None` for the ones that do not.
    pub(super) fn counted(&self) -> [(&'static str, Option<u32>); 8] {
        [
            (
                "500-then-ok",
                self.internal_error
                    .as_ref()
                    .map(|fault| fault.times.unwrap_or(1)),
            ),
            (
                "429",
                self.rate_limited.as_ref().and_then(|fault| fault.times),
            ),
            (
                "not-found-then-ok",
                self.not_found_then_ok
                    .as_ref()
                    .map(|fault| fault.times.unwrap_or(1)),
            ),
            (
                "agent-not-found",
                self.agent_not_found.as_ref().and_then(|fault| fault.times),
            ),
            ("stale", self.stale.as_ref().and_then(|fault| fault.times)),
            (
                "bad-signature",
                self.bad_signature.as_ref().and_then(|fault| fault.times),
            ),
            (
                "never-send",
                self.never_send.as_ref().and_then(|fault| fault.times),
            ),
            (
                "unscored",
                self.unscored.as_ref().and_then(|fault| fault.times),
            ),
        ]
    }
}

fn invalid(name: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::invalid_request(format!("fault {name:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(faults: Value) -> Result<Faults, String> {
        let Value::Object(body) = faults else {
            panic!("not an object");
        };
        Faults::parse(body).map_err(|error| error.message)
    }

    #[test]
    fn every_fault_is_listed_by_its_name() {
        let message = parse(json!({ "no-fault": {} })).unwrap_err();
        let (_, known) = message.split_once("expected one of ").unwrap();
        let known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
        assert_eq!(known, NAMES);
    }

    #[test]
    fn a_wrong_name_parameter_or_value_is_named() {
        for (faults, named) in [
            (json!({ "slwo": { "ms": 1 } }), "slwo"),
            (json!({ "slow": { "sm": 1 } }), "sm"),
            (json!({ "slow": {} }), "ms is required"),
            (json!({ "slow": { "ms": 600_001 } }), "ms is over"),
            (json!({ "slow": { "ms": 1, "on": ["webhook"] } }), "webhook"),
            (json!({ "429": { "times": 0 } }), "429"),
            (json!({ "500-then-ok": { "times": -1 } }), "500-then-ok"),
            (json!({ "down": { "how": "crash" } }), "crash"),
            (json!({ "duplicate": { "copies": 1 } }), "copies"),
            (json!({ "reorder": { "hold": 1 } }), "hold"),
            (json!({ "unscored": { "reason": " " } }), "reason"),
            (json!({ "quota": { "left": 1 } }), "left"),
            (json!({ "quota": 3 }), "quota"),
        ] {
            let message = parse(faults.clone()).unwrap_err();
            assert!(message.contains(named), "{faults}: {message}");
        }
    }
}
