//! Input and output of a reconciliation: windows, options, statistics, progress, outcomes.

use std::time::Duration;

use crate::config::Config;
use crate::model::{Source, Timestamp};
use crate::store::RecoveredCall;

/// Which of Athos's lists to read, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// The source to list.
    pub source: Source,
    /// How much of the list is read again in each run.
    pub overlap: Duration,
}

impl SourceConfig {
    /// How `config` has the list of a source read. A call is listed once it has been scored, after its end: where the axis
    /// is the start, it appears as far back as the longest call.
    #[must_use]
    pub fn from_config(config: &Config, source: Source) -> Self {
        let longest = match source {
            Source::Roleplay => Duration::ZERO,
            Source::RealCall => config.real_call_longest,
        };
        Self {
            source,
            overlap: config.reconcile_overlap.saturating_add(longest),
        }
    }
}

/// A part of a list, on the list's own axis: the end of a practice call, the start of a real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The earliest, inclusive.
    pub from: Timestamp,
    /// The latest, inclusive.
    pub to: Timestamp,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// The whole window was read.
    Completed(RunStats),
    /// Athos failed before the end; calls found until then are in the inbox.
    Failed(RunStats, String),
    /// Athos refused the list of this source, for this reason; the next run asks again.
    Refused(String),
    /// Athos was not asked: our account is refused or throttled until this time.
    Held(Timestamp),
}

/// The statistics of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStats {
    /// The window.
    pub window: Window,
    /// Pages read.
    pub pages: u32,
    /// Calls on these pages.
    pub seen: u32,
    /// Recovered calls; in a dry run, those that would have been.
    pub repaired: u32,
    /// Rows without a usable call id; they are skipped.
    pub unreadable: u32,
    /// Up to where the list is known now: the time of its latest call, by Athos's clock. Without calls, as before.
    pub until: Timestamp,
}

/// One page, for progress output.
#[derive(Debug)]
pub struct PageProgress<'a> {
    /// Its number, from 1.
    pub page: u32,
    /// Calls on the page.
    pub calls: usize,
    /// Recovered calls; in a dry run, those that would have been.
    pub repairs: &'a [RecoveredCall],
}

/// Options of a run on request.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// The window; by default from where the run before ended.
    pub window: Option<Window>,
    /// Write nothing.
    pub dry_run: bool,
}
