//! Why the last write failed, for whoever asks whether the store can be used.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::StoreError;

/// Why the last write failed, until one succeeds. Damage stays: a damaged database does not mend because another page of it
/// could be written.
#[derive(Default)]
pub(in crate::store) struct Trouble(Mutex<Option<StoreError>>);

impl Trouble {
    pub(super) fn begin(&self, error: &StoreError) {
        let mut trouble = lock(&self.0);
        if !matches!(*trouble, Some(StoreError::Damaged(_))) {
            *trouble = Some(error.clone());
        }
    }

    pub(super) fn end(&self) {
        let mut trouble = lock(&self.0);
        if !matches!(*trouble, Some(StoreError::Damaged(_))) {
            *trouble = None;
        }
    }

    /// Takes note of an error of a read, when it will not pass by itself.
    pub(super) fn note(&self, error: &StoreError) {
        if matches!(error, StoreError::Damaged(_)) {
            self.begin(error);
        }
    }

    pub(super) fn current(&self) -> Option<StoreError> {
        lock(&self.0).clone()
    }
}

pub(in crate::store) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
