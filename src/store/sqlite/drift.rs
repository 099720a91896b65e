//! Drift counts in SQL, by name.

use rusqlite::{Connection, params};
use sqlx::Row;

use super::readers::ReadPool;
use super::rows::word;
use super::writer::{Durability, Operation};
use crate::model::{Drift, SeenDrift, Timestamp};
use crate::store::StoreResult;

const KNOWN: &str = "UPDATE drift SET count = count + ?4, last_seen_at = ?5 \
                     WHERE kind = ?1 AND place = ?2 AND name = ?3";
/// Most names that are stored.
const FIRST: &str = "INSERT INTO drift (kind, place, name, count, first_seen_at, last_seen_at) \
                     SELECT ?1, ?2, ?3, ?4, ?5, ?5 WHERE (SELECT count(*) FROM drift) < 1000";

/// Adds to the counts of names.
pub(super) struct Note {
    pub(super) counted: Vec<(Drift, u64)>,
    pub(super) now: Timestamp,
}

impl Operation for Note {
    type Output = Vec<Drift>;
    /// Uncounted names come again with the next payload.
    const DURABILITY: Durability = Durability::Committed;

    fn apply(&self, tx: &Connection) -> StoreResult<Vec<Drift>> {
        let mut new = Vec::new();
        for (drift, count) in &self.counted {
            let is_known = self.write(KNOWN, drift, *count, tx)?;
            if !is_known && self.write(FIRST, drift, *count, tx)? {
                new.push(drift.clone());
            }
        }
        Ok(new)
    }
}

impl Note {
    /// Whether a row was written.
    fn write(
        &self,
        sql: &'static str,
        drift: &Drift,
        count: u64,
        tx: &Connection,
    ) -> StoreResult<bool> {
        let written = tx.prepare_cached(sql)?.execute(params![
            drift.kind.as_str(),
            drift.place,
            drift.name,
            i64::try_from(count).unwrap_or(i64::MAX),
            self.now.as_millis(),
        ])?;
        Ok(written > 0)
    }
}

pub(super) async fn list(readers: &ReadPool) -> StoreResult<Vec<SeenDrift>> {
    let rows = sqlx::query(
        "SELECT kind, place, name, count, first_seen_at, last_seen_at FROM drift \
         ORDER BY first_seen_at DESC, kind, place, name",
    )
    .fetch_all(readers)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(SeenDrift {
                drift: Drift {
                    kind: word(row, "kind")?,
                    place: row.get("place"),
                    name: row.get("name"),
                },
                count: row.get::<i64, _>("count").unsigned_abs(),
                first_seen_at: Timestamp::from_millis(row.get("first_seen_at")),
                last_seen_at: Timestamp::from_millis(row.get("last_seen_at")),
            })
        })
        .collect()
}
