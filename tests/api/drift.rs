//! The vendor moves on under the same `/v1`: nothing breaks, everything is kept, and each new name is told of once.

use athos_backend::model::EventState;
use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{API, Event, Setup, TestApp};
use crate::log::Mark;

/// Every new name with its count, as it stands in the store.
async fn drift(app: &TestApp) -> Vec<String> {
    app.service().worker.record_drift().await;
    let seen = app.service().store.list_drift().await.unwrap();
    let mut all: Vec<_> = seen
        .iter()
        .map(|seen| format!("{} x{}", seen.drift, seen.count))
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn what_the_contract_mentions_is_not_new() {
    for contract in ["external", "roster", "both"] {
        let app = TestApp::start().await;
        let minted = app.mint_for("rep_1", "agency_1").await.expect(200);
        app.simulate(
            reqwest::Method::PUT,
            "/_simulator/contract",
            json!({ "contract": contract }),
        )
        .await;
        let call = app.redeem(minted.json()["token"].as_str().unwrap()).await;
        let end = format!("/_simulator/calls/{call}/end");
        app.simulate(reqwest::Method::POST, &end, json!({})).await;
        app.delivered().await;
        assert_eq!(app.work().await.scored, 1);
        app.faults(json!({ "never-send": {} })).await;
        app.burst(3, &["rep_1"], "agency_1").await;
        app.clock.advance(std::time::Duration::from_secs(60));
        app.reconciler().run_once().await.unwrap();
        app.work().await;
        app.faults(json!({ "key-revoked": {} })).await;
        app.mint_for("rep_1", "agency_1").await;
        assert_eq!(drift(&app).await, [""; 0], "{contract}");
    }
}

#[tokio::test]
async fn each_new_name_is_counted_where_it_stands_and_logged_once() {
    let app = TestApp::start().await;
    let log = Mark::here();
    app.faults(json!({ "unknown-fields": { "source": "video_call" } }))
        .await;
    for _ in 0..2 {
        app.ended_call("rep_1", "agency_1").await;
        assert_eq!(app.work().await.scored, 1);
        assert!(!drift(&app).await.is_empty());
    }
    app.reconciler().run_once().await.unwrap();
    let expected = [
        "the field futureField (call) x2",
        "the field futureField (list of calls) x1",
        "the field futureField (listed call) x1",
        "the field futureField (score) x2",
        "the field futureField (webhook) x2",
        "the field futureObject (call) x2",
        "the field futureObject (list of calls) x1",
        "the field futureObject (listed call) x1",
        "the field futureObject (score) x2",
        "the field futureObject (webhook) x2",
        "the source video_call (call) x2",
        "the source video_call (listed call) x1",
        "the source video_call (webhook) x2",
    ];
    assert_eq!(drift(&app).await, expected);
    let said = log.since();
    let lines = said
        .lines()
        .filter(|line| line.contains("the contract does not mention"));
    assert_eq!(lines.count(), expected.len(), "{said}");
    // The raw JSON has it, and readers see the source as it is.
    let row = app
        .get("/athos/calls?source=video_call", &app.secrets.service)
        .await;
    assert_eq!(row.expect(200).json()["data"].as_array().unwrap().len(), 2);
    let kept = app.details().await;
    let kept = kept
        .iter()
        .filter(|detail| detail.to_string().contains("futureField"));
    assert_eq!(kept.count(), 2);
    let metrics = app.metrics().await;
    for kind in ["field", "source"] {
        let series = format!("athos_drift_total{{kind=\"{kind}\"}}");
        assert!(metrics.contains(&series), "{metrics}");
    }
}

#[tokio::test]
async fn events_and_codes_that_are_new_are_told_of_too() {
    let app = TestApp::start().await;
    app.faults(json!({ "unknown-fields": { "event": "call.archived" } }))
        .await;
    app.ended_call("rep_1", "agency_1").await;
    assert_eq!(app.only_event().await.state, EventState::Ignored);
    app.faults(json!({ "quota": {}, "unknown-fields": { "code": "AGENT_ON_LEAVE" } }))
        .await;
    app.mint_for("rep_1", "agency_1").await;
    let mut event = Event::unscored("call_1", "rep_1", "agency_1");
    event.0["reason"] = json!("TOO_SHORT");
    for id in ["wh_1", "wh_2"] {
        app.event(id, &event).send(&app).await.receipt("accepted");
    }
    assert_eq!(app.work().await.unscored, 2);
    let seen = drift(&app).await;
    for expected in [
        "the event call.archived (webhook) x1",
        "the code AGENT_ON_LEAVE (error) x1",
        "the code TOO_SHORT (webhook) x2",
    ] {
        assert!(
            seen.iter().any(|seen| seen == expected),
            "{expected}: {seen:?}"
        );
    }
}

#[tokio::test]
async fn hostile_names_are_neither_kept_nor_logged() {
    let server = MockServer::start().await;
    let hostile = "<script>alert('a name that is a text, and a long one')</script>";
    let mut detail: Value =
        serde_json::from_str(include_str!("../fixtures/call.external.json")).unwrap();
    detail["id"] = json!("call_1");
    detail[hostile] = json!(1);
    detail["transcript"] = json!([{ "role": hostile, "content": "Hey." }]);
    Mock::given(path(format!("{API}/calls/call_1")))
        .respond_with(ResponseTemplate::new(200).set_body_json(detail))
        .mount(&server)
        .await;
    let app = Setup::new()
        .athos(&format!("{}{API}", server.uri()))
        .start()
        .await;
    let log = Mark::here();
    let mut event = Event::scored("call_1", "rep_1", "agency_1");
    event.0["a\nsecond line"] = json!(1);
    event.0["source"] = json!(app.secrets.api_keys[0]);
    app.event("wh_1", &event)
        .send(&app)
        .await
        .receipt("accepted");
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(
        drift(&app).await,
        [
            "the field (no plain name) (call) x1",
            "the field (no plain name) (webhook) x1",
            "the role (no plain name) (transcript) x1",
            "the source (no plain name) (webhook) x1",
        ]
    );
    assert!(!log.since().contains("<script"));
    let kept = app.drift().await;
    assert!(
        kept.iter().all(|seen| seen.drift.name.starts_with('(')),
        "{kept:?}"
    );
}

#[tokio::test]
async fn a_store_that_cannot_write_gets_it_later_and_the_end_of_the_service_writes_it() {
    let mut app = TestApp::start().await;
    app.faults(json!({ "unknown-fields": {} })).await;
    app.ended_call("rep_1", "agency_1").await;
    app.refuse_drift().await;
    assert_eq!(drift(&app).await, [""; 0]);
    app.accept_drift().await;
    app.stop().await;
    assert_eq!(app.drift().await.len(), 2);
    app.leaves(crate::harness::Left {
        waiting: 1,
        dead: 0,
    });
}
