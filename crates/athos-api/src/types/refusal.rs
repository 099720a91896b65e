//! The envelope of Athos's errors.

use super::roster::ExistingAgent;
use super::{Fields, TextFields, known};
use crate::drift::DriftWatch;

/// The content of Athos's error envelope.
#[derive(Debug, Default)]
pub struct RefusalBody {
    /// Machine code.
    pub code: Option<String>,
    /// Text for people, as it came.
    pub message: Option<String>,
    /// Athos's request id, to quote.
    pub request_id: Option<String>,
    /// The agent that already has one of the handles, from the details of a 409.
    pub existing_agent: Option<ExistingAgent>,
}

/// Longest code or request id that is read, in bytes: they are passed on, stored with attempts, and logged.
const MAX_CODE_CHARS: usize = 128;

/// Whether a text is a plain code or request id.
fn is_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    (1..=MAX_CODE_CHARS).contains(&text.len()) && text.chars().all(is_plain)
}

fn word(error: &Fields, name: &str) -> Option<String> {
    error.text(name).filter(|text| is_word(text))
}

/// The value of a header, if it is a plain code or id.
#[must_use]
pub fn plain_word(value: &str) -> Option<String> {
    is_word(value).then(|| value.to_owned())
}

/// Reads an error. Never fails: a body that is not Athos's envelope, such as a proxy's page, reads as empty.
#[must_use]
pub fn read_refusal(body: &[u8], drift: &DriftWatch) -> RefusalBody {
    let error = Fields::read(body)
        .ok()
        .and_then(|mut fields| fields.take_object("error"));
    let Some(error) = error else {
        return RefusalBody::default();
    };
    let mut error = error.watched(&known::ERROR, drift);
    RefusalBody {
        code: word(&error, "code"),
        message: error.text("message"),
        request_id: word(&error, "requestId"),
        existing_agent: error
            .take_object("details")
            .and_then(|details| details.existing_agent()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Handle;

    #[test]
    fn a_refusal_that_is_not_the_envelope_reads_as_nothing_said() {
        let said = read_refusal(
            br#"{"error":{"code":"X","message":"m","requestId":"r","details":{}}}"#,
            &DriftWatch::default(),
        );
        assert_eq!(said.code.as_deref(), Some("X"));
        assert_eq!(said.request_id.as_deref(), Some("r"));
        assert_eq!(said.existing_agent, None);
        assert!(
            read_refusal(b"<html>502</html>", &DriftWatch::default())
                .code
                .is_none()
        );
        assert!(read_refusal(b"", &DriftWatch::default()).code.is_none());
    }

    #[test]
    fn a_code_or_a_request_id_that_is_no_word_is_not_passed_on() {
        for odd in [
            "",
            "TWO WORDS",
            "<b>",
            "\n",
            &"X".repeat(MAX_CODE_CHARS + 1),
        ] {
            let body =
                serde_json::json!({ "error": { "code": odd, "message": "m", "requestId": odd } });
            let said = read_refusal(body.to_string().as_bytes(), &DriftWatch::default());
            assert_eq!((said.code, said.request_id), (None, None), "{odd}");
            assert_eq!(said.message.as_deref(), Some("m"));
        }
    }

    #[test]
    fn the_details_of_a_conflict_name_the_agent_that_is_there() {
        let body = br#"{"error":{"code":"AGENT_ALREADY_EXISTS","message":"m","requestId":"r",
            "details":{"agentId":"athos_agent_1","agencyId":"athos_agency_1","matchedOn":"email"}}}"#;
        let existing = read_refusal(body, &DriftWatch::default())
            .existing_agent
            .unwrap();
        assert_eq!(existing.agent_id, "athos_agent_1");
        assert_eq!(existing.agency_id.as_deref(), Some("athos_agency_1"));
        assert_eq!(existing.matched_on, Handle::Email);
    }
}
