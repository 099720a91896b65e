//! Drift counts in SQL, by name.

use super::{Connection, Durability, Operation, values};
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

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Vec<Drift>> {
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
        tx: &dyn Connection,
    ) -> StoreResult<bool> {
        let written = tx.execute(
            sql,
            values![
                drift.kind.as_str(),
                drift.place,
                drift.name,
                i64::try_from(count).unwrap_or(i64::MAX),
                self.now,
            ],
        )?;
        Ok(written > 0)
    }
}

pub(super) fn list(db: &dyn Connection) -> StoreResult<Vec<SeenDrift>> {
    let sql = "SELECT kind, place, name, count, first_seen_at, last_seen_at FROM drift \
               ORDER BY first_seen_at DESC, kind, place, name";
    db.rows(sql, &[], |row| {
        Ok(SeenDrift {
            drift: Drift {
                kind: row.word(0)?,
                place: row.get(1)?,
                name: row.get(2)?,
            },
            count: row.get(3)?,
            first_seen_at: row.get(4)?,
            last_seen_at: row.get(5)?,
        })
    })
}
