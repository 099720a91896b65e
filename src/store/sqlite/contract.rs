//! The learned generation of Athos's contract, in SQL.

use rusqlite::{Connection, params};
use sqlx::Row;

use super::readers::ReadPool;
use super::rows::word;
use super::writer::Operation;
use crate::model::LearnedContract;
use crate::model::Timestamp;
use crate::store::StoreResult;

/// Stores a generation, replacing the one before.
pub(super) struct Learn(pub(super) LearnedContract);

impl Operation for Learn {
    type Output = ();

    fn apply(&self, tx: &Connection) -> StoreResult<()> {
        tx.prepare_cached(
            "INSERT INTO learnt_contract (\"only\", generation, learnt_at, learnt_from) VALUES (1, ?1, ?2, ?3) \
             ON CONFLICT (\"only\") DO UPDATE SET generation = excluded.generation, \
               learnt_at = excluded.learnt_at, learnt_from = excluded.learnt_from",
        )?
        .execute(params![
            self.0.generation.as_str(),
            self.0.at.as_millis(),
            self.0.from,
        ])?;
        Ok(())
    }
}

pub(super) async fn learnt(readers: &ReadPool) -> StoreResult<Option<LearnedContract>> {
    let row = sqlx::query("SELECT generation, learnt_at, learnt_from FROM learnt_contract")
        .fetch_optional(readers)
        .await?;
    row.map(|row| {
        Ok(LearnedContract {
            generation: word(&row, "generation")?,
            at: Timestamp::from_millis(row.get("learnt_at")),
            from: row.get("learnt_from"),
        })
    })
    .transpose()
}
