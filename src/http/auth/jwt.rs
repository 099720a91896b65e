//! Callers' JWTs. Which algorithms count is decided by the configured key, never by the token; expiry is judged by
//! our clock.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::User;
use super::claims::ClaimNames;
use super::jwks::JwksCache;
use super::jws::Token;
use super::key::VerifyingKey;
use crate::clock::Clock;
use crate::config::{Config, Misconfigured};
use crate::http::error::ApiError;
use crate::model::Timestamp;

/// How far the issuer's clock may be from ours, in seconds.
const LEEWAY_SECS: i64 = 30;
/// The end of the year 9999. What lies beyond is no time, but milliseconds or a mistake that would never expire.
const LATEST_SECS: i64 = 253_402_300_799;

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

impl JwtVerifier {
    /// The way to verify JWTs that `config` sets up, if any; published keys may be taken over from `before`.
    pub(super) fn from_config(
        config: &Config,
        clock: &Clock,
        before: Option<&Self>,
    ) -> anyhow::Result<Option<Self>> {
        let keys = if let Some(secret) = &config.auth_jwt_secret {
            let key = DecodingKey::from_secret(secret.expose_secret().as_bytes());
            Keys::Fixed(VerifyingKey::new(key, vec![Algorithm::HS256]))
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

    /// Has published keys fetched, if it is time, for whoever comes next.
    pub(super) fn refresh_keys(&self) {
        if let Keys::Published(jwks) = &self.keys {
            jwks.refresh_if_old();
        }
    }

    /// The user a token speaks for.
    pub(super) async fn verify(&self, token: &str) -> Result<User, ApiError> {
        let token = Token::read(token).map_err(refused)?;
        let is_signed = match &self.keys {
            Keys::Fixed(key) => token.is_signed_by(key),
            Keys::Published(jwks) => jwks.vouch_for(&token).await?,
        };
        if !is_signed {
            return Err(refused("no key of ours signed it"));
        }
        let claims = token.claims();
        let claims =
            claims.ok_or_else(|| refused("it is not a JSON object that says each thing once"))?;
        self.check_parties(&claims).map_err(refused)?;
        let expires_at = self.check_times(&claims)?;
        self.claims.user(&claims, expires_at)
    }

    /// Whether it is from the right issuer, and for us.
    fn check_parties(&self, claims: &Map<String, Value>) -> Result<(), &'static str> {
        let is =
            |claim: Option<&Value>, wanted: &str| claim.and_then(Value::as_str) == Some(wanted);
        if let Some(issuer) = &self.issuer
            && !is(claims.get("iss"), issuer)
        {
            return Err("it is of another issuer than AUTH_ISSUER");
        }
        if let Some(audience) = &self.audience {
            let all = match claims.get("aud") {
                Some(Value::Array(several)) => several.as_slice(),
                one => one.map(std::slice::from_ref).unwrap_or_default(),
            };
            if !all.iter().all(Value::is_string) || !all.iter().any(|one| is(Some(one), audience)) {
                return Err("it is for another audience than AUTH_AUDIENCE");
            }
        }
        Ok(())
    }

    /// When it expires. A time that cannot be read is none that can be kept, so the token is refused. `iat` is not judged:
    /// when our clock is behind, it would shut out everyone, and what may not be used yet says so in `nbf`.
    fn check_times(&self, claims: &Map<String, Value>) -> Result<Timestamp, ApiError> {
        let now = self.clock.now().as_secs();
        let expires = seconds(claims, "exp")?.ok_or(ApiError::InvalidCredentials(
            "the token does not say when it expires",
        ))?;
        if expires.saturating_add(LEEWAY_SECS) <= now {
            return Err(ApiError::ExpiredCredentials);
        }
        if seconds(claims, "nbf")?.is_some_and(|from| from.saturating_sub(LEEWAY_SECS) > now) {
            return Err(ApiError::InvalidCredentials("the token is not valid yet"));
        }
        Ok(Timestamp::from_millis(expires.saturating_mul(1000)))
    }
}

/// A time in seconds, as RFC 7519 has them: a number, perhaps with a fraction.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(claim) = claims.get(name).filter(|claim| !claim.is_null()) else {
        return Ok(None);
    };
    #[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
    let seconds = claim.as_f64().map(|at| at as i64);
    match seconds {
        Some(at) if at <= LATEST_SECS => Ok(Some(at)),
        _ => Err(ApiError::InvalidCredentials(
            "the token has a time that is no number of seconds since 1970",
        )),
    }
}

fn refused(why: &'static str) -> ApiError {
    tracing::debug!(why, "a token was refused");
    BAD_TOKEN
}
