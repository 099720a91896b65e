//! Who may do what: API keys, session tokens, browsers of other origins.

use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;

use super::*;

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
