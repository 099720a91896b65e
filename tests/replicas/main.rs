//! Several real processes of the service on one PostgreSQL database, behind a proxy that takes them in turns: what companies
//! run. One process, and what disks do to it, is in `crash`; several stores in one process are in `store`.
//!
//! `REPLICAS_SEED` repeats the luck of a run that failed.
#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot go on should stop right there"
)]

#[path = "../cluster/mod.rs"]
mod cluster;
mod deliveries;
mod fleet;
#[path = "../crash/half_settled.rs"]
mod half_settled;
mod leader;
mod live;
mod load;
mod pgbouncer;
mod pooler;
mod proxy;
mod restarts;
#[expect(dead_code, reason = "some of it is for the stories of `crash` only")]
#[path = "../crash/service.rs"]
mod service;
mod shared;
mod standby;
#[path = "../crash/vendor.rs"]
mod vendor;
mod webhook;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The luck of a run, told so that it can be repeated.
fn luck() -> StdRng {
    let asked = std::env::var("REPLICAS_SEED").ok();
    let seed = asked.map_or_else(rand::random, |text| text.parse().expect("REPLICAS_SEED"));
    eprintln!("REPLICAS_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
