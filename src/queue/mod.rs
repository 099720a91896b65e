//! What every queue of work here is made of: a loop, slots, a retry schedule, a circuit breaker, a lease. The worker that fetches
//! calls and the forwarder that sends messages share it; it does no IO of its own.

pub(crate) mod breaker;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod slots;

use std::time::Duration;

/// How long a claim on a row lasts. Longer than an attempt can take, with its settlement.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
