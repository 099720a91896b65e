//! A store that moves to the other engine and back by the real binary: refused while the service runs, killed on the way, and
//! the same to every reader afterwards.

use std::collections::BTreeSet;
use std::process::Output;

use athos_backend::store;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::commands::{Running, command, paragraph};
use crate::harness::{Left, Setup, TestApp, url};

/// One URL is a flag, and the other where `ps` does not show it.
fn copy(from: &str, to: &str) -> Output {
    let folder = TempDir::new().unwrap();
    let variables = [("COPY_TO", to)];
    command(folder.path(), &["copy", "--from", from], &variables)
        .output()
        .unwrap()
}

/// The tables of a copy, each with its number of rows and hash.
fn tables(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let tables = said.lines().filter(|line| line.split(' ').count() == 4);
    let tables: Vec<_> = tables
        .filter(|line| !line.starts_with("took"))
        .map(str::to_owned)
        .collect();
    assert!(tables.len() > 15, "{said}");
    tables
}

/// What every reader is told.
async fn everything(app: &TestApp) -> Vec<Value> {
    app.mints_are_recorded().await;
    let mut told = Vec::new();
    for path in [
        "/athos/calls?limit=100",
        "/athos/progress",
        "/athos/changes?after=0&limit=1000",
        "/athos/events?limit=100",
        "/athos/deliveries?limit=100",
        "/athos/mints?limit=100",
        "/athos/audit?limit=100",
    ] {
        let mut answer = app.get(path, &app.secrets.service).await.expect(200).json();
        // Revs go on beyond all that were given, as after a restart of the machine.
        answer.as_object_mut().unwrap().remove("next");
        let rows = answer["data"].as_array().into_iter().flatten();
        for id in rows.filter_map(|row| row["id"].as_str()) {
            if let Some(one) = path
                .strip_suffix("?limit=100")
                .filter(|path| path.ends_with("calls"))
            {
                let one = app.get(&format!("{one}/{id}"), &app.secrets.service).await;
                told.push(one.expect(200).json());
            }
        }
        told.push(answer);
    }
    told
}

#[tokio::test]
async fn a_store_that_moves_to_the_other_engine_and_back_reads_the_same_and_goes_on() {
    let mut app = Setup::new()
        .flag("forward-urls", "http://127.0.0.1:1/")
        .flag("forward-allow-http", "127.0.0.1")
        .flag(
            "forward-secrets",
            "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        )
        .start()
        .await;
    app.burst(12, &["rep_1", "rep_2"], "agency_1").await;
    app.work().await;
    app.mint_for("rep_1", "agency_1").await.expect(200);
    app.burst(3, &["rep_3"], "agency_1").await;
    let event = app.event_rows().await[0].id;
    let replay = format!("/athos/events/{event}/replay");
    app.post(&replay, &app.secrets.service, &json!({}))
        .await
        .expect(200);
    let erase = app.request(Method::DELETE, "/athos/reps/rep_2");
    app.send(erase.bearer_auth(&app.secrets.service))
        .await
        .expect(200);
    let rev = app.latest_rev().await;
    let before = everything(&app).await;

    // Of replicas on a server, only those are known that beat by its clock, and not by that of tests.
    if app.database().exists() {
        let nowhere = url(&app.database().with_file_name("no.db"));
        let refused = copy(&app.database_url(), &nowhere);
        assert_eq!(refused.status.code(), Some(1));
        let said = paragraph(&refused);
        assert!(said.contains("a service runs on the database"), "{said}");
    }

    app.stop().await;
    let Some(there) = app.change_engine() else {
        return;
    };
    let first = tables(&copy(&there.from, &there.to));
    let back = app.change_engine().unwrap();
    assert_eq!(tables(&copy(&back.from, &back.to)), first);
    app.start_again().await;
    assert_eq!(everything(&app).await, before);
    app.stop().await;

    let there = app.change_engine().unwrap();
    assert_ne!(tables(&copy(&there.from, &there.to)), Vec::<String>::new());
    app.start_again().await;
    assert_eq!(everything(&app).await, before);
    app.work().await;
    app.burst(2, &["rep_1"], "agency_1").await;
    app.work().await;
    let changes = format!("/athos/changes?after={rev}");
    let changes = app.get(&changes, &app.secrets.service).await.json();
    let ids: BTreeSet<_> = changes["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 5, "three that waited, and two new: {changes}");
}

#[tokio::test]
async fn a_copy_that_is_killed_goes_on_and_no_service_starts_on_it_before_it_has_ended() {
    const EVENTS: u32 = 6_000;
    let mut app = TestApp::start().await;
    app.add_dead_events(EVENTS as usize).await;
    app.leaves(Left {
        waiting: 0,
        dead: EVENTS.into(),
    });
    app.stop().await;
    let Some(there) = app.change_engine() else {
        return;
    };
    // Not only a bare database is empty.
    store::open(&there.to).await.unwrap().close().await;
    let args = ["copy", "--from", &there.from, "--to", &there.to];
    let folder = TempDir::new().unwrap();
    // Killed whenever it has come further.
    let mut seen = 0;
    for _ in 0..3 {
        let mut copying = Running::start(command(folder.path(), &args, &[]));
        while app.committed_events().await == seen && !copying.has_ended() {}
        seen = app.committed_events().await;
    }
    assert!(seen > 0);
    if store::open(&there.to).await.is_err() {
        let serve = [
            "serve",
            "--bind-addr=127.0.0.1:0",
            "--admin-addr=127.0.0.1:0",
            &format!("--athos-whsec={}", app.secrets.whsec),
            &format!("--service-tokens={}", app.secrets.service),
            &format!("--database-url={}", there.to),
        ];
        let refused = command(folder.path(), &serve, &[]).output().unwrap();
        let log = String::from_utf8(refused.stderr).unwrap();
        assert!(log.contains("has only a part of another as yet"), "{log}");
        let told = tables(&copy(&there.from, &there.to));
        let events = format!("events: {EVENTS} rows");
        assert!(
            told.iter().any(|line| line.starts_with(&events)),
            "{told:?}"
        );
    }
    app.start_again().await;
    assert_eq!(app.committed_events().await, i64::from(EVENTS));
}
