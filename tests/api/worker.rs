//! From event to call: leases, and that doing something twice, or in another order, is doing it once. When it is done
//! again is in `schedule`.

use std::time::Duration;

use athos_backend::store::{ClaimFilter, SettleResult, Settlement};
use athos_backend::worker::{LEASE, StepSummary};
use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{API, Event, Left, Setup, TestApp};

/// How an event stands.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) state: String,
    pub(crate) attempts: i64,
    /// Milliseconds from now to the next attempt.
    pub(crate) wait_ms: Option<i64>,
    pub(crate) reason: Option<String>,
}

pub(crate) async fn standing(app: &TestApp) -> Standing {
    let row = app.events().await.remove(0).row;
    let now = app.now().as_millis();
    Standing {
        state: row.state.as_str().to_owned(),
        attempts: i64::from(row.attempts),
        wait_ms: row.next_attempt_at.map(|at| at.as_millis() - now),
        reason: row.reason,
    }
}

/// A vendor that answers for one call, `call_1`, of which a webhook has come.
pub(crate) async fn detail_of(answer: ResponseTemplate) -> (MockServer, TestApp) {
    let server = MockServer::start().await;
    Mock::given(path(format!("{API}/calls/call_1")))
        .respond_with(answer)
        .mount(&server)
        .await;
    let app = Setup::new()
        .athos(&format!("{}{API}", server.uri()))
        .start()
        .await;
    let event = Event::scored("call_1", "rep_1", "agency_1");
    app.event("wh_1", &event)
        .send(&app)
        .await
        .receipt("accepted");
    (server, app)
}

#[tokio::test]
async fn what_needs_nothing_from_athos_passes_a_closed_gate() {
    let mut app = TestApp::start().await;
    app.faults(json!({ "429": { "times": 1, "retryAfterSec": 200, "on": ["call"] } }))
        .await;
    app.ended_call("rep_1", "agency_1").await;
    assert_eq!(app.step().await.retried, 1);
    app.faults(json!({ "unscored": {} })).await;
    app.ended_call("rep_2", "agency_1").await;
    app.ended_call("rep_3", "agency_1").await;
    let step = app.step().await;
    assert!(step.held);
    assert_eq!(step.unscored, 2);
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
}

#[tokio::test]
async fn the_work_of_a_worker_that_died_is_taken_up_when_its_lease_ends() {
    let app = TestApp::start().await;
    let id = app.ended_call("rep_1", "agency_1").await;
    let store = &app.service().store;
    // A worker claims the event, and is never heard of again.
    let claimed = store
        .claim_due(ClaimFilter::All, app.now(), 8, LEASE)
        .await
        .unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(standing(&app).await.state, "processing");
    app.clock.advance(LEASE - Duration::from_millis(1));
    assert_eq!(app.step().await.scored, 0, "it is still leased");
    app.clock.advance(Duration::from_millis(1));
    assert_eq!(app.step().await.scored, 1);

    // It comes back after all, and has nothing to say any more.
    let before = app.latest_rev().await;
    let dead = Settlement::Dead {
        reason: "a late worker".to_owned(),
        failure: None,
    };
    let late = store
        .settle(claimed[0].lease.clone(), dead, app.now())
        .await
        .unwrap();
    assert_eq!(late, SettleResult::LeaseLost);
    assert_eq!(standing(&app).await.state, "done");
    assert_eq!(app.call(&id).await["status"], "scored");
    assert_eq!(app.latest_rev().await, before);
}

#[tokio::test]
async fn a_lease_that_another_holds_cannot_be_settled() {
    let app = TestApp::start().await;
    let event = Event::unscored("call_1", "rep_1", "agency_1");
    app.event("wh_1", &event)
        .send(&app)
        .await
        .receipt("accepted");
    let store = &app.service().store;
    let first = store
        .claim_due(ClaimFilter::All, app.now(), 1, LEASE)
        .await
        .unwrap();
    app.clock.advance(LEASE);
    let second = store
        .claim_due(ClaimFilter::All, app.now(), 1, LEASE)
        .await
        .unwrap();
    assert_eq!(second.len(), 1);
    let retry = || Settlement::Retry {
        at: app.now(),
        reason: "r".to_owned(),
        spent: true,
        failure: None,
    };
    let late = store
        .settle(first[0].lease.clone(), retry(), app.now())
        .await
        .unwrap();
    assert_eq!(late, SettleResult::LeaseLost);
    assert_eq!(standing(&app).await.state, "processing");
    assert_eq!(standing(&app).await.attempts, 0);
    let held = store
        .settle(second[0].lease.clone(), retry(), app.now())
        .await
        .unwrap();
    assert_eq!(held, SettleResult::Yes);
    assert_eq!(app.work().await.unscored, 1);
}

#[tokio::test]
async fn two_workers_share_the_work_and_do_none_of_it_twice() {
    let app = TestApp::start().await;
    app.burst(30, &["rep_1"], "agency_1").await;
    let (one, other) = tokio::join!(app.work(), app.work());
    assert_eq!(one.scored + other.scored, 30);
    assert_eq!(one.lease_lost + other.lease_lost, 0);
    assert_eq!(app.asked("call").await, 30);
}

#[tokio::test]
async fn processing_an_event_twice_is_processing_it_once() {
    let app = TestApp::start().await;
    let id = app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    let (call, before) = (app.call(&id).await, app.latest_rev().await);
    // The same event under another id, as after a replay.
    for n in 0..3 {
        app.clock.advance(Duration::from_secs(60));
        let event = Event::scored(&id, "rep_1", "agency_1");
        let hook = app.event(&format!("wh_again_{n}"), &event);
        hook.send(&app).await.receipt("accepted");
        assert_eq!(app.work().await.scored, 1);
    }
    assert_eq!(app.call(&id).await, call);
    assert_eq!(
        app.latest_rev().await,
        before,
        "nobody is told of a change that is none"
    );
    assert_eq!(app.call_rows().await.len(), 1);
    assert_eq!(app.details().await.len(), 1);
}

#[tokio::test]
async fn scored_and_unscored_in_either_order_end_scored() {
    for unscored_first in [true, false] {
        let app = TestApp::start().await;
        app.faults(json!({ "never-send": {} })).await;
        let id = app.ended_call("rep_1", "agency_1").await;
        let mut events = [
            ("wh_u", Event::unscored(&id, "rep_1", "agency_1")),
            ("wh_s", Event::scored(&id, "rep_1", "agency_1")),
        ];
        if !unscored_first {
            events.reverse();
        }
        for (hook, event) in &events {
            app.event(hook, event).send(&app).await.receipt("accepted");
            app.work().await;
        }
        let call = app.call(&id).await;
        assert_eq!(call["status"], "scored");
        assert_eq!(call["reason"], Value::Null);
        assert_ne!(call["overallScore"], Value::Null);
    }
}

#[tokio::test]
async fn the_recordings_link_is_never_on_disk_and_fields_we_do_not_know_are() {
    let fixture: Value =
        serde_json::from_str(include_str!("../fixtures/call.roster.json")).unwrap();
    let mut detail = fixture.clone();
    detail["id"] = json!("call_1");
    detail["future"] = json!({ "audioUrl": "https://recordings.example/nested.ogg", "kept": [1] });
    let link = detail["audioUrl"].as_str().unwrap().to_owned();
    let (_server, app) = detail_of(ResponseTemplate::new(200).set_body_json(&detail)).await;
    app.keep_secret(&link);
    assert_eq!(app.step().await.scored, 1);

    let call = app.call("call_1").await;
    assert_eq!(call["rep"], "rep_8842");
    assert_eq!(call["agency"], "acme-7731");
    assert_eq!(call["compliancePercent"], 85.0);
    assert_eq!(call["transcript"][0]["role"], "rep");
    assert_eq!(call["transcript"][1]["role"], "persona");
    assert_eq!(call["score"], detail["score"], "every key of it");
    for trace in ["audioUrl", "recordings.example", "X-Amz"] {
        assert!(!app.database_holds(trace), "{trace}");
    }
    let raw = app.detail().await;
    assert_eq!(raw["future"], json!({ "kept": [1] }));
    assert_eq!(raw["waveform"], Value::Null);
    assert_eq!(raw["score"], detail["score"]);
}

#[tokio::test]
async fn a_running_worker_is_woken_by_what_arrives() {
    let app = Setup::new().with_worker().start().await;
    let mut live = app.live(&app.secrets.service, None).await;
    let id = app.ended_call("rep_1", "agency_1").await;
    loop {
        let change = live.next().await.unwrap();
        assert_eq!(change.data["id"], id);
        if change.data["status"] == "scored" {
            break;
        }
    }
    assert_eq!(
        app.step().await,
        StepSummary::default(),
        "nothing was left for us"
    );
}
