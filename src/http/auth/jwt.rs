//! Callers' JWTs. Which algorithms count is decided by the configured key, never by the token; expiry is judged by
//! our clock.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::User;
use super::claims::ClaimNames;
use super::jwks::JwksCache;
use crate::clock::Clock;
use crate::config::{Config, Misconfigured};
use crate::http::error::ApiError;
use crate::model::Timestamp;

/// How far the issuer's clock may be from ours, in seconds.
const LEEWAY_SECS: i64 = 30;
/// Longest token that is looked at, in bytes; headers are not much longer.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

const BAD_TOKEN: ApiError = ApiError::InvalidCredentials("the token is not valid here");

pub(super) struct JwtVerifier {
    keys: Keys,
    issuer: Option<String>,
    audience: Option<String>,
    claims: ClaimNames,
    clock: Clock,
}

enum Keys {
    Fixed(VerifyingKey),
    Published(Arc<JwksCache>),
}

/// A key, and the algorithms it may be used with.
#[derive(Clone)]
pub(super) struct VerifyingKey {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl VerifyingKey {
    /// A key that is good for every algorithm of its family. Published keys are never symmetric: whoever can read
    /// such a key can sign with it.
    pub(super) fn asymmetric(key: DecodingKey, only: Option<Algorithm>) -> Option<Self> {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let family: &[Algorithm] = match key.family() {
            AlgorithmFamily::Rsa => &[RS256, RS384, RS512, PS256, PS384, PS512],
            AlgorithmFamily::Ec => &[ES256, ES384],
            AlgorithmFamily::Ed => &[EdDSA],
            _ => return None,
        };
        let algorithms = match only {
            Some(only) if family.contains(&only) => vec![only],
            Some(_) => return None,
            None => family.to_vec(),
        };
        Some(Self { key, algorithms })
    }

    fn from_pem(pem: &str) -> Option<Self> {
        // Environment files have no line breaks.
        let pem = pem.replace("\\n", "\n");
        let pem = pem.trim().as_bytes();
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .ok()?;
        Self::asymmetric(key, None)
    }
}

impl JwtVerifier {
    /// The way to verify JWTs that `config` sets up, if any; published keys may be taken over from `before`.
    pub(super) fn from_config(
        config: &Config,
        clock: &Clock,
        before: Option<&Self>,
    ) -> anyhow::Result<Option<Self>> {
        let keys = if let Some(secret) = &config.auth_jwt_secret {
            Keys::Fixed(VerifyingKey {
                key: DecodingKey::from_secret(secret.expose_secret().as_bytes()),
                algorithms: vec![Algorithm::HS256],
            })
        } else if let Some(pem) = &config.auth_jwt_public_key {
            Keys::Fixed(VerifyingKey::from_pem(pem).ok_or_else(|| {
                Misconfigured(
                    "AUTH_JWT_PUBLIC_KEY is not a public key in PEM: it begins with -----BEGIN PUBLIC KEY-----"
                        .to_owned(),
                )
            })?)
        } else if let Some(url) = &config.auth_jwks_url {
            Keys::Published(match before.map(|before| &before.keys) {
                Some(Keys::Published(cache)) if cache.is_of(url) => Arc::clone(cache),
                _ => Arc::new(JwksCache::new(url, clock)?),
            })
        } else {
            return Ok(None);
        };
        Ok(Some(Self {
            keys,
            issuer: config.auth_issuer.clone(),
            audience: config.auth_audience.clone(),
            claims: ClaimNames::from_config(config),
            clock: clock.clone(),
        }))
    }

    /// The user a token speaks for.
    pub(super) async fn verify(&self, token: &str) -> Result<User, ApiError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(BAD_TOKEN);
        }
        let claims = match &self.keys {
            Keys::Fixed(key) => self.decode(token, key)?,
            Keys::Published(jwks) => {
                let header = jsonwebtoken::decode_header(token).map_err(|_| BAD_TOKEN)?;
                let key = jwks.key(header.kid.as_deref()).await?.ok_or(BAD_TOKEN)?;
                self.decode(token, &key)?
            }
        };
        let expires_at = self.check_times(&claims)?;
        self.claims.user(&claims, expires_at)
    }

    fn decode(&self, token: &str, key: &VerifyingKey) -> Result<Map<String, Value>, ApiError> {
        let mut validation = Validation::new(key.algorithms[0]);
        validation.algorithms.clone_from(&key.algorithms);
        // Times are ours to judge: the library would ask the system's clock.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        validation.validate_aud = self.audience.is_some();
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        jsonwebtoken::decode(token, &key.key, &validation)
            .map(|data| data.claims)
            .map_err(|error| {
                tracing::debug!(reason = ?error.kind(), "a token was refused");
                BAD_TOKEN
            })
    }

    fn check_times(&self, claims: &Map<String, Value>) -> Result<Timestamp, ApiError> {
        // NumericDate may have a fraction (RFC 7519).
        #[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
        let seconds = |name: &str| claims.get(name)?.as_f64().map(|at| at as i64);
        let now = self.clock.now().as_secs();
        let expires = seconds("exp").ok_or(ApiError::InvalidCredentials(
            "the token does not say when it expires",
        ))?;
        if expires.saturating_add(LEEWAY_SECS) <= now {
            return Err(ApiError::ExpiredCredentials);
        }
        if seconds("nbf").is_some_and(|from| from.saturating_sub(LEEWAY_SECS) > now) {
            return Err(ApiError::InvalidCredentials("the token is not valid yet"));
        }
        Ok(Timestamp::from_millis(expires.saturating_mul(1000)))
    }
}
