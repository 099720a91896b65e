//! Calls whose webhook never came: found within one run, brought in once, by the way of a webhook.

use std::time::Duration;

use athos_backend::clock::Clock;
use athos_backend::model::Timestamp;
use athos_backend::store::Origin;
use athos_backend::worker::reconcile::{RunOptions, RunOutcome, RunStats, Window};
use reqwest::Method;
use serde_json::json;
use wiremock::matchers::{path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{API, Event, Left, Setup, TestApp};
use crate::log::Mark;

const MINUTE: Duration = Duration::from_secs(60);
const OVERLAP: Duration = Duration::from_secs(2 * 60 * 60);

/// One run that nobody asked for, to its end.
async fn run(app: &TestApp) -> RunStats {
    match app.reconciler().run_once().await.unwrap() {
        RunOutcome::Completed(tally) => tally,
        other => panic!("{other:?}"),
    }
}

async fn run_asked(app: &TestApp, window: Option<Window>, dry_run: bool) -> RunStats {
    let asked = RunOptions { window, dry_run };
    let reconciler = app.reconciler();
    match reconciler.run_asked(asked, |_| {}).await.unwrap() {
        RunOutcome::Completed(tally) => tally,
        other => panic!("{other:?}"),
    }
}

/// A call whose webhook is never sent, scored a while ago.
async fn lost_call(app: &TestApp) -> String {
    app.faults(json!({ "never-send": {} })).await;
    let id = app.ended_call("rep_1", "agency_1").await;
    app.faults(json!({})).await;
    app.clock.advance(MINUTE);
    id
}

/// A vendor that lists these pages; the query of each names the cursor of the one before.
async fn lists(pages: &[&[serde_json::Value]]) -> MockServer {
    let server = MockServer::start().await;
    for (n, page) in pages.iter().enumerate() {
        let next = (n + 1 < pages.len()).then(|| format!("c{}", n + 1));
        let body = json!({ "data": page, "nextCursor": next });
        let mock = Mock::given(path(format!("{API}/calls")));
        let mock = match n {
            0 => mock.and(query_param_is_missing("cursor")),
            _ => mock.and(query_param("cursor", format!("c{n}"))),
        };
        let answer = ResponseTemplate::new(200).set_body_json(body);
        mock.respond_with(answer).mount(&server).await;
    }
    server
}

fn slim(id: &str, scored_at: &str) -> serde_json::Value {
    json!({
        "id": id, "source": "roleplay", "externalUserId": "rep_1", "externalAgencyId": null,
        "drillKey": "ma-full-sale", "startedAt": "2026-06-05T14:00:00.000Z",
        "endedAt": "2026-06-05T14:05:00.000Z", "durationSec": 300, "scoredAt": scored_at,
    })
}

async fn from_vendor(server: &MockServer) -> TestApp {
    Setup::new()
        .athos(&format!("{}{API}", server.uri()))
        .start()
        .await
}

#[tokio::test]
async fn a_webhook_that_never_comes_is_found_within_one_run_and_said_once() {
    let app = TestApp::start().await;
    let log = Mark::here();
    let id = lost_call(&app).await;
    let before = app.metrics().await;
    assert_eq!(run(&app).await.repaired, 1);
    // It waits like the event of any webhook, and its call can be seen.
    assert_eq!(app.call(&id).await["status"], "processing");
    assert_eq!(app.call(&id).await["rep"], "rep_1");
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(app.call(&id).await["status"], "scored");
    assert!(app.call(&id).await["transcript"].is_array());

    let said = log.since();
    let lines = said
        .lines()
        .filter(|line| line.contains(&id) && line.contains("recovered a call"));
    assert_eq!(lines.count(), 1, "{said}");
    let repaired = |text: &str| -> u64 {
        let line = text
            .lines()
            .find(|line| line.starts_with("athos_reconcile_repaired_total{source=\"roleplay\"}"));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    // Other tests of this process may count too.
    assert!(repaired(&app.metrics().await) > repaired(&before));
    assert_eq!(app.only_event().await.origin, Origin::Reconcile);
}

#[tokio::test]
async fn windows_overlap_and_add_nothing_twice() {
    let app = TestApp::start().await;
    let lost = lost_call(&app).await;
    let told = app.ended_call("rep_1", "agency_1").await;
    app.clock.advance(MINUTE);
    assert_eq!(
        run(&app).await.repaired,
        1,
        "the other's event is in flight"
    );
    // The repair is in flight now, and then done.
    assert_eq!(run(&app).await.repaired, 0);
    assert_eq!(app.work().await.scored, 2);
    for _ in 0..3 {
        app.clock.advance(5 * MINUTE);
        let tally = run(&app).await;
        assert_eq!((tally.seen, tally.repaired), (2, 0));
    }
    assert_eq!(app.event_rows().await.len(), 2);
    // The webhook comes after all; it changes nothing.
    let rev = app.latest_rev().await;
    let event = Event::scored(&lost, "rep_1", "agency_1");
    app.event("wh_late", &event)
        .send(&app)
        .await
        .receipt("accepted");
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(app.latest_rev().await, rev);
    assert_eq!(app.call(&told).await["status"], "scored");
}

#[tokio::test]
async fn a_call_scored_a_moment_ago_is_left_to_its_webhook() {
    let app = TestApp::start().await;
    app.faults(json!({ "never-send": {} })).await;
    app.ended_call("rep_1", "agency_1").await;
    app.clock.advance(Duration::from_secs(29));
    assert_eq!(run(&app).await.repaired, 0);
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(run(&app).await.repaired, 1);
    assert_eq!(app.work().await.scored, 1);
}

#[tokio::test]
async fn a_call_scored_late_in_a_window_that_was_read_is_found() {
    let app = TestApp::start().await;
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    // Its end lies before the end of a completed run; the list of that run did not have it.
    app.clock.advance(90 * MINUTE);
    assert_eq!(run(&app).await.repaired, 0);
    app.clock.advance(MINUTE);
    app.clock.set(app.now().minus(60 * MINUTE));
    app.faults(json!({ "never-send": {} })).await;
    app.ended_call("rep_2", "agency_1").await;
    app.clock.advance(65 * MINUTE);
    assert_eq!(run(&app).await.repaired, 1);
    assert_eq!(app.work().await.scored, 1);
}

#[tokio::test]
async fn after_an_outage_it_looks_from_the_last_completed_run_on() {
    let app = TestApp::start().await;
    let began = app.now();
    let first = run(&app).await;
    assert_eq!(first.window.from, began.minus(OVERLAP));
    let id = lost_call(&app).await;
    // A day without Athos: runs fail, and the window grows.
    app.faults(json!({ "down": { "on": ["calls"] } })).await;
    for _ in 0..4 {
        app.clock.advance(6 * 60 * MINUTE);
        let ended = app.reconciler().run_once().await.unwrap();
        assert!(matches!(ended, RunOutcome::Failed(..)), "{ended:?}");
    }
    app.faults(json!({})).await;
    // One that somebody asked for elsewhere leaves the gap to be looked at.
    let window = Window {
        from: app.now().minus(MINUTE),
        to: app.now(),
    };
    assert_eq!(run_asked(&app, Some(window), false).await.seen, 0);
    let tally = run(&app).await;
    assert_eq!(tally.window.from, began.minus(OVERLAP));
    assert_eq!(tally.repaired, 1);
    app.work().await;
    assert_eq!(app.call(&id).await["status"], "scored");
    // From here on, from the latest call of this run's list.
    app.clock.advance(5 * MINUTE);
    assert_eq!(tally.until, began);
    assert_eq!(run(&app).await.window.from, began.minus(OVERLAP));
}

#[tokio::test]
async fn a_run_that_died_or_failed_before_any_was_completed_is_made_up_for() {
    let app = TestApp::start().await;
    let began = app.now();
    app.faults(json!({ "down": { "on": ["calls"] } })).await;
    app.reconciler().run_once().await.unwrap();
    app.faults(json!({})).await;
    app.clock.advance(24 * 60 * MINUTE);
    assert_eq!(run(&app).await.window.from, began.minus(OVERLAP));
    // What died has no end.
    app.forget_ends_of_runs().await;
    assert_eq!(run(&app).await.window.from, began.minus(OVERLAP));
}

#[tokio::test]
async fn it_reads_page_after_page() {
    let app = TestApp::start().await;
    app.faults(json!({ "never-send": {} })).await;
    app.burst(230, &["rep_1", "rep_2"], "agency_1").await;
    app.faults(json!({})).await;
    app.clock.advance(MINUTE);
    let mut pages = Vec::new();
    let reconciler = app.reconciler();
    let watch = |progress: athos_backend::worker::reconcile::PageProgress<'_>| {
        pages.push((progress.page, progress.calls, progress.repairs.len()));
    };
    reconciler
        .run_asked(RunOptions::default(), watch)
        .await
        .unwrap();
    assert_eq!(pages, [(1, 100, 100), (2, 100, 100), (3, 30, 30)]);
    assert_eq!(app.work().await.scored, 230);
    assert_eq!(run(&app).await.repaired, 0);
}

#[tokio::test]
async fn a_list_that_leads_in_a_circle_ends_the_run() {
    let server = MockServer::start().await;
    let page = json!({ "data": [], "nextCursor": "again" });
    Mock::given(path(format!("{API}/calls")))
        .respond_with(ResponseTemplate::new(200).set_body_json(page))
        .mount(&server)
        .await;
    let app = from_vendor(&server).await;
    let ended = app.reconciler().run_once().await.unwrap();
    let RunOutcome::Failed(tally, reason) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(tally.pages, 2);
    assert!(reason.contains("gave before"), "{reason}");
}

#[tokio::test]
async fn a_row_that_names_no_call_keeps_no_other_away() {
    let scored_at = "2026-06-05T14:10:00.000Z";
    let nameless = [json!({ "id": null }), json!("what is this")];
    let server = lists(&[&[
        nameless[0].clone(),
        slim("call_1", scored_at),
        nameless[1].clone(),
    ]])
    .await;
    let mut app = from_vendor(&server).await;
    let ended = app.reconciler().run_once().await.unwrap();
    assert!(
        matches!(&ended, RunOutcome::Completed(tally) if tally.repaired == 1),
        "{ended:?}"
    );
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
    // But a page of nothing else is not read as an empty one.
    let server = lists(&[&nameless]).await;
    let other = from_vendor(&server).await;
    let ended = other.reconciler().run_once().await.unwrap();
    assert!(
        matches!(&ended, RunOutcome::Failed(_, why) if why.contains("none of its rows")),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_call_that_was_scored_again_comes_in_again_once() {
    let early = "2026-06-05T14:10:00.000Z";
    let later = "2026-06-05T14:20:00.000Z";
    for (scored_at, repaired) in [(early, 0), (later, 1)] {
        let listed = slim("call_1", scored_at);
        let server = lists(&[&[], &[listed]]).await;
        let mut detail = slim("call_1", early);
        detail["score"] = json!({ "overallScore": 80 });
        detail["transcript"] = json!([]);
        Mock::given(path(format!("{API}/calls/call_1")))
            .respond_with(ResponseTemplate::new(200).set_body_json(detail))
            .mount(&server)
            .await;
        let app = from_vendor(&server).await;
        let event = Event::scored("call_1", "rep_1", "agency_1");
        app.event("wh_1", &event)
            .send(&app)
            .await
            .receipt("accepted");
        assert_eq!(app.work().await.scored, 1);
        assert_eq!(run(&app).await.repaired, repaired, "{scored_at}");
        app.work().await;
        // Athos's detail still says otherwise; asking for ever would not change it.
        assert_eq!(run(&app).await.repaired, 0);
    }
}

#[tokio::test]
async fn a_call_whose_event_is_dead_or_said_unscored_comes_in() {
    let app = TestApp::start().await;
    let id = app.ended_call("rep_1", "agency_1").await;
    app.give_events_up().await;
    app.faults(json!({ "never-send": {} })).await;
    let other = app.ended_call("rep_2", "agency_1").await;
    app.faults(json!({})).await;
    let event = Event::unscored(&other, "rep_2", "agency_1");
    app.event("wh_1", &event)
        .send(&app)
        .await
        .receipt("accepted");
    assert_eq!(app.work().await.unscored, 1);
    app.clock.advance(MINUTE);
    assert_eq!(run(&app).await.repaired, 2);
    assert_eq!(app.work().await.scored, 2);
    for id in [id, other] {
        assert_eq!(app.call(&id).await["status"], "scored");
    }
    let mut app = app;
    app.leaves(Left {
        waiting: 0,
        dead: 1,
    });
}

#[tokio::test]
async fn a_closed_gate_is_respected_and_its_own_failures_close_it() {
    let app = TestApp::start().await;
    lost_call(&app).await;
    app.faults(json!({ "key-revoked": {} })).await;
    let reconciler = app.reconciler();
    let ended = reconciler.run_once().await.unwrap();
    assert!(matches!(ended, RunOutcome::Failed(..)), "{ended:?}");
    let ready = app.send(app.request(Method::GET, "/readyz")).await.json();
    assert_eq!(ready["athos"]["paused"]["cause"], "key_refused");
    let asked = app.asked("calls").await;
    let ended = reconciler.run_once().await.unwrap();
    assert!(matches!(ended, RunOutcome::Held(_)), "{ended:?}");
    assert_eq!(app.asked("calls").await, asked);
    // With nothing in the inbox, its own request is what finds the key working again.
    app.faults(json!({})).await;
    app.clock.advance(MINUTE);
    assert_eq!(run(&app).await.repaired, 1);
    let ready = app.send(app.request(Method::GET, "/readyz")).await.json();
    assert!(ready["athos"]["paused"].is_null(), "{ready}");
    app.work().await;
}

#[tokio::test]
async fn a_dry_run_says_and_does_not() {
    let app = TestApp::start().await;
    lost_call(&app).await;
    assert_eq!(run_asked(&app, None, true).await.repaired, 1);
    assert_eq!(app.event_rows().await, []);
    assert_eq!(app.runs().await, []);
    assert_eq!(app.call_rows().await, []);
    assert_eq!(run_asked(&app, None, false).await.repaired, 1);
    assert_eq!(run_asked(&app, None, true).await.repaired, 0);
    app.work().await;
}

#[tokio::test]
async fn a_named_window_fills_an_empty_database_and_nothing_beyond() {
    let app = TestApp::start().await;
    lost_call(&app).await;
    app.clock.advance(30 * 24 * 60 * MINUTE);
    assert_eq!(run(&app).await.seen, 0, "too long ago to look by itself");
    let window = |from: Timestamp, to: Timestamp| Some(Window { from, to });
    let month = app.now().minus(31 * 24 * 60 * MINUTE);
    let tally = run_asked(&app, window(month, month.plus(MINUTE)), false).await;
    assert_eq!(tally.seen, 0);
    assert_eq!(
        run_asked(&app, window(month, app.now()), false)
            .await
            .repaired,
        1
    );
    assert_eq!(app.work().await.scored, 1);
}

#[tokio::test]
async fn the_running_service_reconciles_at_its_start() {
    let app = Setup::new().with_worker().start().await;
    let reconciled = async {
        while app.asked("calls").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reconciled)
        .await
        .unwrap();
}

/// The command, as somebody types it beside the running service.
async fn command(app: &TestApp, arguments: &[&str]) -> (bool, String) {
    let settings = [
        format!("--athos-base-url={}", app.simulator.base_url()),
        format!("--athos-api-key={}", app.secrets.api_keys[0]),
        format!("--athos-whsec={}", app.secrets.whsec),
        format!("--service-tokens={}", app.secrets.service),
        format!("--database-url={}", app.database_url()),
    ];
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_athos-backend"));
    command
        .env_clear()
        .current_dir(app.database().parent().unwrap())
        .arg("reconcile")
        .args(settings)
        .args(arguments);
    let done = tokio::task::spawn_blocking(move || command.output());
    let done = done.await.unwrap().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn the_command_works_beside_the_service_and_says_what_it_does() {
    let app = TestApp::start().await;
    // The command has no other clock than the system's.
    let today = Clock::system().now();
    app.clock.set(today.minus(10 * 60 * MINUTE));
    let id = lost_call(&app).await;
    let from = app.now().minus(60 * MINUTE).to_string();

    let (ok, said) = command(&app, &["--from", &from, "--dry-run"]).await;
    assert!(ok, "{said}");
    assert!(said.contains("page 1: 1 call, 1 would come in"), "{said}");
    assert_eq!(app.event_rows().await, []);

    let (ok, said) = command(&app, &["--from", &from]).await;
    assert!(ok, "{said}");
    assert!(said.contains(&format!("{id} (missing)")), "{said}");
    assert!(
        said.contains("done: 1 page, 1 call, 1 brought in"),
        "{said}"
    );
    assert!(said.contains("the running service fetches them"), "{said}");
    // The call is there, so its token is accounted for.
    assert!(said.contains("at that time: 0 "), "{said}");
    app.clock.set(Clock::system().now());
    assert_eq!(app.work().await.scored, 1);

    let (ok, said) = command(
        &app,
        &[
            "--from",
            "2026-06-02T00:00:00Z",
            "--to",
            "2026-06-01T00:00:00Z",
        ],
    )
    .await;
    assert!(!ok && said.contains("is later than --to"), "{said}");
    app.faults(json!({ "down": {} })).await;
    let (ok, said) = command(&app, &["--from", &from]).await;
    assert!(!ok && said.contains("broke off after 0 pages"), "{said}");
}

#[tokio::test]
async fn a_mint_whose_call_never_appeared_is_counted() {
    let app = TestApp::start().await;
    let unseen = async || {
        let store = &app.service().store;
        let since = app.now().minus(24 * 60 * MINUTE);
        store.mints_without_call(since, app.now()).await.unwrap()
    };
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    app.mint_for("rep_2", "agency_1").await.expect(200);
    app.mints_are_recorded().await;
    // A call of long after does not stand for it.
    app.clock.advance(4 * 60 * MINUTE);
    app.ended_call("rep_2", "agency_1").await;
    app.work().await;
    assert_eq!(unseen().await, 1);
}
