//! Who is registered at the vendor: agencies and agents, under the vendor's ids and the customer's. It keeps them unique;
//! what a request must look like is in `roster_api.rs`.

use std::collections::{BTreeMap, HashMap};

use rand::seq::IndexedRandom;
use serde::Serialize;

use super::data::PERSONAS;
use super::error::ApiError;
use super::seeded::Seed;
use athos_api::Timestamp;

pub(super) const AGENT_PREFIX: &str = "athos_agent_";
pub(super) const AGENCY_PREFIX: &str = "athos_agency_";

/// The owner of a call: an agent, and the agency the call counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rep {
    pub(super) agent_id: String,
    pub(super) agency_id: String,
    pub(super) platform_agent_id: Option<String>,
    pub(super) platform_agency_id: Option<String>,
}

impl Rep {
    /// The customer's id, or the vendor's when the customer has given none.
    pub(super) fn name(&self) -> &str {
        self.platform_agent_id.as_deref().unwrap_or(&self.agent_id)
    }
}

/// A registered agency.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Agency {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) platform_agency_id: Option<String>,
    created_at: Timestamp,
}

/// A registered agent.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Agent {
    pub(super) id: String,
    first_name: String,
    last_name: String,
    email: Option<String>,
    npn: Option<String>,
    platform_agent_id: Option<String>,
    pub(super) agency_id: String,
    created_at: Timestamp,
}

/// What an agent is registered with.
pub(super) struct NewAgent {
    pub(super) first_name: String,
    pub(super) last_name: String,
    pub(super) email: Option<String>,
    pub(super) npn: Option<String>,
    pub(super) platform_agent_id: Option<String>,
}

/// One way to name one agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Handle {
    Agent(String),
    Platform(String),
    Npn(String),
    /// In lower case: addresses that differ in nothing else are the same.
    Email(String),
}

impl Handle {
    /// A handle from a request's member or parameter; nothing for another key.
    pub(super) fn parse(key: &str, value: &str) -> Option<Self> {
        match key {
            "agentId" => Some(Self::Agent(value.to_owned())),
            "platformAgentId" => Some(Self::Platform(value.to_owned())),
            "npn" => Some(Self::Npn(value.to_owned())),
            "email" => Some(Self::Email(value.to_lowercase())),
            _ => None,
        }
    }

    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agentId",
            Self::Platform(_) => "platformAgentId",
            Self::Npn(_) => "npn",
            Self::Email(_) => "email",
        }
    }
}

impl NewAgent {
    /// The handles it would take, in the order in which they are compared.
    fn handles(&self) -> Vec<Handle> {
        let given = [
            ("platformAgentId", &self.platform_agent_id),
            ("npn", &self.npn),
            ("email", &self.email),
        ];
        let parse = |(key, value): (&str, &Option<String>)| Handle::parse(key, value.as_ref()?);
        given.into_iter().filter_map(parse).collect()
    }
}

/// Whose calls a list shows.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) agent_id: Option<String>,
    pub(super) agency_id: Option<String>,
    pub(super) platform_agent_id: Option<String>,
    pub(super) platform_agency_id: Option<String>,
}

impl Filter {
    /// Refuses two names for one rep, or for one agency.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        if self.agent_id.is_some() && self.platform_agent_id.is_some() {
            return Err(ApiError::two_names("rep"));
        }
        if self.agency_id.is_some() && self.platform_agency_id.is_some() {
            return Err(ApiError::two_names("agency"));
        }
        Ok(())
    }

    pub(super) fn matches(&self, rep: &Rep) -> bool {
        let is = |wanted: &Option<String>, id: &str| wanted.as_ref().is_none_or(|want| want == id);
        let may = |wanted: &Option<String>, id: &Option<String>| wanted.is_none() || wanted == id;
        is(&self.agent_id, &rep.agent_id)
            && is(&self.agency_id, &rep.agency_id)
            && may(&self.platform_agent_id, &rep.platform_agent_id)
            && may(&self.platform_agency_id, &rep.platform_agency_id)
    }
}

/// All agencies and agents.
#[derive(Debug, Default)]
pub(super) struct Directory {
    agencies: Vec<Agency>,
    agency_by_id: HashMap<String, usize>,
    /// The agency without a customer's id is that of reps whose requests named none.
    agency_by_platform_id: HashMap<Option<String>, usize>,
    /// In the order of registration.
    agents: BTreeMap<u64, Agent>,
    agent_by_handle: HashMap<Handle, u64>,
    registered: u64,
}

impl Directory {
    pub(super) fn agency(&self, id: &str) -> Option<&Agency> {
        let index = self.agency_by_id.get(id)?;
        Some(&self.agencies[*index])
    }

    pub(super) fn agency_of_platform(&self, platform_id: &str) -> Option<&Agency> {
        let key = Some(platform_id.to_owned());
        let index = self.agency_by_platform_id.get(&key)?;
        Some(&self.agencies[*index])
    }

    /// Creates an agency or renames it; the flag tells whether it is new.
    pub(super) fn put_agency(
        &mut self,
        platform_id: Option<String>,
        name: String,
        seed: Seed,
        now: Timestamp,
    ) -> (Agency, bool) {
        if let Some(index) = self.agency_by_platform_id.get(&platform_id) {
            let agency = &mut self.agencies[*index];
            agency.name = name;
            return (agency.clone(), false);
        }
        let index = self.agencies.len();
        let agency = Agency {
            id: seed.id(AGENCY_PREFIX, index as u64),
            name,
            platform_agency_id: platform_id.clone(),
            created_at: now,
        };
        self.agency_by_id.insert(agency.id.clone(), index);
        self.agency_by_platform_id.insert(platform_id, index);
        self.agencies.push(agency.clone());
        (agency, true)
    }

    pub(super) fn agent(&self, handle: &Handle) -> Option<&Agent> {
        self.agents.get(self.agent_by_handle.get(handle)?)
    }

    /// Who has one of the handles already, and which.
    pub(super) fn holder(&self, new: &NewAgent) -> Option<(&Agent, &'static str)> {
        let mut handles = new.handles().into_iter();
        handles.find_map(|handle| Some((self.agent(&handle)?, handle.key())))
    }

    /// Registers an agent; nobody may have the handles.
    pub(super) fn add_agent(
        &mut self,
        new: NewAgent,
        agency_id: String,
        seed: Seed,
        now: Timestamp,
    ) -> Agent {
        let mut handles = new.handles();
        let number = self.registered;
        self.registered += 1;
        let agent = Agent {
            id: seed.id(AGENT_PREFIX, number),
            first_name: new.first_name,
            last_name: new.last_name,
            email: new.email,
            npn: new.npn,
            platform_agent_id: new.platform_agent_id,
            agency_id,
            created_at: now,
        };
        handles.push(Handle::Agent(agent.id.clone()));
        let all = handles.into_iter().map(|handle| (handle, number));
        self.agent_by_handle.extend(all);
        self.agents.insert(number, agent.clone());
        agent
    }

    /// Removes an agent. The vendor documents no such thing.
    pub(super) fn remove_agent(&mut self, handle: &Handle) -> Option<Agent> {
        let number = self.agent_by_handle.get(handle).copied()?;
        self.agent_by_handle.retain(|_, of| *of != number);
        self.agents.remove(&number)
    }

    /// Agents with their numbers, in the order of registration, from after a number on.
    pub(super) fn agents_after(&self, after: Option<u64>) -> impl Iterator<Item = (u64, &Agent)> {
        let from = after.map_or(0, |number| number.saturating_add(1));
        self.agents
            .range(from..)
            .map(|(number, agent)| (*number, agent))
    }

    /// Refuses a filter by a vendor's id that does not exist.
    pub(super) fn check(&self, filter: &Filter) -> Result<(), ApiError> {
        let agent = filter.agent_id.as_ref();
        if agent.is_some_and(|id| self.agent(&Handle::Agent(id.clone())).is_none()) {
            return Err(ApiError::agent_not_found());
        }
        let agency = filter.agency_id.as_ref();
        if agency.is_some_and(|id| self.agency(id).is_none()) {
            return Err(ApiError::agency_not_found());
        }
        Ok(())
    }

    /// The rep that an agent is in calls of their own agency.
    pub(super) fn rep(&self, handle: &Handle) -> Option<Rep> {
        let agent = self.agent(handle)?;
        Some(rep(agent, self.agency(&agent.agency_id)?))
    }

    /// The rep of a customer who registers nobody; registers the rep and the agency if they are new.
    pub(super) fn adopt(
        &mut self,
        user: &str,
        agency: Option<&str>,
        seed: Seed,
        now: Timestamp,
    ) -> Rep {
        let platform_id = agency.map(str::to_owned);
        let known = self.agency_by_platform_id.get(&platform_id);
        let agency = match known {
            Some(index) => self.agencies[*index].clone(),
            None => {
                let name = agency.unwrap_or("Default agency").to_owned();
                self.put_agency(platform_id, name, seed, now).0
            }
        };
        if let Some(agent) = self.agent(&Handle::Platform(user.to_owned())) {
            return rep(agent, &agency);
        }
        let rng = &mut seed.rng("agent-name", self.registered);
        let mut name = |names: &[String]| names.choose(rng).cloned().unwrap_or_default();
        let new = NewAgent {
            first_name: name(&PERSONAS.first_names),
            last_name: name(&PERSONAS.last_names),
            email: None,
            npn: None,
            platform_agent_id: Some(user.to_owned()),
        };
        let agent = self.add_agent(new, agency.id.clone(), seed, now);
        rep(&agent, &agency)
    }
}

fn rep(agent: &Agent, agency: &Agency) -> Rep {
    Rep {
        agent_id: agent.id.clone(),
        agency_id: agency.id.clone(),
        platform_agent_id: agent.platform_agent_id.clone(),
        platform_agency_id: agency.platform_agency_id.clone(),
    }
}
