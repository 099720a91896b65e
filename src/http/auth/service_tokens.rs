//! Bearer tokens of other backends. Only their digests are kept, and all of them are compared, each in constant time.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Shortest text that may be meant as a token, in bytes; half of the length that `serve` warns below.
const SHORTEST_BYTES: usize = 16;

/// The tokens, as digests: they have one length, and the tokens themselves cannot leak.
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

    /// Whether a token that is none of these may be meant as one: a former one, or one with a mistake. Words that scripts
    /// send which have no token (`undefined`, `YOUR_ACCESS_TOKEN`, `{{token}}`) are not: nobody makes a secret of words.
    pub(super) fn may_contain(&self, token: &str) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        let is_random = token.len() >= SHORTEST_BYTES
            && token.bytes().all(is_plain)
            && token.bytes().any(|byte| byte.is_ascii_digit());
        !self.0.is_empty() && is_random
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
