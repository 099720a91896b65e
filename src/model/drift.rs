//! What Athos sends that no document mentions, as it is remembered.

use athos_api::Drift;

use super::Timestamp;

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
