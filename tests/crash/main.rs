//! Power cuts: the real binary is killed with SIGKILL in every phase of its work, again and again, on one database for
//! each phase, and started again. Whatever it acknowledged must be there, once, and in the end everything is done. What
//! disks do to it is in `environment`, a long queue in `backlog`, what endpoints get in `forwarding`.
//!
//! `CRASH_ROUNDS` asks for more kills than the usual few; `CRASH_SEED` repeats a run that failed.
#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot go on should stop right there"
)]

mod audit;
mod backlog;
mod backup;
mod disk;
mod environment;
mod forwarding;
mod half_settled;
mod migration;
mod running;
mod service;
mod vendor;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Phases share the rounds among them.
const PHASES: usize = 7;
/// Kills in all when nobody asks for more.
const USUAL_ROUNDS: usize = 24;

/// The rounds of one phase: how many, and their luck.
pub(crate) struct Rounds {
    phase: &'static str,
    seed: u64,
    pub(crate) count: usize,
}

impl Rounds {
    pub(crate) fn of(phase: &'static str) -> Self {
        let number = |variable: &str| -> Option<u64> {
            let text = std::env::var(variable).ok()?;
            Some(text.parse().expect(variable))
        };
        let seed = number("CRASH_SEED").unwrap_or_else(rand::random);
        let all = number("CRASH_ROUNDS").map_or(USUAL_ROUNDS, |rounds| rounds as usize);
        eprintln!("{phase}: CRASH_SEED={seed}");
        Self {
            phase,
            seed,
            count: all.div_ceil(PHASES),
        }
    }

    /// The luck of one round, the same whenever it is repeated.
    pub(crate) fn luck(&self, round: usize) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_add(round as u64))
    }

    /// A seed for the round's vendor, unlike any other's.
    pub(crate) fn vendor_seed(&self, round: usize) -> u64 {
        self.luck(round).random()
    }

    /// For those who wait for a long run.
    pub(crate) fn tell(&self, round: usize, what: &str) {
        eprintln!("{} {}/{}: {what}", self.phase, round + 1, self.count);
    }
}
