//! Each fault by its name.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;

use super::*;

const LIST: &str = "from=2026-01-01T00:00:00.000Z";

#[tokio::test]
async fn the_set_is_replaced_cleared_and_shown() {
    let sim = Sim::start(hasty()).await;
    let none = sim.get("/_simulator/faults").await.body;
    assert_eq!(
        (&none["faults"], &none["remaining"]),
        (&json!({}), &json!({}))
    );
    let known = none["known"].as_array().unwrap();
    assert!(known.contains(&json!("never-send")), "{known:?}");
    let set = json!({ "429": { "times": 2, "on": ["calls"] }, "quota": {} });
    sim.put_faults(set.clone()).await;
    let put = sim.get("/_simulator/faults").await.body;
    assert_eq!(put["faults"], json!({ "429": set["429"], "quota": {} }));
    assert_eq!(put["remaining"], json!({ "429": 2 }));
    let refused = sim.put("/_simulator/faults", json!({ "qouta": {} })).await;
    assert_eq!((refused.status, refused.code()), (400, "INVALID_REQUEST"));
    assert!(
        refused.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("qouta")
    );
    let still = sim.get("/_simulator/faults").await.body;
    assert_eq!(
        still["remaining"]["429"], 2,
        "a refused set changes nothing"
    );
    sim.put_faults(json!({})).await;
    assert_eq!(sim.list(LIST).await.status, 200);
}

#[tokio::test]
async fn slow_answers_late_where_it_is_asked_to() {
    let sim = Sim::start(hasty()).await;
    sim.put_faults(json!({ "slow": { "ms": 600_000, "on": ["calls"] } }))
        .await;
    assert_eq!(sim.detail("x").await.status, 404, "not here");
    let request = sim
        .request(Method::GET, &format!("{API}/calls?{LIST}"))
        .timeout(Duration::from_millis(50));
    assert!(request.send().await.unwrap_err().is_timeout());
    sim.put_faults(json!({ "slow": { "ms": 1 } })).await;
    assert_eq!(sim.list(LIST).await.status, 200);
}

#[tokio::test]
async fn error_500_and_then_ok() {
    let sim = Sim::start(hasty()).await;
    sim.put_faults(json!({ "500-then-ok": { "times": 2, "on": ["calls"] } }))
        .await;
    for (status, code) in [
        (500, "INTERNAL_ERROR"),
        (500, "INTERNAL_ERROR"),
        (200, "(no code)"),
    ] {
        let answered = sim.list(LIST).await;
        assert_eq!((answered.status, answered.code()), (status, code));
    }
    let report = sim.get("/_simulator/faults").await.body;
    assert_eq!(report["remaining"]["500-then-ok"], 0);
}

#[tokio::test]
async fn error_429_says_when_to_come_back() {
    let sim = Sim::start(hasty()).await;
    sim.put_faults(json!({ "429": { "times": 1, "retryAfterSec": 7 } }))
        .await;
    let limited = sim.list(LIST).await;
    assert_eq!((limited.status, limited.code()), (429, "RATE_LIMITED"));
    assert_eq!(limited.headers["retry-after"], "7");
    assert_eq!(sim.list(LIST).await.status, 200);
    sim.put_faults(json!({ "429": {} })).await;
    for _ in 0..3 {
        let limited = sim.list(LIST).await;
        assert_eq!(limited.status, 429);
        assert!(!limited.headers.contains_key("retry-after"));
    }
}

#[tokio::test]
async fn down_answers_503_or_hangs_up() {
    let sim = Sim::start(hasty()).await;
    sim.put_faults(json!({ "down": { "on": ["calls"] } })).await;
    let down = sim.list(LIST).await;
    assert_eq!((down.status, down.code()), (503, "SERVICE_UNAVAILABLE"));
    assert_eq!(sim.detail("x").await.status, 404, "not here");

    sim.put_faults(json!({ "down": { "how": "hangup" } })).await;
    let request = sim.request(Method::GET, &format!("{API}/calls?{LIST}"));
    let error = request.send().await.unwrap_err();
    assert!(error.status().is_none(), "{error:?}");
    assert_eq!(
        sim.get("/_simulator/faults").await.status,
        200,
        "the control plane answers"
    );
    sim.put_faults(json!({})).await;
    assert_eq!(sim.list(LIST).await.status, 200);
}

#[tokio::test]
async fn a_revoked_key_is_refused_and_the_other_one_works() {
    let keys = ["ath_live_old", "ath_live_new"];
    let options = Options {
        api_keys: keys.map(SecretString::from).to_vec(),
        ..hasty()
    };
    let sim = Sim::start(options).await;
    let mint = async |key: &str| {
        let body = json!({ "externalUserId": "r" });
        sim.post(&format!("{API}/session"), key, body).await
    };
    sim.put_faults(json!({ "key-revoked": { "key": "ath_live_old" } }))
        .await;
    let revoked = mint("ath_live_old").await;
    assert_eq!((revoked.status, revoked.code()), (401, "API_KEY_REVOKED"));
    assert_eq!(mint("ath_live_new").await.status, 200);
    assert_eq!(mint("ath_live_odd").await.code(), "INVALID_API_KEY");
    sim.put_faults(json!({ "key-revoked": {} })).await;
    assert_eq!(mint("ath_live_new").await.code(), "API_KEY_REVOKED");
    let unknown = json!({ "key-revoked": { "key": "ath_live_odd" } });
    let refused = sim.put("/_simulator/faults", unknown).await;
    assert_eq!(refused.status, 400);
    assert!(!refused.body.to_string().contains("ath_live_odd"));
}

#[tokio::test]
async fn quota_refuses_to_mint_and_nothing_else() {
    let sim = Sim::start(hasty()).await;
    sim.put_faults(json!({ "quota": {} })).await;
    let body = json!({ "externalUserId": "r" });
    let refused = sim
        .post(&format!("{API}/session"), DEMO_API_KEY, body)
        .await;
    assert_eq!(
        (refused.status, refused.code()),
        (403, "TENANT_QUOTA_EXCEEDED")
    );
    assert_eq!(sim.list(LIST).await.status, 200);
}

#[tokio::test]
async fn a_detail_is_not_found_at_first_for_each_call() {
    let sim = Sim::start(hasty()).await;
    let (one, two) = (sim.scored_call("a").await, sim.scored_call("b").await);
    sim.put_faults(json!({ "not-found-then-ok": { "times": 2 } }))
        .await;
    for id in [&one, &two] {
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(sim.detail(id).await.status);
        }
        assert_eq!(statuses, [404, 404, 200]);
    }
    let report = sim.get("/_simulator/faults").await.body;
    assert_eq!(report["remaining"]["not-found-then-ok"][&one], 0);
}

#[tokio::test]
async fn duplicate_sends_copies_under_one_id() {
    let receiver = Receiver::start(&[]).await;
    let sim = Sim::delivering_to(&receiver).await;
    sim.put_faults(json!({ "duplicate": { "copies": 3 } }))
        .await;
    sim.scored_call("r").await;
    let received = receiver.received();
    assert_eq!(received.len(), 3);
    assert!(
        received
            .iter()
            .all(|one| one.id == received[0].id && one.body == received[0].body)
    );
    let mut copies: Vec<_> = sim
        .idle()
        .await
        .iter()
        .map(|d| d["copy"].as_u64())
        .collect();
    copies.sort_unstable();
    assert_eq!(copies, [Some(1), Some(2), Some(3)]);
}

#[tokio::test]
async fn reorder_holds_webhooks_and_sends_the_last_one_first() {
    let receiver = Receiver::start(&[]).await;
    let sim = Sim::delivering_to(&receiver).await;
    sim.put_faults(json!({ "reorder": { "hold": 3 } })).await;
    let burst = json!({ "calls": 5 });
    let ids = sim.post("/_simulator/burst", "", burst).await.body["callIds"].clone();
    sim.get("/_simulator/deliveries?wait=3").await;
    let order = || -> Vec<Value> {
        let received = receiver.received();
        received
            .iter()
            .map(|one| one.json()["callId"].clone())
            .collect()
    };
    assert_eq!(order(), [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
    sim.put_faults(json!({})).await;
    sim.idle().await;
    assert_eq!(order()[3..], [ids[4].clone(), ids[3].clone()]);
}

#[tokio::test]
async fn stale_and_bad_signatures_are_what_they_say_and_wear_out() {
    for (fault, verdict) in [
        (json!({ "stale": { "ageSec": 301, "times": 1 } }), "stale"),
        (json!({ "stale": { "ageSec": -301, "times": 1 } }), "stale"),
        (json!({ "bad-signature": { "times": 1 } }), "mismatch"),
    ] {
        let receiver = Receiver::start(&[]).await;
        let sim = Sim::delivering_to(&receiver).await;
        sim.put_faults(fault.clone()).await;
        sim.scored_call("r").await;
        sim.scored_call("r").await;
        let verdicts: Vec<_> = receiver
            .received()
            .iter()
            .map(|one| one.verdict(start_time()).name())
            .collect();
        assert_eq!(verdicts, [verdict, "valid"], "{fault}");
    }
}

#[tokio::test]
async fn never_send_scores_and_sends_no_webhook() {
    let receiver = Receiver::start(&[]).await;
    let sim = Sim::delivering_to(&receiver).await;
    sim.put_faults(json!({ "never-send": { "times": 1 } }))
        .await;
    let id = sim.scored_call("r").await;
    assert!(receiver.received().is_empty());
    assert_eq!(sim.idle().await[0]["outcome"], "suppressed");
    assert_eq!(sim.detail(&id).await.status, 200);
    sim.scored_call("r").await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn an_unscored_call_is_announced_with_its_reason_and_never_found() {
    let receiver = Receiver::start(&[]).await;
    let sim = Sim::delivering_to(&receiver).await;
    let fault = json!({ "reason": "AUDIO_LOST", "reasonMessage": "No sound.", "times": 1 });
    sim.put_faults(json!({ "unscored": fault })).await;
    let id = sim.scored_call("r").await;
    let body = receiver.received()[0].json();
    assert_eq!(body["success"], false);
    assert_eq!(body["reason"], "AUDIO_LOST");
    assert_eq!(body["reasonMessage"], "No sound.");
    assert_eq!(sim.detail(&id).await.code(), "CALL_NOT_FOUND");
    assert_eq!(sim.list(LIST).await.body["data"], json!([]));

    sim.put_faults(json!({ "unscored": {} })).await;
    sim.scored_call("r").await;
    let body = receiver.received()[1].json();
    assert_eq!(body["reason"], "SCORING_INCOMPLETE");
    assert!(body["reasonMessage"].is_string());
    let calls = sim.get("/_simulator/calls").await.body;
    assert_eq!(calls["calls"][0]["status"], "unscored");
    assert_eq!(calls["calls"][0]["reason"], "AUDIO_LOST");
}

#[tokio::test]
async fn unknown_fields_turn_up_in_webhook_detail_and_list() {
    let receiver = Receiver::start(&[]).await;
    let sim = Sim::delivering_to(&receiver).await;
    sim.put_faults(json!({ "unknown-fields": {} })).await;
    let id = sim.scored_call("r").await;
    assert!(receiver.received()[0].json()["futureField"].is_string());
    let detail = sim.detail(&id).await.body;
    assert!(detail["futureField"].is_string() && detail["score"]["futureField"].is_string());
    let list = sim.list(LIST).await.body;
    assert!(list["futureField"].is_string() && list["data"][0]["futureField"].is_string());
}

#[tokio::test]
async fn unknown_fields_may_come_with_unknown_sources_events_and_codes() {
    let receiver = Receiver::start(&[]).await;
    let sim = Sim::delivering_to(&receiver).await;
    let fault = json!({ "source": "video_call", "event": "call.archived", "code": "ON_LEAVE" });
    sim.put_faults(json!({ "unknown-fields": fault })).await;
    let id = sim.scored_call("r").await;
    let webhook = receiver.received()[0].json();
    assert_eq!(webhook["source"], "video_call");
    assert_eq!(webhook["event"], "call.archived");
    let detail = sim.detail(&id).await.body;
    assert_eq!(detail["source"], "video_call");
    assert!(detail.get("event").is_none());
    let list = sim.list(LIST).await.body;
    assert_eq!(list["data"][0]["source"], "video_call");
    let refused = sim.detail("x").await;
    assert_eq!((refused.status, refused.code()), (404, "ON_LEAVE"));
    let control = sim.end_call("x").await;
    assert_eq!(
        control.code(),
        "CALL_NOT_FOUND",
        "the control plane says what it means"
    );
}
