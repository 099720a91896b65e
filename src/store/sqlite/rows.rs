//! What several files of SQL share: the reader's scope as a condition, lists of values, and columns that hold one of a few
//! words.

use std::str::FromStr;

use sqlx::sqlite::SqliteRow;
use sqlx::{Encode, QueryBuilder, Row, Sqlite, Type};

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

/// The condition that an event still has its body. Word for word that of the index `events_with_body`, which serves no
/// other: SQLite's own literal.
pub(super) const HAS_BODY: &str = "body <> x''";

/// Numbers as SQL has them in a list. An empty list has NULL, which equals nothing.
pub(super) fn id_list(ids: &[i64]) -> String {
    match ids {
        [] => "(NULL)".to_owned(),
        _ => {
            let ids: Vec<_> = ids.iter().map(i64::to_string).collect();
            format!("({})", ids.join(", "))
        }
    }
}

/// A list of `count` parameters, of which the first has the number `first`. There must be one at least.
pub(super) fn parameter_list(first: usize, count: usize) -> String {
    let parameters: Vec<_> = (first..first + count).map(|n| format!("?{n}")).collect();
    format!("({})", parameters.join(", "))
}

/// Adds a list of values. There must be one at least.
pub(super) fn push_list<'a, T>(sql: &mut QueryBuilder<Sqlite>, values: impl IntoIterator<Item = T>)
where
    T: Encode<'a, Sqlite> + Type<Sqlite>,
{
    sql.push("(");
    let mut list = sql.separated(", ");
    for value in values {
        list.push_bind(value);
    }
    sql.push(")");
}

/// Reads a column that holds one of a few words.
pub(super) fn word<T: FromStr>(row: &SqliteRow, column: &str) -> StoreResult<T> {
    let word: &str = row.get(column);
    word.parse()
        .map_err(|_| StoreError::Unreadable(format!("{column} is \"{word}\"")))
}
