//! Conditions that several files of SQL share.

use super::Statement;
use super::identities::push_named;
use crate::model::{Engine, Scope, Timestamp};
use crate::store::IdentityKind;

/// Adds the reader's scope, and what narrows it: a rep, an agency, the earliest and the latest end. The caller's
/// statement has a WHERE already.
pub(super) fn push_filter<'a>(
    sql: &mut Statement<'a>,
    scope: &'a Scope,
    [rep, agency]: [&'a Option<String>; 2],
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
            sql.push(condition).push_bind(time);
        }
    }
}

pub(super) fn push_scope<'a>(sql: &mut Statement<'a>, scope: &'a Scope) {
    match scope {
        Scope::Rep(rep) => sql.push(" AND rep = ").push_bind(rep.as_str()),
        Scope::Agency(agency) => sql.push(" AND agency = ").push_bind(agency.as_str()),
        Scope::All => sql,
    };
}

/// The condition that an event still has its body: word for word that of the index `events_with_body`, since SQLite uses it
/// for no other.
pub(super) fn has_body(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "body <> x''",
        Engine::Postgres => "body <> ''::bytea",
    }
}

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
