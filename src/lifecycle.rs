//! How the service starts and how it stops: in which order things open, and in which they close so that nothing that
//! was acknowledged, claimed or begun is left hanging.

mod instance;
mod supervisor;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clients::athos_client;
use crate::clock::Clock;
use crate::config::{Config, Misconfigured};
use crate::credentials::{Credentials, KeyUsage, Replaced};
use crate::http::{
    self, AppState, Authenticator, Deadlines, DemoSecret, Limits, LogLimit, MintLimit, ReadLimit,
    RecordingLimit, Shared, StreamLimiter,
};
use crate::mint::Minter;
use crate::reloadable::Reloadable;
use crate::store::{SharedStore, SqliteStore, database_file};
use crate::telemetry;
use crate::worker::Worker;
use crate::worker::reconcile::Reconciler;
use crate::worker::retention::Retention;
use instance::Instance;

/// How long open requests may take to finish at shutdown.
const DRAIN: Duration = Duration::from_secs(15);
/// Connections to the metrics: a few scrapers'.
const ADMIN_CONNECTIONS: usize = 64;
/// What a service is started with beside its configuration.
pub struct Options {
    /// The time.
    pub clock: Clock,
    /// Mounts the demo's sign-in.
    pub demo: Option<DemoSecret>,
    /// Whether the worker and the reconcilers run by themselves; tests step them instead.
    pub run_worker: bool,
    /// How long clients may keep the service waiting.
    pub deadlines: Deadlines,
}

/// A running service.
pub struct Service {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where its metrics are.
    pub admin_addr: SocketAddr,
    /// What it remembers.
    pub store: SharedStore,
    /// What processes events.
    pub worker: Arc<Worker>,
    /// What finds calls whose webhook never came: one for each source.
    pub reconcilers: Vec<Arc<Reconciler>>,
    /// What removes what is too old.
    pub retention: Arc<Retention>,
    /// What it shares with Athos.
    pub credentials: Arc<Credentials>,
    authenticator: Arc<Reloadable<Authenticator>>,
    clock: Clock,
    /// Held for as long as it serves.
    _instance: Arc<Instance>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    servers: Vec<JoinHandle<()>>,
    running: Vec<JoinHandle<()>>,
    /// A listener has ended.
    listener_failed: CancellationToken,
}

impl Service {
    /// Opens the store, binds the addresses, and starts working.
    ///
    /// # Errors
    /// With advice: a port in use, a database that cannot be opened, a key that is none.
    pub async fn start(config: &Config, options: Options) -> anyhow::Result<Self> {
        let clock = options.clock;
        let metrics = telemetry::metrics()?;
        let key_usage = Arc::new(KeyUsage::new(clock.clone()));
        let athos = Arc::new(athos_client(
            &config.athos_base_url,
            &config.athos_api_key,
            Arc::clone(&key_usage) as _,
            &clock,
        )?);
        let authenticator = Arc::new(Reloadable::new(Authenticator::new(config, &clock)?));
        // Bound before the database is touched: of two services by mistake, the second fails here.
        let listener = bind(config.bind_addr, "BIND_ADDR").await?;
        let admin_listener = bind(config.admin_addr, "ADMIN_ADDR").await?;
        let (addr, admin_addr) = (listener.local_addr()?, admin_listener.local_addr()?);
        let store: SharedStore = Arc::new(SqliteStore::open(&config.database_url).await?);
        let instance = Arc::new(Instance::of(&database_file(&config.database_url)?));

        let credentials = Credentials::start(
            &config.athos_whsec,
            Arc::clone(&athos),
            key_usage,
            Arc::clone(&store),
            clock.clone(),
        );
        let credentials = Arc::new(credentials.await?);
        let connections = config.max_connections.get() as usize;
        let shutdown = CancellationToken::new();
        let listener_failed = CancellationToken::new();
        let tasks = TaskTracker::new();
        let worker = Arc::new(Worker::new(
            Arc::clone(&store),
            Arc::clone(&athos),
            clock.clone(),
            config.retention_policy(),
            config.fetch_concurrency.get(),
        ));
        let retention = Arc::new(Retention::new(
            Arc::clone(&store),
            clock.clone(),
            config.retention_policy(),
        ));
        let reconcilers: Vec<_> = config
            .sources
            .iter()
            .map(|source| {
                Arc::new(Reconciler::new(
                    Arc::clone(&store),
                    Arc::clone(&athos),
                    Arc::clone(worker.circuit_breaker()),
                    clock.clone(),
                    config.source_config(*source),
                ))
            })
            .collect();
        let minter = Minter::start(
            Arc::clone(&athos),
            Arc::clone(&store),
            clock.clone(),
            config.athos_contract.pinned(),
            config.auto_enroll,
        );
        let state = AppState::new(Shared {
            minter: minter.await?,
            store: Arc::clone(&store),
            athos,
            clock: clock.clone(),
            credentials: Arc::clone(&credentials),
            authenticator: Arc::clone(&authenticator),
            mint_limit: MintLimit::per_minute(config.mint_limit_per_rep),
            recording_limit: RecordingLimit::of_recordings(),
            reads: Arc::new(ReadLimit::default()),
            log_limit: LogLimit::default(),
            // The other half of the connections is for requests, which end.
            streams: StreamLimiter::new((connections / 2).max(1)),
            deadlines: options.deadlines,
            worker: Arc::clone(&worker),
            retention: Arc::clone(&retention),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        });
        let house = (state.clone(), metrics.clone());
        supervisor::spawn(&shutdown, move || {
            supervisor::housekeeping(house.0.clone(), house.1.clone())
        });
        let router = http::router(state, config, options.demo);
        let serve = |name, listener, router, connections| {
            let limits = Limits {
                listener: name,
                connections,
                deadlines: options.deadlines,
            };
            let serving = http::serve(listener, router, limits, shutdown.clone());
            let ends = listener_failed.clone().drop_guard();
            tokio::spawn(async move {
                let _ends = ends;
                serving.await;
            })
        };
        let servers = vec![
            serve("public", listener, router, connections),
            serve(
                "admin",
                admin_listener,
                admin_router(metrics),
                ADMIN_CONNECTIONS,
            ),
        ];
        let mut running = Vec::new();
        if options.run_worker {
            let (worker, until) = (Arc::clone(&worker), shutdown.clone());
            running.push(supervisor::spawn(&shutdown, move || {
                Arc::clone(&worker).run(until.clone())
            }));
            let (retention, until) = (Arc::clone(&retention), shutdown.clone());
            running.push(supervisor::spawn(&shutdown, move || {
                Arc::clone(&retention).run(until.clone())
            }));
            running.extend(reconcilers.iter().map(|reconciler| {
                let (reconciler, until) = (Arc::clone(reconciler), shutdown.clone());
                let every = config.reconcile_every;
                supervisor::spawn(&shutdown, move || {
                    Arc::clone(&reconciler).run(every, until.clone())
                })
            }));
        }
        Arc::clone(&instance).claim(shutdown.clone());
        tracing::info!(%addr, metrics = %admin_addr, "listening");
        Ok(Self {
            addr,
            admin_addr,
            store,
            worker,
            reconcilers,
            retention,
            credentials,
            authenticator,
            clock,
            _instance: instance,
            shutdown,
            tasks,
            servers,
            running,
            listener_failed,
        })
    }

    /// Returns when the process is asked to stop by `signal`.
    ///
    /// # Errors
    /// When a part that nothing works without has failed, by a fault of ours: the process should end, so that whoever
    /// watches it starts it anew. What was acknowledged is on disk.
    pub async fn run(&self, signal: ShutdownSignal) -> anyhow::Result<()> {
        tokio::select! {
            () = signal.received() => Ok(()),
            () = self.store.failed() => anyhow::bail!("the database's writer has failed; start the service again"),
            () = self.listener_failed.cancelled() => anyhow::bail!("a listener has failed; start the service again"),
        }
    }

    /// Puts the credentials of another configuration in force: Athos's keys and secrets, and the ways to know callers. What
    /// is under way goes on with those it began with, but streams, whose callers are judged again. Every other setting
    /// stays as it was at the start.
    ///
    /// # Errors
    /// When the configuration does not work; then nothing has changed.
    pub async fn reload(&self, config: &Config) -> anyhow::Result<Replaced> {
        for warning in config.check()? {
            tracing::warn!("{warning}");
        }
        let authenticator = self.authenticator.get().renewed(config, &self.clock)?;
        let replaced = self
            .credentials
            .replace(&config.athos_whsec, &config.athos_api_key)?;
        self.authenticator.replace(authenticator);
        if let Err(error) = self.credentials.remember().await {
            tracing::warn!(%error, "failed to read credential usage");
        }
        self.worker.circuit_breaker().try_now(self.clock.now());
        self.store.arrivals().notify_one();
        Ok(replaced)
    }

    /// Stops: no new connections, open requests and attempts finish, queued writes are synced, files are closed.
    pub async fn stop(mut self) {
        tracing::info!("stopping");
        self.shutdown.cancel();
        let drained = tokio::time::timeout(DRAIN, async {
            for server in &mut self.servers {
                if let Err(error) = server.await {
                    tracing::error!(%error, "listener ended with an error");
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!("shutdown deadline passed with requests in flight; closing the store");
            self.servers.iter().for_each(JoinHandle::abort);
        }
        for task in self.running {
            if let Err(error) = task.await {
                tracing::error!(%error, "background task ended with an error");
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
        self.worker.record_drift().await;
        if let Err(error) = self.credentials.note().await {
            tracing::warn!(%error, "failed to persist credential usage");
        }
        self.store.close().await;
        tracing::info!("stopped");
    }
}

async fn bind(addr: SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{variable}={addr} is in use: stop the process that listens there, or choose another port"
        ),
        io::ErrorKind::AddrNotAvailable => Misconfigured(format!(
            "{variable}={addr} is not an address of this machine: use 127.0.0.1 or 0.0.0.0"
        ))
        .into(),
        io::ErrorKind::PermissionDenied => Misconfigured(format!(
            "{variable}={addr} may not be used by this user: choose a port above 1023"
        ))
        .into(),
        _ => anyhow::anyhow!("cannot listen at {variable}={addr}: {error}"),
    })
}

fn admin_router(metrics: PrometheusHandle) -> Router {
    const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    let render = async move || {
        (
            [(axum::http::header::CONTENT_TYPE, PROMETHEUS_TEXT)],
            metrics.render(),
        )
    };
    Router::new().route("/metrics", get(render))
}

/// SIGTERM and Ctrl-C. They are heard from the moment this is made, so it is made before anybody is told that the process
/// is ready.
pub struct ShutdownSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl ShutdownSignal {
    /// Listens for the signals.
    ///
    /// # Errors
    /// When the system does not let the process listen.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when the process is asked to stop.
    pub async fn received(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
