//! The inbox as operators see it, in SQL: lists, one event with its history, replays.

use async_trait::async_trait;

use super::privacy::tombstones::{self, Incoming};
use super::rows::id_list;
use super::{
    Connection, Operation, Row, SqlStore, Statement, audit, calls, known_calls, mints, values,
};
use crate::model::{EventState, Timestamp};
use crate::store::{
    Actor, Attempt, EventFilter, EventRow, EventVerdict, Operators, Origin, Page, Received, Replay,
    Replayable, ReplayableEvent, StoreResult, StoredEvent, WouldReplay,
};

const ROW: &str = "SELECT id, webhook_id, origin, state, call_id, received_at, next_attempt_at, \
                   attempts, deliveries, reason, settled_at, \
                   (SELECT code FROM attempts WHERE event_id = events.id \
                    ORDER BY number DESC LIMIT 1) AS last_code";
const ROW_COLUMNS: usize = 12;

/// Most tokens and other events to show with an event.
const MAX_MINTS_SHOWN: u32 = 5;
const MAX_SIBLINGS_SHOWN: u32 = 20;
/// Events of one batch of a replay.
const REPLAY_BATCH_EVENTS: u32 = 500;

pub(super) fn list(
    db: &dyn Connection,
    filter: &EventFilter,
    limit: u32,
    after: Option<i64>,
) -> StoreResult<Page<EventRow, i64>> {
    let mut sql = Statement::new(ROW);
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
        sql.push(" AND id IN (SELECT id FROM events ")
            .push(db.hint("INDEXED BY events_due "))
            .push("WHERE next_attempt_at IS NOT NULL)");
    }
    match filter.verdict {
        Some(EventVerdict::Accepted) => sql.push(" AND call_id IS NOT NULL"),
        Some(EventVerdict::Ignored) => sql.push(" AND call_id IS NULL"),
        None => &mut sql,
    };
    if let Some(call) = &filter.call {
        // Those that wait are not in the index by call: they are looked through, as they are few.
        sql.push(" AND id IN (SELECT id FROM events WHERE next_attempt_at IS NULL AND call_id = ")
            .push_bind(call)
            .push(" UNION ALL SELECT id FROM events ")
            .push(db.hint("INDEXED BY events_due "))
            .push("WHERE next_attempt_at IS NOT NULL AND call_id = ")
            .push_bind(call)
            .push(")");
    }
    if let Some(webhook) = &filter.webhook {
        sql.push(" AND webhook_id = ").push_bind(webhook);
    }
    push_times(&mut sql, filter.from, filter.to);
    if let Some(after) = after {
        sql.push(" AND id < ").push_bind(after);
    }
    // One more than asked for tells whether there is another page.
    sql.push(" ORDER BY id DESC LIMIT ")
        .push_bind(i64::from(limit) + 1);
    let found = sql.rows(db, event_row)?;
    Ok(Page::cut(found, limit, |last| last.id))
}

fn push_times(sql: &mut Statement<'_>, from: Option<Timestamp>, to: Option<Timestamp>) {
    for (condition, time) in [(" AND received_at >= ", from), (" AND received_at <= ", to)] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time);
        }
    }
}

/// Reads the rows of that time, newest first, and no others.
pub(super) fn received_since(db: &dyn Connection, from: Timestamp) -> StoreResult<Received> {
    let sql = "SELECT count(*) FILTER (WHERE origin = 'webhook'), \
                 CAST(coalesce(sum(deliveries - 1) FILTER (WHERE origin = 'webhook'), 0) AS bigint), \
                 count(*) FILTER (WHERE origin = 'reconcile'), \
                 count(*) FILTER (WHERE state = 'done' AND calls.status = 'scored'), \
                 count(*) FILTER (WHERE state = 'done' AND calls.status = 'unscored'), \
                 count(*) FILTER (WHERE state IN ('pending', 'processing')), \
                 count(*) FILTER (WHERE state = 'ignored'), \
                 count(*) FILTER (WHERE state = 'dead') \
               FROM events LEFT JOIN calls ON calls.id = events.call_id \
               WHERE received_at >= ?1 AND events.id > coalesce( \
                 (SELECT id FROM events WHERE received_at < ?1 ORDER BY id DESC LIMIT 1), 0)";
    db.one(sql, values![from], |row| {
        let mut columns = row.from(0);
        Ok(Received {
            from,
            webhooks: columns.next()?,
            duplicates: columns.next()?,
            repaired: columns.next()?,
            scored: columns.next()?,
            unscored: columns.next()?,
            waiting: columns.next()?,
            ignored: columns.next()?,
            dead: columns.next()?,
        })
    })
}

pub(super) fn find(db: &dyn Connection, id: i64) -> StoreResult<Option<StoredEvent>> {
    let mut sql = Statement::new(ROW);
    sql.push(", signed_at, secret, body FROM events WHERE id = ")
        .push_bind(id);
    let found = sql.first(db, |row| {
        let secret: String = row.get(ROW_COLUMNS + 1)?;
        Ok(StoredEvent {
            row: event_row(row)?,
            signed_at: row.get(ROW_COLUMNS)?,
            secret_fingerprint: (!secret.is_empty()).then_some(secret),
            body: String::from_utf8_lossy(row.get(ROW_COLUMNS + 2)?).into_owned(),
            call: None,
            mints: Vec::new(),
            siblings: Vec::new(),
            history: Vec::new(),
            acts: Vec::new(),
        })
    })?;
    let Some(mut event) = found else {
        return Ok(None);
    };
    if let Some(call) = &event.row.call_id {
        event.call = calls::of_event(db, call)?;
        event.mints = mints::of_call(db, call, MAX_MINTS_SHOWN)?;
        event.siblings = siblings(db, call, id)?;
    }
    let sql = "SELECT number, at, outcome, status, code, delay_ms, error, athos_request_id \
               FROM attempts WHERE event_id = ?1 ORDER BY number";
    event.history = db.rows(sql, values![id], attempt)?;
    event.acts = audit::of_event(db, id)?;
    Ok(Some(event))
}

/// The latest other events about a call.
fn siblings(db: &dyn Connection, call: &str, id: i64) -> StoreResult<Vec<EventRow>> {
    let about = EventFilter {
        call: Some(call.to_owned()),
        ..EventFilter::default()
    };
    let mut rows = list(db, &about, MAX_SIBLINGS_SHOWN, None)?.rows;
    rows.retain(|row| row.id != id);
    Ok(rows)
}

/// Reads the columns of `ROW`.
fn event_row(row: &dyn Row) -> StoreResult<EventRow> {
    let mut columns = row.from(0);
    let (id, webhook_id) = (columns.next()?, columns.next()?);
    let (origin, state) = (columns.word()?, columns.word()?);
    let call_id: Option<String> = columns.next()?;
    Ok(EventRow {
        id,
        webhook_id,
        origin,
        state,
        verdict: match call_id {
            Some(_) => EventVerdict::Accepted,
            None => EventVerdict::Ignored,
        },
        call_id,
        received_at: columns.next()?,
        next_attempt_at: columns.next()?,
        attempts: columns.next()?,
        deliveries: columns.next()?,
        reason: columns.next()?,
        settled_at: columns.next()?,
        last_code: columns.next()?,
    })
}

fn attempt(row: &dyn Row) -> StoreResult<Attempt> {
    let mut columns = row.from(0);
    Ok(Attempt {
        number: columns.next()?,
        at: columns.next()?,
        outcome: columns.next()?,
        status: columns.next()?,
        code: columns.next()?,
        delay_ms: columns.next()?,
        error: columns.next()?,
        athos_request_id: columns.next()?,
    })
}

/// What may be replayed, and is asked for. An event without its body says nothing any more.
fn replayable(db: &dyn Connection, replay: Replay) -> String {
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
            let column = format!("{}received_at", db.hint("+"));
            for (compares, time) in [(">=", since), ("<=", until)] {
                if let Some(time) = time {
                    sql += &format!(" AND {column} {compares} {}", time.as_millis());
                }
            }
        }
    }
    sql
}

pub(super) fn count_replayable(
    db: &dyn Connection,
    replay: Replay,
    limit: u32,
) -> StoreResult<WouldReplay> {
    let condition = replayable(db, replay);
    let sql = format!("SELECT count(*) FROM events WHERE {condition}");
    let count = db.scalar(&sql, &[])?;
    let sql = format!("SELECT id FROM events WHERE {condition} ORDER BY id LIMIT ?1");
    let first = db.rows(&sql, values![limit], |row| row.get(0))?;
    Ok(WouldReplay { count, first })
}

/// The next of them after the one with the id `after`.
fn find_replayable(db: &dyn Connection, replay: Replay, after: i64) -> StoreResult<Replayable> {
    let sql = format!(
        "SELECT id, received_at, CASE WHEN call_id IS NULL THEN body END FROM events \
         WHERE id > ?1 AND {} ORDER BY id LIMIT ?2",
        replayable(db, replay)
    );
    let events = db.rows(&sql, values![after, REPLAY_BATCH_EVENTS], |row| {
        Ok(ReplayableEvent {
            id: row.get(0)?,
            received_at: row.get(1)?,
            unread: row.get(2)?,
            parsed: None,
        })
    })?;
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
    fn condition(&self, tx: &dyn Connection) -> String {
        let ids: Vec<_> = self.events.iter().map(|event| event.id).collect();
        format!(
            "id IN {} AND {}",
            id_list(&ids),
            replayable(tx, self.replay)
        )
    }

    /// Gives what is understood by now the call that it is about, as accepting it would have.
    fn open_calls(&self, tx: &dyn Connection, ids: &[i64]) -> StoreResult<()> {
        for event in &self.events {
            let Some(said) = event.parsed.as_ref().filter(|_| ids.contains(&event.id)) else {
                continue;
            };
            let changed = tx.execute("UPDATE events SET call_id = ?1, needs_fetch = ?2 WHERE id = ?3 AND call_id IS NULL", values![said.call_id, said.needs_fetch(), event.id])?;
            let incoming = Incoming::event(said, event.received_at);
            // The attempt removes an event of what was erased.
            if changed > 0 && !tombstones::is_tombstoned(tx, &incoming, "replay")? {
                known_calls::open(tx, said, event.received_at)?;
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

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Vec<i64>> {
        let (caller, rep) = self.actor.columns();
        let sql = format!(
            "INSERT INTO acts (at, caller, rep, act, event_id, was_state, was_reason) \
             SELECT ?1, ?2, ?3, 'replay', id, state, reason FROM events WHERE {} \
             ORDER BY id RETURNING event_id",
            self.condition(tx)
        );
        let ids = tx.rows(&sql, values![self.now, caller, rep], |row| row.get(0))?;
        self.open_calls(tx, &ids)?;
        let sql = format!(
            "UPDATE events SET state = 'pending', attempts = 0, reason = NULL, settled_at = NULL, \
             needs_fetch = CASE WHEN call_id IS NULL THEN 1 ELSE needs_fetch END, next_attempt_at = ?1 WHERE {}",
            self.condition(tx)
        );
        tx.execute(&sql, values![self.now])?;
        Ok(ids)
    }
}

#[async_trait]
impl Operators for SqlStore {
    async fn list_events(
        &self,
        filter: &EventFilter,
        limit: u32,
        after: Option<i64>,
    ) -> StoreResult<Page<EventRow, i64>> {
        let filter = filter.clone();
        let list = move |db: &dyn Connection| list(db, &filter, limit, after);
        self.readers.requests.read(list).await
    }

    async fn find_event(&self, id: i64) -> StoreResult<Option<StoredEvent>> {
        self.arrivals.opening.caught_up().await;
        let find = move |db: &dyn Connection| find(db, id);
        self.readers.requests.read(find).await
    }

    async fn count_replayable(&self, replay: Replay, limit: u32) -> StoreResult<WouldReplay> {
        let count = move |db: &dyn Connection| count_replayable(db, replay, limit);
        self.readers.background.read(count).await
    }

    async fn find_replayable(&self, replay: Replay, after: i64) -> StoreResult<Replayable> {
        let find = move |db: &dyn Connection| find_replayable(db, replay, after);
        self.readers.background.read(find).await
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
        let count = move |db: &dyn Connection| received_since(db, from);
        self.readers.requests.read(count).await
    }
}
