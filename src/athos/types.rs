//! Athos's payloads: the only file that knows the vendor's field names. Reads both generations of the
//! contract and any field it does not know; turns them into the words of `model.rs`.

use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::model::{
    CallContent, CallDetail, CallEvent, CallHeader, EventOutcome, Identity, PlatformId, Speaker,
    Timestamp, Turn,
};
use secrecy::SecretString;

/// The body of `POST /session`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum MintBody<'a> {
    /// Generation `external`: our id, and an optional label for the agency.
    #[serde(rename_all = "camelCase")]
    External {
        external_user_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        external_agency_id: Option<&'a str>,
    },
}

impl<'a> MintBody<'a> {
    pub(super) fn external(rep: &'a PlatformId, agency: Option<&'a PlatformId>) -> Self {
        Self::External {
            external_user_id: rep.as_str(),
            external_agency_id: agency.map(PlatformId::as_str),
        }
    }
}

/// A session token, as Athos minted it. It is passed on, never kept.
#[derive(Debug)]
pub struct SessionToken {
    /// The JWT for the browser SDK.
    pub token: SecretString,
    /// When it expires, about 5 minutes from now.
    pub expires_at: Timestamp,
}

/// What Athos says about itself when it refuses.
#[derive(Debug, Default)]
pub(super) struct RefusalBody {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) request_id: Option<String>,
}

/// Why a signed body is not an event we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnderstood {
    /// Not a JSON object.
    #[error("the body cannot be read: {0}")]
    NotJson(String),
    /// An event of another name; the list may grow.
    #[error("the event {0} is not known")]
    UnknownEvent(String),
    /// A known event without something it must have.
    #[error("the event has no usable {0}")]
    Missing(&'static str),
}

/// A JSON object of Athos's. A field that is not of the type we expect reads as absent: the contract may change, and
/// one odd field must not cost us the rest.
struct Fields(Map<String, Value>);

impl Fields {
    fn read(body: &[u8]) -> Result<Self, String> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err("it is not a JSON object".to_owned()),
            Err(error) => Err(told(&error)),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name)?.as_str().map(str::to_owned)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        self.0.get(name)?.as_str()?.parse().ok()
    }

    /// Both families of ids, whichever generation wrote them.
    fn identity(&self) -> Identity {
        let either = |roster, external| self.text(roster).or_else(|| self.text(external));
        Identity {
            rep: either("platformAgentId", "externalUserId"),
            agency: either("platformAgencyId", "externalAgencyId"),
            athos_rep: self.text("agentId"),
            athos_agency: self.text("agencyId"),
        }
    }

    fn source(&self) -> String {
        self.text("source").unwrap_or_else(|| "roleplay".to_owned())
    }

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

/// What is wrong with some JSON, without a word of it: the parser's own message quotes values, and this goes to logs.
fn told(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        Category::Io => "it broke off",
        Category::Syntax => "it is not JSON",
        Category::Data => "a field is missing or of another type",
        Category::Eof => "it ends too early",
    };
    format!("{kind} (line {}, column {})", error.line(), error.column())
}

/// Reads the body of a webhook. Call it on verified bytes only.
///
/// # Errors
/// When the body is not an event we know; it is kept all the same, as `ignored`.
pub fn read_event(body: &[u8]) -> Result<CallEvent, NotUnderstood> {
    let fields = Fields::read(body).map_err(NotUnderstood::NotJson)?;
    match fields
        .text("event")
        .ok_or(NotUnderstood::Missing("event"))?
    {
        known if known == "call.scored" => {}
        other => return Err(NotUnderstood::UnknownEvent(event_name(&other))),
    }
    let call_id = fields
        .text("callId")
        .filter(|id| PlatformId::new(id).is_ok())
        .ok_or(NotUnderstood::Missing("callId"))?;
    let success = fields
        .flag("success")
        .ok_or(NotUnderstood::Missing("success"))?;
    let outcome = if success {
        EventOutcome::Scored
    } else {
        EventOutcome::Unscored {
            reason: fields.text("reason"),
            message: fields.text("reasonMessage"),
        }
    };
    Ok(CallEvent {
        call_id,
        source: fields.source(),
        identity: fields.identity(),
        occurred_at: fields.time("occurredAt"),
        outcome,
        athos_request_id: fields.text("requestId"),
    })
}

/// What the webhook would have said of a scored call, for one that never came; [`read_event`] reads it like any other.
#[must_use]
pub fn write_event(call: &CallHeader) -> Vec<u8> {
    let identity = &call.identity;
    let body = serde_json::json!({
        "event": "call.scored",
        "success": true,
        "callId": call.id,
        "source": call.source,
        "externalUserId": identity.rep,
        "externalAgencyId": identity.agency,
        "agentId": identity.athos_rep,
        "agencyId": identity.athos_agency,
        "occurredAt": call.ended_at.or(call.scored_at),
    });
    body.to_string().into_bytes()
}

/// The name of an event, when it looks like one: it goes to the log.
fn event_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '.' || c == '_';
    if name.len() <= 40 && name.chars().all(plain) {
        name.to_owned()
    } else {
        "of no plain name".to_owned()
    }
}

/// Reads a call's detail. What is kept of it is Athos's own JSON, key for key, without the recording's link:
/// that one is short-lived and a credential.
pub(super) fn read_detail(body: &[u8]) -> Result<CallDetail, String> {
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
        purged: false,
    })
}

/// Reads the recording's link from a fresh detail; `None` when the call has no recording. The link opens the recording
/// for anybody who has it, so it is handled as a secret.
pub(super) fn read_recording(body: &[u8]) -> Result<Option<SecretString>, String> {
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

/// Keeps what is known of a stored detail, and how it was judged: every number and flag of the score, and its texts that
/// are Athos's own. The words that were spoken go: transcript, quotes, and any text that may be one.
#[must_use]
pub fn without_words(raw: &str) -> String {
    const HEADER: [&str; 16] = [
        "id",
        "source",
        "status",
        "externalUserId",
        "externalAgencyId",
        "agentId",
        "agencyId",
        "platformAgentId",
        "platformAgencyId",
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
    fields
        .retain(|name, value| HEADER.contains(&&**name) && !value.is_object() && !value.is_array());
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

pub(super) fn read_list(body: &[u8]) -> Result<(Vec<CallHeader>, Option<String>), String> {
    let mut fields = Fields::read(body)?;
    let next_cursor = fields.text("nextCursor");
    let Some(Value::Array(rows)) = fields.0.remove("data") else {
        return Err("it has no list of data".to_owned());
    };
    let calls = rows.into_iter().map(|row| match row {
        Value::Object(fields) => Fields(fields).call_header(),
        _ => Err("a row is not an object".to_owned()),
    });
    Ok((calls.collect::<Result<_, _>>()?, next_cursor))
}

pub(super) fn read_session(body: &[u8]) -> Result<SessionToken, String> {
    let fields = Fields::read(body)?;
    Ok(SessionToken {
        token: fields.text("token").ok_or("it has no token")?.into(),
        expires_at: fields.time("expiresAt").ok_or("it has no expiresAt")?,
    })
}

/// Never fails: an answer that is not Athos's envelope (a proxy's page, say) reads as nothing said.
pub(super) fn read_refusal(body: &[u8]) -> RefusalBody {
    let error = Fields::read(body)
        .ok()
        .and_then(|mut fields| fields.0.remove("error"));
    match error {
        Some(Value::Object(error)) => {
            let error = Fields(error);
            RefusalBody {
                code: error.text("code"),
                message: error.text("message"),
                request_id: error.text("requestId"),
            }
        }
        _ => RefusalBody::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTERNAL: &[u8] = include_bytes!("../../tests/fixtures/call.external.json");
    const ROSTER: &[u8] = include_bytes!("../../tests/fixtures/call.roster.json");
    const WEBHOOK: &str = include_str!("../../tests/fixtures/webhook.external.scored.json");

    #[test]
    fn both_generations_of_webhook_are_read() {
        let external = read_event(WEBHOOK.as_bytes()).unwrap();
        assert_eq!(external.call_id, "athos_call_GZ1DjOkZv_VEPoE-CJ8mp");
        assert_eq!(external.outcome, EventOutcome::Scored);
        assert_eq!(external.identity.rep.as_deref(), Some("rep_8842"));
        assert_eq!(external.identity.agency.as_deref(), Some("agency_chicago"));
        assert_eq!(external.identity.athos_rep, None);

        let roster = include_bytes!("../../tests/fixtures/webhook.roster.scored.json");
        let roster = read_event(roster).unwrap();
        assert_eq!(roster.identity.rep.as_deref(), Some("rep_8842"));
        assert_eq!(roster.identity.agency.as_deref(), Some("acme-7731"));
        assert_eq!(
            roster.identity.athos_rep.as_deref(),
            Some("athos_agent_bR4kQ2wZ9Lp0nH3xVq1Yt")
        );

        let failed = include_bytes!("../../tests/fixtures/webhook.external.failed.json");
        let failed = read_event(failed).unwrap();
        assert_eq!(failed.identity.agency, None);
        assert_eq!(
            failed.outcome,
            EventOutcome::Unscored {
                reason: Some("SCORING_INCOMPLETE".to_owned()),
                message: Some("Athos did not finish processing this call.".to_owned()),
            }
        );
    }

    #[test]
    fn what_is_not_understood_says_why() {
        let why = |body: &str| read_event(body.as_bytes()).unwrap_err();
        assert!(matches!(why("nope"), NotUnderstood::NotJson(_)));
        assert!(matches!(why("[1]"), NotUnderstood::NotJson(_)));
        assert_eq!(why("{\"event\":1}"), NotUnderstood::Missing("event"));
        assert!(matches!(
            why("{\"event\":\"call.scored\",}"),
            NotUnderstood::NotJson(_)
        ));
        assert_eq!(why("{}"), NotUnderstood::Missing("event"));
        let other = WEBHOOK.replace("call.scored", "call.started");
        assert_eq!(
            why(&other),
            NotUnderstood::UnknownEvent("call.started".to_owned())
        );
        let secret = why(r#"{"event":"call.scored","callId":"c","success":"hush"}"#);
        assert_eq!(secret, NotUnderstood::Missing("success"));
        assert!(!why("{\"event\": hush}").to_string().contains("hush"));
        assert!(
            !why(r#"{"event":"PERSONAL name=Jane"}"#)
                .to_string()
                .contains("Jane")
        );
        let blank = WEBHOOK.replace("athos_call_GZ1DjOkZv_VEPoE-CJ8mp", " ");
        assert_eq!(why(&blank), NotUnderstood::Missing("callId"));
    }

    #[test]
    fn without_words_there_are_scores_and_nothing_that_was_spoken() {
        for body in [EXTERNAL, ROSTER] {
            let raw = read_detail(body).unwrap().raw;
            let mut whole: Value = serde_json::from_str(&raw).unwrap();
            whole["unknown"] = "spoken?".into();
            whole["score"]["quotes"] =
                serde_json::json!(["spoken?", {"by": "spoken?", "points": 3}]);
            let purged = without_words(&whole.to_string());
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
            assert_eq!(without_words(&purged), purged, "again it changes nothing");
            let content = read_content(&purged).unwrap();
            assert!(content.transcript.is_empty() && content.score.is_some());
            assert_eq!(whole["score"]["summary"], kept["score"]["summary"]);
        }
        let roster = without_words(std::str::from_utf8(ROSTER).unwrap());
        let roster: Value = serde_json::from_str(&roster).unwrap();
        let question = &roster["score"]["complianceScorecard"]["categories"][0]["questions"][0];
        assert_eq!(question["score"], 2);
        assert_eq!(question["yesNo"], "partial");
        assert_eq!(question["label"], "Required call opening");
        assert!(question["explanation"].is_string() && question.get("evidence").is_none());
        assert_eq!(without_words("not JSON"), "{}");
    }

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
    fn an_odd_field_that_nobody_needs_costs_nothing_else() {
        let odd = WEBHOOK
            .replace("\"2026-06-05T18:09:14.000Z\"", "\"2026-06-05 18:09:14\"")
            .replace("\"agency_chicago\"", "{\"id\":7}")
            .replace("\"source\"", "\"source\":7,\"source\"");
        let event = read_event(odd.as_bytes()).unwrap();
        assert_eq!(event.occurred_at, None);
        assert_eq!(event.identity.agency, None);
        assert_eq!(event.identity.rep.as_deref(), Some("rep_8842"));
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

    #[test]
    fn a_refusal_that_is_not_the_envelope_reads_as_nothing_said() {
        let said =
            read_refusal(br#"{"error":{"code":"X","message":"m","requestId":"r","details":{}}}"#);
        assert_eq!(said.code.as_deref(), Some("X"));
        assert_eq!(said.request_id.as_deref(), Some("r"));
        assert!(read_refusal(b"<html>502</html>").code.is_none());
        assert!(read_refusal(b"").code.is_none());
    }
}
