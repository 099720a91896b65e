//! Clocks that are wrong, and are put right: whatever was written meanwhile, nothing is lost, nothing waits longer than
//! it would have, nobody is asked in a loop.

use std::time::Duration;

use athos_backend::store::{ClaimFilter, Origin};
use athos_backend::worker::LEASE;
use athos_backend::worker::reconcile::RunOutcome;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Event, Setup, TestApp};
use crate::worker::standing;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Sets the clock back.
fn set_back(app: &TestApp, by: Duration) {
    app.clock.set(app.now().minus(by));
}

/// One run of reconciliation; how many calls it brought in.
async fn repaired(app: &TestApp) -> u32 {
    match app.reconciler().run_once().await.unwrap() {
        RunOutcome::Completed(tally) => tally.repaired,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_retry_that_was_planned_hours_ahead_comes_on_its_schedule_when_the_clock_is_right_again()
{
    let app = TestApp::start().await;
    let id = app.ended_call("rep_1", "agency_1").await;
    app.faults(json!({ "500-then-ok": { "times": 2, "on": ["call"] } }))
        .await;
    app.clock.advance(5 * HOUR);
    for _ in 0..2 {
        assert_eq!(app.step().await.retried, 1);
        app.clock.advance(Duration::from_millis(1300));
    }
    set_back(&app, 5 * HOUR);
    // Due four seconds after the second failure, a fifth more at most.
    app.step().await;
    let wait_ms = standing(&app).await.wait_ms.unwrap();
    assert!(wait_ms <= 4800, "{wait_ms}");
    app.clock.advance(Duration::from_millis(4800));
    assert_eq!(app.step().await.scored, 1);
    assert_eq!(app.call(&id).await["status"], "scored");
}

#[tokio::test]
async fn an_event_that_came_while_the_clock_was_ahead_is_taken_at_once() {
    let app = TestApp::start().await;
    app.clock.advance(5 * HOUR);
    app.burst(3, &["rep_1"], "agency_1").await;
    set_back(&app, 5 * HOUR);
    // This worker has not seen the wrong time: it is as after a restart.
    assert_eq!(app.work().await.scored, 3);
    app.clock.advance(5 * HOUR);
    app.step().await;
    app.burst(2, &["rep_2"], "agency_1").await;
    set_back(&app, 5 * HOUR);
    assert_eq!(app.work().await.scored, 2);
}

#[tokio::test]
async fn a_lease_of_a_clock_that_was_ahead_ends_within_its_length() {
    let app = TestApp::start().await;
    app.ended_call("rep_1", "agency_1").await;
    app.clock.advance(5 * HOUR);
    let store = &app.service().store;
    let claim = store.claim_due(ClaimFilter::All, app.now(), 1, LEASE);
    assert_eq!(claim.await.unwrap().len(), 1);
    // The worker that holds it died. This one has seen the wrong time, and then the right one.
    app.step().await;
    set_back(&app, 5 * HOUR);
    assert_eq!(app.step().await.scored, 0, "it may still be at work");
    app.clock.advance(LEASE);
    assert_eq!(app.step().await.scored, 1);
}

#[tokio::test]
async fn a_clock_that_leaps_to_and_fro_loses_nothing_and_asks_no_more_than_it_must() {
    let app = TestApp::start().await;
    app.faults(json!({ "500-then-ok": { "times": 30, "on": ["call"] } }))
        .await;
    let ids = app.burst(20, &["rep_1", "rep_2"], "agency_1").await;
    for leap in [3 * HOUR, MINUTE, 26 * HOUR, 7 * HOUR, LEASE, HOUR] {
        app.clock.advance(leap);
        app.step().await;
        app.step().await;
        set_back(&app, 2 * leap);
        app.step().await;
        app.step().await;
        app.clock.advance(leap);
    }
    for _ in 0..30 {
        app.clock.advance(2 * HOUR);
        app.work().await;
    }
    for id in &ids {
        assert_eq!(app.call(id).await["status"], "scored");
    }
    let asked = app.asked("call").await;
    assert_eq!(asked, 50, "once for each call and once for each failure");
    assert_eq!(app.event_rows().await.len(), 20);
}

#[tokio::test]
async fn a_running_worker_does_not_wait_for_the_time_it_had_before() {
    let app = Setup::new().with_worker().start().await;
    let mut live = app.live(&app.secrets.service, None).await;
    let mut seen = 0;
    for leap in [HOUR, 30 * HOUR] {
        app.clock.advance(leap);
        let first = app.ended_call("rep_1", "agency_1").await;
        set_back(&app, leap);
        let second = app.ended_call("rep_1", "agency_1").await;
        let mut left = vec![first, second];
        while !left.is_empty() {
            let Some(change) = live.next().await else {
                // By the clock, it was open for long enough: a client resumes.
                live = app.live(&app.secrets.service, Some(seen)).await;
                continue;
            };
            seen = change.id;
            if change.data["status"] == "scored" {
                left.retain(|id| change.data["id"] != **id);
            }
        }
    }
    // A worker that looped meanwhile would have asked again.
    assert_eq!(app.asked("call").await, 4);
}

#[tokio::test]
async fn while_our_clock_is_hours_ahead_reconciliation_finds_what_is_refused_as_stale() {
    let app = Setup::new().with_clocks_apart().start().await;
    app.ended_call("rep_1", "agency_1").await;
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(repaired(&app).await, 0);
    app.clock.advance(26 * HOUR);
    for _ in 0..3 {
        // No webhook gets in: each is a day old.
        app.ended_call("rep_1", "agency_1").await;
        app.clock.advance(5 * HOUR);
        app.clock_of_athos.advance(5 * HOUR);
        assert_eq!(repaired(&app).await, 1);
        assert_eq!(app.work().await.scored, 1);
    }
    let events = app.event_rows().await;
    let webhooks = events
        .iter()
        .filter(|event| event.origin == Origin::Webhook);
    assert_eq!(webhooks.count(), 1);
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_for_days_did_not_look_at_is_looked_at_when_it_is_right() {
    let app = Setup::new().with_clocks_apart().start().await;
    app.ended_call("rep_1", "agency_1").await;
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(repaired(&app).await, 0);
    // Athos is out of reach, but for a moment now and then in which its list is empty.
    app.clock.advance(26 * HOUR);
    app.faults(json!({ "never-send": {} })).await;
    for _ in 0..10 {
        app.clock.advance(5 * MINUTE);
        app.clock_of_athos.advance(5 * MINUTE);
        assert_eq!(repaired(&app).await, 0);
    }
    app.clock_of_athos.advance(HOUR);
    app.ended_call("rep_1", "agency_1").await;
    app.clock_of_athos.advance(20 * HOUR);
    app.clock.set(app.clock_of_athos.clock().now());
    assert_eq!(repaired(&app).await, 1);
    assert_eq!(app.work().await.scored, 1);
}

#[tokio::test]
async fn while_our_clock_is_hours_behind_reconciliation_does_not_take_every_call_for_one_of_just_now()
 {
    let app = Setup::new().with_clocks_apart().start().await;
    app.clock_of_athos.advance(5 * HOUR);
    app.ended_call("rep_1", "agency_1").await;
    assert_eq!(app.event_rows().await, []);
    app.clock.advance(MINUTE);
    assert_eq!(repaired(&app).await, 1);
    assert_eq!(app.work().await.scored, 1);
}

#[tokio::test]
async fn a_worker_that_shows_no_life_is_missed_whichever_way_the_clock_is_set() {
    let app = TestApp::start().await;
    let ready = async || app.send(app.request(Method::GET, "/readyz")).await.status;
    assert_eq!(ready().await, 200);
    set_back(&app, HOUR);
    assert_eq!(
        ready().await,
        503,
        "its last sign of life is of another time"
    );
    app.clock.advance(HOUR);
    assert_eq!(ready().await, 200);
}

#[tokio::test]
async fn who_may_call_and_what_is_fresh_follow_the_clock_both_ways() {
    let app = TestApp::start().await;
    let token = app.rep("rep_1", "agency_1");
    let hook = app.event("wh_1", &Event::unscored("call_1", "rep_1", "agency_1"));
    app.get("/athos/me", &token).await.expect(200);
    app.clock.advance(3 * HOUR);
    assert_eq!(app.get("/athos/me", &token).await.status, 401);
    hook.send(&app).await.refused(401, "STALE_SIGNATURE");
    set_back(&app, 3 * HOUR);
    app.get("/athos/me", &token).await.expect(200);
    hook.send(&app).await.receipt("accepted");
    assert_eq!(app.work().await.unscored, 1);
    // The limit on tokens does not hang on this clock: a minute is a minute.
    app.mint_for("rep_1", "agency_1").await.expect(200);
}
