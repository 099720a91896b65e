//! What is one person's, in SQL: all ids that name them, their calls, and the events that are about them or name them.

use std::collections::HashSet;

use super::super::{Connection, Statement, values};
use super::tombstones::{self, Hash};
use crate::model::DataSubject;
use crate::store::StoreResult;

/// Events looked through at a time.
const PAGE_EVENTS: u32 = 500;

/// Everyone's ids that belong to `id`, which is ours or Athos's.
pub(in crate::store::sql) fn find(db: &dyn Connection, id: &str) -> StoreResult<DataSubject> {
    let sql = "SELECT DISTINCT rep FROM calls WHERE athos_rep = ?1 AND rep IS NOT NULL \
               UNION SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = ?1";
    let mut reps: Vec<String> = db.rows(sql, values![id], |row| row.get(0))?;
    reps.push(id.to_owned());
    let mut sql = Statement::new(
        "SELECT DISTINCT athos_rep FROM calls WHERE athos_rep IS NOT NULL AND rep IN ",
    );
    sql.push_list(&reps)
        .push(" UNION SELECT athos_id FROM identities WHERE kind = 'rep' AND our_id IN ")
        .push_list(&reps);
    let mut athos_reps: Vec<String> = sql.rows(db, |row| row.get(0))?;
    athos_reps.push(id.to_owned());
    Ok(DataSubject { reps, athos_reps })
}

/// Up to `limit` calls of a person that began until then, after the one with the number `after`: our id decides whose a
/// call is where there is one.
pub(super) fn find_calls(
    tx: &dyn Connection,
    person: &DataSubject,
    until: i64,
    after: i64,
    limit: u32,
) -> StoreResult<Vec<(i64, String)>> {
    // Each half by an index of its own, which SQLite is told: calls without an id of ours can be all there are.
    let mut sql = Statement::new("SELECT seq, id FROM calls WHERE rep IN ");
    let push_place = |sql: &mut Statement<'_>| {
        sql.push(" AND coalesce(started_at, sort_at) <= ")
            .push_bind(until)
            .push(" AND ")
            .push(tx.hint("+"))
            .push("seq > ")
            .push_bind(after);
    };
    sql.push_list(&person.reps);
    push_place(&mut sql);
    sql.push(" UNION ALL SELECT seq, id FROM calls ")
        .push(tx.hint("INDEXED BY calls_of_unknown_reps "))
        .push("WHERE rep IS NULL AND athos_rep IS NOT NULL AND athos_rep IN ")
        .push_list(&person.athos_reps);
    push_place(&mut sql);
    sql.push(" ORDER BY seq LIMIT ").push_bind(limit);
    sql.rows(tx, |row| Ok((row.get(0)?, row.get(1)?)))
}

struct Event {
    id: i64,
    call_id: Option<String>,
    received_at: i64,
    body: Vec<u8>,
}

/// Some events, to be looked through.
pub(super) struct EventPage {
    events: Vec<Event>,
    /// Of the calls that they are about, those that were erased.
    pub(super) erased: HashSet<Hash>,
}

impl EventPage {
    pub(super) fn read(db: &dyn Connection, after: i64) -> StoreResult<Self> {
        let sql =
            "SELECT id, call_id, received_at, body FROM events WHERE id > ?1 ORDER BY id LIMIT ?2";
        let events = db.rows(sql, values![after, PAGE_EVENTS], |row| {
            Ok(Event {
                id: row.get(0)?,
                call_id: row.get(1)?,
                received_at: row.get(2)?,
                body: row.get(3)?,
            })
        })?;
        let ids = events.iter().filter_map(|event| event.call_id.as_deref());
        let hashes: Vec<_> = ids.map(tombstones::hash_of_call).collect();
        let mut sql = Statement::new("SELECT hash FROM erased WHERE hash IN ");
        sql.push_list(&hashes);
        let found = sql.rows(db, |row| row.get::<Vec<u8>>(0))?;
        let erased = found.into_iter().filter_map(|hash| hash.try_into().ok());
        Ok(Self {
            erased: erased.collect(),
            events,
        })
    }

    pub(super) fn last(&self) -> Option<i64> {
        Some(self.events.last()?.id)
    }

    /// Those about a call that was erased, or that name the person and came in until then.
    pub(super) fn concerning(&self, person: &DataSubject, until: i64) -> Vec<i64> {
        let concerns = |event: &&Event| {
            let call = event.call_id.as_deref().map(tombstones::hash_of_call);
            call.is_some_and(|call| self.erased.contains(&call))
                || (event.received_at <= until && person.is_named_in(&event.body))
        };
        self.events
            .iter()
            .filter(concerns)
            .map(|event| event.id)
            .collect()
    }
}
