//! Replicas behind a pooler in transaction mode: sessions are lent for one transaction, so that settings, names of statements and
//! subscriptions of a session are somebody else's in the next moment.

use std::collections::BTreeSet;

use rand::RngExt;
use serde_json::{Value, json};

use crate::cluster::Database;
use crate::fleet::Fleet;
use crate::live::Stream;
use crate::load::Load;
use crate::luck;
use crate::pgbouncer::PgBouncer;
use crate::service::{Binary, SERVICE_TOKEN};
use crate::vendor::Vendor;

const CALLS_AT_ONCE: usize = 40;

/// Replicas behind a pooler that listen to the server itself, or to nobody.
async fn start(
    count: usize,
    vendor: &Vendor,
    do_listen: bool,
) -> Option<(Fleet, PgBouncer, Binary)> {
    let database = Database::new()?;
    let pooler = PgBouncer::start(&database.url()).await?;
    let mut binary = Binary::on(pooler.url(), vendor);
    if do_listen {
        binary = binary.set("DATABASE_LISTEN_URL", database.url());
    }
    let fleet = Fleet::of(count, vendor, database, binary.clone()).await;
    Some((fleet, pooler, binary))
}

/// How a replica says that it follows the changes of others.
async fn followed(fleet: &Fleet, replica: usize) -> Value {
    let request = fleet
        .client()
        .get(format!("{}/readyz", fleet.replicas[replica].origin))
        .bearer_auth(SERVICE_TOKEN);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["status"], "ready", "{answer}");
    answer["replicasFollowed"].clone()
}

/// Ends calls, whose webhooks go to the replicas in turns; each is scored, and whoever follows one replica sees all of them.
async fn works(fleet: &Fleet, vendor: &Vendor, stream: &mut Stream) {
    vendor.burst(CALLS_AT_ONCE).await;
    vendor.settled().await;
    fleet.shared.drained(vendor).await;
    let (ended, _) = vendor.ended().await;
    let ended: BTreeSet<_> = ended.into_iter().map(|(call, _)| call).collect();
    let last = fleet.shared.number("SELECT max(rev) FROM calls");
    stream.until(|stream| stream.last_id >= last).await;
    assert!(stream.calls.keys().eq(&ended), "a call was not told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_processes_after_one_another_and_at_once_serve_and_hear_of_each_other() {
    let vendor = Vendor::start(luck().random()).await;
    let Some((mut fleet, pooler, _)) = start(1, &vendor, true).await else {
        return;
    };
    let mut stream = Stream::new(&fleet);
    stream.connect(&fleet.replicas[0].origin).await;
    works(&fleet, &vendor, &mut stream).await;
    fleet.stop(0);
    fleet.restart(0);
    fleet.add();
    stream.connect(&fleet.replicas[1].origin).await;
    works(&fleet, &vendor, &mut stream).await;
    for replica in 0..2 {
        assert_eq!(followed(&fleet, replica).await, "notified");
    }
    for replica in &mut fleet.replicas {
        let log = replica.running.log();
        assert!(!log.contains("failed"), "{log}");
    }
    assert_eq!(pooler.named_statements().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_that_swallows_notifications_replicas_look_for_changes_and_say_so() {
    let vendor = Vendor::start(luck().random()).await;
    let Some((fleet, _pooler, binary)) = start(2, &vendor, false).await else {
        return;
    };
    let mut stream = Stream::new(&fleet);
    stream.connect(&fleet.replicas[0].origin).await;
    works(&fleet, &vendor, &mut stream).await;
    for replica in 0..2 {
        assert_eq!(followed(&fleet, replica).await, "polling");
    }
    let doctor = binary.command(&["doctor", "--offline"]).output().unwrap();
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(
        said.contains("a pooler in transaction mode, which swallows them"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_pooler_is_away_webhooks_are_refused_and_all_goes_on_when_it_is_back() {
    let vendor = Vendor::start(luck().random()).await;
    let Some((mut fleet, mut pooler, _)) = start(2, &vendor, true).await else {
        return;
    };
    // Calls that are being fetched when it ends.
    vendor
        .faults(json!({ "slow": { "ms": 20, "on": ["call"] } }))
        .await;
    vendor.burst(CALLS_AT_ONCE).await;
    let load = Load::start(&fleet, &vendor);
    load.goes_on(100).await;
    pooler.stop();
    load.fails(1).await;
    pooler.start_again().await;
    load.goes_on(100).await;
    // So short that what comes meanwhile waits.
    pooler.stop();
    pooler.start_again().await;
    load.goes_on(100).await;
    let (acknowledged, failed) = load.end().await;
    let refused = |status: Option<reqwest::StatusCode>| status.is_some_and(|status| status == 503);
    let otherwise: Vec<_> = failed
        .iter()
        .filter(|failure| !refused(failure.status))
        .collect();
    assert!(otherwise.is_empty(), "{otherwise:#?}");
    fleet.shared.holds(&acknowledged);
    fleet.shared.drained(&vendor).await;
    for replica in 0..2 {
        assert_eq!(followed(&fleet, replica).await, "notified");
        assert!(!fleet.replicas[replica].running.log().contains("panicked"));
    }
}
