//! Start and stop of the service: the order in which things open, and in which they close so that nothing acknowledged,
//! claimed or begun is lost.

mod housekeeping;
mod instance;
mod servers;
mod supervisor;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clients::athos_client;
use crate::clock::Clock;
use crate::config::Config;
use crate::credentials::{Credentials, KeyUsage, Replaced};
use crate::forward::{self, Forwarder};
use crate::http::{self, AppState, Authenticator, CallerLimits, Deadlines, Demo, Shared};
use crate::mint::Minter;
use crate::reloadable::Reloadable;
use crate::replica::Replica;
use crate::store::{self, SharedStore};
use crate::telemetry;
use crate::worker::Worker;
use crate::worker::reconcile::{Reconciler, SourceConfig};
use crate::worker::retention::{Retention, RetentionPolicy};
use housekeeping::Housekeeping;
pub(crate) use instance::Instance;
use servers::Servers;
use supervisor::Supervisor;

/// What a service is started with besides its configuration.
pub struct Options {
    /// The time.
    pub clock: Clock,
    /// Mounts the demo's sign-in, and what its receiver has got.
    pub demo: Option<Demo>,
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
    /// The store.
    pub store: SharedStore,
    /// The worker.
    pub worker: Arc<Worker>,
    /// The reconcilers, one for each source.
    pub reconcilers: Vec<Arc<Reconciler>>,
    /// The retention task.
    pub retention: Arc<Retention>,
    /// Sends calls on to the endpoints of `FORWARD_URLS`.
    pub forwarder: Arc<Forwarder>,
    /// The credentials that are shared with Athos.
    pub credentials: Arc<Credentials>,
    /// This process among the replicas.
    pub replica: Arc<Replica>,
    authenticator: Arc<Reloadable<Authenticator>>,
    clock: Clock,
    /// The lock on the database, held while it serves.
    _instance: Option<Arc<Instance>>,
    shutdown: CancellationToken,
    /// Tasks that outlive their request.
    tasks: TaskTracker,
    servers: Servers,
    background: Supervisor,
}

impl Service {
    /// Opens the store, binds the addresses, and starts working.
    ///
    /// # Errors
    /// With advice: a port in use, a database that cannot be opened, a key that is none.
    pub async fn start(config: &Config, options: Options) -> anyhow::Result<Self> {
        let Options {
            clock,
            demo,
            run_worker,
            deadlines,
        } = options;
        let forwarding = forward::Settings::new(config)?;
        let metrics = telemetry::metrics()?;
        let key_usage = Arc::new(KeyUsage::new(clock.clone()));
        let observer = Arc::clone(&key_usage) as _;
        let athos = athos_client(
            &config.athos_base_url,
            &config.athos_api_key,
            observer,
            &clock,
        )?;
        let athos = Arc::new(athos);
        let authenticator = Arc::new(Reloadable::new(Authenticator::new(config, &clock)?));
        // Bound before the database is opened: a second service by mistake fails here.
        let (bind_name, admin_name) = match demo {
            Some(_) => ("--bind ", "--admin-bind "),
            None => ("BIND_ADDR=", "ADMIN_ADDR="),
        };
        let listener = servers::bind(config.bind_addr, bind_name).await?;
        let admin_listener = servers::bind(config.admin_addr, admin_name).await?;
        let (addr, admin_addr) = (listener.local_addr()?, admin_listener.local_addr()?);
        let options = config.server_options();
        let store = store::open_with(&config.database_url, &options).await?;
        // On a server, any number of replicas is intended.
        let file = store::database_file(&config.database_url)?;
        let instance = file.map(|file| Arc::new(Instance::of(&file)));

        let credentials = Credentials::start(config, &athos, key_usage, &store, &clock).await?;
        let credentials = Arc::new(credentials);
        let replica = Replica::new(&store, &clock, credentials.fingerprint());
        let replica = Arc::new(replica);
        let policy = RetentionPolicy::from_config(config);
        let concurrency = config.fetch_concurrency.get();
        let worker = Arc::new(Worker::new(&store, &athos, &clock, policy, concurrency));
        worker.open_left_behind().await;
        let retention = Arc::new(Retention::new(&store, &clock, policy));
        let breaker = worker.circuit_breaker();
        let reconciler = |source: &_| {
            let source = SourceConfig::from_config(config, *source);
            Arc::new(Reconciler::new(&store, &athos, breaker, &clock, source))
        };
        let reconcilers: Vec<_> = config.sources.iter().map(reconciler).collect();
        let (pinned, enrolls) = (config.athos_contract.pinned(), config.auto_enroll);
        let minter = Minter::start(&athos, &store, &clock, pinned, enrolls).await?;
        let forwarder = Arc::new(Forwarder::start(forwarding, &store, &clock).await?);
        let limits = Arc::new(CallerLimits::from_config(config));

        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let mut background = Supervisor::new(&shutdown)?;
        let housekeeping = Arc::new(Housekeeping {
            metrics: metrics.clone(),
            limits: Arc::clone(&limits),
            authenticator: Arc::clone(&authenticator),
            credentials: Arc::clone(&credentials),
            worker: Arc::clone(&worker),
            store: Arc::clone(&store),
            clock: clock.clone(),
        });
        background.keep_up(&replica, Replica::run);
        background.keep_up(&housekeeping, Housekeeping::run);
        if run_worker {
            background.keep_up(&worker, Worker::run);
            let leading = Arc::clone(&replica);
            background.keep_up(&retention, move |it, until| {
                it.run(Arc::clone(&leading), until)
            });
            background.keep_up(&forwarder, Forwarder::run);
            let every = config.reconcile_every;
            for reconciler in &reconcilers {
                let leading = Arc::clone(&replica);
                background.keep_up(reconciler, move |it, until| {
                    it.run(every, Arc::clone(&leading), until)
                });
            }
        }
        let state = AppState::new(Shared {
            minter,
            store: Arc::clone(&store),
            athos,
            clock: clock.clone(),
            credentials: Arc::clone(&credentials),
            replica: Arc::clone(&replica),
            authenticator: Arc::clone(&authenticator),
            limits,
            deadlines,
            worker: Arc::clone(&worker),
            forwarder: Arc::clone(&forwarder),
            retention: Arc::clone(&retention),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        });
        let mut servers = Servers::new(deadlines, &shutdown);
        servers.serve_metrics(admin_listener, http::admin_app(state.clone(), metrics));
        servers.serve_public(listener, http::app(state, config, demo), config);
        if let Some(instance) = &instance {
            Arc::clone(instance).claim(shutdown.clone());
        }
        tracing::info!(%addr, metrics = %admin_addr, "listening");
        Ok(Self {
            addr,
            admin_addr,
            store,
            worker,
            reconcilers,
            retention,
            forwarder,
            credentials,
            replica,
            authenticator,
            clock,
            _instance: instance,
            shutdown,
            tasks,
            servers,
            background,
        })
    }

    /// Returns when the process is asked to stop by `signal`.
    ///
    /// # Errors
    /// When an essential part has failed: the process should end, so that its supervisor restarts it. Acknowledged events are
    /// on disk.
    pub async fn run(&self, signal: ShutdownSignal) -> anyhow::Result<()> {
        tokio::select! {
            () = signal.received() => Ok(()),
            () = self.store.failed() => anyhow::bail!("the database's writer has failed; start the service again"),
            () = self.servers.failed() => anyhow::bail!("a listener has failed; start the service again"),
        }
    }

    /// Applies the credentials of another configuration: Athos's keys and secrets, the ways to authenticate callers, and
    /// where messages are forwarded to.
    /// Requests under way keep the earlier ones; the callers of streams are authenticated again. Every other setting stays
    /// as it was at the start.
    ///
    /// # Errors
    /// When the configuration does not work; then nothing has changed.
    pub async fn reload(&self, config: &Config) -> anyhow::Result<Replaced> {
        for warning in config.check()? {
            tracing::warn!("{warning}");
        }
        let forwarding = forward::Settings::new(config)?;
        let authenticator = self.authenticator.get().renewed(config, &self.clock)?;
        let replaced = self.credentials.replace(config)?;
        self.authenticator.replace(authenticator);
        self.forwarder.replace(forwarding).await?;
        if let Err(error) = self.credentials.remember().await {
            tracing::warn!(%error, "failed to read credential usage");
        }
        self.replica.reloaded(self.credentials.fingerprint());
        self.worker.circuit_breaker().try_now(self.clock.now());
        self.store.due_times().wake();
        Ok(replaced)
    }

    /// Stops: no new connections, open requests and attempts finish, queued writes are synced, files are closed.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.shutdown.cancel();
        self.servers.end().await;
        self.background.end().await;
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

/// SIGTERM and Ctrl-C. They are caught from the moment this is created, which is before the process says that it is ready.
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
