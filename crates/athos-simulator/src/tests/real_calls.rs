//! Real calls: nobody begins them here, they are listed by their start, and they are scored in another way.

use std::time::Duration;

use serde_json::json;

use super::roster::speaking;
use super::*;

const LIST: &str = "from=2026-01-01T00:00:00.000Z&source=real_call";

async fn start(receiver: &Receiver) -> Sim {
    let options = Options {
        webhook_url: Some(receiver.url.clone()),
        ..speaking(Contract::Roster)
    };
    Sim::start(options).await
}

async fn make(sim: &Sim, body: Value) -> Vec<String> {
    let made = sim.post("/_simulator/real-calls", "", body).await;
    assert_eq!(made.status, 200, "{made:?}");
    sim.idle().await;
    let ids = made.body["callIds"].as_array().unwrap();
    ids.iter().map(|id| id.as_str().unwrap().into()).collect()
}

#[tokio::test]
async fn a_real_call_is_announced_listed_and_shown_as_one() {
    let receiver = Receiver::start(&[]).await;
    let sim = start(&receiver).await;
    let body = json!({
        "agent": "rep_1", "agency": "acme", "startedAt": "2026-06-05T10:00:00.000Z", "durationSec": 7200,
    });
    let id = &make(&sim, body).await[0];
    let webhook = receiver.received()[0].json();
    assert_eq!(webhook["callId"], json!(id));
    assert_eq!(webhook["source"], "real_call");
    assert_eq!(webhook["platformAgentId"], "rep_1");
    assert_eq!(webhook["platformAgencyId"], "acme");

    let detail = sim.detail(id).await.body;
    assert_eq!(detail["source"], "real_call");
    assert_eq!(detail["drillKey"], Value::Null);
    assert_eq!(detail["endedAt"], "2026-06-05T12:00:00.000Z");
    assert_eq!(detail["durationSec"], 7200);
    assert!(detail["audioUrl"].is_string());
    let turns = detail["transcript"].as_array().unwrap();
    let mut last_end = 0.0;
    for turn in turns {
        let keys: Vec<_> = turn.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["role", "content", "startTime", "endTime"]);
        let (start, end) = (&turn["startTime"], &turn["endTime"]);
        assert_eq!(start.as_f64().unwrap(), last_end);
        last_end = end.as_f64().unwrap();
        assert!(last_end > start.as_f64().unwrap());
    }
    assert_eq!(last_end, 7200.0);
    assert_eq!(sim.list(LIST).await.body["data"][0]["id"], json!(id));
    let practice = sim.list(&LIST.replace("real_call", "roleplay")).await;
    assert_eq!(practice.body["data"], json!([]));
}

#[tokio::test]
async fn real_calls_are_listed_by_when_they_started() {
    let receiver = Receiver::start(&[]).await;
    let sim = start(&receiver).await;
    // The one that started first ends last.
    let mut ids = Vec::new();
    for (started_at, duration) in [("10:00", 14_400), ("11:00", 60), ("12:00", 60)] {
        let at = format!("2026-06-05T{started_at}:00.000Z");
        let body = json!({ "agent": "r", "startedAt": at, "durationSec": duration });
        ids.extend(make(&sim, body).await);
    }
    let listed = async |query: &str| -> Vec<Value> {
        let list = sim.list(query).await.body;
        let rows = list["data"].as_array().unwrap();
        rows.iter().map(|row| row["id"].clone()).collect()
    };
    assert_eq!(listed(LIST).await, [&*ids[2], &*ids[1], &*ids[0]]);
    let window = "source=real_call&from=2026-06-05T10:00:00.000Z&to=2026-06-05T11:00:00.000Z";
    assert_eq!(
        listed(window).await,
        [&*ids[1], &*ids[0]],
        "both ends belong"
    );
    let later = "source=real_call&from=2026-06-05T10:00:00.001Z&to=2026-06-05T11:59:59.999Z";
    assert_eq!(listed(later).await, [&*ids[1]]);

    let page = sim.list(&format!("{LIST}&limit=2")).await.body;
    let cursor = page["nextCursor"].as_str().unwrap();
    assert_eq!(listed(&format!("{LIST}&cursor={cursor}")).await, [&*ids[0]]);
    let foreign = LIST.replace("real_call", "roleplay");
    let foreign = sim.list(&format!("{foreign}&cursor={cursor}")).await;
    assert_eq!((foreign.status, foreign.code()), (400, "INVALID_REQUEST"));
}

#[tokio::test]
async fn real_scores_run_from_60_to_100_or_are_0_and_can_be_wished_for() {
    let receiver = Receiver::start(&[]).await;
    let sim = start(&receiver).await;
    make(&sim, json!({ "count": 60 })).await;
    let mut scores = Vec::new();
    let mut agents = Vec::new();
    for row in sim.list(&format!("{LIST}&limit=100")).await.body["data"]
        .as_array()
        .unwrap()
    {
        let detail = sim.detail(row["id"].as_str().unwrap()).await.body;
        scores.push(detail["score"]["overallScore"].as_u64().unwrap());
        agents.push(row["platformAgentId"].to_string());
    }
    assert_eq!(scores.len(), 60);
    assert!(scores.contains(&0));
    assert!(
        scores
            .iter()
            .all(|score| *score == 0 || (60..=100).contains(score))
    );
    agents.sort();
    agents.dedup();
    assert_eq!(agents.len(), 5);

    let id = &make(&sim, json!({ "overallScore": 0 })).await[0];
    assert_eq!(sim.detail(id).await.body["score"]["overallScore"], 0);
}

#[tokio::test]
async fn a_real_call_may_end_unscored_and_says_so_once() {
    let receiver = Receiver::start(&[]).await;
    let sim = start(&receiver).await;
    let id = &make(&sim, json!({ "scored": false })).await[0];
    let webhook = receiver.received()[0].json();
    assert_eq!(webhook["success"], false);
    assert_eq!(webhook["reason"], "SCORING_INCOMPLETE");
    assert_eq!(sim.detail(id).await.code(), "CALL_NOT_FOUND");
    assert_eq!(sim.list(LIST).await.body["data"], json!([]));
}

#[tokio::test]
async fn a_real_call_of_a_registered_agent_is_of_the_agents_agency() {
    let receiver = Receiver::start(&[]).await;
    let sim = start(&receiver).await;
    make(&sim, json!({ "agent": "rep_1", "agency": "acme" })).await;
    sim.clock.advance(Duration::from_secs(1));
    let again = make(&sim, json!({ "agent": "rep_1" })).await;
    let detail = sim.detail(&again[0]).await.body;
    assert_eq!(detail["platformAgencyId"], "acme");
    let by_athos_id = json!({ "agent": detail["agentId"] });
    let third = make(&sim, by_athos_id).await;
    assert_eq!(sim.detail(&third[0]).await.body["platformAgentId"], "rep_1");
}

#[tokio::test]
async fn real_calls_that_cannot_be_are_refused() {
    let receiver = Receiver::start(&[]).await;
    let sim = start(&receiver).await;
    for body in [
        json!({ "count": 0 }),
        json!({ "durationSec": 28_801 }),
        json!({ "overallScore": 59 }),
        json!({ "overallScore": 101 }),
        json!({ "agent": " " }),
        json!({ "startedAt": "yesterday" }),
        json!({ "startedAt": "2026-06-05T14:39:00.000Z", "durationSec": 60 }),
        json!({ "startedAt": "2030-01-01T00:00:00.000Z", "durationSec": 0 }),
        json!({ "drillKey": "ma-full-sale" }),
    ] {
        let refused = sim.post("/_simulator/real-calls", "", body.clone()).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "INVALID_REQUEST"),
            "{body}"
        );
    }
    let calls = sim.get("/_simulator/calls").await.body;
    assert_eq!(calls, json!({ "calls": [] }));
}

#[tokio::test]
async fn the_older_generation_neither_makes_nor_shows_nor_announces_real_calls() {
    let receiver = Receiver::start(&[]).await;
    let sim = start(&receiver).await;
    let id = &make(&sim, json!({})).await[0];
    let body = json!({ "contract": "external" });
    sim.put("/_simulator/contract", body).await;
    let refused = sim.post("/_simulator/real-calls", "", json!({})).await;
    assert_eq!((refused.status, refused.code()), (400, "INVALID_REQUEST"));
    assert_eq!(sim.detail(id).await.code(), "CALL_NOT_FOUND");
    assert_eq!(sim.list(LIST).await.status, 400);
    let all = "from=2026-01-01T00:00:00.000Z";
    assert_eq!(sim.list(all).await.body["data"], json!([]));
}
