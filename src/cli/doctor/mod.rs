//! `athos-backend doctor`: checks a deployment from where it runs, also before its first start, and says what works and what
//! to do about the rest. It changes nothing, waits seconds at most, and shows no secret.

mod credentials;
mod database;
mod finding;
mod forwarding;
mod network;
mod server;
mod settings;
mod webhook;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use athos_api::setting::parse_url;
use url::Url;

use self::finding::{CheckReport, CheckStatus, Finding};
use super::Misconfigured;
use crate::clock::Clock;
use crate::config::{Config, EnvFile};

/// Longest time for one check.
const DEADLINE: Duration = Duration::from_secs(5);

/// Flags of `doctor`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Look at nothing beyond this machine
    #[arg(long, conflicts_with_all = ["webhook", "url"])]
    offline: bool,

    /// Also send a signed event, which the service keeps and ignores, the way Athos does: through whatever is in front
    #[arg(long)]
    webhook: bool,

    /// Send it here; else to /athos/webhook at `PUBLIC_URL`
    #[arg(long, value_name = "URL", requires = "webhook", value_parser = parse_url)]
    url: Option<Url>,

    #[command(flatten)]
    config: Config,
}

/// Runs the checks, and prints the findings on `out`. The exit code is 1 when something does not work.
pub(super) async fn run(
    args: &Args,
    clock: &Clock,
    env_file: &EnvFile,
    problems: &[String],
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let report = examine(args, clock, env_file, problems).await?;
    if args.json {
        report.write_json(out)?;
    } else {
        report.write_text(out)?;
    }
    Ok(ExitCode::from(u8::from(
        report.worst() == CheckStatus::Fail,
    )))
}

async fn examine(
    args: &Args,
    clock: &Clock,
    env_file: &EnvFile,
    problems: &[String],
) -> anyhow::Result<CheckReport> {
    let config = &args.config;
    let target = args.webhook.then(|| target(args)).transpose()?;
    let mut findings = settings::check_all(config, env_file, problems, clock);
    if args.offline {
        findings.extend(database::check_all(config, clock).await);
        findings.push(Finding::skipped("network", "not looked at, as asked"));
        return Ok(CheckReport(findings));
    }
    // All at once: together they take as long as the slowest.
    let (database, athos, callers, service, endpoints, webhook) = tokio::join!(
        database::check_all(config, clock),
        network::look_at_athos(config, clock),
        network::look_at_callers(config, clock),
        network::look_at_service(config),
        forwarding::look_at_endpoints(config, clock),
        async {
            match &target {
                Some(url) => Some(webhook::send(url, &config.athos_whsec, clock).await),
                None => None,
            }
        },
    );
    findings.extend(callers);
    findings.extend(database);
    findings.extend(athos);
    findings.extend(service);
    findings.extend(endpoints);
    findings.extend(webhook);
    Ok(CheckReport(findings))
}

/// The URL that the event is sent to.
fn target(args: &Args) -> anyhow::Result<Url> {
    if let Some(url) = &args.url {
        return Ok(url.clone());
    }
    let Some(public) = &args.config.public_url else {
        return Err(Misconfigured(
            "where to send the event is not known: set PUBLIC_URL, or name the webhook's URL with --url".to_owned(),
        )
        .into());
    };
    Ok(network::below(public, &["athos", "webhook"]))
}
