//! The roster endpoints of Athos's API (docs/athos-contract.md, "Roster"): agencies and agents are registered,
//! listed and looked up. Only generation `roster` has them; whether it is spoken is not decided here.

use reqwest::{Method, StatusCode};

use super::client::{Client, PAGE_LIMIT};
use super::error::Error;
use super::types::{
    self, Agency, AgencyBody, Agent, AgentQuery, ExistingAgent, Handle, NewAgent, Registration,
};
use crate::PlatformId;

/// How many digits a national producer number has.
const NPN_DIGITS: std::ops::RangeInclusive<usize> = 4..=10;

/// One page of agents.
#[derive(Clone, Debug)]
pub struct AgentPage {
    /// The agents on it.
    pub agents: Vec<Agent>,
    /// Where the next page starts; `None` on the last.
    pub next_cursor: Option<String>,
}

/// Whether an agency was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgencyChange {
    /// It was not on record before.
    Created,
    /// It was, and has the given name now.
    Renamed,
}

/// Whose an agent is who stands in the way of registering a rep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentOwner {
    /// The rep's own.
    Theirs {
        /// Whether Athos has our id of the rep on record, and can be asked for it.
        on_record: bool,
    },
    /// Somebody else's, whom we call this; or nobody's that Athos can find.
    Other(Option<String>),
}

/// A national producer number as Athos reads one: spaces and punctuation do not count, and 4 to 10 digits are left.
#[must_use]
pub fn npn_digits(text: &str) -> Option<String> {
    let plain: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
    let is_npn = NPN_DIGITS.contains(&plain.len()) && plain.bytes().all(|b| b.is_ascii_digit());
    is_npn.then_some(plain)
}

impl Client {
    /// Registers an agency of ours, or renames it when it is registered (contract, `POST /agencies`).
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn put_agency(
        &self,
        id: &PlatformId,
        name: &str,
    ) -> Result<(Agency, AgencyChange), Error> {
        let request = self
            .request(Method::POST, &["agencies"])
            .json(&AgencyBody { id, name });
        let answer = self.send(request).await?;
        let agency = types::read_agency(&answer.body, self.drift())
            .map_err(|why| answer.unreadable(&why))?;
        let was = match answer.status {
            StatusCode::CREATED => AgencyChange::Created,
            _ => AgencyChange::Renamed,
        };
        Ok((agency, was))
    }

    /// Registers a rep (contract, `POST /agents`). That one with the same handle is there already is no error.
    ///
    /// # Errors
    /// Any [`Error`]; an agency that is not registered is a [`Error::Refused`] with the code `AGENCY_NOT_FOUND`.
    pub async fn create_agent(&self, new: &NewAgent) -> Result<Registration, Error> {
        let request = self.request(Method::POST, &["agents"]).json(new);
        match self.send(request).await {
            Ok(answer) => {
                let (agent, agency) = types::read_registration(&answer.body, self.drift())
                    .map_err(|why| answer.unreadable(&why))?;
                Ok(Registration::Created(Box::new(agent), agency))
            }
            Err(Error::Refused(mut refusal)) => match refusal.existing_agent.take() {
                Some(existing) => Ok(Registration::Exists(*existing)),
                None => Err(Error::Refused(refusal)),
            },
            Err(error) => Err(error),
        }
    }

    /// Finds out whose the agent is that Athos found for a rep. One that it found by our id is the rep's; one that it
    /// found by something else is, unless it has another id of ours on record.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn find_owner(
        &self,
        existing: &ExistingAgent,
        rep: &PlatformId,
    ) -> Result<AgentOwner, Error> {
        if existing.matched_on == Handle::Ours {
            return Ok(AgentOwner::Theirs { on_record: true });
        }
        let query = AgentQuery {
            handle: Some((Handle::Athos, existing.agent_id.clone())),
            agency_id: None,
        };
        let page = self.list_agents(&query, None).await?;
        let mut agents = page.agents.into_iter();
        let Some(agent) = agents.find(|agent| agent.id == existing.agent_id) else {
            return Ok(AgentOwner::Other(None));
        };
        Ok(match agent.platform_id {
            Some(other) if other != rep.as_str() => AgentOwner::Other(Some(other)),
            ours => AgentOwner::Theirs {
                on_record: ours.is_some(),
            },
        })
    }

    /// Lists one page of agents (contract, `GET /agents`); that nobody matches is an empty page.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn list_agents(
        &self,
        query: &AgentQuery,
        cursor: Option<&str>,
    ) -> Result<AgentPage, Error> {
        let mut request = self
            .request(Method::GET, &["agents"])
            .query(&query.pairs())
            .query(&[("limit", PAGE_LIMIT)]);
        if let Some(cursor) = cursor {
            request = request.query(&[("cursor", cursor)]);
        }
        let answer = self.send(request).await?;
        let (agents, next_cursor) = types::read_agents(&answer.body, self.drift())
            .map_err(|why| answer.unreadable(&why))?;
        Ok(AgentPage {
            agents,
            next_cursor: next_cursor.map_err(|why| answer.unreadable(why))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wiremock::matchers::{body_json, method, path, query_param};
    use wiremock::{Mock, MockServer, Respond, ResponseTemplate};

    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::types::AgencyRef;
    use crate::{ANSWER_DEADLINE, http_client};

    fn client(server: &MockServer) -> Client {
        let base = format!("{}/api/external/v1", server.uri());
        let base = base.parse().unwrap();
        let http = http_client("test", &base, ANSWER_DEADLINE).unwrap();
        let keys = ["ath_live_x".into()];
        Client::new(http, &base, &keys, Arc::new(()), Clock::system()).unwrap()
    }

    fn answer(status: u16, body: Value) -> impl Respond {
        ResponseTemplate::new(status).set_body_json(body)
    }

    fn dana() -> NewAgent {
        NewAgent {
            first_name: "Dana".to_owned(),
            last_name: "Reyes".to_owned(),
            email: None,
            npn: None,
            rep: PlatformId::new("rep_1").ok(),
            agency: AgencyRef::Ours(PlatformId::new("acme").unwrap()),
        }
    }

    #[tokio::test]
    async fn an_agency_is_created_or_renamed() {
        let server = MockServer::start().await;
        for (status, was) in [(201, AgencyChange::Created), (200, AgencyChange::Renamed)] {
            server.reset().await;
            Mock::given(method("POST"))
                .and(path("/api/external/v1/agencies"))
                .and(body_json(
                    json!({ "platformAgencyId": "acme", "name": "Acme" }),
                ))
                .respond_with(answer(
                    status,
                    json!({ "id": "athos_agency_1", "name": "Acme", "platformAgencyId": "acme" }),
                ))
                .mount(&server)
                .await;
            let id = PlatformId::new("acme").unwrap();
            let put = client(&server).put_agency(&id, "Acme").await.unwrap();
            assert_eq!((put.0.id.as_str(), put.1), ("athos_agency_1", was));
        }
    }

    #[tokio::test]
    async fn a_rep_who_is_there_already_is_no_error_and_an_unknown_agency_is_one() {
        let server = MockServer::start().await;
        let error = |status, code: &str, details: Value| {
            let error =
                json!({ "code": code, "message": "m", "requestId": "r", "details": details });
            answer(status, json!({ "error": error }))
        };
        let details =
            json!({ "agentId": "athos_agent_1", "agencyId": "a", "matchedOn": "platformAgentId" });
        Mock::given(path("/api/external/v1/agents"))
            .respond_with(error(409, "AGENT_ALREADY_EXISTS", details))
            .mount(&server)
            .await;
        let registered = client(&server).create_agent(&dana()).await.unwrap();
        let Registration::Exists(existing) = registered else {
            panic!("it was created");
        };
        assert_eq!(existing.agent_id, "athos_agent_1");
        assert_eq!(existing.matched_on, Handle::Ours);

        for (status, code) in [(404, "AGENCY_NOT_FOUND"), (409, "AGENT_ALREADY_EXISTS")] {
            server.reset().await;
            Mock::given(path("/api/external/v1/agents"))
                .respond_with(error(status, code, Value::Null))
                .mount(&server)
                .await;
            let refused = client(&server).create_agent(&dana()).await.unwrap_err();
            let Error::Refused(refusal) = refused else {
                panic!("{refused}");
            };
            assert_eq!(refusal.code, code);
        }
    }

    #[tokio::test]
    async fn agents_are_listed_by_handle_and_page() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/api/external/v1/agents"))
            .and(query_param("email", "d+1@e.f"))
            .and(query_param("limit", "100"))
            .and(query_param("cursor", "c 1"))
            .respond_with(answer(
                200,
                json!({ "data": [{ "id": "athos_agent_1", "agencyId": "a" }], "nextCursor": null }),
            ))
            .expect(1)
            .mount(&server)
            .await;
        let query = AgentQuery {
            handle: Some((Handle::Email, "d+1@e.f".to_owned())),
            agency_id: None,
        };
        let page = client(&server)
            .list_agents(&query, Some("c 1"))
            .await
            .unwrap();
        assert_eq!(page.agents[0].id, "athos_agent_1");
        assert_eq!(page.next_cursor, None);
    }
}
