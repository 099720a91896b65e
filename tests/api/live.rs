//! The live stream: each change once, to those who may see the call, and resumed where it broke off.

use std::time::Duration;

use athos_backend::config::Config;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Event, Live, PastCall, Setup, TestApp, unique};

async fn unscored(app: &TestApp, call: &str, rep: &str, agency: &str) {
    let event = Event::unscored(call, rep, agency);
    app.event(&format!("wh_{call}"), &event)
        .send(app)
        .await
        .receipt("accepted");
    app.work().await;
}

#[tokio::test]
async fn a_stream_tells_each_reader_of_their_calls_only() {
    let app = TestApp::start().await;
    let mut rep = app.live(&app.rep("rep_a", "agency_1"), None).await;
    let mut manager = app.live(&app.manager("agency_2"), None).await;
    let mut admin = app.live(&app.admin(), None).await;
    assert_eq!(rep.headers["content-type"], "text/event-stream");
    assert_eq!(rep.headers["cache-control"], "no-store");
    assert_eq!(rep.headers["x-accel-buffering"], "no");

    unscored(&app, "call_b", "rep_b", "agency_2").await;
    unscored(&app, "call_a", "rep_a", "agency_1").await;

    // The first change anyone hears of is of a call they may see.
    assert_eq!(rep.next().await.unwrap().data["id"], "call_a");
    assert_eq!(manager.next().await.unwrap().data["id"], "call_b");
    let first = admin.next().await.unwrap();
    assert_eq!(first.data["id"], "call_b");
    assert_eq!(first.data["rep"], "rep_b");
    assert_eq!(first.data["overallScore"], json!(null));
}

#[tokio::test]
async fn a_person_with_many_streams_leaves_room_for_others() {
    let app = TestApp::start().await;
    let [rep_1, rep_2] = ["rep_1", "rep_2"].map(|rep| app.rep(rep, "agency_1"));
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(app.live(&rep_1, None).await);
    }
    let one_more = app.get("/athos/live", &rep_1).await;
    one_more.refused(503, "TOO_MANY_STREAMS");
    open.push(app.live(&rep_2, None).await);
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_event_a_client_has_seen() {
    let app = TestApp::start().await;
    let service = app.secrets.service.clone();
    for call in ["call_1", "call_2", "call_3"] {
        unscored(&app, call, "rep_1", "agency_1").await;
    }
    let mut all = app.live(&service, Some(0)).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(all.next().await.unwrap());
    }
    assert!(seen.is_sorted_by_key(|change| change.id));
    let mut rest = app.live(&service, Some(seen[0].id)).await;
    assert_eq!(rest.next().await.unwrap(), seen[1]);
    assert_eq!(rest.next().await.unwrap(), seen[2]);

    // A new client hears of what comes; one that remembers another database also that it must ask for the list.
    let mut fresh = app.live(&service, None).await;
    let mut other = app.live(&service, Some(1_000_000)).await;
    assert_eq!(other.next().await.unwrap().event, "reset");
    unscored(&app, "call_4", "rep_1", "agency_1").await;
    for stream in [&mut fresh, &mut other, &mut rest] {
        assert_eq!(stream.next().await.unwrap().data["id"], "call_4");
    }
    let rep = app.rep("rep_1", "agency_1");
    for nonsense in ["x", "-9223372036854775808", "9223372036854775808"] {
        let request = app.request(Method::GET, "/athos/live").bearer_auth(&rep);
        let request = request.header("last-event-id", nonsense);
        assert_eq!(request.send().await.unwrap().status(), 200, "{nonsense}");
    }
}

#[tokio::test]
async fn a_stream_makes_up_for_what_was_missed_in_steps_and_says_so_when_it_was_too_much() {
    let app = TestApp::start().await;
    // Two changes of rep_1 with thousands of others' before, between and after.
    let call = |n: i64| PastCall {
        id: format!("call_{n}"),
        rep: if matches!(n, 3100 | 6200) {
            "rep_1"
        } else {
            "rep_2"
        }
        .to_owned(),
        agency: "agency_1".to_owned(),
        drill: None,
        score: None,
        at: n,
    };
    let calls: Vec<_> = (1..=9000).map(call).collect();
    app.add_calls(&calls).await;
    let rep = app.rep("rep_1", "agency_1");
    let mut resumed = app.live(&rep, Some(0)).await;
    let ids = [resumed.next().await.unwrap(), resumed.next().await.unwrap()].map(|it| it.id);
    assert_eq!(ids, [3100, 6200]);
    // More than a page at the same step.
    let mut all = app.live(&app.secrets.service, Some(8000)).await;
    for rev in 8001..=9000 {
        assert_eq!(all.next().await.unwrap().id, rev);
    }

    app.move_change("call_9000", 10_000).await;
    for token in [&rep, &app.manager("agency_1"), &app.secrets.service] {
        let latest = app.latest_rev().await;
        let mut behind = app.live(token, Some(0)).await;
        let reset = behind.next().await.unwrap();
        assert_eq!((&*reset.event, reset.id), ("reset", latest));
        unscored(&app, &format!("late_{}", token.len()), "rep_1", "agency_1").await;
        assert_eq!(behind.next().await.unwrap().event, "call");
    }
}

#[tokio::test]
async fn streams_tell_their_clients_different_times_to_come_back() {
    let app = TestApp::start().await;
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..20 {
        told.insert(app.live(&app.secrets.service, None).await.retry_ms);
    }
    assert!(told.len() > 5, "{told:?}");
    assert!(told.iter().all(|ms| (1000..=5000).contains(ms)), "{told:?}");
}

#[tokio::test]
async fn a_stream_ends_with_the_credentials_it_was_opened_with() {
    let app = TestApp::start().await;
    let mut live = app.live(&app.rep("rep_1", "agency_1"), None).await;
    unscored(&app, "call_1", "rep_1", "agency_1").await;
    while live.next().await.unwrap().data["status"] != "unscored" {}
    app.clock.advance(Duration::from_secs(3600));
    unscored(&app, "call_2", "rep_1", "agency_1").await;
    assert_eq!(live.next().await, None);
}

/// A stream that ended says nothing of what came after its end.
async fn says_nothing_more(app: &TestApp, streams: &mut [Live], call: &str) {
    unscored(app, call, "rep_1", "agency_1").await;
    for (nth, stream) in streams.iter_mut().enumerate() {
        assert_eq!(stream.next().await, None, "stream {nth}");
    }
}

async fn reload(app: &TestApp, change: impl FnOnce(&mut Config)) {
    let mut config = app.config.clone();
    change(&mut config);
    app.service().reload(&config).await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_when_its_credentials_are_withdrawn_and_others_go_on() {
    let (other, proxy) = (unique("svc"), unique("proxy"));
    let app = Setup::new()
        .flag("service-tokens", &other)
        .flag("auth-cookie", "session")
        .flag("auth-proxy-user-header", "X-User")
        .flag("auth-proxy-role-header", "X-Role")
        .flag("auth-proxy-secret", &proxy)
        .start()
        .await;
    let by_cookie = async || {
        let request = app.request(Method::GET, "/athos/live");
        let cookie = format!("session={}", app.admin());
        app.live_with(request.header("cookie", cookie)).await
    };
    let by_proxy = async || {
        let request = app.request(Method::GET, "/athos/live");
        let request = request.header("x-user", "rep_9").header("x-role", "admin");
        app.live_with(request.header("x-auth-proxy-secret", &proxy))
            .await
    };
    let mut service = [app.live(&app.secrets.service, None).await];
    let mut others = [app.live(&other, None).await];
    let mut jwts = [app.live(&app.admin(), None).await, by_cookie().await];
    let mut proxied = [by_proxy().await];

    // The same again: nothing ends.
    reload(&app, |_| ()).await;
    unscored(&app, "call_1", "rep_1", "agency_1").await;
    for stream in service
        .iter_mut()
        .chain(&mut others)
        .chain(&mut jwts)
        .chain(&mut proxied)
    {
        while stream.next().await.unwrap().data["status"] != "unscored" {}
    }

    reload(&app, |config| {
        config.service_tokens = vec![other.clone().into()]
    })
    .await;
    says_nothing_more(&app, &mut service, "call_2").await;
    for stream in others.iter_mut().chain(&mut jwts).chain(&mut proxied) {
        while stream.next().await.unwrap().data["status"] != "unscored" {}
    }
    reload(&app, |config| {
        config.auth_jwt_secret = Some(unique("jwt").into())
    })
    .await;
    says_nothing_more(&app, &mut jwts, "call_3").await;
    for stream in &mut proxied {
        while stream.next().await.unwrap().data["status"] != "unscored" {}
    }
    reload(&app, |config| {
        config.auth_proxy_secret = Some(unique("proxy").into())
    })
    .await;
    says_nothing_more(&app, &mut proxied, "call_4").await;
}

#[tokio::test]
async fn a_stream_ends_when_other_rules_make_its_caller_somebody_else() {
    let app = TestApp::start().await;
    type Change = fn(&mut Config);
    let changes: [Change; 5] = [
        |config| config.auth_issuer = Some("https://idp.example.com/".to_owned()),
        |config| config.auth_audience = Some("another".to_owned()),
        |config| config.auth_claim_role = "groups".to_owned(),
        |config| config.auth_claim_agency = "org".to_owned(),
        |config| config.auth_claim_user = "agency_id".to_owned(),
    ];
    for (nth, change) in changes.into_iter().enumerate() {
        let mut streams = [app.live(&app.manager("agency_1"), None).await];
        reload(&app, change).await;
        says_nothing_more(&app, &mut streams, &format!("call_{nth}")).await;
        reload(&app, |_| ()).await;
    }
}

#[tokio::test]
async fn a_stream_without_an_end_of_its_own_ends_after_an_hour() {
    let app = TestApp::start().await;
    let mut claims = app.claims("an_admin", "agency_1", "admin");
    claims["exp"] = json!(app.now().as_secs() + 86_400);
    let mut streams = [
        app.live(&app.secrets.service, None).await,
        app.live(&app.jwt(&claims), None).await,
    ];
    app.clock.advance(Duration::from_secs(49 * 60));
    unscored(&app, "call_1", "rep_1", "agency_1").await;
    for stream in &mut streams {
        while stream.next().await.unwrap().data["status"] != "unscored" {}
    }
    app.clock.advance(Duration::from_secs(11 * 60));
    says_nothing_more(&app, &mut streams, "call_2").await;
    // Nor does a clock that was set back give it more time.
    let mut streams = [app.live(&app.secrets.service, None).await];
    app.clock.set(crate::harness::start_time());
    says_nothing_more(&app, &mut streams, "call_3").await;
}

#[tokio::test]
async fn a_stream_ends_when_the_service_stops() {
    let mut app = TestApp::start().await;
    let mut live = app.live(&app.secrets.service, None).await;
    let (ended, ()) = tokio::join!(live.next(), app.stop());
    assert_eq!(ended, None);
}
