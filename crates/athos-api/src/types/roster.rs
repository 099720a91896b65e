//! The roster: agencies and agents as they are registered at Athos. Only generation `roster` has it.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{Fields, NextCursor, TextFields, known};
use crate::drift::DriftWatch;
use crate::{PlatformId, Timestamp};

/// An agency, as Athos has it on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agency {
    /// Athos's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Our id of it, when Athos knows one.
    pub platform_id: Option<String>,
    /// When it was registered.
    pub created_at: Option<Timestamp>,
}

/// A rep, as Athos has them on record.
#[derive(Clone, PartialEq, Eq)]
pub struct Agent {
    /// Athos's id of the rep.
    pub id: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// E-mail address.
    pub email: Option<String>,
    /// National producer number.
    pub npn: Option<String>,
    /// Our id of the rep, when Athos knows one.
    pub platform_id: Option<String>,
    /// Athos's id of the rep's agency.
    pub agency_id: String,
    /// When the rep was registered.
    pub created_at: Option<Timestamp>,
}

/// Names and addresses of people do not belong in a log.
impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("id", &self.id)
            .field("platform_id", &self.platform_id)
            .field("agency_id", &self.agency_id)
            .finish_non_exhaustive()
    }
}

/// A rep to be registered. Athos wants one of `npn`, `email` and `rep` at least.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewAgent {
    /// First name, 1 to 100 characters.
    pub first_name: String,
    /// Last name, 1 to 100 characters.
    pub last_name: String,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// National producer number: 4 to 10 digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub npn: Option<String>,
    /// Our id of the rep.
    #[serde(rename = "platformAgentId", skip_serializing_if = "Option::is_none")]
    pub rep: Option<PlatformId>,
    /// The rep's agency, which must be registered already.
    #[serde(flatten)]
    pub agency: AgencyRef,
}

/// An agency that is registered, by either id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum AgencyRef {
    /// By Athos's id.
    #[serde(rename = "agencyId")]
    Athos(String),
    /// By ours.
    #[serde(rename = "platformAgencyId")]
    Ours(PlatformId),
}

/// The result of a registration.
#[derive(Clone, Debug)]
pub enum Registration {
    /// The rep is registered now.
    Created(Box<Agent>, Agency),
    /// An agent with one of the handles exists already; nothing was changed.
    Exists(ExistingAgent),
}

/// The existing agent that prevents a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingAgent {
    /// Athos's id of it.
    pub agent_id: String,
    /// Athos's id of its agency.
    pub agency_id: Option<String>,
    /// The handle that both have.
    pub matched_on: Handle,
}

/// A handle of agents. Each value belongs to at most one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handle {
    /// Athos's id.
    Athos,
    /// Our id.
    Ours,
    /// The national producer number.
    Npn,
    /// The e-mail address.
    Email,
    /// One that Athos added.
    Other(String),
}

impl Handle {
    fn field(&self) -> &str {
        match self {
            Self::Athos => "agentId",
            Self::Ours => "platformAgentId",
            Self::Npn => "npn",
            Self::Email => "email",
            Self::Other(name) => name,
        }
    }

    fn of_field(name: String) -> Self {
        let known = [Self::Athos, Self::Ours, Self::Npn, Self::Email];
        let found = known.into_iter().find(|handle| handle.field() == name);
        found.unwrap_or(Self::Other(name))
    }
}

/// Which agents to list; all of them by default.
#[derive(Clone, Debug, Default)]
pub struct AgentQuery {
    /// The one with this handle.
    pub handle: Option<(Handle, String)>,
    /// Of the agency with this id of Athos's.
    pub agency_id: Option<String>,
}

/// As the contract calls it.
impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field())
    }
}

impl AgentQuery {
    /// The query parameters of `GET /agents`.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        let handle = self.handle.as_ref();
        let handle = handle.map(|(handle, value)| (handle.field(), value.as_str()));
        let agency = self.agency_id.as_deref().map(|id| ("agencyId", id));
        handle.into_iter().chain(agency).collect()
    }
}

/// The body of `POST /agencies`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgencyBody<'a> {
    #[serde(rename = "platformAgencyId")]
    /// The agency, by the company's own id.
    pub id: &'a PlatformId,
    /// Its name, 1 to 200 characters.
    pub name: &'a str,
}

impl Fields {
    fn agency(&self) -> Result<Agency, String> {
        Ok(Agency {
            id: self.text("id").ok_or("an agency has no id")?,
            name: self.text("name").unwrap_or_default(),
            platform_id: self.text("platformAgencyId"),
            created_at: self.time("createdAt"),
        })
    }

    fn agent(&self) -> Result<Agent, String> {
        Ok(Agent {
            id: self.text("id").ok_or("an agent has no id")?,
            first_name: self.text("firstName").unwrap_or_default(),
            last_name: self.text("lastName").unwrap_or_default(),
            email: self.text("email"),
            npn: self.text("npn"),
            // An unreadable id is still an id: an agent without one could be linked to any rep.
            platform_id: match self.0.get("platformAgentId") {
                None | Some(Value::Null) => None,
                Some(Value::String(id)) => Some(id.clone()),
                Some(other) => Some(other.to_string()),
            },
            agency_id: self.text("agencyId").ok_or("an agent has no agencyId")?,
            created_at: self.time("createdAt"),
        })
    }

    /// The agent that the details of a 409 name, if they do.
    pub(super) fn existing_agent(&self) -> Option<ExistingAgent> {
        Some(ExistingAgent {
            agent_id: self.text("agentId")?,
            agency_id: self.text("agencyId"),
            matched_on: Handle::of_field(self.text("matchedOn").unwrap_or_default()),
        })
    }
}

/// Reads the answer of `POST /agencies`.
///
/// # Errors
/// When it is not an agency; the text says why.
pub fn read_agency(body: &[u8], drift: &DriftWatch) -> Result<Agency, String> {
    Fields::read(body)?.watched(&known::AGENCY, drift).agency()
}

/// Reads the answer of `POST /agents`.
///
/// # Errors
/// When it has no agent or no agency; the text says why.
pub fn read_registration(body: &[u8], drift: &DriftWatch) -> Result<(Agent, Agency), String> {
    let mut fields = Fields::read(body)?.watched(&known::REGISTRATION, drift);
    let mut agent = fields.take_object("agent").ok_or("it has no agent")?;
    let agency = fields.take_object("agency").and_then(|it| it.agency().ok());
    // Each of the two names the agency, and only its id is needed.
    let agency_id = agent
        .text("agencyId")
        .or(agency.as_ref().map(|it| it.id.clone()));
    let agency_id = agency_id.ok_or("it has no agency")?;
    agent
        .0
        .insert("agencyId".to_owned(), agency_id.clone().into());
    let agency = agency.unwrap_or(Agency {
        id: agency_id,
        name: String::new(),
        platform_id: None,
        created_at: None,
    });
    Ok((agent.agent()?, agency))
}

/// Reads the answer of `GET /agents`. A row that cannot be read is left out, unless all are.
///
/// # Errors
/// When it is not a list, or no row of it can be read; the text says why.
pub fn read_agents(body: &[u8], drift: &DriftWatch) -> Result<(Vec<Agent>, NextCursor), String> {
    let fields = Fields::read(body)?.watched(&known::AGENTS, drift);
    let (rows, next_cursor) = fields.into_page(|row| row.agent())?;
    let (agents, unreadable): (Vec<_>, Vec<_>) = rows.into_iter().partition(Result::is_ok);
    match unreadable.into_iter().next() {
        Some(Err(why)) if agents.is_empty() => Err(why),
        _ => Ok((agents.into_iter().flatten().collect(), next_cursor)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_agent_is_written_with_what_is_known_of_it() {
        let new = NewAgent {
            first_name: "Dana".to_owned(),
            last_name: "Reyes".to_owned(),
            email: None,
            npn: Some("12345678".to_owned()),
            rep: PlatformId::new("rep_8842").ok(),
            agency: AgencyRef::Ours(PlatformId::new("acme").unwrap()),
        };
        let expected = r#"{"firstName":"Dana","lastName":"Reyes","npn":"12345678","platformAgentId":"rep_8842","platformAgencyId":"acme"}"#;
        assert_eq!(serde_json::to_string(&new).unwrap(), expected);
        let by_athos = AgencyRef::Athos("athos_agency_1".to_owned());
        let written = serde_json::to_string(&by_athos).unwrap();
        assert_eq!(written, r#"{"agencyId":"athos_agency_1"}"#);
    }

    #[test]
    fn a_roster_is_read_and_its_people_do_not_print() {
        let body = br#"{"agent":{"id":"athos_agent_1","firstName":"Dana","lastName":"Reyes","email":"d@e.f","npn":null,
            "platformAgentId":null,"agencyId":"athos_agency_1","createdAt":"2026-06-05T18:09:14.000Z","new":1},
            "agency":{"id":"athos_agency_1","name":"Acme","platformAgencyId":"acme","createdAt":"x"}}"#;
        let drift = DriftWatch::default();
        let (agent, agency) = read_registration(body, &drift).unwrap();
        assert_eq!(
            drift.take().len(),
            2,
            "the new field, and createdAt that is no time"
        );
        assert_eq!(agent.id, "athos_agent_1");
        assert_eq!(agent.email.as_deref(), Some("d@e.f"));
        assert_eq!(agent.platform_id, None);
        assert_eq!(agency.platform_id.as_deref(), Some("acme"));
        assert!(!format!("{agent:?}").contains("Reyes"));
        assert!(read_registration(b"{}", &drift).is_err());

        let page = br#"{"data":[{"id":"athos_agent_1","agencyId":"a"}],"nextCursor":"c"}"#;
        let (agents, next) = read_agents(page, &drift).unwrap();
        assert_eq!((agents.len(), next), (1, Ok(Some("c".to_owned()))));
        assert!(read_agents(br#"{"data":[{"id":"athos_agent_1"}]}"#, &drift).is_err());
    }

    #[test]
    fn a_query_names_one_handle_and_perhaps_an_agency() {
        let query = AgentQuery {
            handle: Some((Handle::Email, "d@e.f".to_owned())),
            agency_id: Some("athos_agency_1".to_owned()),
        };
        let expected = [("email", "d@e.f"), ("agencyId", "athos_agency_1")];
        assert_eq!(query.pairs(), expected);
        assert!(AgentQuery::default().pairs().is_empty());
    }
}
