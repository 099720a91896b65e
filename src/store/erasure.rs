//! What is said of the erasure of a rep: how many rows of each kind.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many rows of each kind are gone; in a dry run, how many would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ErasedRows {
    /// Calls.
    pub calls: u64,
    /// What Athos said of them: score and transcript.
    pub details: u64,
    /// Webhooks and other events about these calls, or naming the rep.
    pub events: u64,
    /// Attempts at these events.
    pub attempts: u64,
    /// Acts of others on these events; acts of the rep's own stay, without the name.
    pub acts: u64,
    /// Requests for session tokens.
    pub mints: u64,
    /// Which of Athos's ids are this rep's.
    pub identities: u64,
}

impl ErasedRows {
    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            calls: self.calls + more.calls,
            details: self.details + more.details,
            events: self.events + more.events,
            attempts: self.attempts + more.attempts,
            acts: self.acts + more.acts,
            mints: self.mints + more.mints,
            identities: self.identities + more.identities,
        }
    }

    /// Each kind in words, one of it, with its count.
    #[must_use]
    pub fn by_kind(&self) -> [(&'static str, u64); 7] {
        [
            ("call", self.calls),
            ("call detail", self.details),
            ("event", self.events),
            ("attempt", self.attempts),
            ("audit entry", self.acts),
            ("session token record", self.mints),
            ("linked id", self.identities),
        ]
    }
}
