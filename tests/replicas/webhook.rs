//! Webhooks that a story signs and delivers itself, where and as often as it likes.

use athos_api::signature::{SIGNATURE_HEADER, WEBHOOK_ID_HEADER, sign};
use athos_backend::clock::Clock;
use reqwest::header::{CONNECTION, CONTENT_TYPE};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

pub(crate) struct Webhook {
    pub(crate) id: String,
    body: String,
    signature: String,
}

impl Webhook {
    /// Of a call that was scored, or that needs nothing more from Athos.
    pub(crate) fn of_call(call: &str, is_scored: bool, secret: &str) -> Self {
        let body = json!({
            "event": "call.scored", "success": is_scored, "callId": call, "source": "roleplay",
            "externalUserId": "rep_1", "externalAgencyId": null, "reason": "SCORING_INCOMPLETE",
        });
        let body = body.to_string();
        let now = Clock::system().now().as_secs();
        Self {
            id: format!("wh_{call}"),
            signature: sign(&secret.to_owned().into(), now, body.as_bytes()),
            body,
        }
    }

    /// Delivers it once, on a connection of its own; the answer's status, and what it says became of it.
    pub(crate) async fn deliver(
        &self,
        http: &Client,
        origin: &str,
    ) -> reqwest::Result<(StatusCode, String)> {
        let request = http
            .post(format!("{origin}/athos/webhook"))
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, &self.signature)
            .header(WEBHOOK_ID_HEADER, &self.id)
            .body(self.body.clone());
        let answer = request.send().await?;
        let status = answer.status();
        let said: Value = answer.json().await?;
        let said = said["status"].as_str().unwrap_or_default();
        Ok((status, said.to_owned()))
    }
}
