//! The contract's rules as a table, one line each: in which generation, the rule, a request, and what is answered.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::roster::speaking;
use super::*;

const RULES: &str = include_str!("contract.txt");

/// The fixture of one generation, and what its placeholders stand for.
struct Stage {
    sim: Sim,
    known: Vec<(&'static str, String)>,
}

impl Stage {
    async fn set(contract: Contract) -> Self {
        let mut stage = Self {
            sim: Sim::start(speaking(Contract::Both)).await,
            known: vec![("$from", "from=2026-01-01T00:00:00.000Z".to_owned())],
        };
        for length in ["$100", "$101", "$200", "$201"] {
            let count = length[1..].parse().unwrap();
            stage.known.push((length, "é".repeat(count)));
        }
        for (id, of) in [("$acme", "acme"), ("$beta", "beta")] {
            let body = json!({ "platformAgencyId": of, "name": of });
            stage.made(id, "agencies", "/id", body).await;
        }
        for (id, body) in [
            (
                "$sam",
                json!({ "firstName": "Sam", "platformAgentId": "rep_1", "npn": "20224801", "email": "sam@acme.example", "platformAgencyId": "acme" }),
            ),
            (
                "$lee",
                json!({ "firstName": "Lee", "npn": "5550001", "platformAgencyId": "acme" }),
            ),
            (
                "$ana",
                json!({ "firstName": "Ana", "platformAgentId": "rep_2", "platformAgencyId": "beta" }),
            ),
        ] {
            let mut body = body;
            body["lastName"] = json!("Okafor");
            stage.made(id, "agents", "/agent/id", body).await;
        }
        let sam = json!({ "externalUserId": "rep_1", "externalAgencyId": "acme" });
        let token_life = Duration::from_secs(5 * 60);
        stage.sim.clock.set(start_time().minus(token_life));
        stage
            .made("$expired", "session", "/token", sam.clone())
            .await;
        stage.sim.clock.set(start_time());
        for token in [
            "$token", "$fresh", "$second", "$third", "$fourth", "$fifth", "$spent", "$of_live",
        ] {
            stage.made(token, "session", "/token", sam.clone()).await;
        }
        for (call, token) in [("$call", "$spent"), ("$live", "$of_live")] {
            let token = stage.fill_in(token);
            let begun = stage
                .sim
                .redeem(&token, json!({ "drillKey": "ma-full-sale" }))
                .await;
            let id = begun.body["callId"].as_str().unwrap();
            stage.known.push((call, id.to_owned()));
        }
        let path = stage.fill_in("/_simulator/calls/$call/end");
        let ended = stage
            .sim
            .post(&path, "", json!({ "durationSec": 612 }))
            .await;
        assert_eq!(ended.status, 200, "{ended:?}");
        stage.sim.idle().await;
        let switch = json!({ "contract": contract });
        assert_eq!(
            stage.sim.put("/_simulator/contract", switch).await.status,
            200
        );
        stage
    }

    async fn made(&mut self, name: &'static str, at: &str, pointer: &str, body: Value) {
        let made = self
            .sim
            .post(&format!("{API}/{at}"), DEMO_API_KEY, body)
            .await;
        let id = made.body.pointer(pointer).and_then(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("{name}: {made:?}"));
        self.known.push((name, id.to_owned()));
    }

    fn fill_in(&self, text: &str) -> String {
        let fill = |text: String, (name, value): &(&str, String)| text.replace(name, value);
        self.known.iter().fold(text.to_owned(), fill)
    }

    async fn holds(&self, rule: &str, request: &str, expected: &str) -> Result<(), String> {
        let (bearer, request) = match request.strip_prefix("as ") {
            Some(request) => request.split_once(' ').unwrap(),
            None => ("key", request),
        };
        let mut words = request.splitn(3, ' ');
        let method: Method = words.next().unwrap().parse().unwrap();
        let path = self.fill_in(words.next().unwrap());
        let mut request = self.sim.request(method, &format!("{API}{path}"));
        request = match bearer {
            "nobody" => request,
            "key" => request.bearer_auth(DEMO_API_KEY),
            token => request.bearer_auth(self.fill_in(token)),
        };
        if let Some(body) = words.next() {
            request = request.body(self.fill_in(body));
        }
        let answer = answer(request.send().await.unwrap()).await;
        let (status, body) = expected.split_once(' ').unwrap_or((expected, ""));
        let is_so = answer.status.to_string() == status
            && match body.starts_with('{') {
                true => has(
                    &answer.body,
                    &serde_json::from_str(&self.fill_in(body)).unwrap(),
                ),
                false => body.is_empty() || answer.code() == body,
            };
        match is_so {
            true => Ok(()),
            false => Err(format!(
                "{rule}: expected {expected}, was {} {}",
                answer.status, answer.body
            )),
        }
    }
}

/// Whether a value is the expected one; its objects may have more members.
fn has(value: &Value, expected: &Value) -> bool {
    match (value, expected) {
        (Value::Object(value), Value::Object(expected)) => expected
            .iter()
            .all(|(key, expected)| value.get(key).is_some_and(|value| has(value, expected))),
        (Value::Array(value), Value::Array(expected)) => {
            value.len() == expected.len() && value.iter().zip(expected).all(|(v, e)| has(v, e))
        }
        _ => value == expected,
    }
}

#[tokio::test]
async fn every_rule_of_the_table_holds() {
    let (mut tried, mut broken) = (0, Vec::new());
    for (name, contract) in [
        ("external", Contract::External),
        ("roster", Contract::Roster),
        ("both", Contract::Both),
    ] {
        let stage = Stage::set(contract).await;
        for line in RULES
            .lines()
            .filter(|line| line.contains('|') && !line.starts_with('#'))
        {
            let [of, rule, request, expected] = line.split(" | ").collect::<Vec<_>>()[..] else {
                panic!("not a line of the table: {line}");
            };
            if of.split(' ').any(|of| of == name) {
                tried += 1;
                broken.extend(stage.holds(rule, request, expected).await.err());
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(tried > 120, "{tried}");
}

/// A scored call of this drill and length; nothing is a real call that began so many days ago.
async fn score_of(sim: &Sim, drill: Option<&str>, secs: u64, days_ago: u64) -> Value {
    let started_at = start_time().minus(Duration::from_secs(days_ago * 24 * 60 * 60 + secs));
    let (at, body) = match drill {
        Some(drill) => (
            "burst",
            json!({ "calls": 1, "drillKey": drill, "durationSec": secs }),
        ),
        None => (
            "real-calls",
            json!({ "startedAt": started_at, "durationSec": secs }),
        ),
    };
    let made = sim.post(&format!("/_simulator/{at}"), "", body).await;
    sim.idle().await;
    sim.detail(made.body["callIds"][0].as_str().unwrap())
        .await
        .body
}

#[tokio::test]
async fn a_scorecard_comes_with_two_drills_and_only_if_there_was_time_for_it() {
    let sim = Sim::start(speaking(Contract::Roster)).await;
    for (drill, secs, may) in [
        (Some("ma-full-sale"), 300, true),
        (Some("ma-t65"), 612, true),
        (Some("ma-full-sale"), 299, false),
        (Some("ma-objection-handling"), 612, false),
        (Some("fe-full-sale"), 612, false),
        (None, 120, true),
    ] {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let score = score_of(&sim, drill, secs, 0).await["score"].clone();
            let card = &score["complianceScorecard"];
            let kind = match (
                score.get("compliancePercent"),
                score.get("complianceScorecard"),
            ) {
                (None, None) => "none",
                (Some(_), None) => "percent",
                (Some(_), Some(_)) if card["rubricVersion"].is_number() => "rubric",
                (Some(_), Some(_)) => "map",
                (None, Some(_)) => panic!("a card without a percentage: {score}"),
            };
            seen.insert(kind);
        }
        let expected: &[&str] = match may {
            true => &["map", "none", "percent", "rubric"],
            false => &["none", "percent"],
        };
        assert!(seen.iter().eq(expected), "{drill:?} {secs}: {seen:?}");
    }
}

#[tokio::test]
async fn a_recording_answers_ranges_and_that_of_an_old_real_call_is_gone() {
    let sim = Sim::start(speaking(Contract::Roster)).await;
    let old = score_of(&sim, None, 60, 31).await;
    assert_eq!(
        (&old["audioUrl"], &old["audioUrlExpiresAt"]),
        (&Value::Null, &Value::Null)
    );
    let detail = score_of(&sim, None, 60, 29).await;
    let url = detail["audioUrl"].as_str().unwrap();
    let path = url.strip_prefix(&sim.running.origin()).unwrap();
    let ask = async |method: Method, range: &str| {
        let request = sim.request(method, path).header("range", range);
        request.send().await.unwrap()
    };
    let header = |response: &Response, name: &str| {
        let value = response.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let whole = ask(Method::GET, "").await;
    assert_eq!(whole.status(), 200);
    assert_eq!(header(&whole, "accept-ranges").as_deref(), Some("bytes"));
    let whole = whole.bytes().await.unwrap();
    let length = whole.len();
    for (range, start, end) in [
        ("bytes=0-3".to_owned(), 0, 4),
        (format!("bytes={}-", length - 10), length - 10, length),
        ("bytes=-5".to_owned(), length - 5, length),
    ] {
        let part = ask(Method::GET, &range).await;
        assert_eq!(part.status(), 206, "{range}");
        let place = format!("bytes {start}-{}/{length}", end - 1);
        assert_eq!(header(&part, "content-range"), Some(place));
        assert_eq!(part.bytes().await.unwrap(), whole[start..end], "{range}");
    }
    let beyond = ask(Method::GET, &format!("bytes={length}-")).await;
    assert_eq!(beyond.status(), 416);
    assert_eq!(
        header(&beyond, "content-range"),
        Some(format!("bytes */{length}"))
    );
    assert_eq!(ask(Method::HEAD, "bytes=0-3").await.status(), 403);
}
