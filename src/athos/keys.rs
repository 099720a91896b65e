//! The key ring: the API keys in force, the order in which requests try them, and what Athos last said to each. It sends
//! nothing, and tells keys apart by fingerprint.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::error::{Class, Error, QUOTA, Refusal};
use super::record::Record;
use super::signature::fingerprint;
use crate::clock::Clock;
use crate::in_force::InForce;
use crate::model::{Credential, CredentialKind, KeyState};

/// The API keys in force, in the order of the configuration. They can be replaced while requests are under way.
pub(super) struct KeyRing {
    keys: InForce<Vec<Arc<ApiKey>>>,
    clock: Clock,
}

/// One key, and what has become of it.
pub(super) struct ApiKey {
    secret: SecretString,
    authorization: HeaderValue,
    fingerprint: String,
    state: Mutex<KeyState>,
    record: Record,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.get().iter().map(|key| &key.fingerprint))
            .finish()
    }
}

impl KeyRing {
    /// A ring of `secrets`, none of which has been tried.
    ///
    /// # Errors
    /// When a key has bytes that no header can carry.
    pub(super) fn new(secrets: &[SecretString], clock: Clock) -> anyhow::Result<Self> {
        let ring = Self {
            keys: InForce::new(Vec::new()),
            clock,
        };
        ring.replace(secrets)?;
        Ok(ring)
    }

    /// Puts `secrets` in force instead, and forgets refusals: those keys are worth a try again. A request under way goes on
    /// with the keys it began with.
    ///
    /// # Errors
    /// When a key has bytes that no header can carry; the ring is as it was.
    pub(super) fn replace(&self, secrets: &[SecretString]) -> anyhow::Result<()> {
        let (known, states): (Vec<_>, Vec<_>) = self.list().into_iter().unzip();
        let is_good = |key: &ApiKey| {
            let mut before = known.iter().zip(&states);
            before.any(|(it, state)| it.fingerprint == key.fingerprint && *state == KeyState::Ok)
        };
        let mut keys: Vec<Arc<ApiKey>> = Vec::new();
        for secret in secrets {
            let key = ApiKey::new(secret, &self.clock)?;
            if is_good(&key) {
                *key.state() = KeyState::Ok;
            }
            if keys
                .iter()
                .all(|other| other.fingerprint != key.fingerprint)
            {
                key.record.remember(&known);
                keys.push(Arc::new(key));
            }
        }
        self.keys.replace(keys);
        Ok(())
    }

    /// The keys in the order to try them: as configured, those that Athos refuses last. A key that was revoked is left
    /// alone while another one works, and is tried again when none does.
    pub(super) fn in_order(&self) -> Vec<Arc<ApiKey>> {
        let mut keys = self.keys.get().to_vec();
        keys.sort_by_key(|key| *key.state() == KeyState::Refused);
        keys
    }

    /// The keys in force, in the order of the configuration, and what Athos says to each.
    pub(super) fn list(&self) -> Vec<(Credential, KeyState)> {
        let keys = self.keys.get();
        keys.iter()
            .map(|key| (key.record.now(), *key.state()))
            .collect()
    }

    /// Takes over what is known of them from before.
    pub(super) fn remember(&self, before: &[Credential]) {
        for key in &*self.keys.get() {
            key.record.remember(before);
        }
    }

    /// Takes note of an answer that shows the key to be good.
    pub(super) fn accepted(&self, key: &ApiKey) {
        key.record.used(self.clock.now());
        if std::mem::replace(&mut *key.state(), KeyState::Ok) == KeyState::Refused {
            tracing::info!(key = key.fingerprint, "Athos accepts an API key again");
        }
    }

    /// Takes note of a refusal, and says whether another key may fare better.
    pub(super) fn refused(&self, key: &ApiKey, refusal: &Refusal) -> bool {
        match Error::Refused(refusal.clone()).class() {
            // It says nothing about the key.
            Class::Transient { .. } => {}
            Class::KeyFault if refusal.code != QUOTA => {
                key.record.refused(self.clock.now(), &refusal.code);
                let before = std::mem::replace(&mut *key.state(), KeyState::Refused);
                // Once, not with every request.
                if before != KeyState::Refused {
                    tracing::warn!(
                        key = key.fingerprint,
                        code = refusal.code,
                        athos_request_id = refusal.request_id,
                        "Athos refused an API key"
                    );
                }
            }
            Class::KeyFault | Class::NotFound | Class::Permanent => self.accepted(key),
        }
        refusal.status == 401
    }
}

impl ApiKey {
    fn new(secret: &SecretString, clock: &Clock) -> anyhow::Result<Self> {
        let bearer = format!("Bearer {}", secret.expose_secret());
        let mut authorization = HeaderValue::try_from(bearer)
            .map_err(|_| anyhow::anyhow!("ATHOS_API_KEY holds a character no header can carry"))?;
        authorization.set_sensitive(true);
        let fingerprint = fingerprint(secret);
        Ok(Self {
            secret: secret.clone(),
            authorization,
            record: Record::new(CredentialKind::ApiKey, fingerprint.clone(), clock.now()),
            fingerprint,
            state: Mutex::default(),
        })
    }

    pub(super) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// `text` without this key, whoever put it there.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(self.secret.expose_secret(), "[redacted]")
    }

    fn state(&self) -> MutexGuard<'_, KeyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
