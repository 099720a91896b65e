//! A request for a session token, as operators see it.

use serde::Serialize;
use utoipa::ToSchema;

use super::schema;
use crate::model::Timestamp;
use crate::store;

/// A request for a session token. The token itself is never kept.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mint {
    /// Ours.
    id: String,
    /// When it was asked for.
    #[schema(value_type = schema::Timestamp)]
    requested_at: Timestamp,
    /// For whom: our id of the rep, or Athos's where ours is not known.
    #[schema(example = "rep_8842")]
    rep: String,
    /// Of which agency.
    agency: Option<String>,
    /// Who asked: `user` or `service`.
    caller: String,
    /// `minted`, or the error's code; `null` when no answer is on record.
    outcome: Option<String>,
    /// When Athos answered, or did not.
    #[schema(value_type = Option<schema::Timestamp>)]
    answered_at: Option<Timestamp>,
    /// When the token expired.
    #[schema(value_type = Option<schema::Timestamp>)]
    expires_at: Option<Timestamp>,
    /// Athos's request id, to quote.
    athos_request_id: Option<String>,
    /// Whether the rep has a call of that time. Which token began which call nobody tells us.
    has_call: bool,
}

impl From<store::Mint> for Mint {
    fn from(mint: store::Mint) -> Self {
        Self {
            id: mint.id,
            requested_at: mint.requested_at,
            rep: mint.rep,
            agency: mint.agency,
            caller: mint.caller,
            outcome: mint.outcome,
            answered_at: mint.answered_at,
            expires_at: mint.expires_at,
            athos_request_id: mint.athos_request_id,
            has_call: mint.has_call,
        }
    }
}
