//! Starts and orderly ends: a deployment that replaces one replica after the other, and many that start at once.

use crate::fleet::Fleet;
use crate::load::Load;
use crate::vendor::Vendor;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_request() {
    let vendor = Vendor::start(1).await;
    let Some(mut fleet) = Fleet::start(3, &vendor, |binary| binary).await else {
        return;
    };
    let load = Load::start(&fleet, &vendor);
    for number in [0, 1, 2, 0, 1, 2] {
        load.goes_on(100).await;
        fleet.stop(number);
        fleet.restart(number);
    }
    load.goes_on(100).await;
    let (acknowledged, failed) = load.end().await;
    assert!(failed.is_empty(), "{failed:#?}");
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
