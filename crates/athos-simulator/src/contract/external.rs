//! Generation `external` of the contract: tokens for whomever the customer names, and the customer's ids on everything.

use serde_json::{Map, Value, json};

use super::{Generation, Ids, MintTarget};
use crate::call::Source;
use crate::directory::{Filter, Rep};
use crate::error::ApiError;
use crate::request::text;
use crate::scenario::Speaker;

/// Mid-2026.
pub(super) struct External;

impl Generation for External {
    fn parse_mint(&self, body: &Map<String, Value>) -> Result<MintTarget, ApiError> {
        let user = text(body, "externalUserId")?
            .ok_or_else(|| ApiError::invalid_request("externalUserId is required."))?;
        let agency = text(body, "externalAgencyId")?;
        Ok(MintTarget::Anybody { user, agency })
    }

    fn narrow(&self, filter: &mut Filter, key: &str, value: &str) -> Result<(), ApiError> {
        let (place, of) = match key {
            "externalUserId" => (&mut filter.platform_agent_id, "rep"),
            "externalAgencyId" => (&mut filter.platform_agency_id, "agency"),
            _ => return Ok(()),
        };
        match place.replace(value.to_owned()) {
            None => Ok(()),
            Some(_) => Err(ApiError::two_names(of)),
        }
    }

    fn default_source(&self) -> Option<Source> {
        Some(Source::Roleplay)
    }

    fn call_ids(&self, rep: &Rep) -> Ids {
        vec![
            ("externalUserId", json!(rep.platform_agent_id)),
            ("externalAgencyId", json!(rep.platform_agency_id)),
        ]
    }

    fn role(&self, speaker: Speaker) -> &'static str {
        match speaker {
            Speaker::Rep => "user",
            Speaker::Persona => "assistant",
        }
    }

    fn has_roster(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::example_webhook;
    use super::*;
    use crate::call::Scoring;
    use crate::options::Contract;

    fn body(agency: Option<&str>, scoring: &Scoring) -> String {
        let rep = Rep {
            agent_id: "athos_agent_x".into(),
            agency_id: "athos_agency_x".into(),
            platform_agent_id: Some("rep_8842".into()),
            platform_agency_id: agency.map(Into::into),
        };
        example_webhook(Contract::External, &rep, scoring)
    }

    #[test]
    fn webhooks_are_byte_for_byte_those_of_the_vendor() {
        let scored = include_str!("../../../../tests/fixtures/webhook.external.scored.json");
        assert_eq!(
            body(Some("agency_chicago"), &Scoring::Scored),
            scored.trim_end()
        );
        let failed = include_str!("../../../../tests/fixtures/webhook.external.failed.json");
        assert_eq!(body(None, &Scoring::incomplete()), failed.trim_end());
    }

    #[test]
    fn a_mint_needs_a_user_and_takes_null_for_omitted() {
        let mint = |body: Value| External.parse_mint(body.as_object().unwrap());
        let whom = mint(json!({ "externalUserId": "r", "externalAgencyId": null, "x": 1 }));
        let expected = MintTarget::Anybody {
            user: "r".into(),
            agency: None,
        };
        assert_eq!(whom.unwrap(), expected);
        for bad in [
            json!({}),
            json!({ "externalUserId": null }),
            json!({ "externalUserId": " " }),
            json!({ "externalUserId": 7 }),
            json!({ "externalUserId": "r", "externalAgencyId": "" }),
            json!({ "platformAgentId": "r" }),
        ] {
            assert_eq!(mint(bad).unwrap_err().code, "INVALID_REQUEST");
        }
    }
}
