//! The record of session tokens: who asked and what came of it; and, as operators see it, whether a call did.

use std::time::Duration;

use async_trait::async_trait;

use super::{Page, StoreResult};
use crate::model::{LearnedContract, PlatformId, RepId, Timestamp};

/// The record of session tokens, and what asking for them taught about Athos.
#[async_trait]
pub trait Mints: Send + Sync {
    /// Records that a token is being asked for.
    async fn record_mint(&self, mint: NewMint) -> StoreResult<()>;

    /// Records what came of recorded mints, each by its id.
    async fn finish_mints(&self, outcomes: Vec<(String, MintOutcome)>) -> StoreResult<()>;

    /// How many of the tokens minted from `since` to `until` have no call to show for it: their rep began none while they
    /// were good. A token that was never used looks the same.
    async fn mints_without_call(&self, since: Timestamp, until: Timestamp) -> StoreResult<u64>;

    /// One page of requests for tokens, newest first, after the one with the id `after`.
    async fn list_mints(
        &self,
        filter: &MintFilter,
        limit: u32,
        after: Option<&str>,
    ) -> StoreResult<Page<Mint, String>>;

    /// Remembers which generation of the contract Athos speaks.
    async fn record_learned_contract(&self, learned: LearnedContract) -> StoreResult<()>;

    /// Which generation Athos was last found to speak.
    async fn learned_contract(&self) -> StoreResult<Option<LearnedContract>>;
}

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mint {
    /// Ours.
    pub id: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// For whom: our id of the rep, or Athos's where ours is not known.
    pub rep: String,
    /// Of which agency.
    pub agency: Option<String>,
    /// Who asked: `user` or `service`.
    pub caller: String,
    /// `minted`, or the error's code; `null` when no answer is on record.
    pub outcome: Option<String>,
    /// When Athos answered, or did not.
    pub answered_at: Option<Timestamp>,
    /// When the token expired.
    pub expires_at: Option<Timestamp>,
    /// Athos's request id, to quote.
    pub athos_request_id: Option<String>,
    /// Whether the rep has a call of that time. Which token began which call nobody tells us.
    pub has_call: bool,
}
