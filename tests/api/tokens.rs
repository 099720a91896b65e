//! Session tokens: for whom they are minted, what Athos's refusals become, and what is remembered of each.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{API, Setup, TestApp};

/// For whom tokens were asked, and by whom: the record of it.
async fn recorded(app: &TestApp) -> BTreeSet<(String, Option<String>, String)> {
    let mut db = app.db().await;
    let rows = sqlx::query("SELECT rep, agency, caller FROM mints")
        .fetch_all(&mut db)
        .await
        .unwrap();
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

fn mint(rep: &str, agency: Option<&str>, caller: &str) -> (String, Option<String>, String) {
    (rep.to_owned(), agency.map(str::to_owned), caller.to_owned())
}

/// Another vendor than the simulator, which answers a mint with `answer`.
async fn vendor_that_answers(answer: ResponseTemplate) -> (MockServer, TestApp) {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path(format!("{API}/session")))
        .respond_with(answer)
        .mount(&server)
        .await;
    let url = format!("{}{API}", server.uri());
    let app = Setup::new().athos(&url).start().await;
    (server, app)
}

fn athos_error(status: u16, code: &str) -> ResponseTemplate {
    let error = json!({ "code": code, "message": "Athos's own words.", "requestId": "req_athos" });
    ResponseTemplate::new(status).set_body_json(json!({ "error": error }))
}

#[tokio::test]
async fn a_reps_body_is_ignored_the_credentials_say_for_whom() {
    let app = TestApp::start().await;
    let token = app.rep("rep_1", "agency_1");
    let theirs = json!({ "externalUserId": "rep_2", "externalAgencyId": "agency_2" }).to_string();
    for body in [
        "",
        "not json",
        &theirs,
        "{\"agentId\":\"x\",\"platformAgentId\":\"rep_2\"}",
    ] {
        let request = app
            .request(Method::POST, "/athos/token")
            .bearer_auth(&token);
        let minted = app
            .send(request.body(body.to_owned()))
            .await
            .expect(200)
            .json();
        let expected = [mint("rep_1", Some("agency_1"), "user")];
        assert_eq!(recorded(&app).await, expected.into());
        // The vendor was told the same.
        let id = app.redeem(minted["token"].as_str().unwrap()).await;
        let calls = app
            .simulate(Method::GET, "/_simulator/calls", Value::Null)
            .await;
        let calls = calls["calls"].as_array().unwrap();
        let call = calls
            .iter()
            .find(|call| call["callId"] == id.as_str())
            .unwrap();
        assert_eq!(call["externalUserId"], "rep_1");
        assert_eq!(call["externalAgencyId"], "agency_1");
    }
}

#[tokio::test]
async fn not_even_an_admin_mints_for_another() {
    let app = TestApp::start().await;
    let body = json!({ "externalUserId": "rep_2" });
    for (token, rep, agency) in [
        (app.admin(), "an_admin", Some("headquarters")),
        (app.manager("agency_1"), "a_manager", Some("agency_1")),
    ] {
        app.post("/athos/token", &token, &body).await.expect(200);
        let role = mint(rep, agency, "user");
        assert!(recorded(&app).await.contains(&role));
    }
}

#[tokio::test]
async fn a_service_names_the_rep_once_and_properly() {
    let app = TestApp::start().await;
    let ask = async |body: Value| app.post("/athos/token", &app.secrets.service, &body).await;
    ask(json!({ "externalUserId": " rep 1 " }))
        .await
        .expect(200);
    ask(json!({ "platformAgentId": "rep_2", "externalAgencyId": null }))
        .await
        .expect(200);
    let expected = [
        mint("rep 1", None, "service"),
        mint("rep_2", None, "service"),
    ];
    assert_eq!(recorded(&app).await, expected.into());
    ask(json!({ "externalUserId": "é".repeat(200), "new": [1] }))
        .await
        .expect(200);

    let before = app.asked("session").await;
    let long = "r".repeat(201);
    for (body, named) in [
        (json!({}), "externalUserId"),
        (json!({ "externalUserId": null }), "externalUserId"),
        (json!({ "externalUserId": "" }), "blank"),
        (json!({ "externalUserId": " \u{a0}" }), "blank"),
        (json!({ "externalUserId": long }), "200"),
        (json!({ "externalUserId": "rep\u{0}1" }), "control"),
        (json!({ "externalUserId": "rep\n1" }), "control"),
        (json!({ "platformAgentId": "\t" }), "platformAgentId"),
        (
            json!({ "externalUserId": "r", "externalAgencyId": " " }),
            "externalAgencyId",
        ),
        (
            json!({ "externalUserId": "r", "externalAgencyId": long }),
            "externalAgencyId",
        ),
        (
            json!({ "externalUserId": "r", "platformAgentId": "r" }),
            "once",
        ),
        (json!({ "agentId": "athos_agent_1" }), "roster"),
        (json!({ "externalUserId": 7 }), "JSON"),
        (json!([]), "JSON"),
        (json!("rep_1"), "JSON"),
        (Value::Null, "JSON"),
    ] {
        let refused = ask(body.clone()).await.refused(400, "INVALID_REQUEST");
        let message = refused.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains(named), "{body}: {message}");
    }
    for raw in ["", "{", "externalUserId=rep_1"] {
        let request = app
            .request(Method::POST, "/athos/token")
            .bearer_auth(&app.secrets.service);
        app.send(request.body(raw))
            .await
            .refused(400, "INVALID_REQUEST");
    }
    let huge = format!("{{\"externalUserId\":\"{}\"}}", "r".repeat(70_000));
    let request = app
        .request(Method::POST, "/athos/token")
        .bearer_auth(&app.secrets.service);
    app.send(request.body(huge))
        .await
        .refused(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(
        app.asked("session").await,
        before,
        "none of it reached Athos"
    );
}

#[tokio::test]
async fn of_two_keys_the_one_that_works_is_used_and_remembered() {
    let app = TestApp::start().await;
    app.faults(json!({ "key-revoked": { "key": app.secrets.api_keys[0] } }))
        .await;
    app.mint_for("rep_1", "agency_1").await.expect(200);
    assert_eq!(app.asked("session").await, 2);
    app.mint_for("rep_1", "agency_1").await.expect(200);
    assert_eq!(
        app.asked("session").await,
        3,
        "the revoked key is not tried again"
    );
    // When the other one goes, the first is tried again.
    app.faults(json!({ "key-revoked": { "key": app.secrets.api_keys[1] } }))
        .await;
    app.mint_for("rep_1", "agency_1").await.expect(200);
    assert_eq!(app.asked("session").await, 5);
}

#[tokio::test]
async fn with_every_key_refused_the_caller_gets_athoss_own_words() {
    let app = TestApp::start().await;
    app.faults(json!({ "key-revoked": {} })).await;
    let refused = app
        .mint_for("rep_1", "agency_1")
        .await
        .refused(502, "API_KEY_REVOKED");
    let error = &refused.json()["error"];
    assert_eq!(error["message"], "This API key was revoked.");
    assert!(error["requestId"].as_str().unwrap().starts_with("req_"));
    assert_ne!(
        error["requestId"],
        refused.header("x-request-id"),
        "it is Athos's id"
    );
    assert_eq!(app.asked("session").await, 2);
}

#[tokio::test]
async fn a_used_up_quota_is_403() {
    let app = TestApp::start().await;
    app.faults(json!({ "quota": {} })).await;
    app.mint_for("rep_1", "agency_1")
        .await
        .refused(403, "TENANT_QUOTA_EXCEEDED");
    assert_eq!(app.asked("session").await, 1, "another key would not help");
}

#[tokio::test]
async fn refusals_of_athos_keep_their_code_and_get_the_status_of_the_table() {
    for (status, code, expected) in [
        (404, "AGENT_NOT_FOUND", 404),
        (400, "INVALID_REQUEST", 502),
        (403, "IP_NOT_ALLOWED", 502),
        (403, "TENANT_INACTIVE", 502),
        (409, "SOMETHING_NEW", 502),
        (500, "INTERNAL_ERROR", 502),
        (503, "SERVICE_UNAVAILABLE", 503),
    ] {
        let (_server, app) = vendor_that_answers(athos_error(status, code)).await;
        let answer = app
            .mint_for("rep_1", "agency_1")
            .await
            .refused(expected, code);
        let error = answer.json()["error"].clone();
        assert_eq!(error["message"], "Athos's own words.");
        assert_eq!(error["requestId"], "req_athos");
        assert_eq!(answer.header("retry-after") != "", expected == 503);
    }
}

#[tokio::test]
async fn athos_asking_us_to_wait_is_passed_on() {
    for status in [429, 503] {
        let answer = athos_error(status, "BUSY").insert_header("retry-after", "17");
        let (_server, app) = vendor_that_answers(answer).await;
        let busy = app.mint_for("rep_1", "agency_1").await.refused(503, "BUSY");
        assert_eq!(busy.header("retry-after"), "17");
    }
}

#[tokio::test]
async fn what_is_not_athoss_answer_is_502_and_says_nothing_of_it() {
    let token = json!({ "token": "t", "expiresAt": "soon" });
    for answer in [
        ResponseTemplate::new(200).set_body_string("<html>hello from the proxy</html>"),
        ResponseTemplate::new(200)
            .set_body_json(json!({ "expiresAt": "2026-06-05T14:39:40.295Z" })),
        ResponseTemplate::new(200).set_body_json(token),
        ResponseTemplate::new(200),
        ResponseTemplate::new(200).set_body_bytes(vec![b' '; 9 * 1024 * 1024]),
    ] {
        let (_server, app) = vendor_that_answers(answer).await;
        let refused = app.mint_for("rep_1", "agency_1").await;
        let refused = refused.refused(502, "UPSTREAM_INVALID_RESPONSE");
        assert!(!refused.text().contains("html"), "{}", refused.text());
    }
    let page =
        ResponseTemplate::new(502).set_body_string("<html>10.0.0.7: connection refused</html>");
    let (_server, app) = vendor_that_answers(page).await;
    let refused = app
        .mint_for("rep_1", "agency_1")
        .await
        .refused(502, "HTTP_502");
    assert!(!refused.text().contains("10.0.0.7"), "{}", refused.text());
}

#[tokio::test]
async fn a_redirect_is_never_followed_with_our_key() {
    let elsewhere = MockServer::start().await;
    for status in [301, 302, 307, 308] {
        let redirect = ResponseTemplate::new(status).insert_header("location", elsewhere.uri());
        let (_server, app) = vendor_that_answers(redirect).await;
        let answer = app.mint_for("rep_1", "agency_1").await;
        answer.refused(502, &format!("HTTP_{status}"));
    }
    assert_eq!(elsewhere.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_key_that_athos_echoes_goes_no_further() {
    let server = MockServer::start().await;
    let app = Setup::new()
        .athos(&format!("{}{API}", server.uri()))
        .start()
        .await;
    let key = &app.secrets.api_keys[0];
    let said = format!("The key {key} has expired.");
    let error = json!({ "error": { "code": "X", "message": said, "requestId": "r" } });
    Mock::given(header("authorization", format!("Bearer {key}")))
        .respond_with(ResponseTemplate::new(400).set_body_json(error))
        .mount(&server)
        .await;
    let answer = app.mint_for("rep_1", "agency_1").await.refused(502, "X");
    assert!(answer.text().contains("[redacted]"));
}

#[tokio::test]
async fn nobody_at_athoss_address_is_502() {
    let app = Setup::new().athos("http://127.0.0.1:1").start().await;
    let refused = app
        .mint_for("rep_1", "agency_1")
        .await
        .refused(502, "UPSTREAM_UNREACHABLE");
    assert!(!refused.text().contains("127.0.0.1"), "{}", refused.text());
}

#[tokio::test]
async fn athos_hanging_up_is_502_and_being_down_is_503() {
    let app = TestApp::start().await;
    app.faults(json!({ "down": { "how": "hangup" } })).await;
    app.mint_for("rep_1", "agency_1")
        .await
        .refused(502, "UPSTREAM_UNREACHABLE");
    app.faults(json!({ "down": {} })).await;
    let down = app
        .mint_for("rep_1", "agency_1")
        .await
        .refused(503, "SERVICE_UNAVAILABLE");
    assert_ne!(down.header("retry-after"), "");
    app.faults(json!({})).await;
    app.mint_for("rep_1", "agency_1").await.expect(200);
}

#[tokio::test]
async fn athos_not_answering_in_ten_seconds_is_504() {
    let mut app = TestApp::start().await;
    app.faults(json!({ "slow": { "ms": 60_000, "on": ["session"] } }))
        .await;
    app.mint_for("rep_1", "agency_1")
        .await
        .refused(504, "UPSTREAM_TIMEOUT");
    app.stop().await;
    assert_eq!(
        app.count("SELECT count(*) FROM mints WHERE outcome = 'timeout'")
            .await,
        1
    );
}

#[tokio::test]
async fn without_an_api_key_the_caller_is_told_so() {
    let app = Setup::new().without_api_keys().start().await;
    let answer = app
        .mint_for("rep_1", "agency_1")
        .await
        .refused(503, "NOT_CONFIGURED");
    assert!(answer.text().contains("no Athos API key"));
}

#[tokio::test]
async fn more_tokens_than_the_limit_are_429_for_that_rep_alone() {
    let app = Setup::new().flag("mint-limit-per-rep", "2").start().await;
    let rep = app.rep("rep_1", "agency_1");
    app.post("/athos/token", &rep, &json!({})).await.expect(200);
    app.mint_for("rep_1", "agency_1").await.expect(200);
    for token in [&rep, &app.secrets.service] {
        let body = json!({ "externalUserId": "rep_1" });
        let refused = app
            .post("/athos/token", token, &body)
            .await
            .refused(429, "RATE_LIMITED");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    app.mint_for("rep_2", "agency_1").await.expect(200);
    assert_eq!(
        app.asked("session").await,
        3,
        "what is refused here does not reach Athos"
    );
}

#[tokio::test]
async fn every_mint_is_recorded_with_its_outcome_and_never_the_token() {
    let mut app = TestApp::start().await;
    let minted = app.mint_for("rep_1", "agency_1").await.expect(200).json();
    app.clock.advance(Duration::from_secs(1));
    app.faults(json!({ "quota": {} })).await;
    app.mint_for("rep_2", "agency_2")
        .await
        .refused(403, "TENANT_QUOTA_EXCEEDED");
    app.clock.advance(Duration::from_secs(1));
    app.faults(json!({ "down": { "how": "hangup" } })).await;
    let rep = app.rep("rep_3", "agency_3");
    app.post("/athos/token", &rep, &json!({}))
        .await
        .refused(502, "UPSTREAM_UNREACHABLE");
    // The outcome is written after the answer has gone out; stopping waits for it.
    app.stop().await;

    let mut db = app.db().await;
    let rows = sqlx::query(
        "SELECT rep, caller, outcome, expires_at, athos_request_id, answered_at - requested_at AS took \
         FROM mints ORDER BY requested_at",
    )
    .fetch_all(&mut db)
    .await
    .unwrap();
    let rows: Vec<(&str, &str, &str, bool, bool)> = rows
        .iter()
        .map(|row| {
            let (expires, request): (Option<i64>, Option<&str>) = (row.get(3), row.get(4));
            assert_eq!(row.get::<i64, _>("took"), 0);
            (
                row.get(0),
                row.get(1),
                row.get(2),
                expires.is_some(),
                request.is_some(),
            )
        })
        .collect();
    let expected = [
        ("rep_1", "service", "minted", true, false),
        ("rep_2", "service", "TENANT_QUOTA_EXCEEDED", false, true),
        ("rep_3", "user", "unreachable", false, false),
    ];
    assert_eq!(rows, expected);
    let token = minted["token"].as_str().unwrap();
    assert!(!app.database_holds(token));
    assert!(
        app.database_holds("rep_1"),
        "the search finds what is there"
    );
}
