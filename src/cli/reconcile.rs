//! `athos-backend reconcile`: one reconciliation now, with its progress printed. It puts missing calls into the inbox; the
//! service on the same database fetches them, now or when it starts.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::clients::athos_client;
use crate::clock::Clock;
use crate::config::{Config, source};
use crate::model::{Source, TimeBound, counted};
use crate::store::{self, MINT_MAY_TAKE, SharedStore};
use crate::worker::drift;
use crate::worker::reconcile::{
    PageProgress, Reconciler, RunOptions, RunOutcome, SourceConfig, Window,
};

use super::Misconfigured;

/// Mints are checked at least this far back.
const MINTS_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Flags of `reconcile`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Only this source: roleplay or real_call; else each of SOURCES
    #[arg(long, value_name = "SOURCE", value_parser = source)]
    source: Option<Source>,

    /// The earliest end of a call (of a real call: its start); else from where the run before ended, less the overlap.
    /// A moment (2026-06-05T18:09:14Z), a day in UTC (2026-06-05, from its start), or how long ago (2h, 7d)
    #[arg(long, visible_alias = "since", value_name = "TIME")]
    from: Option<TimeBound>,

    /// The latest; else now. A day is meant to its end
    #[arg(long, visible_alias = "until", value_name = "TIME")]
    to: Option<TimeBound>,

    /// Say what would come in, and write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    pub(super) config: Config,
}

/// Runs it, and prints its progress on `out`.
pub(super) async fn run(
    args: &Args,
    clock: Clock,
    out: &mut (impl Write + Send),
) -> anyhow::Result<()> {
    let config = &args.config;
    config.check_for_command()?;
    let athos = Arc::new(athos_client(
        &config.athos_base_url,
        &config.athos_api_key,
        Arc::new(()),
        &clock,
    )?);
    let store = store::open(&config.database_url).await?;
    let breaker = Arc::default();
    let sources = args
        .source
        .map_or_else(|| config.sources.clone(), |source| vec![source]);
    let mut reconciled = Ok(());
    for source in sources {
        let source = SourceConfig::from_config(config, source);
        let reconciler = Reconciler::new(&store, &athos, &breaker, &clock, source);
        let this = reconcile(args, &reconciler, &store, &clock, out).await;
        // One source may fail and the other succeed; the command ends with the last error.
        if let Err(error) = this
            && let Err(before) = std::mem::replace(&mut reconciled, Err(error))
        {
            tracing::error!("{before:#}");
        }
    }
    if !args.dry_run {
        drift::record(&athos, &*store, clock.now()).await;
    }
    store.close().await;
    reconciled
}

async fn reconcile(
    args: &Args,
    reconciler: &Reconciler,
    store: &SharedStore,
    clock: &Clock,
    out: &mut (impl Write + Send),
) -> anyhow::Result<()> {
    let next = reconciler.next_window().await?;
    let now = clock.now();
    let window = Window {
        from: args.from.map_or(next.from, |bound| bound.first(now)),
        to: args.to.map_or(next.to, |bound| bound.last(now)),
    };
    if window.from > window.to {
        let (from, to) = (window.from, window.to);
        return Err(Misconfigured(format!("--from {from} is later than --to {to}")).into());
    }
    let source = reconciler.source();
    let axis = match source {
        Source::Roleplay => "ended",
        Source::RealCall => "began",
    };
    writeln!(
        out,
        "source {source}, calls that {axis} from {} to {}",
        window.from, window.to
    )?;
    let is_named = args.from.is_some() || args.to.is_some();
    let asked = RunOptions {
        window: is_named.then_some(window),
        dry_run: args.dry_run,
    };
    let verb = if args.dry_run {
        "would come in"
    } else {
        "brought in"
    };
    let mut printed = Ok(());
    let ended = reconciler
        .run_asked(asked, |progress| {
            if printed.is_ok() {
                printed = print_page(out, &progress, verb);
            }
        })
        .await?;
    printed.context("cannot write to standard output")?;
    let tally = match ended {
        RunOutcome::Completed(tally) => tally,
        RunOutcome::Failed(tally, reason) => {
            anyhow::bail!(
                "broke off after {}, {} {verb}: {reason}",
                counted(tally.pages, "page"),
                counted(tally.repaired, "call")
            )
        }
        RunOutcome::Refused(reason) => anyhow::bail!(reason),
        RunOutcome::Held(until) => anyhow::bail!("Athos must not be asked before {until}"),
    };
    writeln!(
        out,
        "done: {}, {}, {} {verb}",
        counted(tally.pages, "page"),
        counted(tally.seen, "call"),
        tally.repaired
    )?;
    if tally.repaired > 0 && !args.dry_run {
        writeln!(
            out,
            "they are in the inbox: the running service fetches them within seconds, else `serve` does when it starts"
        )?;
    }
    if source == Source::Roleplay {
        count_unseen_mints(window, store, clock, out).await?;
    }
    Ok(())
}

/// Counts mints without a call. Only role-plays have mints.
async fn count_unseen_mints(
    window: Window,
    store: &SharedStore,
    clock: &Clock,
    out: &mut (impl Write + Send),
) -> anyhow::Result<()> {
    let now = clock.now();
    let since = window.from.min(now.minus(MINTS_FOR));
    let until = now.minus(MINT_MAY_TAKE);
    let unseen = store.mints_without_call(since, until).await?;
    writeln!(
        out,
        "session tokens from {since} to {until} without a call of their rep at that time: {unseen} (not used, or the call \
         never reached us)"
    )?;
    Ok(())
}

fn print_page(out: &mut impl Write, progress: &PageProgress<'_>, verb: &str) -> io::Result<()> {
    let (page, calls, count) = (progress.page, progress.calls, progress.repairs.len());
    writeln!(
        out,
        "page {page}: {}, {count} {verb}",
        counted(calls, "call")
    )?;
    for repair in progress.repairs {
        writeln!(out, "  {} ({})", repair.call_id, repair.cause.as_str())?;
    }
    out.flush()
}
