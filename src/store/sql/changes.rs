//! The change feed in SQL: calls and the tombstones of calls, in one order.

use async_trait::async_trait;

use super::calls::{ROW, ROW_COLUMNS, call_row, latest_rev};
use super::rows::push_scope;
use super::{Connection, SqlStore, Statement, values};
use crate::model::Scope;
use crate::store::{ChangeFeed, FeedChange, FeedPage, StoreResult};

/// Calls, of whomever, that are looked through in one step. Counted in rows: revs may have wide gaps.
const STEP_CALLS: i64 = 1000;

/// Has copies of these calls forgotten. Each tombstone gets a rev of its own, which no call has.
pub(super) fn write_tombstones(tx: &dyn Connection, calls: &[String]) -> StoreResult<()> {
    for call in calls {
        let next = "UPDATE rev_floor SET rev = (SELECT rev + 1 FROM latest_rev) RETURNING rev";
        let rev: i64 = tx.scalar(next, &[])?;
        let insert = "INSERT INTO erased_calls (rev, call_id) VALUES (?1, ?2)";
        tx.execute(insert, values![rev, call])?;
    }
    Ok(())
}

fn read_feed(db: &dyn Connection, scope: &Scope, rev: i64, limit: u32) -> StoreResult<FeedPage> {
    // Read first: what changes in between is seen, or comes next time.
    let latest = latest_rev(db)?;
    let step = "SELECT count(*), max(rev) FROM (\
                  SELECT rev FROM calls WHERE rev > ?1 AND rev <= ?2 ORDER BY rev LIMIT ?3) AS step";
    let end = db.one(step, values![rev, latest, STEP_CALLS], |row| {
        match row.get(0)? {
            STEP_CALLS => row.get(1),
            _ => Ok(latest.max(rev)),
        }
    })?;
    let mut changes = calls(db, scope, rev, end, limit)?;
    if *scope == Scope::All {
        changes.extend(tombstones(db, rev, end, limit)?);
        changes.sort_by_key(FeedChange::rev);
        changes.truncate(limit as usize);
    }
    let up_to = match changes.last() {
        Some(last) if changes.len() == limit as usize => last.rev(),
        _ => end,
    };
    Ok(FeedPage {
        changes,
        up_to,
        latest,
    })
}

fn calls(
    db: &dyn Connection,
    scope: &Scope,
    after: i64,
    end: i64,
    limit: u32,
) -> StoreResult<Vec<FeedChange>> {
    let mut sql = Statement::new(ROW);
    // By rev, which SQLite is told: by the scope's index it would sort all of somebody's calls.
    sql.push(", rev FROM calls ")
        .push(db.hint("INDEXED BY calls_by_rev "))
        .push("WHERE rev > ")
        .push_bind(after)
        .push(" AND rev <= ")
        .push_bind(end);
    push_scope(&mut sql, scope);
    sql.push(" ORDER BY rev LIMIT ").push_bind(limit);
    sql.rows(db, |row| {
        Ok(FeedChange::Call {
            rev: row.get(ROW_COLUMNS)?,
            row: call_row(row)?,
        })
    })
}

fn tombstones(
    db: &dyn Connection,
    after: i64,
    end: i64,
    limit: u32,
) -> StoreResult<Vec<FeedChange>> {
    let sql =
        "SELECT rev, call_id FROM erased_calls WHERE rev > ?1 AND rev <= ?2 ORDER BY rev LIMIT ?3";
    db.rows(sql, values![after, end, limit], |row| {
        Ok(FeedChange::Erased {
            rev: row.get(0)?,
            id: row.get(1)?,
        })
    })
}

#[async_trait]
impl ChangeFeed for SqlStore {
    async fn read_feed(&self, scope: &Scope, rev: i64, limit: u32) -> StoreResult<FeedPage> {
        self.arrivals.opening.caught_up().await;
        let scope = scope.clone();
        let read = move |db: &dyn Connection| read_feed(db, &scope, rev, limit);
        self.readers.streams.read(read).await
    }
}
