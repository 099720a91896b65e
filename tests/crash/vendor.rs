//! The simulator as Athos: reached over HTTP, and the witness of what was acknowledged, asked for and ended.

use std::collections::BTreeSet;
use std::time::Duration;

use athos_backend::clients::http_client;
use athos_backend::clock::{Clock, ManualClock};
use athos_simulator::{self as simulator, Running};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::service::API_KEY;

/// Its clock is behind, so that a call of just now is not left to a webhook that may be on its way.
const BEHIND: Duration = Duration::from_secs(90);

pub(crate) struct Vendor {
    /// Its own: what it sends to a port that has passed to another service is refused there.
    pub(crate) secret: String,
    http: reqwest::Client,
    running: Running,
    _stop: DropGuard,
}

impl Vendor {
    /// One with calls of its own: no other seed has the same.
    pub(crate) async fn start(seed: u64) -> Self {
        let secret = format!("whsec_crash_{seed:016x}");
        let options = simulator::Options {
            bind: ([127, 0, 0, 1], 0).into(),
            api_keys: vec![API_KEY.into()],
            webhook_secrets: vec![secret.clone().into()],
            seed,
            score_delay: Duration::ZERO,
            // A webhook that was not acknowledged is lost: finding it is the service's task.
            webhook_retry: Duration::from_secs(24 * 60 * 60),
            ..simulator::Options::default()
        };
        let clock = ManualClock::starting_at(Clock::system().now().minus(BEHIND));
        let stop = CancellationToken::new();
        let running = simulator::start(options, clock.clock(), stop.clone())
            .await
            .unwrap();
        let url = running.origin().parse().unwrap();
        Self {
            secret,
            http: http_client(&url, Duration::from_secs(60)).unwrap(),
            running,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn base_url(&self) -> String {
        self.running.base_url()
    }

    pub(crate) fn deliver_to(&self, origin: &str) {
        let url = format!("{origin}/athos/webhook").parse().unwrap();
        self.running.set_webhook_url(url);
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}/_simulator/{path}", self.running.origin());
        let answer = self.http.request(method, url).json(&body).send().await;
        let answer = answer.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    }

    pub(crate) async fn faults(&self, faults: Value) {
        self.ask(Method::PUT, "faults", faults).await;
    }

    /// Ends so many calls at once; their webhooks go out, unless a fault keeps them.
    pub(crate) async fn burst(&self, calls: usize) {
        self.ask(Method::POST, "burst", json!({ "calls": calls }))
            .await;
    }

    /// Waits until there were so many attempts to deliver.
    pub(crate) async fn attempted(&self, deliveries: usize) {
        let path = format!("deliveries?wait={deliveries}&timeoutMs=60000");
        self.ask(Method::GET, &path, Value::Null).await;
    }

    /// Waits until every call that ended is scored, and every first attempt to tell of it is over.
    pub(crate) async fn settled(&self) {
        loop {
            let answer = self.ask(Method::GET, "deliveries", Value::Null).await;
            let attempts = answer["deliveries"].as_array().unwrap().len();
            let (ended, _) = self.ended().await;
            if answer["scoring"] == 0 && attempts == ended.len() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The ids of the webhooks that were answered with 2xx, and how many attempts were not answered.
    pub(crate) async fn acknowledged(&self) -> (BTreeSet<String>, usize) {
        let answer = self.ask(Method::GET, "deliveries", Value::Null).await;
        let deliveries = answer["deliveries"].as_array().unwrap();
        let (acked, cut): (Vec<_>, Vec<_>) = deliveries
            .iter()
            .partition(|delivery| delivery["outcome"] == "delivered");
        let ids = acked.iter().map(|delivery| text(&delivery["id"]));
        let unanswered = cut.iter().filter(|cut| cut["outcome"] == "unreachable");
        (ids.collect(), unanswered.count())
    }

    /// How often an endpoint was asked.
    pub(crate) async fn asked(&self, endpoint: &str) -> u64 {
        let counts = self.ask(Method::GET, "requests", Value::Null).await;
        counts[endpoint]["total"].as_u64().unwrap()
    }

    /// Waits until an endpoint was asked so often.
    pub(crate) async fn asked_for(&self, endpoint: &str, times: u64) {
        while self.asked(endpoint).await < times {
            tokio::task::yield_now().await;
        }
    }

    /// The calls that have ended, each with how it was scored, and those whose detail was given out at least once.
    pub(crate) async fn ended(&self) -> (Vec<(String, String)>, BTreeSet<String>) {
        let answer = self.ask(Method::GET, "calls", Value::Null).await;
        let calls = answer["calls"].as_array().unwrap();
        let fetched = calls
            .iter()
            .filter(|call| call["fetches"].as_u64() > Some(0))
            .map(|call| text(&call["callId"]))
            .collect();
        let ended = calls
            .iter()
            .filter(|call| !call["endedAt"].is_null())
            .map(|call| (text(&call["callId"]), text(&call["status"])))
            .collect();
        (ended, fetched)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
