//! What leaves the database, and stays away: retention, erasure, and the hashes of what was erased. The one place that
//! deletes rows.

pub(super) mod erase;
pub(super) mod erased;
pub(super) mod person;
pub(super) mod purge;

use sqlx::{QueryBuilder, Sqlite};

pub(super) fn push_ids(sql: &mut QueryBuilder<Sqlite>, ids: &[i64]) {
    sql.push("(");
    let mut list = sql.separated(", ");
    for id in ids {
        list.push_bind(*id);
    }
    sql.push(")");
}
