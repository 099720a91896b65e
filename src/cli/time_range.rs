//! The flags that narrow a list or a replay to a time.

use super::Misconfigured;
use crate::model::{TimeBound, Timestamp};

/// When events came in, messages were written, calls ended, or something was done by hand. All commands take the same flags,
/// under either name.
#[derive(clap::Args, Debug)]
pub(super) struct TimeRange {
    /// At or after: a moment (2026-06-05T18:09:14Z), a day in UTC (2026-06-05, from its start), or how long ago (2h, 7d)
    #[arg(long, visible_alias = "since", value_name = "TIME")]
    pub(super) from: Option<TimeBound>,
    /// At or before: the same, and a day to its end
    #[arg(long, visible_alias = "until", value_name = "TIME")]
    pub(super) to: Option<TimeBound>,
}

impl TimeRange {
    /// The moments that are meant at `now`.
    pub(super) fn range(
        &self,
        now: Timestamp,
    ) -> Result<(Option<Timestamp>, Option<Timestamp>), Misconfigured> {
        let from = self.from.map(|bound| bound.first(now));
        let to = self.to.map(|bound| bound.last(now));
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(Misconfigured(format!(
                "--from {from} is later than --to {to}"
            )));
        }
        Ok((from, to))
    }
}
