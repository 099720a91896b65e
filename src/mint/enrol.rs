//! Enrolment: registers a rep whom Athos does not know, from their own credentials, and then mints for them. It never links
//! a rep to an agent that may be somebody else's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use metrics::counter;

use super::{MintError, Minter, Profile, Rep, is_unknown_agent};
use crate::model::{PlatformId, RepId};
use crate::store::{IdentityKind, LinkedIds};
use crate::telemetry::metric;
use athos_api::contract::Generation;
use athos_api::types::{
    AgencyRef, ExistingAgent, Handle, MintBody, NewAgent, Registration, SessionToken,
};
use athos_api::{self as athos, AgentOwner, Refusal};

/// Enrolments under way: one at a time for each rep, so that several first clicks enrol once.
#[derive(Default)]
pub(super) struct Enrolments(Mutex<HashMap<PlatformId, Weak<tokio::sync::Mutex<()>>>>);

impl Enrolments {
    fn turn(&self, rep: &PlatformId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(rep).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(rep.clone(), Arc::downgrade(&turn));
        turn
    }
}

/// A rep, with everything that enrolment needs.
struct UnregisteredRep<'a> {
    id: &'a PlatformId,
    agency: &'a PlatformId,
    agency_name: Option<String>,
    names: (String, String),
    email: Option<&'a str>,
    email_is_proven: bool,
}

/// Why an existing agent is not linked to a rep.
enum AgentMismatch {
    /// It belongs to another rep.
    Other,
    /// It has the rep's e-mail address, which is not verified.
    Unproven,
}

impl AgentMismatch {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Other => "taken",
            Self::Unproven => "unproven",
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Other => {
                "another rep is registered with the same e-mail address, so this one cannot be enrolled: correct the \
                 address, or register the rep (`athos-backend roster import`)"
            }
            Self::Unproven => {
                "somebody is registered with the same e-mail address, and the rep's credentials do not say that it is \
                 theirs: have the issuer add the claim email_verified (for another claim than email, the one that \
                 AUTH_CLAIM_EMAIL_VERIFIED names), or register the rep (`athos-backend roster import`)"
            }
        }
    }
}

impl<'a> UnregisteredRep<'a> {
    /// Or what is missing, in words.
    fn new(id: &'a PlatformId, rep: &'a Rep) -> Result<Self, &'static str> {
        let Some(profile) = &rep.profile else {
            return Err(
                "a service token does not say what enrolment needs: register the rep (`athos-backend roster import`), or \
                 have the rep sign in and ask",
            );
        };
        let agency = rep.agency.as_ref().ok_or(
            "the rep's credentials name no agency, which enrolment needs: add the claim that AUTH_CLAIM_AGENCY names, or \
             register the rep (`athos-backend roster import`)",
        )?;
        let names = Profile::first_and_last(profile).ok_or(
            "the rep's credentials have no usable name, which enrolment needs: add the claim that AUTH_CLAIM_NAME names, \
             or register the rep (`athos-backend roster import`)",
        )?;
        Ok(Self {
            id,
            agency,
            agency_name: profile.agency_name(),
            names,
            email: profile.usable_email(),
            email_is_proven: profile.has_verified_email(),
        })
    }
}

impl Minter {
    /// Mints for a rep whom Athos does not know: enrols them first, if that is on and possible.
    pub(super) async fn enrol_and_mint(
        &self,
        rep: &Rep,
        refusal: Refusal,
    ) -> Result<SessionToken, MintError> {
        let not_on_roster = |why: &str| {
            Err(MintError::NotOnRoster {
                advice: format!("Athos does not know this rep: {why}"),
                refusal: Box::new(refusal.clone()),
            })
        };
        let RepId::Ours(id) = &rep.id else {
            return not_on_roster("no agent of your account has this agentId");
        };
        let Some(enrolments) = &self.enrolments else {
            return not_on_roster(
                "register the rep (`athos-backend roster import`), or set AUTO_ENROLL=true to have reps registered when \
                 they first ask",
            );
        };
        let newcomer = match UnregisteredRep::new(id, rep) {
            Ok(newcomer) => newcomer,
            Err(why) => return not_on_roster(why),
        };
        let turn = enrolments.turn(id);
        let _turn = turn.lock().await;
        // Another request of the rep may have enrolled them meanwhile.
        let known = self.known(Generation::Roster, rep).await?;
        if known.0.is_some()
            && let Some(body) = known.words(Generation::Roster, rep)
        {
            match self.athos.mint(&body).await {
                Err(athos::Error::Refused(refusal)) if is_unknown_agent(&refusal) => {}
                answer => return Ok(answer?),
            }
        }
        let registered = self.register(&newcomer).await;
        let outcome = match &registered {
            Ok(Ok(pairing)) if pairing.on_record => "enrolled",
            Ok(Ok(_)) => "found",
            Ok(Err(why)) => why.outcome(),
            Err(_) => "failed",
        };
        counter!(metric::ENROLMENTS_TOTAL, "outcome" => outcome).increment(1);
        let pairing = match registered? {
            Ok(pairing) => pairing,
            Err(why) => {
                tracing::warn!(
                    outcome,
                    "failed to enrol a rep: Athos has an agent with this e-mail address who may be somebody else"
                );
                return not_on_roster(why.advice());
            }
        };
        tracing::info!(agent = pairing.athos_id, outcome, "enrolled a rep at Athos");
        let body = if pairing.on_record {
            MintBody::platform(id)
        } else {
            MintBody::agent(&pairing.athos_id)
        };
        Ok(self.athos.mint(&body).await?)
    }

    /// Registers a rep, and returns Athos's id of them, unless an existing agent may be somebody else's.
    async fn register(
        &self,
        newcomer: &UnregisteredRep<'_>,
    ) -> Result<Result<LinkedIds, AgentMismatch>, MintError> {
        if let Some(name) = &newcomer.agency_name {
            self.put_agency(newcomer.agency, name).await?;
        }
        let new = NewAgent {
            first_name: newcomer.names.0.clone(),
            last_name: newcomer.names.1.clone(),
            email: newcomer.email.map(str::to_owned),
            npn: None,
            rep: Some(newcomer.id.clone()),
            agency: AgencyRef::Ours(newcomer.agency.clone()),
        };
        let registration = match self.athos.create_agent(&new).await {
            // Without a name it is registered under its id, only if it is new: an existing agency keeps its name.
            Err(athos::Error::Refused(refusal))
                if refusal.code == "AGENCY_NOT_FOUND" && newcomer.agency_name.is_none() =>
            {
                self.put_agency(newcomer.agency, newcomer.agency.as_str())
                    .await?;
                self.athos.create_agent(&new).await?
            }
            registration => registration?,
        };
        match registration {
            Registration::Created(agent, agency) => {
                let agency = pairing(IdentityKind::Agency, agency.id, newcomer.agency, true);
                let agent = pairing(IdentityKind::Rep, agent.id, newcomer.id, true);
                self.learn_pairings(vec![agency, agent.clone()]).await?;
                Ok(Ok(agent))
            }
            Registration::Exists(existing) => self.link_existing(newcomer, existing).await,
        }
    }

    async fn put_agency(&self, id: &PlatformId, name: &str) -> Result<(), MintError> {
        let (agency, _) = self.athos.put_agency(id, name).await?;
        let agency = pairing(IdentityKind::Agency, agency.id, id, true);
        self.learn_pairings(vec![agency]).await?;
        Ok(())
    }

    /// An agent is there with the rep's id or e-mail address. By the id it is the rep's. By the address it is when that
    /// is proven, unless it belongs to another one: to whom Athos says, or to whom it was given before. By anything else
    /// it is not: nothing else was proven.
    async fn link_existing(
        &self,
        newcomer: &UnregisteredRep<'_>,
        existing: ExistingAgent,
    ) -> Result<Result<LinkedIds, AgentMismatch>, MintError> {
        let is_proven = newcomer.email_is_proven && existing.matched_on == Handle::Email;
        let on_record = match self.athos.find_owner(&existing, newcomer.id).await? {
            AgentOwner::Theirs { on_record } if on_record || is_proven => on_record,
            AgentOwner::Theirs { .. } => return Ok(Err(AgentMismatch::Unproven)),
            AgentOwner::Other(_) => return Ok(Err(AgentMismatch::Other)),
        };
        let wanted = pairing(IdentityKind::Rep, existing.agent_id, newcomer.id, on_record);
        let known = self.learn_pairings(vec![wanted]).await?;
        Ok(known
            .into_iter()
            .find(|known| known.our_id == newcomer.id.as_str())
            .ok_or(AgentMismatch::Other))
    }

    async fn learn_pairings(&self, pairings: Vec<LinkedIds>) -> Result<Vec<LinkedIds>, MintError> {
        Ok(self
            .store
            .learn_identities(pairings, self.clock.now())
            .await?)
    }
}

fn pairing(
    kind: IdentityKind,
    athos_id: String,
    our_id: &PlatformId,
    on_record: bool,
) -> LinkedIds {
    LinkedIds {
        kind,
        athos_id,
        our_id: our_id.as_str().to_owned(),
        on_record,
    }
}
