//! The commands. Each is a few lines here: what they do is in the modules they call.

mod audit;
mod backup;
mod copy;
mod deliveries;
mod doctor;
mod events;
mod export;
mod forward;
mod listing;
mod output;
mod reconcile;
mod replay;
mod reps;
mod roster;
mod serve;
mod signature;
mod time_range;
mod trigger;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::ExitCode;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use url::Url;

use athos_api::local::reachable_addr;
use athos_api::setting::parse_address;

use crate::clock::Clock;
use crate::config::{
    Config, DatabaseUrl, EnvFile, LogFormat, Misconfigured, Problems, Unreadable, database_url,
};
use crate::demo;
use crate::http;
use crate::lifecycle::ShutdownSignal;
use crate::process;
use crate::store::InvalidUrl;
use crate::telemetry;
use athos_simulator as simulator;

/// The backend for embedding Athos: session tokens, signed webhooks that are never lost, and the scores.
///
/// Without a command it serves. `athos-backend demo` shows the whole loop on this machine, with no account.
#[derive(Parser, Debug)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
    /// What is wrong with variables and with `.env`.
    #[arg(skip)]
    problems: Vec<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the service (the default)
    Serve(Box<Config>),
    /// Run service, simulator and demo sign-in together, with nothing to configure
    Demo(demo::Args),
    /// Run the simulator of Athos alone
    Simulate(simulator::Options),
    /// Sign a sample webhook and send it to any URL
    Trigger(trigger::TriggerArgs),
    /// Print the signature header for a body
    Sign(signature::SignArgs),
    /// Say why a signature header, a body and a secret do or do not match
    Verify(signature::VerifyArgs),
    /// The inbox: list events, show one, replay
    Events(events::Args),
    /// The outbox: list deliveries, show one, replay, and test the endpoints of FORWARD_URLS
    Deliveries(deliveries::Args),
    /// Forward calls from before there was an endpoint
    Forward(forward::Args),
    /// What people did by hand: replays, erasures, and by which key or person
    Audit(audit::Args),
    /// Write calls to a file: CSV for spreadsheets, JSON lines for programs
    Export(Box<export::Args>),
    /// Compare Athos's list of calls with what is here, now, and bring in what is missing
    Reconcile(Box<reconcile::Args>),
    /// Copy the database to a file, while the service runs or not
    Backup(backup::Args),
    /// Copy the whole store into another, empty database: from SQLite to PostgreSQL, or back
    Copy(copy::Args),
    /// Check a deployment: settings, database, Athos, keys, clock, public URL; says what to do
    Doctor(Box<doctor::Args>),
    /// Remove every trace of a rep
    Reps(reps::Args),
    /// The reps who are registered at Athos: import a CSV file, list, look up
    Roster(roster::Args),
    /// Print this service's OpenAPI document
    Openapi,
    /// Ask a running service whether it is alive, for a container's HEALTHCHECK
    Healthcheck(HealthcheckArgs),
}

/// A count of what to print. The standard library's error would not help.
fn at_least_one(text: &str) -> Result<NonZeroU32, String> {
    let count = text.trim().parse();
    count.map_err(|_| "not a whole number, of at least 1".to_owned())
}

/// Which database a command works on that needs no other setting of the service.
#[derive(Args, Debug)]
struct Database {
    /// The SQLite file, or the database on a server
    #[arg(
        long,
        env,
        hide_env_values = true,
        global = true,
        value_parser = database_url,
        value_name = "URL",
        default_value = "sqlite://data/athos.db"
    )]
    database_url: DatabaseUrl,
}

#[derive(Args, Debug)]
struct HealthcheckArgs {
    /// Where the service listens
    #[arg(
        long,
        env = "BIND_ADDR",
        value_name = "ADDR",
        value_parser = parse_address,
        default_value = "127.0.0.1:8080"
    )]
    bind_addr: SocketAddr,
}

impl Cli {
    /// Reads the process's command line, and ends the process when a flag is wrong.
    ///
    /// # Errors
    /// When a variable that the command requires is wrong. Other problems of variables and of `.env` are kept for [`run`],
    /// since `doctor` reports them.
    pub fn from_process(env_file: &EnvFile) -> Result<Self, Problems> {
        let mut unreadable = Unreadable::default();
        let all = |unreadable: Unreadable| {
            [env_file.faults().to_vec(), unreadable.into_problems()].concat()
        };
        loop {
            let cli =
                Self::matches(&unreadable).and_then(|matches| Self::from_arg_matches(&matches));
            match cli {
                Ok(mut cli) => {
                    cli.problems = all(unreadable.without(cli.unused_variables()));
                    return Ok(cli);
                }
                Err(error) if unreadable.note(&Self::command(), &error, env_file) => {}
                Err(error)
                    if error.kind() == ErrorKind::MissingRequiredArgument
                        && !unreadable.is_empty() =>
                {
                    return Err(Problems::new(all(unreadable)));
                }
                Err(error) => error.exit(),
            }
        }
    }

    /// The variables whose value cannot matter with these flags.
    fn unused_variables(&self) -> &'static [&'static str] {
        match &self.command {
            Some(Command::Trigger(args)) if args.url.is_some() => &["BIND_ADDR", "PUBLIC_URL"],
            _ => &[],
        }
    }

    fn matches(unreadable: &Unreadable) -> Result<ArgMatches, clap::Error> {
        let skip_all = |arg: Arg| arg.env(None::<&str>);
        let skip = |arg: Arg| unreadable.skip_in(arg);
        let command = || {
            usage_of_help(Self::command()).mut_subcommands(|command| mut_all_args(command, skip))
        };
        // Without the environment first: the settings of `serve` must not break another command.
        let matches = command().mut_args(skip_all).try_get_matches()?;
        if matches.subcommand().is_some() {
            return Ok(matches);
        }
        command().mut_args(skip).try_get_matches()
    }
}

/// Makes errors show the same usage as the help: clap's own would include every flag that the environment sets.
fn usage_of_help(mut command: clap::Command) -> clap::Command {
    fn keep(mut command: clap::Command) -> clap::Command {
        let usage = command.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").to_owned();
        command.override_usage(usage).mut_subcommands(keep)
    }
    // The names of the commands above become part of the usage.
    command.build();
    keep(command)
}

/// Changes the arguments of a command and of the commands within it.
fn mut_all_args(command: clap::Command, change: impl Fn(Arg) -> Arg + Copy) -> clap::Command {
    let command = command.mut_args(change);
    command.mut_subcommands(|inner| mut_all_args(inner, change))
}

/// Prints the error with its causes to standard error, in one paragraph. Returns the exit code: 2 for settings and flags
/// that cannot work, 1 for everything else. A closed standard output is not reported.
#[must_use]
pub fn report(error: &anyhow::Error) -> ExitCode {
    if output::is_closed(error) {
        return ExitCode::from(output::CLOSED_EXIT_CODE);
    }
    // Standard error may be closed too; the exit code remains.
    let _unread = writeln!(io::stderr(), "athos-backend: {error:#}");
    let misconfigured = error.is::<Misconfigured>()
        || error.is::<Problems>()
        || error.is::<InvalidUrl>()
        || error.is::<trigger::BadArgs>();
    ExitCode::from(if misconfigured { 2 } else { 1 })
}

/// Runs the command to its end.
///
/// # Errors
/// Whatever keeps it from doing what it was asked.
pub fn run(cli: Cli, env_file: EnvFile) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let clock = Clock::system();
    let mut out = output::Output::standard();
    process::keep_files_private();
    let command = cli
        .command
        .unwrap_or_else(|| Command::Serve(Box::new(cli.config)));
    if !cli.problems.is_empty() && !matches!(command, Command::Doctor(_)) {
        return Err(Problems::new(cli.problems).into());
    }
    match command {
        Command::Serve(config) => {
            telemetry::start_logging(config.log_format)?;
            process::keep_memory_private();
            process::raise_open_file_limit(config.max_connections.get());
            runtime.block_on(serve::run(&config, clock, env_file))?;
        }
        Command::Demo(args) => {
            telemetry::start_logging(LogFormat::Pretty)?;
            process::keep_memory_private();
            runtime.block_on(demo::run(args, clock, &mut out))?;
        }
        Command::Simulate(options) => {
            telemetry::start_logging(LogFormat::Pretty)?;
            runtime.block_on(simulate(options, clock, &mut out))?;
        }
        Command::Trigger(args) => {
            let triggered = runtime.block_on(trigger::trigger(args, clock))?;
            triggered.write_to(&mut out)?;
            return Ok(ExitCode::from(u8::from(!triggered.is_success())));
        }
        Command::Sign(args) => {
            signature::sign(&args, &clock, &mut io::stdin())?.write_to(&mut out)?;
        }
        Command::Verify(args) => {
            let verified = signature::verify(&args, &clock, &mut io::stdin())?;
            verified.write_to(&mut out)?;
            return Ok(ExitCode::from(verified.exit_code()));
        }
        Command::Events(args) => {
            telemetry::start_logging(LogFormat::Pretty)?;
            runtime.block_on(events::run(&args, &clock, &mut out))?;
        }
        Command::Deliveries(args) => {
            telemetry::start_logging(LogFormat::Pretty)?;
            return runtime.block_on(deliveries::run(&args, &clock, &mut out));
        }
        Command::Forward(args) => {
            telemetry::start_logging(LogFormat::Pretty)?;
            runtime.block_on(forward::run(&args, &clock, &mut out))?;
        }
        Command::Audit(args) => {
            telemetry::start_logging(LogFormat::Pretty)?;
            runtime.block_on(audit::run(&args, &clock, &mut out))?;
        }
        Command::Export(args) => {
            telemetry::start_logging(LogFormat::Pretty)?;
            runtime.block_on(export::run(&args, &clock, &mut out))?;
        }
        Command::Reconcile(args) => {
            telemetry::start_logging(args.config.log_format)?;
            runtime.block_on(reconcile::run(&args, clock, &mut out))?;
        }
        Command::Backup(args) => {
            telemetry::start_logging(LogFormat::Pretty)?;
            runtime.block_on(backup::run(&args, &mut out))?;
        }
        Command::Copy(args) => {
            telemetry::start_logging(LogFormat::Pretty)?;
            runtime.block_on(copy::run(&args, &mut out))?;
        }
        Command::Doctor(args) => {
            return runtime.block_on(doctor::run(
                &args,
                &clock,
                &env_file,
                &cli.problems,
                &mut out,
            ));
        }
        Command::Reps(args) => {
            telemetry::start_logging(LogFormat::Pretty)?;
            runtime.block_on(reps::run(&args, &clock, &mut out))?;
        }
        Command::Roster(args) => {
            telemetry::start_logging(args.log_format())?;
            return runtime.block_on(roster::run(&args, clock, &mut out));
        }
        Command::Openapi => writeln!(out, "{}", http::openapi()?)?,
        Command::Healthcheck(args) => runtime.block_on(healthcheck(&args))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn simulate(
    options: simulator::Options,
    clock: Clock,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let signal = ShutdownSignal::listen()?;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let facts = options.facts();
    let simulator = simulator::start(options, clock, shutdown.clone()).await?;
    writeln!(
        out,
        "simulator: {}\nsdk: {}\n{facts}\nready",
        simulator.base_url(),
        simulator.sdk_url(),
    )?;
    signal.received().await;
    shutdown.cancel();
    simulator.stopped().await?;
    Ok(())
}

async fn healthcheck(args: &HealthcheckArgs) -> anyhow::Result<()> {
    let addr = reachable_addr(args.bind_addr);
    let url: Url = format!("http://{addr}/healthz").parse()?;
    let client = crate::clients::direct_http_client(&url, std::time::Duration::from_secs(3))?;
    let answer = client.get(url.clone()).send().await;
    let answer = answer.with_context(|| format!("no answer from {url}"))?;
    anyhow::ensure!(
        answer.status().is_success(),
        "{url} answered {}",
        answer.status()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::names;

    #[test]
    fn every_variable_that_a_command_reads_is_known_by_name() {
        fn variables(command: &clap::Command) -> Vec<String> {
            let own = command.get_arguments().filter_map(Arg::get_env);
            let own = own.map(|name| name.to_string_lossy().into_owned());
            own.chain(command.get_subcommands().flat_map(variables))
                .collect()
        }
        let mut all = variables(&Cli::command());
        assert!(!all.is_empty());
        all.retain(|name| !names::is_known(name));
        assert_eq!(all, Vec::<String>::new());
    }
}
