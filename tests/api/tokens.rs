//! Session tokens: for whom they are minted, what Athos's refusals become, and what is remembered of each.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Setup, TestApp};

/// For whom tokens were asked, and by whom: the record of it.
async fn recorded(app: &TestApp) -> BTreeSet<(String, Option<String>, String)> {
    let mints = app.mints().await.into_iter();
    mints
        .map(|mint| (mint.rep, mint.agency, mint.caller))
        .collect()
}

fn mint(rep: &str, agency: Option<&str>, caller: &str) -> (String, Option<String>, String) {
    (rep.to_owned(), agency.map(str::to_owned), caller.to_owned())
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
    ask(json!({ "externalUserId": "rep 1" })).await.expect(200);
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
        (json!({ "externalUserId": "rep_1 " }), "white space"),
        (json!({ "externalUserId": "\u{2003}rep_1" }), "white space"),
        (json!({ "externalUserId": "rep_\u{200b}1" }), "invisible"),
        (json!({ "externalUserId": "\u{feff}rep_1" }), "invisible"),
        (
            json!({ "externalUserId": "r", "externalAgencyId": "a\u{a0}" }),
            "white space",
        ),
        (json!({ "agentId": " athos_agent_1" }), "agentId"),
        (json!({ "externalUserId": 1e20 }), "JSON"),
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

    let mints = app.mints().await;
    let rows: Vec<_> = mints
        .iter()
        .map(|mint| {
            assert_eq!(mint.answered_at, Some(mint.requested_at));
            (
                &*mint.rep,
                &*mint.caller,
                mint.outcome.as_deref().unwrap(),
                mint.expires_at.is_some(),
                mint.athos_request_id.is_some(),
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
