//! Linked ids: which of Athos's and which of ours name the same rep or agency.

use async_trait::async_trait;

use super::StoreResult;
use crate::model::{PlatformId, Timestamp};

/// The role of the store that links ids.
#[async_trait]
pub trait Identities: Send + Sync {
    /// Learns ids from Athos's roster, and gives ours to the calls and mints that had only Athos's. What Athos has on
    /// record replaces what was known; the rest does not. Returns what is known now, one for each.
    async fn learn_identities(
        &self,
        pairings: Vec<LinkedIds>,
        now: Timestamp,
    ) -> StoreResult<Vec<LinkedIds>>;

    /// Athos's id of a rep of ours, if it is known.
    async fn find_agent(&self, rep: &PlatformId) -> StoreResult<Option<LinkedIds>>;

    /// The known linked ids of agencies.
    async fn known_agencies(&self) -> StoreResult<Vec<LinkedIds>>;
}

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// A rep.
    Rep,
    /// An agency.
    Agency,
}

impl IdentityKind {
    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rep => "rep",
            Self::Agency => "agency",
        }
    }
}

/// Two ids of the same rep or agency, as Athos's roster has them or as it found them to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedIds {
    /// What they name.
    pub kind: IdentityKind,
    /// Athos's id.
    pub athos_id: String,
    /// Ours.
    pub our_id: String,
    /// Whether Athos has our id on record, and can be asked for it.
    pub on_record: bool,
}
