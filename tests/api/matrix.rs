//! Every named fault of the simulator at each of the places where Athos and the service meet. What is expected is the
//! table in `matrix.md`. Whatever it says, in the end nothing is lost and nothing is there twice.

use std::collections::BTreeSet;
use std::time::Duration;

use athos_backend::model::{CallStatus, EventState, Scope};
use athos_backend::store::Mint;
use athos_backend::worker::reconcile::RunOutcome;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::harness::TestApp;

/// Longer than every delay of the schedule before the hourly ones.
const LONGER_THAN_A_DELAY: Duration = Duration::from_secs(400);

/// The table: what is expected, and what is measured against it.
const MATRIX: &str = include_str!("matrix.md");

const PATHS: [&str; 4] = ["webhook", "fetch", "reconcile", "mint"];

/// A line of the table.
struct Cell<'t> {
    fault: &'t str,
    path: &'t str,
    line: Vec<&'t str>,
}

fn cells() -> impl Iterator<Item = Cell<'static>> {
    let lines = MATRIX.lines().filter(|line| line.starts_with('|'));
    // Below the head and its rule.
    lines.skip(2).map(|text| {
        let line: Vec<_> = text.trim_matches('|').split('|').map(str::trim).collect();
        Cell {
            fault: line[0],
            path: line[1],
            line,
        }
    })
}

impl Cell<'_> {
    /// The set of faults that this cell puts, beside what it needs to lose a webhook.
    fn faults(&self, app: &TestApp, losing: bool) -> Value {
        let (name, parameters) = self.fault.split_once(' ').unwrap();
        let parameters = parameters.replace("FIRST", &app.secrets.api_keys[0]);
        let parameters: Value = serde_json::from_str(&parameters).unwrap();
        let mut faults = Map::from_iter([(name.to_owned(), parameters)]);
        if losing {
            faults.insert("never-send".to_owned(), json!({}));
        }
        Value::Object(faults)
    }

    /// Two where the fault needs company.
    fn calls(&self) -> usize {
        if self.fault.starts_with("reorder") {
            2
        } else {
            1
        }
    }
}

/// Begins calls, each with a token of its own.
async fn begin(app: &TestApp, calls: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..calls {
        let minted = app.mint_for("rep_1", "agency_1").await.expect(200).json();
        ids.push(app.redeem(minted["token"].as_str().unwrap()).await);
    }
    ids
}

/// Ends calls; their webhooks are delivered, or held for ever.
async fn end(app: &TestApp, ids: &[String]) {
    for id in ids {
        let path = format!("/_simulator/calls/{id}/end");
        app.simulate(Method::POST, &path, json!({})).await;
    }
    app.delivered().await;
}

/// How events and calls stand, in words; those that stand alike once.
async fn standing(app: &TestApp) -> String {
    let events = app.events().await;
    let events = events
        .iter()
        .map(|event| format!("{} {}", event.row.state.as_str(), event.row.attempts));
    let calls = app.get("/athos/calls", &app.secrets.service).await.json();
    let calls = calls["data"].as_array().unwrap().iter();
    let calls = calls.map(|call| call["status"].as_str().unwrap().to_owned());
    let or_none = |texts: BTreeSet<String>| match texts.len() {
        0 => "none".to_owned(),
        _ => texts.into_iter().collect::<Vec<_>>().join("+"),
    };
    format!(
        "{}, {}",
        or_none(events.collect()),
        or_none(calls.collect())
    )
}

async fn reconcile(app: &TestApp, repaired: &mut u32) -> &'static str {
    match app.reconciler().run_once().await.unwrap() {
        RunOutcome::Completed(tally) => {
            *repaired += tally.repaired;
            "completed"
        }
        RunOutcome::Failed(..) => "failed",
        RunOutcome::Refused(_) => "refused",
        RunOutcome::Held(_) => "held",
    }
}

/// Puts the fault where the cell says and tells what is seen there.
async fn strike(app: &TestApp, cell: &Cell<'_>, repaired: &mut u32) -> String {
    match cell.path {
        "webhook" => {
            let ids = begin(app, cell.calls()).await;
            app.faults(cell.faults(app, false)).await;
            end(app, &ids).await;
            let deliveries = app.delivered().await;
            let statuses: Vec<_> = deliveries
                .iter()
                .map(|delivery| delivery["status"].to_string().replace("null", "unsent"))
                .collect();
            statuses.join(" ")
        }
        "fetch" => {
            let ids = begin(app, cell.calls()).await;
            end(app, &ids).await;
            app.faults(cell.faults(app, false)).await;
            for _ in 0..2 {
                app.work().await;
                app.clock.advance(LONGER_THAN_A_DELAY);
            }
            let events = app.events().await;
            let mut attempts: Vec<_> = events.iter().flat_map(|event| &event.history).collect();
            attempts.sort_by_key(|attempt| attempt.number);
            let words = attempts.iter().flat_map(|attempt| {
                let status = attempt.status.map(|status| status.to_string());
                status
                    .into_iter()
                    .chain([attempt.code.clone().unwrap_or(attempt.outcome.clone())])
            });
            words.collect::<Vec<_>>().join(" ")
        }
        "reconcile" => {
            let ids = begin(app, cell.calls()).await;
            app.faults(cell.faults(app, true)).await;
            end(app, &ids).await;
            app.clock.advance(LONGER_THAN_A_DELAY);
            app.faults(cell.faults(app, false)).await;
            reconcile(app, repaired).await.to_owned()
        }
        "mint" => {
            app.faults(cell.faults(app, false)).await;
            let answer = app.mint_for("rep_1", "agency_1").await;
            format!("{} {}", answer.status, recorded(app).await)
        }
        other => panic!("no path {other}"),
    }
}

/// How the mint went, which is written after it was answered.
async fn recorded(app: &TestApp) -> String {
    loop {
        let [mint] = <[Mint; 1]>::try_from(app.mints().await).unwrap();
        if let Some(outcome) = mint.outcome {
            return outcome;
        }
        tokio::task::yield_now().await;
    }
}

/// The fault is gone: all that waits is done, and what was lost is found. The mint's caller tries again.
async fn recover(app: &TestApp, cell: &Cell<'_>, repaired: &mut u32) {
    app.faults(json!({})).await;
    app.delivered().await;
    if cell.path == "mint" {
        let ids = begin(app, 1).await;
        end(app, &ids).await;
    }
    for _ in 0..3 {
        app.clock.advance(LONGER_THAN_A_DELAY);
        app.work().await;
        reconcile(app, repaired).await;
    }
    app.work().await;
}

/// Every call that ended at Athos is here, once, and ended as it did there.
async fn audit(app: &TestApp, cell: &Cell<'_>) {
    let at_athos = app
        .simulate(Method::GET, "/_simulator/calls", Value::Null)
        .await;
    for call in at_athos["calls"].as_array().unwrap() {
        let id = call["callId"].as_str().unwrap();
        let store = &app.service().store;
        let here = store.find_call(&Scope::All, id).await.unwrap();
        if here.is_none() && call["status"] == "unscored" && cell.path == "reconcile" {
            // Its webhook was the only sign of it. What is left is a token that came to nothing.
            app.mints_are_recorded().await;
            let unseen = store.mints_without_call(crate::harness::start_time(), app.now());
            assert_eq!(unseen.await.unwrap(), 1);
            continue;
        }
        let here = here.map(|call| call.row.status.as_str());
        assert_eq!(json!(here), call["status"], "{id}");
    }
    let mut ids = BTreeSet::new();
    for call in app.calls().await {
        let scored = call.row.status == CallStatus::Scored;
        assert!(call.raw.is_some() || !scored, "{call:?}");
        assert!(ids.insert(call.row.id), "a call is there twice");
    }
    for event in app.event_rows().await {
        let waits = matches!(event.state, EventState::Pending | EventState::Processing);
        assert!(!waits, "{event:?}");
    }
}

/// Goes through the cells of one path; says every line that is not as it is written.
async fn go_through(path: &str) {
    let mut wrong = Vec::new();
    for cell in cells().filter(|cell| cell.path == path) {
        let app = TestApp::start().await;
        let mut repaired = 0;
        let seen = strike(&app, &cell, &mut repaired).await;
        let meanwhile = standing(&app).await;
        recover(&app, &cell, &mut repaired).await;
        let finally = standing(&app).await;
        audit(&app, &cell).await;
        let repaired = repaired.to_string();
        let happened = [cell.fault, path, &seen, &meanwhile, &finally, &repaired];
        if cell.line != happened {
            wrong.push(format!("| {} |", happened.join(" | ")));
        }
    }
    assert!(wrong.is_empty(), "it went like this:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_fault_on_the_way_of_a_webhook() {
    go_through("webhook").await;
}

#[tokio::test]
async fn every_fault_while_a_score_is_fetched() {
    go_through("fetch").await;
}

#[tokio::test]
async fn every_fault_while_calls_are_reconciled() {
    go_through("reconcile").await;
}

#[tokio::test]
async fn every_fault_while_a_token_is_minted() {
    go_through("mint").await;
}

#[tokio::test]
async fn the_table_has_every_fault_that_the_simulator_knows_on_every_path() {
    let app = TestApp::start().await;
    let faults = app
        .simulate(Method::GET, "/_simulator/faults", Value::Null)
        .await;
    let known = faults["known"].as_array().unwrap();
    let known = known.iter().map(|name| name.as_str().unwrap());
    let wanted: BTreeSet<_> = known
        .flat_map(|name| PATHS.map(|path| (name, path)))
        .collect();
    let written: BTreeSet<_> = cells()
        .map(|cell| (cell.fault.split(' ').next().unwrap(), cell.path))
        .collect();
    assert_eq!(written, wanted);
}
