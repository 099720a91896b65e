//! The audit log in SQL (table `acts`). Entries are written by what they are about, in the same transaction.

use async_trait::async_trait;

use super::{Connection, Row, SqlStore, Statement, values};
use crate::model::Timestamp;
use crate::store::{AuditEntry, AuditFilter, AuditLog, Page, StoreResult};

const ROW: &str =
    "SELECT id, at, caller, rep, act, event_id, was_state, was_reason, subject, result FROM acts";

/// Writes a message about every entry since the last time, for each endpoint that asked for them.
pub(super) fn write_messages(tx: &dyn Connection, prefix: &str, now: Timestamp) -> StoreResult<()> {
    tx.execute(
        "INSERT INTO messages (endpoint_id, message_id, kind, act_id, at, state, due_at) \
         SELECT endpoints.id, ?1 || 'audit_' || acts.id, 'audit.recorded', acts.id, ?2, 'waiting', ?2 \
         FROM acts JOIN endpoints ON is_active = 1 AND kinds LIKE '% audit.recorded %' \
         WHERE acts.id > (SELECT act_id FROM told_rev)",
        values![prefix, now],
    )?;
    tx.execute(
        "UPDATE told_rev SET act_id = (SELECT max(id) FROM acts) \
         WHERE act_id < (SELECT max(id) FROM acts)",
        &[],
    )?;
    Ok(())
}

/// What was done to an event, the first first.
pub(super) fn of_event(db: &dyn Connection, event: i64) -> StoreResult<Vec<AuditEntry>> {
    let mut sql = Statement::new(ROW);
    sql.push(" WHERE event_id = ").push_bind(event);
    sql.push(" ORDER BY id").rows(db, entry)
}

/// What was done to this, which is no event; the first first.
pub(super) fn of_subject(db: &dyn Connection, subject: &str) -> StoreResult<Vec<AuditEntry>> {
    let mut sql = Statement::new(ROW);
    sql.push(" WHERE subject = ").push_bind(subject);
    sql.push(" ORDER BY id").rows(db, entry)
}

/// One entry.
pub(super) fn find(db: &dyn Connection, id: i64) -> StoreResult<Option<AuditEntry>> {
    let mut sql = Statement::new(ROW);
    sql.push(" WHERE id = ").push_bind(id).first(db, entry)
}

fn list(
    db: &dyn Connection,
    filter: &AuditFilter,
    limit: u32,
    after: Option<i64>,
) -> StoreResult<Page<AuditEntry, i64>> {
    let mut sql = Statement::new(ROW);
    sql.push(" WHERE true");
    if let Some(who) = &filter.who {
        // Of whom nothing is known but what kind of caller it was is found by that.
        sql.push(" AND coalesce(rep, caller) = ").push_bind(who);
    }
    if let Some(action) = &filter.action {
        sql.push(" AND act = ").push_bind(action);
    }
    for (condition, time) in [(" AND at >= ", filter.from), (" AND at <= ", filter.to)] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time);
        }
    }
    if let Some(after) = after {
        sql.push(" AND id < ").push_bind(after);
    }
    // One more than asked for tells whether there is another page.
    sql.push(" ORDER BY id DESC LIMIT ")
        .push_bind(i64::from(limit) + 1);
    let found = sql.rows(db, entry)?;
    Ok(Page::cut(found, limit, |last| last.id))
}

/// Reads the columns of `ROW`.
fn entry(row: &dyn Row) -> StoreResult<AuditEntry> {
    let mut columns = row.from(0);
    Ok(AuditEntry {
        id: columns.next()?,
        at: columns.next()?,
        caller: columns.next()?,
        who: columns.next()?,
        action: columns.next()?,
        event_id: columns.next()?,
        was_state: columns.next()?,
        was_reason: columns.next()?,
        subject: columns.next()?,
        result: columns.next()?,
    })
}

#[async_trait]
impl AuditLog for SqlStore {
    async fn list_audit(
        &self,
        filter: &AuditFilter,
        limit: u32,
        after: Option<i64>,
    ) -> StoreResult<Page<AuditEntry, i64>> {
        let filter = filter.clone();
        let list = move |db: &dyn Connection| list(db, &filter, limit, after);
        self.readers.requests.read(list).await
    }
}
