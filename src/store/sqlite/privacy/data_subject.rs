//! What is one person's: all ids that name them, their calls, and the events that are about them or name them.

use std::collections::HashSet;

use rusqlite::{Connection, params};
use serde_json::Value;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::super::readers::ReadPool;
use super::tombstones::{self, Hash};
use crate::store::StoreResult;
use athos_api::types;

/// Events looked through at a time.
const EVENTS: u32 = 500;
/// All ids of one person.
pub(in crate::store::sqlite) struct DataSubject {
    pub(super) reps: Vec<String>,
    pub(super) athos_reps: Vec<String>,
}

impl DataSubject {
    /// Everyone's ids that belong to `id`, which is ours or Athos's.
    pub(in crate::store::sqlite) async fn find(readers: &ReadPool, id: &str) -> StoreResult<Self> {
        let mut reps: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT rep FROM calls WHERE athos_rep = ?1 AND rep IS NOT NULL \
             UNION SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = ?1",
        )
        .bind(id)
        .fetch_all(readers)
        .await?;
        reps.push(id.to_owned());
        let mut athos_reps: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT athos_rep FROM calls \
             WHERE rep IN (SELECT value FROM json_each(?1)) AND athos_rep IS NOT NULL \
             UNION SELECT athos_id FROM identities \
             WHERE kind = 'rep' AND our_id IN (SELECT value FROM json_each(?1))",
        )
        .bind(to_json(&reps))
        .fetch_all(readers)
        .await?;
        athos_reps.push(id.to_owned());
        Ok(Self { reps, athos_reps })
    }

    pub(super) fn ids(&self) -> HashSet<&str> {
        let all = self.reps.iter().chain(&self.athos_reps);
        all.map(String::as_str).collect()
    }
}

pub(super) fn to_json(ids: &[String]) -> String {
    Value::from(ids).to_string()
}

/// Up to `?4` calls of a person that began until `?3`: our id decides whose a call is where there is one. Each half by an
/// index of its own: calls without an id of ours can be all there are.
const CALLS: &str = "SELECT seq, id FROM calls WHERE rep IN (SELECT value FROM json_each(?1)) \
       AND coalesce(started_at, sort_at) <= ?3 \
     UNION ALL \
     SELECT seq, id FROM calls INDEXED BY calls_of_unknown_reps \
     WHERE rep IS NULL AND athos_rep IS NOT NULL AND athos_rep IN (SELECT value FROM json_each(?2)) \
       AND coalesce(started_at, sort_at) <= ?3 LIMIT ?4";

/// All calls of a person that began until then.
pub(super) async fn list_calls(
    readers: &ReadPool,
    person: &DataSubject,
    until: i64,
) -> StoreResult<Vec<(i64, String)>> {
    let calls = sqlx::query_as(CALLS)
        .bind(to_json(&person.reps))
        .bind(to_json(&person.athos_reps))
        .bind(until)
        .bind(-1)
        .fetch_all(readers)
        .await?;
    Ok(calls)
}

/// Some of them, where they are removed.
pub(super) fn find_calls(
    tx: &Connection,
    person: &DataSubject,
    until: i64,
    limit: u32,
) -> StoreResult<Vec<i64>> {
    let (reps, athos_reps) = (to_json(&person.reps), to_json(&person.athos_reps));
    let calls = tx
        .prepare_cached(CALLS)?
        .query_map(params![reps, athos_reps, until, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(calls)
}

struct Event {
    id: i64,
    call_id: Option<String>,
    received_at: i64,
    body: Vec<u8>,
}

/// Some events, to be looked through.
pub(super) struct Page(Vec<Event>);

impl Page {
    pub(super) async fn read(readers: &ReadPool, after: i64) -> StoreResult<Self> {
        let rows = sqlx::query(
            "SELECT id, call_id, received_at, body FROM events WHERE id > ? ORDER BY id LIMIT ?",
        )
        .bind(after)
        .bind(EVENTS)
        .fetch_all(readers)
        .await?;
        let events = rows.iter().map(|row| Event {
            id: row.get("id"),
            call_id: row.get("call_id"),
            received_at: row.get("received_at"),
            body: row.get("body"),
        });
        Ok(Self(events.collect()))
    }

    pub(super) fn last(&self) -> Option<i64> {
        Some(self.0.last()?.id)
    }

    /// Of the calls that these events are about, those that were erased.
    pub(super) async fn erased(&self, readers: &ReadPool) -> StoreResult<HashSet<Hash>> {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT hash FROM erased WHERE hash IN (");
        let mut list = sql.separated(", ");
        for id in self.0.iter().filter_map(|event| event.call_id.as_deref()) {
            list.push_bind(tombstones::hash_of_call(id).to_vec());
        }
        sql.push(")");
        let found: Vec<Vec<u8>> = sql.build_query_scalar().fetch_all(readers).await?;
        Ok(found
            .into_iter()
            .filter_map(|hash| hash.try_into().ok())
            .collect())
    }

    /// Those about a call of `calls`, or that name the person and came in until then.
    pub(super) fn concerning(
        &self,
        person: &DataSubject,
        until: i64,
        calls: &HashSet<Hash>,
    ) -> Vec<i64> {
        let concerns = |event: &&Event| {
            let call = event.call_id.as_deref().map(tombstones::hash_of_call);
            call.is_some_and(|call| calls.contains(&call))
                || (event.received_at <= until && names(&event.body, person))
        };
        self.0
            .iter()
            .filter(concerns)
            .map(|event| event.id)
            .collect()
    }
}

/// Whether a body names one of these ids: as whose call it is, or, where it is nothing we understand, as a word anywhere.
fn names(body: &[u8], person: &DataSubject) -> bool {
    if let Ok(said) = types::read_event(body) {
        return match (said.identity.rep, said.identity.athos_rep) {
            (Some(rep), _) => person.reps.contains(&rep),
            (None, Some(athos_rep)) => person.athos_reps.contains(&athos_rep),
            (None, None) => false,
        };
    }
    let ids = person.ids();
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => is_word_within(&value, &ids),
        Err(_) => is_word(&String::from_utf8_lossy(body), &ids),
    }
}

fn is_word_within(value: &Value, ids: &HashSet<&str>) -> bool {
    match value {
        Value::String(text) => is_word(text, ids),
        Value::Array(items) => items.iter().any(|item| is_word_within(item, ids)),
        Value::Object(fields) => fields.values().any(|value| is_word_within(value, ids)),
        Value::Number(number) => ids.contains(&*number.to_string()),
        _ => false,
    }
}

fn is_word(text: &str, ids: &HashSet<&str>) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    ids.iter().any(|id| {
        text.match_indices(id).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + id.len()..].chars().next();
            !before.is_some_and(is_part) && !after.is_some_and(is_part)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_whose_call_it_is_or_an_id_as_a_word() {
        let person = DataSubject {
            reps: vec!["rep_1".to_owned(), "roleplay".to_owned()],
            athos_reps: vec!["athos_agent_x".to_owned()],
        };
        let scored = |ids: &str| {
            format!(
                r#"{{"event":"call.scored","success":true,"callId":"c","source":"roleplay",{ids}}}"#
            )
        };
        for body in [
            scored(r#""externalUserId":"rep_1""#),
            scored(r#""platformAgentId":"\u0072ep_1","agentId":"athos_agent_y""#),
            scored(r#""platformAgentId":null,"agentId":"athos_agent_x""#),
            r#"{"event":"call.other","deep":[{"agentId":"athos_agent_x"}]}"#.to_owned(),
            r#"{"note":"about rep_1."}"#.to_owned(),
            "not JSON, of rep_1.".to_owned(),
        ] {
            assert!(names(body.as_bytes(), &person), "{body}");
        }
        for body in [
            scored(r#""externalUserId":"rep_12""#),
            scored(r#""platformAgentId":"rep_2","agentId":"athos_agent_x""#),
            r#"{"externalUserId":"rep_12"}"#.to_owned(),
            "not JSON, of rep_12 and my-rep_1".to_owned(),
            String::new(),
        ] {
            assert!(!names(body.as_bytes(), &person), "{body}");
        }
    }
}
