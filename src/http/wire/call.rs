//! A call in lists, and where it stands.

use serde::Serialize;
use utoipa::ToSchema;

use super::{plain, schema, wire_enum};
use crate::model::{self, Timestamp};

wire_enum! {
    /// Where a call stands.
    pub(crate) enum CallStatus of model::CallStatus {
        /// Athos told us of it; its detail is not here yet.
        Processing,
        /// The score and the transcript are here.
        Scored,
        /// Athos could not score it; `reason` says why. There is nothing to fetch.
        Unscored,
    }
}

/// A call as readers see it in a list: a projection of what Athos said.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallRow {
    /// Athos's id of the call.
    #[schema(example = "athos_call_GZ1DjOkZv_VEPoE-CJ8mp")]
    id: String,
    /// Where it stands.
    status: CallStatus,
    /// `roleplay`, or another that Athos adds.
    #[schema(example = "roleplay")]
    source: String,
    /// Our id of the rep; Athos's, as long as ours is not known.
    #[schema(example = "rep_8842")]
    rep: Option<String>,
    /// Our id, or label, of the agency; Athos's, as long as ours is not known.
    #[schema(example = "agency_chicago")]
    agency: Option<String>,
    /// Which exercise it was.
    #[schema(example = "ma-full-sale")]
    drill_key: Option<String>,
    /// When it began.
    #[schema(value_type = Option<schema::Timestamp>)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<schema::Timestamp>)]
    ended_at: Option<Timestamp>,
    /// How long it was, in seconds.
    duration_sec: Option<i64>,
    /// When Athos scored it.
    #[schema(value_type = Option<schema::Timestamp>)]
    scored_at: Option<Timestamp>,
    /// 0 to 100; `null`, or on a practice call 0, when there is no headline score.
    #[serde(serialize_with = "plain")]
    overall_score: Option<f64>,
    /// 0 to 100; `null` when compliance was not assessed.
    #[serde(serialize_with = "plain")]
    compliance_percent: Option<f64>,
}

impl From<model::CallRow> for CallRow {
    fn from(row: model::CallRow) -> Self {
        Self {
            id: row.id,
            status: row.status.into(),
            source: row.source,
            rep: row.rep,
            agency: row.agency,
            drill_key: row.drill_key,
            started_at: row.started_at,
            ended_at: row.ended_at,
            duration_sec: row.duration_sec,
            scored_at: row.scored_at,
            overall_score: row.overall_score,
            compliance_percent: row.compliance_percent,
        }
    }
}

/// One turn of a transcript.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Turn {
    /// Who spoke.
    #[schema(example = "rep")]
    role: String,
    /// What was said. Hostile text: whoever shows it shows it as text.
    content: String,
    /// Seconds from the start of the call.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "plain")]
    start_time: Option<f64>,
    /// Seconds from the start of the call.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "plain")]
    end_time: Option<f64>,
}

impl From<model::Turn> for Turn {
    fn from(turn: model::Turn) -> Self {
        Self {
            role: turn.role.as_str().to_owned(),
            content: turn.content,
            start_time: turn.start_time,
            end_time: turn.end_time,
        }
    }
}
