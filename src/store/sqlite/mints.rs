//! The record of session tokens asked for. The tokens themselves are never here.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;

use super::writer::Operation;
use crate::model::{PlatformId, Timestamp};
use crate::store::{MintOutcome, NewMint, StoreResult};

#[async_trait]
impl Operation for NewMint {
    type Output = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<()> {
        sqlx::query(
            "INSERT INTO mints (id, requested_at, rep, agency, caller) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&*self.id)
        .bind(self.requested_at.as_millis())
        .bind(self.rep.as_str())
        .bind(self.agency.as_ref().map(PlatformId::as_str))
        .bind(self.caller)
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// Completes a recorded mint.
pub(super) struct Finish {
    pub(super) id: String,
    pub(super) outcome: MintOutcome,
}

#[async_trait]
impl Operation for Finish {
    type Output = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<()> {
        sqlx::query(
            "UPDATE mints SET outcome = ?, answered_at = ?, expires_at = ?, athos_request_id = ? \
             WHERE id = ?",
        )
        .bind(&*self.outcome.outcome)
        .bind(self.outcome.answered_at.as_millis())
        .bind(self.outcome.expires_at.map(Timestamp::as_millis))
        .bind(self.outcome.athos_request_id.as_deref())
        .bind(&*self.id)
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// A call begins while its token is good, or moments later by another clock, and ends at the latest two hours on. Which
/// token began which call nobody tells us: one call stands for all tokens of its rep at the time.
pub(super) async fn without_call(
    readers: &SqlitePool,
    since: Timestamp,
    until: Timestamp,
) -> StoreResult<u64> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM mints \
         WHERE outcome = 'minted' AND requested_at BETWEEN ? AND ? AND NOT EXISTS ( \
           SELECT 1 FROM calls \
           WHERE calls.rep = mints.rep AND source = 'roleplay' AND sort_at >= requested_at \
             AND coalesce(started_at, sort_at - 7200000) <= expires_at + 60000)",
    )
    .bind(since.as_millis())
    .bind(until.as_millis())
    .fetch_one(readers)
    .await?;
    Ok(count.unsigned_abs())
}
