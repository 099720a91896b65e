//! A call: where it stands, and the row that readers see.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Timestamp, plain, schema, string_enum};

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
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
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallRow {
    /// Athos's id of the call.
    #[schema(example = "athos_call_GZ1DjOkZv_VEPoE-CJ8mp")]
    pub id: String,
    /// Where it stands.
    pub status: CallStatus,
    /// `roleplay`, or another that Athos adds.
    #[schema(example = "roleplay")]
    pub source: String,
    /// Our id of the rep; Athos's, as long as ours is not known.
    #[schema(example = "rep_8842")]
    pub rep: Option<String>,
    /// Our id, or label, of the agency; Athos's, as long as ours is not known.
    #[schema(example = "agency_chicago")]
    pub agency: Option<String>,
    /// Which exercise it was.
    #[schema(example = "ma-full-sale")]
    pub drill_key: Option<String>,
    /// When it began.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub ended_at: Option<Timestamp>,
    /// How long it was, in seconds.
    pub duration_sec: Option<i64>,
    /// When Athos scored it.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub scored_at: Option<Timestamp>,
    /// 0 to 100; `null`, or on a practice call 0, when there is no headline score.
    #[serde(serialize_with = "plain")]
    pub overall_score: Option<f64>,
    /// 0 to 100; `null` when compliance was not assessed.
    #[serde(serialize_with = "plain")]
    pub compliance_percent: Option<f64>,
}
