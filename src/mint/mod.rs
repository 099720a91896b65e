//! Session tokens: decides in which generation of the contract to ask Athos, and what to do when Athos does not understand
//! the request or does not know the rep. Who may ask, and how often, is decided in `http/`.

mod enrol;
mod outcomes;
mod profile;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::timeout;

use crate::clock::Clock;
use crate::model::{EffectiveContract, LearnedContract};
use crate::model::{PlatformId, RepId};
use crate::store::{LinkedIds, MintOutcome, SharedStore, StoreError, StoreResult};
use athos_api::contract::{Evidence, Generation, classify_response};
use athos_api::types::{MintBody, SessionToken};
use athos_api::{self as athos, ANSWER_DEADLINE, Refusal};
use enrol::Enrolments;

pub(crate) use profile::Profile;

/// Asks Athos for session tokens.
pub struct Minter {
    athos: Arc<athos::Client>,
    store: SharedStore,
    clock: Clock,
    /// The generation that the configuration pins.
    pinned: Option<Generation>,
    /// The generation that was learned last; also stored.
    learned: Mutex<Option<LearnedContract>>,
    /// `None` when enrolment is off.
    enrolments: Option<Enrolments>,
    /// Outcomes that are not written yet, each with the id of its mint.
    unwritten: Mutex<Vec<(String, MintOutcome)>>,
}

/// The rep that a token is for.
#[derive(Clone, Debug)]
pub struct Rep {
    /// The rep.
    pub id: RepId,
    /// Their agency.
    pub agency: Option<PlatformId>,
    /// The profile in their own credentials; `None` when a service asks.
    pub profile: Option<Profile>,
}

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MintError {
    /// Athos refused or failed.
    #[error(transparent)]
    Athos(#[from] athos::Error),
    /// Athos does not know the rep, and they are not enrolled.
    #[error("{advice}")]
    NotOnRoster {
        /// What to do, for people.
        advice: String,
        /// Athos's error.
        refusal: Box<Refusal>,
    },
    /// The rep is named by an id that only generation `roster` knows.
    #[error(
        "agentId is an id of Athos's roster, and tokens are minted in generation {0}: name the rep by externalUserId"
    )]
    NoSuchId(EffectiveContract),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Minter {
    /// A minter in the pinned generation, or else in the stored one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn start(
        athos: &Arc<athos::Client>,
        store: &SharedStore,
        clock: &Clock,
        pinned: Option<Generation>,
        auto_enroll: bool,
    ) -> StoreResult<Self> {
        let minter = Self {
            learned: Mutex::new(store.learned_contract().await?),
            athos: Arc::clone(athos),
            store: Arc::clone(store),
            clock: clock.clone(),
            pinned,
            enrolments: auto_enroll.then(Enrolments::default),
            unwritten: Mutex::default(),
        };
        tracing::info!(contract = %minter.effective_contract(), auto_enroll, "contract generation for minting");
        Ok(minter)
    }

    /// The generation that is used, and why.
    pub fn effective_contract(&self) -> EffectiveContract {
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        EffectiveContract::of(self.pinned, learned.as_ref())
    }

    /// Mints a token, within the deadline of a request.
    ///
    /// # Errors
    /// One [`MintError`] per cause.
    pub async fn mint(&self, rep: &Rep) -> Result<SessionToken, MintError> {
        timeout(ANSWER_DEADLINE, self.negotiate(rep))
            .await
            .unwrap_or(Err(MintError::Athos(athos::Error::Timeout)))
    }

    /// Asks in the effective generation, and once in the other one if Athos did not understand that; never after a token was
    /// minted.
    async fn negotiate(&self, rep: &Rep) -> Result<SessionToken, MintError> {
        let effective = self.effective_contract();
        let mut asked = effective.generation;
        let known = self.known(asked, rep).await?;
        let Some(body) = known.words(asked, rep) else {
            return Err(MintError::NoSuchId(effective));
        };
        let mut answer = self.athos.mint(&body).await;
        match classify_response(asked, &answer) {
            Evidence::Confirmed(by) => self.confirm(asked, by).await,
            Evidence::NotUnderstood if self.pinned.is_none() => {
                let other = asked.other();
                let known = self.known(other, rep).await?;
                if let Some(body) = known.words(other, rep) {
                    let second = self.athos.mint(&body).await;
                    match classify_response(other, &second) {
                        // Athos understands neither, so the generation is not the reason.
                        Evidence::NotUnderstood => {}
                        proof => {
                            if let Evidence::Confirmed(by) = proof {
                                self.switch(asked, other, by).await;
                            }
                            (asked, answer) = (other, second);
                        }
                    }
                }
            }
            Evidence::NotUnderstood | Evidence::Nothing => {}
        }
        match answer {
            Ok(token) => Ok(token),
            Err(athos::Error::Refused(refusal))
                if asked == Generation::Roster && is_unknown_agent(&refusal) =>
            {
                self.enrol_and_mint(rep, refusal).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The ids of a rep that a mint needs.
    async fn known(&self, generation: Generation, rep: &Rep) -> StoreResult<KnownAgent> {
        match (generation, &rep.id) {
            (Generation::Roster, RepId::Ours(id)) => {
                Ok(KnownAgent(self.store.find_agent(id).await?))
            }
            _ => Ok(KnownAgent(None)),
        }
    }

    /// Records that Athos speaks the current generation, if that was only assumed.
    async fn confirm(&self, generation: Generation, by: &'static str) {
        self.learn(generation, by, Option::is_none).await;
    }

    /// Records that Athos speaks `to` and not `from`, unless another mint has recorded something since.
    async fn switch(&self, from: Generation, to: Generation, by: &'static str) {
        let is_news = |learned: &Option<LearnedContract>| {
            EffectiveContract::of(None, learned.as_ref()).generation == from
        };
        if self.learn(to, by, is_news).await {
            tracing::warn!(
                contract = %self.effective_contract(),
                "Athos does not understand generation {from} of its contract any more, or never did; tokens are minted \
                 in generation {to} from now on"
            );
        }
    }

    async fn learn(
        &self,
        generation: Generation,
        by: &'static str,
        is_news: impl FnOnce(&Option<LearnedContract>) -> bool,
    ) -> bool {
        if self.pinned.is_some() {
            return false;
        }
        let new = LearnedContract {
            generation,
            at: self.clock.now(),
            from: by.to_owned(),
        };
        {
            let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
            if !is_news(&learned) {
                return false;
            }
            *learned = Some(new.clone());
        }
        // The mint goes on: after the next start it is learned again.
        if let Err(error) = self.store.record_learned_contract(new).await {
            tracing::warn!(%error, "failed to record the learned contract generation");
        }
        true
    }
}

/// The known ids of a rep.
struct KnownAgent(Option<LinkedIds>);

impl KnownAgent {
    /// The request for this rep in a generation; `None` when that generation cannot name the rep. A rep whose id of ours Athos
    /// does not have on record is named by Athos's id.
    fn words<'a>(&'a self, generation: Generation, rep: &'a Rep) -> Option<MintBody<'a>> {
        match (generation, &rep.id, &self.0) {
            (Generation::External, RepId::Ours(id), _) => {
                Some(MintBody::external(id, rep.agency.as_ref()))
            }
            (Generation::External, RepId::Athos(_), _) => None,
            (Generation::Roster, RepId::Ours(_), Some(known)) if !known.on_record => {
                Some(MintBody::agent(&known.athos_id))
            }
            (Generation::Roster, RepId::Ours(id), _) => Some(MintBody::platform(id)),
            (Generation::Roster, RepId::Athos(id), _) => Some(MintBody::agent(id.as_str())),
        }
    }
}

fn is_unknown_agent(refusal: &Refusal) -> bool {
    refusal.code == "AGENT_NOT_FOUND"
}
