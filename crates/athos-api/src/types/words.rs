//! Redaction of a call's detail: removes what was spoken.

use serde_json::Value;

use super::{Fields, known};

/// Removes the transcript, quotes, and any other text that may be spoken words from a stored detail. The known fields,
/// the numbers and flags of the score, and Athos's own texts stay.
#[must_use]
pub fn redact_transcript(raw: &str) -> String {
    const HEADER: [&str; 10] = [
        "id",
        "source",
        "status",
        "drillKey",
        "startedAt",
        "endedAt",
        "durationSec",
        "scoredAt",
        "createdAt",
        "updatedAt",
    ];
    let Ok(Fields(mut fields)) = Fields::read(raw.as_bytes()) else {
        return "{}".to_owned();
    };
    let score = fields.remove("score");
    fields.retain(|name, value| {
        let is_header = HEADER.contains(&&**name) || known::IDS.contains(&&**name);
        is_header && !value.is_object() && !value.is_array()
    });
    if let Some(mut score) = score {
        keep_judgement(&mut score);
        fields.insert("score".to_owned(), score);
    }
    Value::Object(fields).to_string()
}

fn keep_judgement(value: &mut Value) {
    const ATHOS_WORDS: [&str; 6] = [
        "summary",
        "feedback",
        "explanation",
        "key",
        "label",
        "yesNo",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| !value.is_string() || ATHOS_WORDS.contains(&&**name));
            fields.values_mut().for_each(keep_judgement);
        }
        Value::Array(items) => {
            items.retain(|item| !item.is_string());
            items.iter_mut().for_each(keep_judgement);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::read_content;

    const EXTERNAL: &[u8] = include_bytes!("../../../../tests/fixtures/call.external.json");
    const ROSTER: &[u8] = include_bytes!("../../../../tests/fixtures/call.roster.json");

    #[test]
    fn without_words_there_are_scores_and_nothing_that_was_spoken() {
        for body in [EXTERNAL, ROSTER] {
            let raw = std::str::from_utf8(body).unwrap();
            let mut whole: Value = serde_json::from_str(raw).unwrap();
            whole["unknown"] = "spoken?".into();
            whole["score"]["quotes"] =
                serde_json::json!(["spoken?", {"by": "spoken?", "points": 3}]);
            let purged = redact_transcript(&whole.to_string());
            for words in [
                "Hey.",
                "Sam from",
                "grocery",
                "Dana with",
                "healthcare",
                "spoken?",
            ] {
                assert!(!purged.contains(words), "{words}: {purged}");
            }
            let kept: Value = serde_json::from_str(&purged).unwrap();
            for name in [
                "id",
                "drillKey",
                "endedAt",
                "durationSec",
                "platformAgentId",
            ] {
                assert_eq!(kept.get(name), whole.get(name), "{name}");
            }
            for name in ["overallScore", "summary", "feedback", "compliancePercent"] {
                assert_eq!(kept["score"].get(name), whole["score"].get(name), "{name}");
            }
            assert_eq!(kept["score"]["quotes"][0]["points"], 3);
            assert_eq!(
                redact_transcript(&purged),
                purged,
                "again it changes nothing"
            );
            let content = read_content(&purged).unwrap();
            assert!(content.transcript.is_empty() && content.score.is_some());
            assert_eq!(whole["score"]["summary"], kept["score"]["summary"]);
        }
        let roster = redact_transcript(std::str::from_utf8(ROSTER).unwrap());
        let roster: Value = serde_json::from_str(&roster).unwrap();
        let question = &roster["score"]["complianceScorecard"]["categories"][0]["questions"][0];
        assert_eq!(question["score"], 2);
        assert_eq!(question["yesNo"], "partial");
        assert_eq!(question["label"], "Required call opening");
        assert!(question["explanation"].is_string() && question.get("evidence").is_none());
        assert_eq!(redact_transcript("not JSON"), "{}");
    }
}
