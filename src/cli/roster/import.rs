//! Registers the reps of a file at Athos, a few at a time, and learns Athos's ids of them as a mint does. It may be
//! stopped at any time and run again: who is there already stays as they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::file::{Row, Wanted};
use super::patience::{Stop, Trouble};
use super::report::{Outcome, Report, Status};
use crate::athos::types::{Agency, AgencyRef, AgentQuery, ExistingAgent, Handle, Registration};
use crate::athos::{Client, Whose};
use crate::clock::Clock;
use crate::lifecycle::asked_to_stop;
use crate::model::PlatformId;
use crate::store::{IdentityKind, Pairing, SharedStore};

/// Rows that Athos is asked about at the same time.
const CONCURRENCY: usize = 4;

/// What an import needs.
pub(super) struct Import {
    pub(super) athos: Client,
    pub(super) store: SharedStore,
    pub(super) clock: Clock,
    /// Ask Athos about those, too, whom the store knows to be registered.
    pub(super) asks_again: bool,
    pub(super) is_dry_run: bool,
}

type Done = Result<(Status, Option<String>, Option<String>), Trouble>;

impl Import {
    /// Goes through all rows, until it is asked to stop: then what is on its way is waited for, and the rest is left.
    pub(super) async fn run(&self, rows: Vec<Row>, report: &mut Report) {
        let stop = Arc::new(Stop::default());
        let on_signal = {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                if asked_to_stop().await.is_ok() {
                    stop.set("stopped; run it again to go on");
                }
            })
        };
        let mut wanted = Vec::new();
        for row in rows {
            match row.rep {
                Ok(rep) => wanted.push((row.line, rep)),
                Err(why) => report.add(Outcome {
                    line: row.line,
                    status: Status::Invalid,
                    agent_id: None,
                    reason: Some(why),
                }),
            }
        }
        let refused = self.register_agencies(&wanted, &stop).await;
        let mut work = stream::iter(&wanted)
            .map(|(line, wanted)| self.outcome(*line, wanted, &refused, &stop))
            .buffer_unordered(CONCURRENCY);
        while let Some(outcome) = work.next().await {
            report.add(outcome);
        }
        on_signal.abort();
    }

    /// Creates or renames the agencies that the file names, and gives those that could not be.
    async fn register_agencies(
        &self,
        wanted: &[(u64, Wanted)],
        stop: &Stop,
    ) -> HashMap<PlatformId, String> {
        let named = wanted
            .iter()
            .filter_map(|(_, wanted)| match &wanted.new.agency {
                AgencyRef::Ours(id) => Some((id, wanted.agency_name.as_ref()?)),
                AgencyRef::Athos(_) => None,
            });
        let named: BTreeMap<_, _> = named.collect();
        let mut refused = HashMap::new();
        for (id, name) in named {
            if self.is_dry_run || stop.reason().is_some() {
                break;
            }
            match self.register_agency(id, name, stop).await {
                Ok(()) => {}
                Err(Trouble::Row(why)) => {
                    refused.insert(id.clone(), format!("its agency: {why}"));
                }
                Err(Trouble::All(why)) => stop.set(&why),
            }
        }
        refused
    }

    async fn register_agency(
        &self,
        id: &PlatformId,
        name: &str,
        stop: &Stop,
    ) -> Result<(), Trouble> {
        let (agency, _) = stop.patiently(|| self.athos.put_agency(id, name)).await?;
        self.learn(pairing_of_agency(&agency)).await?;
        Ok(())
    }

    async fn outcome(
        &self,
        line: u64,
        wanted: &Wanted,
        refused: &HashMap<PlatformId, String>,
        stop: &Stop,
    ) -> Outcome {
        let agency_refused = match &wanted.new.agency {
            AgencyRef::Ours(id) => refused.get(id),
            AgencyRef::Athos(_) => None,
        };
        let done = match (stop.reason(), agency_refused) {
            (Some(reason), _) => Err(Trouble::Row(format!("not tried: {reason}"))),
            (None, Some(why)) => Err(Trouble::Row(why.clone())),
            (None, None) => self.settle(wanted, stop).await,
        };
        let (status, agent_id, reason) = done.unwrap_or_else(|trouble| {
            let why = match trouble {
                Trouble::Row(why) => why,
                Trouble::All(why) => {
                    stop.set(&why);
                    why
                }
            };
            (Status::Failed, None, Some(why))
        });
        Outcome {
            line,
            status,
            agent_id,
            reason,
        }
    }

    async fn settle(&self, wanted: &Wanted, stop: &Stop) -> Done {
        if let Some(rep) = &wanted.new.rep
            && !self.asks_again
        {
            let known = self.store.find_agent(rep).await;
            let known = known.map_err(anyhow::Error::from)?;
            if let Some(known) = known.filter(|known| known.on_record) {
                return Ok((Status::Existing, Some(known.athos_id), None));
            }
        }
        if self.is_dry_run {
            return self.foretell(wanted, stop).await;
        }
        let create = || self.athos.create_agent(&wanted.new);
        match stop.patiently(create).await? {
            Registration::Created(agent, agency) => {
                let mut pairings = pairing_of_agency(&agency);
                let rep = wanted.new.rep.as_ref();
                pairings.extend(rep.map(|rep| pairing(rep, &agent.id, true)));
                self.learn(pairings).await?;
                Ok((Status::Created, Some(agent.id), None))
            }
            Registration::Exists(existing) => self.meet(wanted, existing, stop).await,
        }
    }

    /// Says what would become of a row. Asks, and changes nothing.
    async fn foretell(&self, wanted: &Wanted, stop: &Stop) -> Done {
        let new = &wanted.new;
        let rep = new.rep.as_ref().map(ToString::to_string);
        let handles = [
            (Handle::Ours, rep),
            (Handle::Npn, new.npn.clone()),
            (Handle::Email, new.email.clone()),
        ];
        for (handle, value) in handles {
            let Some(value) = value else { continue };
            let query = AgentQuery {
                handle: Some((handle, value)),
                agency_id: None,
            };
            let found = stop
                .patiently(|| self.athos.list_agents(&query, None))
                .await?;
            if let Some(agent) = found.agents.into_iter().next() {
                return Ok((Status::Existing, Some(agent.id), None));
            }
        }
        Ok((Status::WouldCreate, None, None))
    }

    /// The rep is registered already, or somebody is who has a handle of theirs.
    async fn meet(&self, wanted: &Wanted, existing: ExistingAgent, stop: &Stop) -> Done {
        let id = &existing.agent_id;
        let Some(rep) = &wanted.new.rep else {
            return Ok((Status::Existing, Some(id.clone()), None));
        };
        let whose = stop.patiently(|| self.athos.whose(&existing, rep)).await?;
        let by = &existing.matched_on;
        let on_record = match whose {
            Whose::Theirs { on_record } => on_record,
            Whose::Anothers(Some(other)) => {
                return Err(Trouble::Row(format!(
                    "its {by} is that of {id}, whom you call {other:?}"
                )));
            }
            Whose::Anothers(None) => {
                let why = format!("its {by} is said to be that of {id}, who cannot be found");
                return Err(Trouble::Row(why));
            }
        };
        let known = self.learn(vec![pairing(rep, id, on_record)]).await?;
        let mut known = known.into_iter();
        if let Some(other) = known.find(|known| known.our_id != rep.as_str()) {
            return Err(Trouble::Row(format!(
                "its {by} is that of {id}, who is {:?} here",
                other.our_id
            )));
        }
        let reason = (!on_record).then(|| format!("found by {by}"));
        Ok((Status::Existing, Some(id.clone()), reason))
    }

    async fn learn(&self, pairings: Vec<Pairing>) -> anyhow::Result<Vec<Pairing>> {
        let now = self.clock.now();
        Ok(self.store.learn_identities(pairings, now).await?)
    }
}

fn pairing(rep: &PlatformId, athos_id: &str, on_record: bool) -> Pairing {
    Pairing {
        kind: IdentityKind::Rep,
        athos_id: athos_id.to_owned(),
        our_id: rep.to_string(),
        on_record,
    }
}

fn pairing_of_agency(agency: &Agency) -> Vec<Pairing> {
    let pairing = |our_id: &String| Pairing {
        kind: IdentityKind::Agency,
        athos_id: agency.id.clone(),
        our_id: our_id.clone(),
        on_record: true,
    };
    agency.platform_id.iter().map(pairing).collect()
}
