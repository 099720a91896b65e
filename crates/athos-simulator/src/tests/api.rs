//! The external API, rule by rule of the contract: a call's way, the list, the errors.

use std::time::Duration;

use proptest::prelude::*;
use reqwest::Method;
use serde_json::json;

use super::*;

const FROM: &str = "from=2026-01-01T00:00:00.000Z";

#[tokio::test]
async fn a_call_runs_from_mint_to_detail() {
    let sim = Sim::start(hasty()).await;
    let minted = sim
        .post(
            &format!("{API}/session"),
            DEMO_API_KEY,
            json!({ "externalUserId": "rep_8842", "externalAgencyId": "agency_chicago" }),
        )
        .await;
    assert_eq!(minted.status, 200);
    assert_eq!(minted.body["expiresAt"], "2026-06-05T14:44:40.295Z");
    let token = minted.body["token"].as_str().unwrap();
    assert_eq!(token.split('.').count(), 3, "a JWT");

    let begun = sim
        .redeem(
            token,
            json!({ "drillKey": "ma-full-sale", "filters": { "state": "CA" }, "difficulty": "Elite" }),
        )
        .await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let id = begun.body["callId"].as_str().unwrap();
    assert!(id.starts_with("athos_call_"));
    assert!(
        begun.body["sessionId"]
            .as_str()
            .unwrap()
            .starts_with("ext_")
    );
    assert!(begun.body["connectionTicket"].is_string() && begun.body["connectionUrl"].is_string());
    assert!(!begun.body["persona"]["name"].as_str().unwrap().is_empty());
    assert_eq!(
        begun.body["persona"].as_object().unwrap().len(),
        1,
        "no details"
    );

    assert_eq!(sim.detail(id).await.code(), "CALL_NOT_FOUND", "still live");
    sim.clock.advance(Duration::from_millis(37_241));
    let ended = sim.end_call(id).await;
    assert_eq!(ended.body["alreadyEnded"], false);
    assert_eq!(ended.body["durationSec"], 37);
    sim.idle().await;

    let detail = sim.detail(id).await;
    assert_eq!(detail.status, 200);
    let expected: Value = serde_json::from_str(include_str!(
        "../../../../tests/fixtures/call.external.json"
    ))
    .unwrap();
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&detail.body), keys(&expected));
    assert_eq!(keys(&detail.body["score"]), keys(&expected["score"]));
    for same in [
        "source",
        "status",
        "externalUserId",
        "externalAgencyId",
        "drillKey",
        "startedAt",
        "endedAt",
        "durationSec",
        "audioUrl",
        "audioUrlExpiresAt",
        "waveform",
    ] {
        assert_eq!(detail.body[same], expected[same], "{same}");
    }
    let turns = detail.body["transcript"].as_array().unwrap();
    assert!(turns.len() >= 6);
    assert!(turns.iter().any(|turn| turn["role"] == "user"));
    assert!(turns.iter().any(|turn| turn["role"] == "assistant"));
    assert!(detail.body["score"]["overallScore"].as_u64().unwrap() <= 100);
    assert_eq!(
        sim.detail(id).await.body,
        detail.body,
        "asked again, the same"
    );

    let list = sim.list(FROM).await;
    let mut slim = detail.body.clone();
    for not_in_list in [
        "status",
        "transcript",
        "score",
        "audioUrl",
        "audioUrlExpiresAt",
        "waveform",
        "createdAt",
        "updatedAt",
    ] {
        slim.as_object_mut().unwrap().shift_remove(not_in_list);
    }
    assert_eq!(list.body, json!({ "data": [slim], "nextCursor": null }));
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_every_error_the_envelope() {
    let sim = Sim::start(hasty()).await;
    let call = format!("{API}/calls/athos_call_unknown");
    for (method, path, status, code) in [
        (Method::GET, call.as_str(), 404, "CALL_NOT_FOUND"),
        (Method::GET, "/api/external/v1/nowhere", 404, "NOT_FOUND"),
        (Method::GET, "/", 404, "NOT_FOUND"),
        (
            Method::DELETE,
            "/api/external/v1/calls",
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            Method::GET,
            "/api/external/v1/session",
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            Method::GET,
            "/api/external/v1/roleplay/session",
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            Method::GET,
            "/_simulator/calls/x/end",
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            Method::POST,
            "/_simulator/calls/x/end",
            404,
            "CALL_NOT_FOUND",
        ),
        (Method::POST, "/_simulator/burst", 400, "INVALID_REQUEST"),
        (Method::POST, "/sdk/athos-sdk.js", 405, "METHOD_NOT_ALLOWED"),
    ] {
        let request = sim.request(method.clone(), path).bearer_auth(DEMO_API_KEY);
        let refused = answer(request.send().await.unwrap()).await;
        assert_eq!(
            (refused.status, refused.code()),
            (status, code),
            "{method} {path}"
        );
        let id = refused.headers["x-athos-request-id"].to_str().unwrap();
        assert!(id.starts_with("req_"));
        assert_eq!(refused.body["error"]["requestId"], id);
        assert!(refused.body["error"]["message"].is_string());
        assert_eq!(refused.headers["content-type"], "application/json");
        assert_eq!(
            refused.headers.contains_key("allow"),
            status == 405,
            "{path}"
        );
    }
    assert!(
        sim.list(FROM)
            .await
            .headers
            .contains_key("x-athos-request-id")
    );
}

#[tokio::test]
async fn a_list_is_validated_and_not_clamped() {
    let sim = Sim::start(hasty()).await;
    for query in [
        "",
        "from=",
        "from=yesterday",
        "from=2026-01-01",
        "to=2026-01-01T00:00:00Z",
        &format!("{FROM}&to=x"),
        &format!("{FROM}&limit=0"),
        &format!("{FROM}&limit=101"),
        &format!("{FROM}&limit=ten"),
        &format!("{FROM}&limit=1.5"),
        &format!("{FROM}&limit="),
        &format!("{FROM}&cursor=abc"),
        &format!("{FROM}&cursor="),
        &format!("{FROM}&source=real_call"),
        &format!("{FROM}&source="),
    ] {
        let refused = sim.list(query).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "INVALID_REQUEST"),
            "{query:?}"
        );
    }
    for query in [&format!("{FROM}&limit=100&source=roleplay&unknown=1"), FROM] {
        assert_eq!(
            sim.list(query).await.body,
            json!({ "data": [], "nextCursor": null })
        );
    }
}

#[tokio::test]
async fn pages_cover_every_scored_call_once_newest_first() {
    let sim = Sim::start(hasty()).await;
    for second in 0..3 {
        let burst = json!({ "calls": 4, "reps": ["a", "b"], "agency": format!("agency_{second}") });
        assert_eq!(sim.post("/_simulator/burst", "", burst).await.status, 200);
        sim.clock.advance(Duration::from_secs(1));
    }
    sim.begin_call("a").await;
    sim.idle().await;

    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = sim.list(&format!("{FROM}&limit=5{cursor}")).await.body;
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= 5);
        seen.extend(
            rows.iter()
                .map(|row| (row["endedAt"].to_string(), row["id"].to_string())),
        );
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 12, "a live call is not listed");
    assert!(seen.is_sorted_by(|newer, older| newer.0 >= older.0));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 12);

    let count = async |query: &str| {
        sim.list(&format!("{FROM}&{query}")).await.body["data"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count("externalUserId=a").await, 6);
    assert_eq!(count("externalAgencyId=agency_1").await, 4);
    assert_eq!(count("externalUserId=a&externalAgencyId=agency_1").await, 2);
    assert_eq!(count("externalUserId=nobody").await, 0);
    assert_eq!(
        count("to=2026-06-05T14:39:41.295Z").await,
        8,
        "`to` is inclusive"
    );
    assert_eq!(count("to=2026-06-05T14:39:41.294Z").await, 4);
    assert_eq!(
        count("to=2020-01-01T00:00:00Z").await,
        0,
        "a window that ends before it begins"
    );
    let from = sim.list("from=2026-06-05T14:39:42.295Z").await;
    assert_eq!(
        from.body["data"].as_array().unwrap().len(),
        4,
        "`from` is inclusive"
    );
}

#[test]
fn no_garbage_in_a_cursor_or_a_query_is_an_error_of_the_vendors() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sim = runtime.block_on(Sim::start(hasty()));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let garbage = ("\\PC{0,80}", "[A-Za-z0-9_%&=-]{0,80}");
    let tested = runner.run(&garbage, |(cursor, query)| {
        let cursor: String = url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
        let with_cursor = runtime.block_on(sim.list(&format!("{FROM}&cursor={cursor}")));
        prop_assert_eq!(with_cursor.status, 400);
        let any = runtime.block_on(sim.list(&query));
        prop_assert!(any.status < 500);
        Ok(())
    });
    tested.unwrap();
}
