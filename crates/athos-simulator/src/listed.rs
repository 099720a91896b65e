//! Scored calls in the order of their lists, one list for each source.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::call::Source;
use super::cursor::Place;
use athos_api::Timestamp;

/// Where the scored calls stand.
#[derive(Debug, Default)]
pub(super) struct Scored {
    roleplays: BTreeSet<Place>,
    real_calls: BTreeSet<Place>,
}

/// Which part of a list is wanted.
pub(super) struct Wanted {
    pub(super) source: Source,
    pub(super) from: Timestamp,
    pub(super) to: Option<Timestamp>,
    /// The place at which the page before ended.
    pub(super) after: Option<Place>,
}

impl Scored {
    pub(super) fn insert(&mut self, source: Source, place: Place) {
        match source {
            Source::Roleplay => self.roleplays.insert(place),
            Source::RealCall => self.real_calls.insert(place),
        };
    }

    /// What is wanted, newest first. Both ends of the window belong to it.
    pub(super) fn newest_first(&self, wanted: &Wanted) -> impl Iterator<Item = &Place> {
        let places = match wanted.source {
            Source::Roleplay => &self.roleplays,
            Source::RealCall => &self.real_calls,
        };
        let first = Place::first_at(wanted.from);
        let last = wanted.to.map(Place::last_at);
        let end = match (wanted.after, last) {
            (Some(after), Some(last)) if after > last => Bound::Included(last),
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(last)) => Bound::Included(last),
            (None, None) => Bound::Unbounded,
        };
        // A range that ends before it begins would panic; it is empty.
        let is_empty = match end {
            Bound::Included(end) => end < first,
            Bound::Excluded(end) => end <= first,
            Bound::Unbounded => false,
        };
        let range = (!is_empty).then(|| places.range((Bound::Included(first), end)));
        range.into_iter().flatten().rev()
    }
}
