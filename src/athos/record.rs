//! The record of one credential while the process runs: who uses it says so here, whoever wants to know reads it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::{Counter, counter};

use crate::model::{Credential, CredentialKind, Timestamp};

/// Notes the uses and the refusals of one credential.
pub(super) struct Record {
    life: Mutex<Credential>,
    labels: [(&'static str, String); 2],
    /// Every delivery and every request counts here.
    uses: Counter,
}

impl Record {
    pub(super) fn new(kind: CredentialKind, fingerprint: String, now: Timestamp) -> Self {
        // Fingerprints are as many as the credentials of an operator, and bound these metrics.
        let labels = [
            ("kind", kind.as_str().to_owned()),
            ("fingerprint", fingerprint.clone()),
        ];
        Self {
            uses: counter!("athos_credential_uses_total", &labels),
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
        counter!("athos_credential_refusals_total", &self.labels).increment(1);
        let mut life = self.life();
        life.last_refused_at = Some(now);
        life.last_code = Some(code.to_owned());
    }

    /// Takes over what is known from before, if this credential is among those.
    pub(super) fn remember(&self, before: &[Credential]) {
        let mut life = self.life();
        let same =
            |known: &&Credential| known.kind == life.kind && known.fingerprint == life.fingerprint;
        if let Some(known) = before.iter().find(same) {
            life.remember(known);
        }
    }

    pub(super) fn now(&self) -> Credential {
        self.life().clone()
    }

    fn life(&self) -> MutexGuard<'_, Credential> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
