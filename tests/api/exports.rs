//! Calls as files: over HTTP for whoever may see them, and by the command for whoever has the database.

use std::path::Path;
use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};

use crate::commands::command;
use crate::harness::{Answer, PastCall, Setup, TestApp, unique};

const NDJSON: &str = "application/x-ndjson";
const HEAD: &str = "id,status,source,rep,agency,drillKey,startedAt,endedAt,durationSec,scoredAt,overallScore,compliancePercent";

async fn file(app: &TestApp, path: &str, accept: &str, bearer: &str) -> Answer {
    let request = app.request(Method::GET, path).bearer_auth(bearer);
    app.send(request.header("accept", accept)).await
}

/// The calls of a file, each as JSON.
fn lines(answer: &Answer) -> Vec<Value> {
    let text = answer.text();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The rows of a file of CSV, each as its cells, as RFC 4180 says.
fn cells(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut rest = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(next) = rest.next() {
        let row = rows.last_mut().unwrap();
        match next {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                row.last_mut().unwrap().push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(String::new()),
            '\r' if !is_quoted => {
                assert_eq!(rest.next(), Some('\n'));
                rows.push(vec![String::new()]);
            }
            other => row.last_mut().unwrap().push(other),
        }
    }
    assert_eq!(rows.pop().unwrap(), [""], "the last line has its end");
    rows
}

fn past(n: i64, rep: &str, agency: &str) -> PastCall {
    PastCall {
        id: format!("call_{n}"),
        rep: rep.to_owned(),
        agency: agency.to_owned(),
        drill: Some(format!("drill_{}", n % 2)),
        score: (n % 3 != 0).then_some(61.5),
        at: n,
    }
}

#[tokio::test]
async fn a_file_has_every_row_of_the_list_in_its_order_and_no_row_of_others() {
    let app = TestApp::start().await;
    let rep_of = |n: i64| if n % 10 == 0 { "rep_1" } else { "rep_2" };
    let calls: Vec<_> = (1..=2500).map(|n| past(n, rep_of(n), "agency_1")).collect();
    app.add_calls(&calls).await;
    let service = &app.secrets.service;
    let all = file(&app, "/athos/calls", NDJSON, service)
        .await
        .expect(200);
    assert_eq!(all.header("content-type"), NDJSON);
    assert_eq!(all.header("vary"), "accept");
    assert_eq!(all.header("cache-control"), "no-store");
    let disposition = "attachment; filename=\"calls-2026-06-05.ndjson\"";
    assert_eq!(all.header("content-disposition"), disposition);
    let rows = lines(&all);
    assert_eq!(rows.len(), 2500);
    let list = app.get("/athos/calls?limit=100", service).await.json();
    assert_eq!(rows[..100], list["data"].as_array().unwrap()[..]);
    assert_eq!(rows[2499]["id"], "call_1");

    let csv = file(&app, "/athos/calls?bom=true", "text/csv", service)
        .await
        .expect(200);
    assert_eq!(
        csv.header("content-type"),
        "text/csv; charset=utf-8; header=present"
    );
    let text = csv.text();
    let text = text.strip_prefix('\u{feff}').unwrap();
    let table = cells(text);
    assert_eq!(table[0].join(","), HEAD);
    for (cells, row) in table[1..].iter().zip(&rows) {
        for (name, cell) in table[0].iter().zip(cells) {
            let value = match &row[name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(*cell, value, "{name}");
        }
    }

    let rep = app.rep("rep_1", "agency_1");
    let theirs = lines(&file(&app, "/athos/calls", NDJSON, &rep).await);
    assert_eq!(theirs.len(), 250);
    assert!(theirs.iter().all(|row| row["rep"] == "rep_1"));
    let filtered = "/athos/calls?rep=rep_1&drill=drill_0&status=scored";
    let filtered = lines(&file(&app, filtered, NDJSON, service).await);
    let list = app
        .get(
            "/athos/calls?rep=rep_1&drill=drill_0&status=scored&limit=100",
            service,
        )
        .await;
    assert_eq!(filtered[..100], list.json()["data"].as_array().unwrap()[..]);
    let none = file(&app, "/athos/calls?rep=rep_2", NDJSON, &rep)
        .await
        .expect(200);
    assert_eq!(none.text(), "");
    let none = file(&app, "/athos/calls?rep=rep_2", "text/csv", &rep).await;
    assert_eq!(none.text(), format!("{HEAD}\r\n"));
}

#[tokio::test]
async fn what_was_said_is_in_a_file_when_it_is_asked_for_by_those_who_may_read_it() {
    let crm = unique("crm");
    let app = Setup::new()
        .flag("service-tokens", &format!("crm:read:{crm}"))
        .start()
        .await;
    app.keep_secret(&crm);
    let id = app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    let call = app.call(&id).await;
    let said = call["transcript"][0]["content"].as_str().unwrap();
    let service = &app.secrets.service;
    let bare = file(&app, "/athos/calls", NDJSON, service).await;
    assert!(!bare.text().contains("transcript"));
    let with = "/athos/calls?include=transcript";
    let rows = lines(&file(&app, with, NDJSON, service).await);
    assert_eq!(rows[0]["transcript"], call["transcript"]);
    let table = cells(&file(&app, with, "text/csv", service).await.text());
    assert_eq!(table[0].last().unwrap(), "transcript");
    assert!(table[1].last().unwrap().contains(said));
    let rep = app.rep("rep_1", "agency_1");
    let own = lines(&file(&app, with, NDJSON, &rep).await);
    assert_eq!(own[0]["transcript"], call["transcript"]);
    for accept in [NDJSON, "text/csv"] {
        file(&app, "/athos/calls", accept, &crm).await.expect(200);
        let refused = file(&app, with, accept, &crm).await;
        refused.refused(403, "SCOPE_MISSING");
    }
}

#[tokio::test]
async fn a_request_that_mixes_files_and_pages_is_refused() {
    let app = TestApp::start().await;
    let service = &app.secrets.service;
    for (query, accept) in [
        ("limit=10", "text/csv"),
        ("cursor=WzEsMV0", NDJSON),
        ("bom=true", NDJSON),
        ("bom=maybe", "text/csv"),
        ("include=audio", "text/csv"),
        ("include=transcript", "application/json"),
        ("bom=true", "*/*"),
        ("status=done", "text/csv"),
    ] {
        let refused = file(&app, &format!("/athos/calls?{query}"), accept, service).await;
        refused.refused(400, "INVALID_REQUEST");
    }
    let page = file(&app, "/athos/calls", "text/html,*/*;q=0.8", service).await;
    assert_eq!(
        page.expect(200).json(),
        json!({ "data": [], "nextCursor": null })
    );
}

#[tokio::test]
async fn a_spreadsheet_gets_no_formula_and_no_number_that_is_an_id() {
    let app = TestApp::start().await;
    let ids = [
        "=HYPERLINK(\"http://evil\")",
        "+1",
        "-1",
        "@x",
        "00042",
        "1e5",
        "a,\"b\"\r\nc",
        "rep_1",
    ];
    let calls = ids.iter().zip(1..).map(|(rep, n)| past(n, rep, "agency_1"));
    app.add_calls(&calls.collect::<Vec<_>>()).await;
    let csv = file(&app, "/athos/calls", "text/csv", &app.secrets.service).await;
    let table = cells(&csv.text());
    let reps: Vec<_> = table[1..].iter().rev().map(|row| row[3].as_str()).collect();
    let marked = [
        "'=HYPERLINK(\"http://evil\")",
        "'+1",
        "'-1",
        "'@x",
        "'00042",
        "'1e5",
    ];
    assert_eq!(reps[..6], marked);
    assert_eq!(reps[6..], ["a,\"b\"\r\nc", "rep_1"]);
    let rows = lines(&file(&app, "/athos/calls", NDJSON, &app.secrets.service).await);
    let reps: Vec<_> = rows
        .iter()
        .rev()
        .map(|row| row["rep"].as_str().unwrap())
        .collect();
    assert_eq!(reps, ids, "programs get them as they are");
}

#[tokio::test]
async fn a_file_that_cannot_be_finished_does_not_end_as_if_it_were_whole() {
    let app = TestApp::start().await;
    let rep_of = |n: i64| if n == 1 { "rep_spoilt" } else { "rep_1" };
    let calls: Vec<_> = (1..=1500).map(|n| past(n, rep_of(n), "agency_1")).collect();
    app.add_calls(&calls).await;
    app.spoil_call("call_1").await;
    let request = app.request(Method::GET, "/athos/calls");
    let request = request.bearer_auth(&app.secrets.service);
    // The rows before it are sent or not: either way the client is told that they are not all.
    let whole = async { request.header("accept", NDJSON).send().await?.bytes().await };
    whole.await.unwrap_err();
    // What cannot even begin is refused as usual.
    let path = "/athos/calls?rep=rep_spoilt";
    let refused = file(&app, path, NDJSON, &app.secrets.service).await;
    refused.refused(503, "STORE_UNAVAILABLE");
}

/// Runs `export` beside the service.
fn export(app: &TestApp, folder: &Path, args: &[&str]) -> Output {
    let args = [&["export"], args].concat();
    let database = app.database_url();
    command(folder, &args, &[("DATABASE_URL", &database)])
        .output()
        .unwrap()
}

#[tokio::test]
async fn the_command_writes_what_the_route_answers_and_replaces_nothing_unasked() {
    let app = TestApp::start().await;
    app.burst(3, &["rep_1", "rep_2"], "agency_1").await;
    app.work().await;
    let calls: Vec<_> = (1..=1200).map(|n| past(n, "rep_1", "agency_1")).collect();
    app.add_calls(&calls).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let service = &app.secrets.service;
    for (args, path, accept) in [
        (
            &["calls.csv", "--bom"][..],
            "/athos/calls?bom=true",
            "text/csv",
        ),
        (&["calls.ndjson"], "/athos/calls", NDJSON),
        (
            &["said.jsonl", "--include", "transcript", "--rep", "rep_2"],
            "/athos/calls?include=transcript&rep=rep_2",
            NDJSON,
        ),
        (
            &[
                "day.txt",
                "--format",
                "csv",
                "--from",
                "2026-06-05",
                "--status",
                "scored",
            ],
            "/athos/calls?from=2026-06-05&status=scored",
            "text/csv",
        ),
    ] {
        let done = export(&app, folder, args);
        assert!(done.status.success(), "{done:?}");
        let written = std::fs::read(folder.join(args[0])).unwrap();
        let answered = file(&app, path, accept, service).await.expect(200);
        assert_eq!(written, answered.body, "{args:?}");
        let refused = export(&app, folder, args);
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            said.contains("exists") && said.contains("--force"),
            "{said}"
        );
        assert!(
            export(&app, folder, &[args, &["--force"]].concat())
                .status
                .success()
        );
    }
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(files, 4, "nothing else is left");
    let printed = export(&app, folder, &["-", "--format", "ndjson"]);
    assert!(printed.status.success());
    let whole = file(&app, "/athos/calls", NDJSON, service).await;
    assert_eq!(printed.stdout, whole.body);
    assert!(
        String::from_utf8(printed.stderr)
            .unwrap()
            .contains("1203 calls")
    );
    for (args, code) in [
        (&["-"][..], 2),
        (&["calls.txt"], 2),
        (&["x.ndjson", "--bom"], 2),
        (&["x.csv", "--from", "2d", "--to", "3d"], 2),
        (&["nowhere/x.csv"], 1),
    ] {
        let refused = export(&app, folder, args);
        assert_eq!(refused.status.code(), Some(code), "{args:?} {refused:?}");
        assert!(refused.stdout.is_empty());
    }
}
