//! The generations of Athos's contract: which one tokens are minted with, what is learned and kept of that, and that calls
//! of both generations are the same people's.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{Event, START, Setup, TestApp};

const AGENT: &str = "athos_agent_by_hand";

/// How many requests for tokens Athos got while `what` was done.
async fn sessions(app: &TestApp, what: impl Future<Output = ()>) -> u64 {
    let before = app.asked("session").await;
    what.await;
    app.asked("session").await - before
}

async fn mint(app: &TestApp, rep: &str) {
    app.mint_for(rep, "agency_1").await.expect(200);
}

async fn call_ids(app: &TestApp, token: &str, query: &str) -> BTreeSet<String> {
    let list = app
        .get(&format!("/athos/calls{query}"), token)
        .await
        .expect(200);
    let rows = list.json()["data"].as_array().unwrap().clone();
    rows.iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

fn set<const N: usize>(ids: [&str; N]) -> BTreeSet<String> {
    ids.map(str::to_owned).into()
}

#[tokio::test]
async fn auto_finds_out_what_athos_speaks_and_keeps_it_over_a_restart() {
    let mut app = TestApp::start().await;
    app.speak("roster").await;
    app.register("agency_1", json!({ "platformAgentId": "rep_1" }))
        .await;
    let default = json!({ "generation": "external", "why": "default" });
    assert_eq!(app.contract().await, default);

    assert_eq!(sessions(&app, mint(&app, "rep_1")).await, 2);
    let learned = json!({
        "generation": "roster", "why": "learnt", "learntAt": START, "learntFrom": "a token that was minted",
    });
    assert_eq!(app.contract().await, learned);
    assert_eq!(sessions(&app, mint(&app, "rep_1")).await, 1);

    app.stop().await;
    app.start_again().await;
    assert_eq!(app.contract().await, learned);
    assert_eq!(sessions(&app, mint(&app, "rep_1")).await, 1);

    // Also back.
    app.speak("external").await;
    assert_eq!(sessions(&app, mint(&app, "rep_1")).await, 2);
    assert_eq!(app.contract().await["generation"], "external");
    assert_eq!(sessions(&app, mint(&app, "rep_1")).await, 1);
    // Whoever understands both is asked as before.
    app.speak("both").await;
    assert_eq!(sessions(&app, mint(&app, "rep_1")).await, 1);
    assert_eq!(app.contract().await["generation"], "external");
}

#[tokio::test]
async fn that_an_agent_is_not_known_proves_the_roster_as_well() {
    let app = TestApp::start().await;
    app.speak("roster").await;
    let asked = sessions(&app, async {
        app.mint_for("rep_1", "agency_1")
            .await
            .refused(404, "AGENT_NOT_FOUND");
    });
    assert_eq!(asked.await, 2);
    let contract = app.contract().await;
    assert_eq!(contract["generation"], "roster");
    assert_eq!(contract["learntFrom"], "the refusal AGENT_NOT_FOUND");
}

#[tokio::test]
async fn a_pinned_generation_is_the_only_one_that_is_asked_in() {
    for (pinned, spoken) in [("external", "roster"), ("roster", "external")] {
        let app = Setup::new().flag("athos-contract", pinned).start().await;
        app.speak(spoken).await;
        let asked = sessions(&app, async {
            app.mint_for("rep_1", "agency_1")
                .await
                .refused(502, "INVALID_REQUEST");
        });
        assert_eq!(asked.await, 1);
        let expected = json!({ "generation": pinned, "why": "pinned" });
        assert_eq!(app.contract().await, expected);
        assert_eq!(app.learned_contract().await, None);
    }
    let app = Setup::new().flag("athos-contract", "roster").start().await;
    app.speak("roster").await;
    app.register("agency_1", json!({ "platformAgentId": "rep_1" }))
        .await;
    assert_eq!(sessions(&app, mint(&app, "rep_1")).await, 1);
}

#[tokio::test]
async fn an_answer_that_has_nothing_to_do_with_the_request_teaches_nothing() {
    let app = TestApp::start().await;
    app.speak("roster").await;
    for fault in [
        json!({ "down": {} }),
        json!({ "quota": {} }),
        json!({ "key-revoked": {} }),
        json!({ "429": {} }),
    ] {
        app.faults(fault).await;
        let refused = app.mint_for("rep_1", "agency_1").await;
        assert!(refused.status >= 400);
        assert_eq!(app.contract().await["why"], "default");
    }
    assert_eq!(app.learned_contract().await, None);
}

#[tokio::test]
async fn a_vendor_that_understands_neither_generation_is_asked_twice_and_its_error_is_passed_on() {
    let server = MockServer::start().await;
    let refusal = json!({ "error": {
        "code": "INVALID_REQUEST", "message": "not today", "requestId": "req_odd",
    }});
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(400).set_body_json(refusal))
        .expect(4)
        .mount(&server)
        .await;
    let app = Setup::new().athos(&server.uri()).start().await;
    for _ in 0..2 {
        let refused = app.mint_for("rep_1", "agency_1").await;
        let refused = refused.refused(502, "INVALID_REQUEST");
        assert_eq!(refused.json()["error"]["message"], "not today");
    }
    let asked = server.received_requests().await.unwrap();
    let shapes: Vec<Value> = asked.iter().map(|one| one.body_json().unwrap()).collect();
    let external = json!({ "externalUserId": "rep_1", "externalAgencyId": "agency_1" });
    let roster = json!({ "platformAgentId": "rep_1" });
    assert_eq!(
        shapes,
        [&external, &roster, &external, &roster].map(Clone::clone)
    );
    assert_eq!(app.contract().await["why"], "default");
}

#[tokio::test]
async fn mints_at_the_same_time_agree_and_none_is_minted_twice() {
    let app = TestApp::start().await;
    mint(&app, "rep_0").await;
    app.speak("roster").await;
    let reps: Vec<String> = (1..=20).map(|number| format!("rep_{number}")).collect();
    for rep in &reps {
        app.register("agency_1", json!({ "platformAgentId": rep }))
            .await;
    }
    let asked = sessions(&app, async {
        let minted = join_all(reps.iter().map(|rep| app.mint_for(rep, "agency_1"))).await;
        let tokens: BTreeSet<String> = minted
            .into_iter()
            .map(|answer| answer.expect(200).json()["token"].to_string())
            .collect();
        assert_eq!(tokens.len(), 20);
    });
    assert!(asked.await <= 40);
    assert_eq!(app.contract().await["generation"], "roster");
    assert_eq!(sessions(&app, mint(&app, "rep_1")).await, 1);
    // The outcome is written after the answer has gone out.
    let mut app = app;
    app.stop().await;
    assert_eq!(app.mints_that_ended("minted").await, 22);
}

#[tokio::test]
async fn a_service_may_name_an_agent_where_athos_has_a_roster() {
    let app = TestApp::start().await;
    let ask = async |id: &str| {
        let body = json!({ "agentId": id });
        app.post("/athos/token", &app.secrets.service, &body).await
    };
    let refused = ask("athos_agent_1").await.refused(400, "INVALID_REQUEST");
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("generation external"), "{message}");
    assert!(message.contains("externalUserId"), "{message}");
    ask("rep_1").await.refused(400, "INVALID_REQUEST");
    assert_eq!(app.asked("session").await, 0);

    app.speak("roster").await;
    let agent = app
        .register("agency_1", json!({ "email": "d@example.com" }))
        .await;
    app.mint_for("rep_unknown", "agency_1")
        .await
        .refused(404, "AGENT_NOT_FOUND");
    ask("athos_agent_nobody")
        .await
        .refused(404, "AGENT_NOT_FOUND");
    let minted = ask(&agent).await.expect(200).json();
    let id = app.end_of_call(minted["token"].as_str().unwrap()).await;
    app.work().await;
    let call = app.call(&id).await;
    assert_eq!(call["rep"], agent, "there is no other id");
    assert_eq!(call["agency"], "agency_1");
    let none = call_ids(&app, &app.secrets.service, "?rep=rep_1").await;
    assert!(none.is_empty());
    for query in [format!("?rep={agent}"), "?agency=agency_1".to_owned()] {
        let found = call_ids(&app, &app.secrets.service, &query).await;
        assert_eq!(found, set([&id]), "{query}");
    }
    app.mints_are_recorded().await;
    let lacking = app.service().store.mints_without_call(app.now(), app.now());
    assert_eq!(lacking.await.unwrap(), 0, "the call is known by Athos's id");
}

#[tokio::test]
async fn a_call_without_an_id_of_ours_is_seen_by_its_rep_and_manager_and_by_no_other() {
    let app = TestApp::start().await;
    let event = |call: &str, ours: Option<&str>, agency: Option<&str>| {
        let mut event = Event::unscored(call, "", "");
        let fields = event.0.as_object_mut().unwrap();
        fields.remove("externalUserId");
        fields.remove("externalAgencyId");
        fields.insert("agentId".into(), json!(AGENT));
        fields.insert("agencyId".into(), json!("athos_agency_by_hand"));
        fields.insert("platformAgentId".into(), json!(ours));
        fields.insert("platformAgencyId".into(), json!(agency));
        event
    };
    let receive = async |id: &str, event: Event| {
        app.event(id, &event).send(&app).await.receipt("accepted");
    };
    let [rep, manager] = [app.rep("rep_a", "agency_a"), app.manager("agency_a")];
    let others = [
        app.rep("rep_b", "agency_a"),
        app.rep("rep_b", "agency_b"),
        app.manager("agency_b"),
    ];
    receive("wh_1", event("call_1", None, None)).await;
    app.work().await;
    for token in [&rep, &manager].into_iter().chain(&others) {
        assert!(call_ids(&app, token, "").await.is_empty());
    }

    let mut live = app.live(&rep, None).await;
    receive("wh_2", event("call_2", Some("rep_a"), Some("agency_a"))).await;
    app.work().await;
    receive("wh_3", event("call_3", None, None)).await;
    // Known before anybody has worked on it.
    let all = set(["call_1", "call_2", "call_3"]);
    assert_eq!(call_ids(&app, &rep, "").await, all);
    assert_eq!(call_ids(&app, &manager, "").await, all);
    app.work().await;
    assert_eq!(
        app.get("/athos/calls/call_1", &rep)
            .await
            .expect(200)
            .json()["rep"],
        "rep_a"
    );
    let mut told = BTreeSet::new();
    while told.len() < 3 {
        let change = live.next().await.unwrap();
        assert_eq!(change.data["rep"], "rep_a");
        told.insert(change.data["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(told, all);
    for token in &others {
        assert!(call_ids(&app, token, "").await.is_empty());
        for query in [
            format!("?rep={AGENT}"),
            "?agency=athos_agency_by_hand".into(),
        ] {
            assert!(call_ids(&app, token, &query).await.is_empty());
        }
        for id in &all {
            let path = format!("/athos/calls/{id}");
            app.get(&path, token).await.refused(404, "CALL_NOT_FOUND");
        }
    }

    // A later event that says otherwise takes it from nobody.
    receive("wh_4", event("call_1", Some("rep_b"), Some("agency_b"))).await;
    app.work().await;
    assert_eq!(call_ids(&app, &rep, "").await, all);
    for token in &others {
        assert!(call_ids(&app, token, "").await.is_empty());
    }
}

#[tokio::test]
async fn nobody_signs_in_under_an_id_of_athoss() {
    let app = TestApp::start().await;
    for token in [
        app.rep(AGENT, "agency_1"),
        app.rep("rep_1", "athos_agency_1"),
    ] {
        app.get("/athos/calls", &token)
            .await
            .refused(401, "INVALID_TOKEN");
    }
    let body = json!({ "externalUserId": AGENT });
    app.post("/athos/token", &app.secrets.service, &body)
        .await
        .refused(400, "INVALID_REQUEST");
}

#[tokio::test]
async fn a_switch_of_generations_keeps_a_reps_history_together() {
    let app = TestApp::start().await;
    let before = app.ended_call("rep_8842", "agency_1").await;
    let other = app.ended_call("rep_9", "agency_1").await;
    app.work().await;
    app.speak("roster").await;
    let after = app.ended_call("rep_8842", "agency_1").await;
    app.work().await;

    let rep = app.rep("rep_8842", "agency_1");
    let both = set([&before, &after]);
    assert_eq!(call_ids(&app, &rep, "").await, both);
    let all = set([&before, &after, &other]);
    assert_eq!(call_ids(&app, &app.manager("agency_1"), "").await, all);
    let agent = app.agents("platformAgentId=rep_8842").await.remove(0);
    let by_either = [
        "?rep=rep_8842".to_owned(),
        format!("?rep={}", agent["id"].as_str().unwrap()),
    ];
    for query in by_either {
        let found = call_ids(&app, &app.secrets.service, &query).await;
        assert_eq!(found, both, "{query}");
    }
    let query = format!("?agency={}", agent["agencyId"].as_str().unwrap());
    assert_eq!(call_ids(&app, &app.secrets.service, &query).await, all);
    let progress = app.get("/athos/progress", &rep).await.expect(200).json();
    assert_eq!(progress["data"].as_array().unwrap().len(), 1);
    assert_eq!(progress["data"][0]["count"], 2);
    app.mints_are_recorded().await;
    let lacking = app.service().store.mints_without_call(app.now(), app.now());
    assert_eq!(lacking.await.unwrap(), 0);
}
