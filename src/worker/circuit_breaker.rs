//! The circuit breaker between the worker and Athos: closed while fetching works, open while our key is refused or Athos
//! fails whatever is asked, half-open while one request probes. It judges what each answer says about whom: a fault of one
//! call opens nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::Timestamp;
use crate::queue::breaker::{self, Breaker, Holds, MAX_HOLD};
use athos_api::{ANSWER_DEADLINE, Blame, Class, Error};

/// Distinct calls that must fail, with no success in between, before Athos counts as down.
const TRIP_AFTER_CALLS: usize = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const HOLDS: Holds = Holds {
    first: FIRST_WAIT,
    longest: Duration::from_secs(60),
};
/// A refused key needs a person; asking more often helps nobody.
const KEY_HOLDS: Holds = Holds {
    first: Duration::from_secs(5),
    longest: Duration::from_secs(5 * 60),
};
/// Longer than any delay of the retry schedule. While something succeeded this lately, a call that failed before and fails
/// again says nothing about Athos.
const RECENT_WINDOW: Duration = Duration::from_secs(90 * 60);
/// Calls never tried before that may probe without a pause, one after the other, while it is in doubt whether Athos or the
/// calls are at fault; after them, one per [`FIRST_WAIT`].
const FREE_PROBES: u32 = 32;

/// What may be requested now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// As many requests as there are slots.
    All,
    /// One, to see whether things are better.
    Probe(Candidates),
    /// None before this time, or before the probe in flight is back.
    Wait(Timestamp),
}

/// Which events may probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// Any that is due; one that never failed first.
    Any,
    /// Only one that was never tried before.
    Untried,
}

/// Why the breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageCause {
    /// Our key, tenant or address is refused; an operator must act.
    KeyRefused,
    /// Athos fails, whatever is asked.
    AthosDown,
}

/// Why the breaker is open, and for how long, for `/readyz` and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Why it is open.
    pub cause: OutageCause,
    /// The last failure, in words. Only for admins and other backends.
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When the next request goes through.
    pub until: Timestamp,
}

/// Which attempt a failure is of.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The call that was asked for.
    pub call_id: &'a str,
    /// Whether an attempt at this event failed before.
    pub has_failed: bool,
    /// Whether it was let through as a probe.
    pub is_probe: bool,
}

/// What a failure means for the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It spends an attempt, and is tried again on schedule.
    Spend,
    /// It is tried again on schedule and spends nothing: Athos fails whatever is asked.
    Spare,
    /// It is due as soon as the breaker lets it through, and spends nothing: our account is refused.
    Await,
}

/// The breaker between the worker and Athos.
#[derive(Debug, Default)]
pub struct CircuitBreaker(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    breaker: Breaker,
    /// What it is open for, unless it is closed.
    open: Option<OpenState>,
    /// Calls that failed since the last success, in a way that may be Athos's fault; at most [`TRIP_AFTER_CALLS`] are told apart.
    failing: Vec<String>,
    /// Those of them that speak against Athos.
    evidence: Vec<String>,
    /// Connections refused since the last success; they are nobody's fault but Athos's.
    unreachable: usize,
    last_success: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct OpenState {
    cause: OutageCause,
    reason: String,
    since: Timestamp,
    scope: Scope,
    untried_probes: u32,
    /// When an event never tried before may probe, if the scope is [`Scope::Doubtful`].
    untried_from: Timestamp,
}

/// What an outage concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Fetching, unless it is the calls' own fault after all.
    Doubtful,
    /// Fetching.
    Fetching,
    /// Whatever is asked with our key.
    Account,
}

impl CircuitBreaker {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may be fetched now. A probe that is let through keeps others out until it is reported back or counts as lost.
    pub fn permit(&self, now: Timestamp) -> Permit {
        let mut inner = self.inner();
        match inner.breaker.permit(now, ANSWER_DEADLINE) {
            breaker::Permit::All => Permit::All,
            breaker::Permit::Probe => Permit::Probe(Candidates::Any),
            breaker::Permit::Wait(_) if inner.may_probe_untried(now) => {
                inner.breaker.let_probe(now, ANSWER_DEADLINE);
                Permit::Probe(Candidates::Untried)
            }
            breaker::Permit::Wait(until) => Permit::Wait(until),
        }
    }

    /// Whether lists may be read now; only trouble with the account keeps them back. While it lasts, reading one is a probe.
    ///
    /// # Errors
    /// The outage that holds them back.
    pub fn permit_list(&self, now: Timestamp) -> Result<(), Outage> {
        match self.account_outage() {
            None => Ok(()),
            Some(outage) => match self.permit(now) {
                Permit::Wait(until) => Err(Outage { until, ..outage }),
                Permit::All | Permit::Probe(_) => Ok(()),
            },
        }
    }

    /// Why lists may not be read on, if they may not.
    pub fn account_outage(&self) -> Option<Outage> {
        let inner = self.inner();
        inner.is_about_account().then(|| inner.outage())?
    }

    /// The probe asked Athos for nothing; the next may go at once.
    pub fn probe_unused(&self) {
        self.inner().breaker.probe_unused();
    }

    /// Something has changed, a key perhaps: one request may go at once.
    pub fn try_now(&self, now: Timestamp) {
        self.inner().breaker.try_now(now);
    }

    /// A call was fetched, or refused for a reason of its own: the breaker closes.
    pub fn succeeded(&self, now: Timestamp) {
        let mut inner = self.inner();
        inner.last_success = Some(now);
        inner.close();
    }

    /// A list was read: the account is well. It says nothing of fetching.
    pub fn list_succeeded(&self) {
        let mut inner = self.inner();
        if inner.is_about_account() {
            inner.close();
        }
    }

    /// A list was not read. That concerns fetching only if it is about the account.
    pub fn list_failed(&self, error: &Error, now: Timestamp) {
        let mut inner = self.inner();
        if error.blame() == Blame::Account {
            let is_probe = inner.breaker.is_half_open();
            inner.open(Scope::Account, error, is_probe, now);
        } else if inner.is_about_account() {
            inner.breaker.probe_unused();
        }
    }

    /// A call was not fetched.
    pub fn failed(&self, attempt: Attempt<'_>, error: &Error, now: Timestamp) -> Verdict {
        let blame = error.blame();
        if blame == Blame::Call {
            self.succeeded(now);
            return Verdict::Spend;
        }
        let mut inner = self.inner();
        let is_likely_own_fault = attempt.has_failed && inner.has_succeeded_recently(now);
        inner.note_failing(attempt.call_id);
        if blame == Blame::Account
            && !(error.may_concern_one_call() && inner.has_succeeded_recently(now))
        {
            inner.open(Scope::Account, error, attempt.is_probe, now);
            return match error.class() {
                Class::KeyFault => Verdict::Await,
                _ => inner.verdict(attempt),
            };
        }
        let scope = match (error, blame) {
            (Error::Unreachable(_), _) => Scope::Fetching,
            // While others are fetched, a call that fails again is most likely itself the reason.
            _ if is_likely_own_fault => Scope::Doubtful,
            (_, Blame::Account) => Scope::Account,
            // A 503 may be about one call as well: where others were fetched lately, those never tried find out.
            (_, Blame::Athos) if !inner.has_succeeded_recently(now) => Scope::Fetching,
            _ => Scope::Doubtful,
        };
        if matches!(error, Error::Unreachable(_)) {
            inner.unreachable += 1;
        } else if !is_likely_own_fault {
            note(&mut inner.evidence, attempt.call_id);
        }
        let asks_to_wait = scope == Scope::Fetching && error.retry_after().is_some();
        let is_proven = inner.evidence.len() + inner.unreachable >= TRIP_AFTER_CALLS;
        let is_failed_probe = attempt.is_probe && inner.breaker.is_half_open();
        if is_failed_probe || asks_to_wait || is_proven {
            inner.open(scope, error, attempt.is_probe, now);
        }
        inner.verdict(attempt)
    }

    /// When something may be let through, if that is not now.
    pub fn next_permit(&self, now: Timestamp) -> Option<Timestamp> {
        let inner = self.inner();
        let until = inner.breaker.until()?;
        let untried = inner.open.as_ref().filter(|open| {
            inner.breaker.is_open() && open.scope == Scope::Doubtful && open.untried_from > now
        });
        Some(untried.map_or(until, |open| until.min(open.untried_from)))
    }

    /// Why it is open, if it is.
    pub fn outage(&self) -> Option<Outage> {
        self.inner().outage()
    }
}

impl Inner {
    fn outage(&self) -> Option<Outage> {
        let (open, until) = (self.open.as_ref()?, self.breaker.until()?);
        Some(Outage {
            cause: open.cause,
            reason: Some(open.reason.clone()),
            since: open.since,
            until,
        })
    }

    fn is_about_account(&self) -> bool {
        let scope = self.open.as_ref().map(|open| open.scope);
        scope == Some(Scope::Account)
    }

    /// As long as it is in doubt who is at fault, calls never tried need not wait.
    fn may_probe_untried(&self, now: Timestamp) -> bool {
        let is_time =
            |open: &OpenState| open.scope == Scope::Doubtful && !is_ahead(open.untried_from, now);
        self.breaker.is_open() && self.open.as_ref().is_some_and(is_time)
    }

    fn has_succeeded_recently(&self, now: Timestamp) -> bool {
        self.last_success
            .is_some_and(|at| now.since(at) < RECENT_WINDOW)
    }

    fn note_failing(&mut self, call_id: &str) {
        note(&mut self.failing, call_id);
    }

    /// A failed probe is spared when other calls fail as well; of one alone, nothing tells its own fault from Athos's.
    fn verdict(&self, attempt: Attempt<'_>) -> Verdict {
        let others_fail = self.failing.iter().any(|id| id != attempt.call_id);
        match attempt.is_probe && others_fail && !self.breaker.is_closed() {
            true => Verdict::Spare,
            false => Verdict::Spend,
        }
    }

    fn close(&mut self) {
        self.failing.clear();
        self.evidence.clear();
        self.unreachable = 0;
        self.breaker = Breaker::Closed;
        if let Some(open) = self.open.take() {
            tracing::info!(cause = ?open.cause, "circuit breaker closed: fetching from Athos resumes");
        }
    }

    /// Opens, or stays open for longer when it was a probe that failed.
    fn open(&mut self, scope: Scope, error: &Error, is_probe: bool, now: Timestamp) {
        let (cause, holds) = match (scope, error.class()) {
            (Scope::Account, Class::KeyFault) => (OutageCause::KeyRefused, KEY_HOLDS),
            _ => (OutageCause::AthosDown, HOLDS),
        };
        let before = self.open.as_ref().filter(|open| open.cause == cause);
        let is_new = before.is_none();
        let widens = |before: &OpenState| scope == Scope::Account && before.scope != Scope::Account;
        let mut open = match before {
            // It was in flight when the breaker opened, and says nothing new.
            Some(before) if !is_probe && !widens(before) => return,
            Some(before) => OpenState {
                scope,
                ..before.clone()
            },
            None => {
                tracing::error!(?cause, %error, "circuit breaker opened: fetching from Athos is paused; events wait");
                self.breaker = Breaker::Closed;
                OpenState {
                    cause,
                    reason: String::new(),
                    since: now,
                    scope,
                    untried_probes: 0,
                    untried_from: now,
                }
            }
        };
        // A probe of an untried call, let through before its time, makes the others wait no longer.
        if scope == Scope::Doubtful && (is_new || self.breaker.is_early(now)) {
            self.breaker.stay_open(now);
        } else {
            self.breaker.open_longer(now, holds, error.retry_after());
        }
        open.reason = error.to_string();
        if is_probe {
            open.untried_probes += 1;
        }
        open.untried_from = match open.untried_probes {
            0..FREE_PROBES => now,
            _ => now.plus(FIRST_WAIT),
        };
        self.open = Some(open);
    }
}

/// Remembers a call among the first few that differ.
fn note(calls: &mut Vec<String>, call_id: &str) {
    if calls.len() < TRIP_AFTER_CALLS && calls.iter().all(|known| known != call_id) {
        calls.push(call_id.to_owned());
    }
}

/// Whether a time has not come. One further ahead than any that is made here is of a clock that was set back since.
fn is_ahead(time: Timestamp, now: Timestamp) -> bool {
    now < time && time.since(now) <= MAX_HOLD
}

#[cfg(test)]
mod tests;
