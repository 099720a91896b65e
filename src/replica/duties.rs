//! The duties that this process has tasks for, and the terms in which it leads some of them.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::model::Timestamp;
use crate::store::{Duty, SharedStore, TERM_LASTS, Term};
use crate::telemetry::metric;

/// Each duty that a task waits for or does, with the term if this process leads it.
type Terms = BTreeMap<Duty, Option<Held>>;

#[derive(Clone)]
struct Held {
    term: Term,
    /// When it ends unless it is renewed, by this process's clock; after that, another replica may have taken the duty.
    until: Timestamp,
}

/// A duty that this replica leads.
pub struct Lead {
    /// The store to write through: it refuses what is written after another replica has taken the duty.
    pub store: SharedStore,
    /// None where nobody else can take it.
    term: Option<Term>,
    terms: watch::Receiver<Terms>,
}

/// The duties of this process.
pub(super) struct Duties {
    terms: watch::Sender<Terms>,
    clock: Clock,
}

impl Duties {
    /// None yet.
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            terms: watch::Sender::default(),
            clock: clock.clone(),
        }
    }

    /// Notes that a task wants to do it; whether it is the first to say so.
    pub(super) fn add(&self, duty: Duty) -> bool {
        self.terms.send_if_modified(|terms| {
            let is_new = !terms.contains_key(&duty);
            terms.entry(duty).or_default();
            is_new
        })
    }

    pub(super) fn all(&self) -> Vec<Duty> {
        self.terms.borrow().keys().copied().collect()
    }

    pub(super) fn not_led(&self) -> Vec<Duty> {
        let terms = self.terms.borrow();
        let missing = terms.iter().filter(|(_, held)| held.is_none());
        missing.map(|(duty, _)| *duty).collect()
    }

    pub(super) fn terms(&self) -> Vec<Term> {
        let terms = self.terms.borrow();
        let held = terms.values().flatten();
        held.map(|held| held.term.clone()).collect()
    }

    /// The lead of a process that is alone.
    pub(super) fn lead_alone(&self, store: &SharedStore) -> Lead {
        Lead {
            store: Arc::clone(store),
            term: None,
            terms: self.terms.subscribe(),
        }
    }

    /// Returns once this process leads the duty.
    pub(super) async fn lead(&self, duty: Duty, store: &SharedStore) -> Lead {
        let mut terms = self.terms.subscribe();
        let term_of = |terms: &Terms| {
            let held = terms.get(&duty)?.as_ref()?;
            (self.clock.now() < held.until).then(|| held.term.clone())
        };
        loop {
            let Ok(now) = terms.wait_for(|terms| term_of(terms).is_some()).await else {
                return pending().await;
            };
            // None if it has expired just now.
            let Some(term) = term_of(&now) else { continue };
            drop(now);
            return Lead {
                store: store.led_by(term.clone()),
                term: Some(term),
                terms,
            };
        }
    }

    /// This process has become the leader, at `now`.
    pub(super) fn took(&self, term: Term, now: Timestamp) {
        let duty = term.duty.as_str();
        tracing::info!(
            duty,
            term = term.number,
            "this replica became the leader of a duty"
        );
        metrics::gauge!(metric::LEADS, "duty" => duty).set(1.0);
        let until = now.plus(TERM_LASTS);
        self.terms.send_modify(|terms| {
            terms.insert(term.duty, Some(Held { term, until }));
        });
    }

    /// These were renewed at `now`; all others are another's.
    pub(super) fn renewed(&self, renewed: &[Term], now: Timestamp) {
        self.end(|term| !renewed.contains(term), "another replica took it");
        let until = now.plus(TERM_LASTS);
        self.terms.send_modify(|terms| {
            let held = terms.values_mut().flatten();
            held.for_each(|held| held.until = until);
        });
    }

    /// Leads nothing any more; whether it has led anything.
    pub(super) fn end_all(&self, why: &str) -> bool {
        self.end(|_| true, why)
    }

    fn end(&self, is_over: impl Fn(&Term) -> bool, why: &str) -> bool {
        self.terms.send_if_modified(|terms| {
            let mut any = false;
            for held in terms.values_mut() {
                if let Some(Held { term, .. }) = held.take_if(|held| is_over(&held.term)) {
                    let duty = term.duty.as_str();
                    tracing::info!(
                        duty,
                        term = term.number,
                        "this replica is no longer the leader of a duty: {why}"
                    );
                    metrics::gauge!(metric::LEADS, "duty" => duty).set(0.0);
                    any = true;
                }
            }
            any
        })
    }
}

impl Lead {
    /// Returns after this time, or as soon as the replica does not lead the duty any more.
    pub async fn wait(&mut self, time: Duration) {
        let _ = tokio::time::timeout(time, self.ended()).await;
    }

    async fn ended(&mut self) {
        let Some(term) = &self.term else {
            return pending().await;
        };
        let is_over = |terms: &Terms| {
            let held = terms.get(&term.duty).and_then(Option::as_ref);
            held.is_none_or(|held| held.term != *term)
        };
        // Without the replica there is nobody to lead.
        let _ = self.terms.wait_for(is_over).await;
    }
}
