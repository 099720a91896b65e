//! The generation of its contract that the simulated Athos speaks, and who is registered there. The whole suite can be
//! told in either generation, or with a switch in the middle; stories that are about one of them are in `skipped.txt`.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use athos_simulator::Contract;
use reqwest::Method;
use serde_json::{Value, json};

use super::{API, TestApp};

/// How the suite is told: the variable `STORY_CONTRACT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Athos speaks `external`.
    External,
    /// Athos speaks `roster`, and the service is told so.
    Roster,
    /// Athos speaks `external` until the first call of a story has begun, and `roster` from then on; the service finds
    /// out by itself.
    Switch,
}

impl Telling {
    pub(crate) fn of_this_run() -> Self {
        match std::env::var("STORY_CONTRACT").as_deref() {
            Ok("external") | Err(_) => Self::External,
            Ok("roster") => Self::Roster,
            Ok("switch") => Self::Switch,
            Ok(other) => panic!("STORY_CONTRACT={other} is not external, roster or switch"),
        }
    }

    pub(super) fn at_first(self) -> Contract {
        match self {
            Self::External | Self::Switch => Contract::External,
            Self::Roster => Contract::Roster,
        }
    }

    /// What the service is started with.
    pub(super) fn flags(self) -> &'static [&'static str] {
        match self {
            Self::External => &[],
            Self::Roster => &["--athos-contract=roster", "--auto-enroll=true"],
            Self::Switch => &["--auto-enroll=true"],
        }
    }
}

/// What a story has done to its Athos.
#[derive(Debug, Default)]
pub(super) struct Doings {
    has_switched: AtomicBool,
    registered: Mutex<BTreeSet<String>>,
}

impl TestApp {
    /// A call has begun: in a story with a switch this is when it happens.
    pub(super) async fn call_has_begun(&self) {
        if Telling::of_this_run() == Telling::Switch
            && !self.doings.has_switched.swap(true, Ordering::Relaxed)
        {
            self.speak("roster").await;
        }
    }

    /// Registers a rep whom a service is about to name, where Athos wants that. Whatever keeps it from succeeding, a
    /// fault or a rep who is there, the story goes on.
    pub(crate) async fn have_registered(&self, rep: &str, agency: &str) {
        let wants_it = match Telling::of_this_run() {
            Telling::External => false,
            Telling::Roster => true,
            Telling::Switch => self.doings.has_switched.load(Ordering::Relaxed),
        };
        if !wants_it || self.doings.registered.lock().unwrap().contains(rep) {
            return;
        }
        for (path, body) in [
            (
                "/agencies",
                json!({ "platformAgencyId": agency, "name": agency }),
            ),
            (
                "/agents",
                json!({
                    "firstName": "Dana", "lastName": "Reyes", "platformAgentId": rep, "platformAgencyId": agency,
                }),
            ),
        ] {
            let url = format!("{}{API}{path}", self.simulator.origin());
            let request = self.http.post(url).bearer_auth(&self.secrets.api_keys[1]);
            let answered = request.json(&body).send().await;
            let is_there = |status: u16| matches!(status, 200 | 201 | 409);
            if !answered.is_ok_and(|answer| is_there(answer.status().as_u16())) {
                return;
            }
        }
        let mut registered = self.doings.registered.lock().unwrap();
        registered.insert(rep.to_owned());
    }

    /// Has Athos speak another generation from now on: `external`, `roster` or `both`.
    pub(crate) async fn speak(&self, contract: &str) {
        let body = json!({ "contract": contract });
        self.simulate(Method::PUT, "/_simulator/contract", body)
            .await;
    }

    /// A request to Athos itself, with an API key of the company's.
    pub(crate) async fn athos(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{API}{path}", self.simulator.origin());
        let request = self.http.request(method, url).json(body);
        let request = request.bearer_auth(&self.secrets.api_keys[0]);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// Registers an agency, and a rep in it with these handles besides a name; Athos's id of the rep.
    pub(crate) async fn register(&self, agency: &str, handles: Value) -> String {
        let body = json!({ "platformAgencyId": agency, "name": agency });
        let (status, _) = self.athos(Method::POST, "/agencies", &body).await;
        assert!(status < 300);
        let mut agent =
            json!({ "firstName": "Dana", "lastName": "Reyes", "platformAgencyId": agency });
        for (name, value) in handles.as_object().unwrap() {
            agent[name] = value.clone();
        }
        let (status, answer) = self.athos(Method::POST, "/agents", &agent).await;
        assert_eq!(status, 201, "{answer}");
        answer["agent"]["id"].as_str().unwrap().to_owned()
    }

    /// The agents that Athos has on record, by any handle.
    pub(crate) async fn agents(&self, query: &str) -> Vec<Value> {
        let path = format!("/agents?{query}");
        let (status, page) = self.athos(Method::GET, &path, &Value::Null).await;
        assert_eq!(status, 200, "{page}");
        page["data"].as_array().unwrap().clone()
    }

    /// What tokens are minted with, and why, as everyone may see it.
    pub(crate) async fn contract(&self) -> Value {
        let ready = self.send(self.request(Method::GET, "/readyz")).await;
        ready.json()["athos"]["contract"].clone()
    }
}
