//! The listeners for callers and for metrics, each with its server, and their shutdown.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Misconfigured};
use crate::http::{self, App, Deadlines, Limits};

/// How long open requests may take to finish at shutdown.
const DRAIN: Duration = Duration::from_secs(15);
/// Most connections to the metrics.
const ADMIN_CONNECTIONS: usize = 64;

/// The running servers.
pub(super) struct Servers {
    deadlines: Deadlines,
    shutdown: CancellationToken,
    running: Vec<JoinHandle<()>>,
    failed: CancellationToken,
}

impl Servers {
    /// No server yet; all of them end at `shutdown`.
    pub(super) fn new(deadlines: Deadlines, shutdown: &CancellationToken) -> Self {
        Self {
            deadlines,
            shutdown: shutdown.clone(),
            running: Vec::new(),
            failed: CancellationToken::new(),
        }
    }

    pub(super) fn serve_public(&mut self, listener: TcpListener, app: App, config: &Config) {
        let connections = config.max_connections.get() as usize;
        self.serve("public", listener, app, connections);
    }

    pub(super) fn serve_metrics(&mut self, listener: TcpListener, app: App) {
        self.serve("admin", listener, app, ADMIN_CONNECTIONS);
    }

    fn serve(&mut self, name: &'static str, listener: TcpListener, app: App, connections: usize) {
        let limits = Limits {
            listener: name,
            connections,
            deadlines: self.deadlines,
        };
        let serving = http::serve(listener, app, limits, self.shutdown.clone());
        let ends = self.failed.clone().drop_guard();
        self.running.push(tokio::spawn(async move {
            let _ends = ends;
            serving.await;
        }));
    }

    /// Returns when one of them has ended.
    pub(super) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Waits for open requests, up to a deadline. Call it after `shutdown`.
    pub(super) async fn end(mut self) {
        let drained = tokio::time::timeout(DRAIN, async {
            for server in &mut self.running {
                if let Err(error) = server.await {
                    tracing::error!(%error, "listener ended with an error");
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!("shutdown deadline passed with requests in flight; closing the store");
            self.running.iter().for_each(JoinHandle::abort);
        }
    }
}

/// Listens at `addr`, or says what to do about it; `setting` is how the address was set, up to the address.
pub(super) async fn bind(addr: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{setting}{addr} is in use: stop the process that listens there, or choose another port"
        ),
        io::ErrorKind::AddrNotAvailable => Misconfigured(format!(
            "{setting}{addr} is not an address of this machine: use 127.0.0.1 or 0.0.0.0"
        ))
        .into(),
        io::ErrorKind::PermissionDenied => Misconfigured(format!(
            "{setting}{addr} may not be used by this user: choose a port above 1023"
        ))
        .into(),
        _ => anyhow::anyhow!("cannot listen at {setting}{addr}: {error}"),
    })
}
