//! The limits of each caller, in one place.

use std::sync::Arc;

use super::rate_limit::{LogLimit, MintLimit, RecordingLimit};
use super::read_limit::ReadLimit;
use super::stream_limiter::StreamLimiter;
use crate::config::Config;

/// The limits by caller.
pub struct CallerLimits {
    /// Session tokens a rep may ask for.
    pub(super) mints: MintLimit,
    /// Recordings a caller may ask for.
    pub(super) recordings: RecordingLimit,
    /// Reads of the store, by caller.
    pub(super) reads: Arc<ReadLimit>,
    /// Live streams.
    pub(super) streams: Arc<StreamLimiter>,
    /// Refusals that are logged.
    pub(super) log: LogLimit,
}

impl CallerLimits {
    /// The limits that `config` sets, and those that are fixed.
    #[must_use]
    pub fn from_config(config: &Config) -> Self {
        let connections = config.max_connections.get() as usize;
        Self {
            mints: MintLimit::per_minute(config.mint_limit_per_rep),
            recordings: RecordingLimit::of_recordings(),
            reads: Arc::default(),
            // The other half of the connections is for requests.
            streams: StreamLimiter::new((connections / 2).max(1)),
            log: LogLimit::default(),
        }
    }

    /// Forgets callers who are idle, and logs how many refusals were not logged.
    pub fn tidy(&self) {
        self.mints.forget_idle();
        self.recordings.forget_idle();
        self.log.sum_up();
    }
}
