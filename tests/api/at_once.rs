//! Deliveries that come at the same time: each event is accepted once, whatever else is in its batch.

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Event, Hook, TestApp};

#[tokio::test]
async fn of_fifty_deliveries_at_once_one_is_accepted() {
    let app = TestApp::start().await;
    let hook = app.event("wh_1", &Event::unscored("call_1", "rep_1", "agency_1"));
    let answers = join_all((0..50).map(|_| hook.send(&app))).await;
    let accepted = answers
        .iter()
        .filter(|answer| answer.text().contains("accepted"))
        .count();
    assert_eq!(accepted, 1);
    let others = answers
        .iter()
        .filter(|answer| answer.text().contains("duplicate"));
    assert_eq!(others.count(), 49);
    assert_eq!(app.only_event().await.deliveries, 50);
    assert_eq!(app.work().await.unscored, 1);
    // Once it is done it is still known.
    hook.send(&app).await.receipt("duplicate");
    assert_eq!(app.work().await.unscored, 0);
}

/// A delivery over a connection of its own, of which the last byte is still to come.
async fn all_but_one_byte(app: &TestApp, hook: &Hook) -> (TcpStream, u8) {
    let request = hook.request(app).build().unwrap();
    let body = request.body().unwrap().as_bytes().unwrap();
    let addr = app.service().addr;
    let mut head = format!(
        "POST /athos/webhook HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"\r\n").await.unwrap();
    let (last, rest) = body.split_last().unwrap();
    stream.write_all(rest).await.unwrap();
    (stream, *last)
}

#[tokio::test]
async fn an_event_that_comes_twice_at_once_through_two_connections_is_processed_once() {
    let app = TestApp::start().await;
    app.faults(json!({ "never-send": {} })).await;
    for n in 0..10 {
        let call = app.ended_call("rep_1", "agency_1").await;
        let event = Event::scored(&call, "rep_1", "agency_1");
        let hook = app.event(&format!("wh_{n}"), &event);
        let (mut one, last) = all_but_one_byte(&app, &hook).await;
        let (mut other, _) = all_but_one_byte(&app, &hook).await;
        let last = [last];
        let (sent, also_sent) = tokio::join!(one.write_all(&last), other.write_all(&last));
        sent.and(also_sent).unwrap();
        let (mut first, mut second) = (String::new(), String::new());
        let (read, also_read) = tokio::join!(
            one.read_to_string(&mut first),
            other.read_to_string(&mut second)
        );
        read.and(also_read).unwrap();
        let mut told = [first, second].map(|answer| {
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            answer.rsplit('"').nth(1).unwrap().to_owned()
        });
        told.sort();
        assert_eq!(told, ["accepted", "duplicate"]);
        let (one, other) = tokio::join!(app.work(), app.work());
        assert_eq!(one.scored + other.scored, 1);
        assert_eq!(app.asked("call").await, n + 1);
    }
    assert_eq!(app.event_rows().await.len(), 10);
    assert_eq!(app.call_rows().await.len(), 10);
}

#[tokio::test]
async fn many_different_events_at_once_are_each_kept_once() {
    let app = TestApp::start().await;
    let hooks: Vec<_> = (0..200)
        .map(|n| {
            let event = Event::unscored(&format!("call_{n}"), "rep_1", "agency_1");
            app.event(&format!("wh_{n}"), &event)
        })
        .collect();
    // Twice each, all together: batches mix new events with repetitions.
    let twice = hooks.iter().chain(&hooks).map(|hook| hook.send(&app));
    let answers = join_all(twice).await;
    let accepted = answers
        .iter()
        .filter(|answer| answer.text().contains("accepted"))
        .count();
    assert_eq!(accepted, 200);
    let events = app.event_rows().await;
    assert_eq!(events.len(), 200);
    assert!(events.iter().all(|event| event.deliveries == 2));
    assert_eq!(app.work().await.unscored, 200);
}
