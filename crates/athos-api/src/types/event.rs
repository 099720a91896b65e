//! The webhook `call.scored`: reads it, and writes one for a call whose webhook never came.

use super::flat::FlatFields;
use super::{TextFields, json, known};
use crate::drift::DriftWatch;
use crate::{CallEvent, CallHeader, EventOutcome};

/// Why a signed body is not a known event.
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

/// Reads the body of a new delivery, and counts names that the contract does not mention. Call it on verified bytes only.
///
/// # Errors
/// When the body is not a known event.
pub fn read_delivery(body: &[u8], drift: &DriftWatch) -> Result<CallEvent, NotUnderstood> {
    read(body, |fields| {
        drift.note(known::WEBHOOK.compare_flat(fields))
    })
}

/// Reads the body of a stored event.
///
/// # Errors
/// When the body is not a known event.
pub fn read_event(body: &[u8]) -> Result<CallEvent, NotUnderstood> {
    read(body, |_| {})
}

fn read(body: &[u8], look: impl FnOnce(&FlatFields<'_>)) -> Result<CallEvent, NotUnderstood> {
    let body = json::repair(body).map_err(|why| NotUnderstood::NotJson(why.to_string()))?;
    let fields = FlatFields::read(&body).map_err(NotUnderstood::NotJson)?;
    look(&fields);
    as_event(&fields)
}

fn as_event(fields: &FlatFields<'_>) -> Result<CallEvent, NotUnderstood> {
    match fields
        .get_text("event")
        .ok_or(NotUnderstood::Missing("event"))?
    {
        "call.scored" => {}
        other => return Err(NotUnderstood::UnknownEvent(event_name(other))),
    }
    let call_id = fields
        .call_id("callId")
        .ok_or(NotUnderstood::Missing("callId"))?;
    let success = fields
        .flag("success")
        .ok_or(NotUnderstood::Missing("success"))?;
    let outcome = if success {
        EventOutcome::Scored
    } else {
        EventOutcome::Unscored {
            reason: fields.label("reason"),
            message: fields.text("reasonMessage"),
        }
    };
    Ok(CallEvent {
        call_id,
        source: fields.source(),
        identity: fields.identity(),
        occurred_at: fields.time("occurredAt"),
        outcome,
        athos_request_id: fields.label("requestId"),
    })
}

/// Writes the webhook that a scored call should have had; [`read_event`] reads it like any other.
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

/// The name of an event, or a placeholder when it is not safe to log.
fn event_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '.' || c == '_';
    if name.len() <= 40 && name.chars().all(plain) {
        name.to_owned()
    } else {
        "with an unprintable name".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBHOOK: &str = include_str!("../../../../tests/fixtures/webhook.external.scored.json");

    #[test]
    fn both_generations_of_webhook_are_read() {
        let external = read_event(WEBHOOK.as_bytes()).unwrap();
        assert_eq!(external.call_id, "athos_call_GZ1DjOkZv_VEPoE-CJ8mp");
        assert_eq!(external.outcome, EventOutcome::Scored);
        assert_eq!(external.identity.rep.as_deref(), Some("rep_8842"));
        assert_eq!(external.identity.agency.as_deref(), Some("agency_chicago"));
        assert_eq!(external.identity.athos_rep, None);

        let roster = include_bytes!("../../../../tests/fixtures/webhook.roster.scored.json");
        let roster = read_event(roster).unwrap();
        assert_eq!(roster.identity.rep.as_deref(), Some("rep_8842"));
        assert_eq!(roster.identity.agency.as_deref(), Some("acme-7731"));
        assert_eq!(
            roster.identity.athos_rep.as_deref(),
            Some("athos_agent_bR4kQ2wZ9Lp0nH3xVq1Yt")
        );

        let failed = include_bytes!("../../../../tests/fixtures/webhook.external.failed.json");
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
}
