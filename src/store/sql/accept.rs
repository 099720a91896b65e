//! The inbox's entrance in SQL: which deliveries are new, by their webhook id and by what was signed.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::opening::{Opening, Unopened};
use super::privacy::tombstones::{self, Incoming};
use super::{Connection, GivenRows, Operation, Value, values};
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
        self.due.note_arrival(event.received_at, said.needs_fetch());
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
    /// Two of the same meet at a unique index: the later one waits there, and finds the other's row.
    const BESIDE_OTHERS: bool = true;

    fn apply_together(
        accepts: &[&Self],
        tx: &dyn Connection,
    ) -> StoreResult<Vec<Option<Self::Output>>> {
        accept_together(tx, accepts)
    }

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

/// Accepts those that are new, with one statement. The others are nothing, and are looked at one by one. In the
/// order of their ids, so that replicas that accept the same wait for each other in that order, and never in a circle.
fn accept_together(
    tx: &dyn Connection,
    accepts: &[&Accept],
) -> StoreResult<Vec<Option<<Accept as Operation>::Output>>> {
    let mut outputs: Vec<_> = accepts.iter().map(|_| None).collect();
    let said = accepts.iter().enumerate().filter_map(|(place, accept)| {
        let said = accept.event.parsed.as_ref().ok()?;
        Some((place, Incoming::event(said, accept.event.received_at)))
    });
    let (places, incoming): (Vec<_>, Vec<_>) = said.unzip();
    for (place, stopped) in places
        .into_iter()
        .zip(tombstones::find_tombstoned(tx, &incoming, "webhook")?)
    {
        if stopped {
            outputs[place] = Some((Accepted::Erased, None));
        }
    }
    let mut left: Vec<usize> = (0..accepts.len())
        .filter(|place| outputs[*place].is_none())
        .collect();
    left.sort_by_key(|place| &accepts[*place].event.webhook_id);
    if left.is_empty() {
        return Ok(outputs);
    }
    let id_of = |place: usize| accepts[place].event.webhook_id.as_str();
    let rows: GivenRows<'_, _> = left
        .iter()
        .map(|place| {
            let Accept {
                event, content_key, ..
            } = accepts[*place];
            new_row(event, &event.webhook_id, Some(content_key), Origin::Webhook)
        })
        .collect();
    let inserted = tx.rows(INSERT_TOGETHER, &rows.values(), |row| {
        Ok((row.get::<i64>(0)?, row.get::<String>(1)?))
    })?;
    for (id, webhook_id) in inserted {
        // Of several with the same id the first is in.
        let first = left.partition_point(|place| id_of(*place) < webhook_id.as_str());
        if let Some(place) = left.get(first)
            && id_of(*place) == webhook_id
        {
            outputs[*place] = Some((Accepted::New, Some(id)));
        }
    }
    Ok(outputs)
}

/// A statement that inserts rows, unless they are here already.
macro_rules! insert {
    ($rows:literal) => {
        concat!(
            "INSERT INTO events (webhook_id, state, received_at, signed_at, secret, call_id, body, next_attempt_at, reason, \
               content_key, needs_fetch, origin) ",
            $rows,
            " ON CONFLICT DO NOTHING"
        )
    };
}

const INSERT: &str = insert!("VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)");
const INSERT_TOGETHER: &str = concat!(
    insert!("SELECT * FROM unnest(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"),
    " RETURNING id, webhook_id"
);

/// The values of a new row, in the order of the statements that insert it.
fn new_row<'a>(
    event: &'a NewEvent,
    webhook_id: &'a str,
    content_key: Option<&'a ContentKey>,
    origin: Origin,
) -> [Value<'a>; 12] {
    let (state, said, reason) = match &event.parsed {
        Ok(said) => (EventState::Pending, Some(said), None),
        Err(why) => (EventState::Ignored, None, Some(why)),
    };
    let due = said.map(|_| event.received_at.as_millis());
    [
        Value::from(webhook_id),
        state.as_str().into(),
        event.received_at.into(),
        (event.signed_at_secs * 1000).into(),
        Value::Text(Some(&event.secret)),
        Value::Text(said.map(|said| &*said.call_id)),
        Value::Bytes(Some(&event.body)),
        Value::Integer(due),
        Value::Text(reason.map(|reason| &**reason)),
        Value::Bytes(content_key.map(|key| &key[..])),
        i64::from(said.is_some_and(|said| said.needs_fetch())).into(),
        origin.as_str().into(),
    ]
}

/// The number of its row, if it was new.
fn insert(
    tx: &dyn Connection,
    event: &NewEvent,
    webhook_id: &str,
    content_key: Option<&ContentKey>,
    origin: Origin,
) -> StoreResult<Option<i64>> {
    tx.insert(INSERT, &new_row(event, webhook_id, content_key, origin))
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
