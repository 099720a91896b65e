//! Webhooks made by hand, signed as Athos signs them or deliberately not.

use athos_api::signature::{SIGNATURE_HEADER, WEBHOOK_ID_HEADER, sign};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{Answer, Telling, TestApp};

/// What a webhook says, in the generation that the suite is told in.
#[derive(Clone, Debug)]
pub(crate) struct Event(pub(crate) Value);

impl Event {
    /// A call that was scored.
    pub(crate) fn scored(call_id: &str, rep: &str, agency: &str) -> Self {
        let mut event = json!({
            "event": "call.scored", "success": true, "callId": call_id, "source": "roleplay",
            "occurredAt": super::START, "requestId": "req_by_hand",
        });
        let ids = match Telling::of_this_run() {
            Telling::External | Telling::Switch => json!({
                "externalUserId": rep, "externalAgencyId": agency,
            }),
            Telling::Roster => json!({
                "platformAgentId": rep, "platformAgencyId": agency,
                "agentId": format!("athos_agent_of_{rep}"), "agencyId": format!("athos_agency_of_{agency}"),
            }),
        };
        for (name, id) in ids.as_object().unwrap() {
            event[name] = id.clone();
        }
        Self(event)
    }

    /// It does not say whose the call is.
    pub(crate) fn of_nobody(mut self) -> Self {
        for name in ["externalUserId", "platformAgentId", "agentId"] {
            self.0[name] = Value::Null;
        }
        self
    }

    /// A call that could not be.
    pub(crate) fn unscored(call_id: &str, rep: &str, agency: &str) -> Self {
        let mut event = Self::scored(call_id, rep, agency);
        event.0["success"] = json!(false);
        event.0["reason"] = json!("SCORING_INCOMPLETE");
        event.0["reasonMessage"] = json!("Athos did not finish processing this call.");
        event
    }
}

/// A delivery in the making.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    body: Vec<u8>,
    id: Option<String>,
    signatures: Vec<String>,
}

impl Hook {
    /// With these signature headers, as they are.
    pub(crate) fn signed(body: impl Into<Vec<u8>>, signatures: &[&str]) -> Self {
        Self {
            body: body.into(),
            id: None,
            signatures: signatures.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    pub(crate) fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// The request; nothing says what type the body has.
    pub(crate) fn request(&self, app: &TestApp) -> RequestBuilder {
        let mut request = app.request(Method::POST, "/athos/webhook");
        for signature in &self.signatures {
            request = request.header(SIGNATURE_HEADER, signature);
        }
        if let Some(id) = &self.id {
            request = request.header(WEBHOOK_ID_HEADER, id);
        }
        request.body(self.body.clone())
    }

    pub(crate) async fn send(&self, app: &TestApp) -> Answer {
        app.send(self.request(app)).await
    }
}

impl TestApp {
    /// A delivery of these bytes, signed now with the shared secret.
    pub(crate) fn hook(&self, body: impl Into<Vec<u8>>) -> Hook {
        let body = body.into();
        let secret = self.secrets.whsec.clone().into();
        let signature = sign(&secret, self.now().as_secs(), &body);
        Hook::signed(body, &[&signature])
    }

    /// A delivery of this event, signed now with the shared secret. Another id is another event, with bytes of its own.
    pub(crate) fn event(&self, id: &str, event: &Event) -> Hook {
        let mut event = event.0.clone();
        event["requestId"] = json!(format!("req_of_{id}"));
        self.hook(event.to_string()).id(id)
    }
}
