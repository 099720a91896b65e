//! What a reconciliation is asked and what it says: windows, tallies, progress, endings.

use std::time::Duration;

use crate::config::Config;
use crate::model::{Source, Timestamp};
use crate::store::RecoveredCall;

/// Which of Athos's lists to read, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// Whose list.
    pub source: Source,
    /// How much of it is read again each time.
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
    /// It read the whole window.
    Completed(RunStats),
    /// Athos failed on the way; what was found until then is in the inbox.
    Failed(RunStats, String),
    /// Athos has no list of this source for us, in words; the next run asks again.
    Refused(String),
    /// Athos was not asked: our account is refused or throttled, and it is not asked before this time.
    Held(Timestamp),
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStats {
    /// Where it looked.
    pub window: Window,
    /// Pages read.
    pub pages: u32,
    /// Calls on them.
    pub seen: u32,
    /// Calls brought in; in a dry run, those that would have been.
    pub repaired: u32,
    /// Rows that name no call; they are left out.
    pub unreadable: u32,
    /// Up to where the list is known now: its latest call, by Athos's clock and not by ours. With none, as before.
    pub until: Timestamp,
}

/// What a page held, for those who watch.
#[derive(Debug)]
pub struct PageProgress<'a> {
    /// Its number, from 1.
    pub page: u32,
    /// Calls on it.
    pub calls: usize,
    /// Those brought in; in a dry run, those that would have been.
    pub repairs: &'a [RecoveredCall],
}

/// How to run when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Where to look; without it, from where the run before ended.
    pub window: Option<Window>,
    /// Write nothing.
    pub dry_run: bool,
}
