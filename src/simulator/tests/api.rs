//! The external API, rule by rule of the contract.

use std::time::Duration;

use proptest::prelude::*;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::clock::Clock;
use crate::simulator::{Contract, StartError};

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
    let details = begun.body["persona"]["details"].as_str().unwrap();
    assert!(details.contains("CA"), "{details}");

    assert_eq!(sim.detail(id).await.code(), "CALL_NOT_FOUND", "still live");
    sim.clock.advance(Duration::from_millis(37_241));
    let ended = sim.end_call(id).await;
    assert_eq!(ended.body["alreadyEnded"], false);
    assert_eq!(ended.body["durationSec"], 37);
    sim.idle().await;

    let detail = sim.detail(id).await;
    assert_eq!(detail.status, 200);
    let expected: Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/call.external.json")).unwrap();
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
    }
    assert!(
        sim.list(FROM)
            .await
            .headers
            .contains_key("x-athos-request-id")
    );
}

#[tokio::test]
async fn keys_are_checked_and_several_are_accepted() {
    let options = Options {
        api_keys: vec![
            SecretString::from("ath_live_a"),
            SecretString::from("ath_live_b"),
        ],
        ..hasty()
    };
    let sim = Sim::start(options).await;
    let body = json!({ "externalUserId": "r" });
    let path = format!("{API}/session");
    for (key, status) in [
        ("ath_live_a", 200),
        ("ath_live_b", 200),
        ("ath_live_c", 401),
    ] {
        let minted = sim.post(&path, key, body.clone()).await;
        assert_eq!(minted.status, status, "{minted:?}");
    }
    for path in ["/calls?from=x", "/calls/x"] {
        let request = sim.request(Method::GET, &format!("{API}{path}"));
        let refused = answer(request.send().await.unwrap()).await;
        assert_eq!((refused.status, refused.code()), (401, "INVALID_API_KEY"));
    }
}

#[tokio::test]
async fn a_mint_is_refused_without_a_usable_user() {
    let sim = Sim::start(hasty()).await;
    let path = format!("{API}/session");
    for body in [
        json!({}),
        json!({ "externalUserId": " " }),
        json!([]),
        json!("x"),
    ] {
        let refused = sim.post(&path, DEMO_API_KEY, body).await;
        assert_eq!((refused.status, refused.code()), (400, "INVALID_REQUEST"));
    }
    let request = sim.request(Method::POST, &path).bearer_auth(DEMO_API_KEY);
    let refused = answer(request.body("{").send().await.unwrap()).await;
    assert_eq!((refused.status, refused.code()), (400, "INVALID_REQUEST"));
}

#[tokio::test]
async fn only_invalid_requests_and_expired_tokens_leave_a_token_unspent() {
    let sim = Sim::start(hasty()).await;
    let good = json!({ "drillKey": "ma-full-sale" });

    let unknown = sim.redeem("nonsense", good.clone()).await;
    assert_eq!((unknown.status, unknown.code()), (401, "INVALID_TOKEN"));
    let keyed = sim.redeem(DEMO_API_KEY, good.clone()).await;
    assert_eq!(keyed.code(), "INVALID_TOKEN", "a key is no token");

    let token = sim.mint("r").await;
    for bad in [
        json!({}),
        json!({ "drillKey": " " }),
        json!({ "drillKey": 1 }),
        json!({ "drillKey": "ma-full-sale", "difficulty": "Easy" }),
    ] {
        let refused = sim.redeem(&token, bad).await;
        assert_eq!((refused.status, refused.code()), (400, "INVALID_REQUEST"));
    }
    let odd_filters = json!({ "drillKey": "ma-full-sale", "filters": [7], "difficulty": null });
    assert_eq!(
        sim.redeem(&token, odd_filters).await.status,
        200,
        "still unspent"
    );
    let again = sim.redeem(&token, good.clone()).await;
    assert_eq!((again.status, again.code()), (401, "TOKEN_ALREADY_USED"));

    let token = sim.mint("r").await;
    let unknown_drill = sim.redeem(&token, json!({ "drillKey": "no-such" })).await;
    assert_eq!(
        (unknown_drill.status, unknown_drill.code()),
        (400, "DRILL_NOT_FOUND")
    );
    assert_eq!(
        sim.redeem(&token, good.clone()).await.code(),
        "TOKEN_ALREADY_USED"
    );

    let token = sim.mint("r").await;
    sim.put_faults(json!({ "down": { "on": ["redeem"] } }))
        .await;
    let down = sim.redeem(&token, good.clone()).await;
    assert_eq!((down.status, down.code()), (503, "SERVICE_UNAVAILABLE"));
    sim.put_faults(json!({})).await;
    assert_eq!(
        sim.redeem(&token, good.clone()).await.code(),
        "TOKEN_ALREADY_USED"
    );

    let token = sim.mint("r").await;
    sim.clock.advance(Duration::from_secs(300));
    let expired = sim.redeem(&token, good.clone()).await;
    assert_eq!((expired.status, expired.code()), (401, "TOKEN_EXPIRED"));
    sim.clock.set(start_time());
    assert_eq!(
        sim.redeem(&token, good).await.status,
        200,
        "expiry spends nothing"
    );
}

#[tokio::test]
async fn of_many_who_redeem_one_token_at_once_exactly_one_gets_the_call() {
    let sim = Sim::start(hasty()).await;
    let token = sim.mint("r").await;
    let body = json!({ "drillKey": "ma-full-sale" });
    let all = (0..16).map(|_| sim.redeem(&token, body.clone()));
    let all = futures_util::future::join_all(all).await;
    assert_eq!(all.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(
        all.iter()
            .filter(|answer| answer.code() == "TOKEN_ALREADY_USED")
            .count(),
        15
    );
}

#[tokio::test]
async fn browsers_of_other_origins_may_redeem_and_nothing_else() {
    let sim = Sim::start(hasty()).await;
    let ask = async |method: Method, path: &str, wanted: Option<&str>| {
        let mut request = sim
            .request(method, path)
            .header("origin", "https://app.example");
        if let Some(method) = wanted {
            request = request
                .header("access-control-request-method", method)
                .header(
                    "access-control-request-headers",
                    "authorization,content-type",
                );
        }
        answer(request.send().await.unwrap()).await
    };
    let redeem = format!("{API}/roleplay/session");
    let preflight = ask(Method::OPTIONS, &redeem, Some("POST")).await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.headers["access-control-allow-origin"], "*");
    let refused = ask(Method::POST, &redeem, None).await;
    assert_eq!((refused.status, refused.code()), (401, "INVALID_TOKEN"));
    assert_eq!(
        refused.headers["access-control-allow-origin"], "*",
        "errors can be read, too"
    );

    for (method, path) in [
        (Method::POST, format!("{API}/session")),
        (Method::GET, format!("{API}/calls")),
        (Method::GET, format!("{API}/calls/x")),
        (Method::PUT, "/_simulator/faults".into()),
    ] {
        for wanted in [None, Some(method.as_str())] {
            let asked = if wanted.is_some() {
                Method::OPTIONS
            } else {
                method.clone()
            };
            let refused = ask(asked, &path, wanted).await;
            assert_eq!(refused.status, 403, "{path}: {refused:?}");
            assert!(!refused.headers.contains_key("access-control-allow-origin"));
        }
    }
    let own = sim.running.origin();
    let request = sim
        .request(Method::GET, "/_simulator/faults")
        .header("origin", own);
    assert_eq!(
        request.send().await.unwrap().status(),
        200,
        "its own pages may"
    );

    let end = ask(Method::OPTIONS, "/_simulator/calls/x/end", Some("POST")).await;
    assert_eq!(
        end.headers["access-control-allow-origin"], "*",
        "the stand-in SDK ends calls"
    );
    let sdk = ask(Method::GET, "/sdk/athos-sdk.js", None).await;
    assert_eq!(sdk.headers["access-control-allow-origin"], "*");
    assert_eq!(
        sdk.headers["content-type"],
        "text/javascript; charset=utf-8"
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

#[tokio::test]
async fn the_same_seed_and_requests_give_the_same_answers() {
    let run = async |seed| {
        let sim = Sim::start(Options { seed, ..hasty() }).await;
        let mut told = vec![sim.mint("r").await];
        for rep in ["a", "b", "a"] {
            let id = sim.scored_call(rep).await;
            told.push(sim.detail(&id).await.body.to_string());
        }
        told.push(format!(
            "{:?}",
            sim.list(&format!("{FROM}&limit=2")).await.body
        ));
        told.push(format!("{:?}", sim.get("/_simulator/calls").await.body));
        told.push(sim.detail("x").await.body.to_string());
        told
    };
    let first = run(1).await;
    // Waiting at the control plane takes request ids, too; it does so the same number of times.
    assert_eq!(first, run(1).await);
    assert_ne!(first, run(2).await);
}

#[tokio::test]
async fn generations_that_are_not_simulated_and_empty_secrets_are_refused_at_the_start() {
    let start = async |options| {
        let clock = Clock::system();
        crate::simulator::start(options, clock, CancellationToken::new())
            .await
            .err()
            .unwrap()
    };
    for contract in [Contract::Roster, Contract::Both] {
        let error = start(Options {
            contract,
            ..hasty()
        })
        .await;
        assert!(matches!(error, StartError::Contract(_)), "{error}");
    }
    let blank = vec![SecretString::from(" ")];
    let error = start(Options {
        api_keys: blank.clone(),
        ..hasty()
    })
    .await;
    assert!(matches!(error, StartError::NoApiKey));
    let error = start(Options {
        webhook_secrets: blank,
        ..hasty()
    })
    .await;
    assert!(matches!(error, StartError::NoWebhookSecret));
}

#[tokio::test]
async fn it_stops_when_told_even_while_somebody_waits() {
    let shutdown = CancellationToken::new();
    let options = Options {
        score_delay: Duration::from_secs(3600),
        ..hasty()
    };
    let running = crate::simulator::start(options, Clock::system(), shutdown.clone());
    let running = running.await.unwrap();
    let origin = running.origin();
    let http = crate::simulator::http_client().unwrap();
    let burst = http
        .post(format!("{origin}/_simulator/burst"))
        .json(&json!({ "calls": 3 }));
    assert_eq!(burst.send().await.unwrap().status(), 200);
    let waiting = http
        .get(format!("{origin}/_simulator/deliveries?wait=3"))
        .send();
    let waiting = tokio::spawn(waiting);
    shutdown.cancel();
    running.stopped().await.unwrap();
    drop(waiting.await);
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
