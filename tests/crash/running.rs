//! Kills while the service runs. Each phase is recognised by what the vendor has seen, and proved by what is left: a
//! kill that came too early or too late is a failure of the test.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use sqlx::SqliteConnection;

use crate::Rounds;
use crate::audit::{self, number};
use crate::service::Binary;
use crate::vendor::Vendor;

/// What the service is doing when it is killed.
trait Phase {
    const NAME: &'static str;
    /// Settings it takes to be in this phase for a while.
    const CONCURRENCY: u32 = 8;

    /// Before the service starts.
    async fn prepare(_vendor: &Vendor) {}

    /// Gives it work, and waits for the moment.
    async fn reach(vendor: &Vendor, luck: &mut StdRng);

    /// What the kill left, in words.
    ///
    /// # Panics
    /// When it was not killed in this phase.
    async fn prove(vendor: &Vendor, db: &mut SqliteConnection) -> String;
}

async fn kill_again_and_again<P: Phase>() {
    let rounds = Rounds::of(P::NAME);
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("athos.db");
    let mut acknowledged = BTreeSet::new();
    let mut calls = 0;
    for round in 0..rounds.count {
        let vendor = Vendor::start(rounds.vendor_seed(round)).await;
        let binary = Binary::new(&database, &vendor);
        let binary = binary.set("FETCH_CONCURRENCY", P::CONCURRENCY);
        P::prepare(&vendor).await;
        let mut service = binary.start();
        vendor.deliver_to(&service.origin);
        P::reach(&vendor, &mut rounds.luck(round)).await;
        service.kill();

        vendor.settled().await;
        acknowledged.extend(vendor.acknowledged().await.0);
        let mut db = audit::open(&database).await;
        let proof = P::prove(&vendor, &mut db).await;
        audit::is_sound(&mut db).await;
        audit::holds(&mut db, &acknowledged).await;

        vendor.faults(json!({})).await;
        audit::let_leases_run_out(&mut db).await;
        let mut service = binary.start();
        vendor.deliver_to(&service.origin);
        audit::drained(&mut db, &vendor).await;
        service.kill();
        audit::is_sound(&mut db).await;
        audit::holds(&mut db, &acknowledged).await;
        calls += vendor.ended().await.0.len();
        let here = number(
            &mut db,
            "SELECT count(*) FROM calls WHERE status = 'scored'",
        )
        .await;
        assert_eq!(
            here, calls as i64,
            "a call is here that never was, or is not"
        );
        rounds.tell(round, &format!("{proof}; {calls} calls in all, each once"));
    }
}

/// Webhooks come in, and are committed.
struct Accept;

impl Phase for Accept {
    const NAME: &'static str = "accept";

    async fn reach(vendor: &Vendor, luck: &mut StdRng) {
        vendor.burst(500).await;
        vendor.attempted(luck.random_range(1..100)).await;
    }

    async fn prove(vendor: &Vendor, db: &mut SqliteConnection) -> String {
        let (acked, unanswered) = vendor.acknowledged().await;
        assert!(
            !acked.is_empty() && unanswered > 0,
            "{} {unanswered}",
            acked.len()
        );
        let kept = number(db, "SELECT count(*) FROM events WHERE origin = 'webhook'").await;
        format!(
            "{} acknowledged, {unanswered} cut, {kept} kept so far",
            acked.len()
        )
    }
}

/// Details are on their way from Athos.
struct Fetch;

impl Phase for Fetch {
    const NAME: &'static str = "fetch";

    async fn reach(vendor: &Vendor, luck: &mut StdRng) {
        vendor
            .faults(json!({ "slow": { "ms": 30, "on": ["call"] } }))
            .await;
        vendor.burst(80).await;
        vendor.asked_for("call", luck.random_range(8..60)).await;
    }

    async fn prove(vendor: &Vendor, db: &mut SqliteConnection) -> String {
        let leased = number(db, "SELECT count(*) FROM events WHERE state = 'processing'").await;
        assert!(leased > 0, "nothing was being fetched");
        format!(
            "{leased} leased, asked {} times",
            vendor.asked("call").await
        )
    }
}

/// What was fetched is being written.
struct Settle;

impl Phase for Settle {
    const NAME: &'static str = "settle";
    const CONCURRENCY: u32 = 32;

    async fn reach(vendor: &Vendor, luck: &mut StdRng) {
        vendor.burst(200).await;
        vendor.asked_for("call", luck.random_range(1..140)).await;
    }

    async fn prove(vendor: &Vendor, db: &mut SqliteConnection) -> String {
        let (ended, fetched) = vendor.ended().await;
        let mut unsettled = 0;
        for id in &fetched {
            let status = "SELECT count(*) FROM calls WHERE id = ? AND status = 'scored'";
            let status = sqlx::query_scalar::<_, i64>(status).bind(id);
            unsettled += usize::from(status.fetch_one(&mut *db).await.unwrap() == 0);
        }
        assert!(!fetched.is_empty() && fetched.len() < ended.len());
        format!(
            "{} given out, {unsettled} of them not written",
            fetched.len()
        )
    }
}

/// The list of calls is read page by page, and what is missing brought in.
struct Reconcile;

impl Phase for Reconcile {
    const NAME: &'static str = "reconcile";

    async fn prepare(vendor: &Vendor) {
        vendor
            .faults(json!({ "never-send": {}, "slow": { "ms": 25, "on": ["calls"] } }))
            .await;
        vendor.burst(230).await;
        vendor.settled().await;
    }

    async fn reach(vendor: &Vendor, luck: &mut StdRng) {
        vendor.asked_for("calls", luck.random_range(1..=3)).await;
    }

    async fn prove(vendor: &Vendor, db: &mut SqliteConnection) -> String {
        let last = "SELECT count(*) FROM reconcile_runs WHERE id = (SELECT max(id) FROM reconcile_runs) \
                    AND finished_at IS NULL";
        assert_eq!(number(db, last).await, 1, "no run was cut short");
        let pages = vendor.asked("calls").await;
        let brought = "SELECT count(*) FROM events WHERE state IN ('pending', 'processing')";
        format!("at page {pages}, {} waiting", number(db, brought).await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_webhook_survives_a_service_that_is_killed_at_any_moment() {
    kill_again_and_again::<Accept>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_being_fetched_when_it_was_killed_is_fetched_again() {
    kill_again_and_again::<Fetch>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_being_written_when_it_was_killed_is_written_whole_or_not_at_all() {
    kill_again_and_again::<Settle>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_reconciliation_that_was_killed_is_made_up_for() {
    kill_again_and_again::<Reconcile>().await;
}
