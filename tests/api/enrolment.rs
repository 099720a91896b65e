//! Enrolment: a rep whom Athos does not know is registered when they first ask for a token, where that is wanted and what
//! their credentials say is enough. Nobody gets an agent who is somebody else.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Setup, TestApp};

/// A service that enrols, before an Athos with a roster, which it knows to be one.
async fn enrolling() -> TestApp {
    enrolling_with(Setup::new()).await
}

async fn enrolling_with(setup: Setup) -> TestApp {
    let app = setup
        .flag("auto-enroll", "true")
        .flag("athos-contract", "roster")
        .start()
        .await;
    app.speak("roster").await;
    app
}

/// A rep's own credentials, with whatever else they say.
fn signed_in(app: &TestApp, rep: &str, more: &Value) -> String {
    let mut claims = app.claims(rep, "agency_1", "rep");
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    app.jwt(&claims)
}

fn dana() -> Value {
    json!({ "name": "Dana van Reyes", "email": "dana@example.com", "email_verified": true })
}

async fn ask(app: &TestApp, token: &str) -> Answer {
    app.post("/athos/token", token, &json!({})).await
}

fn advice(refused: &Answer) -> String {
    refused.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn an_unknown_rep_is_enrolled_from_their_credentials_and_minted_for() {
    let app = enrolling().await;
    let token = signed_in(&app, "rep_1", &dana());
    let minted = ask(&app, &token).await.expect(200).json();
    let agent = app.agents("platformAgentId=rep_1").await.remove(0);
    assert_eq!(agent["firstName"], "Dana");
    assert_eq!(agent["lastName"], "van Reyes");
    assert_eq!(agent["email"], "dana@example.com");
    assert_eq!(app.asked("session").await, 2);
    ask(&app, &token).await.expect(200);
    assert_eq!(app.asked("session").await, 3, "once is enough");

    // What was learned on the way is used at once: the ids of Athos's are the rep's.
    let id = app.end_of_call(minted["token"].as_str().unwrap()).await;
    app.work().await;
    let path = format!("/athos/calls?rep={}", agent["id"].as_str().unwrap());
    let calls = app.get(&path, &token).await.expect(200).json();
    assert_eq!(calls["data"][0]["id"], id.as_str());
    assert_eq!(calls["data"][0]["rep"], "rep_1");
    assert_eq!(calls["data"][0]["agency"], "agency_1");
    assert!(
        app.metrics()
            .await
            .contains("athos_enrolments_total{outcome=\"enrolled\"}")
    );
}

#[tokio::test]
async fn auto_goes_from_the_refusal_of_one_generation_to_enrolment_in_the_other() {
    let app = Setup::new().flag("auto-enroll", "true").start().await;
    app.speak("roster").await;
    ask(&app, &signed_in(&app, "rep_1", &dana()))
        .await
        .expect(200);
    assert_eq!(app.contract().await["generation"], "roster");
    assert_eq!(app.asked("session").await, 3);
}

#[tokio::test]
async fn an_agency_is_called_what_the_credentials_say_and_else_keeps_its_name() {
    let setup = Setup::new().flag("auth-claim-agency-name", "agency_name");
    let app = enrolling_with(setup).await;
    let agency_name = async || {
        let (_, agency) = app
            .athos(
                Method::POST,
                "/agents",
                &json!({
                    "firstName": "N", "lastName": "N", "platformAgencyId": "agency_1",
                    "platformAgentId": format!("probe_{}", app.asked("agents").await),
                }),
            )
            .await;
        agency["agency"]["name"].as_str().unwrap().to_owned()
    };
    ask(&app, &signed_in(&app, "rep_1", &json!({ "name": "A B" })))
        .await
        .expect(200);
    assert_eq!(agency_name().await, "agency_1", "there was no other");
    let named = json!({ "name": "A B", "agency_name": " Chicago \n South " });
    ask(&app, &signed_in(&app, "rep_2", &named))
        .await
        .expect(200);
    assert_eq!(agency_name().await, "Chicago South");
    ask(&app, &signed_in(&app, "rep_3", &json!({ "name": "A B" })))
        .await
        .expect(200);
    assert_eq!(agency_name().await, "Chicago South");
}

#[tokio::test]
async fn many_first_clicks_of_one_rep_enrol_once() {
    let app = enrolling().await;
    app.faults(json!({ "slow": { "ms": 50 } })).await;
    let token = signed_in(&app, "rep_1", &dana());
    let minted = join_all((0..10).map(|_| ask(&app, &token))).await;
    for answer in minted {
        answer.expect(200);
    }
    app.faults(json!({})).await;
    // One to find the agency missing, one with it.
    assert_eq!(app.asked("agents").await, 2);
    assert_eq!(app.asked("agencies").await, 1);
    assert_eq!(app.agents("platformAgentId=rep_1").await.len(), 1);
}

#[tokio::test]
async fn what_keeps_a_rep_from_being_enrolled_is_said() {
    let app = enrolling().await;
    let mut no_agency = app.claims("rep_1", "", "rep");
    no_agency.as_object_mut().unwrap().remove("agency_id");
    no_agency["name"] = json!("Dana Reyes");
    for (token, expected) in [
        (app.rep("rep_1", "agency_1"), "AUTH_CLAIM_NAME"),
        (app.jwt(&no_agency), "AUTH_CLAIM_AGENCY"),
        (app.secrets.service.clone(), "service token"),
    ] {
        let body = json!({ "externalUserId": "rep_1" });
        let refused = app.post("/athos/token", &token, &body).await;
        let refused = refused.refused(404, "AGENT_NOT_FOUND");
        assert!(advice(&refused).contains(expected), "{}", advice(&refused));
    }
    assert_eq!(app.asked("agents").await, 0);

    let off = Setup::new().start().await;
    off.speak("roster").await;
    let refused = ask(&off, &signed_in(&off, "rep_1", &dana())).await;
    let refused = refused.refused(404, "AGENT_NOT_FOUND");
    for word in ["AUTO_ENROLL=true", "roster import"] {
        assert!(advice(&refused).contains(word), "{}", advice(&refused));
    }
    assert_eq!(off.asked("agents").await, 0);
}

#[tokio::test]
async fn an_agent_with_the_reps_address_is_the_rep_and_their_calls_are_theirs() {
    let app = enrolling().await;
    let agent = app
        .register("agency_1", json!({ "email": "dana@example.com" }))
        .await;
    let token = signed_in(&app, "rep_1", &dana());
    let minted = ask(&app, &token).await.expect(200).json();
    let before = app.asked("session").await;
    ask(&app, &token).await.expect(200);
    assert_eq!(
        app.asked("session").await - before,
        1,
        "by Athos's id, at once"
    );
    assert_eq!(
        app.agents("platformAgentId=rep_1").await,
        Vec::<Value>::new()
    );

    // Athos does not know our id, so it does not say it; the call is the rep's all the same.
    let id = app.end_of_call(minted["token"].as_str().unwrap()).await;
    app.work().await;
    let raw = app.detail().await.to_string();
    assert!(raw.contains("\"platformAgentId\":null"), "{raw}");
    let path = format!("/athos/calls/{id}");
    let call = app.get(&path, &token).await.expect(200).json();
    assert_eq!(call["rep"], "rep_1");
    app.get(&path, &app.manager("agency_1")).await.expect(200);
    for other in [app.rep("rep_2", "agency_1"), app.manager("agency_2")] {
        app.get(&path, &other).await.refused(404, "CALL_NOT_FOUND");
    }
    let by_agent = format!("/athos/calls?rep={agent}");
    let calls = app.get(&by_agent, &token).await.expect(200).json();
    assert_eq!(calls["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_gets_an_agent_who_is_another_rep() {
    // By what was found out before: only we know that the agent is rep_1.
    let app = enrolling().await;
    app.register("agency_1", json!({ "email": "dana@example.com" }))
        .await;
    ask(&app, &signed_in(&app, "rep_1", &dana()))
        .await
        .expect(200);
    let refused = ask(&app, &signed_in(&app, "rep_2", &dana())).await;
    let refused = refused.refused(404, "AGENT_NOT_FOUND");
    assert!(advice(&refused).contains("e-mail"), "{}", advice(&refused));

    // By what Athos has on record.
    let handles = json!({ "email": "lee@example.com", "platformAgentId": "rep_3" });
    app.register("agency_1", handles).await;
    let lee = json!({ "name": "Lee Roe", "email": "lee@example.com", "email_verified": true });
    ask(&app, &signed_in(&app, "rep_4", &lee))
        .await
        .refused(404, "AGENT_NOT_FOUND");

    // An address that nobody has checked is not used at all.
    let mut unverified = lee;
    unverified["email_verified"] = json!(false);
    ask(&app, &signed_in(&app, "rep_4", &unverified))
        .await
        .expect(200);
    let agent = app.agents("platformAgentId=rep_4").await.remove(0);
    assert_eq!(agent["email"], Value::Null);
}

#[tokio::test]
async fn an_address_that_nobody_vouches_for_gives_nobody_an_agent_or_its_calls() {
    let app = enrolling().await;
    let agent = app
        .register("agency_1", json!({ "email": "dana@example.com" }))
        .await;
    let by_service = json!({ "agentId": agent });
    let minted = app
        .post("/athos/token", &app.secrets.service, &by_service)
        .await
        .expect(200)
        .json();
    let id = app.end_of_call(minted["token"].as_str().unwrap()).await;
    app.work().await;

    let mut claims = dana();
    claims.as_object_mut().unwrap().remove("email_verified");
    let token = signed_in(&app, "rep_1", &claims);
    let refused = ask(&app, &token).await.refused(404, "AGENT_NOT_FOUND");
    assert!(
        advice(&refused).contains("email_verified"),
        "{}",
        advice(&refused)
    );
    let path = format!("/athos/calls/{id}");
    app.get(&path, &token).await.refused(404, "CALL_NOT_FOUND");

    // Once the issuer vouches for it, they are.
    let token = signed_in(&app, "rep_1", &dana());
    ask(&app, &token).await.expect(200);
    app.get(&path, &token).await.expect(200);
}

#[tokio::test]
async fn email_verified_vouches_for_the_claim_email_and_for_no_other() {
    let victim = json!({ "email": "dana@example.com" });
    // The attacker's own address was checked; the victim's is what they typed into their profile.
    let claims = |checked: Value| {
        json!({
            "name": "Mal Lory", "email": "mal@example.com", "email_verified": true,
            "app": { "email": "dana@example.com", "checked": checked, "mails": ["dana@example.com"] },
            "https://example.com/email": "dana@example.com",
        })
    };
    for claim in ["app.email", "https://example.com/email"] {
        let app = enrolling_with(Setup::new().flag("auth-claim-email", claim)).await;
        app.register("agency_1", victim.clone()).await;
        let token = signed_in(&app, "rep_1", &claims(json!(true)));
        let refused = ask(&app, &token).await.refused(404, "AGENT_NOT_FOUND");
        let advice = advice(&refused);
        assert!(advice.contains("AUTH_CLAIM_EMAIL_VERIFIED"), "{advice}");
    }

    // A claim of its own vouches, and nothing else does in its place.
    let app = enrolling_with(
        Setup::new()
            .flag("auth-claim-email", "app.email")
            .flag("auth-claim-email-verified", "app.checked"),
    )
    .await;
    app.register("agency_1", victim.clone()).await;
    for unchecked in [
        json!(false),
        json!(null),
        json!("yes"),
        json!(1),
        json!([true]),
    ] {
        let token = signed_in(&app, "rep_1", &claims(unchecked));
        ask(&app, &token).await.expect(200);
        let agent = app.agents("platformAgentId=rep_1").await.remove(0);
        assert_eq!(agent["email"], Value::Null);
    }
    for (rep, checked) in [("rep_2", json!(true)), ("rep_3", json!("true"))] {
        let token = signed_in(&app, rep, &claims(checked));
        let minted = ask(&app, &token).await;
        // The first is the agent with this address, so the second cannot be.
        assert_eq!(minted.status, if rep == "rep_2" { 200 } else { 404 });
        assert!(
            app.agents(&format!("platformAgentId={rep}"))
                .await
                .is_empty()
        );
    }

    // A list of addresses is no address.
    let app = enrolling_with(Setup::new().flag("auth-claim-email", "app.mails")).await;
    app.register("agency_1", victim).await;
    let token = signed_in(&app, "rep_1", &claims(json!(true)));
    ask(&app, &token).await.expect(200);
    let agent = app.agents("platformAgentId=rep_1").await.remove(0);
    assert_eq!(agent["email"], Value::Null);
}

#[tokio::test]
async fn an_address_that_athos_would_turn_into_another_ones_is_not_used() {
    let app = enrolling().await;
    app.register("agency_1", json!({ "email": "kim@example.com" }))
        .await;
    for (nth, alike) in [
        "\u{212a}im@example.com",
        "kim@example.com\u{a0}",
        " kim@example.com",
    ]
    .into_iter()
    .enumerate()
    {
        let rep = format!("rep_{nth}");
        let claims = json!({ "name": "Kim Poe", "email": alike, "email_verified": true });
        ask(&app, &signed_in(&app, &rep, &claims)).await.expect(200);
        let agent = app
            .agents(&format!("platformAgentId={rep}"))
            .await
            .remove(0);
        assert_eq!(agent["email"], Value::Null, "{alike:?}");
    }
}

#[tokio::test]
async fn at_the_same_time_two_reps_with_one_address_are_one_agent_for_one_of_them() {
    let app = enrolling().await;
    app.register("agency_1", json!({ "email": "dana@example.com" }))
        .await;
    let tokens = ["rep_1", "rep_2"].map(|rep| signed_in(&app, rep, &dana()));
    let answers = join_all(tokens.iter().map(|token| ask(&app, token))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404]);
}

#[tokio::test]
async fn an_outage_during_enrolment_is_reported_as_one_and_the_next_click_goes_on() {
    let app = enrolling().await;
    app.faults(json!({ "down": { "on": ["agencies"] } })).await;
    let token = signed_in(&app, "rep_1", &dana());
    ask(&app, &token).await.refused(503, "SERVICE_UNAVAILABLE");
    app.faults(json!({})).await;
    ask(&app, &token).await.expect(200);
    assert_eq!(app.agents("platformAgentId=rep_1").await.len(), 1);
}
