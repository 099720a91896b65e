//! A key that verifies signatures, and the algorithms it may be used with: those of the key, never of the token.

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

/// A key, and the algorithms it may be used with.
pub(super) struct VerifyingKey {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl VerifyingKey {
    /// A key for these algorithms and no others.
    pub(super) fn new(key: DecodingKey, algorithms: Vec<Algorithm>) -> Self {
        Self { key, algorithms }
    }

    /// A key in PEM is good for every algorithm of its family.
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        // Environment files have no line breaks.
        let pem = pem.replace("\\n", "\n");
        let pem = pem.trim().as_bytes();
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .ok()?;
        let algorithms = match key.family() {
            AlgorithmFamily::Rsa => vec![RS256, RS384, RS512, PS256, PS384, PS512],
            AlgorithmFamily::Ec => vec![ES256, ES384],
            AlgorithmFamily::Ed => vec![EdDSA],
            _ => return None,
        };
        Some(Self::new(key, algorithms))
    }

    /// Whether `signature` is this key's over `message`, by an algorithm that the key is for.
    pub(super) fn verifies(&self, message: &str, signature: &str, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
            && jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm)
                .unwrap_or(false)
    }
}
