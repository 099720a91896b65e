//! What operators and proxies see: health, the document, metrics, headers, and a stop that loses nothing.

use std::collections::BTreeSet;

use athos_backend::store::Duty;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Event, Hook, Setup, TestApp, unique};

async fn anyone(app: &TestApp, path: &str) -> crate::harness::Answer {
    app.send(app.request(Method::GET, path)).await
}

#[tokio::test]
async fn the_process_is_alive_and_ready() {
    let app = TestApp::start().await;
    let alive = anyone(&app, "/healthz").await.expect(200);
    assert_eq!(alive.json()["status"], "ok");
    assert_eq!(alive.header("cache-control"), "no-store");
    let mut ready = anyone(&app, "/readyz").await.expect(200).json();
    // Of a database on a server alone.
    for name in ["replicasFollowed", "clock"] {
        ready.as_object_mut().unwrap().remove(name);
    }
    let expected = json!({
        "status": "ready", "store": "ok", "worker": "ok", "workerBeat": crate::harness::START,
        "athos": { "status": "ok", "contract": { "generation": "external", "why": "default" } },
    });
    assert_eq!(ready, expected);
}

#[tokio::test]
async fn a_worker_that_shows_no_life_makes_the_service_unready() {
    let app = TestApp::start().await;
    app.clock.advance(std::time::Duration::from_secs(30));
    let unready = anyone(&app, "/readyz").await.expect(503).json();
    assert_eq!(unready["status"], "unready");
    assert_eq!(unready["worker"], "failing");
    assert_eq!(unready["store"], "ok");
    anyone(&app, "/healthz").await.expect(200);
}

#[tokio::test]
async fn operators_see_the_replicas_who_leads_what_and_when_each_was_reloaded() {
    let app = TestApp::start().await;
    let replica = &app.service().replica;
    let look = async |path| {
        replica.beat().await.unwrap();
        let seen = app.get(path, &app.secrets.service).await.expect(200).json();
        let [this] = seen["replicas"].as_array().unwrap().as_slice() else {
            panic!("{seen}")
        };
        (seen["leaders"].clone(), this.clone())
    };
    let (leaders, this) = look("/readyz").await;
    assert_eq!(leaders, json!([]), "no task of this one waits for a duty");
    for time in ["since", "lastHeartbeat", "reloadedAt"] {
        assert_eq!(this[time], crate::harness::START);
    }
    assert_eq!(this["id"], replica.id());
    assert_eq!(this["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(this["alive"], true);

    replica.lead(Duty::Retention).await;
    let led = json!([{ "duty": "retention", "replica": replica.id(), "term": 1 }]);
    for path in ["/readyz", "/athos/overview"] {
        assert_eq!(look(path).await.0, led);
    }
    // Other secrets, and no change of anything else.
    app.clock.advance(std::time::Duration::from_secs(5));
    let reloaded = app.now();
    let mut config = app.config.clone();
    config.athos_whsec = vec!["whsec_of_another_day".to_owned().into()];
    app.service().reload(&config).await.unwrap();
    app.clock.advance(std::time::Duration::from_secs(1));
    let (leaders, after) = look("/readyz").await;
    assert_eq!(leaders, led);
    assert_eq!(after["reloadedAt"], json!(reloaded));
    assert_eq!(after["lastHeartbeat"], json!(app.now()));
    assert_eq!(after["since"], crate::harness::START);
    assert_ne!(after["credentials"], this["credentials"]);
    // A token that has changed under its name.
    let mut seen = vec![this["credentials"].clone(), after["credentials"].clone()];
    for _ in 0..2 {
        let mut config = app.config.clone();
        let token = format!("crm:read:{}", unique("svc"));
        config.service_tokens.push(token.into());
        app.service().reload(&config).await.unwrap();
        let credentials = look("/readyz").await.1["credentials"].take();
        assert!(!seen.contains(&credentials), "{credentials}");
        seen.push(credentials);
    }
    app.service().reload(&app.config).await.unwrap();
    let (_, back) = look("/athos/overview").await;
    assert_eq!(back["credentials"], this["credentials"]);

    // Machines and processes are nothing for others to know.
    let rep = app.rep("rep_1", "agency_1");
    for ready in [
        anyone(&app, "/readyz").await,
        app.get("/readyz", &rep).await,
    ] {
        let ready = ready.json();
        for name in ["replica", "replicas", "leaders"] {
            assert_eq!(ready.get(name), None, "{ready}");
        }
    }
}

/// Every `$ref` of the document.
fn references<'d>(document: &'d Value, found: &mut BTreeSet<&'d str>) {
    match document {
        Value::Object(members) => members.iter().for_each(|(name, value)| match value {
            Value::String(target) if name == "$ref" => {
                found.insert(target);
            }
            value => references(value, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_whole_and_every_route_of_it_is_there() {
    let app = TestApp::start().await;
    let document = anyone(&app, "/openapi.json").await.expect(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut targets = BTreeSet::new();
    references(&document, &mut targets);
    assert!(!targets.is_empty());
    for target in targets {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{target} leads nowhere"
        );
    }
    let mut routes = Vec::new();
    let mut operation_ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(operation_ids.insert(id.to_owned()), "{id} twice");
            assert!(!operation["responses"].as_object().unwrap().is_empty());
            let parameters = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            for name in path.split(['{', '}']).skip(1).step_by(2) {
                assert!(
                    parameters
                        .iter()
                        .any(|p| p["name"] == name && p["in"] == "path")
                );
            }
            let answers: Vec<_> = operation["responses"].as_object().unwrap().keys().collect();
            routes.push(format!("{} {path} {answers:?}", method.to_uppercase()));

            let method: Method = method.to_uppercase().parse().unwrap();
            let asked = app.request(method, &path.replace("{callId}", "x"));
            let answer = app.send(asked).await;
            assert!(![404, 405].contains(&answer.status), "{path} is not there");
            let documented = &operation["responses"][answer.status.to_string()];
            assert!(documented.is_object(), "{path} answered {}", answer.status);
        }
    }
    routes.sort();
    insta::assert_snapshot!(routes.join("\n"));
}

#[tokio::test]
async fn unknown_routes_and_methods_are_answered_with_the_envelope() {
    let app = TestApp::start().await;
    for path in [
        "/nothing",
        "/athos",
        "/athos/token/x",
        "/metrics",
        "/static/../Cargo.toml",
    ] {
        anyone(&app, path).await.refused(404, "NOT_FOUND");
    }
    for (method, path, allow) in [
        (Method::DELETE, "/athos/token", "POST"),
        (Method::POST, "/athos/calls", "GET,HEAD"),
        (Method::PUT, "/healthz", "GET,HEAD"),
        (Method::POST, "/", "GET,HEAD"),
    ] {
        let answer = app.send(app.request(method, path)).await;
        let answer = answer.refused(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
}

#[tokio::test]
async fn a_request_id_is_taken_over_when_it_is_one() {
    let app = TestApp::start().await;
    let ask = async |id: &str| {
        let request = app
            .request(Method::GET, "/athos/me")
            .header("x-request-id", id);
        app.send(request).await.header("x-request-id").to_owned()
    };
    assert_eq!(ask("from-the_proxy.7").await, "from-the_proxy.7");
    let long = "x".repeat(65);
    for bad in ["", "a b", "<script>", &long] {
        let given = ask(bad).await;
        assert!(given.starts_with("req_"), "{given}");
    }
    assert_ne!(ask("").await, ask("").await);
}

#[tokio::test]
async fn every_answer_has_the_headers_that_protect_a_browser() {
    let app = TestApp::start().await;
    for path in ["/", "/healthz", "/athos/me", "/nothing", "/openapi.json"] {
        let answer = anyone(&app, path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_ne!(answer.header("referrer-policy"), "", "{path}");
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        let resources = answer.header("cross-origin-resource-policy");
        assert_eq!(resources, "same-origin", "{path}");
        let opener = answer.header("cross-origin-opener-policy");
        assert_eq!(opener, "same-origin", "{path}");
        // Only what holds nobody's data may be kept, and then asked for again.
        let kept = answer.header("cache-control");
        assert_eq!(kept == "no-cache", path == "/", "{path}: {kept}");
        assert!(kept.contains("no-"), "{path}: {kept}");
        assert_eq!(answer.header("strict-transport-security"), "", "{path}");
    }
    let page = anyone(&app, "/").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("permissions-policy");
    assert!(policy.contains("microphone=(self)"), "{policy}");

    let by_tls = Setup::new().flag("public-url", "https://practice.example.com");
    let by_tls = by_tls.start().await;
    for path in ["/", "/nothing"] {
        let answer = anyone(&by_tls, path).await;
        let policy = answer.header("strict-transport-security");
        assert!(policy.starts_with("max-age="), "{path}: {policy}");
    }
}

#[tokio::test]
async fn only_pages_of_configured_origins_may_read_answers() {
    let origins = "https://app.example.com,http://localhost:3000";
    let app = Setup::new().flag("cors-origins", origins).start().await;
    let token = app.rep("rep_1", "agency_1");
    let allowed = async |origin: &str| {
        let request = app.request(Method::GET, "/athos/me").bearer_auth(&token);
        let answer = app.send(request.header("origin", origin)).await.expect(200);
        assert!(answer.header("vary").to_lowercase().contains("origin"));
        answer.header("access-control-allow-origin").to_owned()
    };
    for origin in origins.split(',') {
        assert_eq!(allowed(origin).await, origin);
        // Errors, too: the page must be able to say what is wrong.
        for (method, path) in [
            (Method::GET, "/nothing"),
            (Method::GET, "/athos/me"),
            (Method::DELETE, "/athos/token"),
        ] {
            let refused = app.request(method, path).header("origin", origin);
            let refused = app.send(refused).await;
            assert!(refused.status >= 400);
            assert_eq!(refused.header("access-control-allow-origin"), origin);
            assert_ne!(refused.header("access-control-expose-headers"), "");
        }
        let preflight = app
            .request(Method::OPTIONS, "/athos/token")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            );
        let preflight = app.send(preflight).await.expect(200);
        assert_eq!(preflight.header("access-control-allow-origin"), origin);
        assert_eq!(preflight.header("access-control-allow-credentials"), "true");
        assert!(
            preflight
                .header("access-control-allow-methods")
                .contains("POST")
        );
    }
    for origin in [
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://evil.example",
        "null",
        "*",
    ] {
        assert_eq!(allowed(origin).await, "", "{origin}");
    }
    let preflight = app
        .request(Method::OPTIONS, "/athos/token")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST");
    let preflight = app.send(preflight).await;
    assert_eq!(preflight.header("access-control-allow-origin"), "");
    let none = TestApp::start().await;
    let request = none
        .request(Method::GET, "/healthz")
        .header("origin", "https://app.example.com");
    let answer = none.send(request).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn metrics_are_on_the_admin_address_and_count_what_happened() {
    let app = TestApp::start().await;
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    Hook::signed("{}", &[])
        .send(&app)
        .await
        .refused(401, "MISSING_SIGNATURE");
    anyone(&app, "/nothing").await.refused(404, "NOT_FOUND");
    let metrics = app.metrics().await;
    for expected in [
        "athos_webhooks_total{verdict=\"accepted\"}",
        "athos_webhooks_total{verdict=\"missing\"}",
        "athos_fetch_attempts_total{outcome=\"ok\"}",
        "athos_commit_batch_size_bucket",
        "athos_commit_sync_seconds_count",
        "athos_mint_seconds_bucket{outcome=\"minted\"",
        "athos_http_requests_total{route=\"/athos/webhook\",method=\"POST\",status=\"200\"}",
        "athos_http_requests_total{route=\"unmatched\",method=\"GET\",status=\"404\"}",
        "athos_http_request_seconds_bucket{route=\"/athos/token\"",
    ] {
        assert!(
            metrics.contains(expected),
            "{expected} is not in:\n{metrics}"
        );
    }
}

#[tokio::test]
async fn a_webhook_in_flight_at_shutdown_is_answered_and_stored() {
    let mut app = TestApp::start().await;
    let hook = app.event("wh_1", &Event::unscored("call_1", "rep_1", "agency_1"));
    let request = hook.request(&app).build().unwrap();
    let body = request.body().unwrap().as_bytes().unwrap();
    let addr = app.service().addr;
    let mut head = format!("POST /athos/webhook HTTP/1.1\r\nHost: {addr}\r\n");
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    // The server says "continue" when it wants the body: from then on the request is in flight.
    head += &format!(
        "Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    let stopping = tokio::spawn(app.stop());
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("{\"status\":\"accepted\"}"), "{answer}");
    stopping.await.unwrap();
    let events = app.event_rows().await;
    let kept = events.iter().filter(|event| event.webhook_id == "wh_1");
    assert_eq!(kept.count(), 1);
    // It was left for the next process.
    app.leaves(crate::harness::Left {
        waiting: 1,
        dead: 0,
    });
}

#[tokio::test]
async fn whoever_has_connected_before_a_stop_is_answered() {
    let mut app = TestApp::start().await;
    let addr = app.service().addr;
    // On this thread: the server has accepted none of them when it is told to stop.
    let clients = (0..20).map(|_| {
        let mut client = std::net::TcpStream::connect(addr).unwrap();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        std::io::Write::write_all(&mut client, request.as_bytes()).unwrap();
        client
    });
    let clients: Vec<_> = clients.collect();
    app.stop().await;
    for mut client in clients {
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut client, &mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
}
