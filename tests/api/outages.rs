//! Whose fault a failure is: calls that fail for reasons of their own delay no other, and an outage spends no event.

use std::time::Duration;

use athos_backend::model::{CallStatus, EventState};
use athos_backend::worker::reconcile::RunOutcome;
use serde_json::{Value, json};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::harness::{API, Event, Left, Setup, TestApp};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A vendor whose details are as they should be, but for calls that are named after another answer.
async fn vendor() -> (MockServer, TestApp) {
    let server = MockServer::start().await;
    let answer = |request: &Request| {
        let id = request.url.path().rsplit('/').next().unwrap().to_owned();
        let error = |status: u16, code: &str| {
            let error = json!({ "code": code, "message": "No.", "requestId": "r" });
            ResponseTemplate::new(status).set_body_json(json!({ "error": error }))
        };
        match id.split('_').next().unwrap() {
            "good" => ResponseTemplate::new(200).set_body_json(json!({
                "id": id, "source": "roleplay", "score": { "overallScore": 80 }, "transcript": [],
            })),
            "unreadable" => ResponseTemplate::new(200).set_body_string("{\"id\": <oops>"),
            "other" => ResponseTemplate::new(200).set_body_json(json!({ "id": "another" })),
            "forbidden" => error(403, "CALL_FORBIDDEN"),
            "busy" => error(503, "BUSY").insert_header("retry-after", "60"),
            status => error(status.parse().unwrap(), "INTERNAL_ERROR"),
        }
    };
    Mock::given(method("GET"))
        .and(path_regex(format!("^{API}/calls/")))
        .respond_with(answer)
        .mount(&server)
        .await;
    let app = Setup::new()
        .athos(&format!("{}{API}", server.uri()))
        .start()
        .await;
    (server, app)
}

async fn webhook(app: &TestApp, call: &str) {
    let event = Event::scored(call, "rep_1", "agency_1");
    let id = format!("wh_{call}");
    app.event(&id, &event).send(app).await.receipt("accepted");
}

async fn webhooks(app: &TestApp, kind: &str, calls: std::ops::Range<usize>) {
    for n in calls {
        webhook(app, &format!("{kind}_{n}")).await;
    }
}

async fn scored(app: &TestApp) -> usize {
    let calls = app.call_rows().await.into_iter();
    calls
        .filter(|call| call.status == CallStatus::Scored)
        .count()
}

async fn attempts_spent(app: &TestApp) -> u32 {
    let events = app.event_rows().await;
    events.iter().map(|event| event.attempts).sum()
}

#[tokio::test]
async fn calls_that_fail_for_themselves_delay_no_good_one_at_any_time() {
    for (kind, bad) in [
        ("unreadable", 8),
        ("other", 8),
        ("500", 20),
        ("502", 20),
        ("504", 20),
        ("busy", 20),
        ("forbidden", 3),
        ("404", 20),
    ] {
        // Before, among, and after the good ones; time stands still.
        let (_server, app) = vendor().await;
        webhooks(&app, "good", 0..1).await;
        webhooks(&app, kind, 0..bad / 2).await;
        webhooks(&app, "good", 1..4).await;
        webhooks(&app, kind, bad / 2..bad).await;
        app.work().await;
        assert_eq!(scored(&app).await, 4, "{kind}");
        webhooks(&app, "good", 4..5).await;
        app.work().await;
        assert_eq!(scored(&app).await, 5, "{kind}");
        // While the others are tried again, for days.
        let mut good = 5;
        let days = kind == "500";
        for _ in 0..if days { 80 } else { 5 } {
            // Longer than any delay.
            app.clock.advance(HOUR * 5 / 4);
            app.work().await;
            webhooks(&app, "good", good..good + 1).await;
            good += 1;
            assert!(!app.work().await.held, "{kind}");
            assert_eq!(scored(&app).await, good, "{kind}");
            assert_eq!(
                app.service().worker.circuit_breaker().outage(),
                None,
                "{kind}"
            );
        }
        let events = app.event_rows().await;
        let dead = events
            .iter()
            .filter(|event| event.state == EventState::Dead)
            .count() as i64;
        if days {
            assert_eq!(dead, bad as i64);
        }
        let mut app = app;
        app.leaves(Left {
            waiting: bad as i64 - dead,
            dead,
        });
    }
}

#[tokio::test]
async fn a_good_call_after_nothing_but_bad_ones_is_scored_at_once() {
    for (kind, bad) in [("unreadable", 8), ("500", 20), ("504", 39)] {
        let (_server, mut app) = vendor().await;
        webhooks(&app, kind, 0..bad).await;
        app.work().await;
        webhooks(&app, "good", 0..1).await;
        app.work().await;
        assert_eq!(scored(&app).await, 1, "{kind}");
        // Nothing has been fetched for longer than anything is waited for.
        for _ in 0..5 {
            app.clock.advance(HOUR);
            app.work().await;
        }
        webhooks(&app, "good", 1..2).await;
        app.work().await;
        assert_eq!(scored(&app).await, 2, "{kind}");
        app.leaves(Left {
            waiting: bad as i64,
            dead: 0,
        });
    }
    // However many they are, it is a matter of a second.
    let (_server, mut app) = vendor().await;
    webhooks(&app, "500", 0..100).await;
    app.work().await;
    webhooks(&app, "good", 0..1).await;
    app.clock.advance(SECOND);
    app.work().await;
    assert_eq!(scored(&app).await, 1);
    app.leaves(Left {
        waiting: 100,
        dead: 0,
    });
}

#[tokio::test]
async fn one_call_that_asks_to_wait_again_and_again_holds_the_others_once() {
    let (_server, mut app) = vendor().await;
    webhooks(&app, "good", 0..1).await;
    webhooks(&app, "busy", 0..1).await;
    app.work().await;
    app.clock.advance(60 * SECOND);
    webhooks(&app, "good", 1..2).await;
    app.work().await;
    for n in 2..8 {
        app.clock.advance(HOUR);
        app.work().await;
        webhooks(&app, "good", n..n + 1).await;
        assert!(!app.work().await.held);
        assert_eq!(scored(&app).await, n + 1);
    }
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
}

/// Calls that are fetched at the same time.
const AT_A_TIME: u32 = 32;

#[tokio::test]
async fn an_outage_of_days_spends_hardly_an_attempt_and_ends_with_every_call_scored() {
    for fault in [
        json!({ "500-then-ok": { "times": 1_000_000, "on": ["call"] } }),
        json!({ "down": { "on": ["call"] } }),
        json!({ "down": { "how": "hangup", "on": ["call"] } }),
    ] {
        let app = TestApp::start().await;
        app.faults(fault.clone()).await;
        app.burst(40, &["rep_1"], "agency_1").await;
        for _ in 0..200 {
            app.work().await;
            app.clock.advance(Duration::from_secs(1800));
        }
        let spent = attempts_spent(&app).await;
        assert!(spent <= AT_A_TIME, "{fault}: {spent}");
        // Each call once, to see whether it is the calls' own fault, and then one at a time.
        let asked = app.asked("call").await;
        assert!(asked <= u64::from(AT_A_TIME) + 40 + 200, "{fault}: {asked}");
        // What the breaker knew is gone after a restart; the outage is not.
        let mut app = app;
        app.stop().await;
        app.start_again().await;
        for _ in 0..50 {
            app.work().await;
            app.clock.advance(Duration::from_secs(1800));
        }
        let spent = attempts_spent(&app).await;
        assert!(spent <= 2 * AT_A_TIME, "{fault}: {spent}");
        app.faults(json!({})).await;
        app.clock.advance(2 * HOUR);
        app.work().await;
        assert_eq!(scored(&app).await, 40, "{fault}");
    }
}

#[tokio::test]
async fn lists_that_fail_hold_no_fetch_and_fetches_that_fail_hold_no_list() {
    let app = TestApp::start().await;
    for fault in [
        json!({ "down": { "on": ["calls"] } }),
        json!({ "500-then-ok": { "times": 1000, "on": ["calls"] } }),
        json!({ "down": { "how": "hangup", "on": ["calls"] } }),
    ] {
        app.faults(fault).await;
        for _ in 0..8 {
            let ended = app.reconciler().run_once().await.unwrap();
            assert!(matches!(ended, RunOutcome::Failed(..)), "{ended:?}");
        }
        app.ended_call("rep_1", "agency_1").await;
        assert_eq!(app.work().await.scored, 1);
    }
    app.faults(json!({ "down": { "on": ["call"] } })).await;
    app.burst(8, &["rep_1"], "agency_1").await;
    app.work().await;
    assert_eq!(ready(&app).await["athos"]["status"], "failing");
    let ended = app.reconciler().run_once().await.unwrap();
    assert!(matches!(ended, RunOutcome::Completed(_)), "{ended:?}");
    assert_eq!(
        ready(&app).await["athos"]["status"],
        "failing",
        "a list says nothing of calls"
    );
    app.mint_for("rep_2", "agency_1").await.expect(200);
    app.faults(json!({})).await;
    app.clock.advance(60 * SECOND);
    assert_eq!(app.work().await.scored, 8);
    assert_eq!(ready(&app).await["athos"]["status"], "ok");
}

async fn ready(app: &TestApp) -> Value {
    let request = app.request(reqwest::Method::GET, "/readyz");
    app.send(request).await.json()
}
