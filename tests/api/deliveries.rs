//! The outbox as operators see it and what they do to it, by routes and by commands: lists, one delivery, replays, pings, and
//! messages about calls from before there was an endpoint.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use wiremock::{MockServer, ResponseTemplate};

use crate::forwarding::{
    KEY, SECOND, Scoring, answers, forward, received, receiver, secret, setup,
};
use crate::harness::{Setup, TestApp};

const HOUR: Duration = Duration::from_secs(3600);

async fn get(app: &TestApp, path: &str) -> Value {
    let answer = app.get(path, &app.secrets.service).await;
    answer.expect(200).json()
}

async fn post(app: &TestApp, path: &str, body: Value) -> Value {
    let answer = app.post(path, &app.secrets.service, &body).await;
    answer.expect(200).json()
}

async fn states(app: &TestApp) -> Vec<String> {
    let list = get(app, "/athos/deliveries").await;
    let rows = list["data"].as_array().unwrap();
    let state = |row: &Value| row["state"].as_str().unwrap().to_owned();
    rows.iter().map(state).collect()
}

/// A service with one call told to an endpoint that answers 500, which has failed once.
async fn failing() -> (MockServer, TestApp) {
    let crm = receiver(ResponseTemplate::new(500)).await;
    let app = setup(&[&crm]).start().await;
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    assert_eq!(forward(&app).await.retried, 1);
    (crm, app)
}

#[tokio::test]
async fn operators_see_each_message_on_its_way_to_each_endpoint() {
    let (crm, lake) = (
        receiver(ResponseTemplate::new(503).set_body_string("closed")).await,
        receiver(ResponseTemplate::new(204)).await,
    );
    let app = setup(&[&crm, &lake]).start().await;
    for url in &app.config.forward_urls {
        app.keep_secret(url.query().unwrap());
    }
    let call = app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    app.ended_call("rep_2", "agency_1").await;
    app.work().await;
    forward(&app).await;

    let list = get(&app, "/athos/deliveries?limit=3").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 3);
    let cursor = list["nextCursor"].as_str().unwrap();
    let rest = get(&app, &format!("/athos/deliveries?limit=3&cursor={cursor}")).await;
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    for (query, count) in [
        ("state=waiting", 2),
        ("state=delivered", 2),
        ("state=failed", 0),
        ("endpoint=1", 2),
        ("endpoint=1&state=delivered", 0),
        ("type=call.scored", 4),
        ("type=call.updated", 0),
        (&format!("call={call}"), 2),
        ("message=msg_nobody", 0),
        ("from=1h", 4),
        ("to=1h", 0),
    ] {
        let list = get(&app, &format!("/athos/deliveries?{query}")).await;
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{query}");
    }
    let row = &get(&app, &format!("/athos/deliveries?call={call}&endpoint=1")).await["data"][0];
    assert_eq!(
        row["lastError"],
        "it answered 503 Service Unavailable: closed"
    );
    assert_eq!(
        (&row["attempts"], &row["lastStatus"]),
        (&json!(1), &json!(503))
    );
    let shown = get(&app, &format!("/athos/deliveries/{}", row["id"])).await;
    let sent = received(&crm).await;
    let first = sent.iter().find(|it| row["messageId"] == *it.id).unwrap();
    let body: Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!(shown["body"], body);

    let endpoints = get(&app, "/athos/overview").await["endpoints"].clone();
    let state = |at: usize| endpoints[at]["state"].as_str().unwrap().to_owned();
    assert_eq!(
        (state(0), state(1)),
        ("failing".to_owned(), "healthy".to_owned())
    );
    assert_eq!(endpoints[0]["waiting"], 2);
    assert_eq!(endpoints[0]["host"], crm.address().to_string());
    assert_eq!(get(&app, "/readyz").await["endpoints"], endpoints);
    let anyone = app.send(app.request(Method::GET, "/readyz")).await.json();
    assert_eq!(anyone["endpoints"], Value::Null);
    assert_eq!(anyone["status"], "ready");

    let metrics = app.metrics().await;
    for line in [
        "athos_messages_sent_total{endpoint=\"1\",outcome=\"retried\"} 2",
        "athos_message_send_seconds_count{endpoint=\"2\",outcome=\"delivered\"} 2",
        "athos_endpoint_failing{endpoint=\"1\"}",
        "athos_messages_waiting{endpoint=\"2\"}",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }

    let nobody = app.get("/athos/deliveries/999", &app.secrets.service).await;
    nobody.refused(404, "DELIVERY_NOT_FOUND");
    let wrong = app
        .get("/athos/deliveries?state=dead", &app.secrets.service)
        .await;
    wrong.refused(400, "INVALID_REQUEST");
}

#[tokio::test]
async fn a_delivery_that_waits_for_its_next_attempt_is_sent_now_when_it_is_replayed() {
    let (crm, app) = failing().await;
    let id = get(&app, "/athos/deliveries").await["data"][0]["id"].clone();
    let path = format!("/athos/deliveries/{id}/replay");
    let first = received(&crm).await.remove(0);
    answers(&crm, ResponseTemplate::new(200)).await;
    assert_eq!(post(&app, &path, json!({})).await["ids"], json!([id]));
    let again = app.post(&path, &app.secrets.service, &json!({})).await;
    again.refused(409, "DELIVERY_WAITING");
    assert_eq!(forward(&app).await.delivered, 1);
    assert_eq!(received(&crm).await.remove(0).id, first.id);
    // Delivered, it can be sent once more: the receiver may have lost it.
    assert_eq!(post(&app, &path, json!({})).await["count"], 1);
    assert_eq!(forward(&app).await.delivered, 1);
    let shown = get(&app, &format!("/athos/deliveries/{id}")).await;
    let acts = shown["acts"].as_array().unwrap();
    assert_eq!(acts.len(), 2);
    assert_eq!(acts[0]["action"], "replay_delivery");
    assert_eq!(acts[0]["caller"], "service");
    assert_eq!(
        acts[0]["result"],
        json!({ "endpoint": 1, "wasState": "waiting" })
    );
    assert_eq!(acts[1]["result"]["wasState"], "delivered");
}

#[tokio::test]
async fn a_delivery_that_a_newer_one_replaces_is_not_replayed() {
    let crm = receiver(ResponseTemplate::new(200)).await;
    let athos = Scoring::start().await;
    let mut app = athos.setup(&[&crm]).start().await;
    for score in [10, 11] {
        athos.scores(&app, score).await;
        forward(&app).await;
    }
    let list = get(&app, "/athos/deliveries").await;
    let (newer, older) = (&list["data"][0]["id"], &list["data"][1]["id"]);
    let path = format!("/athos/deliveries/{older}/replay");
    let refused = app.post(&path, &app.secrets.service, &json!({})).await;
    refused.refused(409, "DELIVERY_OUTDATED");
    let all = json!({ "state": "delivered" });
    let replayed = post(&app, "/athos/deliveries/replay", all).await;
    assert_eq!(replayed["ids"], json!([newer]));
    assert_eq!(forward(&app).await.delivered, 1);
    assert_eq!(received(&crm).await[2].data["overallScore"], 11);
    // Of an endpoint that is not configured any more nothing is replayed: it would wait for good.
    app.config.forward_urls.clear();
    app.service().reload(&app.config).await.unwrap();
    let path = format!("/athos/deliveries/{newer}/replay");
    let refused = app.post(&path, &app.secrets.service, &json!({})).await;
    refused.refused(409, "DELIVERY_OUTDATED");
}

#[tokio::test]
async fn many_deliveries_are_replayed_by_state_endpoint_and_time() {
    let (down, up) = (
        receiver(ResponseTemplate::new(500)).await,
        receiver(ResponseTemplate::new(200)).await,
    );
    let app = setup(&[&down, &up]).start().await;
    app.burst(3, &["rep_1"], "agency_1").await;
    app.work().await;
    forward(&app).await;
    app.clock.advance(HOUR);
    let replay = async |body: Value| post(&app, "/athos/deliveries/replay", body).await;
    for (asked, count) in [
        (json!({ "state": "waiting" }), 0),
        (json!({ "state": "failed" }), 0),
        (json!({ "state": "delivered" }), 3),
        (json!({ "state": "delivered", "endpoint": 1 }), 0),
        (
            json!({ "state": "delivered", "endpoint": 2, "since": "2h" }),
            3,
        ),
        (json!({ "state": "delivered", "since": "1m" }), 0),
        (json!({ "state": "delivered", "until": "2h" }), 0),
    ] {
        let mut asked = asked;
        asked["dryRun"] = json!(true);
        assert_eq!(replay(asked.clone()).await["count"], count, "{asked}");
    }
    let replayed = replay(json!({ "state": "delivered", "endpoint": 2 })).await;
    assert_eq!(
        (&replayed["count"], &replayed["nextCursor"]),
        (&json!(3), &Value::Null)
    );
    assert_eq!(forward(&app).await.delivered, 3);
    for (wrong, why) in [
        (
            json!({ "state": "sending" }),
            "failed, delivered or waiting",
        ),
        (json!({ "state": "dead" }), "use one of"),
        (json!({ "state": "failed", "rep": "x" }), "rep"),
    ] {
        let answer = app
            .post("/athos/deliveries/replay", &app.secrets.service, &wrong)
            .await;
        let answer = answer.refused(400, "INVALID_REQUEST");
        assert!(answer.text().contains(why), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_test_sends_a_signed_ping_and_says_what_each_endpoint_answers() {
    let (good, bad) = (
        receiver(ResponseTemplate::new(204)).await,
        receiver(ResponseTemplate::new(401).set_body_string("who are you")).await,
    );
    let app = setup(&[&good, &bad]).start().await;
    let told = post(&app, "/athos/deliveries/test", json!({})).await;
    let told = told["data"].as_array().unwrap();
    assert_eq!(
        (&told[0]["ok"], &told[0]["status"]),
        (&json!(true), &json!(204))
    );
    assert_eq!(
        (&told[1]["ok"], &told[1]["status"]),
        (&json!(false), &json!(401))
    );
    assert!(told[1]["error"].as_str().unwrap().contains("who are you"));
    let ping = received(&good).await.remove(0);
    assert_eq!((&*ping.kind, &ping.data), ("ping", &json!({})));
    let one = post(&app, "/athos/deliveries/test", json!({ "endpoint": 2 })).await;
    assert_eq!(one["data"].as_array().unwrap().len(), 1);
    let body = json!({ "endpoint": 9 });
    let nobody = app
        .post("/athos/deliveries/test", &app.secrets.service, &body)
        .await;
    nobody.refused(404, "ENDPOINT_NOT_FOUND");
    // A ping says nothing of how messages fare.
    assert_eq!(
        get(&app, "/athos/overview").await["endpoints"][1]["state"],
        "unused"
    );
}

/// A command, on the database of the running service and with its settings.
async fn command(app: &TestApp, arguments: &[&str]) -> (bool, String) {
    let urls: Vec<_> = app
        .config
        .forward_urls
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_athos-backend"));
    command
        .env_clear()
        .current_dir(app.database().parent().unwrap())
        .env("DATABASE_URL", app.database_url())
        .env("FORWARD_URLS", urls.join(","))
        .env("FORWARD_SECRETS", secret(&KEY))
        .args(arguments);
    let done = tokio::task::spawn_blocking(move || command.output());
    let output = done.await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn the_commands_do_the_same_on_the_database() {
    let (crm, app) = failing().await;
    for url in &app.config.forward_urls {
        app.keep_secret(url.query().unwrap());
    }
    let told = async |arguments: &[&str], is_fine: bool, expected: &str| {
        let (ok, said) = command(&app, &[&["deliveries"], arguments].concat()).await;
        assert_eq!(ok, is_fine, "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        for url in &app.config.forward_urls {
            assert!(!said.contains(url.query().unwrap()), "{said}");
        }
        said
    };
    let list = told(&["list"], true, "call.scored").await;
    assert!(
        list.contains("waiting") && list.contains("it answered 500"),
        "{list}"
    );
    told(&["list", "--state", "failed"], true, "no deliveries").await;
    let row = told(&["list", "--json"], true, "\"state\":\"waiting\"").await;
    let row: Value = serde_json::from_str(&row).unwrap();
    let id = row["id"].to_string();
    let (message, call) = (
        row["messageId"].as_str().unwrap(),
        row["callId"].as_str().unwrap(),
    );
    for asked in [&*id, message, call] {
        told(&["show", asked], true, "\"type\":\"call.scored\"").await;
    }
    let public = ["show", &id, "--json", "--public-url", "https://a.example"];
    told(&public, true, "https://a.example/athos/calls/").await;
    told(
        &["show", "msg_nobody"],
        false,
        "there is no delivery msg_nobody",
    )
    .await;
    told(&["endpoints"], true, "failing since").await;
    told(&["endpoints", "--json"], true, "\"state\":\"failing\"").await;
    told(&["test"], false, "FAIL  it answered 500").await;
    told(
        &["test", "--endpoint", "7"],
        false,
        "there is no endpoint 7",
    )
    .await;
    answers(&crm, ResponseTemplate::new(200)).await;
    told(&["test", "--json"], true, "\"ok\":true").await;
    assert_eq!(received(&crm).await.remove(0).kind, "ping");
    // The command has the system's clock, in whose future the story plays.
    app.clock.advance(SECOND * 6);
    assert_eq!(forward(&app).await.delivered, 1);
    told(
        &["replay", "--state", "delivered", "--dry-run"],
        true,
        "1 delivery would be",
    )
    .await;
    told(&["replay", &id, "--json"], true, "\"count\":1").await;
    told(
        &["replay", "--state", "delivered"],
        true,
        "0 deliveries replayed",
    )
    .await;
    told(&["replay", "999"], false, "there is no delivery 999").await;
    told(&["show", &id], true, "by command").await;
    app.clock.advance(HOUR * 24 * 365);
    assert_eq!(forward(&app).await.delivered, 1);
}

#[tokio::test]
async fn calls_from_before_there_was_an_endpoint_are_forwarded_afterwards_and_each_once() {
    let (crm, lake) = (
        receiver(ResponseTemplate::new(200)).await,
        receiver(ResponseTemplate::new(200)).await,
    );
    let mut app = Setup::new().start().await;
    app.burst(3, &["rep_1"], "agency_1").await;
    app.work().await;
    let forward_from = async |app: &TestApp, more: &[&str]| {
        let arguments = [
            &["forward", "--from", "2020-01-01", "--to", "2100-01-01"],
            more,
        ]
        .concat();
        command(app, &arguments).await
    };
    let (ok, said) = forward_from(&app, &[]).await;
    assert!(
        !ok && said.contains("there is no endpoint: set FORWARD_URLS"),
        "{said}"
    );

    let url = |server: &MockServer| server.uri().parse().unwrap();
    app.config.forward_urls = vec![url(&crm)];
    app.config.forward_secrets = vec![secret(&KEY).into()];
    app.service().reload(&app.config).await.unwrap();
    app.ended_call("rep_2", "agency_1").await;
    app.work().await;
    assert_eq!(forward(&app).await.delivered, 1);
    let (_, said) = forward_from(&app, &["--dry-run"]).await;
    assert_eq!(said, "done: 4 calls, 3 messages missing\n");
    let (_, said) = forward_from(&app, &[]).await;
    assert_eq!(said, "done: 4 calls, 3 messages written\n");
    let (_, said) = forward_from(&app, &["--json"]).await;
    assert_eq!(said, "{\"calls\":4,\"messages\":0,\"dryRun\":false}\n");
    app.clock.advance(HOUR * 24 * 365);
    assert_eq!(forward(&app).await.delivered, 3);
    assert!(
        received(&crm)
            .await
            .iter()
            .all(|it| it.kind == "call.scored")
    );

    app.config.forward_urls.push(url(&lake));
    app.service().reload(&app.config).await.unwrap();
    let (ok, said) = forward_from(&app, &["--endpoint", "7"]).await;
    assert!(!ok && said.contains("there is no endpoint 7"), "{said}");
    let (_, said) = forward_from(&app, &["--endpoint", "1"]).await;
    assert_eq!(said, "done: 4 calls, 0 messages written\n");
    let (_, said) = forward_from(&app, &[]).await;
    assert_eq!(said, "done: 4 calls, 4 messages written\n");
    app.clock.advance(HOUR * 24 * 365);
    assert_eq!(forward(&app).await.delivered, 4);
    assert_eq!(received(&lake).await.len(), 4);
    assert_eq!(states(&app).await, ["delivered"; 8]);
}
