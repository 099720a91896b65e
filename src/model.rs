//! The words of the domain: time, ids, callers' scopes, calls and their states. Pure: no IO, no clock, and
//! no vendor field names (those live in `athos/types/`).

mod call;
mod credential;
mod drift;
mod id;
mod number;
mod outside;
mod source;
mod time;
mod words;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use call::{
    CallContent, CallDetail, CallEvent, CallHeader, CallRow, CallStatus, EventOutcome, Speaker,
    Turn,
};
pub use credential::{Credential, CredentialKind, KeyState, idle_secrets};
pub use drift::{Drift, DriftKind, SeenDrift};
pub(crate) use id::is_invisible;
pub use id::{
    AGENCY_PREFIX, AGENT_PREFIX, AgentId, BadId, Identity, MAX_ID_CHARS, PlatformId, RepId,
};
pub(crate) use number::plain;
pub use outside::{MAX_OUTSIDE_CHARS, outside_text};
pub use source::Source;
pub use time::{NotATime, NotATimeBound, TimeBound, Timestamp};
pub(crate) use words::words;
pub use words::{UnknownWord, counted, plural};

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

words!(EventState, "state", {
    Pending: "pending",
    Processing: "processing",
    Done: "done",
    Ignored: "ignored",
    Dead: "dead",
});
