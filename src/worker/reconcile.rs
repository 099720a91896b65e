//! Finds the calls whose webhook never came: reads an overlapping window of Athos's list again and again, and brings in
//! what is missing by the way a webhook comes in. It only lists; fetching is the worker's.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::gate::{Admission, Gate};
use crate::athos::{self, ListQuery, Page, types};
use crate::clock::Clock;
use crate::model::{CallHeader, Timestamp};
use crate::store::{ListedCall, NewEvent, NewRun, Repair, RunEnd, SharedStore, StoreResult};

/// How long after its scoring a call's webhook is on its way rather than lost. Runs that nobody asked for leave such
/// calls to the next one, so that a repair means something.
const WEBHOOK_UNDER_WAY: Duration = Duration::from_secs(30);
/// Soonest look after one that the gate turned away.
const SOONEST_RETURN: Duration = Duration::from_secs(1);

/// A window that somebody named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The earliest end of a call, inclusive.
    pub from: Timestamp,
    /// The latest, inclusive.
    pub to: Timestamp,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It read the whole window.
    Completed(Tally),
    /// Athos failed on the way; what was found until then is in the inbox.
    Failed(Tally, String),
    /// The gate is closed until this time; Athos was not asked.
    Held(Timestamp),
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Where it looked.
    pub window: Window,
    /// Pages read.
    pub pages: u32,
    /// Calls on them.
    pub seen: u32,
    /// Calls brought in; in a dry run, those that would have been.
    pub repaired: u32,
}

/// What a page held, for those who watch.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Its number, from 1.
    pub page: u32,
    /// Calls on it.
    pub calls: usize,
    /// Those brought in; in a dry run, those that would have been.
    pub repairs: &'a [Repair],
}

/// How to run when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Where to look; without it, from where the run before ended.
    pub window: Option<Window>,
    /// Write nothing.
    pub dry_run: bool,
}

/// Compares what Athos lists with what is here.
pub struct Reconciler {
    store: SharedStore,
    athos: Arc<athos::Client>,
    gate: Arc<Gate>,
    clock: Clock,
    overlap: Duration,
    /// One run at a time.
    turn: Mutex<()>,
}

impl Reconciler {
    /// A reconciler that reads `overlap` again of what was read before.
    pub fn new(
        store: SharedStore,
        athos: Arc<athos::Client>,
        gate: Arc<Gate>,
        clock: Clock,
        overlap: Duration,
    ) -> Self {
        // There from the start, so that whoever watches sees the first repair as a step.
        metrics::counter!("athos_reconcile_repaired_total").increment(0);
        Self {
            store,
            athos,
            gate,
            clock,
            overlap,
            turn: Mutex::new(()),
        }
    }

    /// Where a run that continues would look now: from the end of the last completed one, or from now if there was none,
    /// less the overlap.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next_window(&self) -> StoreResult<Window> {
        let now = self.clock.now();
        let until = self.store.reconciled_until().await?;
        // A clock that has been set back does not narrow the window.
        let until = until.map_or(now, |until| until.min(now));
        Ok(Window {
            from: until.minus(self.overlap),
            to: now,
        })
    }

    /// One run that nobody asked for: continues where the last completed one ended.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_once(&self) -> StoreResult<Ended> {
        let _turn = self.turn.lock().await;
        let now = self.clock.now();
        let is_under_way = |call: &CallHeader| {
            let scored_at = call.scored_at;
            scored_at.is_some_and(|at| now.since(at) < WEBHOOK_UNDER_WAY)
        };
        self.run_in_turn(Asked::default(), is_under_way, |_| {})
            .await
    }

    /// One run as somebody asked for it; `watch` is told of every page.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_asked(
        &self,
        asked: Asked,
        watch: impl FnMut(Progress<'_>) + Send,
    ) -> StoreResult<Ended> {
        let _turn = self.turn.lock().await;
        self.run_in_turn(asked, |_| false, watch).await
    }

    async fn run_in_turn(
        &self,
        asked: Asked,
        leave_out: impl Fn(&CallHeader) -> bool + Send,
        watch: impl FnMut(Progress<'_>) + Send,
    ) -> StoreResult<Ended> {
        let started_at = self.clock.now();
        let window = match asked.window {
            Some(window) => window,
            None => self.next_window().await?,
        };
        if let Admission::Closed(until) = self.gate.admit(started_at) {
            count("held");
            return Ok(Ended::Held(until));
        }
        let id = if asked.dry_run {
            None
        } else {
            let run = NewRun {
                continues: asked.window.is_none(),
                from: window.from,
                to: window.to,
                started_at,
            };
            let begun = self.store.begin_run(run).await;
            Some(begun.inspect_err(|_| self.gate.not_asked(started_at))?)
        };
        let mut tally = Tally {
            window,
            pages: 0,
            seen: 0,
            repaired: 0,
        };
        let read = self.read_pages(&mut tally, asked, leave_out, watch).await?;
        if let Some(id) = id {
            let end = RunEnd {
                finished_at: self.clock.now(),
                pages: tally.pages,
                seen: tally.seen,
                repaired: tally.repaired,
                error: read.as_ref().err().cloned(),
            };
            self.store.finish_run(id, end).await?;
        }
        match read {
            Ok(()) => {
                count("completed");
                Ok(Ended::Completed(tally))
            }
            Err(reason) => {
                count("failed");
                tracing::warn!(
                    reason,
                    pages = tally.pages,
                    "reconciliation broke off; the next run reads this window again"
                );
                Ok(Ended::Failed(tally, reason))
            }
        }
    }

    /// The error within is Athos's, in words.
    async fn read_pages(
        &self,
        tally: &mut Tally,
        asked: Asked,
        leave_out: impl Fn(&CallHeader) -> bool + Send,
        mut watch: impl FnMut(Progress<'_>) + Send,
    ) -> StoreResult<Result<(), String>> {
        let query = ListQuery {
            from: tally.window.from,
            // Up to now by Athos's clock, not by ours.
            to: asked.window.map(|window| window.to),
        };
        let mut cursor: Option<String> = None;
        let mut cursors = HashSet::new();
        loop {
            let page = match self.list_page(&query, cursor.as_deref()).await {
                Ok(page) => page,
                Err(error) => return Ok(Err(error.to_string())),
            };
            tally.pages += 1;
            tally.seen += u32::try_from(page.calls.len()).unwrap_or(u32::MAX);
            let calls = page.calls.len();
            let repairs = self.repair(page.calls, asked.dry_run, &leave_out).await?;
            tally.repaired += u32::try_from(repairs.len()).unwrap_or(u32::MAX);
            watch(Progress {
                page: tally.pages,
                calls,
                repairs: &repairs,
            });
            let Some(next) = page.next_cursor else {
                return Ok(Ok(()));
            };
            if !cursors.insert(next.clone()) {
                return Ok(Err(
                    "Athos's list led back to a page it gave before".to_owned()
                ));
            }
            if let Some(hold) = self.gate.hold() {
                return Ok(Err(format!("asking Athos is paused: {}", hold.reason)));
            }
            cursor = Some(next);
        }
    }

    async fn list_page(
        &self,
        query: &ListQuery,
        cursor: Option<&str>,
    ) -> Result<Page, athos::Error> {
        let page = self.athos.list_page(query, cursor).await;
        match &page {
            Ok(_) => self.gate.succeeded(),
            Err(error) => {
                self.gate.failed(error, self.clock.now());
            }
        }
        page
    }

    async fn repair(
        &self,
        calls: Vec<CallHeader>,
        dry_run: bool,
        leave_out: impl Fn(&CallHeader) -> bool,
    ) -> StoreResult<Vec<Repair>> {
        let now = self.clock.now();
        let listed: Vec<_> = calls
            .iter()
            .filter(|call| !leave_out(call))
            .map(|call| as_event(call, now))
            .collect();
        let lacking = self.store.would_bring_in(&listed).await?;
        // Mostly nothing is lacking, and then nothing is written.
        if dry_run || lacking.is_empty() {
            return Ok(lacking);
        }
        let repairs = self.store.bring_in(listed).await?;
        for repair in &repairs {
            metrics::counter!("athos_reconcile_repaired_total").increment(1);
            tracing::warn!(
                call = repair.call_id,
                cause = repair.cause.as_str(),
                "reconciliation brings in a call whose webhook did not do it"
            );
        }
        Ok(repairs)
    }

    /// Runs at once and then every `every`, until `shutdown`. A run that is cut short counts as none.
    pub async fn run(self: Arc<Self>, every: Duration, shutdown: CancellationToken) {
        let rounds = async {
            loop {
                let wait = match self.run_once().await {
                    Ok(Ended::Held(until)) => {
                        let wait = until.since(self.clock.now());
                        wait.clamp(SOONEST_RETURN, every.max(SOONEST_RETURN))
                    }
                    Ok(_) => every,
                    Err(error) => {
                        count("failed");
                        tracing::error!(%error, "reconciliation cannot use the store; it tries again");
                        every
                    }
                };
                tokio::time::sleep(wait).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = rounds => {}
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("athos_reconcile_runs_total", "outcome" => outcome).increment(1);
}

/// The event that a webhook about this call would have been. Its key names the call and the score: a run that is
/// repeated adds nothing, a new score comes in.
fn as_event(call: &CallHeader, now: Timestamp) -> ListedCall {
    let body = types::write_event(call);
    let score = call
        .scored_at
        .map_or_else(|| "unknown".to_owned(), |at| at.as_millis().to_string());
    ListedCall {
        id: call.id.clone(),
        scored_at: call.scored_at,
        event: NewEvent {
            webhook_id: format!("reconcile:{}:{score}", call.id),
            received_at: now,
            signed_at_secs: now.as_secs(),
            // Nobody signed it; it came over our own connection to Athos.
            secret: String::new(),
            said: types::read_event(&body).map_err(|why| why.to_string()),
            body,
        },
    }
}
