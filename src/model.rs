//! The words of the domain: time, ids, callers' scopes, calls and their states. Pure: no IO, no clock, and
//! no vendor field names (those live in `athos/types/`).

mod credential;
mod drift;
mod id;
mod number;
mod source;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use credential::{Credential, CredentialKind, KeyState, idle_secrets};
pub use drift::{Drift, DriftKind, SeenDrift};
pub use id::{
    AGENCY_PREFIX, AGENT_PREFIX, AgentId, BadId, Identity, MAX_ID_CHARS, PlatformId, RepId,
};
pub(crate) use number::plain;
pub use source::Source;

/// A moment, in milliseconds since 1970 UTC. On the wire it is ISO 8601 with milliseconds, as Athos writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970 UTC.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970 UTC.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970 UTC, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment and then some.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This moment less some.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            // Beyond the year 9999 there is no ISO 8601 to write.
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// The text is not an ISO 8601 moment with an offset.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not an ISO 8601 time such as 2026-06-05T18:09:14.000Z")]
pub struct NotATime;

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let time: jiff::Timestamp = text.parse().map_err(|_| NotATime)?;
        Ok(Self(time.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .examples(["2026-06-05T18:09:14.000Z"])
            .build()
            .into()
    }
}

impl ToSchema for Timestamp {}

/// Whose calls a reader may see. Rows outside the scope do not exist for that reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One rep's own calls.
    Rep(PlatformId),
    /// All calls of one agency.
    Agency(PlatformId),
    /// Everything.
    All,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallStatus {
    /// Athos told us of it; its detail is not here yet.
    Processing,
    /// The score and the transcript are here.
    Scored,
    /// Athos could not score it; `reason` says why. There is nothing to fetch.
    Unscored,
}

impl CallStatus {
    /// The word in the database and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Scored => "scored",
            Self::Unscored => "unscored",
        }
    }
}

impl FromStr for CallStatus {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "processing" => Ok(Self::Processing),
            "scored" => Ok(Self::Scored),
            "unscored" => Ok(Self::Unscored),
            _ => Err(UnknownWord),
        }
    }
}

/// What a webhook says.
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
    /// Whether there is something to fetch from Athos; else the event is all there will ever be.
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
    /// There is nothing to fetch; this event is all there will ever be.
    Unscored {
        /// Machine code; an append-only list.
        reason: Option<String>,
        /// Text for people.
        message: Option<String>,
    },
}

/// What a list says of a call, and a detail as well.
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
    /// 0 to 100; absent when there is no headline score.
    pub overall_score: Option<f64>,
    /// 0 to 100; absent when compliance was not assessed.
    pub compliance_percent: Option<f64>,
    /// Whether there is a recording to ask for.
    pub has_recording: bool,
    /// Athos's JSON, without the recording's link.
    pub raw: String,
    /// Whether the words that were spoken have been left out of it.
    pub purged: bool,
}

impl fmt::Debug for CallDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A transcript is somebody's words; it does not belong in a log.
        f.debug_struct("CallDetail")
            .field("id", &self.header.id)
            .finish_non_exhaustive()
    }
}

/// What was said and how it was judged.
#[derive(Clone, Serialize, ToSchema)]
pub struct CallContent {
    /// Athos's score object, every key of it.
    #[schema(value_type = Option<Object>)]
    pub score: Option<serde_json::Value>,
    /// The turns, in order.
    pub transcript: Vec<Turn>,
}

/// One turn of a transcript.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// Who spoke.
    #[schema(value_type = String, example = "rep")]
    pub role: Speaker,
    /// What was said. Hostile text: whoever shows it shows it as text.
    pub content: String,
    /// Seconds from the start of the call.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "plain")]
    pub start_time: Option<f64>,
    /// Seconds from the start of the call.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "plain")]
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

impl Serialize for Speaker {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Rep => "rep",
            Self::Persona => "persona",
            Self::Other(role) => role,
        })
    }
}

/// A call as readers see it in a list: a projection of what Athos said.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallRow {
    /// Athos's id of the call.
    #[schema(example = "athos_call_GZ1DjOkZv_VEPoE-CJ8mp")]
    pub id: String,
    /// Where it stands.
    pub status: CallStatus,
    /// `roleplay`, or another that Athos adds.
    #[schema(example = "roleplay")]
    pub source: String,
    /// Our id of the rep; Athos's, as long as ours is not known.
    #[schema(example = "rep_8842")]
    pub rep: Option<String>,
    /// Our id, or label, of the agency; Athos's, as long as ours is not known.
    #[schema(example = "agency_chicago")]
    pub agency: Option<String>,
    /// Which exercise it was.
    #[schema(example = "ma-full-sale")]
    pub drill_key: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How long it was, in seconds.
    pub duration_sec: Option<i64>,
    /// When Athos scored it.
    pub scored_at: Option<Timestamp>,
    /// 0 to 100; `null` when there is no headline score.
    #[serde(serialize_with = "plain")]
    pub overall_score: Option<f64>,
    /// 0 to 100; `null` when compliance was not assessed.
    #[serde(serialize_with = "plain")]
    pub compliance_percent: Option<f64>,
}

/// Where an event stands. A row is in exactly one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventState {
    /// Waiting for its next attempt.
    Pending,
    /// Leased by a worker.
    Processing,
    /// Dealt with.
    Done,
    /// Signed, but not understood; kept and left alone.
    Ignored,
    /// Given up, with the reason in words; can be replayed.
    Dead,
}

impl EventState {
    /// Every state, in the order of an event's life.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Processing,
        Self::Done,
        Self::Ignored,
        Self::Dead,
    ];

    /// The word in the database and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Done => "done",
            Self::Ignored => "ignored",
            Self::Dead => "dead",
        }
    }
}

impl FromStr for EventState {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or(UnknownWord)
    }
}

/// A word that names no state.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a known word")]
pub struct UnknownWord;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_athos_writes_it_and_read_back() {
        let text = "2026-06-05T18:09:14.000Z";
        let time: Timestamp = text.parse().unwrap();
        assert_eq!(time.as_millis(), 1_780_682_954_000);
        assert_eq!(time.to_string(), text);
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert!("2026-06-05T18:09:14".parse::<Timestamp>().is_err());
    }
}
