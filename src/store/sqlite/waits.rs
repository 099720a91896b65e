//! Waits that a clock which was set back has made long, in SQL: they are shortened a batch at a time.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::privacy::push_ids;
use super::readers::ReadPool;
use super::writer::{Operation, Writer};
use crate::model::Timestamp;
use crate::store::StoreResult;

/// Events of one batch.
const BATCH: u32 = 500;

/// Shortens a lease to `lease`, and the wait of an event that has spent `n` attempts to the `n`th of `waits`, or to the
/// last; how many there were.
pub(super) async fn shorten(
    readers: &ReadPool,
    writer: &Writer,
    now: Timestamp,
    lease: Duration,
    waits: &[Duration],
) -> StoreResult<u64> {
    let mut shortened = 0;
    let mut last = (now.as_millis(), i64::MAX);
    loop {
        let page: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT next_attempt_at, id FROM events INDEXED BY events_due \
             WHERE next_attempt_at IS NOT NULL AND (next_attempt_at, id) > (?, ?) \
             ORDER BY next_attempt_at, id LIMIT ?",
        )
        .bind(last.0)
        .bind(last.1)
        .bind(BATCH)
        .fetch_all(readers)
        .await?;
        let Some(end) = page.last() else {
            return Ok(shortened);
        };
        last = *end;
        let batch = Shorten {
            ids: page.into_iter().map(|(_, id)| id).collect(),
            now,
            lease,
            waits: waits.to_vec(),
        };
        shortened += writer.write(batch).await?;
    }
}

struct Shorten {
    ids: Vec<i64>,
    now: Timestamp,
    lease: Duration,
    waits: Vec<Duration>,
}

impl Shorten {
    /// Of the batch, those that wait for longer.
    fn push_to(&self, sql: &mut QueryBuilder<Sqlite>, wait: Duration) {
        let until = self.now.plus(wait).as_millis();
        sql.push_bind(until)
            .push(" WHERE next_attempt_at > ")
            .push_bind(until)
            .push(" AND id IN ");
        push_ids(sql, &self.ids);
    }
}

#[async_trait]
impl Operation for Shorten {
    type Output = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<u64> {
        const UPDATE: &str = "UPDATE events SET next_attempt_at = ";
        let mut sql = QueryBuilder::<Sqlite>::new(UPDATE);
        self.push_to(&mut sql, self.lease);
        sql.push(" AND state = 'processing'");
        let mut shortened = sql.build().execute(&mut *tx).await?.rows_affected();
        let most = i64::try_from(self.waits.len().saturating_sub(1)).unwrap_or(i64::MAX);
        for (spent, wait) in (0_i64..).zip(&self.waits) {
            // What Athos asked for may be longer. Only an attempt of later than now was made by another clock; one that
            // nothing was spent on waits for nothing.
            let mut sql = QueryBuilder::<Sqlite>::new(UPDATE);
            self.push_to(&mut sql, *wait);
            sql.push(" AND state = 'pending' AND min(attempts, ")
                .push_bind(most)
                .push(") = ")
                .push_bind(spent)
                .push(" AND (attempts = 0 OR EXISTS (SELECT 1 FROM attempts WHERE event_id = id AND at > ")
                .push_bind(self.now.as_millis())
                .push("))");
            shortened += sql.build().execute(&mut *tx).await?.rows_affected();
        }
        Ok(shortened)
    }
}
