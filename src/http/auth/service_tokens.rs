//! Bearer tokens of other backends. Only their digests are kept, and all of them are compared, each in constant time.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::model::ServiceKey;

/// Shortest text that may be meant as a token, in bytes; half of the length that `serve` warns below.
const SHORTEST_BYTES: usize = 16;

/// A secret, as its digest: all have one length, and the secret itself cannot leak.
pub(super) struct SecretDigest([u8; 32]);

impl SecretDigest {
    pub(super) fn new(secret: &SecretString) -> Self {
        Self::of(secret.expose_secret())
    }

    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.equals(&Self::of(text)).into()
    }

    fn equals(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// The tokens, each with its key.
pub(super) struct ServiceTokens(Vec<(SecretDigest, Arc<ServiceKey>)>);

impl ServiceTokens {
    pub(super) fn new(keys: Vec<(ServiceKey, SecretString)>) -> Self {
        let known = |(key, token)| (SecretDigest::new(&token), Arc::new(key));
        Self(keys.into_iter().map(known).collect())
    }

    pub(super) fn find(&self, token: &str) -> Option<&Arc<ServiceKey>> {
        let token = SecretDigest::of(token);
        let mut found = None;
        for (known, key) in &self.0 {
            if known.equals(&token).into() {
                found = Some(key);
            }
        }
        found
    }

    /// Whether a token that is none of these may be meant as one: a former one, or one with a mistake. Words that scripts
    /// send which have no token (`undefined`, `YOUR_ACCESS_TOKEN`, `{{token}}`) are not: nobody makes a secret of words.
    pub(super) fn may_contain(&self, token: &str) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        let is_random = token.len() >= SHORTEST_BYTES
            && token.bytes().all(is_plain)
            && token.bytes().any(|byte| byte.is_ascii_digit());
        !self.0.is_empty() && is_random
    }

    /// Whether a key was given the metrics by name.
    pub(super) fn guard_metrics(&self) -> bool {
        use crate::model::KeyScope::Metrics;
        let mut keys = self.0.iter().map(|(_, key)| key);
        keys.any(|key| key.is_named && key.scopes.has(Metrics))
    }
}
