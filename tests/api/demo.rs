//! `athos-backend demo`: what it prints, and the README's loop against it.

use std::io::{BufRead, Read};
use std::path::Path;

use athos_backend::clock::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::commands::{Running, command, paragraph, run};
use crate::harness::http_client;

/// The demo, and the facts it printed.
fn demo(folder: &Path, flags: &[&str]) -> (Running, Vec<(String, String)>) {
    demo_at(folder, "127.0.0.1:0", flags)
}

fn demo_at(folder: &Path, bind: &str, flags: &[&str]) -> (Running, Vec<(String, String)>) {
    let binds = ["--bind", bind, "--simulator-bind", bind];
    let args = [&["demo", "--score-delay=0s"], &binds[..], flags].concat();
    // A production's variables must not reach it.
    let env = [
        ("ATHOS_API_KEY", "ath_live_production"),
        ("TMPDIR", folder.to_str().unwrap()),
    ];
    started(folder, &args, &env)
}

/// A command that runs until it is stopped, and the facts it printed.
fn started(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> (Running, Vec<(String, String)>) {
    let mut running = Running::start(command(folder, args, env));
    let mut facts = Vec::new();
    for line in running.out.by_ref().lines() {
        let line = line.unwrap();
        if line == "ready" {
            break;
        }
        let (key, value) = line.split_once(": ").unwrap();
        facts.push((key.to_owned(), value.to_owned()));
    }
    (running, facts)
}

#[tokio::test]
async fn the_demo_prints_where_things_are_and_the_readmes_loop_works_against_it() {
    let folder = TempDir::new().unwrap();
    let (demo, facts) = demo(folder.path(), &[]);
    let keys: Vec<_> = facts.iter().map(|(key, _)| key.as_str()).collect();
    let expected = [
        "page",
        "simulator",
        "service-token",
        "webhook",
        "receiver",
        "database",
    ];
    assert_eq!(keys[..6], expected);
    #[cfg(target_os = "linux")]
    {
        let limits = demo.limits();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let core: Vec<_> = core.unwrap().split_whitespace().skip(4).take(2).collect();
        assert_eq!(core, ["0", "0"], "a core dump would hold secrets: {limits}");
    }
    let fact = |name: &str| &facts.iter().find(|(key, _)| key == name).unwrap().1;
    let (page, simulator, service) = (fact("page"), fact("simulator"), fact("service-token"));
    let database = fact("database").to_owned();
    assert_eq!(*fact("webhook"), format!("{page}/athos/webhook"));

    let http = http_client();
    let mut live = http
        .get(format!("{page}/athos/live"))
        .bearer_auth(service)
        .send()
        .await
        .unwrap();
    // As typed with curl: a body, and no Content-Type.
    let minted = http
        .post(format!("{page}/athos/token"))
        .bearer_auth(service)
        .body("{\"externalUserId\":\"rep_8842\",\"externalAgencyId\":\"agency_chicago\"}");
    let minted: Value = minted.send().await.unwrap().json().await.unwrap();
    let redeem = http
        .post(format!("{simulator}/api/external/v1/roleplay/session"))
        .bearer_auth(minted["token"].as_str().unwrap())
        .json(&json!({ "drillKey": "ma-full-sale" }));
    let begun: Value = redeem.send().await.unwrap().json().await.unwrap();
    let call_id = begun["callId"].as_str().unwrap();
    let end = http.post(format!("{simulator}/_simulator/calls/{call_id}/end"));
    assert_eq!(end.send().await.unwrap().status(), 200);
    let mut seen = String::new();
    while !seen.contains("\"status\":\"scored\"") {
        let chunk = live.chunk().await.unwrap().expect("the stream ended");
        seen += std::str::from_utf8(&chunk).unwrap();
    }
    let call = http
        .get(format!("{page}/athos/calls/{call_id}"))
        .bearer_auth(service);
    let call: Value = call.send().await.unwrap().json().await.unwrap();
    assert_eq!(call["status"], "scored");
    assert_eq!(call["rep"], "rep_8842");
    assert!(!call["transcript"].as_array().unwrap().is_empty());

    // The receiver has it too, soon, and takes nothing that is not signed.
    let receiver = fact("receiver");
    let arrived = loop {
        let arrived = http.get(receiver).send().await.unwrap();
        let arrived: Value = arrived.json().await.unwrap();
        if arrived[0] != Value::Null {
            break arrived;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(arrived[0]["message"]["type"], "call.scored");
    assert_eq!(arrived[0]["message"]["data"]["id"], call_id);
    let shown = http.get(format!("{page}/demo/received"));
    let shown = shown.bearer_auth(service).send().await.unwrap();
    assert_eq!(shown.json::<Value>().await.unwrap()["data"], arrived);
    let nobody = http.get(format!("{page}/demo/received")).send().await;
    assert_eq!(nobody.unwrap().status(), 401);
    let forged = http
        .post(receiver)
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", Clock::system().now().as_secs())
        .header("webhook-signature", "v1,AAAA")
        .body("{}");
    assert_eq!(forged.send().await.unwrap().status(), 401);
    assert_eq!(http.post(receiver).send().await.unwrap().status(), 400);

    let addr = page.strip_prefix("http://").unwrap();
    assert_eq!(
        run(&["healthcheck", "--bind-addr", addr], &[])
            .status
            .code(),
        Some(0)
    );
    assert_eq!(
        run(&["healthcheck"], &[("BIND_ADDR", addr)]).status.code(),
        Some(0)
    );
    drop(live);

    let (code, log) = demo.terminate();
    assert_eq!(code, 0, "{log}");
    for secret in [
        service.as_str(),
        minted["token"].as_str().unwrap(),
        "ath_live_",
        "whsec_",
    ] {
        assert!(!log.contains(secret), "{log}");
    }
    assert!(!Path::new(&database).exists(), "the demo cleans up");
    let gone = run(&["healthcheck", "--bind-addr", addr], &[]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(paragraph(&gone).contains("no answer from"));
}

#[tokio::test]
async fn in_the_demo_of_the_newer_contract_whoever_signs_in_may_practise() {
    let folder = TempDir::new().unwrap();
    let (demo, facts) = demo(folder.path(), &["--contract=roster"]);
    let page = &facts.iter().find(|(key, _)| key == "page").unwrap().1;
    let http = http_client();
    let who = json!({ "user": "rep_1", "agency": "acme", "name": "Dana Reyes" });
    let signed_in = http.post(format!("{page}/demo/sign-in"));
    let signed_in = signed_in.body(who.to_string()).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
    let (cookie, _) = cookie.split_once(';').unwrap();
    let minted = http.post(format!("{page}/athos/token"));
    let minted = minted.header("cookie", cookie).send().await.unwrap();
    let (status, body) = (minted.status(), minted.text().await.unwrap());
    assert_eq!(status, 200, "{body}");
    let (code, log) = demo.terminate();
    assert_eq!(code, 0, "{log}");
}

/// As in a container.
#[tokio::test]
async fn a_demo_that_listens_everywhere_says_where_it_is_reached_from_here() {
    let folder = TempDir::new().unwrap();
    let (demo, facts) = demo_at(folder.path(), "0.0.0.0:0", &[]);
    let fact = |name: &str| &facts.iter().find(|(key, _)| key == name).unwrap().1;
    for name in ["page", "simulator", "webhook", "metrics"] {
        assert!(
            fact(name).starts_with("http://127.0.0.1:"),
            "{}",
            fact(name)
        );
    }
    let minted = http_client()
        .post(format!("{}/athos/token", fact("page")))
        .bearer_auth(fact("service-token"))
        .body("{\"externalUserId\":\"rep_8842\"}");
    assert_eq!(minted.send().await.unwrap().status(), 200);
    let (code, log) = demo.terminate();
    assert_eq!(code, 0, "{log}");
}

/// A database that is kept must not take its calls for those of an earlier start.
#[tokio::test]
async fn a_restarted_demo_has_other_calls_unless_it_has_the_same_seed() {
    let folder = TempDir::new().unwrap();
    let mut calls = Vec::new();
    for flags in [
        &["--database=kept.db"][..],
        &["--database=kept.db"],
        &["--seed=7"],
        &["--seed=7"],
    ] {
        let (demo, facts) = demo(folder.path(), flags);
        let fact = |name: &str| &*facts.iter().find(|(key, _)| key == name).unwrap().1;
        let burst = format!("{}/_simulator/burst", fact("simulator"));
        let burst = http_client().post(burst).body("{\"calls\":1}");
        let made: Value = burst.send().await.unwrap().json().await.unwrap();
        calls.push((made["callIds"][0].clone(), fact("seed").to_owned()));
        let (code, log) = demo.terminate();
        assert_eq!(code, 0, "{log}");
    }
    assert_ne!(calls[0], calls[1]);
    assert_ne!(calls[0].0, calls[1].0);
    assert_eq!(calls[2], calls[3]);
    assert_eq!(calls[2].1, "7");
}

#[test]
fn simulate_prints_what_a_service_beside_it_needs() {
    let folder = TempDir::new().unwrap();
    let args = ["simulate", "--bind=127.0.0.1:0", "--seed=7"];
    let (simulator, facts) = started(folder.path(), &args, &[]);
    let fact = |name: &str| &*facts.iter().find(|(key, _)| key == name).unwrap().1;
    let base = fact("simulator");
    let origin = base.strip_suffix("/api/external/v1").unwrap();
    assert_eq!(fact("sdk"), format!("{origin}/sdk/athos-sdk.js"));
    assert_eq!(fact("api-key"), athos_simulator::DEMO_API_KEY);
    assert_eq!(fact("webhook-secret"), athos_simulator::DEMO_WEBHOOK_SECRET);
    assert_eq!(fact("seed"), "7");
    let (code, log) = simulator.terminate();
    assert_eq!(code, 0, "{log}");

    let env = [("ATHOS_API_KEY", "ath_live_production")];
    let (simulator, facts) = started(folder.path(), &args, &env);
    assert!(!format!("{facts:?}").contains("production"), "{facts:?}");
    simulator.terminate();
}
