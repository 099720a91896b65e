//! Hostile requests by the hundred: query strings, cursors, tokens, signed bodies, bytes that are hardly HTTP. Whatever
//! comes, it is no fault of ours, tells nobody's data, and the service serves on. `scripts/fuzz` runs these for longer
//! than the test suite does.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;
use reqwest::{Method, Url};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Event, Left, TestApp};

/// Each case is a request to a real service, so there are fewer than for a pure function, unless `PROPTEST_CASES` says
/// otherwise.
const CASES: u32 = 64;

/// Tries `hostile` cases against a service with two calls, one of them another rep's; then it must still work.
fn fuzz<S: Strategy>(hostile: S, attempt: impl AsyncFn(&TestApp, S::Value)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let app = Mutex::new(runtime.block_on(async {
        let app = TestApp::start().await;
        for rep in ["rep_1", "rep_2"] {
            let event = Event::unscored(&format!("call_{rep}"), rep, "agency_1");
            app.event(rep, &event).send(&app).await.receipt("accepted");
        }
        app.work().await;
        app
    }));
    let config = ProptestConfig::default();
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config.cases,
        None => CASES,
    };
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..config
    });
    let outcome = runner.run(&hostile, |case| {
        let app = app.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.block_on(attempt(&app, case));
        Ok(())
    });
    outcome.unwrap_or_else(|why| panic!("{why}"));
    let mut app = app.into_inner().unwrap_or_else(PoisonError::into_inner);
    runtime.block_on(async {
        let event = Event::unscored("call_last", "rep_1", "agency_1");
        app.event("last", &event)
            .send(&app)
            .await
            .receipt("accepted");
        app.work().await;
        let ready = app.send(app.request(Method::GET, "/readyz")).await;
        ready.expect(200);
    });
    app.leaves(Left::default());
}

/// What clients put into parameters.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,30}",
        "(?s).{0,10}",
        "-?[0-9]{1,25}",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]{0,14}Z?)?",
        "[A-Za-z0-9_-]{0,60}",
        select(
            &[
                "",
                "null",
                "' OR 1=1 --",
                "%",
                "_",
                "\0",
                "../..",
                "rep_2",
                "call_rep_2",
                "scored",
                "dead",
                "{}"
            ][..]
        )
        .prop_map(str::to_owned),
        Just("a".repeat(4000)),
    ]
}

fn parameter() -> impl Strategy<Value = (String, String)> {
    let names = [
        "from", "to", "rep", "agency", "drill", "status", "limit", "cursor", "state", "verdict",
        "origin", "call", "source",
    ];
    let name = prop_oneof![
        9 => select(names.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{0,10}",
    ];
    (name, value())
}

/// Every path that reads, with something in place of ids.
fn reading_path() -> impl Strategy<Value = Vec<String>> {
    let list = select(
        &[
            "calls", "progress", "events", "me", "config", "console", "reps",
        ][..],
    );
    let segments = |name: &str, id: String| vec!["athos".to_owned(), name.to_owned(), id];
    prop_oneof![
        list.prop_map(|name| vec!["athos".to_owned(), name.to_owned()]),
        value().prop_map(move |id| segments("calls", id)),
        value().prop_map(move |id| segments("events", id)),
        value().prop_map(move |id| [segments("calls", id), vec!["recording".to_owned()]].concat()),
        prop::collection::vec(value(), 0..4),
    ]
}

#[test]
fn any_path_and_query_is_answered_and_shows_a_rep_their_own_calls_only() {
    let asked = (
        reading_path(),
        prop::collection::vec(parameter(), 0..5),
        0..3_u8,
    );
    fuzz(asked, async |app, (path, query, who)| {
        let mut url = Url::parse(&app.url("/")).unwrap();
        url.path_segments_mut().unwrap().clear().extend(path);
        url.query_pairs_mut().extend_pairs(query);
        let bearer = match who {
            0 => app.rep("rep_1", "agency_1"),
            1 => app.admin(),
            _ => app.secrets.service.clone(),
        };
        let target = url.as_str().strip_prefix(&app.url("")).unwrap();
        let answer = app.get(target, &bearer).await;
        assert!(answer.status < 500, "{target}: {}", answer.text());
        // The page's own words are nobody's data.
        let is_data = answer
            .header("content-type")
            .starts_with("application/json");
        if who == 0 && is_data && answer.status == 200 {
            assert!(
                !answer.text().contains("rep_2"),
                "{target}: {}",
                answer.text()
            );
        }
    });
}

#[test]
fn an_altered_token_authenticates_nobody() {
    let bent = (any::<Index>(), any::<u8>(), 0..6_u8, "\\PC{0,40}", value());
    fuzz(bent, async |app, (at, byte, how, header, word)| {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
        let good = app.rep("rep_1", "agency_1");
        let parts: Vec<_> = good.split('.').collect();
        let token = match how {
            // Its signature is of other bytes than these.
            0 => {
                let mut bytes = good.clone().into_bytes();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            1 => format!("{}.{}.{}", BASE64.encode(&header), parts[1], parts[2]),
            2 => {
                let header = json!({ "alg": word, "typ": "JWT", "kid": header });
                format!(
                    "{}.{}.{}",
                    BASE64.encode(header.to_string()),
                    parts[1],
                    parts[2]
                )
            }
            3 => format!("{}.{}.", BASE64.encode(r#"{"alg":"none"}"#), parts[1]),
            4 => good[..at.index(good.len())].to_owned(),
            _ => word,
        };
        // The last character of a signature has bits that stand for nothing.
        let same = token.len() == good.len() && token[..good.len() - 1] == good[..good.len() - 1];
        if same || token.bytes().any(|b| b < b' ' || b == 127) {
            return;
        }
        let answer = app.get("/athos/me", &token).await;
        assert_eq!(answer.status, 401, "{token}: {}", answer.text());
    });
}

#[test]
fn any_signed_body_is_kept_and_worked_off() {
    let fields = prop::collection::vec((value(), value()), 0..4);
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        (value(), value(), fields).prop_map(|(call, rep, more)| {
            // Of a success, the detail would be asked for, and the vendor does not know these calls.
            let mut event = Event::unscored(&call, &rep, "agency_1").0;
            for (name, value) in more {
                event[name] = json!(value);
            }
            event.to_string().into_bytes()
        }),
    ];
    fuzz((body, value()), async |app, (body, id)| {
        let hook = app.hook(body);
        let usable = !id.bytes().any(|b| b < b' ' || b == 127);
        let hook = if usable { hook.id(&id) } else { hook };
        let receipt = hook.send(app).await.expect(200);
        let _ = app.work().await;
        assert!(
            receipt.text().starts_with("{\"status\":"),
            "{}",
            receipt.text()
        );
        let list = app.get("/athos/calls?limit=1", &app.secrets.service).await;
        list.expect(200);
    });
}

#[test]
fn bytes_that_are_hardly_http_are_refused_or_dropped() {
    let request = "POST /athos/webhook?x=y HTTP/1.1\r\nHost: x\r\nX-Athos-Signature: t=1,v1=00\r\nContent-Length: 2\r\n\r\n{}";
    let hostile = [
        "\0",
        "\r",
        "\n",
        "\r\n",
        "\r\n\r\n",
        ":",
        " ",
        "HTTP/1.1",
        "chunked",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: h2c\r\nConnection: upgrade\r\n",
        "Connection: close\r\n",
        "\u{202e}",
        "%00",
        "%",
    ];
    let change = (
        any::<Index>(),
        any::<bool>(),
        prop_oneof![
            select(hostile.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 1..6),
        ],
    );
    fuzz(prop::collection::vec(change, 1..5), async |app, changes| {
        let mut bytes = request.as_bytes().to_vec();
        for (at, overwrites, change) in changes {
            let at = at.index(bytes.len() + 1);
            let end = if overwrites {
                bytes.len().min(at + change.len())
            } else {
                at
            };
            bytes.splice(at..end, change);
        }
        let mut stream = TcpStream::connect(app.service().addr).await.unwrap();
        let talk = async {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        let answer = timeout(Duration::from_secs(20), talk).await;
        let answer = answer.expect("the server hangs up on a client that has ended");
        let answer = String::from_utf8_lossy(&answer);
        let is_told = [
            "",
            "HTTP/1.1 2",
            "HTTP/1.1 4",
            "HTTP/1.1 100",
            "HTTP/1.0 4",
            "HTTP/1.0 2",
        ];
        let is_told = is_told.iter().any(|line| {
            if line.is_empty() {
                answer.is_empty()
            } else {
                answer.starts_with(line)
            }
        });
        assert!(is_told, "{}: {answer}", bytes.escape_ascii());
    });
}
