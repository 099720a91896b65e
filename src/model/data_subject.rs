//! Who a person's data is about: all ids that name them, and whether a webhook does.

use std::collections::HashSet;

use athos_api::types;
use serde_json::Value;

/// All ids of one person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataSubject {
    /// Ours.
    pub reps: Vec<String>,
    /// Athos's, and the one that was asked for.
    pub athos_reps: Vec<String>,
}

impl DataSubject {
    /// Each id once.
    #[must_use]
    pub fn ids(&self) -> HashSet<&str> {
        let all = self.reps.iter().chain(&self.athos_reps);
        all.map(String::as_str).collect()
    }

    /// Whether a webhook names the person: as whose call it is, or, where it is nothing we understand, as a word anywhere.
    #[must_use]
    pub fn is_named_in(&self, body: &[u8]) -> bool {
        if let Ok(said) = types::read_event(body) {
            return match (said.identity.rep, said.identity.athos_rep) {
                (Some(rep), _) => self.reps.contains(&rep),
                (None, Some(athos_rep)) => self.athos_reps.contains(&athos_rep),
                (None, None) => false,
            };
        }
        let ids = self.ids();
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => is_word_within(&value, &ids),
            Err(_) => is_word(&String::from_utf8_lossy(body), &ids),
        }
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
            assert!(person.is_named_in(body.as_bytes()), "{body}");
        }
        for body in [
            scored(r#""externalUserId":"rep_12""#),
            scored(r#""platformAgentId":"rep_2","agentId":"athos_agent_x""#),
            r#"{"externalUserId":"rep_12"}"#.to_owned(),
            "not JSON, of rep_12 and my-rep_1".to_owned(),
            String::new(),
        ] {
            assert!(!person.is_named_in(body.as_bytes()), "{body}");
        }
    }
}
