//! Published keys (JWKS): cached, and fetched again when they are old or when a token names a key we have not seen,
//! but never more often than the limit, whatever tokens callers make up. A caller whose key is known never waits for the
//! issuer.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use url::Url;

use super::jwk::{PublishedKey, read_set};
use super::jws::Token;
use crate::clients::http_client;
use crate::clock::Clock;
use crate::http::error::ApiError;
use crate::model::{Timestamp, outside_text};

/// How long the issuer may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a caller with an unknown key waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Keys older than this are fetched again.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);
/// How long old keys are used while new ones cannot be fetched: an issuer that is down shuts nobody out, and withdrawn keys
/// expire.
const LONGEST_USE: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest time between two fetches.
const MIN_INTERVAL: Duration = Duration::from_secs(30);
/// The same while no keys are known, when nobody can sign in.
const FIRST_INTERVAL: Duration = Duration::from_secs(5);
/// Largest document that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;

pub(super) struct JwksCache {
    url: Url,
    http: reqwest::Client,
    clock: Clock,
    known: RwLock<Option<Arc<Known>>>,
    fetching: Mutex<Fetching>,
}

struct Known {
    keys: Vec<PublishedKey>,
    at: Timestamp,
}

#[derive(Default)]
struct Fetching {
    /// When the last fetch began.
    last: Option<Timestamp>,
    /// Closed when the fetch under way ends.
    under_way: Option<watch::Receiver<()>>,
}

/// The verdict of the known keys on a token.
#[derive(PartialEq, Eq)]
enum Finding {
    Signed,
    /// The key that it names did not sign it.
    Forged,
    /// No key of its name is known, or none at all that signed it; the issuer may have a new one.
    Unknown,
}

impl Known {
    /// Tries each key that has the token's name, or where either has no name.
    fn judge(&self, token: &Token<'_>) -> Finding {
        let mut is_named = false;
        for published in &self.keys {
            let named = token.kid.is_some() && published.kid == token.kid;
            let may_be = named || token.kid.is_none() || published.kid.is_none();
            if may_be && token.is_signed_by(&published.key) {
                return Finding::Signed;
            }
            is_named |= named;
        }
        if is_named {
            Finding::Forged
        } else {
            Finding::Unknown
        }
    }
}

impl JwksCache {
    pub(super) fn new(url: &Url, clock: &Clock) -> anyhow::Result<Self> {
        Ok(Self {
            url: url.clone(),
            http: http_client(url, DEADLINE).context("cannot make a client for AUTH_JWKS_URL")?,
            clock: clock.clone(),
            known: RwLock::default(),
            fetching: Mutex::default(),
        })
    }

    pub(super) fn is_of(&self, url: &Url) -> bool {
        self.url == *url
    }

    /// Whether a published key signed the token.
    ///
    /// # Errors
    /// When no keys could be fetched yet: then nobody can tell a good token from a bad one.
    pub(super) async fn vouch_for(self: &Arc<Self>, token: &Token<'_>) -> Result<bool, ApiError> {
        self.refresh_if_old();
        match self.known().map(|known| known.judge(token)) {
            Some(Finding::Signed) => return Ok(true),
            Some(Finding::Forged) => return Ok(false),
            Some(Finding::Unknown) | None => {}
        }
        if let Some(mut under_way) = self.refresh() {
            // Nothing is sent; the channel only closes.
            let _ = tokio::time::timeout(PATIENCE, under_way.changed()).await;
        }
        let known = self.known().ok_or(ApiError::NoVerifyingKeys)?;
        Ok(known.judge(token) == Finding::Signed)
    }

    /// Begins a fetch when keys are old, or when there are none.
    pub(super) fn refresh_if_old(self: &Arc<Self>) {
        let is_fresh = |known: Arc<Known>| !self.is_older(known.at, MAX_AGE);
        if !self.known().is_some_and(is_fresh) {
            self.refresh();
        }
    }

    /// The keys, unless they are too old to use.
    fn known(&self) -> Option<Arc<Known>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let known = known.clone();
        // After the clock was set back, keys stay usable.
        known.filter(|known| self.clock.now().since(known.at) < LONGEST_USE)
    }

    /// Whether keys are old; also after the clock was set back.
    fn is_older(&self, at: Timestamp, age: Duration) -> bool {
        let now = self.clock.now();
        now < at || now.since(at) >= age
    }

    /// The fetch under way, which is begun unless the last was moments ago. It goes on when whoever waits for it goes away.
    fn refresh(self: &Arc<Self>) -> Option<watch::Receiver<()>> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = &fetching.under_way
            && under_way.has_changed().is_ok()
        {
            return Some(under_way.clone());
        }
        let interval = match self.known() {
            Some(_) => MIN_INTERVAL,
            None => FIRST_INTERVAL,
        };
        if fetching
            .last
            .is_some_and(|last| !self.is_older(last, interval))
        {
            return None;
        }
        let at = self.clock.now();
        let (ends, under_way) = watch::channel(());
        *fetching = Fetching {
            last: Some(at),
            under_way: Some(under_way.clone()),
        };
        let cache = Arc::clone(self);
        tokio::spawn(async move {
            let _ends = ends;
            cache.fetch_known(at).await;
        });
        Some(under_way)
    }

    /// Takes the keys of an answer, also an empty set. An unreadable answer changes nothing.
    async fn fetch_known(&self, at: Timestamp) {
        match self.fetch().await {
            Ok((keys, unusable)) => {
                if keys.is_empty() {
                    tracing::warn!(
                        unusable,
                        "AUTH_JWKS_URL has no key that a token can be verified with"
                    );
                } else {
                    tracing::info!(keys = keys.len(), unusable, "fetched the JWKS");
                }
                let known = Arc::new(Known { keys, at });
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
            }
            Err(error) => {
                let error = outside_text(&format!("{error:#}"));
                tracing::error!(error, "failed to fetch AUTH_JWKS_URL");
            }
        }
    }

    /// The keys that can verify, and how many others there are.
    async fn fetch(&self) -> anyhow::Result<(Vec<PublishedKey>, usize)> {
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
        read_set(&body).context("it is not a JWKS")
    }
}

/// How many keys that can verify a signature are published at `url`.
///
/// # Errors
/// When they cannot be fetched, or are no JWKS.
pub async fn published_keys(url: &Url, clock: &Clock) -> anyhow::Result<usize> {
    Ok(JwksCache::new(url, clock)?.fetch().await?.0.len())
}
