//! What Athos sends that no document mentions, by name: the vendor moves on under the same `/v1`.

use std::fmt;
use std::str::FromStr;

use super::{Timestamp, UnknownWord};

/// What kind of name is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriftKind {
    /// Of a field.
    Field,
    /// Of an error or of a reason.
    Code,
    /// Of an event.
    Event,
    /// Of where calls come from.
    Source,
    /// Of who speaks.
    Role,
}

impl DriftKind {
    const ALL: [Self; 5] = [
        Self::Field,
        Self::Code,
        Self::Event,
        Self::Source,
        Self::Role,
    ];

    /// The word in the database, in metrics and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Code => "code",
            Self::Event => "event",
            Self::Source => "source",
            Self::Role => "role",
        }
    }
}

impl FromStr for DriftKind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or(UnknownWord)
    }
}

/// Something new, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drift {
    /// What kind of name it is.
    pub kind: DriftKind,
    /// Where it stood: `webhook`, `call`, `score`, …
    pub place: String,
    /// The name, when it is a plain one; it goes to the log.
    pub name: String,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_str();
        write!(f, "the {kind} {} ({})", self.name, self.place)
    }
}

/// Something new, and how often it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDrift {
    /// What it is.
    pub drift: Drift,
    /// How many bodies had it.
    pub count: u64,
    /// When it was seen first.
    pub first_seen_at: Timestamp,
    /// When it was seen last.
    pub last_seen_at: Timestamp,
}
