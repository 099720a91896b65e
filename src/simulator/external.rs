//! Generation `external` of the contract: every shape and rule in which it differs from other
//! generations. Another generation is another file like this one.

use serde_json::{Map, Value, json};

use super::call::{Call, Scoring};
use super::error::ApiError;
use super::scenario::{Line, Speaker};
use crate::model::Timestamp;

/// Whom a token is minted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rep {
    pub(super) user: String,
    pub(super) agency: Option<String>,
}

/// Reads the body of a mint. Members it does not know are left alone; `null` counts as omitted.
pub(super) fn parse_mint(body: &Map<String, Value>) -> Result<Rep, ApiError> {
    let user = text(body, "externalUserId")?
        .ok_or_else(|| ApiError::invalid_request("externalUserId is required."))?;
    let agency = text(body, "externalAgencyId")?;
    Ok(Rep { user, agency })
}

fn text(body: &Map<String, Value>, key: &str) -> Result<Option<String>, ApiError> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::invalid_request(format!(
            "{key} must be a string that is not blank."
        ))),
    }
}

/// What a list may be narrowed to, besides the time.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    user: Option<String>,
    agency: Option<String>,
}

impl Filter {
    /// Takes one query parameter, if it is one of this generation's.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Result<(), ApiError> {
        match key {
            "externalUserId" => self.user = Some(value.to_owned()),
            "externalAgencyId" => self.agency = Some(value.to_owned()),
            "source" if value != "roleplay" => {
                return Err(ApiError::invalid_request("source must be roleplay."));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn matches(&self, rep: &Rep) -> bool {
        self.user.as_ref().is_none_or(|user| *user == rep.user)
            && (self.agency.is_none() || self.agency == rep.agency)
    }
}

/// A row of the list.
pub(super) fn slim_call(call: &Call) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("id".into(), json!(call.id));
    row.insert("source".into(), json!("roleplay"));
    insert_ids(&mut row, &call.rep);
    row.insert("drillKey".into(), json!(call.drill_key));
    row.insert("startedAt".into(), json!(call.started_at));
    row.insert("endedAt".into(), json!(call.ended_at()));
    row.insert("durationSec".into(), json!(call.duration_secs()));
    row.insert("scoredAt".into(), json!(call.scored_at()));
    row
}

/// The detail of a scored call.
pub(super) fn call_detail(call: &Call, transcript: &[Line]) -> Map<String, Value> {
    let mut detail = slim_call(call);
    // In the vendor's order, `status` follows `source`.
    detail.shift_insert(2, "status".into(), json!("scored"));
    let turns: Vec<Value> = transcript.iter().map(turn).collect();
    detail.insert("transcript".into(), json!(turns));
    detail.insert(
        "score".into(),
        json!({
            "overallScore": call.score.overall,
            "summary": call.score.summary,
            "feedback": call.score.feedback,
        }),
    );
    for absent in ["audioUrl", "audioUrlExpiresAt", "waveform"] {
        detail.insert(absent.into(), Value::Null);
    }
    detail.insert("createdAt".into(), json!(call.started_at));
    detail.insert("updatedAt".into(), json!(call.scored_at()));
    detail
}

fn turn(line: &Line) -> Value {
    let role = match line.speaker {
        Speaker::Rep => "user",
        Speaker::Persona => "assistant",
    };
    json!({ "role": role, "content": line.text })
}

/// The body of a `call.scored` webhook. Never a score, never a transcript.
pub(super) fn webhook(
    call_id: &str,
    rep: &Rep,
    scoring: &Scoring,
    occurred_at: Timestamp,
    request_id: &str,
) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("event".into(), json!("call.scored"));
    body.insert("success".into(), json!(matches!(scoring, Scoring::Scored)));
    body.insert("callId".into(), json!(call_id));
    body.insert("source".into(), json!("roleplay"));
    insert_ids(&mut body, rep);
    body.insert("occurredAt".into(), json!(occurred_at));
    body.insert("requestId".into(), json!(request_id));
    if let Scoring::Failed { reason, message } = scoring {
        body.insert("reason".into(), json!(reason));
        body.insert("reasonMessage".into(), json!(message));
    }
    body
}

fn insert_ids(object: &mut Map<String, Value>, rep: &Rep) {
    object.insert("externalUserId".into(), json!(rep.user));
    object.insert("externalAgencyId".into(), json!(rep.agency));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "2026-06-05T18:09:14.000Z";
    const REQUEST_ID: &str = "req_b1f0c2d4-7a1e-4c3b-9f2d-0e8a6b5c4d3e";
    const CALL_ID: &str = "athos_call_GZ1DjOkZv_VEPoE-CJ8mp";

    fn body(agency: Option<&str>, scoring: &Scoring) -> String {
        let rep = Rep {
            user: "rep_8842".into(),
            agency: agency.map(Into::into),
        };
        let at = SAMPLE.parse().unwrap();
        serde_json::to_string(&webhook(CALL_ID, &rep, scoring, at, REQUEST_ID)).unwrap()
    }

    #[test]
    fn webhooks_are_byte_for_byte_those_of_the_vendor() {
        let scored = include_str!("../../tests/fixtures/webhook.external.scored.json");
        assert_eq!(
            body(Some("agency_chicago"), &Scoring::Scored),
            scored.trim_end()
        );
        let failed = include_str!("../../tests/fixtures/webhook.external.failed.json");
        assert_eq!(body(None, &Scoring::incomplete()), failed.trim_end());
    }

    #[test]
    fn a_mint_needs_a_user_and_takes_null_for_omitted() {
        let mint = |body: Value| parse_mint(body.as_object().unwrap());
        let rep = mint(json!({ "externalUserId": "r", "externalAgencyId": null, "x": 1 })).unwrap();
        assert_eq!(rep.agency, None);
        for bad in [
            json!({}),
            json!({ "externalUserId": null }),
            json!({ "externalUserId": " " }),
            json!({ "externalUserId": 7 }),
            json!({ "externalUserId": "r", "externalAgencyId": "" }),
            json!({ "platformAgentId": "r" }),
        ] {
            assert_eq!(mint(bad).unwrap_err().code, "INVALID_REQUEST");
        }
    }
}
