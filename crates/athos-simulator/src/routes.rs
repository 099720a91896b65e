//! The paths of the external API, and which endpoint each of them is.

use super::faults::Endpoint;

/// Where the external API begins, on the vendor's host as here.
pub(super) const BASE_PATH: &str = "/api/external/v1";

pub(super) const SESSION: &str = "/api/external/v1/session";
pub(super) const REDEEM: &str = "/api/external/v1/roleplay/session";
pub(super) const CALLS: &str = "/api/external/v1/calls";
pub(super) const CALL: &str = "/api/external/v1/calls/{callId}";
pub(super) const AGENCIES: &str = "/api/external/v1/agencies";
pub(super) const AGENTS: &str = "/api/external/v1/agents";

/// Which endpoint a route is, for faults and counters.
pub(super) fn endpoint_of(route: &str) -> Option<Endpoint> {
    match route {
        SESSION => Some(Endpoint::Session),
        REDEEM => Some(Endpoint::Redeem),
        CALLS => Some(Endpoint::Calls),
        CALL => Some(Endpoint::Call),
        AGENCIES => Some(Endpoint::Agencies),
        AGENTS => Some(Endpoint::Agents),
        _ => None,
    }
}
