//! Clients that mean harm, or do it: slow, idle, greedy and nonsensical ones, written byte by byte. Whatever they do,
//! signed webhooks are acknowledged.

use std::time::Duration;

use athos_backend::http::Deadlines;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Event, Left, Setup, TestApp};

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
    })
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_hung_up_on() {
    let app = hurried().start().await;
    let mut client = Client::connect(&app).await;
    client.send("POST /athos/webhook HTTP/1.1\r\n").await;
    // Dripping does not help: the deadline is for the whole head.
    let drip = async {
        loop {
            client.0.writable().await.unwrap();
            if client.0.write_all(b"X-A: b\r\n").await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
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
async fn a_thousand_idle_connections_do_not_keep_a_webhook_out() {
    // Half a thousand within the limit, then as many beyond it.
    let mut app = Setup::new().flag("max-connections", "500").start().await;
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
