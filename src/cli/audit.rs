//! `athos-backend audit`: what people did by hand, from a terminal of the machine that has the database.

use std::io::Write;
use std::num::NonZeroU32;

use super::listing::Listing;
use super::output::one_line;
use super::time_range::TimeRange;
use super::{Database, at_least_one};
use crate::clock::Clock;
use crate::http::wire;
use crate::store::{self, AuditEntry, AuditFilter};

/// Flags of `audit`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// By this person (their id) or key (its name); `command` for those at a terminal
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// What was done: replay, delete_rep, or another word of the column ACTION
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    #[command(flatten)]
    done: TimeRange,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value = "50", value_parser = at_least_one)]
    limit: NonZeroU32,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

/// Prints the entries on `out`, newest first.
pub(super) async fn run(args: &Args, clock: &Clock, out: &mut impl Write) -> anyhow::Result<()> {
    let (from, to) = args.done.range(clock.now())?;
    let filter = AuditFilter {
        who: args.who.clone(),
        action: args.action.clone(),
        from,
        to,
    };
    let store = store::open_existing(&args.database.database_url).await?;
    let listing = Listing {
        limit: args.limit.get(),
        json: args.json,
        head: print_head,
        row: print_row,
        wire: wire::AuditEntry::from,
    };
    let fetch = async |limit, after| store.list_audit(&filter, limit, after).await;
    let listed = listing.print(out, fetch).await;
    store.close().await;
    listed
}

fn print_head(out: &mut dyn Write, is_empty: bool) -> std::io::Result<()> {
    if is_empty {
        return writeln!(out, "no entries");
    }
    writeln!(
        out,
        "{:>8}  {:<24}  {:<8}  {:<24}  {:<16}  TO WHAT",
        "ID", "DONE", "CALLER", "WHO", "ACTION"
    )
}

fn print_row(out: &mut dyn Write, entry: &AuditEntry) -> std::io::Result<()> {
    let shown = |text: &str| one_line(text, usize::MAX);
    let event = entry.event_id.map(|id| format!("event {id}"));
    let was = entry.was_state.as_ref().map(|was| format!("was {was}"));
    let result = entry.result.as_deref();
    let facts = [
        event,
        entry.subject.clone(),
        was,
        entry.was_reason.clone(),
        result.map(str::to_owned),
    ];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    let line = format!(
        "{:>8}  {:<24}  {:<8}  {:<24}  {:<16}  {}",
        entry.id,
        entry.at.to_string(),
        entry.caller,
        shown(entry.who.as_deref().unwrap_or("-")),
        shown(&entry.action),
        shown(&facts.join(", ")),
    );
    writeln!(out, "{}", line.trim_end())
}
