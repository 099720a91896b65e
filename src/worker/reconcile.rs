//! Finds calls whose webhook never came: lists an overlapping window of one source again and again, and puts missing calls
//! into the inbox, like webhooks. It only lists; the worker fetches.

mod report;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::circuit_breaker::CircuitBreaker;
use crate::clock::Clock;
use crate::model::{CallHeader, Source, Timestamp};
use crate::replica::Replica;
use crate::store::{
    Duty, ListedCall, NewEvent, NewRun, RecoveredCall, RunEnd, SharedStore, StoreError, StoreResult,
};
use crate::telemetry::metric;
use athos_api::{self as athos, CallListPage, ListQuery, types};

pub use report::{PageProgress, RunOptions, RunOutcome, RunStats, SourceConfig, Window};

/// How long after its scoring a call's webhook may still be on its way. Scheduled runs leave such calls to the next run, so
/// that a recovered call means a lost webhook.
const WEBHOOK_GRACE: Duration = Duration::from_secs(30);
/// How far Athos's clock may be ahead before ours counts as wrong: the tolerance of a webhook's signature.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5 * 60);
/// Most pages of one run: ten million calls. A list that never ends must not be read for ever.
const MAX_PAGES_PER_RUN: u32 = 100_000;
/// Shortest delay after a run that the circuit breaker refused.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Compares Athos's list of one source with the store. Each source has its own reconciler: the lists have different axes,
/// and one may fail while the other works.
pub struct Reconciler {
    store: SharedStore,
    athos: Arc<athos::Client>,
    breaker: Arc<CircuitBreaker>,
    clock: Clock,
    reading: SourceConfig,
    /// One run at a time.
    turn: Mutex<()>,
    /// Whether Athos refused the source, and that was logged.
    refused: AtomicBool,
}

/// Why the list was not read to its end.
enum BrokenOff {
    Failed(String),
    Refused(String),
}

impl Reconciler {
    /// A reconciler of one source.
    pub fn new(
        store: &SharedStore,
        athos: &Arc<athos::Client>,
        breaker: &Arc<CircuitBreaker>,
        clock: &Clock,
        reading: SourceConfig,
    ) -> Self {
        let reconciler = Self {
            store: Arc::clone(store),
            athos: Arc::clone(athos),
            breaker: Arc::clone(breaker),
            clock: clock.clone(),
            reading,
            turn: Mutex::new(()),
            refused: AtomicBool::new(false),
        };
        // Registered at the start, so that the first recovered call shows as an increase.
        reconciler.count_repairs(0);
        reconciler
    }

    /// The source whose list it reads.
    pub fn source(&self) -> Source {
        self.reading.source
    }

    /// Where a run that continues would look now: from the end of the last completed one, or from now if there was none,
    /// less the overlap.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next_window(&self) -> StoreResult<Window> {
        let now = self.clock.now();
        let until = self.store.reconciled_until(self.source()).await?;
        // A clock that was set back must not narrow the window.
        let until = until.map_or(now, |until| until.min(now));
        Ok(Window {
            from: until.minus(self.reading.overlap),
            to: now,
        })
    }

    /// A scheduled run: continues where the last completed one ended.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_once(&self) -> StoreResult<RunOutcome> {
        self.run_on(&self.store).await
    }

    async fn run_on(&self, store: &SharedStore) -> StoreResult<RunOutcome> {
        let _turn = self.turn.lock().await;
        let now = self.clock.now();
        let is_under_way = |call: &CallHeader| {
            let scored_at = call.scored_at;
            // With our clock far behind, every call would seem to be scored just now.
            scored_at.is_some_and(|at| {
                now.since(at) < WEBHOOK_GRACE && at.since(now) <= MAX_CLOCK_DIFFERENCE
            })
        };
        self.run_in_turn(store, RunOptions::default(), is_under_way, |_| {})
            .await
    }

    /// A run on request; `watch` is called for every page.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_asked(
        &self,
        asked: RunOptions,
        watch: impl FnMut(PageProgress<'_>) + Send,
    ) -> StoreResult<RunOutcome> {
        let _turn = self.turn.lock().await;
        self.run_in_turn(&self.store, asked, |_| false, watch).await
    }

    async fn run_in_turn(
        &self,
        store: &SharedStore,
        asked: RunOptions,
        leave_out: impl Fn(&CallHeader) -> bool + Send,
        watch: impl FnMut(PageProgress<'_>) + Send,
    ) -> StoreResult<RunOutcome> {
        let started_at = self.clock.now();
        let window = match asked.window {
            Some(window) => window,
            None => self.next_window().await?,
        };
        if let Err(outage) = self.breaker.permit_list(started_at) {
            self.count("held");
            return Ok(RunOutcome::Held(outage.until));
        }
        let id = if asked.dry_run {
            None
        } else {
            let run = NewRun {
                source: self.source(),
                continues: asked.window.is_none(),
                from: window.from,
                to: window.to,
                started_at,
            };
            let begun = store.begin_run(run).await;
            Some(begun.inspect_err(|_| self.breaker.probe_unused())?)
        };
        let mut tally = RunStats {
            window,
            pages: 0,
            seen: 0,
            repaired: 0,
            unreadable: 0,
            until: window.from.plus(self.reading.overlap),
        };
        let read = self
            .read_pages(store, &mut tally, asked, leave_out, watch)
            .await?;
        if let Some(id) = id {
            let end = RunEnd {
                finished_at: self.clock.now(),
                pages: tally.pages,
                seen: tally.seen,
                repaired: tally.repaired,
                error: read.as_ref().err().map(|why| why.as_str().to_owned()),
                until: (asked.window.is_none() && read.is_ok()).then_some(tally.until),
            };
            store.finish_run(id, end).await?;
        }
        let source = self.source().as_str();
        match read {
            Ok(()) => {
                self.count("completed");
                self.refused.store(false, Ordering::Relaxed);
                Ok(RunOutcome::Completed(tally))
            }
            Err(BrokenOff::Failed(reason)) => {
                self.count("failed");
                tracing::warn!(
                    source,
                    reason,
                    pages = tally.pages,
                    "reconciliation run failed; the next run reads this window again"
                );
                Ok(RunOutcome::Failed(tally, reason))
            }
            Err(BrokenOff::Refused(reason)) => {
                self.count("refused");
                if !self.refused.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        source,
                        reason,
                        "source is not reconciled: Athos refuses to list it; later runs ask again without logging"
                    );
                }
                Ok(RunOutcome::Refused(reason))
            }
        }
    }

    /// The error within is Athos's.
    async fn read_pages(
        &self,
        store: &SharedStore,
        tally: &mut RunStats,
        asked: RunOptions,
        leave_out: impl Fn(&CallHeader) -> bool + Send,
        mut watch: impl FnMut(PageProgress<'_>) + Send,
    ) -> StoreResult<Result<(), BrokenOff>> {
        let failed = |reason: String| Ok(Err(BrokenOff::Failed(reason)));
        let query = ListQuery {
            source: self.source(),
            from: tally.window.from,
            // Up to Athos's time, not ours.
            to: asked.window.map(|window| window.to),
        };
        let mut cursor: Option<String> = None;
        // Hashes, to detect a cycle: cursors can be long, and so can the list.
        let hasher = RandomState::new();
        let mut cursors: HashSet<u64> = HashSet::new();
        let mut foreign_page = None;
        loop {
            let page = match self.list_page(&query, cursor.as_deref()).await {
                Ok(page) => page,
                Err(error) if cursor.is_none() && self.is_refusal(&error) => {
                    return Ok(Err(BrokenOff::Refused(format!(
                        "Athos does not list {} for this account ({error}): take it out of SOURCES, or ask Athos for it",
                        self.source()
                    ))));
                }
                Err(error) => return failed(error.to_string()),
            };
            tally.pages += 1;
            if tally.pages == 1
                && let Some(latest) = page.calls.iter().filter_map(|call| self.place(call)).max()
            {
                tally.until = latest.min(tally.window.to);
            }
            tally.seen += u32::try_from(page.calls.len()).unwrap_or(u32::MAX);
            tally.unreadable += u32::try_from(page.unreadable).unwrap_or(u32::MAX);
            if page.calls.is_empty() && page.unreadable > 0 {
                foreign_page = foreign_page.or(Some(tally.pages));
            }
            let calls = page.calls.len();
            let repairs = self
                .repair(store, page.calls, asked.dry_run, &leave_out)
                .await?;
            tally.repaired += u32::try_from(repairs.len()).unwrap_or(u32::MAX);
            watch(PageProgress {
                page: tally.pages,
                calls,
                repairs: &repairs,
            });
            let next = match page.next_cursor {
                Ok(next) => next,
                Err(why) => return failed(format!("Athos's list breaks off: {why}")),
            };
            let Some(next) = next else {
                // The other rows were read.
                return match foreign_page {
                    None => Ok(Ok(())),
                    Some(page) => failed(format!("none of its rows on page {page} names a call")),
                };
            };
            if !cursors.insert(hasher.hash_one(&next)) {
                return failed("Athos's list led back to a page it gave before".to_owned());
            }
            if tally.pages >= MAX_PAGES_PER_RUN {
                return failed(format!(
                    "Athos's list has no end after {MAX_PAGES_PER_RUN} pages"
                ));
            }
            if let Some(outage) = self.breaker.account_outage() {
                return failed(format!(
                    "asking Athos is paused: {}",
                    outage.reason.unwrap_or_default()
                ));
            }
            cursor = Some(next);
        }
    }

    /// Where a call stands on the list's axis.
    fn place(&self, call: &CallHeader) -> Option<Timestamp> {
        match self.source() {
            Source::Roleplay => call.ended_at,
            Source::RealCall => call.started_at,
        }
    }

    /// Whether Athos has no such source for this account: generation `external` lists role-plays only.
    fn is_refusal(&self, error: &athos::Error) -> bool {
        self.source() != Source::Roleplay && error.is_invalid_request()
    }

    async fn list_page(
        &self,
        query: &ListQuery,
        cursor: Option<&str>,
    ) -> Result<CallListPage, athos::Error> {
        let page = self.athos.list_page(query, cursor).await;
        match &page {
            Ok(_) => self.breaker.list_succeeded(),
            Err(error) => self.breaker.list_failed(error, self.clock.now()),
        }
        page
    }

    async fn repair(
        &self,
        store: &SharedStore,
        calls: Vec<CallHeader>,
        dry_run: bool,
        leave_out: impl Fn(&CallHeader) -> bool,
    ) -> StoreResult<Vec<RecoveredCall>> {
        let now = self.clock.now();
        let listed: Vec<_> = calls
            .iter()
            .filter(|call| !leave_out(call))
            .map(|call| as_event(call, now))
            .collect();
        let lacking = store.find_missing_calls(&listed).await?;
        // Usually nothing is missing, and nothing is written.
        if dry_run || lacking.is_empty() {
            return Ok(lacking);
        }
        let repairs = store.ingest_missing(listed).await?;
        for repair in &repairs {
            self.count_repairs(1);
            tracing::warn!(
                call = repair.call_id,
                cause = repair.cause.as_str(),
                "reconciliation recovered a call that no webhook brought"
            );
        }
        Ok(repairs)
    }

    /// Runs at once and then every `every`, while `replica` leads the reconciliation of the source, until `shutdown`. An
    /// interrupted run is repeated.
    pub async fn run(
        self: Arc<Self>,
        every: Duration,
        replica: Arc<Replica>,
        shutdown: CancellationToken,
    ) {
        let duty = Duty::reconcile(self.source());
        let rounds = async {
            loop {
                let mut lead = replica.lead(duty).await;
                let wait = match self.run_on(&lead.store).await {
                    Ok(RunOutcome::Held(until)) => {
                        let wait = until.since(self.clock.now());
                        wait.clamp(MIN_RETRY_DELAY, every.max(MIN_RETRY_DELAY))
                    }
                    Ok(_) => every,
                    Err(StoreError::NotLeader) => {
                        let source = self.source().as_str();
                        tracing::info!(
                            source,
                            "another replica leads reconciliation now and repeats this run"
                        );
                        every
                    }
                    Err(error) => {
                        self.count("failed");
                        tracing::error!(%error, "reconciliation failed to read or write the store; it tries again");
                        every
                    }
                };
                lead.wait(wait).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = rounds => {}
        }
    }

    fn count(&self, outcome: &'static str) {
        let source = self.source().as_str();
        metrics::counter!(metric::RECONCILE_RUNS_TOTAL, "source" => source, "outcome" => outcome)
            .increment(1);
    }

    fn count_repairs(&self, repairs: u64) {
        let source = self.source().as_str();
        metrics::counter!(metric::RECONCILE_REPAIRED_TOTAL, "source" => source).increment(repairs);
    }
}

impl BrokenOff {
    fn as_str(&self) -> &str {
        match self {
            Self::Failed(reason) | Self::Refused(reason) => reason,
        }
    }
}

/// The event that the call's webhook should have been. Its key is made of call and score, so that a repeated run adds
/// nothing and a new score does.
fn as_event(call: &CallHeader, now: Timestamp) -> ListedCall {
    let body = types::write_event(call);
    let score = call
        .scored_at
        .map_or_else(|| "unknown".to_owned(), |at| at.as_millis().to_string());
    ListedCall {
        id: call.id.clone(),
        scored_at: call.scored_at,
        event: NewEvent {
            webhook_id: NewEvent::id_of_listed(&call.id, &score),
            received_at: now,
            signed_at_secs: now.as_secs(),
            // Not signed: it came over our own connection to Athos.
            secret: String::new(),
            parsed: types::read_event(&body).map_err(|why| why.to_string()),
            body,
        },
    }
}
