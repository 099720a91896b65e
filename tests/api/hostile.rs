//! Clients that mean harm, or do it: slow, idle, greedy and nonsensical ones, written byte by byte. Whatever they do,
//! signed webhooks are acknowledged.

use std::time::Duration;

use athos_backend::http::{Deadlines, MAX_BODY_BYTES};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::harness::{Event, Hook, Left, Setup, TestApp};
use crate::log::Mark;

/// Athos waits no longer for an answer.
const ACK_DEADLINE: Duration = Duration::from_secs(10);
/// Short enough that a test of a deadline is quick, long enough that honest clients keep them on a busy machine.
const SHORT: Duration = Duration::from_millis(300);

/// A client's side of a connection.
struct Client(TcpStream);

impl Client {
    async fn connect(app: &TestApp) -> Self {
        Self(TcpStream::connect(app.service().addr).await.unwrap())
    }

    /// Sends bytes and reads whatever comes back.
    async fn ask(app: &TestApp, bytes: impl AsRef<[u8]>) -> String {
        let mut client = Self::connect(app).await;
        client.send(bytes).await;
        client.read_to_end().await
    }

    /// Sends bytes; a server that has hung up already is not an error here.
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// Everything until the server hangs up, which it must in time.
    async fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        // A reset is a way to hang up, too.
        let _ = timeout(ACK_DEADLINE, self.0.read_to_end(&mut bytes))
            .await
            .expect("the server hangs up");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A signed delivery, acknowledged before Athos gives up.
async fn deliver(app: &mut TestApp, id: &str) {
    let hook = app.event(id, &Event::unscored(id, "rep_1", "agency_1"));
    let answer = timeout(ACK_DEADLINE, hook.send(app)).await;
    answer
        .expect("an acknowledgement in time")
        .receipt("accepted");
}

/// Hurried in everything but what honest clients need.
fn hurried() -> Setup {
    Setup::new().deadlines(Deadlines {
        idle: SHORT,
        head: SHORT,
        body: SHORT,
        stalled: SHORT,
        ..Deadlines::default()
    })
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_hung_up_on() {
    let app = hurried().start().await;
    let mut client = Client::connect(&app).await;
    client.send("POST /athos/webhook HTTP/1.1\r\nX-A: ").await;
    // Dripping does not help: the deadline is for the whole head.
    let drip = async {
        while client.0.write_all(b"a").await.is_ok() {
            let other = app.request(Method::GET, "/healthz");
            app.send(other).await.expect(200);
        }
    };
    timeout(ACK_DEADLINE, drip).await.expect("it is hung up on");
}

#[tokio::test]
async fn a_silent_client_is_hung_up_on_before_and_after_a_request() {
    let app = hurried().start().await;
    let mut silent = Client::connect(&app).await;
    assert_eq!(silent.read_to_end().await, "");
    let mut served = Client::connect(&app).await;
    served
        .send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert!(served.read_to_end().await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn what_takes_too_long_is_told_so_also_to_a_page_of_another_origin() {
    let origin = "https://app.example.com";
    let hurried = Setup::new().deadlines(Deadlines {
        answer: SHORT,
        delivery: SHORT,
        ..Deadlines::default()
    });
    let app = hurried.flag("cors-origins", origin).start().await;
    app.faults(json!({ "slow": { "ms": 60_000, "on": ["session"] } }))
        .await;
    let mint = app
        .request(Method::POST, "/athos/token")
        .header("origin", origin)
        .bearer_auth(app.rep("rep_1", "agency_1"));
    let late = app.send(mint).await.refused(408, "REQUEST_TIMEOUT");
    assert_eq!(late.header("access-control-allow-origin"), origin);
    assert_eq!(late.header("x-content-type-options"), "nosniff");

    let lock = app.lock_writes().await;
    let hook = app.event("wh_1", &Event::unscored("call_1", "rep_1", "agency_1"));
    let late = hook.send(&app).await.refused(503, "STORE_UNAVAILABLE");
    assert_ne!(late.header("retry-after"), "");
    lock.release().await;
    // It may have been stored after all.
    hook.send(&app).await.expect(200);
    assert_eq!(app.work().await.unscored, 1);
}

#[tokio::test]
async fn a_thousand_idle_connections_do_not_keep_a_webhook_out() {
    // Half a thousand within the limit, then as many beyond it; none of them leaves because it is late.
    let patience = Duration::from_secs(3600);
    let patient = Setup::new().deadlines(Deadlines {
        idle: patience,
        head: patience,
        body: patience,
        stalled: patience,
        ..Deadlines::default()
    });
    let mut app = patient.flag("max-connections", "500").start().await;
    let mut idle = Vec::new();
    for n in 0..1000 {
        let mut client = Client::connect(&app).await;
        // Some have sent nothing, some a part of a head, some a part of a body.
        match n % 3 {
            0 => {}
            1 => client.send("GET /athos/me HTTP/1.1\r\nHost:").await,
            _ => {
                client
                    .send("POST /athos/webhook HTTP/1.1\r\nHost: x\r\nX-Athos-Signature: t=1,v1=00\r\nContent-Length: 9\r\n\r\n{")
                    .await;
            }
        }
        idle.push(client);
        if n % 200 == 199 {
            deliver(&mut app, &format!("wh_{n}")).await;
        }
    }
    // Those that waited longest made room; the last ones are still there.
    assert_eq!(idle[0].read_to_end().await, "");
    let last = idle.last_mut().unwrap();
    last.send(" GET /\r\n\r\n").await;
    app.leaves(Left {
        waiting: 5,
        dead: 0,
    });
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_in_the_envelope() {
    let app = hurried().start().await;
    for head in [
        "POST /athos/webhook HTTP/1.1\r\nHost: x\r\nX-Athos-Signature: t=1,v1=00\r\n".to_owned(),
        format!(
            "POST /athos/token HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n",
            app.secrets.service
        ),
    ] {
        for body in [
            "Content-Length: 9\r\n\r\n{",
            "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        ] {
            let answer = Client::ask(&app, format!("{head}{body}")).await;
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
            assert!(answer.contains("\"code\":\"REQUEST_TIMEOUT\""), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_body_has_the_limit_of_its_route() {
    let app = TestApp::start().await;
    let padded = |bytes: usize| {
        let body = r#"{"externalUserId":"rep_1"}"#;
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    let post = async |path: &str, bytes: usize| {
        let request = app.request(Method::POST, path).body(padded(bytes));
        app.send(request.bearer_auth(&app.secrets.service)).await
    };
    post("/athos/token", MAX_BODY_BYTES).await.expect(200);
    for path in ["/athos/token", "/athos/events/replay"] {
        let answer = post(path, MAX_BODY_BYTES + 1).await;
        let answer = answer.refused(413, "PAYLOAD_TOO_LARGE");
        assert!(answer.text().contains("8192 bytes"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_head_has_limits() {
    let app = hurried().start().await;
    let many = "X-A: b\r\n".repeat(101);
    let large = format!("X-A: {}\r\n", "b".repeat(33 * 1024));
    let large_in_all = format!("X-A: {}\r\n", "b".repeat(900)).repeat(40);
    for headers in [many, large, large_in_all] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let answer = Client::ask(&app, request).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let path = "a".repeat(33 * 1024);
    let answer = Client::ask(&app, format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let refused = ["HTTP/1.1 414 ", "HTTP/1.1 431 "];
    assert!(
        refused.iter().any(|line| answer.starts_with(line)),
        "{answer}"
    );
}

#[tokio::test]
async fn what_is_not_http_1_is_refused_and_hung_up_on() {
    let app = hurried().start().await;
    for bytes in [
        b"GET /healthz\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
        b"GET /heal\0thz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"G\xffT /healthz HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ] {
        let answer = Client::ask(&app, bytes).await;
        let told = answer.is_empty() || answer.starts_with("HTTP/1.1 400 ");
        assert!(told, "{}: {answer}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn two_ways_to_say_where_a_body_ends_smuggle_no_request() {
    let app = hurried().start().await;
    let smuggled = "GET /athos/me HTTP/1.1\r\nHost: x\r\n\r\n";
    let head = "POST /athos/webhook HTTP/1.1\r\nHost: x\r\n";
    for ending in [
        // Whoever goes by the length sees one request, with the second as its body.
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
            5 + smuggled.len()
        ),
        format!(
            "Content-Length: 0\r\nContent-Length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        ),
        format!("Content-Length: +{}\r\n\r\n{smuggled}", smuggled.len()),
        format!("Content-Length: 0, 0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: x\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{smuggled}"),
    ] {
        let answer = Client::ask(&app, format!("{head}{ending}")).await;
        assert!(!answer.contains("UNAUTHENTICATED"), "{ending}: {answer}");
    }
}

#[tokio::test]
async fn garbage_after_a_request_does_not_spoil_its_answer() {
    let app = hurried().start().await;
    let answer = Client::ask(
        &app,
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\x01\x02\x03 garbage\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("HTTP/1.1 400 "), "{answer}");
    let twenty = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
    let answers = Client::ask(&app, twenty).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 20);
}

#[tokio::test]
async fn strange_targets_are_answered_like_any_other() {
    let app = hurried().start().await;
    let query = "x".repeat(16 * 1024);
    for (target, expected) in [
        // The host that a client names is nobody's business here.
        ("http://evil.example/healthz", 200),
        ("http://evil.example/athos/me", 401),
        ("/static/../Cargo.toml", 404),
        ("/static/..%2fCargo.toml", 404),
        ("/static/%2e%2e/Cargo.toml", 404),
        ("/static//etc/passwd", 404),
        ("/static/%00", 404),
        ("/static/%ff", 400),
        ("//healthz", 404),
        ("/healthz/", 404),
        ("*", 404),
        (&format!("/athos/calls?{query}"), 401),
        (&format!("/?{query}"), 200),
    ] {
        let answer = Client::ask(&app, format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        assert_eq!(status, expected.to_string(), "{target}: {answer}");
        assert!(!answer.contains("evil.example"), "{answer}");
    }
    let tunnel = Client::ask(&app, "CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(tunnel.starts_with("HTTP/1.1 4"), "{tunnel}");
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_hung_up_on() {
    let app = hurried().start().await;
    let socket = TcpSocket::new_v4().unwrap();
    // Else the system takes megabytes for the client.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = Client(socket.connect(app.service().addr).await.unwrap());
    let asking = async {
        let request = "GET /static/style.css HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
        while client.0.write_all(request.as_bytes()).await.is_ok() {}
    };
    timeout(ACK_DEADLINE, asking)
        .await
        .expect("it is hung up on");
}

#[tokio::test]
async fn streams_that_nobody_reads_keep_neither_webhooks_nor_the_end_waiting() {
    let mut app = Setup::new().flag("max-connections", "8").start().await;
    let ask = format!(
        "GET /athos/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        app.secrets.service
    );
    let mut unread = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(&app).await;
        client.send(&ask).await;
        client.0.readable().await.unwrap();
        unread.push(client);
    }
    // Half of the connections are for requests that end.
    let one_more = app.get("/athos/live", &app.secrets.service).await;
    let one_more = one_more.refused(503, "TOO_MANY_STREAMS");
    assert_ne!(one_more.header("retry-after"), "");
    for n in 0..20 {
        deliver(&mut app, &format!("wh_{n}")).await;
    }
    unread.pop();
    let place = async {
        let ask = app.request(Method::GET, "/athos/live");
        let ask = ask.bearer_auth(&app.secrets.service);
        while ask.try_clone().unwrap().send().await.unwrap().status() != 200 {}
    };
    timeout(ACK_DEADLINE, place)
        .await
        .expect("a place is free again");
    timeout(ACK_DEADLINE, app.stop()).await.expect("it stops");
    app.leaves(Left {
        waiting: 20,
        dead: 0,
    });
}

#[tokio::test]
async fn a_client_that_hangs_up_halfway_leaves_nothing_behind() {
    let mut app = TestApp::start().await;
    for n in 0..50 {
        let mut client = Client::connect(&app).await;
        client.send("POST /athos/webhook HTTP/1.1\r\nHost: x\r\nX-Athos-Signature: t=1,v1=00\r\nContent-Length: 9\r\n\r\n{").await;
        if n % 2 == 0 {
            client.0.shutdown().await.unwrap();
            client.read_to_end().await;
        }
    }
    deliver(&mut app, "wh_1").await;
    assert_eq!(app.event_rows().await.len(), 1);
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
}

#[tokio::test]
async fn a_flood_of_bad_signatures_does_not_fill_the_log() {
    let proxied = Setup::new().flag("trusted-proxies", "127.0.0.0/8");
    let mut app = proxied.start().await;
    let log = Mark::here();
    let client = "198.51.100.77";
    for n in 0..200 {
        let forged = Hook::signed("{}", &[&format!("t=1,v1={n:064x}")]);
        let forged = forged.request(&app).header("x-forwarded-for", client);
        app.send(forged).await.refused(401, "STALE_SIGNATURE");
    }
    let lines = log.since();
    let lines = lines
        .lines()
        .filter(|line| line.contains("request refused"));
    let of_client = lines.filter(|line| line.contains(client)).count();
    assert!((1..=100).contains(&of_client), "{of_client} lines");
    deliver(&mut app, "wh_1").await;
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
}

#[tokio::test]
async fn without_proxies_of_ours_nobody_says_who_the_client_is() {
    let app = TestApp::start().await;
    let log = Mark::here();
    let claimed = "198.51.100.78";
    let ask = app
        .request(Method::GET, "/athos/me")
        .header("x-forwarded-for", claimed)
        .header("forwarded", format!("for={claimed}"));
    app.send(ask).await.refused(401, "UNAUTHENTICATED");
    assert!(log.since().contains("client=127.0.0.1"));
    assert!(!log.since().contains(claimed));
}

#[tokio::test]
async fn a_service_that_stops_waits_for_nobody_who_has_not_asked() {
    let patience = Duration::from_secs(3600);
    let patient = Setup::new().deadlines(Deadlines {
        idle: patience,
        head: patience,
        body: patience,
        stalled: patience,
        ..Deadlines::default()
    });
    let mut app = patient.start().await;
    let post = "POST /athos/webhook HTTP/1.1\r\nHost: x\r\nX-Athos-Signature: t=1,v1=00\r\n";
    let mut clients = Vec::new();
    for begun in [
        String::new(),
        "GET /athos/me HTTP/1.1\r\nHost:".to_owned(),
        format!("{post}Content-Length: 9\r\n\r\n{{"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n"),
        // A second request after one that was answered.
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP".to_owned(),
    ] {
        let mut client = Client::connect(&app).await;
        client.send(&begun).await;
        clients.push(client);
    }
    let mut live = app.live(&app.secrets.service, None).await;
    // Far less than the time that open requests may take.
    let stopped = tokio::time::timeout(Duration::from_secs(8), app.stop());
    stopped.await.expect("nobody holds up the end");
    assert_eq!(live.next().await, None);
    for mut client in clients {
        client.read_to_end().await;
    }
}
