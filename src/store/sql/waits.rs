//! Waits that a clock which was set back has made long, in SQL: they are shortened a batch at a time.

use std::time::Duration;

use super::readers::ReadPool;
use super::rows::id_list;
use super::writer::Writer;
use super::{Connection, Operation, values};
use crate::model::Timestamp;
use crate::store::StoreResult;

/// Events of one batch.
const BATCH_EVENTS: u32 = 500;

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
        let page = readers.read(move |db| find_waiting(db, last)).await?;
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

/// Times and ids of some events that wait, after this one.
fn find_waiting(db: &dyn Connection, (at, id): (i64, i64)) -> StoreResult<Vec<(i64, i64)>> {
    // In the order of the index, which SQLite is told: nothing is sorted.
    let sql = format!(
        "SELECT next_attempt_at, id FROM events {} \
         WHERE next_attempt_at IS NOT NULL AND (next_attempt_at, id) > (?1, ?2) \
         ORDER BY next_attempt_at, id LIMIT ?3",
        db.hint("INDEXED BY events_due")
    );
    db.rows(&sql, values![at, id, BATCH_EVENTS], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

struct Shorten {
    ids: Vec<i64>,
    now: Timestamp,
    lease: Duration,
    waits: Vec<Duration>,
}

impl Shorten {
    /// Of the batch, those that wait for longer and meet a condition; how many there were.
    fn shorten(&self, tx: &dyn Connection, wait: Duration, condition: &str) -> StoreResult<u64> {
        let until = self.now.plus(wait).as_millis();
        let sql = format!(
            "UPDATE events SET next_attempt_at = {until} \
             WHERE next_attempt_at > {until} AND id IN {} AND {condition}",
            id_list(&self.ids)
        );
        tx.execute(&sql, &[])
    }
}

impl Operation for Shorten {
    type Output = u64;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<u64> {
        let mut shortened = self.shorten(tx, self.lease, "state = 'processing'")?;
        let now = self.now.as_millis();
        let mut waits = self.waits.iter().enumerate().peekable();
        while let Some((spent, wait)) = waits.next() {
            let compares = if waits.peek().is_some() { "=" } else { ">=" };
            // What Athos asked for may be longer. Only an attempt of later than now was made by another clock; one that
            // nothing was spent on waits for nothing.
            let condition = format!(
                "state = 'pending' AND attempts {compares} {spent} AND (attempts = 0 \
                 OR EXISTS (SELECT 1 FROM attempts WHERE event_id = id AND at > {now}))"
            );
            shortened += self.shorten(tx, *wait, &condition)?;
        }
        Ok(shortened)
    }
}
