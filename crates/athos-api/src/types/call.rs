//! Calls as lists and details have them, and what a reader is shown of a stored detail.

use secrecy::SecretString;
use serde_json::Value;

use super::{Fields, NextCursor, TextFields, known};
use crate::drift::DriftWatch;
use crate::{CallContent, CallDetail, CallHeader, Source, Speaker, Turn};

/// Longest duration that is plausible, in seconds: a year. A longer one reads as absent.
const LONGEST_CALL_SEC: f64 = 365.0 * 24.0 * 3600.0;

impl Fields {
    fn call_header(&self) -> Result<CallHeader, String> {
        Ok(CallHeader {
            id: self.call_id("id").ok_or("it has no usable id")?,
            source: self.source(),
            identity: self.identity(),
            drill_key: self.label("drillKey"),
            started_at: self.time("startedAt"),
            ended_at: self.time("endedAt"),
            #[expect(clippy::cast_possible_truncation, reason = "rounded; a cast saturates")]
            duration_sec: self
                .number("durationSec")
                .filter(|seconds| (0.0..=LONGEST_CALL_SEC).contains(seconds))
                .map(|seconds| seconds.round() as i64),
            scored_at: self.time("scoredAt"),
        })
    }
}

/// Reads a call's detail. Its `raw` is Athos's own JSON, key for key, without the link to the recording, which is
/// short-lived and a credential.
pub fn read_detail(body: &[u8], drift: &DriftWatch) -> Result<CallDetail, String> {
    let Fields(fields) = Fields::read(body)?.watched(&known::CALL, drift);
    let has_recording = fields.get("audioUrl").is_some_and(Value::is_string);
    let mut raw = Value::Object(fields);
    strip_audio(&mut raw);
    let text = raw.to_string();
    let Value::Object(fields) = raw else {
        return Err("it is not a JSON object".to_owned());
    };
    let fields = Fields(fields);
    let header = fields.call_header()?;
    let score = |name: &str| {
        let percent = fields.0.get("score")?.get(name)?.as_f64()?;
        (0.0..=100.0).contains(&percent).then_some(percent)
    };
    // 0 means no headline score. Only that of a practice call is passed on as it is.
    let is_headline = |score: &f64| *score > 0.0 || !Source::RealCall.is(&header.source);
    Ok(CallDetail {
        overall_score: score("overallScore").filter(is_headline),
        compliance_percent: score("compliancePercent"),
        header,
        has_recording,
        raw: text,
        purged: false,
    })
}

/// Reads the link to the recording from a fresh detail; `None` when the call has no recording. Anyone with the link can
/// listen, so it is handled as a secret.
pub fn read_recording(body: &[u8]) -> Result<Option<SecretString>, String> {
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

/// Reads score and transcript from a stored detail: the score as Athos gave it, the roles with the same names for both
/// generations.
///
/// # Errors
/// When the stored text is not the JSON object that was stored.
pub fn read_content(raw: &str) -> Result<CallContent, String> {
    let Fields(mut fields) = Fields::read(raw.as_bytes())?;
    let turns = match fields.remove("transcript") {
        Some(Value::Array(turns)) => turns,
        _ => Vec::new(),
    };
    Ok(CallContent {
        score: fields.remove("score").filter(|score| !score.is_null()),
        transcript: turns.into_iter().filter_map(read_turn).collect(),
    })
}

fn read_turn(turn: Value) -> Option<Turn> {
    let Value::Object(fields) = turn else {
        return None;
    };
    let turn = Fields(fields);
    let role = turn.text("role").unwrap_or_default();
    Some(Turn {
        role: match &*role {
            "user" | "agent" => Speaker::Rep,
            "assistant" | "beneficiary" => Speaker::Persona,
            _ => Speaker::Other(role),
        },
        content: turn.text("content").unwrap_or_default(),
        start_time: turn.number("startTime"),
        end_time: turn.number("endTime"),
    })
}

/// Reads a page of calls, and counts the rows without a usable id; they do not cost the others.
pub fn read_list(
    body: &[u8],
    drift: &DriftWatch,
) -> Result<(Vec<CallHeader>, usize, NextCursor), String> {
    let fields = Fields::read(body)?.watched(&known::CALLS, drift);
    let (rows, next_cursor) = fields.into_page(|row| row.call_header())?;
    let (calls, unreadable): (Vec<_>, Vec<_>) = rows.into_iter().partition(Result::is_ok);
    let unreadable = unreadable.len();
    Ok((
        calls.into_iter().flatten().collect(),
        unreadable,
        next_cursor,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTERNAL: &[u8] = include_bytes!("../../../../tests/fixtures/call.external.json");
    const ROSTER: &[u8] = include_bytes!("../../../../tests/fixtures/call.roster.json");

    #[test]
    fn both_generations_of_detail_are_read_and_no_recording_link_is_kept() {
        for (body, compliance) in [(EXTERNAL, None), (ROSTER, Some(85.0))] {
            let detail = read_detail(body, &DriftWatch::default()).unwrap();
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
    fn no_score_is_never_zero_and_zero_in_practice_is_a_score() {
        let score = |source: &str, score: &str| {
            let raw = format!(r#"{{"id":"c","source":"{source}","score":{score}}}"#);
            let detail = read_detail(raw.as_bytes(), &DriftWatch::default()).unwrap();
            assert_eq!(detail.raw, raw, "as Athos gave it");
            (detail.overall_score, detail.compliance_percent)
        };
        let zero = r#"{"overallScore":0}"#;
        assert_eq!(score("real_call", zero), (None, None));
        assert_eq!(score("roleplay", zero), (Some(0.0), None));
        let both = r#"{"overallScore":61,"compliancePercent":0}"#;
        assert_eq!(score("real_call", both), (Some(61.0), Some(0.0)));
    }

    #[test]
    fn a_turn_with_an_odd_field_does_not_cost_the_others() {
        let raw = r#"{"score":null,"transcript":[{"role":null,"content":1},"x",
            {"role":"agent","content":"Hi","startTime":0.5,"endTime":2,"mood":"calm"}]}"#;
        let content = read_content(raw).unwrap();
        assert_eq!(content.score, None);
        let [odd, turn] = &content.transcript[..] else {
            panic!("{} turns", content.transcript.len());
        };
        assert_eq!(odd.role, Speaker::Other(String::new()));
        assert_eq!((&turn.role, &*turn.content), (&Speaker::Rep, "Hi"));
        assert_eq!((turn.start_time, turn.end_time), (Some(0.5), Some(2.0)));
        assert!(read_content(r#"{"transcript":null}"#).is_ok());
        assert!(read_content("[]").is_err());
    }

    #[test]
    fn unknown_fields_are_kept_and_absent_ones_are_nothing() {
        let raw = r#"{"id":"c","new":{"deep":[1,2.50]},"score":{"newScore":1},"audioUrl":"x","z":{"audioUrl":"y"}}"#;
        let detail = read_detail(raw.as_bytes(), &DriftWatch::default()).unwrap();
        assert_eq!(
            detail.raw,
            r#"{"id":"c","new":{"deep":[1,2.5]},"score":{"newScore":1},"z":{}}"#
        );
        assert_eq!(detail.overall_score, None);
        assert_eq!(detail.header.ended_at, None);
        assert!(read_detail(b"{}", &DriftWatch::default()).is_err());
        assert!(read_detail(b"<html>", &DriftWatch::default()).is_err());
    }
}
