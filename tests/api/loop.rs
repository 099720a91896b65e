//! The whole loop, as a company lives it: a token, a call, a webhook, a score, and everyone who reads it.

use athos_backend::worker::StepSummary;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Left, TestApp};

#[tokio::test]
async fn a_call_goes_from_token_to_stored_score() {
    let app = TestApp::start().await;
    let service = app.secrets.service.clone();
    let mut live = app.live(&service, None).await;

    let minted = app.mint_for("rep_8842", "agency_chicago").await.expect(200);
    assert_eq!(minted.header("cache-control"), "no-store");
    assert_eq!(minted.json()["expiresAt"], "2026-06-05T14:44:40.295Z");
    let id = app.redeem(minted.json()["token"].as_str().unwrap()).await;
    let path = format!("/athos/calls/{id}");
    app.get(&path, &service)
        .await
        .refused(404, "CALL_NOT_FOUND");

    app.clock.advance(std::time::Duration::from_secs(95));
    let end = format!("/_simulator/calls/{id}/end");
    app.simulate(Method::POST, &end, json!({})).await;
    let deliveries = app.delivered().await;
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0]["status"], 200);

    let did = app.step().await;
    let expected = StepSummary {
        scored: 1,
        ..StepSummary::default()
    };
    assert_eq!(did, expected);

    let call = app.call(&id).await;
    assert_eq!(call["status"], "scored");
    assert_eq!(call["rep"], "rep_8842");
    assert_eq!(call["agency"], "agency_chicago");
    assert_eq!(call["drillKey"], "ma-full-sale");
    assert_eq!(call["durationSec"], 95);
    let score = call["score"]["overallScore"].as_f64();
    assert_eq!(score, call["overallScore"].as_f64());
    let turns = call["transcript"].as_array().unwrap();
    assert!(turns.len() > 2);
    for turn in turns {
        assert!(turn["role"] == "rep" || turn["role"] == "persona", "{turn}");
    }

    let list = app.get("/athos/calls", &service).await.expect(200).json();
    assert_eq!(list["nextCursor"], json!(null));
    let rows = list["data"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    for (member, value) in rows[0].as_object().unwrap() {
        assert_eq!(call[member], *value, "{member}");
    }

    let opened = live.next().await.unwrap();
    assert_eq!(opened.data["id"], id);
    let scored = if opened.data["status"] == "processing" {
        live.next().await.unwrap()
    } else {
        opened
    };
    assert_eq!(scored.data["status"], "scored");
    assert_eq!(scored.data["rep"], "rep_8842");
    assert_eq!(scored.data["overallScore"].as_f64(), score);
}

#[tokio::test]
async fn a_call_is_processing_until_its_detail_is_here() {
    let mut app = TestApp::start().await;
    app.faults(json!({ "down": { "on": ["call"] } })).await;
    let id = app.ended_call("rep_1", "agency_1").await;
    app.step().await;
    let call = app.call(&id).await;
    assert_eq!(call["status"], "processing");
    assert_eq!(call["score"], json!(null));
    assert_eq!(call["transcript"], json!(null));
    assert_eq!(call["rep"], "rep_1");
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
}

#[tokio::test]
#[should_panic(expected = "the log holds a secret")]
async fn a_secret_in_the_log_fails_its_test() {
    let app = TestApp::start().await;
    tracing::info!(key = app.secrets.api_keys[0], "a line that should not be");
}

#[tokio::test]
#[should_panic(expected = "declared Left { waiting: 0, dead: 0 }")]
async fn work_that_nobody_declared_fails_its_test() {
    let app = TestApp::start().await;
    app.ended_call("rep_1", "agency_1").await;
}
