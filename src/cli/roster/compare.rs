//! Compares the reps of a file with those registered at Athos. Athos changes no registered rep, so a person must look at
//! differences.

use std::collections::HashMap;

use crate::model::PlatformId;
use crate::store::LinkedIds;
use athos_api::types::{AgencyRef, Agent, NewAgent};

/// Agents as Athos has listed them, by Athos's id.
#[derive(Default)]
pub(super) struct Listed(HashMap<String, Agent>);

impl Listed {
    pub(super) fn extend(&mut self, agents: Vec<Agent>) {
        let agents = agents.into_iter().map(|agent| (agent.id.clone(), agent));
        self.0.extend(agents);
    }

    pub(super) fn get(&self, id: &str) -> Option<&Agent> {
        self.0.get(id)
    }
}

/// Which agencies of ours are which of Athos's, and which of them Athos has refused.
#[derive(Default)]
pub(super) struct Agencies {
    ours_by_athos: HashMap<String, String>,
    pub(super) refused: HashMap<PlatformId, String>,
}

impl Agencies {
    pub(super) fn of(pairings: Vec<LinkedIds>) -> Self {
        let mut agencies = Self::default();
        agencies.learn(&pairings);
        agencies
    }

    pub(super) fn learn(&mut self, pairings: &[LinkedIds]) {
        let ours = pairings
            .iter()
            .map(|pairing| (pairing.athos_id.clone(), pairing.our_id.clone()));
        self.ours_by_athos.extend(ours);
    }

    /// Whether an agency is the one with this id of Athos's, if that can be told. One agency of ours is one of Athos's.
    fn is(&self, agency: &AgencyRef, athos_id: &str) -> Option<bool> {
        match agency {
            AgencyRef::Athos(id) => Some(id == athos_id),
            AgencyRef::Ours(id) => match self.ours_by_athos.get(athos_id) {
                Some(ours) => Some(ours == id.as_str()),
                None => {
                    let is_another = self.ours_by_athos.values().any(|ours| ours == id.as_str());
                    is_another.then_some(false)
                }
            },
        }
    }
}

/// The result of a comparison.
#[derive(Default)]
pub(super) struct Compared {
    /// The differences.
    pub(super) different: Vec<String>,
    /// What could not be compared.
    pub(super) unknown: Option<String>,
}

/// Compares what a file says with what Athos has on record. What the file does not say is not compared; nor is case.
pub(super) fn compare(new: &NewAgent, agent: &Agent, agencies: &Agencies) -> Compared {
    let mut compared = Compared::default();
    let given = [
        ("firstName", Some(&new.first_name), Some(&agent.first_name)),
        ("lastName", Some(&new.last_name), Some(&agent.last_name)),
        ("email", new.email.as_ref(), agent.email.as_ref()),
        ("npn", new.npn.as_ref(), agent.npn.as_ref()),
    ];
    for (name, ours, theirs) in given {
        let plain = |text: &String| text.trim().to_lowercase();
        if ours.is_some() && ours.map(plain) != theirs.map(plain) {
            compared.different.push(match theirs {
                Some(theirs) => format!("{name} is {theirs:?} at Athos"),
                None => format!("{name} is not on record at Athos"),
            });
        }
    }
    let athos_id = &agent.agency_id;
    match (
        agencies.is(&new.agency, athos_id),
        agencies.ours_by_athos.get(athos_id),
    ) {
        (Some(true), _) => {}
        (Some(false), Some(ours)) => compared
            .different
            .push(format!("its agency is {athos_id} ({ours:?}) at Athos")),
        (Some(false), None) => compared
            .different
            .push(format!("its agency is {athos_id} at Athos")),
        (None, _) => {
            compared.unknown = Some(format!(
                "its agency is {athos_id} at Athos, and which of yours that is is not known here"
            ));
        }
    }
    compared
}
