//! Limits live streams, in all, since requests need connections too, and for each person.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::PlatformId;

/// Most streams of one person: one for each tab, in more than one browser.
const MAX_STREAMS_PER_USER: usize = 32;

/// Hands out permits for live streams.
#[derive(Debug)]
pub(super) struct StreamLimiter {
    all: Arc<Semaphore>,
    taken: Mutex<HashMap<PlatformId, usize>>,
}

impl StreamLimiter {
    /// With this many permits in all.
    #[must_use]
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(count)),
            taken: Mutex::default(),
        })
    }

    /// Takes a permit, if one is free. Other backends have no limit of their own.
    pub(super) fn take(self: &Arc<Self>, person: Option<&PlatformId>) -> Option<StreamPermit> {
        let one_of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        if let Some(person) = person {
            let mut taken = self.taken();
            let count = taken.entry(person.clone()).or_default();
            if *count >= MAX_STREAMS_PER_USER {
                return None;
            }
            *count += 1;
        }
        Some(StreamPermit {
            places: Arc::clone(self),
            person: person.cloned(),
            _one_of_all: one_of_all,
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<PlatformId, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A permit; dropped, it is free again.
#[derive(Debug)]
pub(super) struct StreamPermit {
    places: Arc<StreamLimiter>,
    person: Option<PlatformId>,
    _one_of_all: OwnedSemaphorePermit,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let Some(person) = &self.person else { return };
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(person) {
            *count -= 1;
            if *count == 0 {
                taken.remove(person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places_but_other_backends_and_each_is_free_again_after_use() {
        let places = StreamLimiter::new(MAX_STREAMS_PER_USER + 2);
        let [rep_1, rep_2] = ["rep_1", "rep_2"].map(|id| PlatformId::new(id).unwrap());
        let mut held: Vec<_> = (0..MAX_STREAMS_PER_USER)
            .map(|_| places.take(Some(&rep_1)).unwrap())
            .collect();
        assert!(places.take(Some(&rep_1)).is_none());
        let other = places.take(Some(&rep_2)).unwrap();
        held.pop();
        held.push(places.take(Some(&rep_1)).unwrap());
        let service = places.take(None).unwrap();
        assert!(places.take(Some(&rep_2)).is_none(), "none are left");
        drop((held, other, service));
        assert!(places.taken().is_empty());
        let all: Vec<_> = (0..MAX_STREAMS_PER_USER + 2)
            .map(|_| places.take(None))
            .collect();
        assert!(all.iter().all(Option::is_some));
    }
}
