//! Webhooks: signed, sent, retried once, recorded.

use std::time::Duration;

use serde_json::json;

use super::*;

#[tokio::test]
async fn an_ended_call_is_announced_with_a_signed_webhook() {
    let receiver = Receiver::start(&[]).await;
    let sim = Sim::delivering_to(&receiver).await;
    let id = sim.begin_call("rep_8842").await;
    let path = format!("/_simulator/calls/{id}/end");
    let ended = sim.post(&path, "", json!({ "durationSec": 37 })).await;
    assert_eq!(ended.body["durationSec"], 37);
    assert_eq!(ended.body["alreadyEnded"], false);
    let again = sim.post(&path, "", json!({ "durationSec": 99 })).await;
    assert_eq!(again.body["durationSec"], 37);
    assert_eq!(again.body["alreadyEnded"], true);

    let deliveries = sim.idle().await;
    let received = receiver.received();
    assert_eq!(received.len(), 1);
    let webhook = &received[0];
    assert!(webhook.id.starts_with("wh_"));
    assert_eq!(webhook.verdict(start_time()).name(), "valid");
    let body = webhook.json();
    assert_eq!(body["event"], "call.scored");
    assert_eq!(body["success"], true);
    assert_eq!(body["callId"], json!(id));
    assert_eq!(body["externalUserId"], "rep_8842");
    assert_eq!(body["externalAgencyId"], "agency_1");
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 8, "{keys:?}");

    assert_eq!(deliveries.len(), 1);
    let delivery = &deliveries[0];
    assert_eq!(delivery["id"], json!(webhook.id));
    assert_eq!(delivery["callId"], json!(id));
    assert_eq!(delivery["attempt"], 1);
    assert_eq!(delivery["status"], 200);
    assert_eq!(delivery["outcome"], "delivered");
    assert_eq!(delivery["at"], json!(start_time()));
    assert!(delivery["latencyMs"].is_u64());
}

#[tokio::test]
async fn a_failed_delivery_is_retried_once_with_the_same_id_and_body() {
    let receiver = Receiver::start(&[Reply::Status(500)]).await;
    let sim = Sim::delivering_to(&receiver).await;
    sim.scored_call("r").await;
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].id, received[1].id);
    assert_eq!(received[0].body, received[1].body);
    let deliveries = sim.idle().await;
    assert_eq!(deliveries[0]["outcome"], "refused");
    assert_eq!(deliveries[0]["status"], 500);
    assert_eq!(deliveries[1]["outcome"], "delivered");
    assert_eq!(deliveries[1]["attempt"], 2);
}

#[tokio::test]
async fn the_retry_is_signed_anew() {
    let receiver = Receiver::start(&[Reply::Status(503)]).await;
    let sim = Sim::delivering_to(&receiver).await;
    receiver.advance_on_receipt(&sim.clock, Duration::from_secs(301));
    sim.scored_call("r").await;
    let received = receiver.received();
    let late = start_time().plus(Duration::from_secs(301));
    assert_eq!(received[0].verdict(late).name(), "stale");
    assert_eq!(received[1].verdict(late).name(), "valid");
}

#[tokio::test]
async fn after_the_retry_a_webhook_is_dropped_and_redirects_are_not_followed() {
    let receiver = Receiver::start(&[Reply::Status(307), Reply::Status(404)]).await;
    let sim = Sim::delivering_to(&receiver).await;
    sim.scored_call("r").await;
    assert_eq!(receiver.received().len(), 2);
    let deliveries = sim.idle().await;
    assert_eq!(deliveries[0]["status"], 307);
    assert_eq!(deliveries[1]["status"], 404);
    assert!(
        deliveries
            .iter()
            .all(|delivery| delivery["outcome"] == "refused")
    );
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_in_time_has_failed() {
    let receiver = Receiver::start(&[Reply::Never]).await;
    let options = Options {
        webhook_timeout: Duration::from_millis(200),
        webhook_url: Some(receiver.url.clone()),
        ..hasty()
    };
    let sim = Sim::start(options).await;
    sim.scored_call("r").await;
    let deliveries = sim.idle().await;
    assert_eq!(deliveries[0]["outcome"], "timeout");
    assert_eq!(deliveries[0]["status"], Value::Null);
    assert_eq!(deliveries[1]["outcome"], "delivered");
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_unreachable() {
    let sim = Sim::start(hasty()).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let put = sim
        .put("/_simulator/webhook-url", json!({ "url": url }))
        .await;
    assert_eq!(put.status, 200);
    sim.scored_call("r").await;
    let outcomes: Vec<Value> = sim
        .idle()
        .await
        .iter()
        .map(|d| d["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["unreachable", "unreachable"]);
}

#[tokio::test]
async fn without_a_url_a_webhook_is_listed_as_undelivered() {
    let sim = Sim::start(hasty()).await;
    let id = sim.scored_call("r").await;
    let deliveries = sim.idle().await;
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0]["outcome"], "undelivered");
    assert_eq!(
        sim.detail(&id).await.status,
        200,
        "it is scored all the same"
    );
    for bad in [
        json!({ "url": "ftp://x" }),
        json!({ "url": "x" }),
        json!({ "uri": null }),
    ] {
        assert_eq!(sim.put("/_simulator/webhook-url", bad).await.status, 400);
    }
}

#[tokio::test]
async fn a_burst_ends_many_calls_at_once() {
    let receiver = Receiver::start(&[]).await;
    let sim = Sim::delivering_to(&receiver).await;
    let burst = json!({ "calls": 300, "reps": ["a", "b", "c"], "agency": "acme" });
    let ended = sim.post("/_simulator/burst", "", burst).await;
    assert_eq!(ended.body["callIds"].as_array().unwrap().len(), 300);
    assert_eq!(sim.idle().await.len(), 300);
    let mut ids: Vec<String> = receiver.received().into_iter().map(|r| r.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 300);
    for bad in [
        json!({}),
        json!({ "calls": 0 }),
        json!({ "calls": 1, "reps": [] }),
        json!({ "calls": 1, "reps": [" "] }),
        json!({ "calls": 1, "rep": "a" }),
        json!({ "calls": 1, "durationSec": 7201 }),
        json!({ "calls": 1, "drillKey": "no-such" }),
    ] {
        assert_eq!(sim.post("/_simulator/burst", "", bad).await.status, 400);
    }
}

#[tokio::test]
async fn waiting_is_bounded_and_says_what_is_missing() {
    let sim = Sim::start(hasty()).await;
    let late = sim.get("/_simulator/deliveries?wait=1&timeoutMs=1").await;
    assert_eq!((late.status, late.code()), (504, "WAIT_TIMEOUT"));
    let now = sim.get("/_simulator/deliveries").await;
    assert_eq!(
        now.body,
        json!({ "deliveries": [], "unsettled": 0, "scoring": 0 })
    );
    for bad in ["wait=x", "wiat=1", "idle=perhaps"] {
        let refused = sim.get(&format!("/_simulator/deliveries?{bad}")).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "INVALID_REQUEST"),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn everything_is_known_at_the_control_plane_and_requests_are_counted() {
    let sim = Sim::start(hasty()).await;
    let scored = sim.scored_call("a").await;
    let live = sim.begin_call("b").await;
    sim.detail(&scored).await;
    sim.detail(&live).await;
    sim.detail("athos_call_unknown").await;

    let known = sim.get("/_simulator/calls").await.body;
    let calls = known["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["callId"], json!(scored));
    assert_eq!(calls[0]["status"], "scored");
    assert_eq!(calls[0]["fetches"], 1);
    assert!(calls[0]["overallScore"].is_u64());
    assert_eq!(calls[1]["status"], "live");
    assert_eq!(calls[1]["overallScore"], Value::Null);

    let requests = sim.get("/_simulator/requests").await.body;
    assert_eq!(
        requests["session"],
        json!({ "total": 2, "byStatus": { "200": 2 } })
    );
    assert_eq!(requests["redeem"]["total"], 2);
    assert_eq!(requests["calls"], json!({ "total": 0, "byStatus": {} }));
    assert_eq!(
        requests["call"],
        json!({ "total": 3, "byStatus": { "200": 1, "404": 2 } })
    );
}
