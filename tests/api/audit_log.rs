//! The audit log: who did what, for those who run the service, and for an endpoint that asked for it.

use reqwest::Method;
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::commands::command;
use crate::harness::{Answer, Event, Left, Setup, TestApp, unique};

/// Has somebody replay an event, and somebody else erase nobody.
async fn acts(app: &mut TestApp, ops: &str) -> i64 {
    app.event("wh_1", &Event::unscored("call_1", "rep_1", "agency_1"))
        .send(app)
        .await
        .receipt("accepted");
    app.work().await;
    let event = app.only_event().await.id;
    let replay = format!("/athos/events/{event}/replay");
    app.post(&replay, &app.admin(), &json!({}))
        .await
        .expect(200);
    app.leaves(Left {
        waiting: 1,
        ..Left::default()
    });
    app.clock.advance(std::time::Duration::from_secs(60));
    let erase = app.request(Method::DELETE, "/athos/reps/rep_nobody");
    app.send(erase.bearer_auth(ops)).await.expect(200);
    event
}

async fn with_ops() -> (TestApp, String) {
    let ops = unique("ops");
    let setup = Setup::new().flag("service-tokens", &format!("ops:admin:{ops}"));
    let app = setup.start().await;
    app.keep_secret(&ops);
    (app, ops)
}

fn actions(page: &Value) -> Vec<&str> {
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| row["action"].as_str().unwrap()).collect()
}

async fn ndjson(app: &TestApp, path: &str, bearer: &str) -> Answer {
    let request = app.request(Method::GET, path).bearer_auth(bearer);
    app.send(request.header("accept", "application/x-ndjson"))
        .await
}

#[tokio::test]
async fn the_log_says_who_did_what_and_finds_it() {
    let (mut app, ops) = with_ops().await;
    let event = acts(&mut app, &ops).await;
    let all = app.get("/athos/audit", &ops).await.expect(200).json();
    assert_eq!(actions(&all), ["delete_rep", "replay"]);
    let [erased, replayed] = [&all["data"][0], &all["data"][1]];
    assert_eq!(
        *replayed,
        json!({
            "id": replayed["id"], "at": "2026-06-05T14:39:40.295Z", "caller": "user", "rep": "an_admin", "key": null,
            "action": "replay", "eventId": event, "wasState": "done", "wasReason": null, "subject": null, "result": null,
        })
    );
    assert_eq!(
        (&erased["caller"], &erased["key"]),
        (&json!("service"), &json!("ops"))
    );
    assert!(erased["subject"].as_str().unwrap().starts_with("erased:"));
    assert_eq!(erased["result"]["calls"], 0);
    for (query, expected) in [
        ("who=ops", &["delete_rep"][..]),
        ("who=an_admin", &["replay"]),
        ("who=nobody", &[]),
        ("action=replay", &["replay"]),
        ("action=dance", &[]),
        ("from=2026-06-05T14:40:00Z", &["delete_rep"]),
        ("to=2026-06-05T14:40:00Z", &["replay"]),
        ("who=ops&action=replay", &[]),
        ("limit=1", &["delete_rep"]),
    ] {
        let page = app.get(&format!("/athos/audit?{query}"), &ops).await;
        assert_eq!(actions(&page.expect(200).json()), expected, "{query}");
    }
    let first = app.get("/athos/audit?limit=1", &ops).await.json();
    let cursor = first["nextCursor"].as_str().unwrap();
    let path = format!("/athos/audit?limit=1&cursor={cursor}");
    let second = app.get(&path, &ops).await.json();
    assert_eq!(second["data"][0], *replayed);
    assert_eq!(second["nextCursor"], Value::Null);

    let file = ndjson(&app, "/athos/audit?who=an_admin", &ops)
        .await
        .expect(200);
    assert_eq!(file.header("content-type"), "application/x-ndjson");
    assert_eq!(file.text(), format!("{replayed}\n"));
    for query in ["limit=1", "cursor=MQ"] {
        let refused = ndjson(&app, &format!("/athos/audit?{query}"), &ops).await;
        refused.refused(400, "INVALID_REQUEST");
    }
    let rep = app.rep("rep_1", "agency_1");
    ndjson(&app, "/athos/audit", &rep)
        .await
        .refused(403, "ADMIN_ONLY");
}

#[tokio::test]
async fn the_command_prints_the_same() {
    let (mut app, ops) = with_ops().await;
    acts(&mut app, &ops).await;
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let args = [&["audit"], args].concat();
        let database = app.database_url();
        let output = command(folder.path(), &args, &[("DATABASE_URL", &database)]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let file = ndjson(&app, "/athos/audit", &ops).await;
    assert_eq!(run(&["--json"]), file.text());
    let table = run(&[]);
    let rows: Vec<_> = table.lines().collect();
    assert!(rows[0].contains("WHO") && rows[1].contains("ops") && rows[2].contains("an_admin"));
    assert!(rows[2].ends_with("was done"), "{table}");
    assert_eq!(run(&["--who", "ops", "--json"]).lines().count(), 1);
    assert_eq!(run(&["--action", "dance"]), "no entries\n");
    assert!(run(&["--limit", "1"]).contains("and older ones"));
}

#[tokio::test]
async fn an_endpoint_that_asks_for_it_is_told_of_every_entry_and_no_other_is() {
    let crm = MockServer::start().await;
    let answer = ResponseTemplate::new(204);
    Mock::given(method("POST"))
        .respond_with(answer)
        .mount(&crm)
        .await;
    for (events, expected) in [
        (None, &["call.unscored"][..]),
        (
            Some("audit.recorded"),
            &["audit.recorded", "audit.recorded"],
        ),
    ] {
        let mut setup = Setup::new()
            .flag("forward-urls", &format!("{}/hook", crm.uri()))
            .flag(
                "forward-secrets",
                "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
            );
        if let Some(events) = events {
            setup = setup.flag("forward-events", events);
        }
        let mut app = setup.start().await;
        let service = app.secrets.service.clone();
        acts(&mut app, &service).await;
        let sent = app.service().forwarder.run_once().await.unwrap();
        assert_eq!(sent.delivered as usize, expected.len());
        let requests = crm.received_requests().await.unwrap();
        let bodies: Vec<Value> = requests
            .iter()
            .map(|request| serde_json::from_slice(&request.body).unwrap())
            .collect();
        let kinds: Vec<_> = bodies
            .iter()
            .map(|body| body["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, expected);
        if events.is_some() {
            let log = app.get("/athos/audit", &service).await.json();
            let mut log = log["data"].as_array().unwrap().clone();
            log.reverse();
            let told: Vec<_> = bodies.iter().map(|body| body["data"].clone()).collect();
            assert_eq!(told, log, "as the log has them, the first first");
        }
        crm.reset().await;
        let answer = ResponseTemplate::new(204);
        Mock::given(method("POST"))
            .respond_with(answer)
            .mount(&crm)
            .await;
    }
}
