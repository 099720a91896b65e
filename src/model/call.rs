//! A call: where it stands, and the row that readers see.

use super::{Timestamp, string_enum};

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStatus {
    /// Athos told us of it; its detail is not here yet.
    Processing,
    /// The score and the transcript are here.
    Scored,
    /// Athos could not score it; `reason` says why. There is nothing to fetch.
    Unscored,
}

string_enum!(CallStatus, "status", {
    Processing: "processing",
    Scored: "scored",
    Unscored: "unscored",
});

/// A call as readers see it in a list: a projection of what Athos said.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRow {
    /// Athos's id of the call.
    pub id: String,
    /// Where it stands.
    pub status: CallStatus,
    /// `roleplay`, or another that Athos adds.
    pub source: String,
    /// Our id of the rep; Athos's, as long as ours is not known.
    pub rep: Option<String>,
    /// Our id, or label, of the agency; Athos's, as long as ours is not known.
    pub agency: Option<String>,
    /// Which exercise it was.
    pub drill_key: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How long it was, in seconds.
    pub duration_sec: Option<i64>,
    /// When Athos scored it.
    pub scored_at: Option<Timestamp>,
    /// 0 to 100; `null`, or on a practice call 0, when there is no headline score.
    pub overall_score: Option<f64>,
    /// 0 to 100; `null` when compliance was not assessed.
    pub compliance_percent: Option<f64>,
}
