//! The same webhooks at several replicas at once, and replicas that are killed while webhooks come in and calls are fetched.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use rand::RngExt;
use rand::seq::IteratorRandom;
use serde_json::json;

use crate::fleet::Fleet;
use crate::luck;
use crate::vendor::Vendor;
use crate::webhook::Webhook;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_comes_to_all_replicas_at_once_is_accepted_by_one_and_its_call_is_fetched_once()
 {
    const CALLS: usize = 80;
    let vendor = Vendor::start(luck().random()).await;
    // What no webhook brings is left to the webhooks of this story.
    let Some(fleet) = Fleet::start(3, &vendor, |binary| binary.set("RECONCILE_EVERY", "1h")).await
    else {
        return;
    };
    fleet.shared.reconciled().await;
    vendor.faults(json!({ "never-send": {} })).await;
    vendor.burst(CALLS).await;
    vendor.settled().await;
    let (ended, _) = vendor.ended().await;
    let webhooks: Vec<_> = ended
        .iter()
        .map(|(call, status)| Webhook::of_call(call, status == "scored", &vendor.secret))
        .collect();
    let http = fleet.client();
    // Each replica gets them in another order.
    let deliveries = (0..CALLS).flat_map(|place| {
        let (webhooks, http) = (&webhooks, &http);
        fleet
            .replicas
            .iter()
            .enumerate()
            .map(move |(number, replica)| {
                let place = if number == 1 {
                    CALLS - 1 - place
                } else {
                    place
                };
                let webhook = &webhooks[place];
                async move {
                    let (status, said) = webhook.deliver(http, &replica.origin).await.unwrap();
                    assert_eq!(status, 200);
                    (&webhook.id, said)
                }
            })
    });
    let mut answers = BTreeMap::<_, Vec<String>>::new();
    for (webhook, said) in join_all(deliveries).await {
        answers.entry(webhook).or_default().push(said);
    }
    for (webhook, mut said) in answers {
        said.sort();
        assert_eq!(said, ["accepted", "duplicate", "duplicate"], "{webhook}");
    }
    fleet.shared.drained(&vendor).await;
    let events = fleet
        .shared
        .sql("SELECT count(*), sum(deliveries) FROM events");
    assert_eq!(events, format!("{CALLS}|{}", 3 * CALLS));
    assert_eq!(
        fleet.shared.number("SELECT count(*) FROM calls"),
        CALLS as i64
    );
    assert_eq!(
        vendor.asked("call").await,
        CALLS as u64,
        "each is fetched once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_are_killed_under_load_lose_no_acknowledged_webhook_and_each_call_is_scored_once()
 {
    const KILLS: usize = 6;
    const CALLS_AT_ONCE: usize = 60;
    const REPLICAS: usize = 3;
    let mut luck = luck();
    let vendor = Vendor::start(luck.random()).await;
    let Some(mut fleet) = Fleet::start(REPLICAS, &vendor, |binary| binary).await else {
        return;
    };
    // Long enough that a kill finds calls that are being fetched.
    let slow = json!({ "slow": { "ms": 20, "on": ["call"] } });
    vendor.faults(slow).await;
    for round in 0..KILLS {
        let deliveries = round * CALLS_AT_ONCE;
        vendor.burst(CALLS_AT_ONCE).await;
        vendor
            .attempted(deliveries + luck.random_range(1..CALLS_AT_ONCE))
            .await;
        // Sometimes one is left.
        let victims = luck.random_range(1..REPLICAS);
        let victims: Vec<_> = (0..REPLICAS).sample(&mut luck, victims);
        for victim in &victims {
            fleet.kill(*victim);
        }
        fleet.shared.is_sound();
        for victim in victims {
            fleet.restart(victim);
        }
    }
    vendor.settled().await;
    let (acknowledged, cut) = vendor.acknowledged().await;
    fleet.shared.holds(&acknowledged);
    fleet.shared.drained(&vendor).await;
    fleet.shared.holds(&acknowledged);
    let (ended, _) = vendor.ended().await;
    let calls = fleet.shared.sql("SELECT id FROM calls");
    let calls: BTreeSet<_> = calls.lines().collect();
    assert_eq!(calls, ended.iter().map(|(call, _)| &**call).collect());
    eprintln!(
        "{} acknowledged, {cut} cut; {} calls, fetched {} times",
        acknowledged.len(),
        ended.len(),
        vendor.asked("call").await
    );
}
