//! What an erasure removes.

use serde::Serialize;
use utoipa::ToSchema;

use crate::store;

/// How many rows of each kind are gone; in a dry run, how many would be.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErasedRows {
    /// Calls.
    calls: u64,
    /// What Athos said of them: score and transcript.
    details: u64,
    /// Webhooks and other events about these calls, or naming the rep.
    events: u64,
    /// Attempts at these events.
    attempts: u64,
    /// Acts of others on these events; acts of the rep's own stay, without the name.
    acts: u64,
    /// Requests for session tokens.
    mints: u64,
    /// Which of Athos's ids are this rep's.
    identities: u64,
}

impl From<store::ErasedRows> for ErasedRows {
    fn from(rows: store::ErasedRows) -> Self {
        Self {
            calls: rows.calls,
            details: rows.details,
            events: rows.events,
            attempts: rows.attempts,
            acts: rows.acts,
            mints: rows.mints,
            identities: rows.identities,
        }
    }
}
