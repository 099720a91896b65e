//! What the store knows of ids, in words: which of Athos's and which of ours name the same rep or the same agency.

/// Of what an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// Of a rep.
    Rep,
    /// Of an agency.
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
    /// Of what.
    pub kind: IdentityKind,
    /// Athos's id.
    pub athos_id: String,
    /// Ours.
    pub our_id: String,
    /// Whether Athos has our id on record, and can be asked for it.
    pub on_record: bool,
}
