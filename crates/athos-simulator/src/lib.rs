//! A stand-in for Athos: the external API of the contract in memory, signed webhooks, faults by name, and
//! a control plane. Reached over HTTP only, as the vendor is. It holds no audio and talks to no vendor.
//!
//! Reading order: `api` (what callers see), `state` and `call` (what is remembered), `deliver` (from an ended call to
//! its webhook), `faults` and `active`, `control`. `contract` and the files below it are what the generations of the
//! contract differ in; `directory` and `roster_api` are about who is registered; `data` is what people say.

mod active;
mod api;
mod call;
mod compliance;
mod contract;
mod control;
mod cursor;
mod data;
mod deliver;
mod directory;
mod error;
mod faults;
mod link;
mod listed;
mod middleware;
mod options;
mod recording;
mod request;
mod roster_api;
mod routes;
mod sample;
mod scenario;
mod seeded;
mod state;
#[cfg(test)]
mod tests;
mod vendor;
mod webhook;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::error::ApiError;
use self::middleware::{Abort, AbortableListener};
use self::vendor::{Sender, SharedVendor, Vendor};
use athos_api::clock::Clock;
use athos_api::local::reachable_addr;

pub use self::options::{
    Contract, DEMO_API_KEY, DEMO_WEBHOOK_SECRET, InvalidDuration, Options, parse_duration,
    parse_seed,
};

pub use self::sample::SampleWebhook;

/// Why the simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No API key is accepted, so nothing could be called.
    #[error("the simulator needs at least one API key, none of them blank (--api-key)")]
    NoApiKey,
    /// No secret to sign with.
    #[error(
        "the simulator needs at least one webhook secret, none of them blank (--webhook-secret)"
    )]
    NoWebhookSecret,
    /// The address is taken, or not ours.
    #[error("the simulator cannot listen on {addr}")]
    Bind {
        /// The address as it was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The HTTP client that delivers webhooks could not be made.
    #[error("the simulator's HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// A simulator that runs until its cancellation token is cancelled.
pub struct Running {
    /// Where it listens; the port is the real one, also when 0 was asked for.
    pub addr: SocketAddr,
    vendor: SharedVendor,
    server: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Where the external API is: what `ATHOS_BASE_URL` should be.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}{}", self.origin(), routes::BASE_PATH)
    }

    /// Scheme, host and port: the control plane is at `<origin>/_simulator/…`, and it is the SDK's `apiBase`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", reachable_addr(self.addr))
    }

    /// Where the stand-in for the browser SDK is: what `ATHOS_SDK_URL` should be.
    #[must_use]
    pub fn sdk_url(&self) -> String {
        format!("{}/sdk/athos-sdk.js", self.origin())
    }

    /// Says where webhooks go from now on. A service on port 0 knows its own URL only once it listens.
    pub fn set_webhook_url(&self, url: Url) {
        self.vendor.set_webhook_url(Some(url));
    }

    /// Waits until the simulator has stopped: requests answered, deliveries ended or given up.
    ///
    /// # Errors
    /// When the server failed rather than stopped.
    pub async fn stopped(self) -> io::Result<()> {
        let served = self.server.await.map_err(io::Error::other)?;
        self.vendor.tasks.close();
        self.vendor.tasks.wait().await;
        served
    }
}

/// Starts the simulator; it listens when this returns.
///
/// # Errors
/// One [`StartError`] per cause.
pub async fn start(
    options: Options,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<Running, StartError> {
    check(&options)?;
    let addr = options.bind;
    let bind_error = |source| StartError::Bind { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(bind_error)?;
    let addr = listener.local_addr().map_err(bind_error)?;
    let sender = Sender::new().map_err(StartError::Client)?;
    let vendor = Arc::new(Vendor::new(options, clock, sender, shutdown.clone()));

    let app = router(&vendor).into_make_service_with_connect_info::<Abort>();
    let server = axum::serve(AbortableListener(listener), app)
        .with_graceful_shutdown(shutdown.cancelled_owned());
    let server = tokio::spawn(async move { server.await });
    tracing::info!(%addr, "simulator listens");
    Ok(Running {
        addr,
        vendor,
        server,
    })
}

fn check(options: &Options) -> Result<(), StartError> {
    use secrecy::{ExposeSecret, SecretString};
    let is_blank = |secret: &SecretString| secret.expose_secret().trim().is_empty();
    let are_usable = |all: &[SecretString]| !all.is_empty() && !all.iter().any(is_blank);
    if !are_usable(&options.api_keys) {
        return Err(StartError::NoApiKey);
    }
    if !are_usable(&options.webhook_secrets) {
        return Err(StartError::NoWebhookSecret);
    }
    Ok(())
}

/// Every route, by who calls it.
fn router(vendor: &SharedVendor) -> Router {
    Router::new()
        .merge(api::keyed_router())
        .merge(api::browser_router())
        .merge(control::router())
        .merge(control::browser_router())
        .merge(recording::router())
        .route("/sdk/athos-sdk.js", get(serve_sdk))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .fallback(async || ApiError::route_not_found())
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(vendor),
            middleware::stamp,
        ))
        .with_state(Arc::clone(vendor))
}

/// Pages of any origin import it.
async fn serve_sdk() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, include_str!("sdk.js"))
}
