//! What is one person's, in SQL: all ids that name them, their calls, and the events that are about them or name them.

use std::collections::HashSet;

use rusqlite::{Connection, ToSql};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::super::readers::ReadPool;
use super::super::rows::{parameter_list, push_list};
use super::tombstones::{self, Hash};
use crate::model::DataSubject;
use crate::store::StoreResult;

/// Events looked through at a time.
const PAGE_EVENTS: u32 = 500;

/// Everyone's ids that belong to `id`, which is ours or Athos's.
pub(in crate::store::sqlite) async fn find(
    readers: &ReadPool,
    id: &str,
) -> StoreResult<DataSubject> {
    let mut reps: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT rep FROM calls WHERE athos_rep = ?1 AND rep IS NOT NULL \
         UNION SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = ?1",
    )
    .bind(id)
    .fetch_all(readers)
    .await?;
    reps.push(id.to_owned());
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT DISTINCT athos_rep FROM calls WHERE athos_rep IS NOT NULL AND rep IN ",
    );
    push_list(&mut sql, &reps);
    sql.push(" UNION SELECT athos_id FROM identities WHERE kind = 'rep' AND our_id IN ");
    push_list(&mut sql, &reps);
    let mut athos_reps: Vec<String> = sql.build_query_scalar().fetch_all(readers).await?;
    athos_reps.push(id.to_owned());
    Ok(DataSubject { reps, athos_reps })
}

/// Up to `limit` calls of a person that began until then, after the one with the number `after`: our id decides whose a
/// call is where there is one.
pub(super) fn find_calls(
    tx: &Connection,
    person: &DataSubject,
    until: i64,
    after: i64,
    limit: u32,
) -> StoreResult<Vec<(i64, String)>> {
    let ids = person.reps.iter().chain(&person.athos_reps);
    let mut values: Vec<&dyn ToSql> = vec![&until, &after, &limit];
    values.extend(ids.map(|id| id as &dyn ToSql));
    // Each half by an index of its own, which SQLite is told (INDEXED BY, +): calls without an id of ours can be all there
    // are.
    let sql = format!(
        "SELECT seq, id FROM calls WHERE rep IN {} \
           AND coalesce(started_at, sort_at) <= ?1 AND +seq > ?2 \
         UNION ALL \
         SELECT seq, id FROM calls INDEXED BY calls_of_unknown_reps \
         WHERE rep IS NULL AND athos_rep IS NOT NULL AND athos_rep IN {} \
           AND coalesce(started_at, sort_at) <= ?1 AND +seq > ?2 \
         ORDER BY seq LIMIT ?3",
        parameter_list(4, person.reps.len()),
        parameter_list(4 + person.reps.len(), person.athos_reps.len()),
    );
    let calls = tx
        .prepare(&sql)?
        .query_map(&*values, |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    Ok(calls)
}

struct Event {
    id: i64,
    call_id: Option<String>,
    received_at: i64,
    body: Vec<u8>,
}

/// Some events, to be looked through.
pub(super) struct EventPage(Vec<Event>);

impl EventPage {
    pub(super) async fn read(readers: &ReadPool, after: i64) -> StoreResult<Self> {
        let rows = sqlx::query(
            "SELECT id, call_id, received_at, body FROM events WHERE id > ?1 ORDER BY id LIMIT ?2",
        )
        .bind(after)
        .bind(PAGE_EVENTS)
        .fetch_all(readers)
        .await?;
        let events = rows.iter().map(|row| Event {
            id: row.get("id"),
            call_id: row.get("call_id"),
            received_at: row.get("received_at"),
            body: row.get("body"),
        });
        Ok(Self(events.collect()))
    }

    pub(super) fn last(&self) -> Option<i64> {
        Some(self.0.last()?.id)
    }

    /// Of the calls that these events are about, those that were erased.
    pub(super) async fn erased(&self, readers: &ReadPool) -> StoreResult<HashSet<Hash>> {
        let ids = self.0.iter().filter_map(|event| event.call_id.as_deref());
        let hashes: Vec<_> = ids
            .map(|id| tombstones::hash_of_call(id).to_vec())
            .collect();
        if hashes.is_empty() {
            return Ok(HashSet::new());
        }
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT hash FROM erased WHERE hash IN ");
        push_list(&mut sql, hashes);
        let found: Vec<Vec<u8>> = sql.build_query_scalar().fetch_all(readers).await?;
        Ok(found
            .into_iter()
            .filter_map(|hash| hash.try_into().ok())
            .collect())
    }

    /// Those about a call of `calls`, or that name the person and came in until then.
    pub(super) fn concerning(
        &self,
        person: &DataSubject,
        until: i64,
        calls: &HashSet<Hash>,
    ) -> Vec<i64> {
        let concerns = |event: &&Event| {
            let call = event.call_id.as_deref().map(tombstones::hash_of_call);
            call.is_some_and(|call| calls.contains(&call))
                || (event.received_at <= until && person.is_named_in(&event.body))
        };
        self.0
            .iter()
            .filter(concerns)
            .map(|event| event.id)
            .collect()
    }
}
