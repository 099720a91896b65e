//! `athos-backend serve`: the service until it is asked to stop. On SIGHUP it reads `.env` again and applies what can
//! change while it runs; a file that cannot be used is refused, and the service keeps its settings.

use std::ffi::OsString;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::config::{Config, EnvFile, Problems};
use crate::http::{Deadlines, sdk_warning};
use crate::lifecycle::{Options, Service, ShutdownSignal};

/// Runs the service.
pub(super) async fn run(config: &Config, clock: Clock, env_file: EnvFile) -> anyhow::Result<()> {
    // First: a signal without a listener ends the process.
    let mut hang_ups = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let warnings = config.check()?.into_iter().chain(sdk_warning(config));
    for warning in warnings.chain(env_file.unknown_names()) {
        tracing::warn!("{warning}");
    }
    let options = Options {
        clock,
        demo: None,
        run_worker: true,
        deadlines: Deadlines::default(),
    };
    let signal = ShutdownSignal::listen()?;
    let service = Service::start(config, options).await?;
    let mut active_file = env_file;
    let ended = {
        let mut running = std::pin::pin!(service.run(signal));
        loop {
            tokio::select! {
                ended = &mut running => break ended,
                _ = hang_ups.recv() => match reload(&service, &active_file).await {
                    Ok(file) => active_file = file,
                    Err(error) => tell_refusal(&error),
                },
            }
        }
    };
    service.stop().await;
    ended
}

/// One line in the log for each thing that is wrong.
fn tell_refusal(error: &anyhow::Error) {
    let log = |error: &str| {
        tracing::error!(
            error,
            "reload failed; the previous configuration stays in effect"
        )
    };
    match error.downcast_ref::<Problems>() {
        Some(problems) => problems.iter().for_each(log),
        None => log(&format!("{error:#}")),
    }
}

/// Reads the settings again and hands them to the service; the file that is in force now.
async fn reload(service: &Service, before: &EnvFile) -> anyhow::Result<EnvFile> {
    let file = before.read_again()?;
    let config = Config::read_again(&serve_flags(), &file)?;
    let replaced = service.reload(&config).await?;
    tracing::info!(
        added = replaced.added.join(", "),
        removed = replaced.removed.join(", "),
        "reloaded"
    );
    for warning in file.unknown_names() {
        tracing::warn!("{warning}");
    }
    for name in before.differences(&file) {
        if file.is_set_elsewhere(&name) {
            tracing::warn!(
                "{name} has changed in .env, but is set in the environment, which wins until a restart"
            );
        } else if Config::is_reloaded(&name) {
            tracing::info!("{name} has changed in .env and was read again");
        } else {
            tracing::warn!("{name} has changed in .env and takes effect with a restart");
        }
    }
    Ok(file)
}

/// The flags that `serve` was started with.
fn serve_flags() -> Vec<OsString> {
    let mut flags: Vec<_> = std::env::args_os().skip(1).collect();
    if flags.first().is_some_and(|command| command == "serve") {
        flags.remove(0);
    }
    flags
}
