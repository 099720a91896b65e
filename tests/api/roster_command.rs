//! `roster`, with the real binary against the simulator: files of reps are registered, and looked up again.

use std::path::{Path, PathBuf};
use std::process::Output;

use athos_backend::model::PlatformId;
use athos_simulator::Contract;
use reqwest::Method;
use serde_json::{Value, json};

use crate::commands::{Running, command};
use crate::harness::{Setup, TestApp};

const HEAD: &str =
    "firstName,lastName,email,npn,platformAgentId,agencyId,platformAgencyId,agencyName\n";

const THREE: &str = "\
    Dana,Reyes,dana@acme.example,1234567,rep_1,,acme,Acme\n\
    Sam,Okafor,,,rep_2,,acme,Acme\n\
    Ana,Ruiz,ana@acme.example,,,,acme,\n";

async fn start() -> TestApp {
    Setup::new().contract(Contract::Roster).start().await
}

fn command_of(app: &TestApp, arguments: &[&str]) -> std::process::Command {
    let settings = [
        ("ATHOS_BASE_URL", app.simulator.base_url()),
        ("ATHOS_API_KEY", app.secrets.api_keys[0].clone()),
        ("ATHOS_WHSEC", app.secrets.whsec.clone()),
        ("SERVICE_TOKENS", app.secrets.service.clone()),
        ("DATABASE_URL", app.database_url()),
        // Set to nothing counts as not set, also for a command within a command.
        ("AUTH_JWKS_URL", String::new()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, &**value));
    let arguments = [&["roster"], arguments].concat();
    command(&folder(app), &arguments, &settings)
}

fn folder(app: &TestApp) -> PathBuf {
    app.database().parent().unwrap().to_owned()
}

async fn roster(app: &TestApp, arguments: &[&str]) -> Output {
    let mut command = command_of(app, arguments);
    let done = tokio::task::spawn_blocking(move || command.output());
    done.await.unwrap().unwrap()
}

fn said(output: &Output) -> String {
    let said = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8(said).unwrap()
}

fn write(app: &TestApp, rows: &str) -> PathBuf {
    let file = folder(app).join("reps.csv");
    std::fs::write(&file, format!("{HEAD}{rows}")).unwrap();
    file
}

/// Imports these rows; the exit code, what was said, and what became of each row.
async fn import(app: &TestApp, rows: &str, flags: &[&str]) -> (i32, String, Vec<[String; 4]>) {
    let file = write(app, rows);
    let file = file.to_str().unwrap();
    let flags = [&["import", file, "--report", "report.csv"], flags].concat();
    let output = roster(app, &flags).await;
    let report = folder(app).join("report.csv");
    (output.status.code().unwrap(), said(&output), read(&report))
}

fn read(report: &Path) -> Vec<[String; 4]> {
    let mut reader = csv::Reader::from_path(report).unwrap();
    assert_eq!(
        reader.headers().unwrap(),
        vec!["row", "status", "agentId", "reason"]
    );
    let records = reader.records().map(|record| {
        let record = record.unwrap();
        [0, 1, 2, 3].map(|cell| record[cell].to_owned())
    });
    records.collect()
}

fn statuses(report: &[[String; 4]]) -> Vec<&str> {
    report.iter().map(|row| &*row[1]).collect()
}

async fn registered(app: &TestApp) -> Vec<Value> {
    let output = roster(app, &["list", "--json"]).await;
    assert!(output.status.success(), "{}", said(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    let parse = |line: &str| serde_json::from_str(line).unwrap();
    lines.lines().map(parse).collect()
}

async fn agent_of(app: &TestApp, rep: &str) -> Option<String> {
    let rep = PlatformId::new(rep).unwrap();
    let known = app.service().store.find_agent(&rep).await.unwrap();
    known.map(|known| known.athos_id)
}

#[tokio::test]
async fn a_file_of_reps_is_registered_and_their_ids_are_learned() {
    let app = start().await;
    let (code, said, report) = import(&app, THREE, &[]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("3 rows: 3 created"), "{said}");
    assert_eq!(statuses(&report), ["created"; 3]);
    let lines: Vec<_> = report.iter().map(|row| &*row[0]).collect();
    assert_eq!(lines, ["2", "3", "4"]);
    let agents = registered(&app).await;
    assert_eq!(agents.len(), 3);
    let dana = agents
        .iter()
        .find(|agent| agent["npn"] == "1234567")
        .unwrap();
    assert_eq!(dana["firstName"], "Dana");
    assert_eq!(dana["platformAgentId"], "rep_1");
    assert_eq!(
        agent_of(&app, "rep_1").await.as_deref(),
        dana["id"].as_str()
    );
}

#[tokio::test]
async fn a_second_run_compares_by_the_page_and_changes_nothing() {
    let app = start().await;
    let first = import(&app, THREE, &[]).await.2;
    let before = app.asked("agents").await;
    let (code, said, again) = import(&app, THREE, &[]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(statuses(&again), ["existing"; 3]);
    let ids = |report: &[[String; 4]]| -> Vec<String> {
        report.iter().map(|row| row[2].clone()).collect()
    };
    assert_eq!(ids(&again), ids(&first));
    assert_eq!(
        app.asked("agents").await - before,
        2,
        "a page of all, and the one without an id of ours, whom the page has"
    );

    let four = format!("{THREE}Lee,Park,,777777,rep_4,,acme,\n");
    let (code, _, report) = import(&app, &four, &[]).await;
    assert_eq!(code, 0);
    assert_eq!(
        statuses(&report),
        ["existing", "existing", "existing", "created"]
    );
}

#[tokio::test]
async fn a_dry_run_foretells_and_changes_nothing() {
    let app = start().await;
    let (code, said, report) = import(&app, THREE, &["--dry-run"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(statuses(&report), ["would create"; 3]);
    assert!(registered(&app).await.is_empty());
    assert_eq!(app.asked("agencies").await, 0);
    import(&app, THREE, &[]).await;
    let moved = "Dana,Reyes,,1234567,,,acme,\nLee,Park,,7777,rep_9,,acme,\n";
    let (_, _, report) = import(&app, moved, &["--dry-run"]).await;
    assert_eq!(statuses(&report), ["existing", "would create"]);
}

#[tokio::test]
async fn rows_that_cannot_be_registered_are_told_and_the_others_are() {
    let app = start().await;
    let rows = "\
        Dana,Reyes,,12,rep_1,,acme,Acme\n\
        Sam,Okafor,,,rep_2,,acme,\n\
        Ana,Ruiz,,,rep_3,,elsewhere,\n\
        Lee,Park,,,rep_4,athos_agency_none,,\n";
    let (code, said, report) = import(&app, rows, &[]).await;
    assert_eq!(code, 1, "{said}");
    // The agency is named by a row that is not sent.
    assert_eq!(statuses(&report), ["invalid", "failed", "failed", "failed"]);
    assert!(report[0][3].contains("npn"), "{report:?}");
    assert!(report[2][3].contains("agencyName"), "{report:?}");
    assert!(said.contains("line 4: failed: its agency"), "{said}");

    let rows = rows.replace(",12,", ",1234,");
    let (code, _, report) = import(&app, &rows, &[]).await;
    assert_eq!(code, 1);
    assert_eq!(
        statuses(&report),
        ["created", "created", "failed", "failed"]
    );
}

#[tokio::test]
async fn who_is_found_by_something_else_is_paired_unless_they_are_somebody_else() {
    let app = start().await;
    // Registered without ids of ours; one of them is then given one.
    let rows = "Dana,Reyes,,1111,,,acme,Acme\nSam,Okafor,,2222,rep_2,,acme,\n";
    let first = import(&app, rows, &[]).await.2;
    let rows = "Dana,Reyes,,1111,rep_1,,acme,\nSam,Okafor,,2222,rep_7,,acme,\n";
    let (code, said, report) = import(&app, rows, &[]).await;
    assert_eq!(code, 1, "{said}");
    assert_eq!(statuses(&report), ["existing", "failed"]);
    assert_eq!(report[0][2], first[0][2]);
    assert_eq!(report[0][3], "found by npn");
    assert!(report[1][3].contains("\"rep_2\""), "{report:?}");
    assert_eq!(agent_of(&app, "rep_1").await, Some(first[0][2].clone()));
    assert_eq!(agent_of(&app, "rep_7").await, None);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_a_refused_key_ends_it_for_all() {
    let app = start().await;
    app.faults(json!({
        "429": { "times": 2, "retryAfterSec": 0, "on": ["agents"] },
        "500-then-ok": { "times": 1, "on": ["agencies"] },
    }))
    .await;
    let (code, said, report) = import(&app, THREE, &[]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(statuses(&report), ["created"; 3]);

    app.faults(json!({ "key-revoked": {} })).await;
    let rows: String = (0..40)
        .map(|n| format!("Lee,Park,,,other_{n},,acme,\n"))
        .collect();
    let before = app.asked("agents").await;
    let (code, said, report) = import(&app, &rows, &[]).await;
    assert_eq!(code, 1, "{said}");
    assert_eq!(report.len(), 40);
    assert!(report.iter().all(|row| row[1] == "failed"));
    assert!(
        report[39][3].starts_with("not tried: Athos refuses us"),
        "{report:?}"
    );
    assert!(app.asked("agents").await - before <= 4, "not one by one");
}

#[tokio::test]
async fn an_import_that_is_stopped_reports_and_goes_on_the_next_time() {
    let app = start().await;
    app.faults(json!({ "slow": { "ms": 100, "on": ["agents"] } }))
        .await;
    let rows: String = (0..200)
        .map(|n| {
            format!(
                "Lee,Park,,,rep_{n},,acme,{}\n",
                if n == 0 { "Acme" } else { "" }
            )
        })
        .collect();
    let file = write(&app, &rows);
    let flags = ["import", file.to_str().unwrap(), "--report", "report.csv"];
    let running = Running::start(command_of(&app, &flags));
    while app.asked("agents").await < 6 {
        tokio::task::yield_now().await;
    }
    running.signal("INT");
    let (code, log) = tokio::task::spawn_blocking(|| running.wait())
        .await
        .unwrap();
    assert_eq!(code, 1, "{log}");
    let report = read(&folder(&app).join("report.csv"));
    let created = |report: &[[String; 4]]| report.iter().filter(|row| row[1] == "created").count();
    let done = created(&report);
    assert!((1..200).contains(&done), "{done}");
    assert_eq!(
        registered(&app).await.len(),
        done,
        "none without a line that says so"
    );
    assert!(report[199][3].contains("run it again"), "{report:?}");

    app.faults(json!({})).await;
    let (code, said, report) = import(&app, &rows, &[]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(created(&report), 200 - done);
    assert!(said.contains("100/200 rows"), "{said}");
}

#[tokio::test]
async fn a_file_that_is_none_and_a_vendor_without_a_roster_are_said_to_be_so() {
    let app = start().await;
    let file = folder(&app).join("none.csv");
    std::fs::write(&file, "name,phone\n").unwrap();
    let output = roster(&app, &["import", "none.csv"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("firstName"), "{}", said(&output));
    let output = roster(&app, &["import", "nowhere.csv"]).await;
    assert_eq!(output.status.code(), Some(1));

    let older = json!({ "contract": "external" });
    app.simulate(Method::PUT, "/_simulator/contract", older)
        .await;
    let (code, words, report) = import(&app, THREE, &[]).await;
    assert_eq!(code, 1, "{words}");
    assert!(report[0][3].contains("need no registration"), "{report:?}");
    let output = roster(&app, &["list"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("need no registration"));
}

#[tokio::test]
async fn reps_are_listed_by_page_and_found_by_any_handle() {
    let app = start().await;
    let rows: String = (0..120)
        .map(|n| {
            format!(
                "Lee,Park,lee{n}@acme.example,{},rep_{n},,acme,Acme\n",
                10_000 + n
            )
        })
        .collect();
    let (code, said_of_import, _) = import(&app, &rows, &[]).await;
    assert_eq!(code, 0, "{said_of_import}");
    assert_eq!(registered(&app).await.len(), 120);
    let output = roster(&app, &["list", "--limit", "101"]).await;
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().lines().count(),
        101
    );

    let id = agent_of(&app, "rep_7").await.unwrap();
    for handle in [&*id, "rep_7", "10007", "LEE7@acme.example"] {
        let output = roster(&app, &["find", handle, "--json"]).await;
        assert!(output.status.success(), "{handle}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["id"], json!(id), "{handle}");
    }
    let output = roster(&app, &["find", "nobody"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("nobody is registered as"));

    // An id of ours that looks like an NPN is found beside the NPN.
    import(&app, "Lee,Park,,,10008,,acme,\n", &[]).await;
    let output = roster(&app, &["find", "10008"]).await;
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
}

#[tokio::test]
async fn who_is_registered_as_somebody_else_than_the_file_says_is_a_mismatch() {
    let app = start().await;
    let first = import(&app, THREE, &[]).await.2;
    for (row, named) in [
        ("Dana,Ruiz,,,rep_1,,acme,", "lastName is \"Reyes\" at Athos"),
        (
            "Dana,Reyes,,7654321,rep_1,,acme,",
            "npn is \"1234567\" at Athos",
        ),
        (
            "Dana,Reyes,d@acme.example,,rep_1,,acme,",
            "email is \"dana@acme.example\" at Athos",
        ),
        (
            "Sam,Okafor,,555555,rep_2,,acme,",
            "npn is not on record at Athos",
        ),
        ("Dana,Reyes,,,rep_1,,beta,Beta", "(\"acme\") at Athos"),
        ("Dana,Reyes,,,rep_1,,nobodys,", "(\"acme\") at Athos"),
        (
            "Dana,Reyes,,,rep_1,athos_agency_other,,",
            "its agency is athos_agency_",
        ),
        // By another handle than our id: they may be another person, and are not paired.
        (
            "Eve,Adams,,1234567,,,acme,",
            "firstName is \"Dana\" at Athos; lastName",
        ),
        (
            "Eve,Adams,ana@acme.example,,rep_9,,acme,",
            "found by email; firstName is \"Ana\"",
        ),
    ] {
        for flags in [&["--dry-run"][..], &[]] {
            let (code, said, report) = import(&app, &format!("{row}\n"), flags).await;
            assert_eq!(
                (code, statuses(&report)),
                (1, vec!["mismatch"]),
                "{row}: {said}"
            );
            assert!(report[0][3].contains(named), "{row}: {report:?}");
            assert!(first.iter().any(|row| row[2] == report[0][2]), "{report:?}");
            assert!(said.contains("line 2: mismatch: "), "{said}");
            assert!(said.contains("1 row: 1 mismatch"), "{said}");
        }
    }
    assert_eq!(agent_of(&app, "rep_9").await, None);
    // Case is no difference, and what the file does not say is none.
    let same = "DANA,reyes,DANA@acme.example,123-4567,rep_1,,acme,\nSam,Okafor,,,rep_2,,acme,\n";
    let (code, said, report) = import(&app, same, &[]).await;
    assert_eq!(
        (code, statuses(&report)),
        (0, vec!["existing"; 2]),
        "{said}"
    );
}

#[tokio::test]
async fn who_is_known_here_and_gone_at_athos_is_registered_anew() {
    let app = start().await;
    import(&app, THREE, &[]).await;
    app.simulate(Method::DELETE, "/_simulator/agents/rep_2", json!({}))
        .await;
    let (code, said, report) = import(&app, THREE, &[]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(statuses(&report), ["existing", "created", "existing"]);
}

#[tokio::test]
async fn nothing_that_a_spreadsheet_broke_is_sent() {
    let app = start().await;
    let rows = "\
        Dana,Reyes,,,8.84213E+15,,acme,Acme\n\
        Sam,Okafor,,,NULL,,acme,Acme\n\
        Ana,Ruiz,,12345.0,rep_3,,acme,Acme\n\
        Lee,Park,,20-224801,rep_4,,acme,Acme\n";
    let (code, said, report) = import(&app, rows, &[]).await;
    assert_eq!(code, 1, "{said}");
    assert_eq!(
        statuses(&report),
        ["invalid", "invalid", "invalid", "created"]
    );
    assert!(
        said.contains("line 2: invalid: platformAgentId is 8.84213E+15"),
        "{said}"
    );
    let agents = registered(&app).await;
    assert_eq!(agents.len(), 1);
    assert_eq!(agents[0]["npn"], "20224801");

    let asked = app.asked("agents").await + app.asked("agencies").await;
    let (code, said, _) = import(
        &app,
        "Dana,Reyes,,,\"rep_5,,acme,\nSam,Okafor,,,rep_6,,acme,\n",
        &[],
    )
    .await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("line 2: a quote"), "{said}");
    assert_eq!(
        app.asked("agents").await + app.asked("agencies").await,
        asked
    );
}

#[tokio::test]
async fn a_report_is_never_written_over_what_is_no_report() {
    let app = start().await;
    let file = write(&app, THREE);
    let before = std::fs::read(&file).unwrap();
    let at = |name: &str| folder(&app).join(name);
    std::fs::hard_link(&file, at("hard.csv")).unwrap();
    std::os::unix::fs::symlink("reps.csv", at("soft.csv")).unwrap();
    std::fs::write(at("notes.txt"), "row,status\n").unwrap();
    let whole = file.to_str().unwrap();
    for report in [
        "reps.csv",
        "./reps.csv",
        whole,
        "hard.csv",
        "soft.csv",
        "notes.txt",
        "athos.db",
    ] {
        let output = roster(&app, &["import", "reps.csv", "--report", report]).await;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{report}: {said}");
        assert!(said.contains("cannot write the report"), "{said}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(std::fs::read(at("notes.txt")).unwrap(), b"row,status\n");
    assert_eq!(
        app.asked("agents").await,
        0,
        "found out before anything is sent"
    );
    std::fs::write(at("report.csv"), "").unwrap();
    for _ in 0..2 {
        let report = import(&app, THREE, &[]).await.2;
        assert_eq!(report.len(), 3, "an earlier one is replaced");
    }
}

#[tokio::test]
async fn a_rep_is_found_by_whatever_a_text_may_be_and_an_unknown_agency_is_said_to_be_one() {
    let app = start().await;
    let name = "é".repeat(200);
    let rows = format!(
        "Dana,Reyes,,20224801,42,,acme,{name}\n\
         Sam,Okafor,sam@acme.example,,123456789012,,acme,\n\
         Ana,Ruiz,,,rep@7,,acme,\n\
         Lee,Park,,,20-224801,,acme,\n"
    );
    let (code, said_of_import, _) = import(&app, &rows, &[]).await;
    assert_eq!(code, 0, "{said_of_import}");
    for (handle, names) in [
        ("42", &["Dana"][..]),
        ("123456789012", &["Sam"]),
        ("rep@7", &["Ana"]),
        (" SAM@acme.example ", &["Sam"]),
        ("20224801", &["Dana"]),
        ("(20) 224.801", &["Dana"]),
        ("20-224801", &["Lee", "Dana"]),
    ] {
        let output = roster(&app, &["find", handle, "--json"]).await;
        assert!(output.status.success(), "{handle}: {}", said(&output));
        let lines = String::from_utf8(output.stdout).unwrap();
        let found = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found: Vec<_> = found.map(|agent| agent["firstName"].clone()).collect();
        assert_eq!(found, names, "{handle}");
    }
    for nobody in ["7", "no body", "x@y", "athos_agent_none", &"9".repeat(300)] {
        let output = roster(&app, &["find", nobody]).await;
        assert_eq!(output.status.code(), Some(1), "{nobody}");
        assert!(
            said(&output).contains("nobody is registered as"),
            "{}",
            said(&output)
        );
    }
    let output = roster(&app, &["find", "athos_agency_1"]).await;
    assert_eq!(output.status.code(), Some(2));
    for unknown in ["acme", "athos_agency_none"] {
        let output = roster(&app, &["list", "--agency", unknown]).await;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("no agency {unknown:?}")), "{said}");
        assert!(!said.contains("generation external"), "{said}");
    }
}
