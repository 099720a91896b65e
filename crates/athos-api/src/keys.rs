//! The key ring: the API keys in force, the order in which requests try them, and what Athos last said to each. It sends
//! nothing, and tells keys apart by fingerprint.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::error::{Class, Error, QUOTA, Refusal};
use super::observer::Observer;
use crate::signature::fingerprint;

/// The API keys in force, in the order of the configuration. They can be replaced while requests are under way.
pub(super) struct KeyRing {
    keys: RwLock<Vec<Arc<ApiKey>>>,
    observer: Arc<dyn Observer>,
}

/// What Athos says to an API key, since the keys were last replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyState {
    /// Nothing yet: another one is used first.
    #[default]
    Untried,
    /// It is accepted.
    Ok,
    /// It is refused; the others are tried first.
    Refused,
}

/// An API key has a character that no header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key has a character that no HTTP header can carry")]
pub struct InvalidKey;

/// One key, and what has become of it.
pub(super) struct ApiKey {
    secret: SecretString,
    authorization: HeaderValue,
    fingerprint: String,
    state: Mutex<KeyState>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.current().iter().map(|key| &key.fingerprint))
            .finish()
    }
}

impl KeyRing {
    /// A ring of `secrets`, none of which has been tried.
    ///
    /// # Errors
    /// When a key has bytes that no header can carry.
    pub(super) fn new(
        secrets: &[SecretString],
        observer: Arc<dyn Observer>,
    ) -> Result<Self, InvalidKey> {
        let ring = Self {
            keys: RwLock::default(),
            observer,
        };
        ring.replace(secrets)?;
        Ok(ring)
    }

    /// Puts `secrets` in force instead, and forgets refusals: those keys are worth a try again. A request under way goes on
    /// with the keys it began with.
    ///
    /// # Errors
    /// When a key has bytes that no header can carry; the ring is as it was.
    pub(super) fn replace(&self, secrets: &[SecretString]) -> Result<(), InvalidKey> {
        let before = self.list();
        let mut keys: Vec<Arc<ApiKey>> = Vec::new();
        for secret in secrets {
            let key = ApiKey::new(secret)?;
            if before.contains(&(key.fingerprint.clone(), KeyState::Ok)) {
                *key.state() = KeyState::Ok;
            }
            if keys
                .iter()
                .all(|other| other.fingerprint != key.fingerprint)
            {
                keys.push(Arc::new(key));
            }
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn current(&self) -> Vec<Arc<ApiKey>> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The keys in the order to try them: as configured, those that Athos refuses last. A key that was revoked is left
    /// alone while another one works, and is tried again when none does.
    pub(super) fn in_order(&self) -> Vec<Arc<ApiKey>> {
        let mut keys = self.current();
        keys.sort_by_key(|key| *key.state() == KeyState::Refused);
        keys
    }

    /// The keys in force by fingerprint, in the order of the configuration, and what Athos says to each.
    pub(super) fn list(&self) -> Vec<(String, KeyState)> {
        let keys = self.current();
        keys.iter()
            .map(|key| (key.fingerprint.clone(), *key.state()))
            .collect()
    }

    /// Takes note of an answer that shows the key to be good.
    pub(super) fn accepted(&self, key: &ApiKey) {
        self.observer.key_accepted(&key.fingerprint);
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
                self.observer.key_refused(&key.fingerprint, &refusal.code);
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
    fn new(secret: &SecretString) -> Result<Self, InvalidKey> {
        let bearer = format!("Bearer {}", secret.expose_secret());
        let mut authorization = HeaderValue::try_from(bearer).map_err(|_| InvalidKey)?;
        authorization.set_sensitive(true);
        let fingerprint = fingerprint(secret);
        Ok(Self {
            secret: secret.clone(),
            authorization,
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
