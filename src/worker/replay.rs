//! Replays by hand, a step at a time. What was not understood when it came in is read once more: this may be a later
//! version.

use athos_api::types;

use crate::model::Timestamp;
use crate::store::{Actor, Operators, Replay, StoreResult};

/// What a step of a replay did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The events that are pending again.
    pub ids: Vec<i64>,
    /// Where the next step goes on; `None` when this was the last.
    pub next: Option<i64>,
}

/// Replays the next few events after the one with the id `after`, which is 0 at first.
///
/// # Errors
/// When the store fails; nothing is replayed then.
pub async fn replay_next(
    store: &dyn Operators,
    replay: Replay,
    after: i64,
    actor: Actor,
    now: Timestamp,
) -> StoreResult<Replayed> {
    let mut found = store.find_replayable(replay, after).await?;
    for event in &mut found.events {
        let unread = event.unread.take();
        event.parsed = unread.and_then(|body| types::read_event(&body).ok());
    }
    let ids = match found.events.is_empty() {
        true => Vec::new(),
        false => store.replay(replay, found.events, actor, now).await?,
    };
    Ok(Replayed {
        ids,
        next: found.next,
    })
}
