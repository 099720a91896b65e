//! The outbox as operators see it, in SQL: lists, one delivery, replays, and messages about calls of before.

use async_trait::async_trait;

use super::outbox::{new_prefix, subject};
use super::rows::id_list;
use super::{Connection, Operation, Row, SqlStore, Statement, audit, values};
use crate::model::{MessageKind, Timestamp};
use crate::store::{
    Act, Actor, CallsToForward, Deliveries, DeliveryFilter, DeliveryReplay, DeliveryRow,
    DeliveryState, Page, PageKey, ReplayedDeliveries, StoreResult, StoredDelivery, UntoldCalls,
    WouldReplay,
};

const ROW: &str = "SELECT messages.seq, message_id, endpoint_id, kind, messages.state, \
                     (SELECT calls.id FROM calls WHERE calls.seq = messages.call_seq), event_id, act_id, at, due_at, \
                     messages.attempts, messages.status, error, messages.settled_at \
                   FROM messages";

/// Deliveries of one batch of a replay.
const REPLAY_BATCH: u32 = 500;
/// Calls of one batch of what is forwarded afterwards.
const FORWARD_BATCH: u32 = 500;

fn list(
    db: &dyn Connection,
    filter: &DeliveryFilter,
    limit: u32,
    after: Option<i64>,
) -> StoreResult<Page<DeliveryRow, i64>> {
    let mut sql = Statement::new(ROW);
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
            .push_bind(call)
            .push(")");
    }
    if let Some(message) = &filter.message {
        sql.push(" AND message_id = ").push_bind(message);
    }
    for (condition, time) in [(" AND at >= ", filter.from), (" AND at <= ", filter.to)] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time);
        }
    }
    if let Some(after) = after {
        sql.push(" AND messages.seq < ").push_bind(after);
    }
    // One more than asked for tells whether there is another page.
    sql.push(" ORDER BY messages.seq DESC LIMIT ")
        .push_bind(i64::from(limit) + 1);
    let found = sql.rows(db, delivery_row)?;
    Ok(Page::cut(found, limit, |last| last.id))
}

/// Reads the columns of `ROW`.
fn delivery_row(row: &dyn Row) -> StoreResult<DeliveryRow> {
    let mut columns = row.from(0);
    Ok(DeliveryRow {
        id: columns.next()?,
        message_id: columns.next()?,
        endpoint: columns.next()?,
        kind: columns.word()?,
        state: columns.word()?,
        call_id: columns.next()?,
        event_id: columns.next()?,
        audit_id: columns.next()?,
        at: columns.next()?,
        due_at: columns.next()?,
        attempts: columns.next()?,
        status: columns.next()?,
        error: columns.next()?,
        settled_at: columns.next()?,
    })
}

fn find(db: &dyn Connection, id: i64) -> StoreResult<Option<StoredDelivery>> {
    let mut sql = Statement::new(ROW);
    sql.push(" WHERE messages.seq = ").push_bind(id);
    let Some(row) = sql.first(db, delivery_row)? else {
        return Ok(None);
    };
    Ok(Some(StoredDelivery {
        row,
        subject: subject(db, id)?,
        acts: audit::of_subject(db, &format!("delivery {id}"))?,
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

fn count_replayable(
    db: &dyn Connection,
    replay: &DeliveryReplay,
    limit: u32,
    now: Timestamp,
) -> StoreResult<WouldReplay> {
    let condition = replayable(replay, now);
    let sql = format!("SELECT count(*) FROM messages WHERE {condition}");
    Ok(WouldReplay {
        count: db.scalar(&sql, &[])?,
        first: find_replayable(db, &condition, 0, limit)?,
    })
}

fn find_replayable(
    db: &dyn Connection,
    condition: &str,
    after: i64,
    limit: u32,
) -> StoreResult<Vec<i64>> {
    let sql =
        format!("SELECT seq FROM messages WHERE seq > ?1 AND {condition} ORDER BY seq LIMIT ?2");
    db.rows(&sql, values![after, limit], |row| row.get(0))
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

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Vec<i64>> {
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
        tx.execute(&sql, values![now, caller, rep])?;
        let sql = format!(
            "UPDATE messages SET state = 'waiting', due_at = ?1, attempts = 0, settled_at = NULL \
             WHERE {condition} RETURNING seq"
        );
        let mut ids: Vec<i64> = tx.rows(&sql, values![now], |row| row.get(0))?;
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

fn find_untold(
    db: &dyn Connection,
    told: &CallsToForward,
    after: Option<PageKey>,
) -> StoreResult<UntoldCalls> {
    let sql = format!(
        "SELECT seq, sort_at, (SELECT count(*) FROM endpoints WHERE {}) AS missing FROM calls \
         WHERE sort_at >= ?1 AND sort_at <= ?2 AND status <> 'processing' AND (sort_at > ?1 OR seq > ?3) \
         ORDER BY sort_at, seq LIMIT ?4",
        untold_endpoints(told)
    );
    let (from, seq) = after.map_or((told.from, 0), |after| (after.sort_at, after.seq));
    let values = values![from, told.to, seq, FORWARD_BATCH];
    let found: Vec<(PageKey, u64)> = db.rows(&sql, values, |row| {
        let key = PageKey {
            seq: row.get(0)?,
            sort_at: row.get(1)?,
        };
        Ok((key, row.get(2)?))
    })?;
    let last = found.last();
    let last = last.filter(|_| found.len() == FORWARD_BATCH as usize);
    let untold = found.iter().filter(|(_, missing)| *missing > 0);
    Ok(UntoldCalls {
        seen: found.len() as u64,
        calls: untold.map(|(call, _)| call.seq).collect(),
        messages: found.iter().map(|(_, missing)| missing).sum(),
        next: last.map(|(key, _)| *key),
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

    fn apply(&self, tx: &dyn Connection) -> StoreResult<u64> {
        let calls = id_list(&self.calls);
        let untold = untold_endpoints(&self.told);
        let sql = format!(
            "INSERT INTO messages (endpoint_id, message_id, kind, call_seq, at, state, due_at) \
             SELECT endpoints.id, ?1 || calls.rev, 'call.' || calls.status, calls.seq, ?2, 'waiting', ?2 \
             FROM calls JOIN endpoints ON {untold} \
             WHERE calls.seq IN {calls} AND calls.status <> 'processing' ORDER BY calls.sort_at, calls.seq"
        );
        let written = tx.execute(&sql, values![new_prefix(), self.now])?;
        // What is told of these calls next is an update.
        let sql = format!(
            "UPDATE calls SET told = status WHERE seq IN {calls} AND status <> 'processing' AND told IS NULL"
        );
        tx.execute(&sql, &[])?;
        Ok(written)
    }
}

struct RecordAct(Act);

impl Operation for RecordAct {
    type Output = ();

    fn announced_at(&self) -> Option<Timestamp> {
        Some(self.0.at)
    }

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        let Act {
            at,
            actor,
            act,
            subject,
            result,
        } = &self.0;
        let (caller, rep) = actor.columns();
        tx.execute(
            "INSERT INTO acts (at, caller, rep, act, subject, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            values![at, caller, rep, act, subject, result],
        )?;
        Ok(())
    }
}

#[async_trait]
impl Deliveries for SqlStore {
    async fn list_deliveries(
        &self,
        filter: &DeliveryFilter,
        limit: u32,
        after: Option<i64>,
    ) -> StoreResult<Page<DeliveryRow, i64>> {
        let filter = filter.clone();
        let list = move |db: &dyn Connection| list(db, &filter, limit, after);
        self.readers.requests.read(list).await
    }

    async fn find_delivery(&self, id: i64) -> StoreResult<Option<StoredDelivery>> {
        let find = move |db: &dyn Connection| find(db, id);
        self.readers.requests.read(find).await
    }

    async fn count_replayable_deliveries(
        &self,
        replay: &DeliveryReplay,
        limit: u32,
        now: Timestamp,
    ) -> StoreResult<WouldReplay> {
        let replay = *replay;
        let count = move |db: &dyn Connection| count_replayable(db, &replay, limit, now);
        self.readers.background.read(count).await
    }

    async fn replay_deliveries(
        &self,
        replay: &DeliveryReplay,
        after: i64,
        actor: Actor,
        now: Timestamp,
    ) -> StoreResult<ReplayedDeliveries> {
        let condition = replayable(replay, now);
        let find = move |db: &dyn Connection| find_replayable(db, &condition, after, REPLAY_BATCH);
        let ids = self.readers.background.read(find).await?;
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
        let told = *told;
        let find = move |db: &dyn Connection| find_untold(db, &told, after);
        self.readers.background.read(find).await
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
