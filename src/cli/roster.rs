//! `athos-backend roster`: the reps who are registered at Athos, from a terminal. Linked ids are stored in the service's
//! database.

mod compare;
mod file;
mod import;
mod report;
mod retry;

use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use self::import::Import;
use self::report::ImportReport;
use super::{Misconfigured, at_least_one};
use crate::clients::athos_client;
use crate::clock::Clock;
use crate::config::{Config, LogFormat};
use crate::model::{AGENCY_PREFIX, AGENT_PREFIX, PlatformId};
use crate::store;
use crate::worker::drift;
use athos_api::types::{Agent, AgentQuery, Handle};
use athos_api::{self as athos, Class, Client, npn_digits};

/// Flags of `roster`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Register the reps of a CSV file, and compare those who are registered already
    ///
    /// Columns: firstName, lastName; platformAgentId (your id of the rep), npn or email, at least one; platformAgencyId
    /// (yours) or agencyId (Athos's); agencyName, with which an agency of yours is created or renamed first. Other columns
    /// are left alone. It may be stopped and run again at any time.
    ///
    /// The whole file is judged before anything is sent. A row that cannot be right (an id like 8.84E+15, #N/A, NULL or
    /// 12345.0, a character that cannot be seen) is refused by its line and column, and the others are registered. A rep
    /// who is registered with another name, NPN, address or agency than the file says is a mismatch: Athos changes nobody.
    Import(Box<ImportArgs>),
    /// List the reps who are registered
    List(Box<ListArgs>),
    /// Look a rep up by any handle: Athos's id, yours, the NPN, or the e-mail address
    Find(Box<FindArgs>),
}

#[derive(clap::Args, Debug)]
struct ImportArgs {
    /// The file: CSV as Excel, Google Sheets and LibreOffice write it, in UTF-8 or UTF-16, the columns' names on top
    file: PathBuf,
    /// Say what would become of each row, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write here what became of each row, as CSV: row, status, agentId, reason; only an earlier report is replaced
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Has no effect any more: whoever is registered is compared
    #[arg(long, hide = true)]
    ask_again: bool,
    #[command(flatten)]
    config: Config,
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    /// Only those of this agency (Athos's id)
    #[arg(long, value_name = "ID")]
    agency: Option<String>,
    /// At most so many; else all
    #[arg(long, value_name = "COUNT", value_parser = at_least_one)]
    limit: Option<NonZeroU32>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: Config,
}

#[derive(clap::Args, Debug)]
struct FindArgs {
    /// athos_agent_…, your id, an NPN, or an e-mail address
    handle: String,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: Config,
}

impl Args {
    fn config(&self) -> &Config {
        match &self.what {
            Action::Import(args) => &args.config,
            Action::List(args) => &args.config,
            Action::Find(args) => &args.config,
        }
    }

    pub(super) fn log_format(&self) -> LogFormat {
        self.config().log_format
    }
}

/// Runs the command, and prints its result on `out`. The exit code is 1 when a row was not registered as it is, or nobody
/// was found.
pub(super) async fn run(
    args: &Args,
    clock: Clock,
    out: &mut (impl Write + Send),
) -> anyhow::Result<ExitCode> {
    let config = args.config();
    config.check_for_command()?;
    let athos = athos_client(
        &config.athos_base_url,
        &config.athos_api_key,
        std::sync::Arc::new(()),
        &clock,
    )?;
    let is_well = match &args.what {
        Action::Import(args) => import(args, athos, clock, out).await?,
        Action::List(args) => list(args, &athos, out).await?,
        Action::Find(args) => find(args, &athos, out).await?,
    };
    Ok(ExitCode::from(u8::from(!is_well)))
}

async fn import(
    args: &ImportArgs,
    athos: Client,
    clock: Clock,
    out: &mut (impl Write + Send),
) -> anyhow::Result<bool> {
    if args.ask_again {
        tracing::warn!("--ask-again has no effect any more: whoever is registered is compared");
    }
    let named = args.file.display();
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {named}"))?;
    let sheet = file::read(&bytes).map_err(|why| Misconfigured(format!("{named}: {why}")))?;
    if !sheet.ignored.is_empty() {
        tracing::info!("ignored columns: {:?}", sheet.ignored);
    }
    let mut report = ImportReport::begin(sheet.rows.len(), args.report.as_deref())?;
    let store = store::open(&args.config.database_url).await?;
    let import = Import {
        athos,
        store: Arc::clone(&store),
        clock,
        is_dry_run: args.dry_run,
    };
    import.run(sheet.rows, &mut report).await;
    if !args.dry_run {
        drift::record(&import.athos, &*store, import.clock.now()).await;
    }
    store.close().await;
    report.end(out)
}

async fn list(args: &ListArgs, athos: &Client, out: &mut impl Write) -> anyhow::Result<bool> {
    let query = AgentQuery {
        handle: None,
        agency_id: args.agency.clone(),
    };
    let mut left = args.limit.map_or(usize::MAX, |limit| limit.get() as usize);
    let mut cursor: Option<String> = None;
    while left > 0 {
        let page = athos.list_agents(&query, cursor.as_deref()).await;
        let page = page.map_err(|error| explain(error, args.agency.as_deref()))?;
        for agent in page.agents.iter().take(left) {
            print(agent, args.json, out)?;
        }
        left = left.saturating_sub(page.agents.len());
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(true)
}

/// Looks the text up as every handle that it could be: an id of ours may look like anything. A handle that Athos refuses as
/// malformed counts as not found.
async fn find(args: &FindArgs, athos: &Client, out: &mut impl Write) -> anyhow::Result<bool> {
    let text = args.handle.trim();
    if text.starts_with(AGENCY_PREFIX) {
        return Err(Misconfigured(format!(
            "{text} is an agency: `roster list --agency {text}` shows its reps"
        ))
        .into());
    }
    let mut found: Vec<Agent> = Vec::new();
    for handle in handles(text) {
        let query = AgentQuery {
            handle: Some(handle),
            agency_id: None,
        };
        let page = match athos.list_agents(&query, None).await {
            Err(error) if error.is_invalid_request() => continue,
            page => page.map_err(|error| explain(error, None))?,
        };
        for agent in page.agents {
            if !found.contains(&agent) {
                print(&agent, args.json, out)?;
                found.push(agent);
            }
        }
    }
    if found.is_empty() && !args.json {
        writeln!(out, "nobody is registered as {text:?}")?;
    }
    Ok(!found.is_empty())
}

/// The handles that a text could be.
fn handles(text: &str) -> Vec<(Handle, String)> {
    if text.starts_with(AGENT_PREFIX) {
        return vec![(Handle::Athos, text.to_owned())];
    }
    let ours = PlatformId::new(text).ok();
    let email = text.contains('@').then(|| text.to_lowercase());
    let all = [
        (Handle::Ours, ours.map(|id| id.to_string())),
        (Handle::Npn, npn_digits(text)),
        (Handle::Email, email),
    ];
    let all = all.into_iter();
    all.filter_map(|(handle, value)| Some((handle, value?)))
        .collect()
}

fn explain(error: athos::Error, agency: Option<&str>) -> anyhow::Error {
    match (error.class(), retry::code(&error), agency) {
        (Class::NotFound, "AGENCY_NOT_FOUND", Some(agency)) => anyhow::anyhow!(
            "Athos has no agency {agency:?}; --agency takes Athos's id of one ({AGENCY_PREFIX}…), which `roster list` shows \
             with each rep"
        ),
        (Class::NotFound, "AGENCY_NOT_FOUND" | "AGENT_NOT_FOUND", _) => error.into(),
        (Class::NotFound, ..) => anyhow::anyhow!(retry::no_roster(&error)),
        _ => error.into(),
    }
}

fn print(agent: &Agent, json: bool, out: &mut impl Write) -> std::io::Result<()> {
    if json {
        let line = json!({
            "id": agent.id,
            "platformAgentId": agent.platform_id,
            "firstName": agent.first_name,
            "lastName": agent.last_name,
            "email": agent.email,
            "npn": agent.npn,
            "agencyId": agent.agency_id,
            "createdAt": agent.created_at,
        });
        return writeln!(out, "{line}");
    }
    let or_none = |text: &Option<String>| text.as_deref().unwrap_or("-").escape_debug().to_string();
    writeln!(
        out,
        "{}  {}  {} {}  npn {}  {}  {}",
        agent.id,
        or_none(&agent.platform_id),
        agent.first_name.escape_debug(),
        agent.last_name.escape_debug(),
        or_none(&agent.npn),
        or_none(&agent.email),
        agent.agency_id,
    )
}
