//! What receivers of messages do wrong, each with what is made of it: how it is told, when it is tried again, and that no other
//! endpoint waits for it.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wiremock::ResponseTemplate;

use athos_backend::forward::SendSummary;
use athos_backend::model::Timestamp;

use crate::forwarding::{KEY, SECOND, forward, received, receiver, secret, setup};
use crate::harness::{Setup, TestApp};

const DELIVERED: SendSummary = SendSummary {
    delivered: 1,
    retried: 0,
    failed: 0,
    lease_lost: 0,
};
const RETRIED: SendSummary = SendSummary {
    delivered: 0,
    retried: 1,
    ..DELIVERED
};

/// What a receiver does with a connection, once the message is there.
#[derive(Clone, Copy)]
enum Does {
    /// Writes this and hangs up.
    Says(&'static str),
    /// Begins with this and never ends.
    Floods(&'static str),
    /// Nothing, and holds the line.
    Holds,
}

/// Where it listens.
async fn misbehaving(does: Does) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(misbehave(connection, does));
        }
    });
    url
}

async fn misbehave(mut connection: TcpStream, does: Does) {
    let mut message = Vec::new();
    // Its body is an object.
    while !message.ends_with(b"}") {
        if connection.read_buf(&mut message).await.unwrap_or(0) == 0 {
            return;
        }
    }
    match does {
        Does::Says(text) => drop(connection.write_all(text.as_bytes()).await),
        Does::Floods(text) => {
            let mut said = connection.write_all(text.as_bytes()).await;
            while said.is_ok() {
                said = connection.write_all(&[b'x'; 1 << 16]).await;
            }
        }
        Does::Holds => drop(connection.read_buf(&mut message).await),
    }
}

/// A service that forwards there, with one message that is due.
async fn with_endpoint(url: &str) -> TestApp {
    let app = Setup::new()
        .flag("forward-urls", url)
        .flag("forward-secrets", &secret(&KEY))
        .start()
        .await;
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    app
}

async fn last_error(app: &TestApp) -> String {
    let endpoints = app.service().store.endpoints().await.unwrap();
    endpoints[0].last_error.clone().unwrap_or_default()
}

#[tokio::test]
async fn every_fault_of_a_receiver_is_told_and_its_message_is_tried_again_five_seconds_later() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    for (fault, url, told) in [
        ("down", down, "onnect"),
        ("closes at once", misbehaving(Does::Says("")).await, "clos"),
        (
            "no HTTP",
            misbehaving(Does::Says("SSH-2.0-OpenSSH\r\n\r\n")).await,
            "HTTP",
        ),
        (
            "500",
            misbehaving(Does::Says(
                "HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nsorry",
            ))
            .await,
            "500 Internal Server Error: sorry",
        ),
        (
            "302",
            misbehaving(Does::Says(
                "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
            ))
            .await,
            "redirects are not followed",
        ),
        (
            "half an answer",
            misbehaving(Does::Says(
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            ))
            .await,
            "broke off",
        ),
        (
            "a huge refusal",
            misbehaving(Does::Floods("HTTP/1.1 503 Busy\r\n\r\n")).await,
            "503 Service Unavailable: xxx",
        ),
    ] {
        let app = with_endpoint(&url).await;
        assert_eq!(forward(&app).await, RETRIED, "{fault}");
        let error = last_error(&app).await;
        assert!(error.contains(told), "{fault}: {error}");
        assert!(error.len() < 1000, "{fault}: {error}");
        app.clock.advance(SECOND * 3);
        assert_eq!(forward(&app).await, SendSummary::default(), "{fault}");
        app.clock.advance(SECOND * 4);
        assert_eq!(forward(&app).await, RETRIED, "{fault}");
    }
}

#[tokio::test]
async fn of_an_endless_answer_no_more_is_read_than_says_that_the_message_was_taken() {
    let app = with_endpoint(&misbehaving(Does::Floods("HTTP/1.1 200 OK\r\n\r\n")).await).await;
    assert_eq!(forward(&app).await, DELIVERED);
}

#[tokio::test]
async fn an_endpoint_that_says_nothing_is_given_up_after_fifteen_seconds() {
    let app = with_endpoint(&misbehaving(Does::Holds).await).await;
    assert_eq!(forward(&app).await, RETRIED);
    assert_eq!(last_error(&app).await, "no whole answer within 15 s");
}

#[tokio::test]
async fn an_endpoint_is_left_alone_as_long_as_it_asks_by_seconds_or_by_date() {
    for by_date in [false, true] {
        let crm = receiver(ResponseTemplate::new(429)).await;
        let app = setup(&[&crm]).start().await;
        app.ended_call("rep_1", "agency_1").await;
        app.work().await;
        let date = |at: Timestamp| {
            let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap();
            let printer = DateTimePrinter::new();
            printer.timestamp_to_rfc9110_string(&at).unwrap()
        };
        let asked = match by_date {
            true => date(app.now().plus(SECOND * 120)),
            false => "120".to_owned(),
        };
        let answer = ResponseTemplate::new(429)
            .insert_header("retry-after", asked)
            .insert_header("date", date(app.now()));
        crate::forwarding::answers(&crm, answer).await;
        assert_eq!(forward(&app).await, RETRIED);
        app.clock.advance(SECOND * 118);
        assert_eq!(forward(&app).await, SendSummary::default(), "{by_date}");
        crate::forwarding::answers(&crm, ResponseTemplate::new(200)).await;
        app.clock.advance(SECOND * 3);
        assert_eq!(forward(&app).await, DELIVERED, "{by_date}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_asked_no_more() {
    let url = misbehaving(Does::Says("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")).await;
    let app = with_endpoint(&url).await;
    assert_eq!(forward(&app).await, RETRIED);
    app.clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(forward(&app).await, SendSummary::default());
    let endpoints = app.service().store.endpoints().await.unwrap();
    assert!(endpoints[0].disabled.is_some());
}

#[tokio::test]
async fn a_hundred_thousand_messages_for_a_dead_endpoint_keep_no_other_waiting() {
    let (dead, healthy) = (
        receiver(ResponseTemplate::new(500)).await,
        receiver(ResponseTemplate::new(200)).await,
    );
    let app = setup(&[&dead, &healthy]).start().await;
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    forward(&app).await;
    app.add_messages(1, 100_000).await;
    forward(&app).await;
    // The dead one is down by now; whatever there is for the other goes in one step, and first of all.
    let asked = received(&dead).await.len();
    let call = app.ended_call("rep_2", "agency_1").await;
    app.work().await;
    assert_eq!(forward(&app).await, DELIVERED);
    let sent = received(&healthy).await;
    assert_eq!((sent.len(), &sent[1].data["id"]), (2, &call.into()));
    assert_eq!(received(&dead).await.len(), asked);
    let endpoints = app.service().store.endpoints().await.unwrap();
    assert!(endpoints[0].waiting > 100_000 && endpoints[1].waiting == 0);
}
