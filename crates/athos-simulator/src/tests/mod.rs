//! The simulator from outside: a started one on a free port, a receiver for its webhooks, and a client.
//! Nothing sleeps; what takes time is waited for at the control plane.

mod api;
mod contract;
mod deliveries;
mod faults;
mod generations;
mod lifecycle;
mod real_calls;
mod roster;
mod tokens;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use reqwest::{Method, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::{Contract, DEMO_API_KEY, DEMO_WEBHOOK_SECRET, Options, Running};
use athos_api::Timestamp;
use athos_api::clock::ManualClock;
use athos_api::signature::{SIGNATURE_HEADER, Verdict, Verifier, WEBHOOK_ID_HEADER};

pub(super) const API: &str = "/api/external/v1";

/// A simulator for one test.
pub(super) struct Sim {
    pub(super) running: Running,
    pub(super) clock: ManualClock,
    http: reqwest::Client,
    _stop: DropGuard,
}

/// What a request was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("(no code)")
    }
}

pub(super) fn start_time() -> Timestamp {
    "2026-06-05T14:39:40.295Z".parse().unwrap()
}

/// Options of a simulator that does everything at once, and the same in every run.
pub(super) fn hasty() -> Options {
    Options {
        seed: 1,
        bind: ([127, 0, 0, 1], 0).into(),
        score_delay: Duration::ZERO,
        webhook_retry: Duration::ZERO,
        ..Options::default()
    }
}

impl Sim {
    pub(super) async fn start(options: Options) -> Self {
        let clock = ManualClock::starting_at(start_time());
        let shutdown = CancellationToken::new();
        let running = super::start(options, clock.clock(), shutdown.clone());
        Self {
            running: running.await.unwrap(),
            clock,
            http: super::Sender::new().unwrap().near,
            _stop: shutdown.drop_guard(),
        }
    }

    /// A hasty simulator that delivers to `receiver`.
    pub(super) async fn delivering_to(receiver: &Receiver) -> Self {
        let sim = Self::start(hasty()).await;
        sim.running.set_webhook_url(receiver.url.clone());
        sim
    }

    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.running.origin()))
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        let request = self.request(Method::GET, path);
        answer(request.bearer_auth(DEMO_API_KEY).send().await.unwrap()).await
    }

    pub(super) async fn post(&self, path: &str, bearer: &str, body: Value) -> Answer {
        let request = self.request(Method::POST, path).bearer_auth(bearer);
        answer(request.json(&body).send().await.unwrap()).await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Answer {
        let request = self.request(Method::PUT, path).json(&body);
        answer(request.send().await.unwrap()).await
    }

    pub(super) async fn put_faults(&self, faults: Value) {
        let put = self.put("/_simulator/faults", faults).await;
        assert_eq!(put.status, 200, "{put:?}");
    }

    pub(super) async fn mint(&self, rep: &str) -> String {
        let body = json!({ "externalUserId": rep, "externalAgencyId": "agency_1" });
        let minted = self
            .post(&format!("{API}/session"), DEMO_API_KEY, body)
            .await;
        assert_eq!(minted.status, 200, "{minted:?}");
        minted.body["token"].as_str().unwrap().to_owned()
    }

    pub(super) async fn redeem(&self, token: &str, body: Value) -> Answer {
        self.post(&format!("{API}/roleplay/session"), token, body)
            .await
    }

    /// Mints, redeems, and gives the call's id.
    pub(super) async fn begin_call(&self, rep: &str) -> String {
        let token = self.mint(rep).await;
        let begun = self
            .redeem(&token, json!({ "drillKey": "ma-full-sale" }))
            .await;
        assert_eq!(begun.status, 200, "{begun:?}");
        begun.body["callId"].as_str().unwrap().to_owned()
    }

    pub(super) async fn end_call(&self, id: &str) -> Answer {
        let path = format!("/_simulator/calls/{id}/end");
        let request = self.request(Method::POST, &path);
        answer(request.send().await.unwrap()).await
    }

    /// A whole call, as far as `end`.
    pub(super) async fn hold_call(&self, rep: &str) -> String {
        let id = self.begin_call(rep).await;
        assert_eq!(self.end_call(&id).await.status, 200);
        id
    }

    /// The deliveries, once nothing is under way any more.
    pub(super) async fn idle(&self) -> Vec<Value> {
        let waited = self.get("/_simulator/deliveries?idle=true").await;
        assert_eq!(waited.status, 200, "{waited:?}");
        waited.body["deliveries"].as_array().unwrap().clone()
    }

    /// A call that is scored.
    pub(super) async fn scored_call(&self, rep: &str) -> String {
        let id = self.hold_call(rep).await;
        self.idle().await;
        id
    }

    pub(super) async fn detail(&self, id: &str) -> Answer {
        self.get(&format!("{API}/calls/{id}")).await
    }

    pub(super) async fn list(&self, query: &str) -> Answer {
        self.get(&format!("{API}/calls?{query}")).await
    }
}

pub(super) async fn answer(response: Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    Answer {
        status,
        headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

/// A webhook as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) id: String,
    pub(super) signature: String,
    pub(super) body: Bytes,
}

impl Received {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn verdict(&self, now: Timestamp) -> Verdict {
        let verifier = Verifier::new(&[SecretString::from(DEMO_WEBHOOK_SECRET)]);
        verifier.verify(Some(&self.signature), &self.body, now)
    }
}

/// A receiver of webhooks that answers as it is told, and 200 when it is told nothing.
pub(super) struct Receiver {
    pub(super) url: Url,
    inbox: Arc<Inbox>,
}

#[derive(Default)]
struct Inbox {
    received: Mutex<Vec<Received>>,
    answers: Mutex<VecDeque<Reply>>,
    advance: Mutex<Option<(ManualClock, Duration)>>,
}

#[derive(Clone, Copy)]
pub(super) enum Reply {
    Status(u16),
    Never,
}

impl Receiver {
    pub(super) async fn start(answers: &[Reply]) -> Self {
        let inbox = Arc::new(Inbox {
            answers: Mutex::new(answers.iter().copied().collect()),
            ..Inbox::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/hook", post(receive))
            .with_state(Arc::clone(&inbox));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            url: url.parse().unwrap(),
            inbox,
        }
    }

    /// Lets time pass with every webhook that arrives.
    pub(super) fn advance_on_receipt(&self, clock: &ManualClock, by: Duration) {
        *self.inbox.advance.lock().unwrap() = Some((clock.clone(), by));
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.inbox.received.lock().unwrap().clone()
    }
}

async fn receive(
    State(inbox): State<Arc<Inbox>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1]) {
    let text = |name| headers[name].to_str().unwrap().to_owned();
    assert_eq!(headers["content-type"], "application/json");
    inbox.received.lock().unwrap().push(Received {
        id: text(WEBHOOK_ID_HEADER),
        signature: text(SIGNATURE_HEADER),
        body,
    });
    if let Some((clock, by)) = &*inbox.advance.lock().unwrap() {
        clock.advance(*by);
    }
    let reply = inbox.answers.lock().unwrap().pop_front();
    let status = match reply {
        None => StatusCode::OK,
        Some(Reply::Status(status)) => StatusCode::from_u16(status).unwrap(),
        Some(Reply::Never) => std::future::pending().await,
    };
    (status, [("location", "/hook")])
}
