//! The HTTP clients of this program: with a deadline, no redirects, and a `User-Agent` with our name.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use athos_api::{ANSWER_DEADLINE, Client, Observer};
use secrecy::SecretString;
use url::Url;

use crate::clock::Clock;

const USER_AGENT: &str = concat!("athos-backend/", env!("CARGO_PKG_VERSION"));

/// A client for `for_url`, which gives up after `deadline`.
///
/// # Errors
/// When TLS is needed and the system has no certificate authorities to trust.
pub fn http_client(for_url: &Url, deadline: Duration) -> Result<reqwest::Client, reqwest::Error> {
    athos_api::http_client(USER_AGENT, for_url, deadline)
}

/// An [`http_client`] that never uses a proxy: for what listens on this machine, at whatever address.
///
/// # Errors
/// As [`http_client`].
pub fn direct_http_client(
    for_url: &Url,
    deadline: Duration,
) -> Result<reqwest::Client, reqwest::Error> {
    athos_api::direct_http_client(USER_AGENT, for_url, deadline)
}

/// A client of Athos's API at `base`; `observer` is told which keys are accepted and refused.
///
/// # Errors
/// When the system has no certificate authorities to trust, or a key has a character that no header can carry.
pub fn athos_client(
    base: &Url,
    keys: &[SecretString],
    observer: Arc<dyn Observer>,
    clock: &Clock,
) -> anyhow::Result<Client> {
    let http = http_client(base, ANSWER_DEADLINE)
        .context("failed to create a client for ATHOS_BASE_URL (are CA certificates installed?)")?;
    Client::new(http, base, keys, observer, clock.clone()).context("ATHOS_API_KEY cannot be used")
}
