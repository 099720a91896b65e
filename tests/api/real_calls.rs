//! Calls with real customers: listed by their start, by a list of their own, and kept apart from practice.

use std::time::Duration;

use athos_backend::model::{Source, Timestamp};
use athos_backend::worker::reconcile::{Reconciler, RunOutcome, RunStats};
use reqwest::Method;
use serde_json::{Value, json};
use wiremock::matchers::{path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{API, Left, Setup, TestApp};
use crate::log::Mark;
use crate::scores::{fetched, scored};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn of(app: &TestApp, source: Source) -> &Reconciler {
    let mut all = app.service().reconcilers.iter();
    all.find(|reconciler| reconciler.source() == source)
        .unwrap()
}

async fn run(app: &TestApp, source: Source) -> RunStats {
    match of(app, source).run_once().await.unwrap() {
        RunOutcome::Completed(tally) => tally,
        other => panic!("{other:?}"),
    }
}

fn real_call(id: &str, started_at: Timestamp, lasted: Duration) -> Value {
    let ended_at = started_at.plus(lasted);
    json!({
        "id": id, "source": "real_call",
        "agentId": "athos_agent_1", "agencyId": "athos_agency_1",
        "platformAgentId": "rep_1", "platformAgencyId": "agency_1",
        "drillKey": null, "startedAt": started_at, "endedAt": ended_at,
        "durationSec": lasted.as_secs(), "scoredAt": ended_at.plus(Duration::from_secs(60)),
    })
}

/// What the vendor lists of a source, whatever the window.
async fn lists(server: &MockServer, source: &str, calls: &[Value]) {
    let page = json!({ "data": calls, "nextCursor": null });
    Mock::given(path(format!("{API}/calls")))
        .and(query_param("source", source))
        .respond_with(ResponseTemplate::new(200).set_body_json(page))
        .mount(server)
        .await;
}

async fn refuses(server: &MockServer, source: &str, status: u16, code: &str) {
    let error = json!({ "error": {
        "code": code, "message": "source must be roleplay.", "requestId": "req_1",
    } });
    Mock::given(path(format!("{API}/calls")))
        .and(query_param("source", source))
        .respond_with(ResponseTemplate::new(status).set_body_json(error))
        .mount(server)
        .await;
}

async fn of_both_sources(server: &MockServer) -> TestApp {
    Setup::new()
        .athos(&format!("{}{API}", server.uri()))
        .flag("sources", "roleplay,real_call")
        .start()
        .await
}

/// Both sources, of the simulator in generation `roster`.
async fn of_the_simulator() -> TestApp {
    let app = Setup::new()
        .flag("sources", "roleplay,real_call")
        .start()
        .await;
    speak(&app, "roster").await;
    app
}

async fn speak(app: &TestApp, contract: &str) {
    let body = json!({ "contract": contract });
    app.simulate(Method::PUT, "/_simulator/contract", body)
        .await;
}

/// Has the simulator hear a real call, which ends now unless it is told when it began; its id.
async fn hear(app: &TestApp, how: Value) -> String {
    let heard = app
        .simulate(Method::POST, "/_simulator/real-calls", how)
        .await;
    app.delivered().await;
    heard["callIds"][0].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_source_is_read_in_a_window_of_its_own() {
    let app = of_the_simulator().await;
    let began = app.now();
    let from = async |source| run(&app, source).await.window.from;
    assert_eq!(from(Source::Roleplay).await, began.minus(2 * HOUR));
    // The overlap covers the longest call before what it covers of the scoring.
    assert_eq!(from(Source::RealCall).await, began.minus(6 * HOUR));
    // Either goes on from where its own list had got to.
    hear(&app, json!({ "agent": "rep_1", "durationSec": 60 })).await;
    app.work().await;
    app.clock.advance(HOUR);
    run(&app, Source::RealCall).await;
    let place = began.minus(Duration::from_secs(60));
    assert_eq!(from(Source::RealCall).await, place.minus(6 * HOUR));
    assert_eq!(from(Source::Roleplay).await, began.minus(2 * HOUR));
}

#[tokio::test]
async fn a_long_call_that_began_hours_ago_and_was_scored_just_now_is_found() {
    let app = of_the_simulator().await;
    let began = app.now();
    app.clock.advance(4 * HOUR + HOUR / 2);
    // A later call has moved the list on, past the start of the one that is still to be scored.
    let told = hear(&app, json!({ "agent": "rep_1", "durationSec": 60 })).await;
    app.work().await;
    assert_eq!(run(&app, Source::RealCall).await.repaired, 0);
    app.faults(json!({ "never-send": {} })).await;
    let seconds = (4 * HOUR).as_secs();
    let how = json!({ "agent": "rep_1", "startedAt": began, "durationSec": seconds });
    let lost = hear(&app, how).await;
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(
        run(&app, Source::Roleplay).await.seen,
        0,
        "it is not practice"
    );
    let tally = run(&app, Source::RealCall).await;
    assert_eq!((tally.seen, tally.repaired), (2, 1));
    assert_eq!(app.work().await.scored, 1);
    for id in [lost, told] {
        let call = app.call(&id).await;
        assert_eq!(call["source"], "real_call");
        assert_eq!(call["status"], "scored");
        assert_eq!(call["rep"], "rep_1");
    }
}

#[tokio::test]
async fn a_vendor_without_real_calls_is_said_once_and_does_not_disturb_practice() {
    let app = of_the_simulator().await;
    speak(&app, "external").await;
    let log = Mark::here();
    for _ in 0..3 {
        let ended = of(&app, Source::RealCall).run_once().await.unwrap();
        let RunOutcome::Refused(reason) = ended else {
            panic!("{ended:?}");
        };
        assert!(reason.contains("take it out of SOURCES"), "{reason}");
        assert!(reason.contains("INVALID_REQUEST"), "{reason}");
        run(&app, Source::Roleplay).await;
        app.clock.advance(5 * Duration::from_secs(60));
    }
    let said = log.since();
    assert_eq!(said.matches("is not reconciled").count(), 1, "{said}");
    // The record of each run says it too, and fetching goes on.
    let runs = app.runs().await.into_iter();
    let of_real_calls = runs.filter(|run| run.source == "real_call");
    let refused = of_real_calls.filter(|run| run.error.as_ref().unwrap().contains("SOURCES"));
    assert_eq!(refused.count(), 3);
    let ready = app.send(app.request(Method::GET, "/readyz")).await.json();
    assert!(ready["athos"]["paused"].is_null(), "{ready}");

    // The account moves to the newer generation: what happened since the first run is looked at.
    speak(&app, "roster").await;
    let tally = run(&app, Source::RealCall).await;
    assert_eq!(
        app.now().since(tally.window.from),
        6 * HOUR + Duration::from_secs(15 * 60)
    );
}

#[tokio::test]
async fn the_failure_of_one_source_does_not_stop_the_other() {
    let server = MockServer::start().await;
    refuses(&server, "roleplay", 500, "INTERNAL_ERROR").await;
    let app = of_both_sources(&server).await;
    lists(
        &server,
        "real_call",
        &[real_call("call_1", app.now().minus(HOUR), HOUR / 2)],
    )
    .await;
    let ended = of(&app, Source::Roleplay).run_once().await.unwrap();
    assert!(matches!(ended, RunOutcome::Failed(..)), "{ended:?}");
    assert_eq!(run(&app, Source::RealCall).await.repaired, 1);
    let mut app = app;
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
}

#[tokio::test]
async fn a_webhook_about_a_real_call_is_taken_whatever_sources_says() {
    let app = TestApp::start().await;
    assert_eq!(app.service().reconcilers.len(), 1);
    let event = json!({
        "event": "call.scored", "success": false, "callId": "call_1", "source": "real_call",
        "agentId": "athos_agent_1", "agencyId": "athos_agency_1",
        "platformAgentId": "rep_1", "platformAgencyId": "agency_1",
        "occurredAt": app.now(), "requestId": "req_1", "reason": "SCORING_INCOMPLETE",
    });
    let sent = app.hook(event.to_string()).id("wh_1").send(&app).await;
    sent.receipt("accepted");
    assert_eq!(app.work().await.unscored, 1);
    assert_eq!(app.call("call_1").await["source"], "real_call");
}

/// A real call of the rep's, as the vendor shows it once it is scored.
fn real_detail(id: &str, score: &Value) -> Value {
    let mut detail = scored(id, score);
    detail["source"] = json!("real_call");
    detail["drillKey"] = Value::Null;
    detail["transcript"] = json!([
        { "role": "agent", "content": "Good morning.", "startTime": 0, "endTime": 1.25 },
        { "role": "beneficiary", "content": "Who is this?", "startTime": 1.5, "endTime": 3 },
    ]);
    detail
}

#[tokio::test]
async fn real_calls_and_practice_are_apart_in_lists_and_in_progress() {
    let (_server, app) = fetched(&[
        scored("call_p", &json!({ "overallScore": 40 })),
        real_detail(
            "call_1",
            &json!({ "overallScore": 90, "compliancePercent": 70 }),
        ),
        real_detail(
            "call_2",
            &json!({ "overallScore": 0, "compliancePercent": 50 }),
        ),
        real_detail("call_3", &json!({ "overallScore": 60 })),
    ])
    .await;
    let rep = app.rep("rep_8842", "acme-7731");
    let get = async |path: &str| app.get(path, &rep).await.expect(200).json();
    let of = async |query: &str| {
        let list = get(&format!("/athos/calls{query}")).await;
        let rows = list["data"].as_array().unwrap().clone();
        let ids = rows
            .iter()
            .map(|row| row["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(of("?source=roleplay").await, ["call_p"]);
    assert_eq!(
        of("?source=real_call").await,
        ["call_3", "call_2", "call_1"]
    );
    assert_eq!(of("").await.len(), 4);

    let practice = get("/athos/progress").await;
    assert_eq!(practice, get("/athos/progress?source=roleplay").await);
    let [drill] = &practice["data"].as_array().unwrap()[..] else {
        panic!("{practice}");
    };
    assert_eq!(
        (&drill["source"], &drill["mean"]),
        (&json!("roleplay"), &json!(40))
    );
    let real = get("/athos/progress?source=real_call").await;
    let [group] = &real["data"].as_array().unwrap()[..] else {
        panic!("{real}");
    };
    assert_eq!(group["source"], "real_call");
    assert!(group["drillKey"].is_null());
    // The call without a headline score counts for compliance only.
    assert_eq!((&group["count"], &group["mean"]), (&json!(2), &json!(75)));
    assert_eq!((&group["best"], &group["last"]), (&json!(90), &json!(60)));
    assert_eq!(group["points"].as_array().unwrap().len(), 2);
    assert_eq!(group["complianceMean"], 60);
}

#[tokio::test]
async fn a_real_call_has_times_in_its_transcript_and_no_score_is_not_zero() {
    let score = json!({ "overallScore": 0, "summary": "", "feedback": "" });
    let (_server, app) = fetched(&[real_detail("call_1", &score)]).await;
    let call = app.call("call_1").await;
    assert!(call["overallScore"].is_null(), "{call}");
    assert_eq!(call["score"], score, "as Athos gave it");
    let expected = json!([
        { "role": "rep", "content": "Good morning.", "startTime": 0, "endTime": 1.25 },
        { "role": "persona", "content": "Who is this?", "startTime": 1.5, "endTime": 3 },
    ]);
    assert_eq!(call["transcript"].to_string(), expected.to_string());
    // Nor on the stream, nor as progress.
    let mut live = app.live(&app.secrets.service, Some(0)).await;
    let event = live.next().await.unwrap();
    assert!(event.data["overallScore"].is_null());
    let progress = app
        .get("/athos/progress?source=real_call", &app.secrets.service)
        .await;
    assert_eq!(progress.expect(200).json(), json!({ "data": [] }));
}
