//! Faults of the simulator whose story is longer than their line in `matrix.md`.

use std::time::Duration;

use athos_backend::model::EventState;
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
    assert_eq!(app.only_event().await.deliveries, 20);
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
async fn a_404_that_stays_is_dead_after_minutes_and_closes_no_gate() {
    let mut app = TestApp::start().await;
    app.faults(json!({ "not-found-then-ok": { "times": 1000 } }))
        .await;
    let id = app.ended_call("rep_1", "agency_1").await;
    let mut attempts = 0;
    while app.only_event().await.state != EventState::Dead {
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
    let raw = app.detail().await;
    assert_eq!(raw["futureObject"], json!({ "nested": [1, null, true] }));
    let body: Value = serde_json::from_str(&app.events().await[0].body).unwrap();
    assert_eq!(body["futureField"], "added after this was written");
}
