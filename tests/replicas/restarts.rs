//! Starts and orderly ends: a deployment that replaces one replica after the other, and many that start at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use reqwest::header::CONNECTION;

use crate::fleet::Fleet;
use crate::service::SERVICE_TOKEN;
use crate::vendor::Vendor;
use crate::webhook::Webhook;

/// How long a reader waits for a call that another replica has accepted.
const READER_MAY_WAIT: Duration = Duration::from_millis(500);

/// Clients who ask all the time, each request on a connection of its own.
struct Load {
    origin: String,
    secret: String,
    http: Client,
    answered: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    /// Delivers and reads until it is over; what was acknowledged, and what failed.
    async fn ask(self: Arc<Self>, client: usize) -> (BTreeSet<String>, Vec<String>) {
        let (mut acknowledged, mut failed) = (BTreeSet::new(), Vec::new());
        for number in 0.. {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let call = format!("call_{client}_{number}");
            let webhook = Webhook::of_call(&call, false, &self.secret);
            match webhook.deliver(&self.http, &self.origin).await {
                Ok((status, _)) if status == 200 => _ = acknowledged.insert(webhook.id),
                other => failed.push(format!("{call}: {other:?}")),
            }
            let read = self
                .http
                .get(format!("{}/athos/calls/{call}", self.origin))
                .header(CONNECTION, "close")
                .bearer_auth(SERVICE_TOKEN);
            let asked = Instant::now();
            match read.send().await {
                Ok(answer) if answer.status() == 200 => {}
                // A reader does not wait for longer until another replica has written the call's row.
                Ok(answer) if answer.status() == 404 && asked.elapsed() >= READER_MAY_WAIT => {}
                other => failed.push(format!("read of {call}: {other:?}")),
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        (acknowledged, failed)
    }

    /// Waits until so many more were answered.
    async fn goes_on(&self, answers: usize) {
        let enough = self.answered.load(Ordering::Relaxed) + answers;
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while self.answered.load(Ordering::Relaxed) < enough {
            ticks.tick().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_request() {
    let vendor = Vendor::start(1).await;
    let Some(mut fleet) = Fleet::start(3, &vendor, |binary| binary).await else {
        return;
    };
    let load = Arc::new(Load {
        origin: fleet.proxy.origin.clone(),
        secret: vendor.secret.clone(),
        http: fleet.client(),
        answered: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    });
    let clients: Vec<_> = (0..8)
        .map(|client| tokio::spawn(Arc::clone(&load).ask(client)))
        .collect();
    for number in [0, 1, 2, 0, 1, 2] {
        load.goes_on(100).await;
        fleet.stop(number);
        fleet.restart(number);
    }
    load.goes_on(100).await;
    load.is_over.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    for client in clients {
        let (acked, failed) = client.await.unwrap();
        assert!(failed.is_empty(), "{failed:#?}");
        acknowledged.extend(acked);
    }
    fleet.shared.holds(&acknowledged);
    fleet.shared.drained(&vendor).await;
    let calls = fleet.shared.number("SELECT count(*) FROM calls");
    assert_eq!(calls, acknowledged.len() as i64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_replicas_that_start_at_once_on_an_empty_database_all_serve() {
    let vendor = Vendor::start(2).await;
    let Some(fleet) = Fleet::start(10, &vendor, |binary| binary).await else {
        return;
    };
    let http = fleet.client();
    for replica in &fleet.replicas {
        let answer = http.get(format!("{}/readyz", replica.origin)).send().await;
        assert_eq!(answer.unwrap().status(), 200);
    }
}
