//! A call in Athos's payloads: what a webhook and a list say of it, and its detail.

use std::fmt;

use crate::{Identity, Timestamp};

/// What a webhook says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallEvent {
    /// Athos's id of the call.
    pub call_id: String,
    /// `roleplay`, or another that Athos adds.
    pub source: String,
    /// Who the call belongs to.
    pub identity: Identity,
    /// When it happened, by Athos's clock.
    pub occurred_at: Option<Timestamp>,
    /// Whether there is a score to fetch.
    pub outcome: EventOutcome,
    /// Athos's request id, to quote.
    pub athos_request_id: Option<String>,
}

impl CallEvent {
    /// Whether Athos has a detail to fetch.
    #[must_use]
    pub fn needs_fetch(&self) -> bool {
        self.outcome == EventOutcome::Scored
    }
}

/// Whether a call was scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// Score and transcript can be fetched.
    Scored,
    /// Athos has no detail of this call.
    Unscored {
        /// Machine code; an append-only list.
        reason: Option<String>,
        /// Text for people.
        message: Option<String>,
    },
}

/// The part of a call that lists and details share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallHeader {
    /// Athos's id of the call.
    pub id: String,
    /// `roleplay`, or another that Athos adds.
    pub source: String,
    /// Who the call belongs to.
    pub identity: Identity,
    /// Which exercise it was.
    pub drill_key: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How long it was, in seconds.
    pub duration_sec: Option<i64>,
    /// When Athos scored it.
    pub scored_at: Option<Timestamp>,
}

/// A call's detail: what we project into columns, and Athos's own JSON.
#[derive(Clone, PartialEq)]
pub struct CallDetail {
    /// The call.
    pub header: CallHeader,
    /// 0 to 100. Absent or 0 when there is no headline score.
    pub overall_score: Option<f64>,
    /// 0 to 100; absent when compliance was not assessed.
    pub compliance_percent: Option<f64>,
    /// Whether there is a recording to ask for.
    pub has_recording: bool,
    /// Athos's JSON, without the recording's link.
    pub raw: String,
    /// Whether the transcript was redacted.
    pub purged: bool,
}

impl fmt::Debug for CallDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A transcript does not belong in a log.
        f.debug_struct("CallDetail")
            .field("id", &self.header.id)
            .finish_non_exhaustive()
    }
}

/// What was said and how it was judged.
#[derive(Clone)]
pub struct CallContent {
    /// Athos's score object, every key of it.
    pub score: Option<serde_json::Value>,
    /// The turns, in order.
    pub transcript: Vec<Turn>,
}

/// One turn of a transcript.
#[derive(Clone, PartialEq)]
pub struct Turn {
    /// Who spoke.
    pub role: Speaker,
    /// What was said. Untrusted: show it as plain text.
    pub content: String,
    /// Seconds from the start of the call.
    pub start_time: Option<f64>,
    /// Seconds from the start of the call.
    pub end_time: Option<f64>,
}

/// Who spoke, whatever the generation called them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The rep.
    Rep,
    /// The persona, or the customer of a real call.
    Persona,
    /// A role Athos added; passed on as it is.
    Other(String),
}

impl Speaker {
    /// The same word for both generations.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Rep => "rep",
            Self::Persona => "persona",
            Self::Other(role) => role,
        }
    }
}
