//! The generation of its contract that the simulated Athos speaks, and who is registered there.

use reqwest::Method;
use serde_json::{Value, json};

use super::{API, TestApp};

impl TestApp {
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
