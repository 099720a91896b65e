//! The outbox as operators see it, in SQL: lists, one delivery, replays, and messages about calls of before.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite};

use super::outbox::{new_prefix, subject};
use super::readers::ReadPool;
use super::rows::{id_list, word};
use super::writer::Operation;
use super::{SqliteStore, audit};
use crate::model::{MessageKind, Timestamp};
use crate::store::{
    Act, Actor, CallsToForward, Deliveries, DeliveryFilter, DeliveryReplay, DeliveryRow,
    DeliveryState, Page, PageKey, ReplayedDeliveries, StoreResult, StoredDelivery, UntoldCalls,
    WouldReplay,
};

const ROW: &str = "SELECT messages.seq AS id, message_id, endpoint_id, kind, messages.state, event_id, act_id, at, due_at, \
                     messages.attempts, messages.status, error, messages.settled_at, \
                     (SELECT calls.id FROM calls WHERE calls.seq = messages.call_seq) AS call_id \
                   FROM messages";

/// Deliveries of one batch of a replay.
const REPLAY_BATCH: u32 = 500;
/// Calls of one batch of what is forwarded afterwards.
const FORWARD_BATCH: u32 = 500;

async fn list(
    readers: &ReadPool,
    filter: &DeliveryFilter,
    limit: u32,
    after: Option<i64>,
) -> StoreResult<Page<DeliveryRow, i64>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    sql.push(" WHERE true");
    // Words, not values: as the indexes of what is rare have them.
    let words = [
        (" AND state = '", filter.state.map(DeliveryState::as_str)),
        (" AND kind = '", filter.kind.map(MessageKind::as_str)),
    ];
    for (condition, word) in words {
        if let Some(word) = word {
            sql.push(condition).push(word).push("'");
        }
    }
    if let Some(DeliveryState::Waiting | DeliveryState::Sending) = filter.state {
        // Few among many, in an index of their own.
        sql.push(" AND messages.seq IN (SELECT seq FROM messages WHERE due_at IS NOT NULL)");
    }
    if let Some(endpoint) = filter.endpoint {
        sql.push(" AND endpoint_id = ").push_bind(endpoint);
    }
    if let Some(call) = &filter.call {
        sql.push(" AND call_seq = (SELECT seq FROM calls WHERE id = ")
            .push_bind(&**call)
            .push(")");
    }
    if let Some(message) = &filter.message {
        sql.push(" AND message_id = ").push_bind(&**message);
    }
    for (condition, time) in [(" AND at >= ", filter.from), (" AND at <= ", filter.to)] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time.as_millis());
        }
    }
    if let Some(after) = after {
        sql.push(" AND messages.seq < ").push_bind(after);
    }
    // One more than asked for tells whether there is another page.
    sql.push(" ORDER BY messages.seq DESC LIMIT ")
        .push_bind(i64::from(limit) + 1);
    let found = sql.build().fetch_all(readers).await?;
    Page::cut(&found, limit, |last| last.get("id"), delivery_row)
}

fn delivery_row(row: &SqliteRow) -> StoreResult<DeliveryRow> {
    let time = |column| {
        row.get::<Option<i64>, _>(column)
            .map(Timestamp::from_millis)
    };
    Ok(DeliveryRow {
        id: row.get("id"),
        message_id: row.get("message_id"),
        endpoint: row.get("endpoint_id"),
        kind: word(row, "kind")?,
        state: word(row, "state")?,
        call_id: row.get("call_id"),
        event_id: row.get("event_id"),
        audit_id: row.get("act_id"),
        at: Timestamp::from_millis(row.get("at")),
        due_at: time("due_at"),
        attempts: row.get("attempts"),
        status: row.get("status"),
        error: row.get("error"),
        settled_at: time("settled_at"),
    })
}

async fn find(readers: &ReadPool, id: i64) -> StoreResult<Option<StoredDelivery>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    sql.push(" WHERE messages.seq = ").push_bind(id);
    let Some(row) = sql.build().fetch_optional(readers).await? else {
        return Ok(None);
    };
    Ok(Some(StoredDelivery {
        row: delivery_row(&row)?,
        subject: subject(readers, id).await?,
        acts: audit::of_subject(readers, &format!("delivery {id}")).await?,
    }))
}

/// What may be replayed, and is asked for. Of the messages about one call only the newest can be, and only while no other
/// is on its way: no two are ever under way to an endpoint.
fn replayable(replay: &DeliveryReplay, now: Timestamp) -> String {
    let now = now.as_millis();
    let mut sql = format!(
        "EXISTS (SELECT 1 FROM endpoints WHERE id = endpoint_id AND is_active = 1) \
         AND ((state = 'waiting' AND due_at > {now}) \
           OR (state IN ('delivered', 'failed') AND NOT EXISTS (\
             SELECT 1 FROM messages AS other \
             WHERE other.call_seq = messages.call_seq AND other.endpoint_id = messages.endpoint_id \
               AND (other.seq > messages.seq OR other.due_at IS NOT NULL))))"
    );
    match replay {
        DeliveryReplay::One(id) => sql += &format!(" AND seq = {id}"),
        DeliveryReplay::Range {
            endpoint,
            state,
            since,
            until,
        } => {
            sql += &format!(" AND state = '{}'", state.as_str());
            let numbers = [
                ("endpoint_id =", *endpoint),
                ("at >=", since.map(Timestamp::as_millis)),
                ("at <=", until.map(Timestamp::as_millis)),
            ];
            for (condition, number) in numbers {
                if let Some(number) = number {
                    sql += &format!(" AND {condition} {number}");
                }
            }
        }
    }
    sql
}

async fn count_replayable(
    readers: &ReadPool,
    replay: &DeliveryReplay,
    limit: u32,
    now: Timestamp,
) -> StoreResult<WouldReplay> {
    let condition = replayable(replay, now);
    let sql = format!("SELECT count(*) FROM messages WHERE {condition}");
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(readers)
        .await?;
    Ok(WouldReplay {
        count: count.unsigned_abs(),
        first: find_replayable(readers, &condition, 0, limit).await?,
    })
}

async fn find_replayable(
    readers: &ReadPool,
    condition: &str,
    after: i64,
    limit: u32,
) -> StoreResult<Vec<i64>> {
    let sql =
        format!("SELECT seq FROM messages WHERE seq > ?1 AND {condition} ORDER BY seq LIMIT ?2");
    let ids = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(after)
        .bind(limit);
    Ok(ids.fetch_all(readers).await?)
}

/// Makes deliveries due, with all their attempts, and records who did it.
struct ReplayDeliveries {
    replay: DeliveryReplay,
    ids: Vec<i64>,
    actor: Actor,
    now: Timestamp,
}

impl Operation for ReplayDeliveries {
    type Output = Vec<i64>;
    // The forwarder follows the same signal.
    const CHANGES_CALLS: bool = true;

    fn announced_at(&self) -> Option<Timestamp> {
        Some(self.now)
    }

    fn apply(&self, tx: &Connection) -> StoreResult<Vec<i64>> {
        let (caller, rep) = self.actor.columns();
        let condition = format!(
            "seq IN {} AND {}",
            id_list(&self.ids),
            replayable(&self.replay, self.now)
        );
        let sql = format!(
            "INSERT INTO acts (at, caller, rep, act, subject, result) \
             SELECT ?1, ?2, ?3, 'replay_delivery', 'delivery ' || seq, \
               '{{\"endpoint\":' || endpoint_id || ',\"wasState\":\"' || state || '\"}}' \
             FROM messages WHERE {condition} ORDER BY seq"
        );
        let now = self.now.as_millis();
        tx.execute(&sql, params![now, caller, rep])?;
        let sql = format!(
            "UPDATE messages SET state = 'waiting', due_at = ?1, attempts = 0, settled_at = NULL \
             WHERE {condition} RETURNING seq"
        );
        let mut ids = tx
            .prepare(&sql)?
            .query_map([now], |row| row.get(0))?
            .collect::<Result<Vec<i64>, _>>()?;
        ids.sort_unstable();
        Ok(ids)
    }
}

/// The endpoints that want a call's message and have none about it.
fn untold_endpoints(told: &CallsToForward) -> String {
    let endpoint = told
        .endpoint
        .map_or(String::new(), |id| format!(" AND endpoints.id = {id}"));
    format!(
        "endpoints.is_active = 1 AND endpoints.kinds LIKE '% call.' || calls.status || ' %'{endpoint} \
         AND NOT EXISTS (SELECT 1 FROM messages \
                         WHERE messages.call_seq = calls.seq AND messages.endpoint_id = endpoints.id)"
    )
}

async fn find_untold(
    readers: &ReadPool,
    told: &CallsToForward,
    after: Option<PageKey>,
) -> StoreResult<UntoldCalls> {
    let sql = format!(
        "SELECT seq, sort_at, (SELECT count(*) FROM endpoints WHERE {}) AS missing FROM calls \
         WHERE sort_at >= ?1 AND sort_at <= ?2 AND status <> 'processing' AND (sort_at > ?1 OR seq > ?3) \
         ORDER BY sort_at, seq LIMIT ?4",
        untold_endpoints(told)
    );
    let from = after.map_or(told.from, |after| after.sort_at);
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(from.as_millis())
        .bind(told.to.as_millis())
        .bind(after.map_or(0, |after| after.seq))
        .bind(FORWARD_BATCH)
        .fetch_all(readers)
        .await?;
    let missing = |row: &SqliteRow| row.get::<i64, _>("missing").unsigned_abs();
    let last = rows.last().filter(|_| rows.len() == FORWARD_BATCH as usize);
    let untold = rows.iter().filter(|row| missing(row) > 0);
    Ok(UntoldCalls {
        seen: rows.len() as u64,
        calls: untold.map(|row| row.get("seq")).collect(),
        messages: rows.iter().map(missing).sum(),
        next: last.map(|row| PageKey {
            sort_at: Timestamp::from_millis(row.get("sort_at")),
            seq: row.get("seq"),
        }),
    })
}

/// Writes messages about calls that no message is about.
struct ForwardCalls {
    told: CallsToForward,
    calls: Vec<i64>,
    now: Timestamp,
}

impl Operation for ForwardCalls {
    type Output = u64;
    const CHANGES_CALLS: bool = true;

    fn apply(&self, tx: &Connection) -> StoreResult<u64> {
        let calls = id_list(&self.calls);
        let untold = untold_endpoints(&self.told);
        let sql = format!(
            "INSERT INTO messages (endpoint_id, message_id, kind, call_seq, at, state, due_at) \
             SELECT endpoints.id, ?1 || calls.rev, 'call.' || calls.status, calls.seq, ?2, 'waiting', ?2 \
             FROM calls JOIN endpoints ON {untold} \
             WHERE calls.seq IN {calls} AND calls.status <> 'processing' ORDER BY calls.sort_at, calls.seq"
        );
        let written = tx.execute(&sql, params![new_prefix(), self.now.as_millis()])?;
        // What is told of these calls next is an update.
        let sql = format!(
            "UPDATE calls SET told = status WHERE seq IN {calls} AND status <> 'processing' AND told IS NULL"
        );
        tx.execute(&sql, [])?;
        Ok(written as u64)
    }
}

struct RecordAct(Act);

impl Operation for RecordAct {
    type Output = ();

    fn announced_at(&self) -> Option<Timestamp> {
        Some(self.0.at)
    }

    fn apply(&self, tx: &Connection) -> StoreResult<()> {
        let Act {
            at,
            actor,
            act,
            subject,
            result,
        } = &self.0;
        let (caller, rep) = actor.columns();
        tx.prepare_cached(
            "INSERT INTO acts (at, caller, rep, act, subject, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![at.as_millis(), caller, rep, act, subject, result])?;
        Ok(())
    }
}

#[async_trait]
impl Deliveries for SqliteStore {
    async fn list_deliveries(
        &self,
        filter: &DeliveryFilter,
        limit: u32,
        after: Option<i64>,
    ) -> StoreResult<Page<DeliveryRow, i64>> {
        self.noting(list(&self.readers.requests, filter, limit, after).await)
    }

    async fn find_delivery(&self, id: i64) -> StoreResult<Option<StoredDelivery>> {
        self.noting(find(&self.readers.requests, id).await)
    }

    async fn count_replayable_deliveries(
        &self,
        replay: &DeliveryReplay,
        limit: u32,
        now: Timestamp,
    ) -> StoreResult<WouldReplay> {
        self.noting(count_replayable(&self.readers.background, replay, limit, now).await)
    }

    async fn replay_deliveries(
        &self,
        replay: &DeliveryReplay,
        after: i64,
        actor: Actor,
        now: Timestamp,
    ) -> StoreResult<ReplayedDeliveries> {
        let condition = replayable(replay, now);
        let found =
            find_replayable(&self.readers.background, &condition, after, REPLAY_BATCH).await;
        let ids = self.noting(found)?;
        let next = ids.last().copied();
        let next = next.filter(|_| ids.len() == REPLAY_BATCH as usize);
        if ids.is_empty() {
            return Ok(ReplayedDeliveries { ids, next });
        }
        let step = ReplayDeliveries {
            replay: *replay,
            ids,
            actor,
            now,
        };
        let ids = self.writer.write(step).await?;
        Ok(ReplayedDeliveries { ids, next })
    }

    async fn find_untold(
        &self,
        told: &CallsToForward,
        after: Option<PageKey>,
    ) -> StoreResult<UntoldCalls> {
        self.noting(find_untold(&self.readers.background, told, after).await)
    }

    async fn forward_calls(
        &self,
        told: &CallsToForward,
        calls: Vec<i64>,
        now: Timestamp,
    ) -> StoreResult<u64> {
        let forward = ForwardCalls {
            told: *told,
            calls,
            now,
        };
        self.writer.write(forward).await
    }

    async fn record_act(&self, act: Act) -> StoreResult<()> {
        self.writer.write(RecordAct(act)).await
    }
}
