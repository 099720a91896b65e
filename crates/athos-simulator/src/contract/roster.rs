//! Generation `roster` of the contract: tokens for registered agents only, and two families of ids on everything. Who
//! is registered, and how, is in `directory.rs` and `roster_api.rs`.

use serde_json::{Map, Value, json};

use super::{Generation, Ids, MintTarget};
use crate::call::Source;
use crate::directory::{Filter, Handle, Rep};
use crate::error::ApiError;
use crate::request::{check_own_id, text};
use crate::scenario::Speaker;

/// Autumn 2026.
pub(super) struct Roster;

impl Generation for Roster {
    fn parse_mint(&self, body: &Map<String, Value>) -> Result<MintTarget, ApiError> {
        let platform = text(body, "platformAgentId")?;
        if let Some(id) = &platform {
            check_own_id("platformAgentId", id)?;
        }
        let platform = platform.map(Handle::Platform);
        let agent = text(body, "agentId")?.map(Handle::Agent);
        match (platform, agent) {
            (Some(handle), None) | (None, Some(handle)) => Ok(MintTarget::Agent(handle)),
            _ => Err(ApiError::invalid_request(
                "Exactly one of platformAgentId and agentId is required.",
            )),
        }
    }

    fn narrow(&self, filter: &mut Filter, key: &str, value: &str) -> Result<(), ApiError> {
        let (place, of) = match key {
            "agentId" => (&mut filter.agent_id, "rep"),
            "agencyId" => (&mut filter.agency_id, "agency"),
            "platformAgentId" => (&mut filter.platform_agent_id, "rep"),
            "platformAgencyId" => (&mut filter.platform_agency_id, "agency"),
            _ => return Ok(()),
        };
        if key.starts_with("platform") {
            check_own_id(key, value)?;
        }
        match place.replace(value.to_owned()) {
            None => Ok(()),
            Some(_) => Err(ApiError::two_names(of)),
        }
    }

    fn default_source(&self) -> Option<Source> {
        None
    }

    fn call_ids(&self, rep: &Rep) -> Ids {
        // In the vendor's order, which is not that of a webhook.
        let mut ids = self.webhook_ids(rep);
        ids.swap(0, 1);
        ids
    }

    fn webhook_ids(&self, rep: &Rep) -> Ids {
        vec![
            ("agentId", json!(rep.agent_id)),
            ("agencyId", json!(rep.agency_id)),
            ("platformAgentId", json!(rep.platform_agent_id)),
            ("platformAgencyId", json!(rep.platform_agency_id)),
        ]
    }

    fn role(&self, speaker: Speaker) -> &'static str {
        match speaker {
            Speaker::Rep => "agent",
            Speaker::Persona => "beneficiary",
        }
    }

    fn has_roster(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::example_webhook;
    use super::*;
    use crate::call::Scoring;
    use crate::options::Contract;

    #[test]
    fn a_webhook_is_byte_for_byte_the_vendors() {
        let rep = Rep {
            agent_id: "athos_agent_bR4kQ2wZ9Lp0nH3xVq1Yt".into(),
            agency_id: "athos_agency_V1StGXR8Z5jdHi6B-myT".into(),
            platform_agent_id: Some("rep_8842".into()),
            platform_agency_id: Some("acme-7731".into()),
        };
        let expected = include_str!("../../../../tests/fixtures/webhook.roster.scored.json");
        assert_eq!(
            example_webhook(Contract::Roster, &rep, &Scoring::Scored),
            expected.trim_end()
        );
    }

    #[test]
    fn a_mint_names_exactly_one_agent_in_exactly_one_way() {
        let mint = |body: Value| Roster.parse_mint(body.as_object().unwrap());
        let by_platform = mint(json!({ "platformAgentId": "r", "agentId": null, "x": 1 }));
        assert_eq!(
            by_platform.unwrap(),
            MintTarget::Agent(Handle::Platform("r".into()))
        );
        let by_agent = mint(json!({ "agentId": "athos_agent_1" }));
        assert_eq!(
            by_agent.unwrap(),
            MintTarget::Agent(Handle::Agent("athos_agent_1".into()))
        );
        for bad in [
            json!({}),
            json!({ "platformAgentId": null, "agentId": null }),
            json!({ "platformAgentId": " " }),
            json!({ "agentId": "" }),
            json!({ "agentId": 7 }),
            json!({ "platformAgentId": "r", "agentId": "athos_agent_1" }),
            json!({ "platformAgentId": "r", "agentId": " " }),
            json!({ "externalUserId": "r" }),
        ] {
            let refused = mint(bad.clone()).unwrap_err();
            assert_eq!(refused.code, "INVALID_REQUEST", "{bad}");
        }
    }
}
