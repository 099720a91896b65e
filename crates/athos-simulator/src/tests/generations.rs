//! What calls look like in each generation, and the switch from one to another with calls of both kinds.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::roster::speaking;
use super::*;

const FROM: &str = "from=2026-01-01T00:00:00.000Z";

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

async fn switch(sim: &Sim, contract: &str) {
    let body = json!({ "contract": contract });
    let put = sim.put("/_simulator/contract", body.clone()).await;
    assert_eq!((put.status, &put.body), (200, &body));
    assert_eq!(sim.get("/_simulator/contract").await.body, body);
}

/// Registers an agent of agency `acme-7731`.
async fn enrol(sim: &Sim, id: &str) -> Value {
    let agency = json!({ "platformAgencyId": "acme-7731", "name": "Acme" });
    sim.post(&format!("{API}/agencies"), DEMO_API_KEY, agency)
        .await;
    let agent = json!({
        "firstName": "Sam", "lastName": "Okafor", "platformAgentId": id, "platformAgencyId": "acme-7731",
    });
    let added = sim
        .post(&format!("{API}/agents"), DEMO_API_KEY, agent)
        .await;
    assert_eq!(added.status, 201, "{added:?}");
    added.body["agent"].clone()
}

/// A scored call of an agent who is registered.
async fn call_of(sim: &Sim, platform_agent_id: &str) -> String {
    let body = json!({ "platformAgentId": platform_agent_id });
    let minted = sim
        .post(&format!("{API}/session"), DEMO_API_KEY, body)
        .await;
    let token = minted.body["token"].as_str().unwrap();
    let begun = sim
        .redeem(token, json!({ "drillKey": "ma-full-sale" }))
        .await;
    let id = begun.body["callId"].as_str().unwrap().to_owned();
    let path = format!("/_simulator/calls/{id}/end");
    sim.post(&path, "", json!({ "durationSec": 612 })).await;
    sim.idle().await;
    id
}

#[tokio::test]
async fn a_call_of_the_roster_has_the_keys_of_the_recorded_one_in_their_order() {
    let sim = Sim::start(speaking(Contract::Roster)).await;
    let agent = enrol(&sim, "rep_8842").await;
    // Of several, so that one has been assessed.
    let mut detail = Value::Null;
    while detail["score"].get("complianceScorecard").is_none() {
        let id = call_of(&sim, "rep_8842").await;
        detail = sim.detail(&id).await.body;
    }
    let expected: Value =
        serde_json::from_str(include_str!("../../../../tests/fixtures/call.roster.json")).unwrap();
    assert_eq!(keys(&detail), keys(&expected));
    assert_eq!(keys(&detail["score"]), keys(&expected["score"]));
    let turn = &expected["transcript"][0];
    for said in detail["transcript"].as_array().unwrap() {
        assert_eq!(keys(said), keys(turn));
        let role = said["role"].as_str().unwrap();
        assert!(role == "agent" || role == "beneficiary", "{role}");
    }
    for same in [
        "source",
        "status",
        "platformAgentId",
        "platformAgencyId",
        "drillKey",
        "durationSec",
        "waveform",
    ] {
        assert_eq!(detail[same], expected[same], "{same}");
    }
    assert_eq!(detail["agentId"], agent["id"]);
    assert_eq!(detail["agencyId"], agent["agencyId"]);
    let list = sim.list(&format!("{FROM}&source=roleplay&limit=1")).await;
    let row = &list.body["data"][0];
    assert_eq!(row["id"], detail["id"]);
    for key in keys(row) {
        assert_eq!(row[&key], detail[&key], "{key}");
    }
}

#[tokio::test]
async fn a_recording_is_a_short_lived_signed_link_for_get_only() {
    let sim = Sim::start(speaking(Contract::Roster)).await;
    enrol(&sim, "r").await;
    let id = call_of(&sim, "r").await;
    let detail = sim.detail(&id).await.body;
    assert_eq!(detail["audioUrlExpiresAt"], "2026-06-05T15:39:40.295Z");
    let url = detail["audioUrl"].as_str().unwrap();
    let path = url.strip_prefix(&sim.running.origin()).unwrap();
    let ask = async |method: Method, path: &str| sim.request(method, path).send().await.unwrap();

    let played = ask(Method::GET, path).await;
    assert_eq!(played.status(), 200);
    assert_eq!(played.headers()["content-type"], "audio/wav");
    let sound = played.bytes().await.unwrap();
    assert!(sound.starts_with(b"RIFF") && sound.len() < 64 * 1024);
    assert_eq!(
        sound.len(),
        8 + u32::from_le_bytes(sound[4..8].try_into().unwrap()) as usize
    );

    let (unsigned, _) = path.split_once("&signature").unwrap();
    let longer = path.replace("expires=1", "expires=2");
    let others = path.replace(&id, "athos_call_other");
    for (method, path) in [
        (Method::HEAD, path),
        (Method::GET, unsigned),
        (Method::GET, &longer),
        (Method::GET, &others),
    ] {
        let status = ask(method, path).await.status();
        assert_eq!(status, 403, "{path}");
    }
    sim.clock.advance(Duration::from_secs(3600));
    assert_eq!(ask(Method::GET, path).await.status(), 403, "expired");
    let fresh = sim.detail(&id).await.body["audioUrl"].clone();
    let fresh = fresh.as_str().unwrap().strip_prefix(&sim.running.origin());
    assert_eq!(ask(Method::GET, fresh.unwrap()).await.status(), 200);
}

#[tokio::test]
async fn a_list_of_the_roster_needs_a_source_and_knows_the_vendors_ids() {
    let sim = Sim::start(speaking(Contract::Roster)).await;
    let agent = enrol(&sim, "r").await;
    let (id, agency_id) = (
        agent["id"].as_str().unwrap(),
        agent["agencyId"].as_str().unwrap(),
    );
    call_of(&sim, "r").await;
    for query in [
        FROM.to_owned(),
        format!("{FROM}&source="),
        format!("{FROM}&source=video_call"),
        format!("{FROM}&source=roleplay&limit=0"),
        format!("{FROM}&source=roleplay&limit=101"),
        format!("{FROM}&limit=101&source=roleplay&agentId=athos_agent_none"),
    ] {
        let refused = sim.list(&query).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "INVALID_REQUEST"),
            "{query}"
        );
    }
    for (query, code) in [
        ("agentId=athos_agent_none", "AGENT_NOT_FOUND"),
        ("agencyId=athos_agency_none", "AGENCY_NOT_FOUND"),
    ] {
        let refused = sim.list(&format!("{FROM}&source=roleplay&{query}")).await;
        assert_eq!((refused.status, refused.code()), (404, code), "{query}");
    }
    for (query, rows) in [
        (format!("agentId={id}"), 1),
        (format!("agencyId={agency_id}&agentId={id}"), 1),
        ("platformAgentId=r&platformAgencyId=acme-7731".into(), 1),
        ("platformAgentId=nobody".into(), 0),
        ("platformAgencyId=nobodys".into(), 0),
    ] {
        let list = sim.list(&format!("{FROM}&source=roleplay&{query}")).await;
        assert_eq!(list.status, 200, "{query}");
        assert_eq!(list.body["data"].as_array().unwrap().len(), rows, "{query}");
    }
}

#[tokio::test]
async fn an_upgrade_in_place_shows_old_calls_in_the_new_shape_and_the_reverse() {
    let receiver = Receiver::start(&[]).await;
    let sim = Sim::delivering_to(&receiver).await;
    let old = sim.scored_call("rep_1").await;
    let live = sim.begin_call("rep_1").await;
    let before = sim.detail(&old).await.body;
    switch(&sim, "roster").await;

    let shown = sim.detail(&old).await.body;
    assert_eq!(shown["platformAgentId"], "rep_1");
    assert_eq!(shown["platformAgencyId"], "agency_1");
    assert!(
        shown["agentId"]
            .as_str()
            .unwrap()
            .starts_with("athos_agent_")
    );
    assert!(
        shown["agencyId"]
            .as_str()
            .unwrap()
            .starts_with("athos_agency_")
    );
    assert!(shown.get("externalUserId").is_none());
    assert_eq!(
        shown["score"]["overallScore"],
        before["score"]["overallScore"]
    );

    // A call that straddles the upgrade is announced in the new shape.
    sim.end_call(&live).await;
    sim.idle().await;
    let webhooks = receiver.received();
    assert_eq!(webhooks[0].json()["externalUserId"], "rep_1");
    assert_eq!(webhooks[1].json()["agentId"], shown["agentId"]);
    assert_eq!(webhooks[1].json()["platformAgentId"], "rep_1");

    // Whoever called before is registered, and may be minted for.
    let new = call_of(&sim, "rep_1").await;
    let list = sim
        .list(&format!("{FROM}&source=roleplay&platformAgentId=rep_1"))
        .await;
    assert_eq!(list.body["data"].as_array().unwrap().len(), 3);
    switch(&sim, "external").await;
    assert_eq!(sim.detail(&old).await.body, before);
    let shown = sim.detail(&new).await.body;
    assert_eq!(shown["externalUserId"], "rep_1");
    assert_eq!(shown["audioUrl"], Value::Null);
    assert!(shown["score"].get("compliancePercent").is_none());
    assert_eq!(
        sim.list(FROM).await.body["data"].as_array().unwrap().len(),
        3
    );
    let unknown = sim
        .put("/_simulator/contract", json!({ "contract": "v3" }))
        .await;
    assert_eq!((unknown.status, unknown.code()), (400, "INVALID_REQUEST"));
}

#[tokio::test]
async fn a_rep_of_two_agencies_and_of_none_keeps_them_apart_through_an_upgrade() {
    let sim = Sim::start(hasty()).await;
    for agency in [json!("a"), json!("b"), Value::Null] {
        let body = json!({ "calls": 1, "reps": ["r"], "agency": agency });
        sim.post("/_simulator/burst", "", body).await;
        sim.clock.advance(Duration::from_secs(1));
    }
    sim.idle().await;
    switch(&sim, "both").await;
    let list = sim.list(FROM).await.body;
    let rows = list["data"].as_array().unwrap();
    for (row, agency) in rows.iter().rev().zip([json!("a"), json!("b"), Value::Null]) {
        assert_eq!(row["externalAgencyId"], agency);
        assert_eq!(row["platformAgencyId"], agency);
        assert_eq!(row["agentId"], rows[0]["agentId"], "one agent");
    }
    assert_ne!(rows[0]["agencyId"], rows[1]["agencyId"]);
}

#[tokio::test]
async fn both_understands_either_and_carries_the_ids_of_both() {
    let receiver = Receiver::start(&[]).await;
    let sim = Sim::delivering_to(&receiver).await;
    switch(&sim, "both").await;
    enrol(&sim, "rep_2").await;
    let (old, new) = (sim.scored_call("rep_1").await, call_of(&sim, "rep_2").await);
    for (id, rep) in [(&old, "rep_1"), (&new, "rep_2")] {
        let detail = sim.detail(id).await.body;
        assert_eq!(detail["externalUserId"], rep);
        assert_eq!(detail["platformAgentId"], rep);
        assert!(detail["agentId"].is_string() && detail["audioUrl"].is_string());
    }
    for webhook in receiver.received() {
        let body = webhook.json();
        assert_eq!(body["externalUserId"], body["platformAgentId"]);
        assert!(body["agencyId"].is_string());
    }
    let count = async |query: &str| {
        let list = sim.list(&format!("{FROM}{query}")).await;
        list.body["data"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 2, "no source is needed");
    assert_eq!(count("&externalUserId=rep_1").await, 1);
    assert_eq!(count("&source=roleplay&platformAgentId=rep_2").await, 1);
}
