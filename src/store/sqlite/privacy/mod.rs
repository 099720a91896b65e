//! What leaves the database, and stays away: retention, erasure, and the hashes of what was erased. The one place that
//! deletes rows.

pub(super) mod data_subject;
pub(super) mod erase;
pub(super) mod purge;
pub(super) mod tombstones;

use sqlx::{QueryBuilder, Sqlite};

pub(super) fn push_ids(sql: &mut QueryBuilder<Sqlite>, ids: &[i64]) {
    sql.push("(");
    let mut list = sql.separated(", ");
    for id in ids {
        list.push_bind(*id);
    }
    sql.push(")");
}
