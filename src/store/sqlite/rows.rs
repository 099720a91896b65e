//! What several files of SQL share: the reader's scope as a condition, and columns that hold one of a few words.

use std::str::FromStr;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::identities::push_named;
use crate::model::{Scope, Timestamp};
use crate::store::{IdentityKind, StoreError, StoreResult};

/// Adds the reader's scope, and what narrows it: a rep, an agency, the earliest and the latest end. The caller's
/// statement has a WHERE already.
pub(super) fn push_filter(
    sql: &mut QueryBuilder<Sqlite>,
    scope: &Scope,
    [rep, agency]: [&Option<String>; 2],
    [from, to]: [Option<Timestamp>; 2],
) {
    push_scope(sql, scope);
    for (kind, id) in [(IdentityKind::Rep, rep), (IdentityKind::Agency, agency)] {
        if let Some(id) = id {
            push_named(sql, kind, id);
        }
    }
    for (condition, time) in [(" AND sort_at >= ", from), (" AND sort_at <= ", to)] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time.as_millis());
        }
    }
}

pub(super) fn push_scope(sql: &mut QueryBuilder<Sqlite>, scope: &Scope) {
    match scope {
        Scope::Rep(rep) => sql.push(" AND rep = ").push_bind(rep.as_str()),
        Scope::Agency(agency) => sql.push(" AND agency = ").push_bind(agency.as_str()),
        Scope::All => sql,
    };
}

/// Reads a column that holds one of a few words.
pub(super) fn word<T: FromStr>(row: &SqliteRow, column: &str) -> StoreResult<T> {
    let word: &str = row.get(column);
    word.parse()
        .map_err(|_| StoreError::Unreadable(format!("{column} is \"{word}\"")))
}
