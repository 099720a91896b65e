//! Transactions in plain SQL. The driver's own count their depth, and lose count when SQLite rolls back by itself, as
//! it does on a full disk: from then on no transaction would begin.

use sqlx::SqliteConnection;

use crate::store::StoreResult;

/// Runs `work` in a write transaction: committed and synced when this is `Ok`, as if it had never been otherwise.
pub(super) async fn run<T>(
    connection: &mut SqliteConnection,
    work: impl AsyncFnOnce(&mut SqliteConnection) -> StoreResult<T>,
) -> StoreResult<T> {
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    let worked = match work(&mut *connection).await {
        Ok(output) => sqlx::query("COMMIT")
            .execute(&mut *connection)
            .await
            .map(|_| output)
            .map_err(Into::into),
        Err(error) => Err(error),
    };
    if worked.is_err() {
        roll_back(connection).await;
    }
    worked
}

/// Ends a transaction that failed.
pub(super) async fn roll_back(connection: &mut SqliteConnection) {
    // Where SQLite has rolled back by itself there is none left to end, and this fails, as it should.
    let _ = sqlx::query("ROLLBACK").execute(connection).await;
}
