//! The keys of other backends: what each may do, what it is called, and when it was last used.

use std::time::Duration;

use athos_backend::store::Actor;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Event, Left, Setup, TestApp, unique};

/// A service with keys of these names and scopes; their tokens.
async fn with_keys<const N: usize>(keys: [(&str, &str); N]) -> (TestApp, [String; N]) {
    let tokens = keys.map(|(name, _)| unique(name));
    let mut setup = Setup::new();
    for ((name, scopes), token) in keys.iter().zip(&tokens) {
        setup = setup.flag("service-tokens", &format!("{name}:{scopes}:{token}"));
    }
    let app = setup.start().await;
    tokens.iter().for_each(|token| app.keep_secret(token));
    (app, tokens)
}

async fn keys_of(app: &TestApp, bearer: &str) -> Value {
    let ready = app.get("/readyz", bearer).await.json();
    ready["credentials"]["serviceTokens"].clone()
}

#[tokio::test]
async fn a_key_without_the_scope_sees_a_call_without_what_was_said() {
    let (app, [crm, review]) = with_keys([("crm", "read"), ("review", "read+transcripts")]).await;
    let id = app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    let path = format!("/athos/calls/{id}");
    let whole = app.get(&path, &review).await.expect(200).json();
    assert_eq!(whole, app.get(&path, &app.admin()).await.json());
    let turns = whole["transcript"].as_array().unwrap();
    assert!(!turns.is_empty());
    let bare = app.get(&path, &crm).await.expect(200);
    for turn in turns {
        let said = turn["content"].as_str().unwrap();
        assert!(!bare.text().contains(said), "{said}");
    }
    let bare = bare.json();
    assert_eq!(bare["transcript"], Value::Null);
    assert_eq!(
        bare["score"]["overallScore"],
        whole["score"]["overallScore"]
    );
    assert_eq!(bare["hasRecording"], whole["hasRecording"]);
    let recording = format!("{path}/recording");
    app.get(&recording, &crm)
        .await
        .refused(403, "SCOPE_MISSING");
}

#[tokio::test]
async fn each_key_is_told_apart_by_its_name_wherever_it_acts() {
    let (mut app, [ops, crm]) = with_keys([("ops", "admin"), ("crm", "read+mint")]).await;
    let me = app.get("/athos/me", &crm).await.expect(200).json();
    assert_eq!(
        me,
        json!({ "kind": "service", "name": "crm", "scopes": ["read", "mint"] })
    );
    app.event("wh_1", &Event::unscored("call_1", "rep_1", "agency_1"))
        .send(&app)
        .await
        .receipt("accepted");
    app.work().await;
    let event = app.only_event().await.id;
    let replay = format!("/athos/events/{event}/replay");
    app.post(&replay, &ops, &json!({})).await.expect(200);
    app.leaves(Left {
        waiting: 1,
        ..Left::default()
    });
    app.send(
        app.request(Method::DELETE, "/athos/reps/rep_nobody")
            .bearer_auth(&app.secrets.service),
    )
    .await
    .expect(200);
    let bare = athos_api::signature::fingerprint(&app.secrets.service.clone().into());
    let entries = app.audit().await.into_iter();
    let who: Vec<_> = entries.map(|row| (row.caller, row.rep)).collect();
    let service = |name: &str| (Actor::SERVICE.to_owned(), Some(name.to_owned()));
    assert_eq!(who, [service("ops"), service(&bare)]);
    let shown = app
        .get(&format!("/athos/events/{event}"), &ops)
        .await
        .json();
    assert_eq!(shown["acts"][0]["key"], "ops");
    assert_eq!(shown["acts"][0]["rep"], Value::Null);
    let metrics = app.metrics().await;
    let uses = metrics
        .lines()
        .find(|line| line.starts_with("athos_credential_uses_total") && line.contains("crm"));
    assert!(uses.unwrap().ends_with(" 1"), "{uses:?}");
}

#[tokio::test]
async fn the_last_use_of_each_key_is_seen_by_those_who_may_and_outlives_the_process() {
    let (mut app, [ops, crm, idle]) =
        with_keys([("ops", "admin"), ("crm", "read"), ("idle", "mint")]).await;
    app.get("/athos/calls", &crm).await.expect(200);
    app.clock.advance(Duration::from_secs(60));
    app.get("/athos/events", &crm)
        .await
        .refused(403, "SCOPE_MISSING");
    let ready = app.get("/readyz", &crm).await.json();
    assert_eq!(ready["credentials"], Value::Null, "only admins see them");
    app.get("/athos/me", &idle).await.expect(200);
    app.stop().await;
    app.start_again().await;
    let keys = keys_of(&app, &ops).await;
    let now = "2026-06-05T14:40:40.295Z";
    assert_eq!(
        keys[0]["scopes"].as_array().unwrap().len(),
        5,
        "the bare one"
    );
    let named = [
        json!({ "name": "ops", "scopes": ["admin"], "lastUsedAt": now }),
        json!({ "name": "crm", "scopes": ["read"], "lastUsedAt": now, "lastRefusedAt": now }),
        json!({ "name": "idle", "scopes": ["mint"], "lastUsedAt": now }),
    ];
    assert_eq!(keys.as_array().unwrap()[1..], named);
}

#[tokio::test]
async fn a_reload_gives_and_takes_scopes_at_once() {
    let (app, [crm]) = with_keys([("crm", "read")]).await;
    let mut live = app.live(&crm, None).await;
    let mut config = app.config.clone();
    config.service_tokens = vec![
        app.secrets.service.clone().into(),
        format!("crm:mint:{crm}").into(),
    ];
    let replaced = app.service().reload(&config).await.unwrap();
    assert_eq!(replaced.added, ["service_token crm (mint)"]);
    assert_eq!(replaced.removed, ["service_token crm (read)"]);
    assert_eq!(live.next().await, None, "the stream has ended");
    app.get("/athos/calls", &crm)
        .await
        .refused(403, "SCOPE_MISSING");
    app.have_registered("rep_1", "agency_1").await;
    let body = json!({ "externalUserId": "rep_1", "externalAgencyId": "agency_1" });
    app.post("/athos/token", &crm, &body).await.expect(200);
    config.service_tokens = vec![format!("crm:raed:{crm}").into()];
    let refused = app.service().reload(&config).await.unwrap_err().to_string();
    assert!(refused.contains("entry 1"), "{refused}");
    app.get("/athos/me", &crm).await.expect(200);
}

#[tokio::test]
async fn the_metrics_are_open_until_a_key_is_given_their_scope_by_name() {
    let open = TestApp::start().await;
    open.get_metrics(None).await.expect(200);
    let (app, [prometheus, crm]) = with_keys([("prometheus", "metrics"), ("crm", "read")]).await;
    let anybody = app.get_metrics(None).await;
    assert_eq!(anybody.header("www-authenticate"), "Bearer");
    anybody.refused(401, "UNAUTHENTICATED");
    let rep = app.rep("rep_1", "agency_1");
    for unknown in ["x", &rep] {
        let refused = app.get_metrics(Some(unknown)).await;
        refused.refused(401, "INVALID_TOKEN");
    }
    let refused = app.get_metrics(Some(&crm)).await;
    refused.refused(403, "SCOPE_MISSING");
    for bearer in [&prometheus, &app.secrets.service] {
        let metrics = app.get_metrics(Some(bearer)).await.expect(200);
        assert!(metrics.text().contains("athos_credential_uses_total"));
    }
}
