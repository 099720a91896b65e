//! What handlers share.

use std::ops::Deref;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::Authenticator;
use super::caller_limits::CallerLimits;
use super::server::Deadlines;
use crate::clock::Clock;
use crate::credentials::Credentials;
use crate::forward::Forwarder;
use crate::mint::Minter;
use crate::reloadable::Reloadable;
use crate::replica::Replica;
use crate::store::SharedStore;
use crate::worker::Worker;
use crate::worker::retention::Retention;
use athos_api as athos;

/// The handlers' state; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// The content of an [`AppState`].
pub struct Shared {
    /// The store.
    pub store: SharedStore,
    /// The client of Athos's API.
    pub athos: Arc<athos::Client>,
    /// The clock.
    pub clock: Clock,
    /// The credentials that are shared with Athos; verifies webhooks.
    pub credentials: Arc<Credentials>,
    /// This process among the replicas.
    pub replica: Arc<Replica>,
    /// Authenticates callers.
    pub authenticator: Arc<Reloadable<Authenticator>>,
    /// Mints session tokens.
    pub minter: Minter,
    /// The limits of each caller.
    pub limits: Arc<CallerLimits>,
    /// How long clients may keep us waiting.
    pub deadlines: Deadlines,
    /// For its circuit breaker and its heartbeat.
    pub worker: Arc<Worker>,
    /// Sends messages; for pings, and what a message says.
    pub forwarder: Arc<Forwarder>,
    /// Truncates the write-ahead log after an erasure.
    pub retention: Arc<Retention>,
    /// Tasks that outlive their request, finished before the store closes.
    pub tasks: TaskTracker,
    /// Ends the live streams.
    pub shutdown: CancellationToken,
}

impl AppState {
    /// Shares `shared`.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
