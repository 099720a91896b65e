//! A fault of ours, wherever it strikes: the request or the attempt is lost, the process goes on; and when it cannot, it
//! says so and ends. The faults are log lines that panic.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use athos_backend::worker::LEASE;
use tokio::time::timeout;
use tracing::subscriber::DefaultGuard;

use athos_backend::lifecycle::ShutdownSignal;

use crate::harness::{Event, Left, TestApp};

#[derive(Clone)]
struct Writer {
    text: &'static str,
    has_struck: Arc<AtomicBool>,
}

impl io::Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let strikes = String::from_utf8_lossy(line).contains(self.text);
        // Once: the line that panicked stays in the formatter's buffer.
        let strikes = strikes && !self.has_struck.swap(true, Ordering::Relaxed);
        assert!(!strikes, "a fault of ours");
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whoever logs this first panics. All tasks of a test run on its thread.
fn panic_at(text: &'static str) -> DefaultGuard {
    let writer = Writer {
        text,
        has_struck: Arc::default(),
    };
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    tracing::subscriber::set_default(subscriber.finish())
}

#[tokio::test]
async fn a_panic_in_a_request_is_its_500_and_nothing_else() {
    let app = TestApp::start().await;
    let fault = panic_at("session token asked for");
    let failed = app.mint_for("rep_1", "agency_1").await;
    let failed = failed.refused(500, "INTERNAL_ERROR");
    assert!(!failed.text().contains("a fault of ours"));
    assert_eq!(failed.header("cache-control"), "no-store");
    drop(fault);
    app.mint_for("rep_1", "agency_1").await.expect(200);
}

#[tokio::test]
async fn a_panic_in_an_attempt_costs_the_event_its_lease_only() {
    let app = TestApp::start().await;
    let id = app.ended_call("rep_1", "agency_1").await;
    let fault = panic_at("call scored");
    assert_eq!(app.step().await.lease_lost, 1);
    drop(fault);
    assert_eq!(app.call(&id).await["status"], "processing");
    app.clock.advance(LEASE);
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(app.call(&id).await["status"], "scored");
}

#[tokio::test]
async fn when_the_writer_has_failed_nothing_is_acknowledged_and_the_process_ends() {
    let mut app = TestApp::start().await;
    let event = |n: u32| Event::unscored(&format!("call_{n}"), "rep_1", "agency_1");
    app.event("wh_1", &event(1))
        .send(&app)
        .await
        .receipt("accepted");
    // The writer now has something to log.
    app.hide_events().await;
    let fault = panic_at("failed to commit a batch to the database");
    for n in 2..4 {
        let refused = app.event(&format!("wh_{n}"), &event(n)).send(&app).await;
        refused.refused(503, "STORE_UNAVAILABLE");
    }
    let ended = timeout(
        Duration::from_secs(10),
        app.service().run(ShutdownSignal::listen().unwrap()),
    )
    .await;
    let why = ended.expect("it ends by itself").unwrap_err().to_string();
    assert!(why.contains("writer"), "{why}");
    drop(fault);
    app.bring_events_back().await;
    let ready = app.send(app.request(reqwest::Method::GET, "/readyz")).await;
    assert_eq!(ready.expect(503).json()["store"], "failing");
    timeout(Duration::from_secs(10), app.stop())
        .await
        .expect("it stops in order");
    assert_eq!(app.event_rows().await.len(), 1);
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
}
