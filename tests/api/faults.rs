//! Every named fault of the simulator, and how it ends for an event.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Left, TestApp};

/// The statuses the service answered deliveries with, in order.
async fn statuses(app: &TestApp) -> Vec<u64> {
    let deliveries = app.delivered().await;
    deliveries
        .iter()
        .map(|delivery| delivery["status"].as_u64().unwrap())
        .collect()
}

/// Lets time pass and works, until the call is scored.
async fn until_scored(app: &TestApp, id: &str, tries: usize) {
    for _ in 0..tries {
        app.work().await;
        if app.call(id).await["status"] == "scored" {
            return;
        }
        app.clock.advance(Duration::from_secs(400));
    }
    panic!("not scored after {tries} tries");
}

#[tokio::test]
async fn slow_is_waited_for() {
    let app = TestApp::start().await;
    app.faults(json!({ "slow": { "ms": 200 } })).await;
    let id = app.ended_call("rep_1", "agency_1").await;
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(app.call(&id).await["status"], "scored");
}

#[tokio::test]
async fn a_500_is_tried_again_until_it_is_ok() {
    let app = TestApp::start().await;
    app.faults(json!({ "500-then-ok": { "times": 3, "on": ["call"] } }))
        .await;
    let id = app.ended_call("rep_1", "agency_1").await;
    until_scored(&app, &id, 4).await;
    assert_eq!(app.count("SELECT attempts FROM events").await, 4);
}

#[tokio::test]
async fn a_429_is_tried_again_with_and_without_a_time() {
    for fault in [
        json!({ "429": { "times": 2, "on": ["call"] } }),
        json!({ "429": { "times": 2, "retryAfterSec": 120, "on": ["call"] } }),
    ] {
        let app = TestApp::start().await;
        app.faults(fault).await;
        let id = app.ended_call("rep_1", "agency_1").await;
        until_scored(&app, &id, 3).await;
    }
}

#[tokio::test]
async fn being_down_in_either_way_is_sat_out() {
    for how in ["503", "hangup"] {
        let app = TestApp::start().await;
        app.faults(json!({ "down": { "how": how, "on": ["call"] } }))
            .await;
        let id = app.ended_call("rep_1", "agency_1").await;
        for _ in 0..4 {
            assert_eq!(app.step().await.retried, 1);
            app.clock.advance(Duration::from_secs(400));
        }
        assert_eq!(app.call(&id).await["status"], "processing");
        app.faults(json!({})).await;
        until_scored(&app, &id, 2).await;
    }
}

#[tokio::test]
async fn one_revoked_key_of_two_is_not_even_noticed() {
    let app = TestApp::start().await;
    app.faults(json!({ "key-revoked": { "key": app.secrets.api_keys[0] } }))
        .await;
    let id = app.ended_call("rep_1", "agency_1").await;
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(app.call(&id).await["status"], "scored");
    let ready = app.send(app.request(Method::GET, "/readyz")).await.json();
    assert_eq!(ready["status"], "ready");
}

#[tokio::test]
async fn duplicates_are_one_event() {
    let app = TestApp::start().await;
    app.faults(json!({ "duplicate": { "copies": 20 } })).await;
    app.ended_call("rep_1", "agency_1").await;
    assert_eq!(statuses(&app).await, [200; 20]);
    assert_eq!(app.count("SELECT count(*) FROM events").await, 1);
    assert_eq!(app.count("SELECT deliveries FROM events").await, 20);
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(app.asked("call").await, 1);
}

#[tokio::test]
async fn the_order_of_arrival_does_not_matter() {
    let app = TestApp::start().await;
    app.faults(json!({ "reorder": { "hold": 6 } })).await;
    let ids = app.burst(6, &["rep_1", "rep_2"], "agency_1").await;
    let arrived = app.delivered().await;
    let order: Vec<_> = arrived
        .iter()
        .map(|delivery| delivery["callId"].as_str().unwrap())
        .collect();
    assert!(order.iter().rev().eq(&ids), "last first");
    assert_eq!(app.work().await.scored, 6);
    for id in &ids {
        assert_eq!(app.call(id).await["status"], "scored");
    }
}

#[tokio::test]
async fn a_stale_or_badly_signed_delivery_is_refused_and_its_retry_let_in() {
    for fault in [
        json!({ "stale": { "times": 1 } }),
        json!({ "stale": { "times": 1, "ageSec": -600 } }),
        json!({ "bad-signature": { "times": 1 } }),
    ] {
        let app = TestApp::start().await;
        app.faults(fault).await;
        app.ended_call("rep_1", "agency_1").await;
        assert_eq!(statuses(&app).await, [401, 200]);
        assert_eq!(app.work().await.scored, 1);
    }
}

#[tokio::test]
async fn what_is_never_sent_is_not_known() {
    let app = TestApp::start().await;
    app.faults(json!({ "never-send": { "times": 1 } })).await;
    let id = app.ended_call("rep_1", "agency_1").await;
    let path = format!("/athos/calls/{id}");
    app.get(&path, &app.secrets.service)
        .await
        .refused(404, "CALL_NOT_FOUND");
    assert_eq!(app.count("SELECT count(*) FROM events").await, 0);
}

#[tokio::test]
async fn an_unscored_call_is_kept_with_its_reason_and_never_fetched() {
    let app = TestApp::start().await;
    let fault = json!({ "reason": "TOO_SHORT", "reasonMessage": "Nobody spoke." });
    app.faults(json!({ "unscored": fault })).await;
    let id = app.ended_call("rep_1", "agency_1").await;
    assert_eq!(app.work().await.unscored, 1);
    let call = app.call(&id).await;
    assert_eq!(call["status"], "unscored");
    assert_eq!(call["reason"], "TOO_SHORT");
    assert_eq!(call["reasonMessage"], "Nobody spoke.");
    assert_eq!(app.asked("call").await, 0);
}

#[tokio::test]
async fn a_fresh_404_is_tried_again() {
    let app = TestApp::start().await;
    app.faults(json!({ "not-found-then-ok": { "times": 3 } }))
        .await;
    let id = app.ended_call("rep_1", "agency_1").await;
    until_scored(&app, &id, 4).await;
    assert_eq!(app.asked("call").await, 4);
}

#[tokio::test]
async fn a_404_that_stays_is_dead_after_minutes_and_closes_no_gate() {
    let mut app = TestApp::start().await;
    app.faults(json!({ "not-found-then-ok": { "times": 1000 } }))
        .await;
    let id = app.ended_call("rep_1", "agency_1").await;
    let mut attempts = 0;
    while app
        .count("SELECT count(*) FROM events WHERE state = 'dead'")
        .await
        == 0
    {
        let did = app.step().await;
        assert!(!did.held);
        attempts += did.retried + did.dead;
        app.clock.advance(Duration::from_secs(400));
        assert!(attempts < 20);
    }
    assert_eq!(attempts, 6);
    assert_eq!(app.call(&id).await["status"], "processing");
    app.leaves(Left {
        waiting: 0,
        dead: 1,
    });
}

#[tokio::test]
async fn a_used_up_quota_stops_tokens_and_not_scores() {
    let app = TestApp::start().await;
    let token = app.mint_for("rep_1", "agency_1").await.expect(200).json();
    let id = app.redeem(token["token"].as_str().unwrap()).await;
    app.faults(json!({ "quota": {} })).await;
    app.mint_for("rep_1", "agency_1")
        .await
        .refused(403, "TENANT_QUOTA_EXCEEDED");
    let end = format!("/_simulator/calls/{id}/end");
    app.simulate(Method::POST, &end, json!({})).await;
    app.delivered().await;
    assert_eq!(app.work().await.scored, 1);
}

#[tokio::test]
async fn fields_that_no_document_mentions_are_accepted_and_kept() {
    let app = TestApp::start().await;
    app.faults(json!({ "unknown-fields": {} })).await;
    let id = app.ended_call("rep_1", "agency_1").await;
    assert_eq!(app.work().await.scored, 1);
    let call = app.call(&id).await;
    assert_eq!(call["score"]["futureField"], "added after this was written");
    assert_eq!(
        call["futureField"],
        Value::Null,
        "what we do not know we do not promise"
    );
    let mut db = app.db().await;
    let raw: String = sqlx::query_scalar("SELECT raw FROM call_details")
        .fetch_one(&mut db)
        .await
        .unwrap();
    let raw: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(raw["futureObject"], json!({ "nested": [1, null, true] }));
    let body: Vec<u8> = sqlx::query_scalar("SELECT body FROM events")
        .fetch_one(&mut db)
        .await
        .unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["futureField"], "added after this was written");
}
