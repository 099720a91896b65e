//! Published keys (JWKS): cached, and fetched again when they are old or when a token names a key we have not seen,
//! but never more often than the limit, whatever tokens callers make up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use tokio::sync::{Mutex, RwLock};
use url::Url;

use super::jwt::VerifyingKey;
use crate::athos::http_client;
use crate::clock::Clock;
use crate::http::error::ApiError;
use crate::model::Timestamp;

/// How long the issuer may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Keys older than this are fetched again; while that fails, the old ones stay.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);
/// Between two fetches lies at least this much.
const MIN_INTERVAL: Duration = Duration::from_secs(30);
/// Largest document that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;

pub(super) struct JwksCache {
    url: Url,
    http: reqwest::Client,
    clock: Clock,
    keys: RwLock<Option<Arc<Fetched>>>,
    /// When the last fetch began; held while one runs, so that there is one at a time.
    last_fetch: Mutex<Option<Timestamp>>,
}

struct Fetched {
    set: JwkSet,
    at: Timestamp,
}

impl JwksCache {
    pub(super) fn new(url: &Url, clock: &Clock) -> anyhow::Result<Self> {
        Ok(Self {
            url: url.clone(),
            http: http_client(url, DEADLINE).context("cannot make a client for AUTH_JWKS_URL")?,
            clock: clock.clone(),
            keys: RwLock::new(None),
            last_fetch: Mutex::new(None),
        })
    }

    pub(super) fn is_of(&self, url: &Url) -> bool {
        self.url == *url
    }

    /// The key named `kid`; without a name, the only key there is.
    ///
    /// # Errors
    /// When no keys could be fetched yet: then nobody can tell a good token from a bad one.
    pub(super) async fn key(
        self: &Arc<Self>,
        kid: Option<&str>,
    ) -> Result<Option<VerifyingKey>, ApiError> {
        if let Some(fetched) = self.cached().await
            && !self.is_older(fetched.at, MAX_AGE)
            && let Some(key) = find(&fetched.set, kid)
        {
            return Ok(Some(key));
        }
        let cache = Arc::clone(self);
        // A task of its own: a caller who goes away must not cut short what others wait for.
        let refreshed = tokio::spawn(async move { cache.refresh().await }).await;
        refreshed.map_err(|error| ApiError::Internal(error.into()))?;
        let fetched = self.cached().await.ok_or(ApiError::NoVerifyingKeys)?;
        Ok(find(&fetched.set, kid))
    }

    async fn cached(&self) -> Option<Arc<Fetched>> {
        self.keys.read().await.clone()
    }

    /// A clock that was set back makes everything old: better one fetch too many.
    fn is_older(&self, at: Timestamp, age: Duration) -> bool {
        let now = self.clock.now();
        now < at || now.since(at) >= age
    }

    async fn refresh(&self) {
        let mut last_fetch = self.last_fetch.lock().await;
        if last_fetch.is_some_and(|last| !self.is_older(last, MIN_INTERVAL)) {
            return;
        }
        let at = self.clock.now();
        *last_fetch = Some(at);
        match self.fetch().await {
            Ok(set) => {
                tracing::info!(keys = set.keys.len(), "fetched the JWKS");
                *self.keys.write().await = Some(Arc::new(Fetched { set, at }));
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "cannot fetch AUTH_JWKS_URL")
            }
        }
    }

    async fn fetch(&self) -> anyhow::Result<JwkSet> {
        let mut response = self
            .http
            .get(self.url.clone())
            .send()
            .await?
            .error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            anyhow::ensure!(
                body.len() + chunk.len() <= MAX_BYTES,
                "the document is too large"
            );
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).context("it is not a JWKS")
    }
}

/// How many keys that can verify a signature are published at `url`.
///
/// # Errors
/// When they cannot be fetched, or are no JWKS.
pub async fn published_keys(url: &Url, clock: &Clock) -> anyhow::Result<usize> {
    let set = JwksCache::new(url, clock)?.fetch().await?;
    Ok(set.keys.iter().filter_map(verifying_key).count())
}

fn find(set: &JwkSet, kid: Option<&str>) -> Option<VerifyingKey> {
    let jwk = match (kid, set.keys.as_slice()) {
        (Some(kid), _) => set.find(kid)?,
        (None, [only]) => only,
        (None, _) => return None,
    };
    verifying_key(jwk)
}

fn verifying_key(jwk: &Jwk) -> Option<VerifyingKey> {
    let signs = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    if !signs {
        return None;
    }
    let only = match jwk.common.key_algorithm {
        Some(algorithm) => Some(algorithm.to_string().parse().ok()?),
        None => None,
    };
    VerifyingKey::asymmetric(DecodingKey::from_jwk(jwk).ok()?, only)
}
