//! Remembers what Athos sends that no document mentions, until somebody writes it down. What is known stands in
//! `types/known.rs`; nothing here does IO, and a body with nothing new costs a comparison of its names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::string_enum;

/// What kind of name is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriftKind {
    /// Of a field.
    Field,
    /// Of an error or of a reason.
    Code,
    /// Of an event.
    Event,
    /// Of where calls come from.
    Source,
    /// Of who speaks.
    Role,
}

string_enum!(DriftKind, "kind of name", {
    Field: "field",
    Code: "code",
    Event: "event",
    Source: "source",
    Role: "role",
});

/// Something new, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drift {
    /// What kind of name it is.
    pub kind: DriftKind,
    /// Where it stood: `webhook`, `call`, `score`, …
    pub place: String,
    /// The name, when it is a plain one; it goes to the log.
    pub name: String,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_str();
        write!(f, "the {kind} {} ({})", self.name, self.place)
    }
}

/// Most names taken from one body, and most that are held at a time: whoever sends more has said enough.
pub(super) const MAX_NAMES_PER_BODY: usize = 20;
const MAX_PENDING_NAMES: usize = 200;

/// How many bodies had each new name, since they were last taken.
#[derive(Debug, Default)]
pub struct DriftWatch(Mutex<BTreeMap<Drift, u64>>);

impl DriftWatch {
    /// One body's new names.
    pub(super) fn note(&self, found: BTreeSet<Drift>) {
        if !found.is_empty() {
            self.add(found.into_iter().map(|drift| (drift, 1)));
        }
    }

    /// Hands out what is held, and forgets it.
    #[must_use]
    pub fn take(&self) -> Vec<(Drift, u64)> {
        std::mem::take(&mut *self.held()).into_iter().collect()
    }

    /// Takes back what could not be written.
    pub fn give_back(&self, taken: Vec<(Drift, u64)>) {
        self.add(taken);
    }

    fn add(&self, counted: impl IntoIterator<Item = (Drift, u64)>) {
        let mut held = self.held();
        for (drift, count) in counted {
            if let Some(before) = held.get_mut(&drift) {
                *before += count;
            } else if held.len() < MAX_PENDING_NAMES {
                held.insert(drift, count);
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Drift, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
