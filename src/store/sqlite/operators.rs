//! The inbox as operators see it, in SQL: lists, one event with its history, replays.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite};

use super::calls;
use super::privacy::tombstones::{self, Incoming};
use super::readers::ReadPool;
use super::rows::{id_list, word};
use super::writer::Operation;
use super::{SqliteStore, audit, mints};
use crate::model::{EventState, Timestamp};
use crate::store::{
    Actor, Attempt, EventFilter, EventRow, EventVerdict, Operators, Origin, Page, Received, Replay,
    Replayable, ReplayableEvent, StoreResult, StoredEvent, WouldReplay,
};

const ROW: &str = "SELECT id, webhook_id, origin, state, call_id, received_at, next_attempt_at, \
                   attempts, deliveries, reason, settled_at, \
                   (SELECT code FROM attempts WHERE event_id = events.id \
                    ORDER BY number DESC LIMIT 1) AS last_code";

/// Most tokens and other events to show with an event.
const MAX_MINTS_SHOWN: u32 = 5;
const MAX_SIBLINGS_SHOWN: u32 = 20;
/// Events of one batch of a replay.
const REPLAY_BATCH_EVENTS: u32 = 500;

pub(super) async fn list(
    readers: &ReadPool,
    filter: &EventFilter,
    limit: u32,
    after: Option<i64>,
) -> StoreResult<Page<EventRow, i64>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    sql.push(" FROM events WHERE true");
    // Words, not values: as the indexes of what is rare have them.
    let words = [
        (" AND state = '", filter.state.map(EventState::as_str)),
        (" AND origin = '", filter.origin.map(Origin::as_str)),
    ];
    for (condition, word) in words {
        if let Some(word) = word {
            sql.push(condition).push(word).push("'");
        }
    }
    if let Some(EventState::Pending | EventState::Processing) = filter.state {
        // Few among many, and only this index knows them.
        sql.push(
            " AND id IN (SELECT id FROM events INDEXED BY events_due \
             WHERE next_attempt_at IS NOT NULL)",
        );
    }
    match filter.verdict {
        Some(EventVerdict::Accepted) => sql.push(" AND call_id IS NOT NULL"),
        Some(EventVerdict::Ignored) => sql.push(" AND call_id IS NULL"),
        None => &mut sql,
    };
    if let Some(call) = &filter.call {
        // Those that wait are not in the index by call: they are looked through, as they are few.
        sql.push(" AND id IN (SELECT id FROM events WHERE next_attempt_at IS NULL AND call_id = ")
            .push_bind(&**call)
            .push(
                " UNION ALL SELECT id FROM events INDEXED BY events_due \
                 WHERE next_attempt_at IS NOT NULL AND call_id = ",
            )
            .push_bind(&**call)
            .push(")");
    }
    if let Some(webhook) = &filter.webhook {
        sql.push(" AND webhook_id = ").push_bind(&**webhook);
    }
    push_times(&mut sql, filter.from, filter.to);
    if let Some(after) = after {
        sql.push(" AND id < ").push_bind(after);
    }
    // One more than asked for tells whether there is another page.
    sql.push(" ORDER BY id DESC LIMIT ")
        .push_bind(i64::from(limit) + 1);
    let found = sql.build().fetch_all(readers).await?;
    Page::cut(&found, limit, |last| last.get("id"), event_row)
}

fn push_times(sql: &mut QueryBuilder<Sqlite>, from: Option<Timestamp>, to: Option<Timestamp>) {
    for (condition, time) in [(" AND received_at >= ", from), (" AND received_at <= ", to)] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time.as_millis());
        }
    }
}

/// Reads the rows of that time, newest first, and no others.
pub(super) async fn received_since(readers: &ReadPool, from: Timestamp) -> StoreResult<Received> {
    let row = sqlx::query(
        "SELECT count(*) FILTER (WHERE origin = 'webhook') AS webhooks, \
                CAST(coalesce(sum(deliveries - 1) FILTER (WHERE origin = 'webhook'), 0) AS bigint) AS duplicates, \
                count(*) FILTER (WHERE origin = 'reconcile') AS repaired, \
                count(*) FILTER (WHERE state = 'done' AND calls.status = 'scored') AS scored, \
                count(*) FILTER (WHERE state = 'done' AND calls.status = 'unscored') AS unscored, \
                count(*) FILTER (WHERE state IN ('pending', 'processing')) AS waiting, \
                count(*) FILTER (WHERE state = 'ignored') AS ignored, \
                count(*) FILTER (WHERE state = 'dead') AS dead \
         FROM events LEFT JOIN calls ON calls.id = events.call_id \
         WHERE received_at >= ?1 AND events.id > coalesce( \
             (SELECT id FROM events WHERE received_at < ?1 ORDER BY id DESC LIMIT 1), 0)",
    )
    .bind(from.as_millis())
    .fetch_one(readers)
    .await?;
    let count = |column| row.get::<i64, _>(column).unsigned_abs();
    Ok(Received {
        from,
        webhooks: count("webhooks"),
        duplicates: count("duplicates"),
        repaired: count("repaired"),
        scored: count("scored"),
        unscored: count("unscored"),
        waiting: count("waiting"),
        ignored: count("ignored"),
        dead: count("dead"),
    })
}

pub(super) async fn find(readers: &ReadPool, id: i64) -> StoreResult<Option<StoredEvent>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    sql.push(", signed_at, secret, body FROM events WHERE id = ")
        .push_bind(id);
    let Some(row) = sql.build().fetch_optional(readers).await? else {
        return Ok(None);
    };
    let attempts = sqlx::query("SELECT * FROM attempts WHERE event_id = ?1 ORDER BY number")
        .bind(id)
        .fetch_all(readers)
        .await?;
    let secret: String = row.get("secret");
    let event = event_row(&row)?;
    let call = event.call_id.as_deref();
    Ok(Some(StoredEvent {
        call: match call {
            Some(call) => calls::of_event(readers, call).await?,
            None => None,
        },
        mints: match call {
            Some(call) => mints::of_call(readers, call, MAX_MINTS_SHOWN).await?,
            None => Vec::new(),
        },
        siblings: match call {
            Some(call) => siblings(readers, call, id).await?,
            None => Vec::new(),
        },
        row: event,
        signed_at: Timestamp::from_millis(row.get("signed_at")),
        secret_fingerprint: (!secret.is_empty()).then_some(secret),
        body: String::from_utf8_lossy(row.get("body")).into_owned(),
        history: attempts.iter().map(attempt).collect(),
        acts: audit::of_event(readers, id).await?,
    }))
}

/// The latest other events about a call.
async fn siblings(readers: &ReadPool, call: &str, id: i64) -> StoreResult<Vec<EventRow>> {
    let about = EventFilter {
        call: Some(call.to_owned()),
        ..EventFilter::default()
    };
    let mut rows = list(readers, &about, MAX_SIBLINGS_SHOWN, None).await?.rows;
    rows.retain(|row| row.id != id);
    Ok(rows)
}

fn event_row(row: &SqliteRow) -> StoreResult<EventRow> {
    let time = |column| {
        row.get::<Option<i64>, _>(column)
            .map(Timestamp::from_millis)
    };
    let call_id: Option<String> = row.get("call_id");
    Ok(EventRow {
        id: row.get("id"),
        webhook_id: row.get("webhook_id"),
        origin: word(row, "origin")?,
        state: word(row, "state")?,
        verdict: match call_id {
            Some(_) => EventVerdict::Accepted,
            None => EventVerdict::Ignored,
        },
        call_id,
        received_at: Timestamp::from_millis(row.get("received_at")),
        next_attempt_at: time("next_attempt_at"),
        attempts: row.get("attempts"),
        deliveries: row.get("deliveries"),
        reason: row.get("reason"),
        last_code: row.get("last_code"),
        settled_at: time("settled_at"),
    })
}

fn attempt(row: &SqliteRow) -> Attempt {
    Attempt {
        number: row.get("number"),
        at: Timestamp::from_millis(row.get("at")),
        outcome: row.get("outcome"),
        status: row.get("status"),
        code: row.get("code"),
        delay_ms: row.get::<Option<i64>, _>("delay_ms").map(i64::unsigned_abs),
        error: row.get("error"),
        athos_request_id: row.get("athos_request_id"),
    }
}

/// What may be replayed, and is asked for. An event without its body says nothing any more.
fn replayable(replay: Replay) -> String {
    let mut sql = "next_attempt_at IS NULL AND length(body) > 0".to_owned();
    match replay {
        Replay::One(id) => sql += &format!(" AND id = {id}"),
        Replay::Range {
            state,
            since,
            until,
        } => {
            // A word, not a value: as the indexes of what is rare have it.
            sql += &format!(" AND state = '{}'", state.as_str());
            // Not by the index of times, which the + of SQLite keeps away: each step would look through all of it, and sort
            // it by id.
            for (condition, time) in [
                (" AND +received_at >= ", since),
                (" AND +received_at <= ", until),
            ] {
                if let Some(time) = time {
                    sql += &format!("{condition}{}", time.as_millis());
                }
            }
        }
    }
    sql
}

pub(super) async fn count_replayable(
    readers: &ReadPool,
    replay: Replay,
    limit: u32,
) -> StoreResult<WouldReplay> {
    let sql = format!("SELECT count(*) FROM events WHERE {}", replayable(replay));
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(readers)
        .await?;
    let sql = format!(
        "SELECT id FROM events WHERE {} ORDER BY id LIMIT ?1",
        replayable(replay)
    );
    let first = sqlx::query_scalar(AssertSqlSafe(sql)).bind(limit);
    Ok(WouldReplay {
        count: count.unsigned_abs(),
        first: first.fetch_all(readers).await?,
    })
}

/// The next of them after the one with the id `after`.
async fn find_replayable(
    readers: &ReadPool,
    replay: Replay,
    after: i64,
) -> StoreResult<Replayable> {
    let sql = format!(
        "SELECT id, received_at, CASE WHEN call_id IS NULL THEN body END AS unread FROM events \
         WHERE id > ?1 AND {} ORDER BY id LIMIT ?2",
        replayable(replay)
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(after)
        .bind(REPLAY_BATCH_EVENTS)
        .fetch_all(readers)
        .await?;
    let event = |row: &SqliteRow| ReplayableEvent {
        id: row.get("id"),
        received_at: Timestamp::from_millis(row.get("received_at")),
        unread: row.get("unread"),
        parsed: None,
    };
    let events: Vec<_> = rows.iter().map(event).collect();
    let last = events.last().map(|event| event.id);
    Ok(Replayable {
        next: last.filter(|_| events.len() == REPLAY_BATCH_EVENTS as usize),
        events,
    })
}

/// Makes events pending again, as if they had just come in, and records who did it.
struct ReplayEvents {
    replay: Replay,
    events: Vec<ReplayableEvent>,
    actor: Actor,
    now: Timestamp,
}

impl ReplayEvents {
    /// Those that may still be replayed.
    fn condition(&self) -> String {
        let ids: Vec<_> = self.events.iter().map(|event| event.id).collect();
        format!("id IN {} AND {}", id_list(&ids), replayable(self.replay))
    }

    /// Gives what is understood by now the call that it is about, as accepting it would have.
    fn open_calls(&self, tx: &Connection, ids: &[i64]) -> StoreResult<()> {
        for event in &self.events {
            let Some(said) = event.parsed.as_ref().filter(|_| ids.contains(&event.id)) else {
                continue;
            };
            let changed = tx
                .prepare_cached(
                    "UPDATE events SET call_id = ?1, needs_fetch = ?2 WHERE id = ?3 AND call_id IS NULL",
                )?
                .execute(params![said.call_id, said.needs_fetch(), event.id])?;
            let incoming = Incoming::event(said, event.received_at);
            // The attempt removes an event of what was erased.
            if changed > 0 && !tombstones::is_tombstoned(tx, &incoming, "replay")? {
                calls::open(tx, said, event.received_at)?;
            }
        }
        Ok(())
    }
}

impl Operation for ReplayEvents {
    type Output = Vec<i64>;
    const CHANGES_CALLS: bool = true;

    fn announced_at(&self) -> Option<Timestamp> {
        Some(self.now)
    }

    fn apply(&self, tx: &Connection) -> StoreResult<Vec<i64>> {
        let (caller, rep) = self.actor.columns();
        let sql = format!(
            "INSERT INTO acts (at, caller, rep, act, event_id, was_state, was_reason) \
             SELECT ?1, ?2, ?3, 'replay', id, state, reason FROM events WHERE {} \
             ORDER BY id RETURNING event_id",
            self.condition()
        );
        let ids = tx
            .prepare(&sql)?
            .query_map(params![self.now.as_millis(), caller, rep], |row| row.get(0))?
            .collect::<Result<Vec<i64>, _>>()?;
        self.open_calls(tx, &ids)?;
        let sql = format!(
            "UPDATE events SET state = 'pending', attempts = 0, reason = NULL, settled_at = NULL, \
             needs_fetch = CASE WHEN call_id IS NULL THEN 1 ELSE needs_fetch END, next_attempt_at = ?1 WHERE {}",
            self.condition()
        );
        tx.execute(&sql, [self.now.as_millis()])?;
        Ok(ids)
    }
}

#[async_trait]
impl Operators for SqliteStore {
    async fn list_events(
        &self,
        filter: &EventFilter,
        limit: u32,
        after: Option<i64>,
    ) -> StoreResult<Page<EventRow, i64>> {
        self.noting(list(&self.readers.requests, filter, limit, after).await)
    }

    async fn find_event(&self, id: i64) -> StoreResult<Option<StoredEvent>> {
        self.arrivals.opening.caught_up().await;
        self.noting(find(&self.readers.requests, id).await)
    }

    async fn count_replayable(&self, replay: Replay, limit: u32) -> StoreResult<WouldReplay> {
        self.noting(count_replayable(&self.readers.background, replay, limit).await)
    }

    async fn find_replayable(&self, replay: Replay, after: i64) -> StoreResult<Replayable> {
        self.noting(find_replayable(&self.readers.background, replay, after).await)
    }

    async fn replay(
        &self,
        replay: Replay,
        events: Vec<ReplayableEvent>,
        actor: Actor,
        now: Timestamp,
    ) -> StoreResult<Vec<i64>> {
        let by = ReplayEvents {
            replay,
            events,
            actor,
            now,
        };
        let ids = self.writer.write(by).await?;
        if !ids.is_empty() {
            self.arrivals.due.note(now, false);
        }
        Ok(ids)
    }

    async fn received_since(&self, from: Timestamp) -> StoreResult<Received> {
        self.noting(received_since(&self.readers.requests, from).await)
    }
}
