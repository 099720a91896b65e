//! A single `call.scored` webhook in the shape of either generation, for those who send one without a running simulator.

use athos_api::Timestamp;
use serde_json::Value;

use super::call::{Scoring, Source};
use super::contract::{WebhookFacts, generation};
use super::directory::Rep;
use super::options::Contract;

/// What a sample webhook says.
pub struct SampleWebhook<'a> {
    /// The call it is about.
    pub call_id: &'a str,
    /// The rep, by the customer's own id.
    pub rep: &'a str,
    /// The rep's agency, by the customer's own id.
    pub agency: Option<&'a str>,
    /// Whether the call was scored.
    pub is_scored: bool,
    /// When the call ended.
    pub occurred_at: Timestamp,
    /// The vendor's request id.
    pub request_id: &'a str,
}

impl SampleWebhook<'_> {
    /// The body, in the shape of `contract`.
    #[must_use]
    pub fn body(&self, contract: Contract) -> Value {
        let rep = Rep {
            agent_id: "athos_agent_bR4kQ2wZ9Lp0nH3xVq1Yt".into(),
            agency_id: "athos_agency_V1StGXR8Z5jdHi6B-myT".into(),
            platform_agent_id: Some(self.rep.to_owned()),
            platform_agency_id: self.agency.map(str::to_owned),
        };
        let scoring = match self.is_scored {
            true => Scoring::Scored,
            false => Scoring::incomplete(),
        };
        Value::Object(generation(contract).webhook(&WebhookFacts {
            call_id: self.call_id,
            source: Source::Roleplay,
            rep: &rep,
            scoring: &scoring,
            occurred_at: self.occurred_at,
            request_id: self.request_id,
        }))
    }
}
