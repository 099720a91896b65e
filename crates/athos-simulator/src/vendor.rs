//! The simulated vendor as handlers and deliveries share it: state behind a lock, a clock, and a watch channel that
//! signals every change, so that waiting needs no polling.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use axum::http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::error::ApiError;
use super::faults::Endpoint;
use super::options::Options;
use super::request::bearer;
use super::seeded::Seed;
use super::state::Memory;
use athos_api::Timestamp;
use athos_api::clock::Clock;
use athos_api::local::is_loopback;

/// Webhooks on the way at one time. A burst of thousands must not run out of file descriptors.
const MAX_DELIVERIES_IN_FLIGHT: usize = 128;

/// What handlers take as their state.
pub(super) type SharedVendor = Arc<Vendor>;

/// The vendor: one for each started simulator.
pub(super) struct Vendor {
    pub(super) options: Options,
    pub(super) sender: Sender,
    pub(super) shutdown: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) in_flight: Semaphore,
    clock: Clock,
    memory: Mutex<Memory>,
    webhook_url: RwLock<Option<Url>>,
    bell: watch::Sender<()>,
}

impl Vendor {
    pub(super) fn new(
        options: Options,
        clock: Clock,
        sender: Sender,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            sender,
            shutdown,
            tasks: TaskTracker::new(),
            in_flight: Semaphore::new(MAX_DELIVERIES_IN_FLIGHT),
            clock,
            memory: Mutex::new(Memory::new(Seed(options.seed), options.contract)),
            webhook_url: RwLock::new(options.webhook_url.clone()),
            bell: watch::Sender::new(()),
            options,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The memory, to read. That a handler panicked while holding the lock does not matter here.
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the memory and signals it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        let changed = change(&mut self.memory());
        self.bell.send_replace(());
        changed
    }

    /// Subscribes to changes. Subscribe before reading the memory, or a change may be missed.
    pub(super) fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    pub(super) fn webhook_url(&self) -> Option<Url> {
        let url = self.webhook_url.read();
        url.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_webhook_url(&self, to: Option<Url>) {
        let url = self.webhook_url.write();
        *url.unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// Waits, unless the simulator stops first; tells whether the time has passed.
    pub(super) async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.shutdown.cancelled() => false,
        }
    }

    /// The checks of a request with an API key, in their order.
    pub(super) async fn admit(
        &self,
        endpoint: Endpoint,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        self.suffer_faults(endpoint).await?;
        self.check_key(headers)?;
        self.memory().faults.refuses_account().map_or(Ok(()), Err)
    }

    /// Applies the active faults to a request.
    pub(super) async fn suffer_faults(&self, endpoint: Endpoint) -> Result<(), ApiError> {
        let (delay, failure) = self.change(|memory| memory.faults.on_request(endpoint));
        if !delay.is_zero() && !self.pause(delay).await {
            return Err(ApiError::unavailable());
        }
        failure.map_or(Ok(()), Err)
    }

    /// Whether this is one of the simulator's API keys.
    pub(super) fn knows_key(&self, key: &str) -> bool {
        let is_it = |known: &SecretString| {
            let known = known.expose_secret().as_bytes();
            bool::from(known.ct_eq(key.as_bytes()))
        };
        self.options.api_keys.iter().any(is_it)
    }

    /// Checks the API key of a request.
    fn check_key(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let key = bearer(headers).ok_or_else(ApiError::invalid_api_key)?;
        if !self.knows_key(key) {
            return Err(ApiError::invalid_api_key());
        }
        if self.memory().faults.revokes(key) {
            return Err(ApiError::api_key_revoked());
        }
        Ok(())
    }
}

/// What sends webhooks as the vendor does: redirects are an answer like any other, not followed.
#[derive(Clone)]
pub(super) struct Sender {
    /// To this machine: no proxy would find it.
    pub(super) near: reqwest::Client,
    far: reqwest::Client,
}

impl Sender {
    #[expect(
        clippy::disallowed_methods,
        reason = "the receiver's client, not the vendor's: its timeout is set for each delivery"
    )]
    pub(super) fn new() -> reqwest::Result<Self> {
        let builder = || reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        Ok(Self {
            near: builder().no_proxy().build()?,
            far: builder().build()?,
        })
    }

    pub(super) fn post(&self, url: Url) -> reqwest::RequestBuilder {
        let client = if is_loopback(&url) {
            &self.near
        } else {
            &self.far
        };
        client.post(url)
    }
}
