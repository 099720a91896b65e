//! `GET /athos/changes`: what changed, in the order of `rev`, for those who keep copies of calls elsewhere. Whoever is up to
//! date may wait for the next change; a wait holds no connection to the database.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use utoipa::{IntoParams, ToSchema};

use super::api::{Api, routes};
use super::auth::Standing;
use super::error::{ApiError, ErrorEnvelope};
use super::extract::turn_of;
use super::query::{Count, Parsed, Query};
use super::state::AppState;
use super::wire::CallRow;
use crate::store::{FeedChange, FeedPage};

pub(super) const PATH: &str = "/athos/changes";
/// Longest that a caller may wait for a change, in seconds.
const MAX_WAIT_SECS: u32 = 60;
/// Longest that a request takes before it is answered, beside what reading takes.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(MAX_WAIT_SECS as u64);
/// How often to look although nothing woke us: another process may have written.
const POLL: Duration = Duration::from_secs(10);
/// Steps through changes of others that one request makes; then it says how far it got.
const MAX_STEPS: usize = 20;

pub(super) fn router() -> Api {
    routes!(list_changes)
}

/// Which changes to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ChangesQuery {
    /// After this rev: `next` of the answer before; 0, or nothing, for all.
    #[param(value_type = Option<i64>)]
    after: Option<Parsed<u64>>,
    /// Changes in a page, 1 to 1000; 100 unless given.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    limit: Count<1, 1000, 100>,
    /// How many seconds to wait for a change when there is none, 0 to 60; 0 unless given.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    wait: Count<0, MAX_WAIT_SECS, 0>,
}

/// Some changes, oldest first.
#[derive(Serialize, ToSchema)]
struct ChangeList {
    /// The changes. A call that changed several times is there once, as it is now.
    data: Vec<Change>,
    /// What to ask with as `after` next time.
    next: i64,
}

/// What a copy must do.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Change {
    /// Keep the call as it is here.
    Call {
        #[serde(flatten)]
        row: CallRow,
        /// Of its last change.
        rev: i64,
    },
    /// Forget the call.
    Erased {
        /// Athos's id of the call.
        #[schema(example = "athos_call_GZ1DjOkZv_VEPoE-CJ8mp")]
        id: String,
        /// Always `true`.
        erased: bool,
        /// Of the erasure.
        rev: i64,
    },
}

impl From<FeedChange> for Change {
    fn from(change: FeedChange) -> Self {
        match change {
            FeedChange::Call { rev, row } => Self::Call {
                row: row.into(),
                rev,
            },
            FeedChange::Erased { rev, id } => Self::Erased {
                id,
                erased: true,
                rev,
            },
        }
    }
}

/// Follow changes
///
/// Every change of a call, in order and at least once, from the first one on: ask again with `next` as `after`. A page without
/// changes is no end; it says how far there are none. `{"id","erased":true,"rev"}` tells that a call was erased and must be
/// forgotten; only callers who see every call are told. With `wait`, the answer comes when there is a change, or when the time
/// is over.
#[utoipa::path(
    get, path = "/athos/changes", tag = "athos", params(ChangesQuery),
    responses(
        (status = 200, body = ChangeList),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "CROSS_SITE_REQUEST: another site's page asks with the caller's cookie; SCOPE_MISSING"),
        (status = 410, body = ErrorEnvelope, description = "CURSOR_AHEAD: the rev is of another database, or of the time before it was restored; begin again with an empty copy"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED: too many reads of this caller at the same time"),
        (status = 503, body = ErrorEnvelope, description = "TOO_MANY_STREAMS: those who wait count as live streams; READ_TIMED_OUT, STORE_UNAVAILABLE"),
    ),
    security(("bearer" = ["read"])),
)]
async fn list_changes(
    State(state): State<AppState>,
    standing: Standing,
    Query(query): Query<ChangesQuery>,
) -> Result<Json<ChangeList>, ApiError> {
    let after = query.after.map_or(0, |Parsed(rev)| rev);
    let mut feed = Feed {
        // Followed before the first look: a change in between still wakes us.
        wakeups: state.store.changes(),
        rev: i64::try_from(after).unwrap_or(i64::MAX),
        limit: query.limit.0,
        state,
        standing,
    };
    let mut changes = feed.read().await?;
    if changes.is_empty() && query.wait.0 > 0 {
        changes = feed.wait(Duration::from_secs(query.wait.0.into())).await?;
    }
    Ok(Json(ChangeList {
        data: changes.into_iter().map(Change::from).collect(),
        next: feed.rev,
    }))
}

/// One caller's place in the feed.
struct Feed {
    state: AppState,
    standing: Standing,
    wakeups: watch::Receiver<u64>,
    rev: i64,
    limit: u32,
}

impl Feed {
    /// The next changes; none when there are none yet, or so many of others that the caller had better ask again.
    async fn read(&mut self) -> Result<Vec<FeedChange>, ApiError> {
        for _ in 0..MAX_STEPS {
            self.wakeups.borrow_and_update();
            let FeedPage {
                changes,
                up_to,
                latest,
            } = self.step().await?;
            if self.rev > latest {
                return Err(ApiError::CursorAhead);
            }
            self.rev = up_to;
            if !changes.is_empty() || up_to >= latest {
                return Ok(changes);
            }
        }
        Ok(Vec::new())
    }

    async fn step(&self) -> Result<FeedPage, ApiError> {
        let _turn = turn_of(&self.standing.caller, &self.state).await?;
        let scope = self.standing.caller.scope();
        let page = self.state.store.read_feed(&scope, self.rev, self.limit);
        Ok(page.await?)
    }

    /// The next changes, or none when `wait` is over, the service stops, or the credentials end.
    async fn wait(&mut self, wait: Duration) -> Result<Vec<FeedChange>, ApiError> {
        let place = self
            .state
            .limits
            .streams
            .take(self.standing.caller.person());
        let _place = place.ok_or(ApiError::TooManyStreams)?;
        let until = Instant::now() + wait;
        loop {
            let now = Instant::now();
            if now >= until || self.state.shutdown.is_cancelled() {
                return Ok(Vec::new());
            }
            tokio::select! {
                _ = self.wakeups.changed() => {}
                () = self.standing.replaced() => {}
                () = self.state.shutdown.cancelled() => {}
                () = sleep_until(until.min(now + POLL)) => {}
            }
            if !self.standing.is_good().await {
                return Err(ApiError::InvalidCredentials(
                    "the credentials are no longer valid",
                ));
            }
            let changes = self.read().await?;
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }
}
