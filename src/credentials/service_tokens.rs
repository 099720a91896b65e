//! How the keys of other backends are used: each use, and each attempt at something that a key may not do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::usage::Record;
use crate::clock::Clock;
use crate::model::{Credential, CredentialKind, ServiceKey};

/// The current keys, each with its record, in the order of the configuration.
pub struct ServiceTokens {
    records: Mutex<Vec<(ServiceKey, Arc<Record>)>>,
    clock: Clock,
}

impl ServiceTokens {
    pub(super) fn new(keys: &[ServiceKey], clock: Clock) -> Self {
        let tokens = Self {
            records: Mutex::default(),
            clock,
        };
        tokens.replace(keys);
        tokens
    }

    /// Records the use of these keys from now on, and of no others.
    pub(super) fn replace(&self, keys: &[ServiceKey]) {
        let known = self.list();
        let now = self.clock.now();
        let record = |key: &ServiceKey| {
            let (kind, fingerprint) = (CredentialKind::ServiceToken, key.fingerprint.clone());
            let record = Record::new(kind, fingerprint, Some(&key.name), now);
            let before: Vec<_> = known.iter().map(|(_, life)| life.clone()).collect();
            record.remember(&before);
            (key.clone(), Arc::new(record))
        };
        *self.records() = keys.iter().map(record).collect();
    }

    /// A key was good for what it was shown for.
    pub(crate) fn used(&self, key: &ServiceKey) {
        if let Some(record) = self.of(key) {
            record.used(self.clock.now());
        }
    }

    /// A key was shown for something that it may not do.
    pub(crate) fn refused(&self, key: &ServiceKey, code: &str) {
        if let Some(record) = self.of(key) {
            record.refused(self.clock.now(), code);
        }
    }

    /// Sets the gauges of their last uses.
    pub(super) fn measure(&self) {
        self.records()
            .iter()
            .for_each(|(_, record)| record.measure());
    }

    /// Merges their earlier usage.
    pub(super) fn remember(&self, before: &[Credential]) {
        for (_, record) in &*self.records() {
            record.remember(before);
        }
    }

    /// The current keys, and how each is used.
    pub fn list(&self) -> Vec<(ServiceKey, Credential)> {
        let records = self.records();
        let one = |(key, record): &(ServiceKey, Arc<Record>)| (key.clone(), record.now());
        records.iter().map(one).collect()
    }

    fn of(&self, key: &ServiceKey) -> Option<Arc<Record>> {
        let records = self.records();
        let found = records
            .iter()
            .find(|(known, _)| known.fingerprint == key.fingerprint);
        found.map(|(_, record)| Arc::clone(record))
    }

    fn records(&self) -> MutexGuard<'_, Vec<(ServiceKey, Arc<Record>)>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
