//! Forwarding: each call goes on to the company's own endpoints, signed, at least once and newest state last, whatever the
//! endpoints do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use athos_backend::config::Config;
use athos_backend::forward::{SendSummary, Settings};
use athos_backend::store::{MessageSettled, SendOutcome};

use crate::harness::{API, Event, Left, Setup, TestApp, unique};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const KEY: [u8; 32] = [7; 32];
const OLD_KEY: [u8; 24] = [9; 24];

pub(crate) fn secret(key: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

/// A receiver that answers every message like this.
pub(crate) async fn receiver(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    answers(&server, answer).await;
    server
}

pub(crate) async fn answers(server: &MockServer, answer: ResponseTemplate) {
    server.reset().await;
    Mock::given(method("POST"))
        .respond_with(answer)
        .mount(server)
        .await;
}

pub(crate) fn setup(receivers: &[&MockServer]) -> Setup {
    let urls: Vec<_> = receivers
        .iter()
        .map(|receiver| format!("{}/hook?key={}", receiver.uri(), unique("k")))
        .collect();
    Setup::new()
        .flag("forward-urls", &urls.join(","))
        .flag("forward-secrets", &secret(&KEY))
        .flag("public-url", "https://practice.example.com/base/")
}

/// The verifier of docs/forwarding.md.
#[expect(unreachable_pub, reason = "it is as its readers need it")]
mod documented {
    include!("../verifiers/verify.rs");
}

/// A message as it arrived, once its signature has been verified.
pub(crate) struct Received {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
    pub(crate) body: String,
}

pub(crate) fn verified(request: &Request, key: &[u8]) -> Received {
    let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
    let id = header("webhook-id");
    let (sent_at, signatures) = (header("webhook-timestamp"), header("webhook-signature"));
    let now = sent_at.parse().unwrap();
    let key = secret(key);
    let verify = |body| documented::verify(&key, &id, &sent_at, &signatures, body, now);
    assert_eq!(verify(&request.body), Some(true), "{signatures}");
    assert_eq!(verify(b"{}"), Some(false));
    assert_eq!(header("content-type"), "application/json");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert!(body["timestamp"].is_string(), "{body}");
    Received {
        id,
        kind: body["type"].as_str().unwrap().to_owned(),
        data: body["data"].clone(),
        body: String::from_utf8(request.body.clone()).unwrap(),
    }
}

pub(crate) async fn received(server: &MockServer) -> Vec<Received> {
    let requests = server.received_requests().await.unwrap();
    requests
        .iter()
        .map(|request| verified(request, &KEY))
        .collect()
}

pub(crate) async fn forward(app: &TestApp) -> SendSummary {
    app.service().forwarder.run_once().await.unwrap()
}

#[tokio::test]
async fn a_scored_call_is_sent_on_once_signed_and_without_its_transcript() {
    let crm = receiver(ResponseTemplate::new(204)).await;
    let app = setup(&[&crm]).start().await;
    let id = app.ended_call("rep_1", "agency_1").await;
    assert_eq!(forward(&app).await, SendSummary::default());
    app.work().await;
    assert_eq!(forward(&app).await.delivered, 1);
    assert_eq!(forward(&app).await, SendSummary::default());
    let sent = received(&crm).await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].kind, "call.scored");
    let mut shown = app.call(&id).await;
    let transcript = shown.as_object_mut().unwrap().remove("transcript").unwrap();
    let word = transcript[0]["content"].as_str().unwrap();
    assert!(!sent[0].body.contains(word));
    let url = format!("https://practice.example.com/base/athos/calls/{id}");
    assert_eq!(sent[0].data["url"], url.as_str());
    for (field, value) in shown.as_object().unwrap() {
        assert_eq!(&sent[0].data[field], value, "{field}");
    }
}

#[tokio::test]
async fn a_message_that_is_not_taken_is_sent_again_on_schedule_under_the_same_id() {
    for (answer, reason) in [
        (ResponseTemplate::new(500), "500"),
        (
            ResponseTemplate::new(302).insert_header("location", "/"),
            "redirects are not followed",
        ),
        (
            ResponseTemplate::new(404).set_body_string("<b>no such hook</b>"),
            "no such hook",
        ),
        (
            ResponseTemplate::new(400).set_body_bytes(vec![b'x'; 1 << 20]),
            "400",
        ),
    ] {
        let crm = receiver(answer).await;
        let app = setup(&[&crm]).start().await;
        app.ended_call("rep_1", "agency_1").await;
        app.work().await;
        assert_eq!(forward(&app).await.retried, 1);
        let endpoints = app.service().store.endpoints().await.unwrap();
        assert_eq!(endpoints[0].waiting, 1);
        assert!(endpoints[0].failing_since.is_some());
        let told = endpoints[0].last_error.clone().unwrap();
        assert!(told.contains(reason), "{told}");
        assert_eq!(forward(&app).await, SendSummary::default());
        let first = received(&crm).await;
        answers(&crm, ResponseTemplate::new(200)).await;
        app.clock.advance(SECOND * 6);
        assert_eq!(forward(&app).await.delivered, 1);
        assert_eq!(first[0].id, received(&crm).await[0].id);
        let endpoints = app.service().store.endpoints().await.unwrap();
        assert!(endpoints[0].healthy_since.is_some() && endpoints[0].failing_since.is_none());
    }
}

#[tokio::test]
async fn an_endpoint_is_left_alone_for_as_long_as_it_asks() {
    let answer = ResponseTemplate::new(429).insert_header("retry-after", "120");
    let crm = receiver(answer).await;
    let app = setup(&[&crm]).start().await;
    app.burst(3, &["rep_1"], "agency_1").await;
    app.work().await;
    forward(&app).await;
    let asked = received(&crm).await.len();
    app.clock.advance(SECOND * 60);
    assert_eq!(forward(&app).await, SendSummary::default());
    assert_eq!(received(&crm).await.len(), asked);
    answers(&crm, ResponseTemplate::new(200)).await;
    app.clock.advance(SECOND * 61);
    assert_eq!(forward(&app).await.delivered, 1);
    assert_eq!(forward(&app).await.delivered, 2);
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_probed_and_what_it_missed_is_sent_when_it_is_back() {
    let down = receiver(ResponseTemplate::new(503)).await;
    let healthy = receiver(ResponseTemplate::new(200)).await;
    let app = setup(&[&down, &healthy]).start().await;
    app.burst(20, &["rep_1", "rep_2"], "agency_1").await;
    app.work().await;
    let first = forward(&app).await;
    assert_eq!((first.delivered, first.retried), (20, 20));
    for _ in 0..3 {
        app.clock.advance(SECOND * 60 * 10);
        assert_eq!(
            forward(&app).await,
            SendSummary {
                retried: 1,
                ..SendSummary::default()
            }
        );
    }
    assert_eq!(received(&healthy).await.len(), 20);
    answers(&down, ResponseTemplate::new(200)).await;
    app.clock.advance(SECOND * 60 * 10);
    assert_eq!(forward(&app).await.delivered, 1);
    assert_eq!(forward(&app).await.delivered, 19);
    let ids: std::collections::HashSet<_> =
        received(&down).await.into_iter().map(|it| it.id).collect();
    assert_eq!(ids.len(), 20);
}

#[tokio::test]
async fn what_was_given_up_while_an_endpoint_was_down_is_sent_when_it_is_back() {
    let crm = receiver(ResponseTemplate::new(200)).await;
    let app = setup(&[&crm]).start().await;
    app.burst(2, &["rep_1"], "agency_1").await;
    app.work().await;
    let store = &app.service().store;
    let now = app.now();
    let endpoint = store.endpoints().await.unwrap()[0].id;
    let claim = || store.claim_messages(endpoint, now, 1, now.plus(SECOND));
    let given_up = SendOutcome::NotDelivered {
        retry_at: None,
        status: Some(500),
        reason: "it answered 500".to_owned(),
    };
    let lease = claim().await.unwrap().remove(0).lease;
    store.settle_message(lease, given_up, now).await.unwrap();
    assert_eq!(store.endpoints().await.unwrap()[0].failed, 1);
    let delivered = SendOutcome::Delivered {
        status: 200,
        resumes: true,
    };
    let lease = claim().await.unwrap().remove(0).lease;
    store.settle_message(lease, delivered, now).await.unwrap();
    assert_eq!(store.endpoints().await.unwrap()[0].failed, 0);
    assert_eq!(forward(&app).await.delivered, 1);
}

#[tokio::test]
async fn a_call_that_changes_while_its_message_waits_is_told_once_as_it_is_now() {
    let crm = receiver(ResponseTemplate::new(500)).await;
    let athos = Scoring::start().await;
    let app = athos.setup(&[&crm]).start().await;
    athos.scores(&app, 10).await;
    forward(&app).await;
    let old = received(&crm).await.remove(0);
    athos.scores(&app, 11).await;
    answers(&crm, ResponseTemplate::new(200)).await;
    assert_eq!(forward(&app).await.delivered, 1);
    let new = received(&crm).await.remove(0);
    assert_eq!(
        (&*new.kind, &new.data["overallScore"]),
        ("call.scored", &json!(11))
    );
    assert_ne!(new.id, old.id);
    app.clock.advance(HOUR * 30);
    assert_eq!(forward(&app).await, SendSummary::default());

    athos.scores(&app, 12).await;
    assert_eq!(forward(&app).await.delivered, 1);
    let update = received(&crm).await.remove(1);
    assert_eq!(
        (&*update.kind, &update.data["overallScore"]),
        ("call.updated", &json!(12))
    );
}

#[tokio::test]
async fn while_a_message_is_under_way_no_other_about_its_call_is() {
    let crm = receiver(ResponseTemplate::new(200)).await;
    let athos = Scoring::start().await;
    let app = athos.setup(&[&crm]).start().await;
    athos.scores(&app, 10).await;
    let store = &app.service().store;
    let now = app.now();
    let endpoint = store.endpoints().await.unwrap()[0].id;
    let claim = || store.claim_messages(endpoint, now, 9, now.plus(SECOND * 60));
    let under_way = claim().await.unwrap().remove(0);
    athos.scores(&app, 11).await;
    assert_eq!(claim().await.unwrap().len(), 0);
    let failed = SendOutcome::NotDelivered {
        retry_at: Some(now),
        status: None,
        reason: "no answer".to_owned(),
    };
    store
        .settle_message(under_way.lease.clone(), failed.clone(), now)
        .await
        .unwrap();
    let lost = store
        .settle_message(under_way.lease, failed, now)
        .await
        .unwrap();
    assert_eq!(lost, MessageSettled::LeaseLost);
    // The older one is superseded; that the call has its score was not told yet.
    assert_eq!(forward(&app).await.delivered, 1);
    let sent = received(&crm).await.remove(0);
    assert_eq!(
        (&*sent.kind, &sent.data["overallScore"]),
        ("call.scored", &json!(11))
    );
    assert_eq!(forward(&app).await, SendSummary::default());
}

/// An Athos whose only call has the score that was last set.
pub(crate) struct Scoring {
    server: MockServer,
    score: Arc<AtomicU32>,
}

impl Scoring {
    pub(crate) async fn start() -> Self {
        let (server, score) = (MockServer::start().await, Arc::<AtomicU32>::default());
        let current = Arc::clone(&score);
        let answer = move |request: &Request| {
            let id = request.url.path().rsplit('/').next().unwrap().to_owned();
            ResponseTemplate::new(200).set_body_json(json!({
                "id": id, "source": "roleplay", "transcript": [],
                "score": { "overallScore": current.load(Ordering::Relaxed) },
            }))
        };
        Mock::given(method("GET"))
            .and(path_regex(format!("^{API}/calls/")))
            .respond_with(answer)
            .mount(&server)
            .await;
        Self { server, score }
    }

    pub(crate) fn setup(&self, receivers: &[&MockServer]) -> Setup {
        setup(receivers).athos(&format!("{}{API}", self.server.uri()))
    }

    /// The call is scored, or scored anew, and a webhook says so.
    pub(crate) async fn scores(&self, app: &TestApp, score: u32) {
        self.score.store(score, Ordering::Relaxed);
        let event = Event::scored("athos_call_1", "rep_1", "agency_1");
        let id = format!("wh_{score}");
        app.event(&id, &event).send(app).await.receipt("accepted");
        app.work().await;
    }
}

#[tokio::test]
async fn erasing_a_rep_removes_the_messages_about_their_calls() {
    let crm = receiver(ResponseTemplate::new(200)).await;
    let app = setup(&[&crm]).start().await;
    app.ended_call("rep_1", "agency_1").await;
    let kept = app.ended_call("rep_2", "agency_1").await;
    app.work().await;
    let request = app.request(Method::DELETE, "/athos/reps/rep_1");
    app.send(request.bearer_auth(&app.secrets.service))
        .await
        .expect(200);
    assert_eq!(forward(&app).await.delivered, 1);
    assert_eq!(received(&crm).await[0].data["id"], kept.as_str());
}

#[tokio::test]
async fn only_what_was_asked_for_is_sent_and_nothing_from_before_there_was_an_endpoint() {
    let crm = receiver(ResponseTemplate::new(200)).await;
    let mut app = setup(&[&crm])
        .flag("forward-events", "event.dead")
        .start()
        .await;
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    let lost = Event::scored("athos_call_lost", "rep_1", "agency_1");
    app.event("wh_lost", &lost)
        .send(&app)
        .await
        .receipt("accepted");
    for _ in 0..8 {
        app.work().await;
        app.clock.advance(SECOND * 400);
    }
    app.leaves(Left {
        dead: 1,
        ..Left::default()
    });
    assert_eq!(forward(&app).await.delivered, 1);
    let sent = received(&crm).await.remove(0);
    assert_eq!(sent.kind, "event.dead");
    assert_eq!(sent.data["callId"], "athos_call_lost");
    app.config.forward_events.clear();
    app.service().reload(&app.config).await.unwrap();
    assert_eq!(forward(&app).await, SendSummary::default());
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    assert_eq!(forward(&app).await.delivered, 1);
}

#[test]
fn the_documented_verifier_is_the_one_that_these_stories_verify_with() {
    let documented = include_str!("../../docs/forwarding.md");
    assert!(documented.contains(include_str!("../verifiers/verify.rs")));
}

#[test]
fn the_documented_verifier_refuses_what_is_old_or_signed_with_another_secret() {
    let (signed, id, time) = ("v1,6tT6xkR3GmTq0Qm0lA==", "msg_1", "1000");
    let verify = |now| documented::verify(&secret(&KEY), id, time, signed, b"{}", now);
    assert_eq!(verify(1301), Some(false));
    assert_eq!(verify(1000), Some(false));
}

#[tokio::test]
async fn while_secrets_change_over_every_message_has_a_signature_of_each() {
    let crm = receiver(ResponseTemplate::new(200)).await;
    let both = format!("{},{}", secret(&KEY), secret(&OLD_KEY));
    let app = setup(&[&crm]).flag("forward-secrets", &both).start().await;
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    forward(&app).await;
    let requests = crm.received_requests().await.unwrap();
    for key in [&KEY[..], &OLD_KEY] {
        verified(&requests[0], key);
    }
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_told_as_such() {
    let app = Setup::new()
        .flag("forward-urls", "http://127.0.0.1:1/")
        .flag("forward-secrets", &secret(&KEY))
        .start()
        .await;
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    assert_eq!(forward(&app).await.retried, 1);
    let why = app.service().store.endpoints().await.unwrap()[0]
        .last_error
        .clone();
    assert!(why.unwrap().contains("onnect"));
}

#[tokio::test]
async fn what_a_process_that_ended_had_not_sent_or_not_settled_the_next_one_sends() {
    let crm = receiver(ResponseTemplate::new(200)).await;
    let mut app = setup(&[&crm]).start().await;
    app.burst(2, &["rep_1"], "agency_1").await;
    app.work().await;
    let now = app.now();
    let store = &app.service().store;
    let endpoint = store.endpoints().await.unwrap()[0].id;
    let claim = store.claim_messages(endpoint, now, 1, now.plus(SECOND * 60));
    // It ended after the claim: whether the endpoint has the message, nobody knows.
    let claimed = claim.await.unwrap().remove(0);
    app.stop().await;
    app.start_again().await;
    assert_eq!(forward(&app).await.delivered, 1);
    app.clock.advance(SECOND * 61);
    assert_eq!(forward(&app).await.delivered, 1);
    let sent = received(&crm).await;
    assert_eq!(sent[1].id, claimed.lease.message_id);
    assert_eq!(forward(&app).await, SendSummary::default());
}

#[tokio::test]
async fn messages_are_removed_a_month_after_they_were_settled_and_not_while_they_wait() {
    let (healthy, down) = (
        receiver(ResponseTemplate::new(200)).await,
        receiver(ResponseTemplate::new(500)).await,
    );
    let app = setup(&[&healthy, &down]).start().await;
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    forward(&app).await;
    let purge = async || app.service().retention.run_once().await.unwrap().messages;
    app.clock.advance(HOUR * 24 * 29);
    assert_eq!(purge().await, 0);
    app.clock.advance(HOUR * 24 * 2);
    assert_eq!(purge().await, 1);
    let endpoints = app.service().store.endpoints().await.unwrap();
    assert_eq!(endpoints[1].waiting, 1);
}

#[test]
fn settings_that_cannot_work_are_told_together_and_quote_no_secret() {
    let flags = [
        "--forward-urls=http://8.8.8.8/hook?key=hidden,https://169.254.169.254/,ftp://a/",
        "--forward-secrets=whsec_hidden",
    ];
    let config = Config::from_flags(flags.map(str::to_owned)).unwrap();
    let problems = Settings::new(&config).unwrap_err();
    let told: Vec<_> = problems.iter().collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told.iter().all(|line| !line.contains("hidden")), "{told:?}");
    let unsigned = Config::from_flags(["--forward-urls=https://a.example/".to_owned()]).unwrap();
    let problems = Settings::new(&unsigned).unwrap_err();
    assert!(problems.to_string().contains("openssl rand"), "{problems}");
}

async fn is_enabled(app: &TestApp) -> bool {
    app.service().store.endpoints().await.unwrap()[0]
        .disabled
        .is_none()
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_disabled_until_a_reload_and_its_messages_wait() {
    let gone = receiver(ResponseTemplate::new(410)).await;
    let app = setup(&[&gone]).start().await;
    app.burst(2, &["rep_1"], "agency_1").await;
    app.work().await;
    forward(&app).await;
    assert!(!is_enabled(&app).await);
    let asked = received(&gone).await.len();
    app.clock.advance(HOUR * 30);
    assert_eq!(forward(&app).await, SendSummary::default());
    assert_eq!(received(&gone).await.len(), asked);
    answers(&gone, ResponseTemplate::new(200)).await;
    app.service().reload(&app.config).await.unwrap();
    assert!(is_enabled(&app).await);
    assert_eq!(forward(&app).await.delivered, 2);
}

#[tokio::test]
async fn an_endpoint_that_fails_for_five_days_is_disabled() {
    let crm = receiver(ResponseTemplate::new(500)).await;
    let app = setup(&[&crm]).start().await;
    for day in 0..6 {
        assert!(is_enabled(&app).await, "day {day}");
        app.ended_call("rep_1", "agency_1").await;
        app.work().await;
        forward(&app).await;
        app.clock.advance(HOUR * 25);
    }
    assert!(!is_enabled(&app).await);
}
