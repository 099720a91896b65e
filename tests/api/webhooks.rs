//! Webhooks at the door: what is let in and under which key, what is refused with which code, and that nothing is
//! acknowledged that is not on disk.

use std::time::Duration;

use athos_api::signature::sign;
use athos_backend::http::MAX_WEBHOOK_BYTES;
use athos_backend::model::{CallStatus, EventState, Timestamp};
use athos_backend::store::StoredEvent;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Event, Hook, Left, Setup, TestApp};
use crate::log::Mark;

#[tokio::test]
async fn every_vector_of_the_contract_is_let_in() {
    let file: Value = serde_json::from_str(include_str!("../vectors/signatures.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let secret = vectors[0]["secret"].as_str().unwrap();
    let mut app = Setup::new().flag("athos-whsec", secret).start().await;
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let at = vector["t"].as_i64().unwrap() * 1000;
        app.clock.set(Timestamp::from_millis(at));
        let is_event = text("body").contains("callId");
        let hook = Hook::signed(text("body"), &[text("header")]);
        let expected = if is_event { "accepted" } else { "ignored" };
        hook.send(&app).await.receipt(expected);
        hook.send(&app).await.receipt("duplicate");
        // One letter more, or less, is another body.
        let other = Hook::signed(format!("{} ", text("body")), &[text("header")]);
        other.send(&app).await.refused(401, "SIGNATURE_MISMATCH");
    }
    assert_eq!(app.event_rows().await.len(), 5);
    app.leaves(Left {
        waiting: 3,
        dead: 0,
    });
}

#[tokio::test]
async fn every_flaw_of_a_signature_has_its_code_and_leaves_no_row() {
    let app = TestApp::start().await;
    let body = Event::scored("call_1", "rep_1", "agency_1").0.to_string();
    let (secret, now) = (app.secrets.whsec.clone().into(), app.now().as_secs());
    let good = sign(&secret, now, body.as_bytes());
    let (t, v1) = good.split_once(',').unwrap();
    let foreign = sign(
        &"whsec_of_somebody_else".to_owned().into(),
        now,
        body.as_bytes(),
    );
    let at = |t: i64| sign(&secret, t, body.as_bytes());
    let cases: &[(&[&str], &str)] = &[
        (&[], "MISSING_SIGNATURE"),
        (&[""], "MALFORMED_SIGNATURE"),
        (&["sha256=abc"], "MALFORMED_SIGNATURE"),
        (&[t], "MALFORMED_SIGNATURE"),
        (&[v1], "MALFORMED_SIGNATURE"),
        (&[&format!("{t},{t},{v1}")], "MALFORMED_SIGNATURE"),
        (&[&format!("{t},v1=zz")], "MALFORMED_SIGNATURE"),
        (
            &[&format!("{t},{}", v1.replace("v1", "v0"))],
            "MALFORMED_SIGNATURE",
        ),
        (&[&good, &good], "MALFORMED_SIGNATURE"),
        (&[&at(now - 301)], "STALE_SIGNATURE"),
        (&[&at(now + 301)], "STALE_SIGNATURE"),
        (&[&at(0)], "STALE_SIGNATURE"),
        (&[&foreign], "SIGNATURE_MISMATCH"),
        (&[&format!("t={},{v1}", now - 1)], "SIGNATURE_MISMATCH"),
        (
            &[&format!("{t},v1={}", "0".repeat(64))],
            "SIGNATURE_MISMATCH",
        ),
    ];
    for (headers, code) in cases {
        let answer = Hook::signed(body.clone(), headers)
            .id("wh_1")
            .send(&app)
            .await;
        assert_eq!(
            (answer.status, answer.code()),
            (401, (*code).to_owned()),
            "{headers:?}"
        );
        // It is not a matter of signing in.
        assert_eq!(answer.header("www-authenticate"), "");
    }
    assert_eq!(app.event_rows().await.len(), 0);
}

#[tokio::test]
async fn five_minutes_either_way_are_fresh_and_several_secrets_are_active() {
    let mut app = Setup::new()
        .flag("athos-whsec", "whsec_the_next_one")
        .start()
        .await;
    let now = app.now().as_secs();
    let old = app.secrets.whsec.clone().into();
    let new = "whsec_the_next_one".to_owned().into();
    for (id, secret, t) in [("a", &old, now - 300), ("b", &new, now + 300)] {
        let call = format!("call_{id}");
        let body = Event::scored(&call, "rep_1", "agency_1").0.to_string();
        let signature = sign(secret, t, body.as_bytes());
        let hook = Hook::signed(body, &[&signature]).id(id);
        hook.send(&app).await.receipt("accepted");
    }
    let [old, new] = <[StoredEvent; 2]>::try_from(app.events().await).unwrap();
    assert_ne!(
        old.secret_fingerprint, new.secret_fingerprint,
        "the row says which secret matched"
    );
    app.leaves(Left {
        waiting: 2,
        dead: 0,
    });
}

#[tokio::test]
async fn bytes_are_verified_before_anyone_reads_them() {
    let app = TestApp::start().await;
    // Each would be answered otherwise if it were read first.
    for body in ["", "not json", "{\"event\":\"call.started\"}", "[]", "{}"] {
        let forged = sign(
            &"whsec_x".to_owned().into(),
            app.now().as_secs(),
            body.as_bytes(),
        );
        let hook = Hook::signed(body, &[&forged]).id("wh_1");
        hook.send(&app).await.refused(401, "SIGNATURE_MISMATCH");
    }
    assert_eq!(app.event_rows().await.len(), 0);
}

#[tokio::test]
async fn a_body_may_have_64_kib_and_not_a_byte_more() {
    let mut app = TestApp::start().await;
    let sized = |id: &str, bytes: usize| {
        let mut event = Event::scored("call_1", "rep_1", "agency_1");
        event.0["pad"] = json!("");
        let empty = event.0.to_string().len();
        event.0["pad"] = json!("x".repeat(bytes - empty));
        app.hook(event.0.to_string()).id(id)
    };
    let full = sized("wh_full", MAX_WEBHOOK_BYTES);
    full.send(&app).await.receipt("accepted");
    let more = sized("wh_more", MAX_WEBHOOK_BYTES + 1);
    more.send(&app).await.refused(413, "PAYLOAD_TOO_LARGE");
    let much_more = sized("wh_much_more", 4 * MAX_WEBHOOK_BYTES);
    much_more.send(&app).await.refused(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(app.event_rows().await.len(), 1);
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
}

#[tokio::test]
async fn what_is_signed_but_not_understood_is_kept_and_left_alone() {
    let app = TestApp::start().await;
    let mut unknown = Event::scored("call_1", "rep_1", "agency_1");
    unknown.0["event"] = json!("call.started");
    let mut nameless = Event::scored("call_1", "rep_1", "agency_1");
    nameless.0["callId"] = json!("");
    let mut hostile = Event::scored("call\u{0}1", "rep_1", "agency_1");
    hostile.0["success"] = json!(true);
    let bodies: Vec<Vec<u8>> = vec![
        b"not json".to_vec(),
        b"{\"event\":\"call.scored\"".to_vec(),
        b"[1]".to_vec(),
        vec![0xff, 0xfe, 0x00],
        unknown.0.to_string().into(),
        nameless.0.to_string().into(),
        hostile.0.to_string().into(),
        format!("{}1{}", "[".repeat(5000), "]".repeat(5000)).into(),
    ];
    for (n, body) in bodies.iter().enumerate() {
        let hook = app.hook(body.clone()).id(&format!("wh_{n}"));
        hook.send(&app).await.receipt("ignored");
        hook.send(&app).await.receipt("duplicate");
    }
    app.work().await;
    let events = app.events().await;
    assert_eq!(events.len(), bodies.len());
    for (event, body) in events.iter().zip(&bodies) {
        assert_eq!(event.row.state, EventState::Ignored);
        assert_eq!(event.body, String::from_utf8_lossy(body));
        assert!(
            event
                .row
                .reason
                .as_deref()
                .is_some_and(|why| !why.is_empty())
        );
        assert_eq!(event.row.attempts, 0);
    }
    assert_eq!(app.call_rows().await.len(), 0);
    assert_eq!(app.asked("call").await, 0);
}

#[tokio::test]
async fn a_delivery_without_a_usable_id_is_keyed_by_its_bytes() {
    let mut app = TestApp::start().await;
    let event = Event::scored("call_1", "rep_1", "agency_1").0.to_string();
    app.hook(event.clone()).send(&app).await.receipt("accepted");
    app.hook(event.clone())
        .send(&app)
        .await
        .receipt("duplicate");
    for unusable in [" ", &"w".repeat(201)] {
        let hook = app.hook(event.clone()).id(unusable);
        hook.send(&app).await.receipt("duplicate");
    }
    let other = format!("{event}\n");
    app.hook(other).send(&app).await.receipt("accepted");
    // Later under an id: still the same bytes.
    app.hook(event)
        .id("wh_1")
        .send(&app)
        .await
        .receipt("duplicate");
    let events = app.event_rows().await;
    assert_eq!(events.len(), 2);
    for event in events {
        assert!(event.webhook_id.starts_with("sha256:"), "{event:?}");
    }
    app.leaves(Left {
        waiting: 2,
        dead: 0,
    });
}

#[tokio::test]
async fn what_was_signed_once_comes_in_once_whatever_id_it_comes_under() {
    let app = TestApp::start().await;
    let id = app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    let fetched = app.asked("call").await;
    let body = app.events().await.remove(0).body;
    let captured = app.hook(body.clone());
    let foreseen = format!("reconcile:{id}:1");
    let ids = (0..40).map(|n| format!("wh_made_up_{n}"));
    for other in ids.chain([foreseen, "sha256:00".to_owned()]) {
        let replayed = captured.clone().id(&other);
        replayed.send(&app).await.receipt("duplicate");
    }
    // Signed anew, as the vendor's one retry is.
    app.clock.advance(Duration::from_secs(301));
    let retried = app.hook(body).id("wh_made_up");
    retried.send(&app).await.receipt("duplicate");
    // Retention empties bodies; what was signed is known all the same.
    let purged = app.service().store.purge_bodies(app.now()).await;
    assert_eq!(purged.unwrap(), 1);
    retried.id("wh_after").send(&app).await.receipt("duplicate");
    app.work().await;
    assert_eq!(app.only_event().await.deliveries, 45);
    assert_eq!(app.asked("call").await, fetched);
}

#[tokio::test]
async fn an_event_is_kept_though_another_came_under_its_id_before() {
    let app = TestApp::start().await;
    app.faults(json!({ "never-send": {} })).await;
    let calls = app.burst(2, &["rep_1"], "agency_1").await;
    let captured = Event::scored(&calls[0], "rep_1", "agency_1");
    let genuine = Event::scored(&calls[1], "rep_1", "agency_1");
    let failed = Event::unscored("call_failed", "rep_1", "agency_1");
    let log = Mark::here();
    for (event, receipt) in [
        (&captured, "accepted"),
        (&genuine, "accepted"),
        (&failed, "accepted"),
        // Each has come, whoever sends it again.
        (&genuine, "duplicate"),
        (&captured, "duplicate"),
        (&failed, "duplicate"),
    ] {
        let hook = app.hook(event.0.to_string()).id("wh_foreseen");
        hook.send(&app).await.receipt(receipt);
    }
    let said = log.since();
    let warned = said.matches("came with other signed bytes").count();
    assert_eq!(warned, 2, "{said}");
    assert!(said.contains("wh_foreseen"), "{said}");
    let worked = app.work().await;
    assert_eq!((worked.scored, worked.unscored), (2, 1));
    assert_eq!(app.event_rows().await.len(), 3);
    for call in app.call_rows().await {
        assert_ne!(call.status, CallStatus::Processing, "{call:?}");
    }
}

#[tokio::test]
async fn only_post_is_taken_and_no_content_type_is_needed() {
    let app = TestApp::start().await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = app.send(app.request(method, "/athos/webhook")).await;
        let answer = answer.refused(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), "POST");
    }
    let event = Event::unscored("call_1", "rep_1", "agency_1");
    for (id, content_type) in [("a", "application/json"), ("b", "text/plain"), ("c", "x")] {
        let request = app.event(id, &event).request(&app);
        let answer = app.send(request.header("content-type", content_type)).await;
        answer.receipt("accepted");
    }
    app.event("d", &event).send(&app).await.receipt("accepted");
    app.work().await;
}

#[tokio::test]
async fn while_the_database_is_locked_nothing_is_acknowledged_and_the_retry_is_stored() {
    let app = TestApp::start().await;
    let lock = app.lock_writes().await;
    let hook = app.event("wh_1", &Event::unscored("call_1", "rep_1", "agency_1"));
    let refused = hook.send(&app).await.refused(503, "STORE_UNAVAILABLE");
    assert_ne!(refused.header("retry-after"), "");
    assert!(!refused.text().contains("lock"), "{}", refused.text());
    let ready = app.send(app.request(Method::GET, "/readyz")).await;
    assert_eq!(ready.status, 503);
    let ready = ready.json();
    assert_eq!(
        (&ready["status"], &ready["store"]),
        (&json!("unready"), &json!("failing"))
    );
    lock.release().await;
    assert_eq!(app.event_rows().await.len(), 0);

    hook.send(&app).await.receipt("accepted");
    let ready = app.send(app.request(Method::GET, "/readyz")).await;
    assert_eq!(ready.status, 200);
    assert_eq!(app.work().await.unscored, 1);
}

#[tokio::test]
async fn an_acknowledged_event_is_in_the_file_before_the_answer() {
    let app = TestApp::start().await;
    for n in 0..20 {
        let id = format!("wh_{n}");
        let hook = app.event(&id, &Event::unscored("call_1", "rep_1", "agency_1"));
        hook.send(&app).await.receipt("accepted");
        let events = app.event_rows().await;
        let kept = events.iter().filter(|event| event.webhook_id == id);
        assert_eq!(kept.count(), 1);
    }
    app.work().await;
    app.clock.advance(Duration::from_secs(1));
}

#[tokio::test]
async fn a_slash_too_many_in_the_webhooks_path_loses_nothing_and_no_other_path_is_forgiven() {
    let mut app = TestApp::start().await;
    let paths = [
        "/athos/webhook/",
        "//athos/webhook",
        "/athos//webhook",
        "//athos///webhook//?x=1",
    ];
    for (n, path) in paths.iter().enumerate() {
        let event = Event::unscored(&format!("call_{n}"), "rep_1", "agency_1");
        let request = app.event(&format!("wh_{n}"), &event).request(&app);
        let (client, mut request) = request.build_split();
        *request.as_mut().unwrap().url_mut() = app.url(path).parse().unwrap();
        let request = reqwest::RequestBuilder::from_parts(client, request.unwrap());
        app.send(request).await.receipt("accepted");
    }
    app.leaves(Left {
        waiting: 4,
        dead: 0,
    });
    let metrics = app.metrics().await;
    assert!(metrics.contains(r#"route="/athos/webhook",method="POST",status="200""#));
    assert!(!metrics.contains(r#"route="//"#));
    let unsigned = app.request(Method::POST, "/athos/webhook/");
    app.send(unsigned).await.refused(401, "MISSING_SIGNATURE");
    let wrong_method = app.request(Method::GET, "/athos//webhook");
    app.send(wrong_method)
        .await
        .refused(405, "METHOD_NOT_ALLOWED");
    for path in [
        "/athos/calls/",
        "//athos/calls",
        "/athos//token",
        "/athos/webhook/x",
        "/athos/%2Fwebhook",
        "/x/athos/webhook",
        "/athoswebhook",
    ] {
        app.get(path, &app.secrets.service)
            .await
            .refused(404, "NOT_FOUND");
    }
}
