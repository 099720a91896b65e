//! The inbox's entrance in SQL: which deliveries are new, by their webhook id and by what was signed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::privacy::tombstones::{self, Incoming};
use super::{calls, transaction};
use crate::model::{EventState, Timestamp};
use crate::store::{Accepted, NewEvent, Origin, StoreResult};

/// What became of a batch of events.
pub(super) struct Acceptance {
    /// For each event, whether it was new.
    pub(super) accepted: Vec<Accepted>,
    /// Whether some call got its row.
    pub(super) opened_calls: bool,
}

/// Fails when something was erased, and does nothing otherwise. A script of SQL can only be broken off by an error, and
/// the absolute value of the least integer is one.
const UNLESS_ERASED: &str =
    "SELECT abs(-9223372036854775807 - (hash IS NOT NULL)) FROM erased LIMIT 1; ";

/// Accepts events in a transaction of their own. Once something was erased, by whichever process, those about it are told
/// apart, which takes more trips; `erased` remembers it.
pub(super) async fn accept(
    connection: &mut SqliteConnection,
    events: &[NewEvent],
    erased: &AtomicBool,
) -> StoreResult<Acceptance> {
    if !erased.load(Ordering::Relaxed) {
        let accepted = insert_unless_erased(connection, events).await;
        // It failed for that, or for another reason, which the second try will meet again.
        if accepted.is_ok() || !tombstones::is_any(connection).await.unwrap_or(false) {
            return accepted;
        }
        erased.store(true, Ordering::Relaxed);
    }
    transaction::run(connection, async |tx| {
        accept_within(tx, events, Origin::Webhook).await
    })
    .await
}

/// Six statements, and one round trip to the connection's thread.
async fn insert_unless_erased(
    connection: &mut SqliteConnection,
    events: &[NewEvent],
) -> StoreResult<Acceptance> {
    let mut sql = QueryBuilder::<Sqlite>::new("BEGIN IMMEDIATE; ");
    sql.push(UNLESS_ERASED);
    push_inserts(&mut sql, events, Origin::Webhook);
    sql.push("; COMMIT");
    let counts = match sql.build().fetch_all(&mut *connection).await {
        Ok(counts) => Insertion::read(&counts),
        Err(error) => {
            transaction::roll_back(connection).await;
            return Err(error.into());
        }
    };
    if counts.all_new(events) {
        return Ok(counts.into_acceptance(vec![Accepted::New; events.len()]));
    }
    let accepted = transaction::run(connection, async |tx| {
        counts.tell_apart(tx, events, Origin::Webhook).await
    })
    .await?;
    Ok(counts.into_acceptance(accepted))
}

/// Accepts events in a transaction that somebody else commits; of those about what was erased, nothing is kept.
pub(super) async fn accept_within(
    tx: &mut SqliteConnection,
    events: &[NewEvent],
    origin: Origin,
) -> StoreResult<Acceptance> {
    let stopped = stopped(tx, events, "webhook").await?;
    if !stopped.contains(&true) {
        return insert_within(tx, events, origin).await;
    }
    let kept = events
        .iter()
        .zip(&stopped)
        .filter(|(_, stopped)| !**stopped);
    let kept: Vec<_> = kept.map(|(event, _)| event.clone()).collect();
    let mut acceptance = insert_within(tx, &kept, origin).await?;
    let mut accepted = acceptance.accepted.into_iter();
    acceptance.accepted = stopped
        .into_iter()
        .filter_map(|stopped| match stopped {
            true => Some(Accepted::Erased),
            false => accepted.next(),
        })
        .collect();
    Ok(acceptance)
}

/// For each of these events, whether it is about what was erased.
pub(super) async fn stopped<'e>(
    tx: &mut SqliteConnection,
    events: impl IntoIterator<Item = &'e NewEvent> + Clone,
    by: &'static str,
) -> StoreResult<Vec<bool>> {
    let understood = events.clone().into_iter().filter_map(|event| {
        let said = event.parsed.as_ref().ok()?;
        Some(Incoming::event(said, event.received_at))
    });
    let understood: Vec<_> = understood.collect();
    let mut stops = tombstones::find_tombstoned(tx, &understood, by)
        .await?
        .into_iter();
    Ok(events
        .into_iter()
        .map(|event| event.parsed.is_ok() && stops.next() == Some(true))
        .collect())
}

async fn insert_within(
    tx: &mut SqliteConnection,
    events: &[NewEvent],
    origin: Origin,
) -> StoreResult<Acceptance> {
    if events.is_empty() {
        return Ok(Insertion::read(&[]).into_acceptance(Vec::new()));
    }
    let counts = Insertion::run(tx, events, origin).await?;
    let accepted = if counts.all_new(events) {
        vec![Accepted::New; events.len()]
    } else {
        counts.tell_apart(tx, events, origin).await?
    };
    Ok(counts.into_acceptance(accepted))
}

/// Names what was signed, whatever webhook id it came under; a pure function of the body. The time in the body comes
/// first: new keys are at the end of their index, and few of its pages change.
fn content_key(event: &NewEvent) -> [u8; 24] {
    let occurred_at = event.parsed.as_ref().ok().and_then(|said| said.occurred_at);
    let time = occurred_at.map_or(0, Timestamp::as_millis).to_be_bytes();
    let digest = Sha256::digest(&event.body);
    let mut key = [0; 24];
    key[..8].copy_from_slice(&time);
    key[8..].copy_from_slice(&digest[..16]);
    key
}

/// OR ROLLBACK: a failed constraint fails the whole batch anyway, and this way SQLite need not keep the old content of
/// every page it changes, which costs as much as the insert.
fn push_inserts(sql: &mut QueryBuilder<Sqlite>, events: &[NewEvent], origin: Origin) {
    // Its row's number would be the next. A row that is refused as a duplicate spends its number all the same.
    sql.push(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0); \
         INSERT OR ROLLBACK INTO events \
         (webhook_id, state, received_at, signed_at, secret, call_id, body, next_attempt_at, reason, \
          content_key, needs_fetch, origin) ",
    );
    sql.push_values(events, |mut row, event| {
        let (state, call_id, due, reason) = match &event.parsed {
            Ok(said) => (
                EventState::Pending,
                Some(&*said.call_id),
                Some(event.received_at),
                None,
            ),
            Err(why) => (EventState::Ignored, None, None, Some(&**why)),
        };
        row.push_bind(&*event.webhook_id)
            .push_bind(state.as_str())
            .push_bind(event.received_at.as_millis())
            .push_bind(event.signed_at_secs * 1000)
            .push_bind(&*event.secret)
            .push_bind(call_id)
            .push_bind(&*event.body)
            .push_bind(due.map(Timestamp::as_millis))
            .push_bind(reason);
        // Two listings of a call may have the same bytes and another score.
        match origin {
            Origin::Webhook => row.push_bind(content_key(event).to_vec()),
            Origin::Reconcile => row.push("NULL"),
        };
        // Not bound: nearly every batch has the same text, and the fewer values the better.
        row.push(match &event.parsed {
            Ok(said) if said.needs_fetch() => "1",
            _ => "0",
        })
        .push(match origin {
            Origin::Webhook => "'webhook'",
            Origin::Reconcile => "'reconcile'",
        });
    });
    sql.push(" ON CONFLICT DO NOTHING; SELECT changes()");
    let mut seen = HashSet::new();
    let calls: Vec<_> = events
        .iter()
        .filter_map(|event| Some((event.parsed.as_ref().ok()?, event.received_at)))
        .filter(|(said, _)| seen.insert(&*said.call_id))
        .collect();
    if !calls.is_empty() {
        sql.push("; ");
        calls::push_open(sql, &calls);
        sql.push("; SELECT changes()");
    }
}

/// What the inserts did, by SQLite's own counts.
struct Insertion {
    /// All events with a larger id are of these inserts.
    last_before: i64,
    inserted: i64,
    opened: i64,
}

impl Insertion {
    async fn run(
        tx: &mut SqliteConnection,
        events: &[NewEvent],
        origin: Origin,
    ) -> StoreResult<Self> {
        let mut sql = QueryBuilder::<Sqlite>::default();
        push_inserts(&mut sql, events, origin);
        Ok(Self::read(&sql.build().fetch_all(tx).await?))
    }

    fn read(counts: &[SqliteRow]) -> Self {
        let count = |at: usize| counts.get(at).map_or(0, |row| row.get(0));
        Self {
            last_before: count(0),
            inserted: count(1),
            opened: count(2),
        }
    }

    fn all_new(&self, events: &[NewEvent]) -> bool {
        usize::try_from(self.inserted) == Ok(events.len())
    }

    fn into_acceptance(self, accepted: Vec<Accepted>) -> Acceptance {
        Acceptance {
            accepted,
            opened_calls: self.opened > 0,
        }
    }

    /// Which of `events` were new: the first with its webhook id and its content, ever. Counts the others as further
    /// deliveries; what only shares its webhook id with other content gets a row of its own.
    async fn tell_apart(
        &self,
        tx: &mut SqliteConnection,
        events: &[NewEvent],
        origin: Origin,
    ) -> StoreResult<Vec<Accepted>> {
        // Of nobody else: there was no other writer while the statement ran, and no id is used again.
        let mut new: HashMap<String, Option<Vec<u8>>> = sqlx::query_as(
            "SELECT webhook_id, content_key FROM events WHERE id > ? ORDER BY id LIMIT ?",
        )
        .bind(self.last_before)
        .bind(self.inserted)
        .fetch_all(&mut *tx)
        .await?
        .into_iter()
        .collect();
        let mut accepted = Vec::with_capacity(events.len());
        for event in events {
            let key = match origin {
                Origin::Webhook => Some(content_key(event).to_vec()),
                Origin::Reconcile => None,
            };
            if new.get(&event.webhook_id) == Some(&key) {
                new.remove(&event.webhook_id);
                accepted.push(Accepted::New);
                continue;
            }
            accepted.push(match (count_delivery(tx, event, key).await?, origin) {
                (Some(accepted), _) => accepted,
                (None, Origin::Webhook) => accept_as_content(tx, event).await?,
                (None, Origin::Reconcile) => Accepted::Duplicate,
            });
        }
        Ok(accepted)
    }
}

/// Counts a delivery of what is here already; nothing when only its webhook id is. Under the same id the bytes are
/// compared where they are kept: an event of before has no key of its content, or another version read it otherwise.
async fn count_delivery(
    tx: &mut SqliteConnection,
    event: &NewEvent,
    key: Option<Vec<u8>>,
) -> StoreResult<Option<Accepted>> {
    let of_same_id: Option<bool> = sqlx::query_scalar(
        "UPDATE events SET deliveries = deliveries + 1 \
         WHERE id = (SELECT id FROM events WHERE content_key = ?1 UNION ALL \
                     SELECT id FROM events WHERE webhook_id = ?2 \
                       AND (body = ?3 OR (body = x'' AND content_key IS NULL)) LIMIT 1) \
         RETURNING webhook_id = ?2",
    )
    .bind(key)
    .bind(&*event.webhook_id)
    .bind(&*event.body)
    .fetch_optional(tx)
    .await?;
    Ok(of_same_id.map(|same| match same {
        true => Accepted::Duplicate,
        false => Accepted::Replayed,
    }))
}

/// Accepts an event whose webhook id belongs to other content, as one that came without an id.
async fn accept_as_content(tx: &mut SqliteConnection, event: &NewEvent) -> StoreResult<Accepted> {
    let event = NewEvent {
        webhook_id: NewEvent::id_of_content(&event.body),
        ..event.clone()
    };
    // Something may have been erased since the first look, by another process.
    if stopped(tx, [&event], "webhook").await? == [true] {
        return Ok(Accepted::Erased);
    }
    let counts = Insertion::run(tx, std::slice::from_ref(&event), Origin::Webhook).await?;
    Ok(match counts.inserted {
        0 => Accepted::Duplicate,
        _ => Accepted::NewUnderUsedId,
    })
}
