//! The change feed in SQL: calls and the tombstones of calls, in one order.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::SqliteStore;
use super::calls::{ROW, call_row, latest_rev};
use super::readers::ReadPool;
use super::rows::push_scope;
use crate::model::Scope;
use crate::store::{ChangeFeed, FeedChange, FeedPage, StoreResult};

/// Calls, of whomever, that are looked through in one step. Counted in rows: revs may have wide gaps.
const STEP_CALLS: i64 = 1000;

/// Has copies of these calls forgotten. Each tombstone gets a rev of its own, which no call has.
pub(super) fn write_tombstones(tx: &Connection, calls: &[String]) -> StoreResult<()> {
    let mut next = tx.prepare_cached(
        "UPDATE rev_floor SET rev = (SELECT rev + 1 FROM latest_rev) RETURNING rev",
    )?;
    let mut insert =
        tx.prepare_cached("INSERT INTO erased_calls (rev, call_id) VALUES (?1, ?2)")?;
    for call in calls {
        let rev: i64 = next.query_row([], |row| row.get(0))?;
        insert.execute(params![rev, call])?;
    }
    Ok(())
}

async fn read_feed(
    readers: &ReadPool,
    scope: &Scope,
    rev: i64,
    limit: u32,
) -> StoreResult<FeedPage> {
    // Read first: what changes in between is seen, or comes next time.
    let latest = latest_rev(readers).await?;
    let step = sqlx::query(
        "SELECT count(*) AS calls, max(rev) AS last FROM (\
           SELECT rev FROM calls WHERE rev > ?1 AND rev <= ?2 ORDER BY rev LIMIT ?3) AS step",
    )
    .bind(rev)
    .bind(latest)
    .bind(STEP_CALLS)
    .fetch_one(readers)
    .await?;
    let end = match step.get("calls") {
        STEP_CALLS => step.get("last"),
        _ => latest.max(rev),
    };
    let mut changes = calls(readers, scope, rev, end, limit).await?;
    if *scope == Scope::All {
        changes.extend(tombstones(readers, rev, end, limit).await?);
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

async fn calls(
    readers: &ReadPool,
    scope: &Scope,
    after: i64,
    end: i64,
    limit: u32,
) -> StoreResult<Vec<FeedChange>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    // By rev, which SQLite is told: by the scope's index it would sort all of somebody's calls.
    sql.push(", rev FROM calls INDEXED BY calls_by_rev WHERE rev > ")
        .push_bind(after)
        .push(" AND rev <= ")
        .push_bind(end);
    push_scope(&mut sql, scope);
    sql.push(" ORDER BY rev LIMIT ").push_bind(limit);
    let rows = sql.build().fetch_all(readers).await?;
    let change = |row| {
        Ok(FeedChange::Call {
            rev: Row::get(row, "rev"),
            row: call_row(row)?,
        })
    };
    rows.iter().map(change).collect()
}

async fn tombstones(
    readers: &ReadPool,
    after: i64,
    end: i64,
    limit: u32,
) -> StoreResult<Vec<FeedChange>> {
    let rows = sqlx::query(
        "SELECT rev, call_id FROM erased_calls WHERE rev > ?1 AND rev <= ?2 ORDER BY rev LIMIT ?3",
    )
    .bind(after)
    .bind(end)
    .bind(limit)
    .fetch_all(readers)
    .await?;
    let change = |row| FeedChange::Erased {
        rev: Row::get(row, "rev"),
        id: Row::get(row, "call_id"),
    };
    Ok(rows.iter().map(change).collect())
}

#[async_trait]
impl ChangeFeed for SqliteStore {
    async fn read_feed(&self, scope: &Scope, rev: i64, limit: u32) -> StoreResult<FeedPage> {
        self.arrivals.opening.caught_up().await;
        self.noting(read_feed(&self.readers.streams, scope, rev, limit).await)
    }
}
