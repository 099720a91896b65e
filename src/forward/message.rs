//! The body of a message: what happened, when, and what it is about as it is now. Transcripts are never in it.

use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use crate::http::wire::{AuditEntry, CallRow};
use crate::model::{MessageKind, Timestamp};
use crate::store::{MessageSubject, StoredCall};
use athos_api::types;

/// Largest body, in bytes: what receivers take without being configured for it.
const MAX_BODY_BYTES: usize = 20_000;

#[derive(Serialize)]
struct Body<'a, T> {
    r#type: &'a str,
    timestamp: Timestamp,
    data: &'a T,
}

/// A call as `GET /athos/calls/{callId}` gives it, without the transcript.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallData {
    #[serde(flatten)]
    row: CallRow,
    score: Option<Value>,
    reason: Option<String>,
    reason_message: Option<String>,
    has_recording: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript_purged_at: Option<Timestamp>,
    /// Where all of it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The fields that are left out here because they are too long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    omitted: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventData {
    id: i64,
    webhook_id: String,
    call_id: Option<String>,
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// Writes the body of a message. `public_url` begins its links.
///
/// # Errors
/// In words: when what is kept of the call cannot be read.
pub(super) fn render(
    kind: MessageKind,
    at: Timestamp,
    subject: MessageSubject,
    public_url: Option<&Url>,
) -> Result<Vec<u8>, String> {
    let kind = kind.as_str();
    let link = |segments: &[&str]| {
        let mut url = public_url?.clone();
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend(segments);
        Some(url.to_string())
    };
    match subject {
        MessageSubject::Call(call) => {
            let url = link(&["athos", "calls", &call.row.id]);
            render_call(kind, at, *call, url)
        }
        MessageSubject::Event {
            id,
            webhook_id,
            call_id,
            reason,
        } => {
            let data = EventData {
                url: link(&["athos", "events", &id.to_string()]),
                id,
                webhook_id,
                call_id,
                reason,
            };
            body(kind, at, &data).map_err(|error| error.to_string())
        }
        MessageSubject::Audit(entry) => {
            body(kind, at, &AuditEntry::from(entry)).map_err(|error| error.to_string())
        }
    }
}

/// The body of a message that says nothing.
pub(super) fn ping(at: Timestamp) -> Vec<u8> {
    json!({ "type": "ping", "timestamp": at, "data": {} })
        .to_string()
        .into_bytes()
}

fn render_call(
    kind: &str,
    at: Timestamp,
    call: StoredCall,
    url: Option<String>,
) -> Result<Vec<u8>, String> {
    let content = call.raw.as_deref().map(types::read_content).transpose()?;
    let mut data = CallData {
        row: call.row.into(),
        score: content.and_then(|content| content.score),
        reason: call.reason,
        reason_message: call.reason_message,
        has_recording: call.has_recording,
        transcript_purged_at: call.purged_at,
        url,
        omitted: Vec::new(),
    };
    let whole = body(kind, at, &data).map_err(|error| error.to_string())?;
    if whole.len() <= MAX_BODY_BYTES {
        return Ok(whole);
    }
    data.score = None;
    data.omitted.push("score");
    body(kind, at, &data).map_err(|error| error.to_string())
}

fn body<T: Serialize>(kind: &str, at: Timestamp, data: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Body {
        r#type: kind,
        timestamp: at,
        data,
    })
}
