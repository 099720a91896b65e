//! The flags that narrow a list or a replay to a time.

use super::Misconfigured;
use crate::model::{TimeBound, Timestamp};

/// When events came in, or messages were written. Lists and replays take the same flags, under either name.
#[derive(clap::Args, Debug)]
pub(super) struct TimeRange {
    /// Came in or was written at or after: a moment (2026-06-05T18:09:14Z), a day in UTC (2026-06-05, from its start), or
    /// how long ago (2h, 7d)
    #[arg(long, visible_alias = "since", value_name = "TIME")]
    from: Option<TimeBound>,
    /// Came in or was written at or before: the same, and a day to its end
    #[arg(long, visible_alias = "until", value_name = "TIME")]
    to: Option<TimeBound>,
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
