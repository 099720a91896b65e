//! Rate limits: session tokens for each rep, recordings for each caller, and log lines for each client.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::auth::CallerId;
use crate::model::RepId;

/// Refusals of one client that are logged in a minute.
const LINES_PER_CLIENT: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// Refusals of all clients that are logged in a minute: addresses are cheap.
const LINES: NonZeroU32 = NonZeroU32::new(600).unwrap();

/// Recordings that a caller may ask for in a minute. Each is a request to Athos, which may have a limit of its own: session
/// tokens need it more.
const RECORDINGS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Counts session tokens by rep.
pub(super) type MintLimit = Limit<RepId>;
/// Counts recordings by caller.
pub(super) type RecordingLimit = Limit<CallerId>;

/// Counts requests by key.
pub(super) struct Limit<K: Clone + Hash + Eq> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
}

impl RecordingLimit {
    /// As many as a person listens to.
    #[must_use]
    pub(super) fn of_recordings() -> Self {
        Self::per_minute(RECORDINGS_PER_MINUTE)
    }
}

impl<K: Clone + Hash + Eq> Limit<K> {
    /// Allows `per_minute` for each key, in a burst or spread.
    #[must_use]
    pub(super) fn per_minute(per_minute: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::keyed(Quota::per_minute(per_minute)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts one, or returns how long to wait.
    ///
    /// # Errors
    /// The wait.
    pub(super) fn count(&self, key: &K) -> Result<(), Duration> {
        self.limiter
            .check_key(key)
            .map_err(|refused| refused.wait_time_from(self.clock.now()))
    }

    /// Removes keys that are idle.
    pub(super) fn forget_idle(&self) {
        forget_idle(&self.limiter);
    }
}

/// Limits the log lines about refused requests.
pub(super) struct LogLimit {
    by_client: DefaultKeyedRateLimiter<Option<IpAddr>>,
    all: DefaultDirectRateLimiter,
    unlogged: AtomicU64,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self {
            by_client: RateLimiter::keyed(Quota::per_minute(LINES_PER_CLIENT)),
            all: RateLimiter::direct(Quota::per_minute(LINES)),
            unlogged: AtomicU64::new(0),
        }
    }
}

impl LogLimit {
    /// Whether to log one more refusal of this client; if not, it is counted.
    pub(super) fn admits(&self, client: Option<IpAddr>) -> bool {
        let admits =
            self.by_client.check_key(&client.map(network)).is_ok() && self.all.check().is_ok();
        if !admits {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
        }
        admits
    }

    /// Logs how many were not logged since the last time, and forgets clients that have gone quiet.
    pub(super) fn sum_up(&self) {
        let unlogged = self.unlogged.swap(0, Ordering::Relaxed);
        if unlogged > 0 {
            tracing::warn!(
                unlogged,
                "log limit reached: more requests were refused or failed than are logged"
            );
        }
        forget_idle(&self.by_client);
    }
}

/// A client with one IPv6 address has its whole /64 network.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

fn forget_idle<K: Clone + Hash + Eq>(limiter: &DefaultKeyedRateLimiter<K>) {
    limiter.retain_recent();
    limiter.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_floods_the_log_is_cut_short_and_others_are_heard() {
        let limit = LogLimit::default();
        let client = |text: &str| Some(text.parse().unwrap());
        let logged = (0..1000)
            .filter(|_| limit.admits(client("203.0.113.7")))
            .count();
        assert!((30..40).contains(&logged), "{logged}");
        assert!(limit.admits(client("203.0.113.8")));
        assert!(limit.admits(None));
        assert!(limit.unlogged.load(Ordering::Relaxed) > 900);
        limit.sum_up();
        assert_eq!(limit.unlogged.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_flood_from_many_addresses_is_cut_short_too() {
        let limit = LogLimit::default();
        let flood = (0..10_000_u32).filter(|n| limit.admits(Some(IpAddr::V4((*n).into()))));
        assert!(flood.count() < 700);
        let one_network = LogLimit::default();
        let flood = (0..1000_u128)
            .filter(|n| one_network.admits(Some(IpAddr::V6((0x2001_0db8 << 96 | n).into()))));
        assert!(flood.count() < 40);
    }
}
