//! Registers the reps of a file at Athos, a few at a time, and learns Athos's ids of them as a mint does. It may be
//! stopped at any time and run again: who is there already stays as they are, and is compared with the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::compare::{Agencies, Listed, compare};
use super::file::{RequestedRep, Row};
use super::report::{ImportReport, RowOutcome, Status};
use super::retry::{RowError, StopSignal};
use crate::clock::Clock;
use crate::lifecycle::ShutdownSignal;
use crate::model::PlatformId;
use crate::store::{IdentityKind, LinkedIds, SharedStore};
use athos_api::Client;
use athos_api::types::{Agency, AgencyRef, Agent, AgentQuery, ExistingAgent, Handle, Registration};

/// Rows that Athos is asked about at the same time.
const CONCURRENCY: usize = 4;

/// What an import needs.
pub(super) struct Import {
    pub(super) athos: Client,
    pub(super) store: SharedStore,
    pub(super) clock: Clock,
    pub(super) is_dry_run: bool,
}

/// What was found out before the first row.
struct Known {
    agencies: Agencies,
    listed: Listed,
}

/// A row's end: the agent's id, and what there is to say.
type End = (Status, Option<String>, Option<String>);
type Done = Result<End, RowError>;

impl Import {
    /// Goes through all rows, until it is asked to stop: then what is on its way is waited for, and the rest is left.
    pub(super) async fn run(&self, rows: Vec<Row>, report: &mut ImportReport) {
        let stop = Arc::new(StopSignal::default());
        let on_signal = {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                if let Ok(signal) = ShutdownSignal::listen() {
                    signal.received().await;
                    stop.set("stopped; run it again to go on");
                }
            })
        };
        let mut wanted = Vec::new();
        for row in rows {
            match row.rep {
                Ok(rep) => wanted.push((row.line, rep)),
                Err(why) => report.add(RowOutcome {
                    line: row.line,
                    status: Status::Invalid,
                    agent_id: None,
                    reason: Some(why),
                }),
            }
        }
        let known = self.find_out(&wanted, &stop).await;
        let mut work = stream::iter(&wanted)
            .map(|(line, wanted)| self.outcome(*line, wanted, &known, &stop))
            .buffer_unordered(CONCURRENCY);
        while let Some(outcome) = work.next().await {
            report.add(outcome);
        }
        on_signal.abort();
    }

    /// Registers the agencies, and has a look at Athos's list.
    async fn find_out(&self, wanted: &[(u64, RequestedRep)], stop: &StopSignal) -> Known {
        let mut known = Known {
            agencies: Agencies::default(),
            listed: Listed::default(),
        };
        let found = async {
            let pairings = self.store.known_agencies().await;
            known.agencies = Agencies::of(pairings.map_err(anyhow::Error::from)?);
            if !self.is_dry_run {
                self.register_agencies(wanted, &mut known.agencies, stop)
                    .await?;
            }
            let mut registered = 0;
            for (_, wanted) in wanted {
                registered += usize::from(self.registered_as(wanted).await?.is_some());
            }
            match self.list(registered, stop).await {
                Ok(listed) => known.listed = listed,
                // Then each is asked about by itself.
                Err(RowError::Row(why)) => tracing::warn!("Athos's list cannot be read: {why}"),
                Err(all) => return Err(all),
            }
            Ok(())
        };
        if let Err(RowError::Row(why) | RowError::All(why)) = found.await {
            stop.set(&why);
        }
        known
    }

    /// Creates or renames the agencies that the file names.
    async fn register_agencies(
        &self,
        wanted: &[(u64, RequestedRep)],
        agencies: &mut Agencies,
        stop: &StopSignal,
    ) -> Result<(), RowError> {
        let named = wanted
            .iter()
            .filter_map(|(_, wanted)| match &wanted.new.agency {
                AgencyRef::Ours(id) => Some((id, wanted.agency_name.as_ref()?)),
                AgencyRef::Athos(_) => None,
            });
        let named: BTreeMap<_, _> = named.collect();
        for (id, name) in named {
            if stop.reason().is_some() {
                break;
            }
            match stop.with_retries(|| self.athos.put_agency(id, name)).await {
                Ok((agency, _)) => {
                    let pairings = pairing_of_agency(&agency);
                    agencies.learn(&pairings);
                    self.learn(pairings).await?;
                }
                Err(RowError::Row(why)) => {
                    agencies
                        .refused
                        .insert(id.clone(), format!("its agency: {why}"));
                }
                Err(all) => return Err(all),
            }
        }
        Ok(())
    }

    /// What Athos calls a rep whom it has on record, if that is known here.
    async fn registered_as(&self, wanted: &RequestedRep) -> anyhow::Result<Option<String>> {
        let Some(rep) = &wanted.new.rep else {
            return Ok(None);
        };
        let known = self.store.find_agent(rep).await?;
        Ok(known
            .filter(|known| known.on_record)
            .map(|known| known.athos_id))
    }

    /// Lists Athos's agents: a page costs no more than one question about one of them, so that there are no more pages than
    /// reps to ask about.
    async fn list(&self, most_pages: usize, stop: &StopSignal) -> Result<Listed, RowError> {
        let (mut listed, mut cursor) = (Listed::default(), None::<String>);
        for _ in 0..most_pages {
            let query = AgentQuery::default();
            let page = stop
                .with_retries(|| self.athos.list_agents(&query, cursor.as_deref()))
                .await?;
            listed.extend(page.agents);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(listed)
    }

    async fn outcome(
        &self,
        line: u64,
        wanted: &RequestedRep,
        known: &Known,
        stop: &StopSignal,
    ) -> RowOutcome {
        let agency_refused = match &wanted.new.agency {
            AgencyRef::Ours(id) => known.agencies.refused.get(id),
            AgencyRef::Athos(_) => None,
        };
        let done = match (stop.reason(), agency_refused) {
            (Some(reason), _) => Err(RowError::Row(format!("not tried: {reason}"))),
            (None, Some(why)) => Err(RowError::Row(why.clone())),
            (None, None) => self.settle(wanted, known, stop).await,
        };
        let (status, agent_id, reason) = done.unwrap_or_else(|trouble| {
            let why = match trouble {
                RowError::Row(why) => why,
                RowError::All(why) => {
                    stop.set(&why);
                    why
                }
            };
            (Status::Failed, None, Some(why))
        });
        RowOutcome {
            line,
            status,
            agent_id,
            reason,
        }
    }

    async fn settle(&self, wanted: &RequestedRep, known: &Known, stop: &StopSignal) -> Done {
        if let Some(id) = self.registered_as(wanted).await?
            && let Some(agent) = self.agent(&id, known, stop).await?
            && agent.platform_id.as_deref() == wanted.new.rep.as_ref().map(PlatformId::as_str)
        {
            return Ok(judge(wanted, agent, known, None));
        }
        if self.is_dry_run {
            return self.preview_row(wanted, known, stop).await;
        }
        let create = || self.athos.create_agent(&wanted.new);
        match stop.with_retries(create).await? {
            Registration::Created(agent, agency) => {
                let mut pairings = pairing_of_agency(&agency);
                let rep = wanted.new.rep.as_ref();
                pairings.extend(rep.map(|rep| pairing(rep, &agent.id, true)));
                self.learn(pairings).await?;
                Ok((Status::Created, Some(agent.id), None))
            }
            Registration::Exists(ExistingAgent {
                agent_id,
                matched_on,
                ..
            }) => match self.agent(&agent_id, known, stop).await? {
                Some(agent) => self.meet(wanted, agent, &matched_on, known).await,
                None => Err(RowError::Row(format!(
                    "its {matched_on} is said to be that of {agent_id}, who cannot be found"
                ))),
            },
        }
    }

    /// What Athos has on record under one of its ids.
    async fn agent(
        &self,
        id: &str,
        known: &Known,
        stop: &StopSignal,
    ) -> Result<Option<Agent>, RowError> {
        match known.listed.get(id) {
            Some(agent) => Ok(Some(agent.clone())),
            None => self.find(Handle::Athos, id.to_owned(), stop).await,
        }
    }

    async fn find(
        &self,
        handle: Handle,
        value: String,
        stop: &StopSignal,
    ) -> Result<Option<Agent>, RowError> {
        let query = AgentQuery {
            handle: Some((handle, value)),
            agency_id: None,
        };
        let page = stop
            .with_retries(|| self.athos.list_agents(&query, None))
            .await?;
        Ok(page.agents.into_iter().next())
    }

    /// Says what would become of a row. Asks, and changes nothing.
    async fn preview_row(&self, wanted: &RequestedRep, known: &Known, stop: &StopSignal) -> Done {
        let new = &wanted.new;
        let rep = new.rep.as_ref().map(ToString::to_string);
        let handles = [
            (Handle::Ours, rep),
            (Handle::Npn, new.npn.clone()),
            (Handle::Email, new.email.clone()),
        ];
        for (handle, value) in handles {
            let Some(value) = value else { continue };
            if let Some(agent) = self.find(handle.clone(), value, stop).await? {
                return self.meet(wanted, agent, &handle, known).await;
            }
        }
        Ok((Status::WouldCreate, None, None))
    }

    /// The rep is registered already, or somebody is who has a handle of theirs. Who was found by our id is the rep. Who was
    /// found by something else is, unless they have another id of ours, or anything but what the file says.
    async fn meet(&self, wanted: &RequestedRep, agent: Agent, by: &Handle, known: &Known) -> Done {
        let Some(rep) = &wanted.new.rep else {
            return Ok(judge(wanted, agent, known, None));
        };
        let id = agent.id.clone();
        let is_on_record = match &agent.platform_id {
            Some(other) if other != rep.as_str() => {
                return Err(RowError::Row(format!(
                    "its {by} is that of {id}, whom you call {other:?}"
                )));
            }
            ours => ours.is_some(),
        };
        let found_by = (!is_on_record).then(|| format!("found by {by}"));
        let done = judge(wanted, agent, known, found_by);
        if self.is_dry_run || !is_on_record && done.0 == Status::Mismatch {
            return Ok(done);
        }
        let known = self.learn(vec![pairing(rep, &id, is_on_record)]).await?;
        let mut known = known.into_iter();
        match known.find(|known| known.our_id != rep.as_str()) {
            Some(other) => Err(RowError::Row(format!(
                "its {by} is that of {id}, who is {:?} here",
                other.our_id
            ))),
            None => Ok(done),
        }
    }

    async fn learn(&self, pairings: Vec<LinkedIds>) -> anyhow::Result<Vec<LinkedIds>> {
        let now = self.clock.now();
        Ok(self.store.learn_identities(pairings, now).await?)
    }
}

/// How a rep ends who is registered already.
fn judge(wanted: &RequestedRep, agent: Agent, known: &Known, found_by: Option<String>) -> End {
    let compared = compare(&wanted.new, &agent, &known.agencies);
    let status = match compared.different.is_empty() {
        true => Status::Existing,
        false => Status::Mismatch,
    };
    let notes = found_by.into_iter();
    let notes: Vec<_> = notes
        .chain(compared.different)
        .chain(compared.unknown)
        .collect();
    let reason = (!notes.is_empty()).then(|| notes.join("; "));
    (status, Some(agent.id), reason)
}

fn pairing(rep: &PlatformId, athos_id: &str, on_record: bool) -> LinkedIds {
    LinkedIds {
        kind: IdentityKind::Rep,
        athos_id: athos_id.to_owned(),
        our_id: rep.to_string(),
        on_record,
    }
}

fn pairing_of_agency(agency: &Agency) -> Vec<LinkedIds> {
    let pairing = |our_id: &String| LinkedIds {
        kind: IdentityKind::Agency,
        athos_id: agency.id.clone(),
        our_id: our_id.clone(),
        on_record: true,
    };
    agency.platform_id.iter().map(pairing).collect()
}
