//! `athos-backend reps`: what can be done about a rep from a terminal of the machine that has the database, beside the
//! running service or without it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use crate::clock::Clock;
use crate::http::wire;
use crate::model::{RepId, plural};
use crate::store::{self, Actor, ErasedRows, Privacy};

use super::{Database, Misconfigured};

/// How often, and how long, to try to truncate the write-ahead log while others read.
const MAX_TRIES: u32 = 10;
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Flags of `reps`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Action,

    #[command(flatten)]
    database: Database,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Remove every trace of a rep, and keep out what comes late about calls that began before now
    Delete(DeleteArgs),
}

#[derive(clap::Args, Debug)]
struct DeleteArgs {
    /// The rep's id, ours or Athos's
    #[arg(value_parser = rep)]
    rep: RepId,
    /// Say how many rows there are, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

fn rep(text: &str) -> Result<RepId, crate::model::BadId> {
    RepId::new(text)
}

/// Runs the command, and prints its result on `out`.
pub(super) async fn run(args: &Args, clock: &Clock, out: &mut impl Write) -> anyhow::Result<()> {
    let Action::Delete(delete) = &args.what;
    if !delete.dry_run && !delete.yes && !io::stdin().is_terminal() {
        let why = "this removes data for good: look with --dry-run first, then say --yes";
        return Err(Misconfigured(why.to_owned()).into());
    }
    let store = store::open_existing(&args.database.database_url).await?;
    let done = delete_rep(&*store, delete, clock, args.json, out).await;
    store.close().await;
    done
}

async fn delete_rep(
    store: &dyn Privacy,
    args: &DeleteArgs,
    clock: &Clock,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if args.dry_run || !args.yes {
        let rows = store.preview_erasure(&args.rep, clock.now()).await?;
        if args.dry_run {
            return Ok(print(out, rows, true, json)?);
        }
        print(out, rows, true, false)?;
        if !is_confirmed(&args.rep, out)? {
            anyhow::bail!("nothing was removed");
        }
    }
    // Recorded first: if this process ends, the service or the next `reps delete` continues.
    store.resume_erasures().await?;
    let rows = store
        .erase(&args.rep, Actor::Command, clock.now())
        .await
        .map_err(|error| {
            anyhow::Error::new(error)
                .context("not finished; the service goes on when it runs, or repeat the command")
        })?;
    print(out, rows, false, json)?;
    for _ in 0..MAX_TRIES {
        if store.truncate_wal().await? {
            return Ok(());
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    tracing::warn!(
        "failed to truncate the write-ahead log while the database is read; it holds removed content until the next hour"
    );
    Ok(())
}

fn is_confirmed(rep: &RepId, out: &mut impl Write) -> io::Result<bool> {
    write!(out, "This cannot be undone. Type the id again to go on: ")?;
    out.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == rep.as_str())
}

fn print(out: &mut impl Write, rows: ErasedRows, dry_run: bool, json: bool) -> io::Result<()> {
    if json {
        let said = json!({ "finished": !dry_run, "dryRun": dry_run, "rows": wire::ErasedRows::from(rows) });
        return writeln!(out, "{said}");
    }
    let verb = if dry_run {
        "would be removed"
    } else {
        "removed"
    };
    for (kind, count) in rows.by_kind() {
        writeln!(out, "{count:>8} {} {verb}", plural(count, kind))?;
    }
    Ok(())
}
