//! How credentials are used while the process runs: each use and refusal is noted in memory and counted in metrics.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use athos_api::Observer;
use metrics::{Counter, counter, gauge};

use crate::clock::Clock;
use crate::model::{Credential, CredentialKind, Timestamp};
use crate::telemetry::metric;

/// Records the uses and refusals of one credential.
pub(super) struct Record {
    life: Mutex<Credential>,
    labels: Vec<(&'static str, String)>,
    /// Every delivery and every request counts here.
    uses: Counter,
}

impl Record {
    /// Starts without any. `name`: what it is called beside its fingerprint.
    pub(super) fn new(
        kind: CredentialKind,
        fingerprint: String,
        name: Option<&str>,
        now: Timestamp,
    ) -> Self {
        // There are as many fingerprints as configured credentials: few enough for a label.
        let mut labels = vec![
            ("kind", kind.as_str().to_owned()),
            ("fingerprint", fingerprint.clone()),
        ];
        labels.extend(name.map(|name| ("name", name.to_owned())));
        Self {
            uses: counter!(metric::CREDENTIAL_USES_TOTAL, &labels),
            labels,
            life: Mutex::new(Credential::new(kind, fingerprint, now)),
        }
    }

    pub(super) fn used(&self, now: Timestamp) {
        self.uses.increment(1);
        let mut life = self.life();
        life.last_used_at = life.last_used_at.max(Some(now));
    }

    pub(super) fn refused(&self, now: Timestamp, code: &str) {
        counter!(metric::CREDENTIAL_REFUSALS_TOTAL, &self.labels).increment(1);
        let mut life = self.life();
        life.last_refused_at = Some(now);
        life.last_code = Some(code.to_owned());
    }

    /// Merges the earlier usage of this credential, if it is in `before`.
    pub(super) fn remember(&self, before: &[Credential]) {
        let mut life = self.life();
        let same =
            |known: &&Credential| known.kind == life.kind && known.fingerprint == life.fingerprint;
        if let Some(known) = before.iter().find(same) {
            life.remember(known);
        }
    }

    /// Sets the gauge of its last use.
    pub(super) fn measure(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        let last_used = self
            .life()
            .last_used_at
            .map_or(0.0, |at| at.as_secs() as f64);
        gauge!(metric::CREDENTIAL_LAST_USED_TIMESTAMP_SECONDS, &self.labels).set(last_used);
    }

    pub(super) fn now(&self) -> Credential {
        self.life().clone()
    }

    fn life(&self) -> MutexGuard<'_, Credential> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the API keys are used, as the client of Athos reports it.
pub struct KeyUsage {
    records: Mutex<Vec<(String, Record)>>,
    clock: Clock,
}

impl KeyUsage {
    /// Starts without keys.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            records: Mutex::default(),
            clock,
        }
    }

    /// Records the use of these keys from now on, and of no others.
    pub(super) fn watch(&self, fingerprints: &[String]) {
        let mut records = self.records();
        records.retain(|(known, _)| fingerprints.contains(known));
        for name in fingerprints {
            if records.iter().all(|(known, _)| known != name) {
                let record =
                    Record::new(CredentialKind::ApiKey, name.clone(), None, self.clock.now());
                records.push((name.clone(), record));
            }
        }
    }

    /// Merges their earlier usage.
    pub(super) fn remember(&self, before: &[Credential]) {
        for (_, record) in &*self.records() {
            record.remember(before);
        }
    }

    /// Sets the gauges of their last uses.
    pub(super) fn measure(&self) {
        self.records()
            .iter()
            .for_each(|(_, record)| record.measure());
    }

    /// How one key is used.
    pub(super) fn of(&self, fingerprint: &str) -> Option<Credential> {
        self.with(fingerprint, Record::now)
    }

    fn with<T>(&self, fingerprint: &str, of: impl FnOnce(&Record) -> T) -> Option<T> {
        let records = self.records();
        let found = records.iter().find(|(known, _)| known == fingerprint);
        found.map(|(_, record)| of(record))
    }

    fn records(&self) -> MutexGuard<'_, Vec<(String, Record)>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyUsage").finish_non_exhaustive()
    }
}

impl Observer for KeyUsage {
    fn key_accepted(&self, fingerprint: &str) {
        self.with(fingerprint, |record| record.used(self.clock.now()));
    }

    fn key_refused(&self, fingerprint: &str, code: &str) {
        self.with(fingerprint, |record| {
            record.refused(self.clock.now(), code);
        });
    }
}
