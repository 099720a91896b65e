//! The record of session tokens: who asked and what came of it; and, as operators see it, whether a call did.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{PlatformId, RepId, Timestamp, schema};

/// A call may last two hours, and its score takes minutes: before that, nothing is amiss with a token without a call.
pub const MINT_MAY_TAKE: Duration = Duration::from_secs(3 * 60 * 60);

/// A request for a session token.
#[derive(Clone, Debug)]
pub struct NewMint {
    /// Ours, unique.
    pub id: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// For whom.
    pub rep: RepId,
    /// Of which agency.
    pub agency: Option<PlatformId>,
    /// Who asked: `user` or `service`.
    pub caller: &'static str,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct MintOutcome {
    /// `minted`, or the error's code.
    pub outcome: String,
    /// When Athos answered, or did not.
    pub answered_at: Timestamp,
    /// When the token expires.
    pub expires_at: Option<Timestamp>,
    /// Athos's request id, to quote.
    pub athos_request_id: Option<String>,
}

/// Which tokens to list.
#[derive(Clone, Debug, Default)]
pub struct MintFilter {
    /// Asked for at or after.
    pub from: Option<Timestamp>,
    /// Asked for at or before.
    pub to: Option<Timestamp>,
    /// For this rep.
    pub rep: Option<String>,
    /// Only those that were given out and have no call to show for it.
    pub without_call: bool,
}

/// A request for a session token. The token itself is never kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mint {
    /// Ours.
    pub id: String,
    /// When it was asked for.
    #[schema(value_type = schema::Timestamp)]
    pub requested_at: Timestamp,
    /// For whom: our id of the rep, or Athos's where ours is not known.
    #[schema(example = "rep_8842")]
    pub rep: String,
    /// Of which agency.
    pub agency: Option<String>,
    /// Who asked: `user` or `service`.
    pub caller: String,
    /// `minted`, or the error's code; `null` when no answer is on record.
    pub outcome: Option<String>,
    /// When Athos answered, or did not.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub answered_at: Option<Timestamp>,
    /// When the token expired.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub expires_at: Option<Timestamp>,
    /// Athos's request id, to quote.
    pub athos_request_id: Option<String>,
    /// Whether the rep has a call of that time. Which token began which call nobody tells us.
    pub has_call: bool,
}

/// One page of tokens, newest first.
#[derive(Clone, Debug)]
pub struct MintPage {
    /// The rows.
    pub rows: Vec<Mint>,
    /// The next page starts after this id; `None` on the last.
    pub next: Option<String>,
}
