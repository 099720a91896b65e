//! `athos-backend demo`: the service and the simulator in one process, with nothing to configure. The two still meet
//! over HTTP only, as in production; so do the service and the receiver that it forwards to.

mod receiver;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock::{Clock, new_id};
use crate::config::Config;
use crate::forward::signature::ForwardSecret;
use crate::http::{DEMO_COOKIE, Deadlines, Demo, Received};
use crate::lifecycle::{Options, Service, ShutdownSignal};
use athos_api::local::reachable_addr;
use athos_api::setting::parse_address;
use athos_simulator as simulator;
use receiver::Receiver;

/// Flags of `demo`. It reads no variables: a production `.env` must not reach it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where the service listens; port 0 takes any free port
    #[arg(long, value_name = "ADDR", value_parser = parse_address, default_value = "127.0.0.1:8080")]
    bind: SocketAddr,

    /// Where the simulator listens
    #[arg(long, value_name = "ADDR", value_parser = parse_address, default_value = "127.0.0.1:8081")]
    simulator_bind: SocketAddr,

    /// Where the receiver of forwarded messages listens
    #[arg(long, value_name = "ADDR", value_parser = parse_address, default_value = "127.0.0.1:0")]
    receiver_bind: SocketAddr,

    /// Where metrics are served
    #[arg(long, value_name = "ADDR", value_parser = parse_address, default_value = "127.0.0.1:0")]
    admin_bind: SocketAddr,

    /// Keep the database in this file; else it is in a folder of its own that is removed at the end
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,

    /// The service token to accept; else a fresh one
    #[arg(long, value_name = "TOKEN")]
    service_token: Option<SecretString>,

    /// How long the simulator takes to score a call, such as 2s, 500ms or 0s
    #[arg(long, value_name = "TIME", value_parser = simulator::parse_duration, default_value = "2s")]
    score_delay: std::time::Duration,

    /// How long after a failed delivery the simulator's one retry follows
    #[arg(long, value_name = "TIME", value_parser = simulator::parse_duration, default_value = "5m")]
    webhook_retry: std::time::Duration,

    /// Which generation of Athos's contract the simulator speaks
    #[arg(long, value_enum, default_value_t = simulator::Contract::External)]
    contract: simulator::Contract,

    /// The simulator's seed, to have the same calls and scores again; else another one with each start
    #[arg(long, value_name = "N", value_parser = simulator::parse_seed)]
    seed: Option<u64>,
}

/// Runs the demo until it is asked to stop; where everything is goes to `out`.
///
/// # Errors
/// A port in use, or a database that cannot be created.
pub(crate) async fn run(args: Args, clock: Clock, out: &mut impl Write) -> anyhow::Result<()> {
    let (database, scratch) = match args.database {
        Some(file) => (file, None),
        None => {
            let folder = std::env::temp_dir().join(format!("athos-demo-{}", new_id(&clock)));
            (folder.join("athos.db"), Some(folder))
        }
    };
    let signal = ShutdownSignal::listen()?;
    let jwt_secret = random_secret("demo_jwt");
    let api_key = random_secret("ath_live_demo");
    let webhook_secret = random_secret("whsec_demo");
    let service_token = args
        .service_token
        .unwrap_or_else(|| random_secret("svc_demo"));

    let simulator_shutdown = CancellationToken::new();
    let defaults = simulator::Options::default();
    let seed = args.seed.unwrap_or(defaults.seed);
    let simulator_options = simulator::Options {
        seed,
        bind: args.simulator_bind,
        api_keys: vec![api_key.clone()],
        webhook_secrets: vec![webhook_secret.clone()],
        score_delay: args.score_delay,
        webhook_retry: args.webhook_retry,
        contract: args.contract,
        ..defaults
    };
    let simulator =
        simulator::start(simulator_options, clock.clone(), simulator_shutdown.clone()).await?;

    let listener = TcpListener::bind(args.receiver_bind)
        .await
        .with_context(|| format!("cannot listen on --receiver-bind {}", args.receiver_bind))?;
    let receiver_url = format!("http://{}/", reachable_addr(listener.local_addr()?));
    let forward_secret = random_forward_secret();
    let received = Received::default();
    let receiver = Receiver {
        listener,
        secret: ForwardSecret::parse(forward_secret.expose_secret()).map_err(anyhow::Error::msg)?,
        received: received.clone(),
        clock: clock.clone(),
    };
    let receiver_shutdown = CancellationToken::new();
    let receiving = tokio::spawn(receiver.run(receiver_shutdown.clone()));

    let config = Config::from_flags([
        format!("--bind-addr={}", args.bind),
        format!("--admin-addr={}", args.admin_bind),
        format!("--athos-base-url={}", simulator.base_url()),
        format!("--athos-sdk-url={}", simulator.sdk_url()),
        format!("--athos-api-key={}", api_key.expose_secret()),
        format!("--athos-whsec={}", webhook_secret.expose_secret()),
        format!("--auth-jwt-secret={}", jwt_secret.expose_secret()),
        format!("--auth-cookie={DEMO_COOKIE}"),
        format!("--service-tokens={}", service_token.expose_secret()),
        format!("--database-url=sqlite://{}", database.display()),
        format!("--forward-urls={receiver_url}"),
        format!("--forward-secrets={}", forward_secret.expose_secret()),
        "--mint-limit-per-rep=600".to_owned(),
        // Whoever signs in may practise, whichever generation the simulator speaks.
        "--auto-enroll=true".to_owned(),
    ])?;
    config.check()?;
    let options = Options {
        clock,
        demo: Some(Demo {
            secret: jwt_secret,
            received,
        }),
        run_worker: true,
        deadlines: Deadlines::default(),
    };
    let service = Service::start(&config, options).await?;
    let page = format!("http://{}", reachable_addr(service.addr));
    let webhook: Url = format!("{page}/athos/webhook").parse()?;
    simulator.set_webhook_url(webhook.clone());

    // Written at once: a reader of the first line only, such as `head`, does not end the demo.
    let mut facts = Vec::new();
    writeln!(facts, "page: {page}")?;
    writeln!(facts, "simulator: {}", simulator.origin())?;
    writeln!(facts, "service-token: {}", service_token.expose_secret())?;
    writeln!(facts, "webhook: {webhook}")?;
    writeln!(facts, "receiver: {receiver_url}")?;
    writeln!(facts, "database: {}", database.display())?;
    writeln!(
        facts,
        "metrics: http://{}/metrics",
        reachable_addr(service.admin_addr)
    )?;
    writeln!(facts, "seed: {seed}")?;
    writeln!(facts, "ready")?;
    out.write_all(&facts)?;

    let ended = service.run(signal).await;
    // The simulator first: what it is delivering is still received.
    simulator_shutdown.cancel();
    simulator.stopped().await?;
    service.stop().await;
    receiver_shutdown.cancel();
    receiving.await?;
    if let Some(folder) = scratch {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove the demo's folder {}", folder.display()))?;
    }
    ended
}

/// A secret of FORWARD_SECRETS.
fn random_forward_secret() -> SecretString {
    let random: [u8; 32] = rand::random();
    SecretString::from(format!("whsec_{}", STANDARD.encode(random)))
}

/// A random secret.
fn random_secret(prefix: &str) -> SecretString {
    let random: [u8; 24] = rand::random();
    SecretString::from(format!(
        "{prefix}_{}",
        base16ct::lower::encode_string(&random)
    ))
}
