//! What differs between the generations of the vendor's contract: a trait, with an implementation for each generation in
//! the files below. Payloads that follow from it are made here. What all generations share is in `api.rs`.

mod both;
mod external;
mod roster;

use serde_json::{Map, Value, json};

use super::call::{Call, Scoring, Source};
use super::directory::{Filter, Handle, Rep};
use super::error::ApiError;
use super::link::Link;
use super::options::Contract;
use super::scenario::{Line, Speaker};
use athos_api::Timestamp;

use self::both::Both;
use self::external::External;
use self::roster::Roster;

/// The one place where a generation is chosen.
pub(super) fn generation(contract: Contract) -> &'static dyn Generation {
    match contract {
        Contract::External => &External,
        Contract::Roster => &Roster,
        Contract::Both => &Both,
    }
}

/// The ids that a payload carries, in the order in which it does.
pub(super) type Ids = Vec<(&'static str, Value)>;

/// One generation of the contract.
pub(super) trait Generation: Sync {
    /// Reads the body of a mint. Members it does not know are left alone; `null` counts as omitted.
    fn parse_mint(&self, body: &Map<String, Value>) -> Result<MintTarget, ApiError>;

    /// Adds a query parameter of the list to the filter, if it is an id of this generation.
    fn narrow(&self, filter: &mut Filter, key: &str, value: &str) -> Result<(), ApiError>;

    /// The source of a list whose query names none; `None` when the query must name one.
    fn default_source(&self) -> Option<Source>;

    /// The ids on a row of the list and on a detail.
    fn call_ids(&self, rep: &Rep) -> Ids;

    /// The ids on a webhook.
    fn webhook_ids(&self, rep: &Rep) -> Ids {
        self.call_ids(rep)
    }

    /// Who spoke, as a transcript calls them.
    fn role(&self, speaker: Speaker) -> &'static str;

    /// Whether it has what came with the roster: its endpoints, real calls, compliance, recordings.
    fn has_roster(&self) -> bool;
}

/// Whom a token is minted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MintTarget {
    /// Any user whom the customer names.
    Anybody {
        user: String,
        agency: Option<String>,
    },
    /// An agent who must be registered.
    Agent(Handle),
}

impl dyn Generation {
    /// The source of a list, from its query.
    pub(super) fn parse_source(&self, given: Option<&str>) -> Result<Source, ApiError> {
        let parsed = match given {
            None => self.default_source(),
            Some("roleplay") => Some(Source::Roleplay),
            Some("real_call") if self.has_roster() => Some(Source::RealCall),
            Some(_) => None,
        };
        parsed.ok_or_else(|| {
            ApiError::invalid_request(if self.has_roster() {
                "source must be roleplay or real_call."
            } else {
                "source must be roleplay."
            })
        })
    }

    /// Whether calls of this kind exist for those who speak this generation.
    pub(super) fn shows(&self, source: Source) -> bool {
        source == Source::Roleplay || self.has_roster()
    }

    /// The persona in the answer to a redeem.
    pub(super) fn persona(&self, call: &Call) -> Value {
        let mut persona = json!({ "name": call.persona.name });
        if self.has_roster() {
            persona["details"] = json!(call.persona.details);
        }
        persona
    }

    /// A row of the list.
    pub(super) fn slim_call(&self, call: &Call) -> Map<String, Value> {
        let mut row = Map::new();
        row.insert("id".into(), json!(call.id));
        row.insert("source".into(), json!(call.source().name()));
        insert_all(&mut row, self.call_ids(&call.rep));
        row.insert("drillKey".into(), json!(call.drill_key()));
        row.insert("startedAt".into(), json!(call.started_at));
        row.insert("endedAt".into(), json!(call.ended_at()));
        row.insert("durationSec".into(), json!(call.duration_secs()));
        row.insert("scoredAt".into(), json!(call.scored_at()));
        row
    }

    /// The detail of a scored call.
    pub(super) fn call_detail(
        &self,
        call: &Call,
        transcript: &[Line],
        recording: Option<&Link>,
    ) -> Map<String, Value> {
        let mut detail = self.slim_call(call);
        // In the vendor's order, `status` follows `source`.
        detail.shift_insert(2, "status".into(), json!("scored"));
        detail.insert("transcript".into(), self.turns(call, transcript));
        let mut score = Map::new();
        score.insert("overallScore".into(), json!(call.score.overall));
        score.insert("summary".into(), json!(call.score.summary));
        score.insert("feedback".into(), json!(call.score.feedback));
        if let (true, Some(compliance)) = (self.has_roster(), call.shown_compliance()) {
            score.insert("compliancePercent".into(), json!(compliance.percent));
            if let Some(scorecard) = &compliance.scorecard {
                score.insert("complianceScorecard".into(), scorecard.clone());
            }
        }
        detail.insert("score".into(), Value::Object(score));
        detail.insert("audioUrl".into(), json!(recording.map(|link| &link.url)));
        let expires_at = recording.map(|link| link.expires_at);
        detail.insert("audioUrlExpiresAt".into(), json!(expires_at));
        detail.insert("waveform".into(), Value::Null);
        detail.insert("createdAt".into(), json!(call.started_at));
        detail.insert("updatedAt".into(), json!(call.scored_at()));
        detail
    }

    fn turns(&self, call: &Call, transcript: &[Line]) -> Value {
        let turn = |line: &Line| json!({ "role": self.role(line.speaker), "content": line.text });
        let mut turns: Vec<Value> = transcript.iter().map(turn).collect();
        if call.source() == Source::RealCall {
            let duration_secs = call.duration_secs();
            for ((start, end), turn) in spread(transcript, duration_secs).zip(&mut turns) {
                turn["startTime"] = json!(start);
                turn["endTime"] = json!(end);
            }
        }
        Value::Array(turns)
    }

    /// The body of a `call.scored` webhook. Never a score, never a transcript.
    pub(super) fn webhook(&self, news: &WebhookFacts<'_>) -> Map<String, Value> {
        let is_scored = matches!(news.scoring, Scoring::Scored);
        let mut body = Map::new();
        body.insert("event".into(), json!("call.scored"));
        body.insert("success".into(), json!(is_scored));
        body.insert("callId".into(), json!(news.call_id));
        body.insert("source".into(), json!(news.source.name()));
        insert_all(&mut body, self.webhook_ids(news.rep));
        body.insert("occurredAt".into(), json!(news.occurred_at));
        body.insert("requestId".into(), json!(news.request_id));
        if let Scoring::Failed { reason, message } = news.scoring {
            body.insert("reason".into(), json!(reason));
            body.insert("reasonMessage".into(), json!(message));
        }
        body
    }
}

/// The content of a webhook.
pub(super) struct WebhookFacts<'a> {
    pub(super) call_id: &'a str,
    pub(super) source: Source,
    pub(super) rep: &'a Rep,
    pub(super) scoring: &'a Scoring,
    pub(super) occurred_at: Timestamp,
    pub(super) request_id: &'a str,
}

fn insert_all(object: &mut Map<String, Value>, ids: Ids) {
    object.extend(ids.into_iter().map(|(key, id)| (key.to_owned(), id)));
}

/// When each line begins and ends, in seconds with one decimal: longer lines take longer.
fn spread(lines: &[Line], duration_secs: u64) -> impl Iterator<Item = (f64, f64)> {
    let lengths: Vec<u64> = lines.iter().map(|line| line.text.len() as u64).collect();
    let total = lengths.iter().sum::<u64>().max(1);
    let mut said = 0;
    lengths.into_iter().map(move |length| {
        let at = |said: u64| {
            let tenths = u128::from(said) * u128::from(duration_secs) * 10 / u128::from(total);
            tenths as f64 / 10.0
        };
        let start = at(said);
        said += length;
        (start, at(said))
    })
}

/// The webhook of each generation for the call that the contract's examples are about.
#[cfg(test)]
pub(super) fn example_webhook(contract: Contract, rep: &Rep, scoring: &Scoring) -> String {
    let news = WebhookFacts {
        call_id: "athos_call_GZ1DjOkZv_VEPoE-CJ8mp",
        source: Source::Roleplay,
        rep,
        scoring,
        occurred_at: "2026-06-05T18:09:14.000Z".parse().unwrap(),
        request_id: "req_b1f0c2d4-7a1e-4c3b-9f2d-0e8a6b5c4d3e",
    };
    serde_json::to_string(&generation(contract).webhook(&news)).unwrap()
}
