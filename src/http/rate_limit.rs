//! The limit on session tokens: so many in a minute for each rep, whoever asks.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::model::RepId;

/// Counts session tokens by rep.
pub struct MintLimit {
    limiter: DefaultKeyedRateLimiter<RepId>,
    clock: DefaultClock,
}

impl MintLimit {
    /// Lets through `per_minute` for each rep, all at once or spread.
    #[must_use]
    pub fn per_minute(per_minute: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::keyed(Quota::per_minute(per_minute)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts one, or says how long until there is room for it.
    ///
    /// # Errors
    /// The wait.
    pub fn count(&self, rep: &RepId) -> Result<(), Duration> {
        self.limiter
            .check_key(rep)
            .map_err(|refused| refused.wait_time_from(self.clock.now()))
    }

    /// Forgets reps whose minute is over.
    pub fn forget_idle(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}
