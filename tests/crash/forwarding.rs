//! Kills while messages go on to an endpoint: between the commit that writes them and their sending, and between their arrival
//! and the settlement. Each arrives at least once, under its one id, and none is lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rand::RngExt;
use serde_json::Value;
use sqlx::SqliteConnection;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Rounds;
use crate::audit::{self, number};
use crate::service::Binary;
use crate::vendor::Vendor;

const CALLS: usize = 60;

/// A receiver, and what it has got: the ids under which each call arrived, in order.
#[derive(Clone)]
struct Receiver {
    url: String,
    got: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    /// How many messages it answers; it holds the others.
    answers: watch::Sender<usize>,
    arrivals: watch::Sender<usize>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            url: format!("http://{}/", listener.local_addr().unwrap()),
            got: Arc::default(),
            answers: watch::Sender::new(0),
            arrivals: watch::Sender::new(0),
        };
        let router = Router::new()
            .route("/", post(receive))
            .with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    /// Waits until so many messages have arrived.
    async fn has(&self, messages: usize) {
        let mut arrivals = self.arrivals.subscribe();
        arrivals
            .wait_for(|arrived| *arrived >= messages)
            .await
            .unwrap();
    }

    fn calls(&self) -> BTreeMap<String, Vec<String>> {
        self.got.lock().unwrap().clone()
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> StatusCode {
    let message: Value = serde_json::from_str(&body).unwrap();
    let call = message["data"]["id"].as_str().unwrap().to_owned();
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    receiver
        .got
        .lock()
        .unwrap()
        .entry(call)
        .or_default()
        .push(id);
    let mut number = 0;
    receiver.arrivals.send_modify(|arrived| {
        *arrived += 1;
        number = *arrived;
    });
    let mut answers = receiver.answers.subscribe();
    answers
        .wait_for(|answered| *answered >= number)
        .await
        .unwrap();
    StatusCode::NO_CONTENT
}

/// The leases of the process that died have run out, as they would have in a minute.
async fn let_leases_run_out(db: &mut SqliteConnection) {
    audit::let_leases_run_out(db).await;
    sqlx::query("UPDATE messages SET due_at = 0 WHERE state = 'sending'")
        .execute(db)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_or_is_under_way_when_it_is_killed_arrives_afterwards_under_the_same_id() {
    let rounds = Rounds::of("forward");
    for round in 0..rounds.count {
        let vendor = Vendor::start(rounds.vendor_seed(round)).await;
        let receiver = Receiver::start().await;
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("athos.db");
        let binary = Binary::new(&database, &vendor)
            .set("FORWARD_URLS", &receiver.url)
            .set(
                "FORWARD_SECRETS",
                "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            );
        let mut service = binary.start();
        vendor.deliver_to(&service.origin);
        // Of those that come after these, it hears, and has no answer.
        let answered = rounds.luck(round).random_range(0..CALLS / 4);
        receiver.answers.send_replace(answered);
        vendor.burst(CALLS).await;
        receiver.has(answered + 1).await;
        vendor.settled().await;
        service.kill();

        let mut db = audit::open(&database).await;
        audit::is_sound(&mut db).await;
        let under_way = number(
            &mut db,
            "SELECT count(*) FROM messages WHERE state = 'sending'",
        )
        .await;
        assert!(under_way > 0, "nothing was being sent");
        let waiting = number(
            &mut db,
            "SELECT count(*) FROM messages WHERE state = 'waiting'",
        )
        .await;
        let unsettled: Vec<(String, String)> = sqlx::query_as(
            "SELECT message_id, calls.id FROM messages JOIN calls ON calls.seq = call_seq WHERE due_at IS NOT NULL",
        )
        .fetch_all(&mut db)
        .await
        .unwrap();

        let_leases_run_out(&mut db).await;
        receiver.answers.send_replace(usize::MAX);
        let mut service = binary.start();
        vendor.deliver_to(&service.origin);
        audit::drained(&mut db, &vendor).await;
        let left = "SELECT count(*) FROM messages WHERE due_at IS NOT NULL";
        while number(&mut db, left).await > 0 {
            tokio::task::yield_now().await;
        }
        service.kill();
        audit::is_sound(&mut db).await;

        let (ended, _) = vendor.ended().await;
        let got = receiver.calls();
        assert_eq!(got.len(), ended.len(), "a call never arrived");
        for ids in got.values() {
            assert!(
                ids.iter().all(|id| *id == ids[0]),
                "one message has two ids: {ids:?}"
            );
        }
        // What was not settled may have arrived before, and then did again; nothing else did.
        for (call, ids) in &got {
            let is_unsettled = unsettled.iter().any(|(_, of)| of == call);
            let most = if is_unsettled { 2 } else { 1 };
            assert!(ids.len() <= most, "{call}: {ids:?}");
        }
        let sent_again = got.values().filter(|ids| ids.len() == 2).count();
        assert!(sent_again > 0, "what had no answer was not sent again");
        rounds.tell(
            round,
            &format!("{under_way} under way, {waiting} waiting; {sent_again} arrived twice, each of {CALLS} once at least"),
        );
    }
}
