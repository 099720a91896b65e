//! The vendor's state: tokens, calls, deliveries, counters. No IO; the caller passes the time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::active::Active;
use super::call::{Call, CallEnd, NewCall, Scoring};
use super::compliance;
use super::contract::{self, Generation, MintTarget, WebhookFacts};
use super::cursor::Place;
use super::directory::{Directory, Filter, Rep};
use super::error::ApiError;
use super::faults::Endpoint;
use super::listed::{Scored, Wanted};
use super::options::Contract;
use super::scenario::{self, Wishes};
use super::seeded::Seed;
use super::webhook::{Delivery, Webhook};
use athos_api::Timestamp;

/// How long a session token can be redeemed.
pub(super) const TOKEN_LIFE_MS: u64 = 5 * 60 * 1000;

/// Everything the simulated vendor knows.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) seed: Seed,
    /// The current generation. The stored state is the same for all generations.
    pub(super) contract: Contract,
    pub(super) directory: Directory,
    pub(super) faults: Active,
    tokens: HashMap<String, Token>,
    /// In the order in which they began: a call's number is its place.
    calls: Vec<Call>,
    by_id: HashMap<String, usize>,
    /// What the lists show.
    scored: Scored,
    /// How many role-plays each rep has begun: practice, for the scores.
    begun_by: HashMap<String, usize>,
    pub(super) deliveries: Vec<Delivery>,
    /// Webhooks that the fault `reorder` holds back.
    pub(super) held: Vec<Webhook>,
    /// Webhooks that are held, being sent, or waiting for their retry.
    pub(super) unsettled: usize,
    /// Calls that have ended and are not scored yet.
    pub(super) scoring: usize,
    requests: BTreeMap<Endpoint, Requests>,
    request_ids: u64,
    minted: u64,
}

/// A session token that was minted here.
#[derive(Debug)]
struct Token {
    rep: Rep,
    expires_at: Timestamp,
    spent: bool,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Requests {
    total: u64,
    by_status: BTreeMap<u16, u64>,
}

impl Memory {
    pub(super) fn new(seed: Seed, contract: Contract) -> Self {
        Self {
            seed,
            contract,
            directory: Directory::default(),
            faults: Active::default(),
            tokens: HashMap::new(),
            calls: Vec::new(),
            by_id: HashMap::new(),
            scored: Scored::default(),
            begun_by: HashMap::new(),
            deliveries: Vec::new(),
            held: Vec::new(),
            unsettled: 0,
            scoring: 0,
            requests: BTreeMap::new(),
            request_ids: 0,
            minted: 0,
        }
    }

    pub(super) fn generation(&self) -> &'static dyn Generation {
        contract::generation(self.contract)
    }

    /// The rep a mint is for.
    pub(super) fn resolve(&mut self, whom: &MintTarget, now: Timestamp) -> Result<Rep, ApiError> {
        match whom {
            MintTarget::Anybody { user, agency } => {
                let agency = agency.as_deref();
                Ok(self.directory.adopt(user, agency, self.seed, now))
            }
            MintTarget::Agent(handle) => {
                let rep = self.directory.rep(handle);
                rep.filter(|rep| !self.faults.loses(rep))
                    .ok_or_else(ApiError::agent_not_found)
            }
        }
    }

    pub(super) fn next_request_id(&mut self) -> String {
        self.request_ids += 1;
        self.seed.request_id("request", self.request_ids)
    }

    pub(super) fn count_request(&mut self, endpoint: Endpoint) {
        self.requests.entry(endpoint).or_default().total += 1;
    }

    pub(super) fn count_answer(&mut self, endpoint: Endpoint, status: u16) {
        let requests = self.requests.entry(endpoint).or_default();
        *requests.by_status.entry(status).or_default() += 1;
    }

    pub(super) fn requests_report(&self) -> Value {
        let all = [
            Endpoint::Session,
            Endpoint::Redeem,
            Endpoint::Calls,
            Endpoint::Call,
            Endpoint::Agencies,
            Endpoint::Agents,
        ];
        let none = Requests::default();
        let counts = all.map(|endpoint| (endpoint, self.requests.get(&endpoint).unwrap_or(&none)));
        json!(BTreeMap::from(counts))
    }

    /// A number for the next token; the same for every run of the seed.
    pub(super) fn next_token_number(&mut self) -> u64 {
        self.minted += 1;
        self.minted
    }

    pub(super) fn keep_token(&mut self, token: String, rep: Rep, expires_at: Timestamp) {
        let token_state = Token {
            rep,
            expires_at,
            spent: false,
        };
        self.tokens.insert(token, token_state);
    }

    /// Whether a token can be redeemed now. Does not spend it.
    pub(super) fn check_token(&self, token: &str, now: Timestamp) -> Result<(), ApiError> {
        let token = self.tokens.get(token).ok_or_else(ApiError::invalid_token)?;
        if token.expires_at <= now {
            return Err(ApiError::token_expired());
        }
        if token.spent {
            return Err(ApiError::token_already_used());
        }
        Ok(())
    }

    /// Spends a token, at most once, and says whose it was.
    pub(super) fn spend_token(&mut self, token: &str, now: Timestamp) -> Result<Rep, ApiError> {
        self.check_token(token, now)?;
        let token = self
            .tokens
            .get_mut(token)
            .ok_or_else(ApiError::invalid_token)?;
        token.spent = true;
        Ok(token.rep.clone())
    }

    /// Begins a call, and with it decides who answers and how it will be scored.
    pub(super) fn begin_call(&mut self, new: NewCall, started_at: Timestamp) -> &Call {
        let index = self.calls.len();
        let number = index as u64;
        let rng = &mut self.seed.rng("persona", number);
        let drill = new.drill.as_ref().map(|drill| &*drill.key);
        let wishes = Wishes {
            state: new.state.as_deref(),
            category: new.category.as_deref(),
        };
        let persona = scenario::persona(rng, new.product, drill, &wishes, started_at);
        let rng = &mut self.seed.rng("score", number);
        let score = match &new.drill {
            Some(drill) => {
                let begun = self.begun_by.entry(new.rep.agent_id.clone()).or_default();
                let earlier = *begun;
                *begun += 1;
                scenario::score(rng, drill.difficulty, earlier, &persona)
            }
            None => scenario::real_score(rng, &persona),
        };
        let call = Call {
            number,
            id: self.seed.id("athos_call_", number),
            rep: new.rep,
            drill: new.drill,
            product: new.product,
            persona,
            score,
            compliance: compliance::draw(&mut self.seed.rng("compliance", number)),
            started_at,
            ended: None,
            can_be_scored: true,
            scored: None,
            fetches: 0,
        };
        self.by_id.insert(call.id.clone(), index);
        self.calls.push(call);
        &self.calls[index]
    }

    /// Ends a call now. The flag tells whether this is what ended it; a second end changes nothing.
    ///
    /// A given duration moves the start, not the end: lists are read by when a call ended.
    pub(super) fn end_call(
        &mut self,
        id: &str,
        duration_secs: Option<u64>,
        now: Timestamp,
    ) -> Result<(CallEnd, bool), ApiError> {
        let call = self.call_mut(id).ok_or_else(ApiError::call_not_found)?;
        if let Some(ended) = call.ended {
            return Ok((ended, false));
        }
        let lasted = now.since(call.started_at).as_secs();
        let ended = CallEnd {
            at: now,
            duration_secs: duration_secs.unwrap_or(lasted),
        };
        if duration_secs.is_some() || now < call.started_at {
            call.started_at = now.minus(Duration::from_secs(ended.duration_secs));
        }
        call.ended = Some(ended);
        self.scoring += 1;
        Ok((ended, true))
    }

    /// Ends a real call after a duration, and decides how its scoring will end.
    pub(super) fn hear_call(
        &mut self,
        id: &str,
        duration_secs: u64,
        can_be_scored: bool,
        overall_score: Option<u8>,
    ) {
        let Some(call) = self.call_mut(id) else {
            return;
        };
        call.ended = Some(CallEnd {
            at: call.started_at.plus(Duration::from_secs(duration_secs)),
            duration_secs,
        });
        call.can_be_scored = can_be_scored;
        call.score.overall = overall_score.unwrap_or(call.score.overall);
        self.scoring += 1;
    }

    /// Scores an ended call, once, and makes the webhook that says so, if it can be said in this generation.
    pub(super) fn score_call(&mut self, id: &str, now: Timestamp) -> Option<Webhook> {
        let generation = self.generation();
        let call = self.by_id.get(id).map(|index| &mut self.calls[*index])?;
        if call.ended.is_none() || call.scored.is_some() {
            return None;
        }
        let scoring = match self.faults.fails_scoring() {
            Some(failed) => failed,
            None if call.can_be_scored => Scoring::Scored,
            None => Scoring::incomplete(),
        };
        if scoring == Scoring::Scored {
            let place = Place {
                at_ms: call.listed_at()?.as_millis(),
                number: call.number,
            };
            self.scored.insert(call.source(), place);
        }
        // Numbered by the call, not by the order of scoring, which a burst leaves to chance.
        let request_id = self.seed.request_id("webhook", call.number);
        let mut body = generation.webhook(&WebhookFacts {
            call_id: &call.id,
            source: call.source(),
            rep: &call.rep,
            scoring: &scoring,
            occurred_at: now,
            request_id: &request_id,
        });
        self.faults.surprise(&mut body);
        call.scored = Some((now, scoring));
        self.scoring -= 1;
        if !generation.shows(call.source()) {
            return None;
        }
        self.unsettled += 1;
        Some(Webhook {
            id: self.seed.id("wh_", call.number),
            call_id: call.id.clone(),
            body: Value::Object(body).to_string().into(),
        })
    }

    pub(super) fn call(&self, id: &str) -> Option<&Call> {
        self.by_id.get(id).map(|index| &self.calls[*index])
    }

    pub(super) fn call_mut(&mut self, id: &str) -> Option<&mut Call> {
        self.by_id.get(id).map(|index| &mut self.calls[*index])
    }

    pub(super) fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// One page of scored calls, newest first, and where the next one begins. Both ends of the window belong to it.
    pub(super) fn list_scored(
        &self,
        wanted: &Wanted,
        filter: &Filter,
        limit: usize,
    ) -> (Vec<&Call>, Option<Place>) {
        let mut found = self.scored.newest_first(wanted).filter_map(|place| {
            let index = usize::try_from(place.number).ok()?;
            let call = self.calls.get(index)?;
            filter.matches(&call.rep).then_some((*place, call))
        });
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let next = match (page.last(), found.next()) {
            (Some((place, _)), Some(_)) => Some(*place),
            _ => None,
        };
        (page.into_iter().map(|(_, call)| call).collect(), next)
    }
}
