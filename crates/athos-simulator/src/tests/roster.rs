//! Generation `roster`, rule by rule of the contract: who is registered, and for whom tokens are minted.

use reqwest::Method;
use serde_json::json;

use super::*;

const AGENCIES: &str = "/api/external/v1/agencies";
const AGENTS: &str = "/api/external/v1/agents";

pub(super) fn speaking(contract: Contract) -> Options {
    Options {
        contract,
        ..hasty()
    }
}

/// A simulator of the roster, with one agency of the customer's.
async fn start() -> Sim {
    let sim = Sim::start(speaking(Contract::Roster)).await;
    let body = json!({ "platformAgencyId": "acme", "name": "Acme" });
    assert_eq!(sim.post(AGENCIES, DEMO_API_KEY, body).await.status, 201);
    sim
}

fn agent(more: Value) -> Value {
    let mut body = json!({ "firstName": "Sam", "lastName": "Okafor", "platformAgencyId": "acme" });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

async fn register(sim: &Sim, more: Value) -> Answer {
    sim.post(AGENTS, DEMO_API_KEY, agent(more)).await
}

async fn mint(sim: &Sim, body: Value) -> Answer {
    sim.post(&format!("{API}/session"), DEMO_API_KEY, body)
        .await
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

#[tokio::test]
async fn an_agency_is_created_and_then_renamed() {
    let sim = Sim::start(speaking(Contract::Roster)).await;
    let put = async |name: &str| {
        let body = json!({ "platformAgencyId": "acme", "name": name });
        sim.post(AGENCIES, DEMO_API_KEY, body).await
    };
    let created = put("  Acme ").await;
    assert_eq!(created.status, 201);
    let id = created.body["id"].as_str().unwrap();
    assert!(id.starts_with("athos_agency_"));
    assert_eq!(
        created.body,
        json!({ "id": id, "name": "Acme", "platformAgencyId": "acme", "createdAt": start_time() })
    );
    let renamed = put("Acme East").await;
    assert_eq!(renamed.status, 200);
    assert_eq!(renamed.body["id"], id);
    assert_eq!(renamed.body["name"], "Acme East");
}

#[tokio::test]
async fn an_agency_needs_an_id_of_yours_and_a_name() {
    let sim = Sim::start(speaking(Contract::Roster)).await;
    for body in [
        json!({ "name": "Acme" }),
        json!({ "platformAgencyId": null, "name": "Acme" }),
        json!({ "platformAgencyId": " ", "name": "Acme" }),
        json!({ "platformAgencyId": 7, "name": "Acme" }),
        json!({ "platformAgencyId": "a".repeat(201), "name": "Acme" }),
        json!({ "platformAgencyId": "athos_agency_x", "name": "Acme" }),
        json!({ "platformAgencyId": "athos_agent_x", "name": "Acme" }),
        json!({ "platformAgencyId": "acme" }),
        json!({ "platformAgencyId": "acme", "name": " " }),
        json!({ "platformAgencyId": "acme", "name": "x".repeat(201) }),
    ] {
        let answer = sim.post(AGENCIES, DEMO_API_KEY, body.clone()).await;
        refused(&answer, 400, "INVALID_REQUEST");
    }
    let longest = json!({ "platformAgencyId": "é".repeat(200), "name": "é".repeat(200) });
    assert_eq!(sim.post(AGENCIES, DEMO_API_KEY, longest).await.status, 201);
}

#[tokio::test]
async fn an_agent_is_registered_with_trimmed_names_and_shown_with_the_agency() {
    let sim = start().await;
    let body = json!({
        "firstName": " Sam ", "lastName": "\tOkafor\n", "email": " Sam@Acme.example ",
        "npn": "0012345678", "platformAgentId": "rep_1", "platformAgencyId": "acme", "agencyId": null,
    });
    let created = sim.post(AGENTS, DEMO_API_KEY, body).await;
    assert_eq!(created.status, 201, "{created:?}");
    let agency_id = &created.body["agency"]["id"];
    let id = created.body["agent"]["id"].as_str().unwrap();
    assert!(id.starts_with("athos_agent_"));
    assert_eq!(
        created.body["agent"],
        json!({
            "id": id, "firstName": "Sam", "lastName": "Okafor", "email": "sam@acme.example",
            "npn": "0012345678", "platformAgentId": "rep_1", "agencyId": agency_id,
            "createdAt": start_time(),
        })
    );
    assert_eq!(created.body["agency"]["platformAgencyId"], "acme");

    let by_athos_id = json!({
        "firstName": "Ana", "lastName": "Ruiz", "npn": "1234", "agencyId": agency_id,
    });
    let created = sim.post(AGENTS, DEMO_API_KEY, by_athos_id).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.body["agent"]["platformAgentId"], Value::Null);
    assert_eq!(created.body["agent"]["email"], Value::Null);
}

#[tokio::test]
async fn names_npn_email_and_ids_of_an_agent_have_their_limits() {
    let sim = start().await;
    for more in [
        json!({ "npn": "123" }),
        json!({ "npn": "12345678901" }),
        json!({ "npn": "1-2 3" }),
        json!({ "npn": "12a45" }),
        json!({ "npn": "١٢٣٤" }),
        json!({ "npn": 12345 }),
        json!({ "npn": "12345", "firstName": "" }),
        json!({ "npn": "12345", "firstName": " \t" }),
        json!({ "npn": "12345", "firstName": null }),
        json!({ "npn": "12345", "lastName": "x".repeat(101) }),
        json!({ "email": "sam" }),
        json!({ "email": "@acme.example" }),
        json!({ "email": " " }),
        json!({ "platformAgentId": "" }),
        json!({ "platformAgentId": "a".repeat(201) }),
        json!({ "platformAgentId": "athos_agent_1" }),
        json!({ "platformAgentId": "athos_agency_1" }),
    ] {
        let answer = register(&sim, more.clone()).await;
        refused(&answer, 400, "INVALID_REQUEST");
    }
    let name = format!(" {} ", "x".repeat(100));
    let longest =
        json!({ "platformAgentId": "a".repeat(200), "npn": "1234567890", "firstName": name });
    assert_eq!(register(&sim, longest).await.status, 201);
}

#[tokio::test]
async fn an_agent_needs_a_handle_and_exactly_one_agency() {
    let sim = start().await;
    let none = register(&sim, json!({ "npn": null, "email": null })).await;
    refused(&none, 400, "INVALID_REQUEST");
    let listed = sim.get(&format!("{AGENTS}?limit=1")).await;
    assert_eq!(listed.body["data"], json!([]));
    let agency = sim
        .post(
            AGENCIES,
            DEMO_API_KEY,
            json!({ "platformAgencyId": "acme", "name": "Acme" }),
        )
        .await
        .body["id"]
        .clone();
    for (agency_id, platform_id) in [(Value::Null, Value::Null), (agency, json!("acme"))] {
        let more = json!({ "npn": "1234", "agencyId": agency_id, "platformAgencyId": platform_id });
        refused(&register(&sim, more).await, 400, "INVALID_REQUEST");
    }
    for unknown in [
        json!({ "npn": "1234", "platformAgencyId": "nobodys" }),
        json!({ "npn": "1234", "platformAgencyId": null, "agencyId": "athos_agency_none" }),
    ] {
        refused(&register(&sim, unknown).await, 404, "AGENCY_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_handle_that_is_taken_is_a_conflict_that_says_whose_it_is() {
    let sim = start().await;
    let sam = json!({ "platformAgentId": "rep_1", "npn": "1234", "email": "sam@acme.example" });
    let sam = register(&sim, sam).await.body["agent"].clone();
    for (more, matched_on) in [
        (
            json!({ "platformAgentId": "rep_1", "npn": "9999" }),
            "platformAgentId",
        ),
        (json!({ "npn": "1234" }), "npn"),
        (json!({ "email": "SAM@acme.example" }), "email"),
        (
            json!({ "platformAgentId": "rep_2", "npn": "1234", "email": "sam@acme.example" }),
            "npn",
        ),
    ] {
        let conflict = register(&sim, more).await;
        refused(&conflict, 409, "AGENT_ALREADY_EXISTS");
        assert_eq!(
            conflict.body["error"]["details"],
            json!({ "agentId": sam["id"], "agencyId": sam["agencyId"], "matchedOn": matched_on })
        );
    }
    let others = json!({ "platformAgentId": "rep_2", "npn": "12345" });
    assert_eq!(register(&sim, others).await.status, 201);
}

#[tokio::test]
async fn agents_are_found_by_one_handle_and_nobody_is_an_empty_page() {
    let sim = start().await;
    let sam = json!({ "platformAgentId": "rep_1", "npn": "1234", "email": "sam@acme.example" });
    let sam = register(&sim, sam).await.body["agent"].clone();
    register(&sim, json!({ "platformAgentId": "rep_2" })).await;
    let (id, agency_id) = (
        sam["id"].as_str().unwrap(),
        sam["agencyId"].as_str().unwrap(),
    );
    for query in [
        format!("agentId={id}"),
        "platformAgentId=rep_1".into(),
        "npn=1234".into(),
        "email=Sam%40acme.example".into(),
        format!("npn=1234&agencyId={agency_id}&unknown=1"),
    ] {
        let found = sim.get(&format!("{AGENTS}?{query}")).await;
        assert_eq!(
            found.body,
            json!({ "data": [sam], "nextCursor": null }),
            "{query}"
        );
    }
    for query in [
        "agentId=athos_agent_none",
        "platformAgentId=nobody",
        "npn=0000",
        "email=x",
    ] {
        let found = sim.get(&format!("{AGENTS}?{query}")).await;
        assert_eq!(
            found.body,
            json!({ "data": [], "nextCursor": null }),
            "{query}"
        );
    }
    for query in [
        "npn=1234&email=sam%40acme.example",
        "npn=1&npn=2",
        "limit=0",
        "limit=101",
        "limit=x",
        "cursor=abc",
    ] {
        let answer = sim.get(&format!("{AGENTS}?{query}")).await;
        refused(&answer, 400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn pages_of_agents_cover_everybody_once() {
    let sim = start().await;
    for n in 0..7 {
        register(&sim, json!({ "platformAgentId": format!("rep_{n}") })).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = sim.get(&format!("{AGENTS}?limit=3{cursor}")).await.body;
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= 3);
        seen.extend(rows.iter().map(|row| row["platformAgentId"].clone()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all: Vec<Value> = (0..7).map(|n| json!(format!("rep_{n}"))).collect();
    assert_eq!(seen, all);
}

#[tokio::test]
async fn a_mint_is_for_a_registered_agent_under_either_id() {
    let sim = start().await;
    let sam = register(&sim, json!({ "platformAgentId": "rep_1" })).await;
    let id = sam.body["agent"]["id"].clone();
    let nulled = json!({ "platformAgentId": "rep_1", "agentId": null });
    for body in [nulled, json!({ "agentId": id })] {
        let minted = mint(&sim, body).await;
        assert_eq!(minted.status, 200, "{minted:?}");
        assert_eq!(minted.body["expiresAt"], "2026-06-05T14:44:40.295Z");
    }
    for body in [
        json!({}),
        json!({ "platformAgentId": " " }),
        json!({ "platformAgentId": "rep_1", "agentId": id }),
        json!({ "externalUserId": "rep_1" }),
    ] {
        refused(&mint(&sim, body).await, 400, "INVALID_REQUEST");
    }
    for body in [
        json!({ "platformAgentId": "rep_2" }),
        json!({ "agentId": "athos_agent_none" }),
    ] {
        refused(&mint(&sim, body).await, 404, "AGENT_NOT_FOUND");
    }
}

#[tokio::test]
async fn the_key_comes_first_then_the_account_then_the_request_then_the_agent() {
    let sim = start().await;
    let nobody = json!({ "platformAgentId": "nobody" });
    let path = format!("{API}/session");
    sim.put_faults(json!({ "tenant-inactive": {}, "quota": {} }))
        .await;
    let answer = sim.post(&path, "ath_live_wrong", json!({})).await;
    refused(&answer, 401, "INVALID_API_KEY");
    refused(&mint(&sim, json!({})).await, 403, "TENANT_INACTIVE");
    sim.put_faults(json!({ "ip-not-allowed": {} })).await;
    refused(&mint(&sim, json!({})).await, 403, "IP_NOT_ALLOWED");
    sim.put_faults(json!({ "quota": {} })).await;
    refused(&mint(&sim, json!({})).await, 400, "INVALID_REQUEST");
    refused(
        &mint(&sim, nobody.clone()).await,
        403,
        "TENANT_QUOTA_EXCEEDED",
    );
    sim.put_faults(json!({})).await;
    refused(&mint(&sim, nobody).await, 404, "AGENT_NOT_FOUND");
    for (method, path) in [(Method::POST, AGENCIES), (Method::GET, AGENTS)] {
        let request = sim.request(method, path).bearer_auth("ath_live_wrong");
        let sent = request.send().await.unwrap();
        refused(&super::answer(sent).await, 401, "INVALID_API_KEY");
    }
}

#[tokio::test]
async fn an_agent_may_be_lost_for_a_while_or_gone_for_good() {
    let sim = start().await;
    register(&sim, json!({ "platformAgentId": "rep_1" })).await;
    register(&sim, json!({ "platformAgentId": "rep_2" })).await;
    let body = json!({ "platformAgentId": "rep_1" });
    sim.put_faults(json!({ "agent-not-found": { "agent": "rep_1", "times": 1 } }))
        .await;
    let other = mint(&sim, json!({ "platformAgentId": "rep_2" })).await;
    assert_eq!(other.status, 200);
    refused(&mint(&sim, body.clone()).await, 404, "AGENT_NOT_FOUND");
    assert_eq!(mint(&sim, body.clone()).await.status, 200);

    let path = "/_simulator/agents/rep_1";
    let request = sim.request(Method::DELETE, path);
    assert_eq!(request.send().await.unwrap().status(), 200);
    refused(&mint(&sim, body.clone()).await, 404, "AGENT_NOT_FOUND");
    assert_eq!(register(&sim, body.clone()).await.status, 201, "free again");
    assert_eq!(mint(&sim, body).await.status, 200);
}

#[tokio::test]
async fn faults_and_counters_know_the_endpoints_of_the_roster() {
    let sim = start().await;
    sim.put_faults(json!({ "500-then-ok": { "on": ["agents"] }, "down": { "on": ["agencies"] } }))
        .await;
    let body = json!({ "platformAgencyId": "acme", "name": "Acme" });
    let down = sim.post(AGENCIES, DEMO_API_KEY, body).await;
    refused(&down, 503, "SERVICE_UNAVAILABLE");
    refused(&sim.get(AGENTS).await, 500, "INTERNAL_ERROR");
    assert_eq!(sim.get(AGENTS).await.status, 200);
    let counted = sim.get("/_simulator/requests").await.body;
    assert_eq!(counted["agents"]["total"], 2);
    assert_eq!(counted["agencies"]["byStatus"]["503"], 1);
}

#[tokio::test]
async fn the_older_generation_has_no_roster() {
    let sim = Sim::start(hasty()).await;
    let body = json!({ "platformAgencyId": "acme", "name": "Acme" });
    refused(
        &sim.post(AGENCIES, DEMO_API_KEY, body).await,
        404,
        "NOT_FOUND",
    );
    refused(&sim.get(AGENTS).await, 404, "NOT_FOUND");
}
