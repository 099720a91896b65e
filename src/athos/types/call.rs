//! Calls as lists and details have them, and what a reader is shown of a stored detail.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::Fields;
use crate::model::{CallContent, CallDetail, CallHeader, Speaker, Turn};

impl Fields {
    fn call_header(&self) -> Result<CallHeader, String> {
        Ok(CallHeader {
            id: self.text("id").ok_or("it has no id")?,
            source: self.source(),
            identity: self.identity(),
            drill_key: self.text("drillKey"),
            started_at: self.time("startedAt"),
            ended_at: self.time("endedAt"),
            #[expect(clippy::cast_possible_truncation, reason = "rounded; a cast saturates")]
            duration_sec: self
                .number("durationSec")
                .map(|seconds| seconds.round() as i64),
            scored_at: self.time("scoredAt"),
        })
    }
}

/// Reads a call's detail. What is kept of it is Athos's own JSON, key for key, without the recording's link:
/// that one is short-lived and a credential.
pub(in crate::athos) fn read_detail(body: &[u8]) -> Result<CallDetail, String> {
    let Fields(fields) = Fields::read(body)?;
    let has_recording = fields.get("audioUrl").is_some_and(Value::is_string);
    let mut raw = Value::Object(fields);
    strip_audio(&mut raw);
    let score = |name: &str| raw.get("score")?.get(name)?.as_f64();
    let (overall_score, compliance_percent) = (score("overallScore"), score("compliancePercent"));
    let text = raw.to_string();
    let Value::Object(fields) = raw else {
        return Err("it is not a JSON object".to_owned());
    };
    Ok(CallDetail {
        header: Fields(fields).call_header()?,
        overall_score,
        compliance_percent,
        has_recording,
        raw: text,
    })
}

/// Reads the recording's link from a fresh detail; `None` when the call has no recording. The link opens the recording
/// for anybody who has it, so it is handled as a secret.
pub(in crate::athos) fn read_recording(body: &[u8]) -> Result<Option<SecretString>, String> {
    Ok(Fields::read(body)?.text("audioUrl").map(SecretString::from))
}

fn strip_audio(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.starts_with("audioUrl"));
            fields.values_mut().for_each(strip_audio);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_audio),
        _ => {}
    }
}

/// Reads what a reader is shown from a stored detail: the score as Athos gave it, the transcript with the roles
/// of both generations called the same.
///
/// # Errors
/// When the stored text is not the JSON that was stored.
pub fn read_content(raw: &str) -> Result<CallContent, serde_json::Error> {
    #[derive(Deserialize)]
    struct Stored {
        score: Option<Value>,
        #[serde(default)]
        transcript: Vec<StoredTurn>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct StoredTurn {
        #[serde(default)]
        role: String,
        #[serde(default)]
        content: String,
        start_time: Option<f64>,
        end_time: Option<f64>,
    }
    let stored: Stored = serde_json::from_str(raw)?;
    let transcript = stored
        .transcript
        .into_iter()
        .map(|turn| Turn {
            role: match turn.role.as_str() {
                "user" | "agent" => Speaker::Rep,
                "assistant" | "beneficiary" => Speaker::Persona,
                _ => Speaker::Other(turn.role),
            },
            content: turn.content,
            start_time: turn.start_time,
            end_time: turn.end_time,
        })
        .collect();
    Ok(CallContent {
        score: stored.score,
        transcript,
    })
}

pub(in crate::athos) fn read_list(
    body: &[u8],
) -> Result<(Vec<CallHeader>, Option<String>), String> {
    Fields::read(body)?.into_page(|row| row.call_header())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTERNAL: &[u8] = include_bytes!("../../../tests/fixtures/call.external.json");
    const ROSTER: &[u8] = include_bytes!("../../../tests/fixtures/call.roster.json");

    #[test]
    fn both_generations_of_detail_are_read_and_no_recording_link_is_kept() {
        for (body, compliance) in [(EXTERNAL, None), (ROSTER, Some(85.0))] {
            let detail = read_detail(body).unwrap();
            assert_eq!(detail.header.id, "athos_call_GZ1DjOkZv_VEPoE-CJ8mp");
            assert_eq!(detail.header.identity.rep.as_deref(), Some("rep_8842"));
            assert_eq!(detail.overall_score, Some(82.0));
            assert_eq!(detail.compliance_percent, compliance);
            assert!(!detail.raw.contains("audioUrl"), "{}", detail.raw);
            assert_eq!(detail.has_recording, compliance.is_some());
            let link = read_recording(body).unwrap();
            assert_eq!(link.is_some(), detail.has_recording);
            assert!(!format!("{link:?}").contains("recordings.example"));

            let mut whole: Value = serde_json::from_slice(body).unwrap();
            strip_audio(&mut whole);
            assert_eq!(serde_json::from_str::<Value>(&detail.raw).unwrap(), whole);

            let content = read_content(&detail.raw).unwrap();
            let roles: Vec<_> = content.transcript.iter().map(|turn| &turn.role).collect();
            assert_eq!(content.score.as_ref().unwrap()["overallScore"], 82);
            match compliance {
                None => assert_eq!(roles, [&Speaker::Persona, &Speaker::Rep]),
                Some(_) => assert_eq!(roles, [&Speaker::Rep, &Speaker::Persona]),
            }
        }
    }

    #[test]
    fn unknown_fields_are_kept_and_absent_ones_are_nothing() {
        let raw = r#"{"id":"c","new":{"deep":[1,2.50]},"score":{"newScore":1},"audioUrl":"x","z":{"audioUrl":"y"}}"#;
        let detail = read_detail(raw.as_bytes()).unwrap();
        assert_eq!(
            detail.raw,
            r#"{"id":"c","new":{"deep":[1,2.5]},"score":{"newScore":1},"z":{}}"#
        );
        assert_eq!(detail.overall_score, None);
        assert_eq!(detail.header.ended_at, None);
        assert!(read_detail(b"{}").is_err());
        assert!(read_detail(b"<html>").is_err());
    }
}
