//! Clients who deliver webhooks and read calls all the time, and remember what they were told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::CONNECTION;
use reqwest::{Client, StatusCode};
use tokio::task::JoinSet;

use crate::fleet::Fleet;
use crate::service::SERVICE_TOKEN;
use crate::vendor::Vendor;
use crate::webhook::Webhook;

const CLIENTS: usize = 8;
/// How long a reader waits for a call that another replica has accepted.
const READER_MAY_WAIT: Duration = Duration::from_millis(500);
/// Longest wait for what a load is to meet.
const MET_WITHIN: Duration = Duration::from_secs(60);

/// A request that was not answered as it is when all is well.
#[derive(Debug)]
pub(crate) struct Failure {
    /// None when there was no answer.
    pub(crate) status: Option<StatusCode>,
    #[expect(dead_code, reason = "shown when the story fails")]
    what: String,
}

struct Asking {
    origin: String,
    secret: String,
    http: Client,
    accepted: AtomicUsize,
    failed: AtomicUsize,
    is_over: AtomicBool,
}

pub(crate) struct Load {
    asking: Arc<Asking>,
    clients: JoinSet<(BTreeSet<String>, Vec<Failure>)>,
}

impl Load {
    /// Each request is on a connection of its own, to the proxy.
    pub(crate) fn start(fleet: &Fleet, vendor: &Vendor) -> Self {
        let asking = Arc::new(Asking {
            origin: fleet.proxy.origin.clone(),
            secret: vendor.secret.clone(),
            http: fleet.client(),
            accepted: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let clients = (0..CLIENTS).map(|client| Arc::clone(&asking).ask(client));
        Self {
            clients: clients.collect(),
            asking,
        }
    }

    /// Waits until so many more webhooks were accepted.
    pub(crate) async fn goes_on(&self, webhooks: usize) {
        more(&self.asking.accepted, webhooks).await;
    }

    /// Waits until so many more requests have failed.
    pub(crate) async fn fails(&self, requests: usize) {
        more(&self.asking.failed, requests).await;
    }

    /// Ends it: the ids of the webhooks that were accepted, and what failed.
    pub(crate) async fn end(self) -> (BTreeSet<String>, Vec<Failure>) {
        self.asking.is_over.store(true, Ordering::Relaxed);
        let (mut accepted, mut failed) = (BTreeSet::new(), Vec::new());
        for (ours, failures) in self.clients.join_all().await {
            accepted.extend(ours);
            failed.extend(failures);
        }
        (accepted, failed)
    }
}

impl Asking {
    async fn ask(self: Arc<Self>, client: usize) -> (BTreeSet<String>, Vec<Failure>) {
        let (mut accepted, mut failed) = (BTreeSet::new(), Vec::new());
        for number in 0.. {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let call = format!("call_{client}_{number}");
            let before = failed.len();
            let webhook = Webhook::of_call(&call, false, &self.secret);
            match webhook.deliver(&self.http, &self.origin).await {
                Ok((status, _)) if status == 200 => {
                    accepted.insert(webhook.id);
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    failed.extend(self.read(&call).await);
                }
                Ok((status, said)) => failed.push(Failure {
                    status: Some(status),
                    what: format!("{call}: {said}"),
                }),
                Err(error) => failed.push(Failure {
                    status: None,
                    what: format!("{call}: {error:?}"),
                }),
            }
            self.failed
                .fetch_add(failed.len() - before, Ordering::Relaxed);
        }
        (accepted, failed)
    }

    async fn read(&self, call: &str) -> Option<Failure> {
        let request = self
            .http
            .get(format!("{}/athos/calls/{call}", self.origin))
            .header(CONNECTION, "close")
            .bearer_auth(SERVICE_TOKEN);
        let asked = Instant::now();
        let (status, what) = match request.send().await {
            Ok(answer) if answer.status() == 200 => return None,
            // A reader does not wait for longer until another replica has written the call's row.
            Ok(answer) if answer.status() == 404 && asked.elapsed() >= READER_MAY_WAIT => {
                return None;
            }
            Ok(answer) => (Some(answer.status()), String::new()),
            Err(error) => (None, format!("{error:?}")),
        };
        Some(Failure {
            status,
            what: format!("read of {call}: {what}"),
        })
    }
}

async fn more(counter: &AtomicUsize, count: usize) {
    let enough = counter.load(Ordering::Relaxed) + count;
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let met = tokio::time::timeout(MET_WITHIN, async {
        while counter.load(Ordering::Relaxed) < enough {
            ticks.tick().await;
        }
    });
    met.await
        .unwrap_or_else(|_| panic!("only {counter:?} of {enough}"));
}
