//! The audit log in SQL (table `acts`). Entries are written by what they are about, in the same transaction.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::SqliteStore;
use super::readers::ReadPool;
use crate::model::Timestamp;
use crate::store::{AuditEntry, AuditFilter, AuditLog, Page, StoreResult};

const ROW: &str =
    "SELECT id, at, caller, rep, act, event_id, was_state, was_reason, subject, result FROM acts";

/// Writes a message about every entry since the last time, for each endpoint that asked for them.
pub(super) fn write_messages(tx: &Connection, prefix: &str, now: Timestamp) -> StoreResult<()> {
    tx.prepare_cached(
        "INSERT INTO messages (endpoint_id, message_id, kind, act_id, at, state, due_at) \
         SELECT endpoints.id, ?1 || 'audit_' || acts.id, 'audit.recorded', acts.id, ?2, 'waiting', ?2 \
         FROM acts JOIN endpoints ON is_active = 1 AND kinds LIKE '% audit.recorded %' \
         WHERE acts.id > (SELECT act_id FROM told_rev)",
    )?
    .execute(params![prefix, now.as_millis()])?;
    tx.prepare_cached(
        "UPDATE told_rev SET act_id = (SELECT max(id) FROM acts) \
         WHERE act_id < (SELECT max(id) FROM acts)",
    )?
    .execute([])?;
    Ok(())
}

/// What was done to an event, the first first.
pub(super) async fn of_event(readers: &ReadPool, event: i64) -> StoreResult<Vec<AuditEntry>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    sql.push(" WHERE event_id = ").push_bind(event);
    sql.push(" ORDER BY id");
    let rows = sql.build().fetch_all(readers).await?;
    Ok(rows.iter().map(entry).collect())
}

/// What was done to this, which is no event; the first first.
pub(super) async fn of_subject(readers: &ReadPool, subject: &str) -> StoreResult<Vec<AuditEntry>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    sql.push(" WHERE subject = ").push_bind(subject);
    sql.push(" ORDER BY id");
    let rows = sql.build().fetch_all(readers).await?;
    Ok(rows.iter().map(entry).collect())
}

/// One entry.
pub(super) async fn find(readers: &ReadPool, id: i64) -> StoreResult<Option<AuditEntry>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    sql.push(" WHERE id = ").push_bind(id);
    let row = sql.build().fetch_optional(readers).await?;
    Ok(row.as_ref().map(entry))
}

async fn list(
    readers: &ReadPool,
    filter: &AuditFilter,
    limit: u32,
    after: Option<i64>,
) -> StoreResult<Page<AuditEntry, i64>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    sql.push(" WHERE true");
    if let Some(who) = &filter.who {
        // Of whom nothing is known but what kind of caller it was is found by that.
        sql.push(" AND coalesce(rep, caller) = ")
            .push_bind(who.as_str());
    }
    if let Some(action) = &filter.action {
        sql.push(" AND act = ").push_bind(action.as_str());
    }
    for (condition, time) in [(" AND at >= ", filter.from), (" AND at <= ", filter.to)] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time.as_millis());
        }
    }
    if let Some(after) = after {
        sql.push(" AND id < ").push_bind(after);
    }
    // One more than asked for tells whether there is another page.
    sql.push(" ORDER BY id DESC LIMIT ")
        .push_bind(i64::from(limit) + 1);
    let found = sql.build().fetch_all(readers).await?;
    let entry = |row: &SqliteRow| StoreResult::Ok(entry(row));
    Page::cut(&found, limit, |last| last.get("id"), entry)
}

fn entry(row: &SqliteRow) -> AuditEntry {
    AuditEntry {
        id: row.get("id"),
        at: Timestamp::from_millis(row.get("at")),
        caller: row.get("caller"),
        who: row.get("rep"),
        action: row.get("act"),
        event_id: row.get("event_id"),
        was_state: row.get("was_state"),
        was_reason: row.get("was_reason"),
        subject: row.get("subject"),
        result: row.get("result"),
    }
}

#[async_trait]
impl AuditLog for SqliteStore {
    async fn list_audit(
        &self,
        filter: &AuditFilter,
        limit: u32,
        after: Option<i64>,
    ) -> StoreResult<Page<AuditEntry, i64>> {
        self.noting(list(&self.readers.requests, filter, limit, after).await)
    }
}
