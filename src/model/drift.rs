//! What Athos sends that no document mentions, by name: the vendor moves on under the same `/v1`.

use std::fmt;

use super::{Timestamp, words};

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

words!(DriftKind, "kind of name", {
    Field: "field",
    Code: "code",
    Event: "event",
    Source: "source",
    Role: "role",
});

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
