//! Bearer tokens of other backends. Only their digests are kept, and all of them are compared, each in constant time.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The tokens, as digests: what is compared has one length, and what could leak is not the token.
pub(super) struct ServiceTokens(Vec<[u8; 32]>);

impl ServiceTokens {
    pub(super) fn new(tokens: &[SecretString]) -> Self {
        Self(
            tokens
                .iter()
                .map(|token| digest(token.expose_secret()))
                .collect(),
        )
    }

    pub(super) fn contain(&self, token: &str) -> bool {
        let token = digest(token);
        let none = Choice::from(0);
        let found = self
            .0
            .iter()
            .fold(none, |found, known| found | known.ct_eq(&token));
        found.into()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
