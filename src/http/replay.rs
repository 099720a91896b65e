//! What the two replays over HTTP share, of events and of deliveries: the answer, and steps until a request has done enough.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::query::Cursor;
use crate::store::{StoreResult, WouldReplay};

/// Ids that a dry run lists.
pub(super) const MAX_LISTED_IDS: u32 = 1_000;
/// Rows after which a request is answered, though there may be more.
const MAX_REPLAYED: usize = 5_000;
/// The same after some time: well before the request's own deadline.
const MAX_REPLAY_TIME: Duration = Duration::from_secs(5);

/// What was replayed; in a dry run, what would be.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplayAnswer {
    /// How many were replayed by this request; in a dry run, how many there are.
    count: u64,
    /// Their ids; in a dry run, the first thousand.
    ids: Vec<i64>,
    /// Whether nothing was done.
    dry_run: bool,
    /// There may be more: ask again with it. `null` when all is done.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<Cursor<i64>>,
}

impl ReplayAnswer {
    pub(super) fn done(ids: Vec<i64>, next: Option<i64>) -> Self {
        Self {
            count: ids.len() as u64,
            ids,
            dry_run: false,
            next_cursor: next.map(Cursor),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

impl From<WouldReplay> for ReplayAnswer {
    fn from(would: WouldReplay) -> Self {
        Self {
            count: would.count,
            ids: would.first,
            dry_run: true,
            next_cursor: None,
        }
    }
}

/// Takes steps, each of which says what it replayed after an id and where the next goes on, until all is done, or as much as
/// one request may. Of what was done the caller is told in any case: an error after the first step only ends it.
pub(super) async fn replay_steps<F>(
    mut after: i64,
    step: impl Fn(i64) -> F,
) -> Result<ReplayAnswer, ApiError>
where
    F: Future<Output = StoreResult<(Vec<i64>, Option<i64>)>>,
{
    let started = tokio::time::Instant::now();
    let mut ids = Vec::new();
    let next = loop {
        let (replayed, next) = match step(after).await {
            Ok(step) => step,
            Err(error) if ids.is_empty() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, replayed = ids.len(), "failed to finish a range replay");
                break Some(after);
            }
        };
        ids.extend(replayed);
        let Some(next) = next else { break None };
        after = next;
        if ids.len() >= MAX_REPLAYED || started.elapsed() >= MAX_REPLAY_TIME {
            break Some(after);
        }
    };
    Ok(ReplayAnswer::done(ids, next))
}
