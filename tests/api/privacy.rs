//! What leaves the database, and stays away: retention, transcripts that are never kept, and the erasure of a rep. That
//! words are gone is judged by the files, not by the service.

use std::time::Duration;

use athos_backend::model::EventState;
use athos_backend::worker::StepSummary;
use athos_backend::worker::reconcile::{RunOptions, RunOutcome, Window};
use athos_backend::worker::retention::Purged;
use reqwest::Method;
use serde_json::{Value, json};

use crate::commands::command;
use crate::harness::{API, Answer, AuditRow, Event, Left, Setup, Telling, TestApp, http_client};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// What Athos has of a call, words and all.
async fn at_athos(app: &TestApp, id: &str) -> Value {
    let url = format!("{}{API}/calls/{id}", app.simulator.origin());
    let request = http_client().get(url).bearer_auth(&app.secrets.api_keys[0]);
    request.send().await.unwrap().json().await.unwrap()
}

/// What was said in a call, and in no other of these.
fn words(call: &Value, others: &[Value]) -> Vec<String> {
    let others = json!(others).to_string();
    let turns = call["transcript"].as_array().unwrap();
    let said = turns.iter().map(|turn| turn["content"].as_str().unwrap());
    let own: Vec<_> = said
        .filter(|said| said.len() > 16 && !others.contains(said))
        .map(str::to_owned)
        .collect();
    assert!(!own.is_empty(), "the call has nothing of its own");
    own
}

fn holds_any(app: &TestApp, words: &[String]) -> bool {
    words.iter().any(|said| app.database_holds(said))
}

async fn retain(app: &TestApp) -> Purged {
    app.service().retention.run_once().await.unwrap()
}

async fn scored_call(app: &TestApp, rep: &str) -> String {
    let id = app.ended_call(rep, "agency_1").await;
    app.work().await;
    id
}

#[tokio::test]
async fn after_retention_the_scores_are_there_and_the_words_are_in_no_file() {
    let app = Setup::new().flag("retention-days", "30").start().await;
    let old = scored_call(&app, "rep_1").await;
    app.clock.advance(31 * DAY);
    let new = scored_call(&app, "rep_1").await;
    let (said_then, said_now) = (at_athos(&app, &old).await, at_athos(&app, &new).await);
    let spoken = words(&said_then, std::slice::from_ref(&said_now));
    let body: Value = serde_json::from_str(&app.events().await[0].body).unwrap();
    let request_id = body["requestId"].as_str().unwrap();
    assert!(holds_any(&app, &spoken) && app.database_holds(request_id));
    let before = app.call(&old).await;

    let purged = retain(&app).await;
    assert_eq!((purged.calls, purged.bodies), (1, 1), "{purged:?}");
    assert_eq!(purged.records, 1, "the token's record");
    assert!(purged.log_emptied);
    assert!(!holds_any(&app, &spoken), "words are still on disk");
    assert!(!app.database_holds(request_id), "the body is still on disk");

    let call = app.call(&old).await;
    assert_eq!(call["transcript"], json!([]));
    assert_eq!(call["transcriptPurgedAt"], app.now().to_string());
    for kept in [
        "overallScore",
        "score",
        "endedAt",
        "drillKey",
        "rep",
        "status",
    ] {
        assert_eq!(call[kept], before[kept], "{kept}");
    }
    assert!(
        call["score"]["summary"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    let call = app.call(&new).await;
    assert!(!call["transcript"].as_array().unwrap().is_empty());
    assert_eq!(call.get("transcriptPurgedAt"), None);
    let again = retain(&app).await;
    assert_eq!((again.calls, again.bodies, again.records), (0, 0, 0));
    assert!(
        app.metrics()
            .await
            .contains("athos_purged_total{what=\"calls\"}")
    );
}

#[tokio::test]
async fn nothing_brings_purged_words_back() {
    let app = Setup::new().flag("retention-days", "30").start().await;
    let id = scored_call(&app, "rep_1").await;
    let spoken = words(&at_athos(&app, &id).await, &[]);
    app.clock.advance(31 * DAY);
    let purged_at = app.now().to_string();
    retain(&app).await;
    let service = app.secrets.service.clone();

    // Its event says nothing any more, so that there is nothing to replay.
    let event = app.get("/athos/events/1", &service).await.json();
    assert_eq!(
        (&event["state"], &event["body"]),
        (&json!("done"), &json!(""))
    );
    let replayed = app
        .post("/athos/events/1/replay", &service, &json!({}))
        .await;
    assert_eq!(replayed.expect(409).code(), "EVENT_PURGED");
    let range = json!({ "state": "done", "dryRun": true });
    let range = app.post("/athos/events/replay", &service, &range).await;
    assert_eq!(range.expect(200).json()["count"], 0);

    // Reconciliation sees nothing that has changed.
    let window = Some(Window {
        from: crate::harness::start_time().minus(DAY),
        to: app.now(),
    });
    let asked = RunOptions {
        window,
        dry_run: false,
    };
    let RunOutcome::Completed(tally) = app.reconciler().run_asked(asked, |_| {}).await.unwrap()
    else {
        panic!("it did not complete");
    };
    assert_eq!((tally.seen, tally.repaired), (1, 0));

    // A late delivery fetches the call again; its words are too old to be kept.
    let rev = app.service().store.latest_rev().await.unwrap();
    app.clock.advance(MINUTE);
    let late = Event::scored(&id, "rep_1", "agency_1");
    app.event("wh_late", &late).send(&app).await.expect(200);
    assert_eq!(app.work().await.scored, 1);
    let call = app.call(&id).await;
    assert_eq!(
        (&call["transcript"], &call["transcriptPurgedAt"]),
        (&json!([]), &json!(purged_at))
    );
    assert!(!holds_any(&app, &spoken));
    assert_eq!(
        app.service().store.latest_rev().await.unwrap(),
        rev,
        "nothing has changed"
    );
}

#[tokio::test]
async fn what_waits_or_is_dead_keeps_its_state_and_its_key() {
    let mut app = Setup::new().flag("retention-days", "1").start().await;
    app.faults(json!({ "not-found-then-ok": { "times": 100 } }))
        .await;
    let dead = Event::scored("call_dead", "rep_1", "agency_1");
    app.event("wh_dead", &dead).send(&app).await.expect(200);
    for _ in 0..6 {
        app.step().await;
        app.clock.advance(10 * MINUTE);
    }
    app.faults(json!({ "down": {} })).await;
    app.event(
        "wh_waits",
        &Event::scored("call_waits", "rep_1", "agency_1"),
    )
    .send(&app)
    .await
    .expect(200);
    app.clock.advance(2 * DAY);
    assert_eq!(retain(&app).await.bodies, 1);
    let service = app.secrets.service.clone();
    let event = app.get("/athos/events/1", &service).await.json();
    assert_eq!(
        (&event["state"], &event["reason"]),
        (&json!("dead"), &json!("removed by retention"))
    );
    assert_eq!(event["history"][0]["code"], "CALL_NOT_FOUND");
    assert_eq!(event["history"][0]["error"], Value::Null);
    let again = app.event("wh_dead", &dead).send(&app).await.expect(200);
    assert_eq!(again.json()["status"], "duplicate");
    let waits = app.get("/athos/events/2", &service).await.json();
    assert_eq!(waits["state"], "pending");
    assert!(waits["body"].as_str().unwrap().contains("call_waits"));
    app.leaves(Left {
        waiting: 1,
        dead: 1,
    });
}

#[tokio::test]
async fn a_great_deal_goes_in_batches_and_all_of_it() {
    let app = Setup::new().flag("retention-days", "1").start().await;
    app.burst(130, &["rep_1", "rep_2"], "agency_1").await;
    assert_eq!(app.work().await.scored, 130);
    app.clock.advance(2 * DAY);
    let purged = retain(&app).await;
    assert_eq!((purged.calls, purged.bodies), (130, 130));
    for call in app.calls().await {
        let raw = call.raw.unwrap();
        assert!(!raw.to_lowercase().contains("transcript"), "{raw}");
        assert!(call.row.overall_score.is_some());
    }
    let events = app.event_rows().await;
    let done = events
        .iter()
        .filter(|event| event.state == EventState::Done);
    assert_eq!(done.count(), 130);
}

#[tokio::test]
async fn without_transcripts_no_word_is_ever_written() {
    let app = Setup::new()
        .flag("store-transcripts", "false")
        .start()
        .await;
    let id = scored_call(&app, "rep_1").await;
    let spoken = words(&at_athos(&app, &id).await, &[]);
    assert!(!holds_any(&app, &spoken));
    let call = app.call(&id).await;
    assert_eq!(call["transcript"], json!([]));
    assert_eq!(call["transcriptPurgedAt"], app.now().to_string());
    assert!(call["score"]["overallScore"].is_number());
    assert_eq!(call["overallScore"], call["score"]["overallScore"]);

    let app = TestApp::start().await;
    let id = scored_call(&app, "rep_1").await;
    let spoken = words(&at_athos(&app, &id).await, &[]);
    assert!(holds_any(&app, &spoken), "else this test proves nothing");
}

/// The one erasure that is on record.
async fn only_erasure(app: &TestApp) -> AuditRow {
    let audit = app.audit().await.into_iter();
    let erasures: Vec<_> = audit.filter(|row| row.act == "delete_rep").collect();
    let [erasure] = <[AuditRow; 1]>::try_from(erasures).ok().unwrap();
    erasure
}

async fn erase(app: &TestApp, rep: &str) -> Value {
    let answer = delete(app, &format!("/athos/reps/{rep}"), &app.secrets.service).await;
    let answer = answer.expect(200).json();
    assert_eq!(answer["finished"], true);
    answer["rows"].clone()
}

async fn delete(app: &TestApp, path: &str, bearer: &str) -> Answer {
    app.send(app.request(Method::DELETE, path).bearer_auth(bearer))
        .await
}

#[tokio::test]
async fn an_erased_rep_is_in_no_file_and_everyone_else_is_untouched() {
    let app = TestApp::start().await;
    let rep = "rep_to_be_forgotten";
    let first = scored_call(&app, rep).await;
    let other = scored_call(&app, "rep_other").await;
    // The last change of any call is theirs: what comes after must still be newer.
    let theirs = [first, scored_call(&app, rep).await];
    let spoken = words(
        &at_athos(&app, &theirs[0]).await,
        &[at_athos(&app, &other).await],
    );
    let stranger = json!({ "event": "call.unheard", "who": rep }).to_string();
    app.hook(stranger)
        .id("wh_stranger")
        .send(&app)
        .await
        .expect(200);
    let replay = json!({ "state": "done" });
    app.post("/athos/events/replay", &app.secrets.service, &replay)
        .await
        .expect(200);
    app.work().await;
    let kept = app.call(&other).await;
    let mut live = app.live(&app.secrets.service, None).await;
    assert!(app.database_holds(rep) && holds_any(&app, &spoken));

    let identities = i32::from(Telling::of_this_run() != Telling::External);
    let expected = json!({
        "calls": 2, "details": 2, "events": 3, "attempts": 4, "acts": 2, "mints": 2, "identities": identities,
    });
    let dry = delete(
        &app,
        &format!("/athos/reps/{rep}?dryRun=true"),
        &app.secrets.service,
    )
    .await;
    let dry = dry.expect(200).json();
    assert_eq!(
        dry,
        json!({ "finished": false, "dryRun": true, "rows": expected })
    );
    assert_eq!(app.call_rows().await.len(), 3);

    assert_eq!(erase(&app, rep).await, expected);
    assert!(!app.database_holds(rep), "the id is still on disk");
    assert!(!holds_any(&app, &spoken), "words are still on disk");
    app.forget_tombstones().await;
    for id in &theirs {
        assert!(!app.database_holds(id), "{id} is still on disk");
        let gone = app
            .get(&format!("/athos/calls/{id}"), &app.secrets.service)
            .await;
        assert_eq!(gone.expect(404).code(), "CALL_NOT_FOUND");
    }
    assert_eq!(app.call(&other).await, kept);
    let list = app.get("/athos/calls", &app.secrets.service).await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);

    // The act is on record, and names nobody.
    let act = only_erasure(&app).await;
    let key = athos_api::signature::fingerprint(&app.secrets.service.clone().into());
    assert_eq!((&*act.caller, act.rep), ("service", Some(key)));
    let subject = act.subject.unwrap();
    assert!(
        subject.starts_with("erased:") && subject.len() == 39,
        "{subject}"
    );
    assert_eq!(act.result.unwrap(), expected);

    // A stream that was open goes on with what comes next.
    let next = scored_call(&app, "rep_other").await;
    assert_eq!(live.next().await.unwrap().data["id"], next.as_str());
    let none = json!({ "calls": 0, "details": 0, "events": 0, "attempts": 0, "acts": 0, "mints": 0, "identities": 0 });
    assert_eq!(erase(&app, rep).await, none, "again it is harmless");
}

#[tokio::test]
async fn nothing_that_comes_late_brings_an_erased_rep_back_and_new_calls_are_new() {
    let app = TestApp::start().await;
    let rep = "rep_to_be_forgotten";
    let known = scored_call(&app, rep).await;
    // Never heard of here: its webhook is lost, and comes in the end.
    app.faults(json!({ "never-send": {} })).await;
    let unknown = app.ended_call(rep, "agency_1").await;
    app.faults(json!({})).await;
    app.clock.advance(MINUTE);
    erase(&app, rep).await;

    let ignored = async |webhook: &str, event: Event| {
        let answer = app.event(webhook, &event).send(&app).await.expect(200);
        assert_eq!(answer.json()["status"], "ignored", "{webhook}");
    };
    ignored("wh_retry", Event::scored(&known, rep, "agency_1")).await;
    ignored("wh_unscored", Event::unscored(&known, rep, "agency_1")).await;
    ignored("wh_unknown", Event::scored(&unknown, rep, "agency_1")).await;
    // One that does not say whose the call is: the call is fetched, and turns out to be theirs.
    let mut anonymous = Event::scored(&unknown, rep, "agency_1").of_nobody();
    anonymous.0["occurredAt"] = json!(app.now().to_string());
    app.event("wh_anonymous", &anonymous)
        .send(&app)
        .await
        .expect(200);
    let did = app.work().await;
    assert_eq!(
        did,
        StepSummary {
            erased: 1,
            ..StepSummary::default()
        }
    );
    let window = Some(Window {
        from: crate::harness::start_time().minus(DAY),
        to: app.now(),
    });
    let asked = RunOptions {
        window,
        dry_run: false,
    };
    let RunOutcome::Completed(tally) = app.reconciler().run_asked(asked, |_| {}).await.unwrap()
    else {
        panic!("it did not complete");
    };
    assert_eq!((tally.seen, tally.repaired), (2, 0));
    app.work().await;
    assert!(app.service().store.truncate_wal().await.unwrap());
    assert!(!app.database_holds(rep));
    app.forget_tombstones().await;
    assert!(!app.database_holds(&unknown));
    assert_eq!(app.call_rows().await, []);
    assert_eq!(app.event_rows().await, []);
    for by in ["webhook", "attempt", "reconciliation"] {
        let counted = format!("athos_erased_stopped_total{{by=\"{by}\"}}");
        assert!(app.metrics().await.contains(&counted), "{counted}");
    }

    // Whoever begins a call after that has begun anew.
    app.clock.advance(MINUTE);
    let new = scored_call(&app, rep).await;
    assert_eq!(app.call(&new).await["rep"], rep);
}

#[tokio::test]
async fn an_attempt_in_flight_stores_nothing_of_a_rep_who_is_erased_meanwhile() {
    let app = TestApp::start().await;
    app.faults(json!({ "slow": { "ms": 3_000 } })).await;
    app.event("wh_1", &Event::scored("call_1", "rep_1", "agency_1"))
        .send(&app)
        .await
        .expect(200);
    let id = app.ended_call("rep_1", "agency_1").await;
    let (did, rows) = tokio::join!(app.step(), async {
        while app.asked("call").await == 0 {
            tokio::task::yield_now().await;
        }
        erase(&app, "rep_1").await
    });
    assert_eq!((did.scored, did.lease_lost + did.erased), (0, 2), "{did:?}");
    assert_eq!((&rows["calls"], &rows["events"]), (&json!(2), &json!(2)));
    app.forget_tombstones().await;
    assert!(!app.database_holds(&id));
    assert_eq!(app.call_rows().await, []);
    assert_eq!(app.event_rows().await, []);
}

#[tokio::test]
async fn admins_and_other_backends_may_erase_and_nobody_else_and_no_page_of_another_site() {
    let app = Setup::new().flag("auth-cookie", "session").start().await;
    let id = scored_call(&app, "rep_1").await;
    let path = "/athos/reps/rep_1";
    let anyone = app.send(app.request(Method::DELETE, path)).await;
    assert_eq!(anyone.expect(401).code(), "UNAUTHENTICATED");
    for bearer in [app.rep("rep_1", "agency_1"), app.manager("agency_1")] {
        let refused = delete(&app, path, &bearer).await;
        assert_eq!(refused.expect(403).code(), "ADMIN_ONLY");
    }
    let elsewhere = app
        .request(Method::DELETE, path)
        .header("cookie", format!("session={}", app.admin()))
        .header("origin", "https://evil.example");
    assert_eq!(
        app.send(elsewhere).await.expect(403).code(),
        "CROSS_SITE_REQUEST"
    );
    for bad in [
        "/athos/reps/%20",
        "/athos/reps/rep_1%20",
        "/athos/reps/%C2%A0rep_1",
        "/athos/reps/a%0Ab",
        "/athos/reps/rep_1?dry=1",
    ] {
        let refused = delete(&app, bad, &app.secrets.service).await;
        assert_eq!(refused.expect(400).code(), "INVALID_REQUEST", "{bad}");
    }
    app.call(&id).await;
    // An admin may even be the one who goes.
    let themselves = app.jwt(&app.claims("rep_1", "headquarters", "admin"));
    delete(&app, path, &themselves).await.expect(200);
    assert!(!app.database_holds("rep_1"));
    let act = only_erasure(&app).await;
    assert_eq!(act.caller, "user");
    assert!(act.rep.is_some() && act.rep == act.subject);
}

#[tokio::test]
async fn an_erasure_that_broke_off_is_finished_by_the_next_run() {
    let app = TestApp::start().await;
    let id = scored_call(&app, "rep_1").await;
    let other = scored_call(&app, "rep_2").await;
    app.begin_erasure("rep_1", 7).await;
    assert_eq!(retain(&app).await.erasures, 1);
    assert!(!app.database_holds("rep_1"));
    app.forget_tombstones().await;
    assert!(!app.database_holds(&id));
    app.call(&other).await;
    let counted = only_erasure(&app).await.result.unwrap();
    assert_eq!(counted["calls"], 8, "with what was gone before");
    assert_eq!(retain(&app).await.erasures, 0);
}

#[tokio::test]
async fn the_command_erases_beside_the_service_which_keeps_late_deliveries_out() {
    let app = TestApp::start().await;
    let id = scored_call(&app, "rep_1").await;
    let url = app.database_url();
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let args = [&["reps", "delete", "rep_1"], args].concat();
        let output = command(folder.path(), &args, &[("DATABASE_URL", &url)]).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = run(&["--dry-run"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("       1 call would be removed"), "{said}");
    assert_eq!(
        run(&[]).0,
        Some(2),
        "it needs --yes where nobody can be asked"
    );
    app.call(&id).await;

    // The command goes by the time of the machine, which is later than the test's.
    let (code, said) = run(&["--yes", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["finished"], &said["rows"]["calls"]),
        (&json!(true), &json!(1))
    );
    assert!(!app.database_holds("rep_1"));
    let late = app.event("wh_late", &Event::scored(&id, "rep_1", "agency_1"));
    assert_eq!(
        late.send(&app).await.expect(200).json()["status"],
        "ignored"
    );
    assert!(!app.database_holds("rep_1"));
}
