//! The words of the domain: time, ids, callers' scopes, calls and their states. Pure: no IO, no clock, and
//! no vendor field names (those live in `types` of `athos-api`).

mod call;
mod contract;
mod credential;
mod data_subject;
mod drift;
mod engine;
mod message;
mod plural;
mod service_key;
mod time_bound;

pub use athos_api::{
    AGENCY_PREFIX, AGENT_PREFIX, AgentId, BadId, CallContent, CallDetail, CallEvent, CallHeader,
    Drift, DriftKind, EventOutcome, Identity, InvalidTime, KeyState, MAX_ID_CHARS,
    MAX_OUTSIDE_CHARS, PlatformId, RepId, Source, Speaker, Timestamp, Turn, UnknownVariant,
    is_invisible, outside_text, outside_text_within, string_enum,
};
pub use call::{CallRow, CallStatus};
pub use contract::{EffectiveContract, LearnedContract, Why};
pub use credential::{Credential, CredentialKind, idle_secrets};
pub use data_subject::DataSubject;
pub use drift::SeenDrift;
pub use engine::{Engine, UnknownEngine};
pub use message::MessageKind;
pub(crate) use plural::{counted, plural};
pub use service_key::{KeyScope, KeyScopes, ServiceKey};
pub use time_bound::{NotATimeBound, TimeBound};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

string_enum!(EventState, "state", {
    Pending: "pending",
    Processing: "processing",
    Done: "done",
    Ignored: "ignored",
    Dead: "dead",
});
