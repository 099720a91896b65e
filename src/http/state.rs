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
use crate::mint::Minter;
use crate::reloadable::Reloadable;
use crate::store::SharedStore;
use crate::worker::Worker;
use crate::worker::retention::Retention;
use athos_api as athos;

/// The handlers' state; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// What is behind an [`AppState`].
pub struct Shared {
    /// What the service remembers.
    pub store: SharedStore,
    /// The way to Athos.
    pub athos: Arc<athos::Client>,
    /// The time.
    pub clock: Clock,
    /// What we share with Athos; judges webhooks.
    pub credentials: Arc<Credentials>,
    /// Knows callers.
    pub authenticator: Arc<Reloadable<Authenticator>>,
    /// Asks for session tokens.
    pub minter: Minter,
    /// What one caller may have of what all share.
    pub limits: Arc<CallerLimits>,
    /// How long clients may keep us waiting.
    pub deadlines: Deadlines,
    /// For its circuit breaker and its heartbeat.
    pub worker: Arc<Worker>,
    /// To have the log emptied once nobody reads it.
    pub retention: Arc<Retention>,
    /// Work that outlives its request, finished before the store closes.
    pub tasks: TaskTracker,
    /// Ends the streams that would never end by themselves.
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
