//! `GET /athos/progress`: how reps do at each drill, in numbers and as points for a chart. The scope comes from the
//! caller; filters only narrow it.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::{Api, routes};
use super::error::{ApiError, ErrorEnvelope};
use super::extract::Reader;
use super::query::{Bound, Query, known_source};
use super::state::AppState;
use super::wire::{plain, schema};
use crate::model::{Source, Timestamp};
use crate::store::{Progress, ProgressFilter, ScorePoint};

/// Most pairs of rep and drill in an answer, the latest practised first.
const MAX_PAIRS: u32 = 1000;
/// Points of a trend: what a chart has room for.
const MAX_POINTS: u32 = 30;

pub(super) fn router() -> Api {
    routes!(show_progress)
}

/// Whose progress, over which time.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ProgressQuery {
    /// Ended at or after: a moment (ISO 8601), a day in UTC (`2026-06-05`, from its start), or how long ago (`2h`, `7d`).
    #[param(value_type = Option<String>)]
    from: Option<Bound>,
    /// Ended at or before: the same, and a day to its end.
    #[param(value_type = Option<String>)]
    to: Option<Bound>,
    /// Of this rep.
    rep: Option<String>,
    /// Of this agency.
    agency: Option<String>,
    /// `roleplay` unless given; or `real_call`: judged on another scale, and never mixed with practice.
    source: Option<String>,
}

/// Progress, the latest practised first.
#[derive(Serialize, ToSchema)]
struct ProgressList {
    /// One entry for each rep and drill; for each rep, of real calls.
    data: Vec<DrillProgress>,
}

/// How one rep does at one drill; or on real calls, which have no drill.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DrillProgress {
    /// What the calls are: `roleplay` or `real_call`.
    #[schema(example = "roleplay")]
    source: String,
    /// Whose it is.
    #[schema(example = "rep_8842")]
    rep: Option<String>,
    /// Which exercise.
    #[schema(example = "ma-full-sale")]
    drill_key: Option<String>,
    /// Calls with a headline score. A call whose score is 0 has none and counts in none of the figures.
    count: i64,
    /// Its mean; `null` without any.
    #[serde(serialize_with = "plain")]
    mean: Option<f64>,
    /// The best; `null` without any.
    #[serde(serialize_with = "plain")]
    best: Option<f64>,
    /// The latest; `null` without any.
    #[serde(serialize_with = "plain")]
    last: Option<f64>,
    /// Calls whose compliance was assessed.
    compliance_count: i64,
    /// The mean of what it came to; `null` without any.
    #[serde(serialize_with = "plain")]
    compliance_mean: Option<f64>,
    /// The latest scores, at most 30, oldest first.
    points: Vec<Point>,
}

/// One score.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Point {
    /// The call.
    id: String,
    /// When it ended.
    #[schema(value_type = schema::Timestamp)]
    ended_at: Timestamp,
    /// 0 to 100.
    #[serde(serialize_with = "plain")]
    score: f64,
}

impl DrillProgress {
    fn new(source: &str, progress: Progress) -> Self {
        Self {
            source: source.to_owned(),
            rep: progress.rep,
            drill_key: progress.drill_key,
            count: progress.count,
            mean: progress.mean,
            best: progress.best,
            compliance_count: progress.compliance_count,
            compliance_mean: progress.compliance_mean,
            last: progress.points.last().map(|point| point.score),
            points: progress.points.into_iter().map(Point::from).collect(),
        }
    }
}

impl From<ScorePoint> for Point {
    fn from(point: ScorePoint) -> Self {
        Self {
            id: point.id,
            ended_at: point.ended_at,
            score: point.score,
        }
    }
}

/// Show progress
///
/// Per rep and drill: how many calls were scored, mean, best, last, the trend, and compliance where it was assessed.
/// Practice calls, unless another source is asked for; a rep sees their own, a manager those of the agency, an admin or a
/// service all.
#[utoipa::path(
    get, path = "/athos/progress", tag = "athos", params(ProgressQuery),
    responses(
        (status = 200, body = ProgressList),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "SCOPE_MISSING"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
        (status = 503, body = ErrorEnvelope, description = "READ_TIMED_OUT: ask for less; STORE_UNAVAILABLE"),
    ),
    security(("bearer" = ["read"])),
)]
async fn show_progress(
    State(state): State<AppState>,
    reader: Reader,
    Query(query): Query<ProgressQuery>,
) -> Result<Json<ProgressList>, ApiError> {
    let now = state.clock.now();
    let source = known_source(&state.store, query.source).await?;
    let filter = ProgressFilter {
        scope: reader.scope(),
        from: query.from.map(|bound| bound.first(now)),
        to: query.to.map(|bound| bound.last(now)),
        rep: query.rep,
        agency: query.agency,
        source: source.unwrap_or_else(|| Source::Roleplay.as_str().to_owned()),
    };
    let progress = state.store.progress(&filter, MAX_PAIRS, MAX_POINTS).await?;
    let of_source = |progress| DrillProgress::new(&filter.source, progress);
    let data = progress.into_iter().map(of_source).collect();
    Ok(Json(ProgressList { data }))
}
