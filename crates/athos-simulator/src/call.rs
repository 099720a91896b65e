//! A call at the vendor: live, ended, scored or failed.

use std::time::Duration;

use serde_json::{Value, json};

use super::compliance::Compliance;
use super::data::Product;
use super::directory::Rep;
use super::scenario::{Difficulty, Persona, Score};
use athos_api::Timestamp;

/// A call: a role-play exists from its redeem, a real call from its end.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) id: String,
    pub(super) rep: Rep,
    /// The drill; none for a real call.
    pub(super) drill: Option<Drill>,
    pub(super) product: &'static Product,
    pub(super) persona: Persona,
    pub(super) score: Score,
    pub(super) compliance: Option<Compliance>,
    pub(super) started_at: Timestamp,
    pub(super) ended: Option<CallEnd>,
    pub(super) can_be_scored: bool,
    pub(super) scored: Option<(Timestamp, Scoring)>,
    /// How often its detail was asked for.
    pub(super) fetches: u32,
}

/// The kinds of calls, each with a time axis of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Practice with a persona, listed by its end.
    Roleplay,
    /// A call with a customer, listed by its start.
    RealCall,
}

impl Source {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Roleplay => "roleplay",
            Self::RealCall => "real_call",
        }
    }
}

/// What a role-play practises.
#[derive(Clone, Debug)]
pub(super) struct Drill {
    pub(super) key: String,
    pub(super) difficulty: Difficulty,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallEnd {
    pub(super) at: Timestamp,
    pub(super) duration_secs: u64,
}

/// What came of scoring a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scoring {
    Scored,
    Failed { reason: String, message: String },
}

impl Scoring {
    /// The only reason for which scoring fails.
    pub(super) fn incomplete() -> Self {
        Self::Failed {
            reason: "SCORING_INCOMPLETE".into(),
            message: "Athos did not finish processing this call.".into(),
        }
    }
}

/// What a call is made from.
pub(super) struct NewCall {
    pub(super) rep: Rep,
    pub(super) drill: Option<Drill>,
    pub(super) product: &'static Product,
    pub(super) state: Option<String>,
    pub(super) category: Option<String>,
}

/// How long recordings of real calls are kept.
const REAL_RECORDING_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The drills that are assessed by the scorecard, and how long such a call must be.
const DRILLS_WITH_SCORECARD: [&str; 2] = ["ma-full-sale", "ma-t65"];
const SHORTEST_WITH_SCORECARD_SECS: u64 = 5 * 60;

impl Call {
    pub(super) fn source(&self) -> Source {
        match self.drill {
            Some(_) => Source::Roleplay,
            None => Source::RealCall,
        }
    }

    pub(super) fn drill_key(&self) -> Option<&str> {
        self.drill.as_ref().map(|drill| &*drill.key)
    }

    /// Its time in the list of its source, once it has ended.
    pub(super) fn listed_at(&self) -> Option<Timestamp> {
        match self.source() {
            Source::Roleplay => self.ended_at(),
            Source::RealCall => Some(self.started_at),
        }
    }

    pub(super) fn ended_at(&self) -> Option<Timestamp> {
        self.ended.map(|ended| ended.at)
    }

    pub(super) fn duration_secs(&self) -> u64 {
        self.ended.map_or(0, |ended| ended.duration_secs)
    }

    pub(super) fn scored_at(&self) -> Option<Timestamp> {
        self.scored.as_ref().map(|(at, _)| *at)
    }

    /// Whether the external API shows it.
    pub(super) fn is_scored(&self) -> bool {
        matches!(self.scored, Some((_, Scoring::Scored)))
    }

    /// Whether its recording can be listened to.
    pub(super) fn is_recorded(&self, now: Timestamp) -> bool {
        match self.source() {
            Source::Roleplay => true,
            Source::RealCall => now.since(self.started_at) <= REAL_RECORDING_LIFE,
        }
    }

    /// The assessment that is shown. A role-play has a scorecard in some drills only, and if it was long enough.
    pub(super) fn shown_compliance(&self) -> Option<&Compliance> {
        let has_scorecard = match self.drill_key() {
            Some(drill) => {
                DRILLS_WITH_SCORECARD.contains(&drill)
                    && self.duration_secs() >= SHORTEST_WITH_SCORECARD_SECS
            }
            None => true,
        };
        let compliance = self.compliance.as_ref();
        compliance.filter(|compliance| has_scorecard || compliance.scorecard.is_none())
    }

    fn status(&self) -> &'static str {
        match (&self.ended, &self.scored) {
            (None, _) => "live",
            (Some(_), None) => "scoring",
            (_, Some((_, Scoring::Scored))) => "scored",
            (_, Some((_, Scoring::Failed { .. }))) => "unscored",
        }
    }

    /// The call as the control plane shows it, whatever state it is in.
    pub(super) fn report(&self) -> Value {
        let reason = match &self.scored {
            Some((_, Scoring::Failed { reason, .. })) => Some(reason),
            _ => None,
        };
        json!({
            "callId": self.id,
            "source": self.source().name(),
            "status": self.status(),
            "agentId": self.rep.agent_id,
            "agencyId": self.rep.agency_id,
            "externalUserId": self.rep.platform_agent_id,
            "externalAgencyId": self.rep.platform_agency_id,
            "drillKey": self.drill_key(),
            "difficulty": self.drill.as_ref().map(|drill| drill.difficulty),
            "persona": self.persona,
            "startedAt": self.started_at,
            "endedAt": self.ended_at(),
            "durationSec": self.ended.map(|ended| ended.duration_secs),
            "scoredAt": self.scored_at(),
            "overallScore": self.is_scored().then_some(self.score.overall),
            "reason": reason,
            "fetches": self.fetches,
        })
    }
}
