//! The inbox in SQL: accept, open, claim, settle.

use std::collections::HashSet;

use async_trait::async_trait;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::calls;
use super::writer::Operation;
use crate::model::{CallEvent, EventState, Timestamp};
use crate::store::{
    Accepted, ClaimedEvent, InboxEvent, Lease, NewEvent, QueueDepth, Settled, Settlement,
    StoreResult,
};

/// Inserts the events in one statement, and tells which were new: the first with its webhook id, ever.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    events: &[NewEvent],
) -> StoreResult<Vec<Accepted>> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "INSERT INTO events \
         (webhook_id, state, received_at, signed_at, secret, call_id, body, next_attempt_at, reason) ",
    );
    sql.push_values(events, |mut row, event| {
        let (state, due) = match event.ignored_because {
            None => (EventState::Pending, Some(event.received_at.as_millis())),
            Some(_) => (EventState::Ignored, None),
        };
        row.push_bind(&*event.webhook_id)
            .push_bind(state.as_str())
            .push_bind(event.received_at.as_millis())
            .push_bind(event.signed_at_secs * 1000)
            .push_bind(&*event.secret)
            .push_bind(event.call_id.as_deref())
            .push_bind(&*event.body)
            .push_bind(due)
            .push_bind(event.ignored_because.as_deref());
    });
    sql.push(" ON CONFLICT (webhook_id) DO NOTHING");
    let done = sql.build().execute(&mut *connection).await?;
    let inserted = done.rows_affected();
    if inserted == events.len() as u64 {
        return Ok(vec![Accepted::New; events.len()]);
    }
    let new = if inserted == 0 {
        HashSet::new()
    } else {
        // One statement's rows have consecutive ids: there is no other writer while it runs.
        let last = done.last_insert_rowid();
        let first = last - i64::try_from(inserted).unwrap_or(i64::MAX) + 1;
        sqlx::query_scalar("SELECT webhook_id FROM events WHERE id BETWEEN ? AND ?")
            .bind(first)
            .bind(last)
            .fetch_all(&mut *connection)
            .await?
            .into_iter()
            .collect::<HashSet<String>>()
    };
    let accepted = tell_apart(events, new);
    count_duplicates(connection, events, &accepted).await?;
    Ok(accepted)
}

fn tell_apart(events: &[NewEvent], mut new: HashSet<String>) -> Vec<Accepted> {
    events
        .iter()
        .map(|event| match new.remove(&event.webhook_id) {
            true => Accepted::New,
            false => Accepted::Duplicate,
        })
        .collect()
}

async fn count_duplicates(
    connection: &mut SqliteConnection,
    events: &[NewEvent],
    accepted: &[Accepted],
) -> StoreResult<()> {
    let duplicates = events
        .iter()
        .zip(accepted)
        .filter(|(_, accepted)| **accepted == Accepted::Duplicate);
    for (event, _) in duplicates {
        sqlx::query("UPDATE events SET deliveries = deliveries + 1 WHERE webhook_id = ?")
            .bind(&*event.webhook_id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub(super) async fn opened_up_to(connection: &mut SqliteConnection) -> StoreResult<i64> {
    let up_to = sqlx::query_scalar("SELECT up_to FROM opened")
        .fetch_one(connection)
        .await?;
    Ok(up_to)
}

pub(super) async fn unopened(
    readers: &SqlitePool,
    after: i64,
    limit: u32,
) -> StoreResult<Vec<InboxEvent>> {
    let rows =
        sqlx::query("SELECT id, body, received_at FROM events WHERE id > ? ORDER BY id LIMIT ?")
            .bind(after)
            .bind(limit)
            .fetch_all(readers)
            .await?;
    Ok(rows.iter().map(inbox_event).collect())
}

fn inbox_event(row: &SqliteRow) -> InboxEvent {
    InboxEvent {
        id: row.get("id"),
        body: row.get("body"),
        received_at: Timestamp::from_millis(row.get("received_at")),
    }
}

/// Gives calls their rows and moves the watermark.
pub(super) struct OpenCalls {
    pub(super) calls: Vec<(CallEvent, Timestamp)>,
    pub(super) up_to: i64,
}

#[async_trait]
impl Operation for OpenCalls {
    type Output = ();
    const CHANGES_CALLS: bool = true;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<()> {
        for (event, received_at) in &self.calls {
            calls::open(tx, event, *received_at).await?;
        }
        sqlx::query("UPDATE opened SET up_to = max(up_to, ?)")
            .bind(self.up_to)
            .execute(tx)
            .await?;
        Ok(())
    }
}

/// Leases due events.
pub(super) struct Claim {
    pub(super) now: Timestamp,
    pub(super) limit: u32,
    pub(super) until: Timestamp,
}

#[async_trait]
impl Operation for Claim {
    type Output = Vec<ClaimedEvent>;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<Vec<ClaimedEvent>> {
        let rows = sqlx::query(
            "UPDATE events SET state = 'processing', lease = lease + 1, next_attempt_at = ? \
             WHERE id IN (SELECT id FROM events WHERE next_attempt_at <= ? \
                          ORDER BY next_attempt_at, id LIMIT ?) \
             RETURNING id, body, received_at, lease, attempts",
        )
        .bind(self.until.as_millis())
        .bind(self.now.as_millis())
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
                event: inbox_event(row),
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

#[async_trait]
impl Operation for Settle {
    type Output = Settled;
    const CHANGES_CALLS: bool = true;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<Settled> {
        let (state, due, reason, spent) = match &self.settlement {
            Settlement::Scored(_) | Settlement::Unscored(_) => (EventState::Done, None, None, true),
            Settlement::Retry { at, reason, spent } => {
                (EventState::Pending, Some(*at), Some(reason), *spent)
            }
            Settlement::Dead { reason } => (EventState::Dead, None, Some(reason), true),
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
        match &self.settlement {
            Settlement::Scored(detail) => calls::store_detail(tx, detail, self.now).await?,
            Settlement::Unscored(event) => calls::store_unscored(tx, event, self.now).await?,
            _ => {}
        }
        Ok(Settled::Yes)
    }
}

pub(super) async fn next_due(readers: &SqlitePool) -> StoreResult<Option<Timestamp>> {
    let due: Option<i64> = sqlx::query_scalar(
        "SELECT min(next_attempt_at) FROM events WHERE next_attempt_at IS NOT NULL",
    )
    .fetch_one(readers)
    .await?;
    Ok(due.map(Timestamp::from_millis))
}

pub(super) async fn queue_depth(readers: &SqlitePool) -> StoreResult<QueueDepth> {
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
