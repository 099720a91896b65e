//! Ten thousand events that wait when the service starts, as after a weekend without a key: they are worked off a few at
//! a time, while readers are answered.

use std::path::Path;
use std::time::Duration;

use athos_api::types::read_event;
use athos_backend::clients::http_client;
use athos_backend::clock::Clock;
use athos_backend::store::{self, NewEvent};
use futures_util::future::join_all;
use serde_json::json;

use crate::audit::{self, number};
use crate::service::{Binary, SERVICE_TOKEN};
use crate::vendor::Vendor;

const EVENTS: usize = 10_000;
/// Of which so many have to be fetched; the others say themselves all there is.
const TO_FETCH: usize = 1_500;
/// Most that a reader may have to wait; far more than it does, far less than working off all would take.
const PATIENCE: Duration = Duration::from_secs(8);
/// What it may take beyond what an idle service has, in KiB: much less than all the details together.
const ROOM_KIB: u64 = 48 << 10;

/// The most memory that the process has ever had, in KiB.
fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// Events as webhooks would have left them.
async fn let_wait(database: &Path, scored: &[String]) {
    let url = format!("sqlite://{}", database.display());
    let store = store::open(&url).await.unwrap();
    let now = Clock::system().now();
    let event = |n: usize| {
        let call = scored.get(n).cloned().unwrap_or(format!("call_{n}"));
        let body = json!({
            "event": "call.scored", "success": n < scored.len(), "callId": call, "source": "roleplay",
            "externalUserId": "rep_1", "externalAgencyId": null, "reason": "SCORING_INCOMPLETE",
        });
        let body = body.to_string().into_bytes();
        NewEvent {
            webhook_id: format!("wh_{n}"),
            received_at: now,
            signed_at_secs: now.as_secs(),
            secret: "0123abcd".to_owned(),
            parsed: read_event(&body).map_err(|why| why.to_string()),
            body,
        }
    };
    for accepted in join_all((0..EVENTS).map(|n| store.accept_event(event(n)))).await {
        accepted.unwrap();
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_waiting_events_are_worked_off_while_readers_are_answered() {
    let vendor = Vendor::start(10).await;
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("athos.db");
    let binary = Binary::new(&database, &vendor);
    let mut service = binary.start();
    let idle_kib = peak_kib(service.running.id());
    service.kill();
    vendor.faults(json!({ "never-send": {} })).await;
    vendor.burst(TO_FETCH).await;
    vendor.settled().await;
    let (scored, _) = vendor.ended().await;
    let scored: Vec<_> = scored.into_iter().map(|(id, _)| id).collect();
    let_wait(&database, &scored).await;

    let mut service = binary.start();
    let mut db = audit::open(&database).await;
    let waiting = "SELECT count(*) FROM events WHERE next_attempt_at IS NOT NULL";
    let http = http_client(&service.origin.parse().unwrap(), PATIENCE).unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(25));
    let mut reads = 0;
    while number(&mut db, waiting).await > 0 {
        ticks.tick().await;
        let list = http
            .get(format!("{}/athos/calls?limit=50", service.origin))
            .bearer_auth(SERVICE_TOKEN);
        let answer = list.send().await.expect("a reader waits in vain");
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.unwrap().len() > 1000);
        reads += 1;
    }
    let peak_kib = peak_kib(service.running.id());
    audit::drained(&mut db, &vendor).await;
    service.kill();
    audit::is_sound(&mut db).await;
    assert_eq!(
        vendor.asked("call").await,
        TO_FETCH as u64,
        "each was fetched once"
    );
    let settled = "SELECT count(*) FROM events WHERE state = 'done' AND attempts = 1";
    assert_eq!(number(&mut db, settled).await, EVENTS as i64);
    eprintln!("{reads} reads meanwhile; {peak_kib} KiB at the most, {idle_kib} when idle");
    assert!(peak_kib < idle_kib + ROOM_KIB);
}
