//! The current webhook secrets: verifies deliveries with them, and records which one Athos signs with.

use std::fmt;

use secrecy::SecretString;

use super::doctor_check::is_doctor_check;
use super::usage::Record;
use crate::clock::Clock;
use crate::model::{Credential, CredentialKind, Timestamp};
use crate::reloadable::Reloadable;
use athos_api::signature::{Verdict, Verifier, fingerprint};

/// The secrets, which can be replaced at any time.
pub struct WebhookSecrets {
    secrets: Reloadable<Secrets>,
    clock: Clock,
}

struct Secrets {
    verifier: Verifier,
    records: Vec<(String, Record)>,
}

impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.secrets.get().verifier.fmt(f)
    }
}

impl WebhookSecrets {
    /// Starts with `secrets`.
    #[must_use]
    pub fn new(secrets: &[SecretString], clock: Clock) -> Self {
        Self {
            secrets: Reloadable::new(Secrets::new(secrets, clock.now())),
            clock,
        }
    }

    /// Verifies one delivery over its raw bytes, as [`Verifier::verify`] does. A delivery of `doctor` is not recorded: it
    /// does not show which secret Athos uses.
    #[must_use]
    pub fn verify(&self, header: Option<&str>, body: &[u8], now: Timestamp) -> Verdict {
        let secrets = self.secrets.get();
        let verdict = secrets.verifier.verify(header, body, now);
        if let Verdict::Valid { secret, .. } = &verdict
            && let Some((_, record)) = secrets.records.iter().find(|(name, _)| name == secret)
            && !is_doctor_check(body)
        {
            record.used(now);
        }
        verdict
    }

    /// Replaces the secrets. A delivery that is being verified keeps the earlier ones.
    pub fn replace(&self, secrets: &[SecretString]) {
        let new = Secrets::new(secrets, self.clock.now());
        let known = self.list();
        new.records
            .iter()
            .for_each(|(_, record)| record.remember(&known));
        self.secrets.replace(new);
    }

    /// Merges their earlier usage.
    pub fn remember(&self, before: &[Credential]) {
        for (_, record) in &self.secrets.get().records {
            record.remember(before);
        }
    }

    /// Sets the gauges of their last uses.
    pub(super) fn measure(&self) {
        let secrets = self.secrets.get();
        secrets
            .records
            .iter()
            .for_each(|(_, record)| record.measure());
    }

    /// The usage of the current secrets, in the order of the configuration.
    #[must_use]
    pub fn list(&self) -> Vec<Credential> {
        let secrets = self.secrets.get();
        secrets
            .records
            .iter()
            .map(|(_, record)| record.now())
            .collect()
    }
}

impl Secrets {
    fn new(secrets: &[SecretString], now: Timestamp) -> Self {
        let mut records: Vec<(String, Record)> = Vec::new();
        for name in secrets.iter().map(fingerprint) {
            if records.iter().all(|(known, _)| *known != name) {
                let record = Record::new(CredentialKind::WebhookSecret, name.clone(), None, now);
                records.push((name, record));
            }
        }
        Self {
            verifier: Verifier::new(secrets),
            records,
        }
    }
}
