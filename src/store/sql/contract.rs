//! The learned generation of Athos's contract, in SQL.

use super::{Connection, Operation, values};
use crate::model::LearnedContract;
use crate::store::StoreResult;

/// Stores a generation, replacing the one before.
pub(super) struct Learn(pub(super) LearnedContract);

impl Operation for Learn {
    type Output = ();

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        tx.execute(
            "INSERT INTO learnt_contract (\"only\", generation, learnt_at, learnt_from) VALUES (1, ?1, ?2, ?3) \
             ON CONFLICT (\"only\") DO UPDATE SET generation = excluded.generation, \
               learnt_at = excluded.learnt_at, learnt_from = excluded.learnt_from",
            values![self.0.generation.as_str(), self.0.at, self.0.from],
        )?;
        Ok(())
    }
}

pub(super) fn learnt(db: &dyn Connection) -> StoreResult<Option<LearnedContract>> {
    let sql = "SELECT generation, learnt_at, learnt_from FROM learnt_contract";
    db.first(sql, &[], |row| {
        Ok(LearnedContract {
            generation: row.word(0)?,
            at: row.get(1)?,
            from: row.get(2)?,
        })
    })
}
