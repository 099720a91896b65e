//! Both generations at once, as a vendor might be during the change: everything of `roster`, and it also accepts the
//! requests of `external` and keeps its ids in the answers.

use serde_json::{Map, Value};

use super::external::External;
use super::roster::Roster;
use super::{Generation, Ids, MintTarget};
use crate::call::Source;
use crate::directory::{Filter, Rep};
use crate::error::ApiError;
use crate::scenario::Speaker;

/// The overlap.
pub(super) struct Both;

impl Generation for Both {
    /// Accepts either shape, but not both: they could name two people.
    fn parse_mint(&self, body: &Map<String, Value>) -> Result<MintTarget, ApiError> {
        let names = |key: &str| body.get(key).is_some_and(|id| !id.is_null());
        match (
            names("externalUserId"),
            names("platformAgentId") || names("agentId"),
        ) {
            (true, false) => External.parse_mint(body),
            (false, true) => Roster.parse_mint(body),
            _ => Err(ApiError::invalid_request(
                "Exactly one of externalUserId, platformAgentId and agentId is required.",
            )),
        }
    }

    fn narrow(&self, filter: &mut Filter, key: &str, value: &str) -> Result<(), ApiError> {
        External.narrow(filter, key, value)?;
        Roster.narrow(filter, key, value)
    }

    /// Clients of `external` name no source.
    fn default_source(&self) -> Option<Source> {
        External.default_source()
    }

    fn call_ids(&self, rep: &Rep) -> Ids {
        [External.call_ids(rep), Roster.call_ids(rep)].concat()
    }

    fn webhook_ids(&self, rep: &Rep) -> Ids {
        [External.webhook_ids(rep), Roster.webhook_ids(rep)].concat()
    }

    fn role(&self, speaker: Speaker) -> &'static str {
        Roster.role(speaker)
    }

    fn has_roster(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::directory::Handle;

    #[test]
    fn a_mint_may_have_either_shape_but_not_both() {
        let mint = |body: Value| Both.parse_mint(body.as_object().unwrap());
        let old = mint(json!({ "externalUserId": "r", "externalAgencyId": "a" })).unwrap();
        assert!(matches!(old, MintTarget::Anybody { .. }));
        let new = mint(json!({ "platformAgentId": "r", "externalUserId": null })).unwrap();
        assert_eq!(new, MintTarget::Agent(Handle::Platform("r".into())));
        for bad in [
            json!({}),
            json!({ "externalUserId": "r", "agentId": "athos_agent_1" }),
            json!({ "platformAgentId": "r", "agentId": "athos_agent_1" }),
        ] {
            assert_eq!(mint(bad).unwrap_err().code, "INVALID_REQUEST");
        }
    }
}
