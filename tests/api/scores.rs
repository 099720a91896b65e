//! What a score says and does not say: no headline, not assessed, zero; and the recording behind it.

use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{API, Answer, Event, Setup, TestApp};
use crate::log::Mark;

const ROSTER: &str = include_str!("../fixtures/call.roster.json");
const EXTERNAL: &str = include_str!("../fixtures/call.external.json");

pub(crate) async fn answers(server: &MockServer, detail: &Value) {
    let id = detail["id"].as_str().unwrap();
    Mock::given(path(format!("{API}/calls/{id}")))
        .respond_with(ResponseTemplate::new(200).set_body_json(detail))
        .mount(server)
        .await;
}

/// A service that has fetched these details. Of the recorded ones each ends a second after the one before it: which of two
/// calls that ended together comes first, nothing says.
pub(crate) async fn fetched(details: &[Value]) -> (MockServer, TestApp) {
    let server = MockServer::start().await;
    let app = Setup::new()
        .athos(&format!("{}{API}", server.uri()))
        .start()
        .await;
    let recorded: Value = serde_json::from_str(ROSTER).unwrap();
    for (number, detail) in details.iter().enumerate() {
        let mut detail = detail.clone();
        if detail["endedAt"] == recorded["endedAt"] {
            detail["endedAt"] = json!(format!("2026-06-05T14:50:{number:02}.000Z"));
        }
        answers(&server, &detail).await;
        let id = detail["id"].as_str().unwrap();
        let event = Event::scored(id, "rep_8842", "acme-7731");
        let sent = app.event(&format!("wh_{id}"), &event).send(&app).await;
        sent.receipt("accepted");
    }
    assert_eq!(app.work().await.scored, details.len());
    (server, app)
}

/// The recorded call of generation `roster`, with another id and score.
pub(crate) fn scored(id: &str, score: &Value) -> Value {
    let mut detail: Value = serde_json::from_str(ROSTER).unwrap();
    detail["id"] = json!(id);
    detail["score"] = score.clone();
    detail
}

#[tokio::test]
async fn recorded_calls_of_both_generations_reach_the_reader_whole() {
    let webhooks = [
        include_str!("../fixtures/webhook.external.scored.json"),
        include_str!("../fixtures/webhook.roster.scored.json"),
    ];
    for (webhook, recorded) in webhooks.into_iter().zip([EXTERNAL, ROSTER]) {
        let sent: Value = serde_json::from_str(recorded).unwrap();
        let id = sent["id"].as_str().unwrap();
        let (server, app) = fetched(&[]).await;
        answers(&server, &sent).await;
        app.hook(webhook)
            .id("wh_1")
            .send(&app)
            .await
            .receipt("accepted");
        assert_eq!(app.work().await.scored, 1);
        let seen = app.call(id).await;
        assert_eq!(seen["score"], sent["score"], "every key of it");
        assert_eq!(seen["rep"], "rep_8842");
        for same in [
            "source",
            "drillKey",
            "startedAt",
            "endedAt",
            "durationSec",
            "scoredAt",
        ] {
            assert_eq!(seen[same], sent[same], "{same}");
        }
        let said = |call: &Value| -> Vec<String> {
            let turns = call["transcript"].as_array().unwrap().iter();
            turns
                .map(|turn| turn["content"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(said(&seen), said(&sent));
    }
}

#[tokio::test]
async fn a_recorded_failure_reaches_the_reader_with_its_reason() {
    let recorded = include_str!("../fixtures/webhook.external.failed.json");
    let said: Value = serde_json::from_str(recorded).unwrap();
    let app = TestApp::start().await;
    app.hook(recorded)
        .id("wh_1")
        .send(&app)
        .await
        .receipt("accepted");
    assert_eq!(app.work().await.unscored, 1);
    let seen = app.call(said["callId"].as_str().unwrap()).await;
    assert_eq!(seen["status"], "unscored");
    for same in ["source", "reason", "reasonMessage"] {
        assert_eq!(seen[same], said[same], "{same}");
    }
    assert_eq!(
        (&seen["rep"], &seen["agency"]),
        (&json!("rep_8842"), &Value::Null)
    );
}

#[tokio::test]
async fn a_score_reads_the_same_in_a_list_and_in_athos_own_words() {
    let score = json!({
        "overallScore": 61, "summary": "", "feedback": "", "compliancePercent": 85.5,
        "complianceScorecard": { "callOpening": { "score": 3, "of": 4 }, "pitch": null },
        "empathy": { "ofTomorrow": [1, 2.5] },
    });
    let (_server, app) = fetched(&[scored("call_1", &score)]).await;
    let service = app.secrets.service.clone();
    let list = app.get("/athos/calls", &service).await.expect(200).text();
    let one = app.get("/athos/calls/call_1", &service).await.expect(200);
    for text in [&list, &one.text()] {
        assert!(
            text.contains(r#""overallScore":61,"compliancePercent":85.5"#),
            "{text}"
        );
    }
    assert_eq!(one.json()["score"], score);
    let progress = app
        .get("/athos/progress", &service)
        .await
        .expect(200)
        .text();
    assert!(
        progress.contains(r#""mean":61,"best":61,"last":61,"#),
        "{progress}"
    );
    assert!(progress.contains(r#""score":61}"#), "{progress}");
}

#[tokio::test]
async fn what_was_not_assessed_is_null_and_counts_nowhere() {
    let (_server, app) = fetched(&[
        scored("call_1", &json!({ "overallScore": 0 })),
        scored(
            "call_2",
            &json!({ "overallScore": 80, "compliancePercent": 0 }),
        ),
        scored(
            "call_3",
            &json!({ "overallScore": 70, "compliancePercent": 90 }),
        ),
        scored("call_4", &json!({ "overallScore": 0 })),
    ])
    .await;
    // A practice call's 0 is passed on as Athos gives it, and is no headline score.
    assert_eq!(app.call("call_1").await["overallScore"], 0);
    assert!(app.call("call_1").await["compliancePercent"].is_null());
    assert_eq!(app.call("call_2").await["compliancePercent"], 0);
    let progress = app.get("/athos/progress", &app.secrets.service).await;
    let drill = &progress.expect(200).json()["data"][0];
    assert_eq!(drill["count"], 2);
    assert_eq!(drill["mean"], 75);
    assert_eq!((&drill["best"], &drill["last"]), (&json!(80), &json!(70)));
    assert_eq!(drill["points"].as_array().unwrap().len(), 2);
    assert_eq!(drill["complianceCount"], 2);
    assert_eq!(drill["complianceMean"], 45);
}

#[tokio::test]
async fn a_rep_without_any_headline_score_has_no_progress_yet() {
    let (_server, app) = fetched(&[scored("call_1", &json!({ "overallScore": 0 }))]).await;
    assert_eq!(app.call("call_1").await["overallScore"], 0);
    let progress = app.get("/athos/progress", &app.secrets.service).await;
    assert_eq!(progress.expect(200).json(), json!({ "data": [] }));
}

async fn recording(app: &TestApp, id: &str) -> Answer {
    let path = format!("/athos/calls/{id}/recording");
    app.get(&path, &app.rep("rep_8842", "acme-7731")).await
}

#[tokio::test]
async fn a_recording_is_asked_for_anew_each_time_and_only_for_those_who_may_hear_it() {
    let mut detail: Value = serde_json::from_str(ROSTER).unwrap();
    detail["id"] = json!("call_1");
    let (server, app) = fetched(&[detail.clone()]).await;
    assert_eq!(app.call("call_1").await["hasRecording"], true);
    // Links expire; nobody is sent to one of before.
    for number in 1..=2 {
        server.reset().await;
        let link = format!("https://recordings.example/call_1.ogg?X-Amz-Signature={number}");
        detail["audioUrl"] = json!(link);
        answers(&server, &detail).await;
        let sent = recording(&app, "call_1").await.expect(302);
        assert_eq!(sent.header("location"), link);
        assert_eq!(sent.header("cache-control"), "no-store");
    }
    let path = "/athos/calls/call_1/recording";
    let other = app.get(path, &app.rep("rep_2", "acme-7731")).await;
    other.refused(404, "CALL_NOT_FOUND");
    // It has been deleted at Athos, or the whole call has.
    detail["audioUrl"] = Value::Null;
    server.reset().await;
    answers(&server, &detail).await;
    recording(&app, "call_1")
        .await
        .refused(404, "RECORDING_NOT_AVAILABLE");
    server.reset().await;
    recording(&app, "call_1")
        .await
        .refused(404, "RECORDING_NOT_AVAILABLE");
}

#[tokio::test]
async fn whoever_asks_for_recordings_without_end_is_held_back_and_others_are_not() {
    let mut detail: Value = serde_json::from_str(ROSTER).unwrap();
    detail["id"] = json!("call_1");
    let (server, app) = fetched(&[detail]).await;
    let before = server.received_requests().await.unwrap().len();
    let mut played = 0;
    let refused = loop {
        let answer = recording(&app, "call_1").await;
        if answer.status != 302 {
            break answer;
        }
        played += 1;
        // A place comes back every three seconds.
        assert!(played < 100, "there is no limit");
    };
    assert!(played >= 20, "{played}");
    let refused = refused.refused(429, "RATE_LIMITED");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    let asked = server.received_requests().await.unwrap().len() - before;
    assert_eq!(asked, played, "a refusal asks nothing of Athos");
    let path = "/athos/calls/call_1/recording";
    app.get(path, &app.admin()).await.expect(302);
    app.get(path, &app.secrets.service).await.expect(302);
}

#[tokio::test]
async fn only_https_links_are_followed_unless_the_vendor_itself_is_reached_over_plain_http() {
    let mut detail: Value = serde_json::from_str(ROSTER).unwrap();
    detail["id"] = json!("call_1");
    let (server, app) = fetched(&[detail.clone()]).await;
    let own = format!("{}/_simulator/recordings/call_1.wav", server.uri());
    let links = [
        ("http://recordings.example/call_1.ogg", false),
        ("javascript:alert(1)", false),
        ("//recordings.example/call_1.ogg", false),
        ("call_1.ogg", false),
        (&*own, true),
    ];
    for (link, may_follow) in links {
        server.reset().await;
        detail["audioUrl"] = json!(link);
        answers(&server, &detail).await;
        let log = Mark::here();
        let sent = recording(&app, "call_1").await;
        let said = log.since();
        assert_eq!(
            said.contains("it is not https"),
            !may_follow,
            "{link}: {said}"
        );
        assert!(!said.contains(link), "{said}");
        if may_follow {
            assert_eq!(sent.expect(302).header("location"), link);
        } else {
            sent.refused(404, "RECORDING_NOT_AVAILABLE");
        }
    }
}
