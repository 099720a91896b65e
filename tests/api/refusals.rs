//! What a caller who asks for a session token is told when Athos refuses, is slow, is down, or talks nonsense.

use serde_json::json;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{API, Setup, TestApp};

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
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("the API key of this service"), "{message}");
    assert!(
        message.contains("the caller's credentials are fine"),
        "{message}"
    );
    assert!(message.ends_with("This API key was revoked."), "{message}");
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
        let message = error["message"].as_str().unwrap();
        match code {
            "IP_NOT_ALLOWED" => {
                assert!(message.contains("the address of this service"), "{message}")
            }
            "TENANT_INACTIVE" => {
                assert!(message.contains("the account of this service"), "{message}")
            }
            _ => assert_eq!(message, "Athos's own words."),
        }
        assert!(message.ends_with("Athos's own words."), "{message}");
        assert_eq!(error["requestId"], "req_athos");
        assert_eq!(answer.header("retry-after").is_empty(), expected != 503);
    }
}

#[tokio::test]
async fn athos_asking_us_to_wait_is_passed_on() {
    for (status, asked, told) in [(429, "17", "17"), (503, "17", "17"), (503, "2.5", "3")] {
        let answer = athos_error(status, "BUSY").insert_header("retry-after", asked);
        let (_server, app) = vendor_that_answers(answer).await;
        let busy = app.mint_for("rep_1", "agency_1").await.refused(503, "BUSY");
        assert_eq!(busy.header("retry-after"), told);
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
        assert!(
            refused.text().contains("cannot be read"),
            "{}",
            refused.text()
        );
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
    assert_eq!(app.mints_that_ended("timeout").await, 1);
}

#[tokio::test]
async fn without_an_api_key_the_caller_gets_an_error_that_says_so() {
    let app = Setup::new().without_api_keys().start().await;
    let answer = app
        .mint_for("rep_1", "agency_1")
        .await
        .refused(503, "NOT_CONFIGURED");
    assert!(answer.text().contains("no Athos API key"));
}
