//! The inbox in SQL: accept, claim, settle.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::privacy::erase;
use super::privacy::erased::{self, Incoming};
use super::readers::ReadPool;
use super::writer::Operation;
use super::{calls, inspect, transaction};
use crate::model::{EventState, Timestamp};
use crate::store::{
    Accepted, Claimable, ClaimedEvent, Lease, NewEvent, QueueDepth, Settled, Settlement,
    StoreResult,
};

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
        if accepted.is_ok() || !erased::is_any(connection).await.unwrap_or(false) {
            return accepted;
        }
        erased.store(true, Ordering::Relaxed);
    }
    transaction::run(connection, async |tx| accept_within(tx, events).await).await
}

/// Five statements, and one round trip to the connection's thread.
async fn insert_unless_erased(
    connection: &mut SqliteConnection,
    events: &[NewEvent],
) -> StoreResult<Acceptance> {
    let mut sql = QueryBuilder::<Sqlite>::new("BEGIN IMMEDIATE; ");
    sql.push(UNLESS_ERASED);
    push_inserts(&mut sql, events);
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
    let accepted =
        transaction::run(connection, async |tx| counts.tell_apart(tx, events).await).await?;
    Ok(counts.into_acceptance(accepted))
}

/// Accepts events in a transaction that somebody else commits; of those about what was erased, nothing is kept.
pub(super) async fn accept_within(
    tx: &mut SqliteConnection,
    events: &[NewEvent],
) -> StoreResult<Acceptance> {
    let stopped = stopped(tx, events, "webhook").await?;
    if !stopped.contains(&true) {
        return insert_within(tx, events).await;
    }
    let kept = events
        .iter()
        .zip(&stopped)
        .filter(|(_, stopped)| !**stopped);
    let kept: Vec<_> = kept.map(|(event, _)| event.clone()).collect();
    let mut acceptance = insert_within(tx, &kept).await?;
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
        let said = event.said.as_ref().ok()?;
        Some(Incoming {
            call_id: &said.call_id,
            identity: &said.identity,
            at: said.occurred_at.unwrap_or(event.received_at),
        })
    });
    let understood: Vec<_> = understood.collect();
    let mut stops = erased::stops(tx, &understood, by).await?.into_iter();
    Ok(events
        .into_iter()
        .map(|event| event.said.is_ok() && stops.next() == Some(true))
        .collect())
}

async fn insert_within(tx: &mut SqliteConnection, events: &[NewEvent]) -> StoreResult<Acceptance> {
    if events.is_empty() {
        return Ok(Insertion::read(&[]).into_acceptance(Vec::new()));
    }
    let mut sql = QueryBuilder::<Sqlite>::default();
    push_inserts(&mut sql, events);
    let counts = Insertion::read(&sql.build().fetch_all(&mut *tx).await?);
    let accepted = if counts.all_new(events) {
        vec![Accepted::New; events.len()]
    } else {
        counts.tell_apart(tx, events).await?
    };
    Ok(counts.into_acceptance(accepted))
}

/// OR ROLLBACK: a failed constraint fails the whole batch anyway, and this way SQLite need not keep the old content of
/// every page it changes, which costs as much as the insert.
fn push_inserts(sql: &mut QueryBuilder<Sqlite>, events: &[NewEvent]) {
    sql.push(
        "INSERT OR ROLLBACK INTO events \
         (webhook_id, state, received_at, signed_at, secret, call_id, body, next_attempt_at, reason, \
          needs_fetch) ",
    );
    sql.push_values(events, |mut row, event| {
        let (state, call_id, due, reason) = match &event.said {
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
            .push_bind(reason)
            // Not bound: nearly every batch has the same text, and the fewer values the better.
            .push(match &event.said {
                Ok(said) if said.needs_fetch() => "1",
                _ => "0",
            });
    });
    sql.push(" ON CONFLICT (webhook_id) DO NOTHING; SELECT changes(), last_insert_rowid()");
    let mut seen = HashSet::new();
    let calls: Vec<_> = events
        .iter()
        .filter_map(|event| Some((event.said.as_ref().ok()?, event.received_at)))
        .filter(|(said, _)| seen.insert(&*said.call_id))
        .collect();
    if !calls.is_empty() {
        sql.push("; ");
        calls::push_open(sql, &calls);
        sql.push("; SELECT changes(), 0");
    }
}

/// What the inserts did, by SQLite's own counts.
struct Insertion {
    inserted: i64,
    last_id: i64,
    opened: i64,
}

impl Insertion {
    fn read(counts: &[SqliteRow]) -> Self {
        Self {
            inserted: counts.first().map_or(0, |row| row.get(0)),
            last_id: counts.first().map_or(0, |row| row.get(1)),
            opened: counts.get(1).map_or(0, |row| row.get(0)),
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

    /// Which of `events` were new: the first with its webhook id, ever. Counts the others as further deliveries.
    async fn tell_apart(
        &self,
        tx: &mut SqliteConnection,
        events: &[NewEvent],
    ) -> StoreResult<Vec<Accepted>> {
        // One statement's rows have consecutive ids: there is no other writer while it runs.
        let mut new: HashSet<String> =
            sqlx::query_scalar("SELECT webhook_id FROM events WHERE id > ? AND id <= ?")
                .bind(self.last_id - self.inserted)
                .bind(self.last_id)
                .fetch_all(&mut *tx)
                .await?
                .into_iter()
                .collect();
        let mut accepted = Vec::with_capacity(events.len());
        for event in events {
            if new.remove(&event.webhook_id) {
                accepted.push(Accepted::New);
                continue;
            }
            sqlx::query("UPDATE events SET deliveries = deliveries + 1 WHERE webhook_id = ?")
                .bind(&*event.webhook_id)
                .execute(&mut *tx)
                .await?;
            accepted.push(Accepted::Duplicate);
        }
        Ok(accepted)
    }
}

const HAS_FAILED: &str =
    "(attempts > 0 OR EXISTS (SELECT 1 FROM attempts WHERE event_id = events.id))";

/// Selects the ids of events that are due at `?1`.
fn due(which: Claimable, limit: &str) -> String {
    let untried = format!("WHERE NOT {HAS_FAILED}");
    let condition = match which {
        Claimable::All => {
            return format!(
                "SELECT id FROM events WHERE next_attempt_at <= ?1 \
                 ORDER BY next_attempt_at, id LIMIT {limit}"
            );
        }
        Claimable::WithoutFetch => {
            return format!(
                "SELECT id FROM events WHERE next_attempt_at <= ?1 AND needs_fetch = 0 \
                 ORDER BY next_attempt_at, id LIMIT {limit}"
            );
        }
        Claimable::Probe => "",
        Claimable::UntriedProbe => &*untried,
    };
    // Both ends of the queue are looked at, and not all of it: it can be long while Athos is down.
    let end = |order| {
        format!(
            "SELECT * FROM (SELECT id, attempts, next_attempt_at FROM events \
                            WHERE next_attempt_at <= ?1 AND needs_fetch = 1 \
                            ORDER BY next_attempt_at {order}, id {order} LIMIT {PROBE_CANDIDATES})"
        )
    };
    format!(
        "SELECT id FROM ({} UNION {}) AS events {condition} \
         ORDER BY {HAS_FAILED}, iif({HAS_FAILED}, next_attempt_at, -next_attempt_at), -id LIMIT {limit}",
        end("ASC"),
        end("DESC"),
    )
}

/// How many events at each end of the queue a probe is chosen from.
const PROBE_CANDIDATES: u32 = 64;

/// Leases due events.
pub(super) struct Claim {
    pub(super) which: Claimable,
    pub(super) now: Timestamp,
    pub(super) limit: u32,
    pub(super) until: Timestamp,
}

#[async_trait]
impl Operation for Claim {
    type Output = Vec<ClaimedEvent>;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<Vec<ClaimedEvent>> {
        let sql = format!(
            "UPDATE events SET state = 'processing', lease = lease + 1, next_attempt_at = ?2 \
             WHERE id IN ({}) \
             RETURNING id, body, lease, attempts, {HAS_FAILED} AS has_failed",
            due(self.which, "?3")
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.now.as_millis())
            .bind(self.until.as_millis())
            .bind(self.limit)
            .fetch_all(tx)
            .await?;
        Ok(rows
            .iter()
            .map(|row| ClaimedEvent {
                lease: Lease {
                    event_id: row.get("id"),
                    number: row.get("lease"),
                },
                attempts: row.get("attempts"),
                has_failed: row.get("has_failed"),
                body: row.get("body"),
            })
            .collect())
    }
}

/// Ends an attempt.
pub(super) struct Settle {
    pub(super) lease: Lease,
    pub(super) settlement: Settlement,
    pub(super) now: Timestamp,
}

impl Settle {
    /// The call that would be written.
    fn result(&self) -> Option<Incoming<'_>> {
        match &self.settlement {
            Settlement::Scored(detail) => {
                let call = &detail.header;
                Some(Incoming {
                    call_id: &call.id,
                    identity: &call.identity,
                    at: call
                        .started_at
                        .or(call.ended_at)
                        .or(call.scored_at)
                        .unwrap_or(self.now),
                })
            }
            Settlement::Unscored(said) => Some(Incoming {
                call_id: &said.call_id,
                identity: &said.identity,
                at: said.occurred_at.unwrap_or(self.now),
            }),
            _ => None,
        }
    }
}

#[async_trait]
impl Operation for Settle {
    type Output = Settled;
    const CHANGES_CALLS: bool = true;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<Settled> {
        let (state, due, reason, spent) = match &self.settlement {
            Settlement::Scored(_) | Settlement::Unscored(_) => (EventState::Done, None, None, true),
            Settlement::Retry {
                at, reason, spent, ..
            } => (EventState::Pending, Some(*at), Some(reason), *spent),
            Settlement::Dead { reason, .. } => (EventState::Dead, None, Some(reason), true),
            Settlement::Ignored { reason } => (EventState::Ignored, None, Some(reason), false),
        };
        let settled = sqlx::query(
            "UPDATE events SET state = ?, next_attempt_at = ?, reason = ?, \
             attempts = attempts + ?, settled_at = ? \
             WHERE id = ? AND lease = ? AND state = 'processing'",
        )
        .bind(state.as_str())
        .bind(due.map(Timestamp::as_millis))
        .bind(reason)
        .bind(i64::from(spent))
        .bind(due.is_none().then(|| self.now.as_millis()))
        .bind(self.lease.event_id)
        .bind(self.lease.number)
        .execute(&mut *tx)
        .await?;
        if settled.rows_affected() == 0 {
            return Ok(Settled::LeaseLost);
        }
        if let Some(call) = self.result()
            && erased::stops(tx, &[call], "attempt").await? == [true]
        {
            erase::forget_event(tx, self.lease.event_id).await?;
            return Ok(Settled::Erased);
        }
        inspect::record_attempt(tx, self.lease, &self.settlement, self.now).await?;
        match &self.settlement {
            Settlement::Scored(detail) => calls::store_detail(tx, detail, self.now).await?,
            Settlement::Unscored(event) => calls::store_unscored(tx, event, self.now).await?,
            _ => {}
        }
        Ok(Settled::Yes)
    }
}

/// Makes up for a clock that was set back.
pub(super) struct ShortenWaits {
    pub(super) now: Timestamp,
    pub(super) lease: Duration,
    pub(super) waits: Vec<Duration>,
}

#[async_trait]
impl Operation for ShortenWaits {
    type Output = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<u64> {
        let leases = sqlx::query(
            "UPDATE events SET next_attempt_at = ?1 WHERE next_attempt_at > ?1 AND state = 'processing'",
        )
        .bind(self.now.plus(self.lease).as_millis())
        .execute(&mut *tx)
        .await?;
        let mut shortened = leases.rows_affected();
        for (spent, wait) in self.waits.iter().enumerate() {
            // What Athos asked for may be longer. Only an attempt of later than now was made by another clock; one that
            // nothing was spent on waits for nothing.
            let waits = sqlx::query(
                "UPDATE events SET next_attempt_at = ?1 \
                 WHERE next_attempt_at > ?1 AND state = 'pending' AND min(attempts, ?2) = ?3 \
                   AND (attempts = 0 OR EXISTS (SELECT 1 FROM attempts WHERE event_id = id AND at > ?4))",
            )
            .bind(self.now.plus(*wait).as_millis())
            .bind(i64::try_from(self.waits.len() - 1).unwrap_or(i64::MAX))
            .bind(i64::try_from(spent).unwrap_or(i64::MAX))
            .bind(self.now.as_millis())
            .execute(&mut *tx)
            .await?;
            shortened += waits.rows_affected();
        }
        Ok(shortened)
    }
}

/// Whether a claim would find anything.
pub(super) async fn is_any_due(
    readers: &ReadPool,
    which: Claimable,
    now: Timestamp,
) -> StoreResult<bool> {
    let sql = format!("SELECT EXISTS ({})", due(which, "1"));
    let found = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(now.as_millis())
        .fetch_one(readers)
        .await?;
    Ok(found)
}

pub(super) async fn next_due(readers: &ReadPool) -> StoreResult<Option<Timestamp>> {
    let due: Option<i64> = sqlx::query_scalar(
        "SELECT min(next_attempt_at) FROM events WHERE next_attempt_at IS NOT NULL",
    )
    .fetch_one(readers)
    .await?;
    Ok(due.map(Timestamp::from_millis))
}

pub(super) async fn queue_depth(readers: &ReadPool) -> StoreResult<QueueDepth> {
    let row = sqlx::query(
        "SELECT waiting, (SELECT received_at FROM events WHERE id = oldest) AS oldest_received_at, \
                (SELECT count(*) FROM events WHERE state = 'dead') AS dead \
         FROM (SELECT count(*) AS waiting, min(id) AS oldest \
               FROM events WHERE next_attempt_at IS NOT NULL)",
    )
    .fetch_one(readers)
    .await?;
    Ok(QueueDepth {
        waiting: row.get::<i64, _>("waiting").unsigned_abs(),
        oldest_received_at: row
            .get::<Option<i64>, _>("oldest_received_at")
            .map(Timestamp::from_millis),
        dead: row.get::<i64, _>("dead").unsigned_abs(),
    })
}
