//! `TestApp`: the service, the simulator and a clock that stands still, for one test. The worker is stepped, not waited
//! for. At the end every answer and the log are searched for secrets, and work that nobody declared is a failure.

mod answer;
mod audit;
mod database;
mod events;
mod jwt;
mod rows;
mod setup;
mod vendor;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use athos_backend::clock::ManualClock;
use athos_backend::config::Config;
use athos_backend::http::{Deadlines, Demo, Received};
use athos_backend::lifecycle::{Options, Service};
use athos_backend::model::Timestamp;
use athos_backend::worker::StepSummary;
use athos_backend::worker::reconcile::Reconciler;
use athos_simulator::{self as simulator, Running};
use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use answer::{Answer, Live};
use audit::Evidence;
pub(crate) use database::{AuditRow, PastCall, date_ahead, url};
pub(crate) use events::{Event, Hook};
pub(crate) use jwt::jwt;
pub(crate) use rows::event_rows_at;
pub(crate) use setup::{Setup, unique};
use vendor::Doings;
pub(crate) use vendor::Telling;

/// When every test begins.
pub(crate) const START: &str = "2026-06-05T14:39:40.295Z";
/// Where the external API is on the simulator.
pub(crate) const API: &str = "/api/external/v1";

/// Work that a test leaves behind on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Events pending or leased.
    pub(crate) waiting: i64,
    /// Events given up.
    pub(crate) dead: i64,
}

/// The secrets of one test; no other test has the same.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    pub(crate) api_keys: [String; 2],
    pub(crate) whsec: String,
    pub(crate) service: String,
    pub(crate) jwt: String,
}

/// A service, its vendor and its clock.
pub(crate) struct TestApp {
    pub(crate) clock: ManualClock,
    /// The same clock, unless they were set apart.
    pub(crate) clock_of_athos: ManualClock,
    pub(crate) secrets: Secrets,
    pub(crate) simulator: Running,
    /// What the service was started with.
    pub(crate) config: Config,
    service: Option<Service>,
    origin: String,
    admin: String,
    http: reqwest::Client,
    folder: TempDir,
    /// The database on a server, when the stories are told on one.
    server: Option<crate::cluster::Database>,
    evidence: Arc<Mutex<Evidence>>,
    left: Left,
    doings: Doings,
    _stop_simulator: DropGuard,
}

impl TestApp {
    /// The usual service.
    pub(crate) async fn start() -> Self {
        Setup::new().start().await
    }

    async fn from_setup(setup: Setup) -> Self {
        let evidence = Evidence::begin(&setup);
        let folder = tempfile::tempdir().unwrap();
        if let Some(database) = &setup.database {
            std::fs::copy(database, folder.path().join("athos.db")).unwrap();
        }
        let server = database::on_server();
        let clock = ManualClock::starting_at(start_time());
        let shutdown = CancellationToken::new();
        let options = simulator::Options {
            bind: ([127, 0, 0, 1], 0).into(),
            api_keys: setup
                .secrets
                .api_keys
                .clone()
                .map(SecretString::from)
                .into(),
            webhook_secrets: vec![setup.secrets.whsec.clone().into()],
            score_delay: Duration::ZERO,
            webhook_retry: Duration::ZERO,
            contract: setup.contract,
            seed: 1,
            ..simulator::Options::default()
        };
        let clock_of_athos = match setup.clocks_apart {
            true => ManualClock::starting_at(start_time()),
            false => clock.clone(),
        };
        let simulator = simulator::start(options, clock_of_athos.clock(), shutdown.clone())
            .await
            .unwrap();
        let config = setup.config(
            &simulator.base_url(),
            &match &server {
                Some(server) => server.url(),
                None => url(&folder.path().join("athos.db")),
            },
        );
        let options = Options {
            clock: clock.clock(),
            demo: setup.demo.then(|| Demo {
                secret: setup.secrets.jwt.clone().into(),
                received: Received::default(),
            }),
            run_worker: setup.run_worker,
            deadlines: setup.deadlines,
        };
        let service = Service::start(&config, options).await.unwrap();
        let origin = format!("http://{}", service.addr);
        let admin = format!("http://{}", service.admin_addr);
        simulator.set_webhook_url(format!("{origin}/athos/webhook").parse().unwrap());
        Self {
            http: http_client(),
            clock,
            clock_of_athos,
            secrets: setup.secrets,
            simulator,
            config,
            service: Some(service),
            origin,
            admin,
            folder,
            server,
            evidence: Arc::new(Mutex::new(evidence)),
            left: Left::default(),
            doings: Doings::default(),
            _stop_simulator: shutdown.drop_guard(),
        }
    }

    pub(crate) fn service(&self) -> &Service {
        self.service.as_ref().unwrap()
    }

    /// What reconciles the first of the sources.
    pub(crate) fn reconciler(&self) -> &Reconciler {
        &self.service().reconcilers[0]
    }

    /// Stops the service as SIGTERM would.
    pub(crate) fn stop(&mut self) -> impl Future<Output = ()> + use<> {
        self.service.take().unwrap().stop()
    }

    /// Starts it again on the same database, at another address.
    pub(crate) async fn start_again(&mut self) {
        let options = Options {
            clock: self.clock.clock(),
            demo: None,
            run_worker: false,
            deadlines: Deadlines::default(),
        };
        let service = Service::start(&self.config, options).await.unwrap();
        self.origin = format!("http://{}", service.addr);
        self.admin = format!("http://{}", service.admin_addr);
        let webhook = format!("{}/athos/webhook", self.origin);
        self.simulator.set_webhook_url(webhook.parse().unwrap());
        self.service = Some(service);
    }

    /// Declares work that is still there when the test ends.
    pub(crate) fn leaves(&mut self, left: Left) {
        self.left = left;
    }

    /// Has the test fail when this text turns up in an answer or in the log.
    pub(crate) fn keep_secret(&self, secret: &str) {
        self.evidence.lock().unwrap().keep_secret(secret);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.clock().now()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// A request to the service, without credentials.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Sends a request and judges what every answer must have.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let asked = format!("{} {}", request.method(), request.url().path());
        let response = self.http.execute(request).await.unwrap();
        let answer = Answer::read(asked, response).await;
        answer.check_shape();
        self.evidence.lock().unwrap().add(&answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str, bearer: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(bearer))
            .await
    }

    pub(crate) async fn post(&self, path: &str, bearer: &str, body: &Value) -> Answer {
        // No Content-Type: people who type curl by hand send none.
        let request = self.request(Method::POST, path).bearer_auth(bearer);
        self.send(request.body(body.to_string())).await
    }

    /// Asks for a session token as another backend does.
    pub(crate) async fn mint_for(&self, rep: &str, agency: &str) -> Answer {
        self.have_registered(rep, agency).await;
        let body = json!({ "externalUserId": rep, "externalAgencyId": agency });
        self.post("/athos/token", &self.secrets.service, &body)
            .await
    }

    /// Watches calls change.
    pub(crate) async fn live(&self, bearer: &str, last_event_id: Option<i64>) -> Live {
        let mut request = self.request(Method::GET, "/athos/live").bearer_auth(bearer);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        self.live_with(request).await
    }

    /// The same, with credentials of another kind.
    pub(crate) async fn live_with(&self, request: RequestBuilder) -> Live {
        let response = request.send().await.unwrap();
        Live::new(response, Arc::clone(&self.evidence)).await
    }

    /// What Prometheus would read.
    pub(crate) async fn metrics(&self) -> String {
        self.get_metrics(None).await.text()
    }

    /// What the address of the metrics answers.
    pub(crate) async fn get_metrics(&self, bearer: Option<&str>) -> Answer {
        let mut request = self.http.get(format!("{}/metrics", self.admin));
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        let response = request.send().await.unwrap();
        let answer = Answer::read("GET /metrics".into(), response).await;
        self.evidence.lock().unwrap().add(&answer);
        answer
    }

    /// One step of the worker.
    pub(crate) async fn step(&self) -> StepSummary {
        self.service().worker.run_once().await.unwrap()
    }

    /// Steps the worker until nothing is due, and adds up what it did.
    pub(crate) async fn work(&self) -> StepSummary {
        let mut total = StepSummary::default();
        loop {
            let did = self.step().await;
            total.scored += did.scored;
            total.unscored += did.unscored;
            total.retried += did.retried;
            total.dead += did.dead;
            total.ignored += did.ignored;
            total.lease_lost += did.lease_lost;
            total.erased += did.erased;
            total.held |= did.held;
            let rest = StepSummary { held: false, ..did };
            if rest == StepSummary::default() {
                return total;
            }
        }
    }

    /// A request to the simulator.
    pub(crate) async fn simulate(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self
            .http
            .request(method, format!("{}{path}", self.simulator.origin()));
        let response = request.json(&body).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn faults(&self, faults: Value) {
        self.simulate(Method::PUT, "/_simulator/faults", faults)
            .await;
    }

    /// How often the vendor was asked, by endpoint.
    pub(crate) async fn asked(&self, endpoint: &str) -> u64 {
        let counted = self
            .simulate(Method::GET, "/_simulator/requests", Value::Null)
            .await;
        counted[endpoint]["total"].as_u64().unwrap()
    }

    /// The deliveries, once none is under way.
    pub(crate) async fn delivered(&self) -> Vec<Value> {
        let path = "/_simulator/deliveries?idle=true";
        let answer = self.simulate(Method::GET, path, Value::Null).await;
        answer["deliveries"].as_array().unwrap().clone()
    }

    /// Redeems a session token as the browser SDK does; the call's id.
    pub(crate) async fn redeem(&self, token: &str) -> String {
        let url = format!("{}{API}/roleplay/session", self.simulator.origin());
        let request = self.http.post(url).bearer_auth(token);
        let response = request.json(&json!({ "drillKey": "ma-full-sale" }));
        let body: Value = response.send().await.unwrap().json().await.unwrap();
        self.call_has_begun().await;
        body["callId"].as_str().unwrap().to_owned()
    }

    /// A call of `rep` that has ended and whose webhook has been delivered, or not, as the faults say.
    pub(crate) async fn ended_call(&self, rep: &str, agency: &str) -> String {
        let minted = self.mint_for(rep, agency).await.expect(200);
        self.end_of_call(minted.json()["token"].as_str().unwrap())
            .await
    }

    /// A call with this token, that has ended and whose webhook has been delivered.
    pub(crate) async fn end_of_call(&self, token: &str) -> String {
        let id = self.redeem(token).await;
        let path = format!("/_simulator/calls/{id}/end");
        self.simulate(Method::POST, &path, json!({})).await;
        self.delivered().await;
        id
    }

    /// Many calls at once, all ended now; their webhooks are delivered.
    pub(crate) async fn burst(&self, calls: usize, reps: &[&str], agency: &str) -> Vec<String> {
        let body = json!({ "calls": calls, "reps": reps, "agency": agency });
        let answer = self.simulate(Method::POST, "/_simulator/burst", body).await;
        self.delivered().await;
        self.call_has_begun().await;
        let ids = answer["callIds"].as_array().unwrap();
        ids.iter().map(|id| id.as_str().unwrap().into()).collect()
    }

    /// A call as the service shows it to other backends.
    pub(crate) async fn call(&self, id: &str) -> Value {
        let answer = self
            .get(&format!("/athos/calls/{id}"), &self.secrets.service)
            .await;
        answer.expect(200).json()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let evidence = self
            .evidence
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        if std::thread::panicking() {
            evidence.print_log();
            return;
        }
        let problems = evidence.judge(self.kept(), self.left);
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

pub(crate) fn start_time() -> Timestamp {
    START.parse().unwrap()
}

/// A client with the deadline of a patient caller; redirects are answers like any other.
pub(crate) fn http_client() -> reqwest::Client {
    let url = "http://localhost".parse().unwrap();
    athos_backend::clients::http_client(&url, Duration::from_secs(30)).unwrap()
}
