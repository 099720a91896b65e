//! The key ring: the API keys in force, the order in which requests try them, and what Athos last said to each. It sends
//! nothing, and tells keys apart by fingerprint.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::error::{Class, Error, Refusal};
use super::signature::fingerprint;
use crate::clock::Clock;
use crate::model::Timestamp;

/// The code of a refusal that has nothing to do with the key.
const QUOTA: &str = "TENANT_QUOTA_EXCEEDED";

/// The API keys in force, in the order of the configuration.
pub(super) struct KeyRing {
    keys: Vec<Arc<ApiKey>>,
    clock: Clock,
}

/// One key, and what has become of it.
pub(super) struct ApiKey {
    secret: SecretString,
    authorization: HeaderValue,
    fingerprint: String,
    standing: Mutex<Standing>,
}

/// What Athos last said to a key.
#[derive(Clone, Debug, Default)]
struct Standing {
    last_used_at: Option<Timestamp>,
    /// The code of the last answer, when it refused the key.
    refused: Option<String>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.fingerprint))
            .finish()
    }
}

impl KeyRing {
    /// A ring of `secrets`, none of which has been tried.
    ///
    /// # Errors
    /// When a key has bytes that no header can carry.
    pub(super) fn new(secrets: &[SecretString], clock: Clock) -> anyhow::Result<Self> {
        let keys = secrets
            .iter()
            .map(|secret| Ok(Arc::new(ApiKey::new(secret)?)));
        let keys = keys.collect::<anyhow::Result<_>>()?;
        Ok(Self { keys, clock })
    }

    /// The keys in the order to try them: as configured, those that Athos refuses last. A key that was revoked is left
    /// alone while another one works, and is tried again when none does.
    pub(super) fn in_order(&self) -> Vec<Arc<ApiKey>> {
        let mut keys = self.keys.clone();
        keys.sort_by_key(|key| key.standing().refused.is_some());
        keys
    }

    /// Takes note of an answer that shows the key to be good.
    pub(super) fn accepted(&self, key: &ApiKey) {
        let mut standing = key.standing();
        standing.last_used_at = Some(self.clock.now());
        if standing.refused.take().is_some() {
            tracing::info!(key = key.fingerprint, "Athos accepts an API key again");
        }
    }

    /// Takes note of a refusal, and says whether another key may fare better.
    pub(super) fn refused(&self, key: &ApiKey, refusal: &Refusal) -> bool {
        match Error::Refused(refusal.clone()).class() {
            // It says nothing about the key.
            Class::Transient { .. } => {}
            Class::KeyFault if refusal.code != QUOTA => {
                let known = key.standing().refused.replace(refusal.code.clone());
                // Once, not with every request.
                if known.as_ref() != Some(&refusal.code) {
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
    fn new(secret: &SecretString) -> anyhow::Result<Self> {
        let bearer = format!("Bearer {}", secret.expose_secret());
        let mut authorization = HeaderValue::try_from(bearer)
            .map_err(|_| anyhow::anyhow!("ATHOS_API_KEY holds a character no header can carry"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            secret: secret.clone(),
            authorization,
            fingerprint: fingerprint(secret),
            standing: Mutex::default(),
        })
    }

    pub(super) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// `text` without this key, whoever put it there.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(self.secret.expose_secret(), "[redacted]")
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
