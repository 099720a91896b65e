//! Athos's payloads: the only file that knows the vendor's field names. Reads both generations of the
//! contract and any field it does not know; turns them into the words of `model.rs`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionToken {
    /// The JWT for the browser SDK.
    pub token: SecretString,
    /// When it expires, about 5 minutes from now.
    pub expires_at: Timestamp,
}

/// What Athos says about itself when it refuses.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RefusalBody {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) request_id: Option<String>,
}

/// Why a signed body is not an event we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnderstood {
    /// Not a JSON object.
    #[error("the body is not a JSON object: {0}")]
    NotJson(String),
    /// An event of another name; the list may grow.
    #[error("the event \"{0}\" is not known")]
    UnknownEvent(String),
    /// A known event without something it must have.
    #[error("the event has no usable {0}")]
    Missing(&'static str),
}

/// Both families of ids; whichever generation wrote them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ids {
    external_user_id: Option<String>,
    external_agency_id: Option<String>,
    platform_agent_id: Option<String>,
    platform_agency_id: Option<String>,
    agent_id: Option<String>,
    agency_id: Option<String>,
}

impl From<Ids> for Identity {
    fn from(ids: Ids) -> Self {
        Self {
            rep: ids.platform_agent_id.or(ids.external_user_id),
            agency: ids.platform_agency_id.or(ids.external_agency_id),
            athos_rep: ids.agent_id,
            athos_agency: ids.agency_id,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebhookBody {
    event: Option<String>,
    success: Option<bool>,
    call_id: Option<String>,
    source: Option<String>,
    // Not flattened: serde would buffer every field, and this is the hot path.
    external_user_id: Option<String>,
    external_agency_id: Option<String>,
    platform_agent_id: Option<String>,
    platform_agency_id: Option<String>,
    agent_id: Option<String>,
    agency_id: Option<String>,
    occurred_at: Option<Timestamp>,
    request_id: Option<String>,
    reason: Option<String>,
    reason_message: Option<String>,
}

/// Reads the body of a webhook. Call it on verified bytes only.
///
/// # Errors
/// When the body is not an event we know; it is kept all the same, as `ignored`.
pub fn read_event(body: &[u8]) -> Result<CallEvent, NotUnderstood> {
    let body: WebhookBody = read_object(body).map_err(NotUnderstood::NotJson)?;
    match body.event.as_deref() {
        Some("call.scored") => {}
        Some(other) => return Err(NotUnderstood::UnknownEvent(shortened(other))),
        None => return Err(NotUnderstood::Missing("event")),
    }
    let call_id = body
        .call_id
        .filter(|id| PlatformId::new(id).is_ok())
        .ok_or(NotUnderstood::Missing("callId"))?;
    let outcome = match body.success.ok_or(NotUnderstood::Missing("success"))? {
        true => EventOutcome::Scored,
        false => EventOutcome::Unscored {
            reason: body.reason,
            message: body.reason_message,
        },
    };
    let ids = Ids {
        external_user_id: body.external_user_id,
        external_agency_id: body.external_agency_id,
        platform_agent_id: body.platform_agent_id,
        platform_agency_id: body.platform_agency_id,
        agent_id: body.agent_id,
        agency_id: body.agency_id,
    };
    Ok(CallEvent {
        call_id,
        source: body.source.unwrap_or_else(default_source),
        identity: ids.into(),
        occurred_at: body.occurred_at,
        outcome,
        athos_request_id: body.request_id,
    })
}

fn default_source() -> String {
    "roleplay".to_owned()
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimCall {
    id: String,
    #[serde(default = "default_source")]
    source: String,
    #[serde(flatten)]
    ids: Ids,
    drill_key: Option<String>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    duration_sec: Option<f64>,
    scored_at: Option<Timestamp>,
}

impl From<SlimCall> for CallHeader {
    fn from(call: SlimCall) -> Self {
        Self {
            id: call.id,
            source: call.source,
            identity: call.ids.into(),
            drill_key: call.drill_key,
            started_at: call.started_at,
            ended_at: call.ended_at,
            #[expect(clippy::cast_possible_truncation, reason = "rounded; a cast saturates")]
            duration_sec: call.duration_sec.map(|seconds| seconds.round() as i64),
            scored_at: call.scored_at,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DetailBody {
    #[serde(flatten)]
    call: SlimCall,
    score: Option<ScoreBody>,
    audio_url: Option<SecretString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScoreBody {
    overall_score: Option<f64>,
    compliance_percent: Option<f64>,
}

/// Reads a call's detail. What is kept of it is Athos's own JSON, key for key, without the recording's link:
/// that one is short-lived and a credential.
pub(super) fn read_detail(body: &[u8]) -> Result<CallDetail, String> {
    let mut raw: Value = read_object(body)?;
    let detail = DetailBody::deserialize(&raw).map_err(|error| error.to_string())?;
    strip_audio(&mut raw);
    let score = detail.score;
    Ok(CallDetail {
        header: detail.call.into(),
        overall_score: score.as_ref().and_then(|score| score.overall_score),
        compliance_percent: score.and_then(|score| score.compliance_percent),
        has_recording: detail.audio_url.is_some(),
        raw: raw.to_string(),
    })
}

/// Reads the recording's link from a fresh detail; `None` when the call has no recording. The link opens the recording
/// for anybody who has it, so it is handled as a secret.
pub(super) fn read_recording(body: &[u8]) -> Result<Option<SecretString>, String> {
    let call: DetailBody = read_object(body)?;
    Ok(call.audio_url)
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

pub(super) fn read_list(body: &[u8]) -> Result<(Vec<CallHeader>, Option<String>), String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct List {
        data: Vec<SlimCall>,
        next_cursor: Option<String>,
    }
    let list: List = read_object(body)?;
    let calls = list.data.into_iter().map(CallHeader::from).collect();
    Ok((calls, list.next_cursor))
}

pub(super) fn read_session(body: &[u8]) -> Result<SessionToken, String> {
    read_object(body)
}

/// Never fails: an answer that is not Athos's envelope (a proxy's page, say) reads as nothing said.
pub(super) fn read_refusal(body: &[u8]) -> RefusalBody {
    #[derive(Default, Deserialize)]
    struct Envelope {
        error: RefusalBody,
    }
    read_object::<Envelope>(body).unwrap_or_default().error
}

fn read_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    // serde would also fill a struct from an array; the contract has objects only.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err("it does not start with {".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
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
        assert!(matches!(why("{\"event\":1}"), NotUnderstood::NotJson(_)));
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
        let blank = WEBHOOK.replace("athos_call_GZ1DjOkZv_VEPoE-CJ8mp", " ");
        assert_eq!(why(&blank), NotUnderstood::Missing("callId"));
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
