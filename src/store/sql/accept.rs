//! The inbox's entrance in SQL: which deliveries are new, by their webhook id and by what was signed.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::opening::{Opening, Unopened};
use super::privacy::tombstones::{self, Incoming};
use super::{Connection, Operation, values};
use crate::model::{EventState, Timestamp};
use crate::store::{Accepted, DueTimes, NewEvent, Origin, StoreResult};

/// Where those who wait for events hear of them.
#[derive(Clone, Default)]
pub(in crate::store) struct Arrivals {
    pub(in crate::store) opening: Arc<Opening>,
    pub(super) due: Arc<DueTimes>,
}

impl Arrivals {
    /// Tells of an event that has come in.
    fn tell(&self, event_id: i64, event: NewEvent) {
        let Ok(said) = event.parsed else { return };
        self.due.note(event.received_at, said.needs_fetch());
        self.opening.push(Unopened {
            event_id,
            said,
            received_at: event.received_at,
        });
    }
}

/// Takes a delivery into the inbox.
pub(in crate::store) struct Accept {
    event: NewEvent,
    content_key: ContentKey,
    arrivals: Arrivals,
}

impl Accept {
    pub(super) fn new(event: NewEvent, arrivals: Arrivals) -> Self {
        Self {
            content_key: content_key(&event),
            event,
            arrivals,
        }
    }
}

impl Operation for Accept {
    /// With the number of its row, when it is new.
    type Output = (Accepted, Option<i64>);

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Self::Output> {
        accept(tx, &self.event, Some(&self.content_key))
    }

    fn committed(self, (_, new): &Self::Output) {
        if let Some(event_id) = new {
            self.arrivals.tell(*event_id, self.event);
        }
    }
}

/// Names what was signed, whatever webhook id it came under. The time in the body comes first: new keys are at the end of
/// their index, and few of its pages change.
type ContentKey = [u8; 24];

fn content_key(event: &NewEvent) -> ContentKey {
    let occurred_at = event.parsed.as_ref().ok().and_then(|said| said.occurred_at);
    let time = occurred_at.map_or(0, Timestamp::as_millis).to_be_bytes();
    let digest = Sha256::digest(&event.body);
    let mut key = [0; 24];
    key[..8].copy_from_slice(&time);
    key[8..].copy_from_slice(&digest[..16]);
    key
}

/// Accepts what was signed and has this content, or what reconciliation found, which nobody signed: two listings of a call
/// may have the same bytes and another score. With the number of its row, when it is new.
pub(super) fn accept(
    tx: &dyn Connection,
    event: &NewEvent,
    content_key: Option<&ContentKey>,
) -> StoreResult<(Accepted, Option<i64>)> {
    let (origin, by) = match content_key {
        Some(_) => (Origin::Webhook, "webhook"),
        None => (Origin::Reconcile, "reconciliation"),
    };
    if let Ok(said) = &event.parsed
        && tombstones::is_tombstoned(tx, &Incoming::event(said, event.received_at), by)?
    {
        return Ok((Accepted::Erased, None));
    }
    if let Some(id) = insert(tx, event, &event.webhook_id, content_key, origin)? {
        return Ok((Accepted::New, Some(id)));
    }
    if let Some(known) = count_delivery(tx, event, content_key)? {
        return Ok((known, None));
    }
    if origin == Origin::Webhook {
        // Its webhook id belongs to other content: it is taken as one that came without an id.
        let webhook_id = NewEvent::id_of_content(&event.body);
        if let Some(id) = insert(tx, event, &webhook_id, content_key, origin)? {
            return Ok((Accepted::NewUnderUsedId, Some(id)));
        }
    }
    Ok((Accepted::Duplicate, None))
}

/// The number of its row, if it was new.
fn insert(
    tx: &dyn Connection,
    event: &NewEvent,
    webhook_id: &str,
    content_key: Option<&ContentKey>,
    origin: Origin,
) -> StoreResult<Option<i64>> {
    let (state, said, reason) = match &event.parsed {
        Ok(said) => (EventState::Pending, Some(said), None),
        Err(why) => (EventState::Ignored, None, Some(why)),
    };
    let id = tx.first(
        "INSERT INTO events \
         (webhook_id, state, received_at, signed_at, secret, call_id, body, next_attempt_at, reason, \
          content_key, needs_fetch, origin) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING \
         RETURNING id",
        values![
            webhook_id,
            state.as_str(),
            event.received_at,
            event.signed_at_secs * 1000,
            event.secret,
            said.map(|said| &said.call_id),
            event.body,
            said.map(|_| event.received_at),
            reason,
            content_key,
            said.is_some_and(|said| said.needs_fetch()),
            origin.as_str(),
        ],
        |row| row.get(0),
    )?;
    Ok(id)
}

/// Counts a delivery of what is here already; nothing when only its webhook id is. Under the same id the bytes are
/// compared where they are kept: an event of before has no key of its content, or another version read it otherwise.
fn count_delivery(
    tx: &dyn Connection,
    event: &NewEvent,
    content_key: Option<&ContentKey>,
) -> StoreResult<Option<Accepted>> {
    let is_of_same_id = tx.first(
        "UPDATE events SET deliveries = deliveries + 1 \
             WHERE id = (SELECT id FROM events WHERE content_key = ?1 UNION ALL \
                         SELECT id FROM events WHERE webhook_id = ?2 \
                           AND (body = ?3 OR (length(body) = 0 AND content_key IS NULL)) LIMIT 1) \
             RETURNING CASE WHEN webhook_id = ?2 THEN 1 ELSE 0 END",
        values![content_key, event.webhook_id, event.body],
        |row| row.get(0),
    )?;
    Ok(is_of_same_id.map(|same| match same {
        true => Accepted::Duplicate,
        false => Accepted::Replayed,
    }))
}
