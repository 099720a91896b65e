//! A stored name that the contract does not mention.

use athos_api::Drift;

use super::Timestamp;

/// An unknown name, and how often it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDrift {
    /// The name.
    pub drift: Drift,
    /// How many bodies had it.
    pub count: u64,
    /// When it was seen first.
    pub first_seen_at: Timestamp,
    /// When it was seen last.
    pub last_seen_at: Timestamp,
}
