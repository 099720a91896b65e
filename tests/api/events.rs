//! The inbox for those who run the service: lists, one event with its history, replay; and that nobody else gets in.

use std::time::Duration;

use athos_backend::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Event, Left, TestApp};

const MINUTE: Duration = Duration::from_secs(60);

/// Ids of events, as a list shows them.
async fn list(app: &TestApp, query: &str) -> Vec<i64> {
    let path = format!("/athos/events{query}");
    let answer = app.get(&path, &app.secrets.service).await.expect(200);
    let rows = answer.json()["data"].as_array().unwrap().clone();
    rows.iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

async fn show(app: &TestApp, id: i64) -> Value {
    let path = format!("/athos/events/{id}");
    app.get(&path, &app.secrets.service)
        .await
        .expect(200)
        .json()
}

async fn replay_all(app: &TestApp, body: Value) -> Value {
    let answer = app.post("/athos/events/replay", &app.secrets.service, &body);
    answer.await.expect(200).json()
}

/// A call whose event is dead, since Athos did not know it for too long; it does now.
async fn dead_event(app: &TestApp) -> (i64, String) {
    app.faults(json!({ "not-found-then-ok": { "times": 6 } }))
        .await;
    let call = app.ended_call("rep_1", "agency_1").await;
    for _ in 0..6 {
        app.step().await;
        app.clock.advance(10 * MINUTE);
    }
    app.faults(json!({})).await;
    let ids = list(app, "?state=dead&limit=1").await;
    (ids[0], call)
}

#[tokio::test]
async fn a_dead_event_shows_its_life_and_ends_scored_when_replayed() {
    let app = TestApp::start().await;
    let (id, call) = dead_event(&app).await;
    let event = show(&app, id).await;
    assert_eq!(event["state"], "dead");
    assert_eq!(event["callId"], call.as_str());
    assert_eq!(event["origin"], "webhook");
    assert_eq!(event["verdict"], "accepted");
    assert_eq!(event["deliveries"], 1);
    assert_eq!(event["lastCode"], "CALL_NOT_FOUND");
    let reason = event["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("Given up after 6 attempts"), "{reason}");
    assert_eq!(event["signedAt"], "2026-06-05T14:39:40.000Z");
    assert_eq!(event["secretFingerprint"].as_str().unwrap().len(), 8);
    let body: Value = serde_json::from_str(event["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["callId"], call.as_str());

    let history = event["history"].as_array().unwrap();
    assert_eq!(history.len(), 6);
    for (n, attempt) in history.iter().enumerate() {
        assert_eq!(attempt["number"], n + 1);
        assert_eq!(
            (&attempt["status"], &attempt["code"]),
            (&json!(404), &json!("CALL_NOT_FOUND"))
        );
        assert!(
            attempt["athosRequestId"]
                .as_str()
                .unwrap()
                .starts_with("req_")
        );
        assert!(
            attempt["error"]
                .as_str()
                .unwrap()
                .contains("CALL_NOT_FOUND")
        );
        let is_last = n == 5;
        assert_eq!(attempt["outcome"], if is_last { "dead" } else { "retry" });
        assert_eq!(attempt["delayMs"].is_null(), is_last);
    }
    let first = history[0]["delayMs"].as_u64().unwrap();
    assert!((800..=1200).contains(&first), "{first}");

    let admin = app.admin();
    let path = format!("/athos/events/{id}/replay");
    let replayed = app.post(&path, &admin, &json!({})).await.expect(200).json();
    assert_eq!(
        replayed,
        json!({ "count": 1, "ids": [id], "dryRun": false, "nextCursor": null })
    );
    let waiting = show(&app, id).await;
    assert_eq!(
        (&waiting["state"], &waiting["attempts"]),
        (&json!("pending"), &json!(0))
    );
    // It waits; there is nothing more to do by hand.
    app.post(&path, &admin, &json!({}))
        .await
        .refused(409, "EVENT_WAITING");
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(app.call(&call).await["status"], "scored");
    let done = show(&app, id).await;
    assert_eq!(
        (&done["state"], &done["reason"]),
        (&json!("done"), &Value::Null)
    );
    assert_eq!(done["history"].as_array().unwrap().len(), 7);
    assert_eq!(done["lastCode"], Value::Null);
    assert_eq!(done["history"][6]["outcome"], "scored");
    // Who did it, and what was there before.
    let [act] = &done["acts"].as_array().unwrap()[..] else {
        panic!("{done}");
    };
    let me = app.get("/athos/me", &admin).await.json();
    assert_eq!((&act["caller"], &act["rep"]), (&json!("user"), &me["rep"]));
    assert_eq!(
        (&act["action"], &act["wasState"]),
        (&json!("replay"), &json!("dead"))
    );
    assert_eq!(act["wasReason"], reason);
}

#[tokio::test]
async fn what_is_done_or_ignored_can_be_replayed_too() {
    let app = TestApp::start().await;
    let call = app.ended_call("rep_1", "agency_1").await;
    app.hook("not JSON, but signed")
        .send(&app)
        .await
        .receipt("ignored");
    app.work().await;
    let rev = app.latest_rev().await;
    for id in list(&app, "").await {
        let path = format!("/athos/events/{id}/replay");
        app.post(&path, &app.secrets.service, &json!({}))
            .await
            .expect(200);
    }
    let did = app.work().await;
    assert_eq!((did.scored, did.ignored), (1, 1));
    assert_eq!(app.call(&call).await["status"], "scored");
    assert_eq!(app.latest_rev().await, rev, "twice is once");
    let ignored = list(&app, "?verdict=ignored").await;
    let event = show(&app, ignored[0]).await;
    assert_eq!(event["acts"][0]["caller"], "service");
    assert_eq!(event["history"][0]["outcome"], "ignored");
    assert_eq!(event["body"], "not JSON, but signed");
}

#[tokio::test]
async fn a_range_is_replayed_after_a_dry_run_has_said_which() {
    let mut app = TestApp::start().await;
    let (early, _) = dead_event(&app).await;
    app.clock.advance(60 * MINUTE);
    let since = app.now();
    let (late, _) = dead_event(&app).await;
    let only_late = |dry_run: bool| json!({ "state": "dead", "since": since, "dryRun": dry_run });
    let all = json!({ "state": "dead", "dryRun": true });
    assert_eq!(replay_all(&app, all).await["ids"], json!([early, late]));
    let dry = replay_all(&app, only_late(true)).await;
    assert_eq!(
        dry,
        json!({ "count": 1, "ids": [late], "dryRun": true, "nextCursor": null })
    );
    assert_eq!(list(&app, "?state=dead").await, [late, early]);
    assert_eq!(app.audit().await.len(), 0);
    assert_eq!(
        replay_all(&app, only_late(false)).await["ids"],
        json!([late])
    );
    assert_eq!(replay_all(&app, only_late(false)).await["count"], 0);
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(list(&app, "?state=dead").await, [early]);
    let until_before = json!({ "state": "dead", "until": "2026-01-01T00:00:00.000Z" });
    assert_eq!(replay_all(&app, until_before).await["count"], 0);
    for body in [
        json!({}),
        json!({ "state": "pending" }),
        json!({ "state": "dead", "untill": since }),
    ] {
        let answer = app.post("/athos/events/replay", &app.secrets.service, &body);
        answer.await.refused(400, "INVALID_REQUEST");
    }
    app.leaves(Left {
        waiting: 0,
        dead: 1,
    });
}

#[tokio::test]
async fn a_replay_of_many_goes_on_with_the_cursor_until_all_is_done() {
    let mut app = TestApp::start().await;
    app.add_dead_events(12_000).await;
    let all = json!({ "state": "dead", "dryRun": true });
    let dry = replay_all(&app, all).await;
    assert_eq!(
        (&dry["count"], dry["ids"].as_array().unwrap().len()),
        (&json!(12_000), 1_000)
    );
    let (mut counts, mut ids, mut cursor) = (Vec::new(), Vec::new(), Value::Null);
    loop {
        let answer = replay_all(&app, json!({ "state": "dead", "cursor": cursor })).await;
        counts.push(answer["count"].as_u64().unwrap());
        ids.extend(
            answer["ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_i64().unwrap()),
        );
        // Somebody else's write in between.
        let event = Event::unscored("call_x", "rep_1", "agency_1");
        let hook = app.event(&format!("wh_between_{}", ids.len()), &event);
        hook.send(&app).await.receipt("accepted");
        cursor = answer["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert!(
        counts.len() > 2 && counts.iter().all(|count| *count <= 5_000),
        "{counts:?}"
    );
    assert_eq!(counts.iter().sum::<u64>(), 12_000);
    assert!(ids.is_sorted_by(|a, b| a < b), "each once");
    assert_eq!(app.audit().await.len(), 12_000);
    let wrong = json!({ "state": "dead", "cursor": "x" });
    let answer = app.post("/athos/events/replay", &app.secrets.service, &wrong);
    answer.await.refused(400, "INVALID_REQUEST");
    app.leaves(Left {
        waiting: 12_000 + counts.len() as i64,
        dead: 0,
    });
}

#[tokio::test]
async fn a_replay_that_breaks_off_says_what_was_done() {
    let mut app = TestApp::start().await;
    app.add_dead_events(1_200).await;
    app.refuse_changes_of_events_above(0).await;
    let all = json!({ "state": "dead" });
    let answer = app.post("/athos/events/replay", &app.secrets.service, &all);
    let answer = answer.await.refused(503, "STORE_UNAVAILABLE");
    assert!(
        answer.text().contains("nothing was changed"),
        "{}",
        answer.text()
    );
    assert_eq!(app.audit().await.len(), 0);

    app.refuse_changes_of_events_above(700).await;
    let answer = replay_all(&app, all.clone()).await;
    let done = answer["count"].as_u64().unwrap() as usize;
    assert!(done > 0 && done <= 700, "{done}");
    assert_eq!(app.audit().await.len(), done);
    let (ok, said) = command(&app, &["replay", "--state", "dead"]).await;
    assert!(!ok && said.contains("the replay broke off"), "{said}");

    app.refuse_changes_of_events_above(9_999).await;
    let rest = json!({ "state": "dead", "cursor": answer["nextCursor"] });
    let rest = replay_all(&app, rest).await;
    assert_eq!(rest["count"], 1_200 - done);
    assert_eq!(rest["nextCursor"], Value::Null);
    app.leaves(Left {
        waiting: 1_200,
        dead: 0,
    });
}

#[tokio::test]
async fn what_an_earlier_version_did_not_understand_is_read_again() {
    let app = TestApp::start().await;
    let event = Event::unscored("call_1", "rep_1", "agency_1");
    app.event("wh_1", &event)
        .send(&app)
        .await
        .receipt("accepted");
    app.hook("not JSON")
        .id("wh_2")
        .send(&app)
        .await
        .receipt("ignored");
    app.forget_meaning_of_events().await;
    let replayed = replay_all(&app, json!({ "state": "ignored" })).await;
    assert_eq!(replayed["count"], 2);
    // As if it had come in now: its call is there, and it does not wait for what it does not need.
    assert_eq!(app.call("call_1").await["status"], "processing");
    assert_eq!(list(&app, "?call=call_1").await, [1]);
    assert!(!app.needs_fetch("wh_1").await);
    let did = app.work().await;
    assert_eq!((did.unscored, did.ignored), (1, 1));
    assert_eq!(app.call("call_1").await["status"], "unscored");
    let event = show(&app, 1).await;
    assert_eq!(
        (&event["verdict"], &event["state"]),
        (&json!("accepted"), &json!("done"))
    );
    assert_eq!(event["acts"][0]["wasReason"], "not understood");
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let app = TestApp::start().await;
    let began = app.now();
    for n in 0..5 {
        let event = Event::unscored(&format!("call_{n}"), "rep_1", "agency_1");
        let hook = app.event(&format!("wh_{n}"), &event);
        hook.send(&app).await.receipt("accepted");
        hook.send(&app).await.receipt("duplicate");
        app.clock.advance(MINUTE);
    }
    app.work().await;
    app.hook("not JSON").send(&app).await.receipt("ignored");
    // Newest first; a number may be left out.
    let all = list(&app, "").await;
    assert_eq!(all.len(), 6);
    assert!(all.is_sorted_by(|newer, older| newer > older), "{all:?}");
    assert_eq!(list(&app, "?state=done&limit=2").await, all[1..3]);
    assert_eq!(list(&app, "?state=ignored").await, all[..1]);
    assert_eq!(list(&app, "?verdict=accepted&call=call_2").await, all[3..4]);
    assert_eq!(list(&app, "?origin=reconcile").await, [0_i64; 0]);
    assert_eq!(
        list(
            &app,
            &format!("?from={}&to={}", began.plus(MINUTE), began.plus(2 * MINUTE))
        )
        .await,
        all[3..5]
    );
    assert_eq!(show(&app, 1).await["deliveries"], 2);
    assert_eq!(show(&app, 1).await["history"][0]["outcome"], "unscored");

    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/athos/events?limit=4{cursor}");
        let page = app
            .get(&path, &app.secrets.service)
            .await
            .expect(200)
            .json();
        let rows = page["data"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| row["id"].as_i64().unwrap()));
        let Some(next) = page["nextCursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, all);
    for query in [
        "state=lost",
        "origin=mail",
        "verdict=guilty",
        "limit=0",
        "cursor=x",
        "from=yesterday",
    ] {
        let path = format!("/athos/events?{query}");
        let answer = app.get(&path, &app.secrets.service).await;
        answer.refused(400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn only_admins_and_other_backends_get_in() {
    let app = TestApp::start().await;
    let (id, _) = dead_event(&app).await;
    let show = format!("/athos/events/{id}");
    let replay = format!("/athos/events/{id}/replay");
    for role in ["rep", "manager", "root"] {
        let token = app.jwt(&app.claims("rep_1", "agency_1", role));
        for path in ["/athos/events", &*show, "/athos/events/999"] {
            app.get(path, &token).await.refused(403, "ADMIN_ONLY");
        }
        for path in [&*replay, "/athos/events/replay"] {
            let answer = app.post(path, &token, &json!({ "state": "dead" })).await;
            answer.refused(403, "ADMIN_ONLY");
        }
    }
    let anyone = app.send(app.request(Method::GET, "/athos/events")).await;
    anyone.refused(401, "UNAUTHENTICATED");
    assert_eq!(app.audit().await.len(), 0);
    for id in ["999", "-1", "x", "99999999999999999999"] {
        let path = format!("/athos/events/{id}");
        app.get(&path, &app.admin())
            .await
            .refused(404, "EVENT_NOT_FOUND");
        let path = format!("{path}/replay");
        let answer = app.post(&path, &app.admin(), &json!({})).await;
        answer.refused(404, "EVENT_NOT_FOUND");
    }
    let dead = json!({ "state": "dead" });
    assert_eq!(replay_all(&app, dead).await["count"], 1);
    app.work().await;
}

/// The command, on the database of the running service.
async fn command(app: &TestApp, arguments: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_athos-backend"));
    command
        .env_clear()
        .current_dir(app.database().parent().unwrap())
        .env("DATABASE_URL", app.database_url())
        .arg("events")
        .args(arguments);
    let done = tokio::task::spawn_blocking(move || command.output());
    let done = done.await.unwrap().unwrap();
    let said = if done.status.success() {
        done.stdout
    } else {
        done.stderr
    };
    (done.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn the_commands_do_the_same_on_the_database() {
    let app = TestApp::start().await;
    // The command has no other clock than the system's.
    app.clock.set(Clock::system().now().minus(24 * 60 * MINUTE));
    let (id, call) = dead_event(&app).await;
    let id = id.to_string();

    let (_, said) = command(&app, &["list", "--state", "dead"]).await;
    assert!(
        said.starts_with("      ID  RECEIVED") && said.contains(&call),
        "{said}"
    );
    let (_, said) = command(&app, &["list", "--json"]).await;
    let row: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(row["callId"], call.as_str());
    let (_, said) = command(&app, &["show", &id]).await;
    assert!(
        said.contains("attempt   6") && said.contains("404 CALL_NOT_FOUND"),
        "{said}"
    );
    let (_, said) = command(&app, &["show", &id, "--json"]).await;
    let event: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(event["history"].as_array().unwrap().len(), 6);

    let (_, said) = command(&app, &["replay", "--state", "dead", "--dry-run"]).await;
    assert!(said.contains("1 event would be replayed"), "{said}");
    let (_, said) = command(&app, &["replay", &id, "--json"]).await;
    assert_eq!(
        said.trim(),
        format!("{{\"count\":1,\"ids\":[{id}],\"dryRun\":false}}")
    );
    let (ok, said) = command(&app, &["replay", &id]).await;
    assert!(!ok && said.contains("it waits already"), "{said}");
    let (ok, said) = command(&app, &["replay", "--state", "pending"]).await;
    assert!(
        !ok && said.contains("must be dead, ignored or done"),
        "{said}"
    );
    let (ok, said) = command(&app, &["show", "999"]).await;
    assert!(!ok && said.contains("there is no event 999"), "{said}");

    app.clock.set(Clock::system().now());
    assert_eq!(app.work().await.scored, 1);
    let (_, said) = command(&app, &["show", &id]).await;
    assert!(said.contains("by command, was dead: Given up"), "{said}");
}

#[tokio::test]
async fn an_event_is_shown_by_its_number_its_webhook_id_or_its_call() {
    let app = TestApp::start().await;
    let call = app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    let again = Event::unscored(&call, "rep_1", "agency_1");
    app.event("wh_again", &again)
        .send(&app)
        .await
        .receipt("accepted");
    app.work().await;
    let first = show(&app, 1).await["webhookId"]
        .as_str()
        .unwrap()
        .to_owned();
    for (asked, number) in [
        ("1", 1),
        (&*first, 1),
        ("wh_again", 2),
        ("2", 2),
        (&*call, 2),
    ] {
        let (_, said) = command(&app, &["show", asked, "--json"]).await;
        let event: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(event["id"], number, "{asked}");
    }
    // The latest of the call, with the others by name.
    let (_, said) = command(&app, &["show", &call]).await;
    assert!(said.contains("same call   event 1"), "{said}");
    for nobody in ["3", "wh_none", "", "%"] {
        let (ok, said) = command(&app, &["show", nobody]).await;
        assert!(!ok && said.contains("there is no event"), "{said}");
    }
    assert_eq!(list(&app, "?webhook=wh_again").await, [2]);
    assert_eq!(list(&app, "?webhook=wh_none").await, [0; 0]);
}

#[tokio::test]
async fn lists_from_a_terminal_take_days_and_say_when_there_is_more() {
    let app = TestApp::start().await;
    app.clock.set(Clock::system().now().minus(2 * MINUTE));
    for body in ["not JSON", "nor this", "nor that"] {
        app.hook(body).send(&app).await.receipt("ignored");
    }
    let lines = async |args: &[&str]| {
        let (ok, said) = command(&app, &[&["list"], args].concat()).await;
        assert!(ok, "{said}");
        said.lines().count()
    };
    assert_eq!(lines(&["--since", "1h"]).await, 4, "a head and three rows");
    assert_eq!(lines(&["--from", "10 minutes", "--json"]).await, 3);
    assert_eq!(lines(&["--from=-1h", "--until", "1s"]).await, 4);
    let (_, said) = command(&app, &["list", "--to", "1h"]).await;
    assert_eq!(said, "no events\n");
    let (_, said) = command(&app, &["list", "--limit", "2"]).await;
    assert!(
        said.ends_with("and older ones: --limit takes more than 2\n"),
        "{said}"
    );
    let (ok, said) = command(&app, &["list", "--from", "1h", "--to", "2h"]).await;
    assert!(!ok && said.contains("is later than --to"), "{said}");
    let (_, said) = command(
        &app,
        &["replay", "--state", "ignored", "--since", "2h", "--dry-run"],
    )
    .await;
    assert!(said.contains("3 events would be replayed"), "{said}");
}

/// As people write them, on every route that takes times.
#[tokio::test]
async fn ranges_of_time_are_moments_days_or_how_long_ago_and_both_ends_belong_to_them() {
    let app = TestApp::start().await;
    app.clock.set("2026-06-05T23:59:59.999Z".parse().unwrap());
    app.hook("late on the 5th")
        .send(&app)
        .await
        .receipt("ignored");
    app.clock.advance(Duration::from_millis(1));
    app.hook("early on the 6th")
        .send(&app)
        .await
        .receipt("ignored");
    for (query, expected) in [
        ("?from=2026-06-05&to=2026-06-05", &[1][..]),
        ("?from=2026-06-06", &[2]),
        ("?to=2026-06-04", &[]),
        ("?to=2026-06-06", &[2, 1]),
        ("?from=1h", &[2, 1]),
        ("?from=0s", &[2]),
        ("?to=1h", &[]),
        ("?from=2026-06-06T00:00:00Z", &[2]),
        // Not escaped, the plus sign arrives as a space.
        ("?from=2026-06-06T02:00:00+02:00", &[2]),
        ("?from=2026-06-06T02:00:00%2B02:00", &[2]),
    ] {
        assert_eq!(list(&app, query).await, expected, "{query}");
    }
    let replayed =
        json!({ "state": "ignored", "since": "2026-06-05", "until": "2026-06-05", "dryRun": true });
    assert_eq!(replay_all(&app, replayed).await["ids"], json!([1]));
    let replayed = json!({ "state": "ignored", "since": "2h", "dryRun": true });
    assert_eq!(replay_all(&app, replayed).await["ids"], json!([1, 2]));
    for path in [
        "/athos/events",
        "/athos/calls",
        "/athos/progress",
        "/athos/mints",
        "/athos/overview",
    ] {
        for time in ["2026-06-05", "7d", "2026-06-05T00:00:00Z"] {
            app.get(&format!("{path}?from={time}"), &app.secrets.service)
                .await
                .expect(200);
        }
        let refused = app
            .get(
                &format!("{path}?from=2026-06-05T18:09"),
                &app.secrets.service,
            )
            .await;
        let refused = refused.refused(400, "INVALID_REQUEST");
        assert!(
            refused.text().contains("from: not a time: write"),
            "{}",
            refused.text()
        );
    }
}

#[tokio::test]
async fn a_word_that_is_none_is_answered_with_those_that_are() {
    let app = TestApp::start().await;
    for (query, words) in [
        (
            "events?state=foo",
            "state: foo is no state; use one of pending, processing, done, ignored, dead",
        ),
        (
            "events?verdict=foo",
            "verdict: foo is no verdict; use one of accepted, ignored",
        ),
        (
            "events?origin=Webhook",
            "origin: Webhook is no origin; use one of webhook, reconcile",
        ),
        (
            "calls?status=",
            "status: \\\"\\\" is no status; use one of processing, scored, unscored",
        ),
        (
            "calls?source=real-call",
            "source: real-call is no source; use one of roleplay, real_call",
        ),
        (
            "progress?source=dream",
            "source: dream is no source; use one of roleplay, real_call",
        ),
    ] {
        let refused = app
            .get(&format!("/athos/{query}"), &app.secrets.service)
            .await;
        let refused = refused.refused(400, "INVALID_REQUEST").text();
        assert!(refused.contains(words), "{refused}");
    }
}
