//! Counts names in Athos's payloads that the contract does not mention, until the caller stores the counts. The known
//! names are in `types/known.rs`; nothing here does IO.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::string_enum;

/// The kind of an unknown name.
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

/// A name that the contract does not mention.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drift {
    /// What kind of name it is.
    pub kind: DriftKind,
    /// The kind of object it is in: `webhook`, `call`, `score`, …
    pub place: String,
    /// The name, or a placeholder when it is not safe to log.
    pub name: String,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_str();
        write!(f, "the {kind} {} ({})", self.name, self.place)
    }
}

/// Most names taken from one body, and most that are held at a time.
pub(super) const MAX_NAMES_PER_BODY: usize = 20;
const MAX_PENDING_NAMES: usize = 200;

/// How many bodies had each unknown name since the counts were last taken.
#[derive(Debug, Default)]
pub struct DriftWatch(Mutex<BTreeMap<Drift, u64>>);

impl DriftWatch {
    /// Adds the unknown names of one body.
    pub(super) fn note(&self, found: BTreeSet<Drift>) {
        if !found.is_empty() {
            self.add(found.into_iter().map(|drift| (drift, 1)));
        }
    }

    /// Takes the counts, and starts again from zero.
    #[must_use]
    pub fn take(&self) -> Vec<(Drift, u64)> {
        std::mem::take(&mut *self.held()).into_iter().collect()
    }

    /// Puts back counts that could not be stored.
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
