//! When an event is tried again, when it is given up, and when Athos is not asked at all.

use std::time::Duration;

use athos_backend::model::{CallStatus, EventState};
use reqwest::Method;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::harness::{Event, Left, Setup, TestApp};
use crate::worker::{detail_of, standing};

async fn readiness(app: &TestApp) -> Value {
    app.get("/readyz", &app.secrets.service).await.json()
}

#[tokio::test]
async fn an_event_is_retried_on_schedule_for_three_days_and_then_dead_with_the_reason() {
    let mut app = TestApp::start().await;
    app.faults(json!({ "down": { "on": ["call"] } })).await;
    app.ended_call("rep_1", "agency_1").await;
    let began = app.now();
    let mut schedule = vec![1, 4, 15, 60, 300];
    schedule.extend([3600; 71]);
    for (n, seconds) in schedule.into_iter().enumerate() {
        assert_eq!(app.step().await.retried, 1, "attempt {n}");
        let now = standing(&app).await;
        assert_eq!((&*now.state, now.attempts), ("pending", n as i64 + 1));
        // The delay is in the row, a fifth up or down.
        let wait = now.wait_ms.unwrap();
        assert!(
            (seconds * 800..=seconds * 1200).contains(&wait),
            "attempt {n}: {wait} ms"
        );
        assert!(now.reason.unwrap().contains("503 SERVICE_UNAVAILABLE"));
        // A moment too early nothing is done.
        app.clock
            .advance(Duration::from_millis(wait.unsigned_abs() - 1));
        assert_eq!(app.step().await.retried, 0, "attempt {n}");
        app.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(app.step().await.dead, 1);
    let dead = standing(&app).await;
    assert_eq!(
        (&*dead.state, dead.attempts, dead.wait_ms),
        ("dead", 77, None)
    );
    let reason = dead.reason.unwrap();
    assert!(reason.starts_with("Given up after 77 attempts"), "{reason}");
    let days = app.now().since(began).as_secs_f64() / 86_400.0;
    assert!((2.3..3.7).contains(&days), "{days}");
    app.leaves(Left {
        waiting: 0,
        dead: 1,
    });
}

#[tokio::test]
async fn a_retry_after_of_athos_is_kept_to() {
    let app = TestApp::start().await;
    app.faults(json!({ "429": { "times": 1, "retryAfterSec": 90, "on": ["call"] } }))
        .await;
    app.ended_call("rep_1", "agency_1").await;
    assert_eq!(app.step().await.retried, 1);
    assert_eq!(standing(&app).await.wait_ms, Some(90_000));
    // It concerns all calls: nobody else is fetched in the meantime.
    app.ended_call("rep_2", "agency_1").await;
    app.clock.advance(Duration::from_millis(89_999));
    assert!(app.step().await.held);
    assert_eq!(app.asked("call").await, 1);
    app.clock.advance(Duration::from_millis(1));
    assert_eq!(app.work().await.scored, 2);
}

#[tokio::test]
async fn what_trying_again_cannot_help_is_dead_at_once_in_words() {
    let error =
        json!({ "error": { "code": "GONE_FOR_GOOD", "message": "No.", "requestId": "req_7" } });
    for (answer, words) in [
        (
            ResponseTemplate::new(410).set_body_json(error),
            "410 GONE_FOR_GOOD: No. (Athos request req_7)",
        ),
        (
            ResponseTemplate::new(200).set_body_bytes(vec![b' '; 9 * 1024 * 1024]),
            "more than 8388608 bytes",
        ),
    ] {
        let (_server, mut app) = detail_of(answer).await;
        assert_eq!(app.step().await.dead, 1);
        let dead = standing(&app).await;
        let reason = dead.reason.unwrap();
        assert!(reason.contains(words), "{reason}");
        assert_eq!(dead.attempts, 1);
        // The call stays visible.
        assert_eq!(app.call("call_1").await["status"], "processing");
        app.leaves(Left {
            waiting: 0,
            dead: 1,
        });
    }
}

#[tokio::test]
async fn what_is_not_the_calls_detail_is_tried_again() {
    let other = json!({ "id": "call_2", "source": "roleplay", "score": { "overallScore": 1 } });
    for answer in [
        ResponseTemplate::new(200).set_body_string("<html>a proxy's page</html>"),
        ResponseTemplate::new(200).set_body_json(other),
        ResponseTemplate::new(200).set_body_json(json!([])),
        ResponseTemplate::new(302).insert_header("location", "/elsewhere"),
        ResponseTemplate::new(408),
        ResponseTemplate::new(502).set_body_string("<html>bad gateway</html>"),
    ] {
        let (_server, mut app) = detail_of(answer).await;
        assert_eq!(app.step().await.retried, 1);
        assert_eq!(standing(&app).await.attempts, 1);
        assert_eq!(app.call("call_1").await["status"], "processing");
        assert_eq!(app.call_rows().await.len(), 1);
        app.leaves(Left {
            waiting: 1,
            dead: 0,
        });
    }
}

#[tokio::test]
async fn a_refused_key_pauses_fetching_spends_no_attempt_and_goes_on_when_a_key_works() {
    let app = TestApp::start().await;
    let first = app.ended_call("rep_1", "agency_1").await;
    app.faults(json!({ "key-revoked": {} })).await;
    assert_eq!(app.step().await.retried, 1);
    let asked = app.asked("call").await;
    assert_eq!(asked, 2, "both keys were tried");

    // Events still come in and are shown; nothing is asked of Athos.
    let second = app.burst(1, &["rep_2"], "agency_1").await.remove(0);
    assert!(app.step().await.held);
    assert_eq!(app.call(&second).await["status"], "processing");
    assert_eq!(app.asked("call").await, asked);
    let degraded = readiness(&app).await;
    assert_eq!(degraded["status"], "degraded");
    assert_eq!(degraded["store"], "ok");
    assert_eq!(degraded["athos"]["status"], "failing");
    assert_eq!(degraded["athos"]["paused"]["cause"], "key_refused");
    let why = degraded["athos"]["paused"]["reason"].as_str().unwrap();
    assert!(why.contains("API_KEY_REVOKED"), "{why}");

    // Days of it spend nothing; one request at a time looks whether things are better.
    for _ in 0..200 {
        app.clock.set(
            app.service()
                .worker
                .circuit_breaker()
                .outage()
                .unwrap()
                .until,
        );
        let did = app.step().await;
        assert!(did.retried <= 1 && did.dead == 0, "{did:?}");
    }
    let events = app.event_rows().await;
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!((event.state, event.attempts), (EventState::Pending, 0));
    }

    app.faults(json!({})).await;
    let mut scored = 0;
    for _ in 0..5 {
        app.clock.advance(Duration::from_secs(300));
        scored += app.work().await.scored;
    }
    assert_eq!(scored, 2);
    for id in [first, second] {
        assert_eq!(app.call(&id).await["status"], "scored");
    }
    assert_eq!(app.service().worker.circuit_breaker().outage(), None);
}

#[tokio::test]
async fn without_an_api_key_events_wait_and_nothing_is_spent() {
    let mut app = Setup::new().without_api_keys().start().await;
    let event = Event::scored("call_1", "rep_1", "agency_1");
    app.event("wh_1", &event)
        .send(&app)
        .await
        .receipt("accepted");
    app.step().await;
    assert_eq!(standing(&app).await.attempts, 0);
    assert_eq!(app.call("call_1").await["status"], "processing");
    assert_eq!(readiness(&app).await["status"], "degraded");
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
}

async fn calls_in(app: &TestApp, status: CallStatus) -> usize {
    let calls = app.call_rows().await.into_iter();
    calls.filter(|call| call.status == status).count()
}

#[tokio::test]
async fn a_vendor_that_is_down_is_asked_now_and_then_and_not_for_each_event() {
    let app = TestApp::start().await;
    app.faults(json!({ "down": { "on": ["call"] } })).await;
    app.burst(40, &["rep_1"], "agency_1").await;
    app.step().await;
    let asked = app.asked("call").await;
    assert!(asked <= 32, "{asked}: as many as are fetched at a time");
    assert!(app.step().await.held);
    assert_eq!(
        readiness(&app).await["athos"]["paused"]["cause"],
        "athos_down"
    );
    // Webhooks are received all the same: not a reason to be taken out of traffic.
    assert_eq!(
        app.send(app.request(Method::GET, "/readyz")).await.status,
        200
    );
    for _ in 0..5 {
        app.clock.advance(Duration::from_secs(60));
        app.step().await;
    }
    assert_eq!(app.asked("call").await, asked + 5, "one at a time");
    assert_eq!(calls_in(&app, CallStatus::Processing).await, 40);

    app.faults(json!({})).await;
    app.clock.advance(Duration::from_secs(3600 * 2));
    assert_eq!(app.work().await.scored, 40);
    assert_eq!(calls_in(&app, CallStatus::Scored).await, 40);
}
