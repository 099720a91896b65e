//! The key ring: the current API keys, the order in which requests try them, and the state of each. It sends nothing, and
//! names keys by fingerprint.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::error::{Class, Error, QUOTA, Refusal};
use super::observer::Observer;
use crate::signature::fingerprint;

/// The current API keys, in the order of the configuration. They can be replaced while requests are under way.
pub(super) struct KeyRing {
    keys: RwLock<Vec<Arc<ApiKey>>>,
    observer: Arc<dyn Observer>,
}

/// The state of an API key since the keys were last replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyState {
    /// Not tried yet: another one is used first.
    #[default]
    Untried,
    /// Athos accepts it.
    Ok,
    /// Athos refuses it; the others are tried first.
    Refused,
}

/// An API key has a character that no header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key has a character that no HTTP header can carry")]
pub struct InvalidKey;

/// A key and its state.
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
    /// A ring of untried keys.
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

    /// Replaces the keys, and forgets refusals. Requests under way keep the keys they began with.
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

    /// The keys in the order to try them: as configured, refused ones last. So a revoked key is tried only when no other
    /// works.
    pub(super) fn in_order(&self) -> Vec<Arc<ApiKey>> {
        let mut keys = self.current();
        keys.sort_by_key(|key| *key.state() == KeyState::Refused);
        keys
    }

    /// The current keys by fingerprint, in the order of the configuration, each with its state.
    pub(super) fn list(&self) -> Vec<(String, KeyState)> {
        let keys = self.current();
        keys.iter()
            .map(|key| (key.fingerprint.clone(), *key.state()))
            .collect()
    }

    /// Records that Athos accepted the key.
    pub(super) fn accepted(&self, key: &ApiKey) {
        self.observer.key_accepted(&key.fingerprint);
        if std::mem::replace(&mut *key.state(), KeyState::Ok) == KeyState::Refused {
            tracing::info!(key = key.fingerprint, "Athos accepts an API key again");
        }
    }

    /// Records a refusal, and says whether to try another key.
    pub(super) fn refused(&self, key: &ApiKey, refusal: &Refusal) -> bool {
        match Error::Refused(refusal.clone()).class() {
            // The refusal is not about the key.
            Class::Transient { .. } => {}
            Class::KeyFault if refusal.code != QUOTA => {
                self.observer.key_refused(&key.fingerprint, &refusal.code);
                let before = std::mem::replace(&mut *key.state(), KeyState::Refused);
                // Log the change only, not every request.
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

    /// Cuts this key out of `text`.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(self.secret.expose_secret(), "[redacted]")
    }

    fn state(&self) -> MutexGuard<'_, KeyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
