//! What leaves the database, and stays away: retention, erasure, and the hashes of what was erased. The one place that
//! deletes rows.

pub(super) mod erase;
pub(super) mod erased;
pub(super) mod person;
pub(super) mod purge;

use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, QueryBuilder, Row, Sqlite};

use crate::store::StoreResult;

/// How long emptying the log may hold the writer up while it waits for a reader.
const PATIENCE: Duration = Duration::from_millis(200);

/// Copies the log into the database and cuts it to nothing: old content of pages lives on in it. `false` when somebody
/// reads an older state just now.
pub(super) async fn empty_log(options: &SqliteConnectOptions) -> StoreResult<bool> {
    let mut connection = options.clone().busy_timeout(PATIENCE).connect().await?;
    let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(emptied.get::<i64, _>(0) == 0)
}

fn push_ids(sql: &mut QueryBuilder<Sqlite>, ids: &[i64]) {
    sql.push("(");
    let mut list = sql.separated(", ");
    for id in ids {
        list.push_bind(*id);
    }
    sql.push(")");
}
