//! `athos-backend events`: the inbox from a terminal of the machine that has the database. It does what the routes do,
//! through the same verbs of the store; a running service takes up what is replayed.

use std::io::{self, Write};
use std::num::NonZeroU32;

use clap::{ArgGroup, Subcommand};

use crate::clock::Clock;
use crate::http::wire;
use crate::model::{EventState, Timestamp};
use crate::store::{
    self, Actor, EventFilter, EventRow, EventVerdict, Operators, Origin, Replay, StoreResult,
    StoredEvent,
};
use crate::worker::replay::replay_next;

use super::listing::Listing;
use super::output::one_line;
use super::replay::Replayed;
use super::time_range::TimeRange;
use super::{Database, Misconfigured, at_least_one};

/// Flags of `events`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Action,

    #[command(flatten)]
    database: Database,

    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List events, newest first
    List(ListArgs),
    /// Show one event with its body, its attempts, and what was done by hand
    Show {
        /// The event's number, its webhook id, or the id of its call, of which the latest event is shown
        id: String,
    },
    /// Make events pending again: one by its id, or all in a state
    Replay(ReplayArgs),
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    /// pending, processing, done, ignored or dead
    #[arg(long)]
    state: Option<EventState>,
    /// accepted, or ignored: signed, but not understood
    #[arg(long)]
    verdict: Option<EventVerdict>,
    /// webhook or reconcile
    #[arg(long)]
    origin: Option<Origin>,
    #[command(flatten)]
    came_in: TimeRange,
    /// About this call
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// With this webhook id
    #[arg(long, value_name = "ID")]
    webhook: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value = "50", value_parser = at_least_one)]
    limit: NonZeroU32,
}

#[derive(clap::Args, Debug)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "state"])))]
struct ReplayArgs {
    /// The event's number
    #[arg(conflicts_with_all = ["from", "to"], value_parser = event_number)]
    id: Option<i64>,
    /// All that are dead, ignored or done
    #[arg(long)]
    state: Option<EventState>,
    #[command(flatten)]
    came_in: TimeRange,
    /// Say which, and do nothing
    #[arg(long)]
    dry_run: bool,
}

fn event_number(text: &str) -> Result<i64, &'static str> {
    let number = text.trim().parse();
    number.map_err(|_| "not an event's number; `events show` tells that of a webhook or a call")
}

/// The checked arguments.
enum Asked {
    List(EventFilter, u32),
    Show(String),
    Replay(Replay, bool),
}

impl Action {
    fn read(&self, now: Timestamp) -> Result<Asked, Misconfigured> {
        Ok(match self {
            Self::List(args) => {
                let (from, to) = args.came_in.range(now)?;
                let filter = EventFilter {
                    state: args.state,
                    origin: args.origin,
                    verdict: args.verdict,
                    from,
                    to,
                    call: args.call.clone(),
                    webhook: args.webhook.clone(),
                };
                Asked::List(filter, args.limit.get())
            }
            Self::Show { id } => Asked::Show(id.trim().to_owned()),
            Self::Replay(args) => {
                let (since, until) = args.came_in.range(now)?;
                let replay = match (args.id, args.state) {
                    (Some(id), _) => Replay::One(id),
                    (
                        None,
                        Some(state @ (EventState::Dead | EventState::Ignored | EventState::Done)),
                    ) => Replay::Range {
                        state,
                        since,
                        until,
                    },
                    (None, _) => {
                        let why = "--state must be dead, ignored or done: the others wait already";
                        return Err(Misconfigured(why.to_owned()));
                    }
                };
                Asked::Replay(replay, args.dry_run)
            }
        })
    }
}

/// Runs the command, and prints its result on `out`.
pub(super) async fn run(args: &Args, clock: &Clock, out: &mut impl Write) -> anyhow::Result<()> {
    let asked = args.what.read(clock.now())?;
    let store = store::open_existing(&args.database.database_url).await?;
    let done = match asked {
        Asked::List(filter, limit) => list_events(&*store, &filter, limit, args.json, out).await,
        Asked::Show(id) => show_event(&*store, &id, args.json, out).await,
        Asked::Replay(what, is_dry_run) => {
            replay_events(&*store, what, is_dry_run, clock, args.json, out).await
        }
    };
    store.close().await;
    done
}

async fn list_events(
    store: &dyn Operators,
    filter: &EventFilter,
    limit: u32,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let listing = Listing {
        limit,
        json,
        head: print_head,
        row: print_row,
        wire: wire::EventRow::from,
    };
    let fetch = async |limit, after| store.list_events(filter, limit, after).await;
    listing.print(out, fetch).await
}

fn print_head(out: &mut dyn Write, is_empty: bool) -> io::Result<()> {
    if is_empty {
        return writeln!(out, "no events");
    }
    writeln!(
        out,
        "{:>8}  {:<24}  {:<10}  {:<9}  {:>8}  {:<32}  REASON",
        "ID", "RECEIVED", "STATE", "ORIGIN", "ATTEMPTS", "CALL"
    )
}

fn print_row(out: &mut dyn Write, row: &EventRow) -> io::Result<()> {
    let line = format!(
        "{:>8}  {:<24}  {:<10}  {:<9}  {:>8}  {:<32}  {}",
        row.id,
        row.received_at.to_string(),
        row.state.as_str(),
        row.origin.as_str(),
        row.attempts,
        shown(row.call_id.as_deref().unwrap_or("-")),
        shown(row.reason.as_deref().unwrap_or("")),
    );
    writeln!(out, "{}", line.trim_end())
}

async fn show_event(
    store: &dyn Operators,
    id: &str,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let event = find_event(store, id).await?;
    let event = event.ok_or_else(|| {
        anyhow::anyhow!(
            "there is no event {0}, none with the webhook id {0}, and none about a call {0}",
            shown(id)
        )
    })?;
    if json {
        let event = wire::StoredEvent::from(event);
        writeln!(out, "{}", serde_json::to_string(&event)?)?;
    } else {
        print_event(out, &event)?;
    }
    Ok(())
}

/// By its number, else the latest with this webhook id or about this call.
async fn find_event(store: &dyn Operators, id: &str) -> StoreResult<Option<StoredEvent>> {
    if let Ok(number) = id.parse()
        && let Some(event) = store.find_event(number).await?
    {
        return Ok(Some(event));
    }
    let by_webhook = EventFilter {
        webhook: Some(id.to_owned()),
        ..EventFilter::default()
    };
    let by_call = EventFilter {
        call: Some(id.to_owned()),
        ..EventFilter::default()
    };
    for filter in [by_webhook, by_call] {
        let found = store.list_events(&filter, 1, None).await?;
        if let Some(row) = found.rows.first() {
            return store.find_event(row.id).await;
        }
    }
    Ok(None)
}

fn print_event(out: &mut impl Write, event: &StoredEvent) -> io::Result<()> {
    let row = &event.row;
    let or_none = |text: Option<&str>| shown(text.unwrap_or("-"));
    let facts = [
        ("event", row.id.to_string()),
        ("webhook id", shown(&row.webhook_id)),
        ("origin", row.origin.as_str().to_owned()),
        ("verdict", row.verdict.as_str().to_owned()),
        ("call", or_none(row.call_id.as_deref())),
        ("received", row.received_at.to_string()),
        ("signed", event.signed_at.to_string()),
        ("secret", or_none(event.secret_fingerprint.as_deref())),
        ("deliveries", row.deliveries.to_string()),
        ("state", row.state.as_str().to_owned()),
        ("reason", or_none(row.reason.as_deref())),
        ("attempts", row.attempts.to_string()),
    ];
    for (name, fact) in facts {
        writeln!(out, "{name:<11} {fact}")?;
    }
    if let Some(next) = row.next_attempt_at {
        writeln!(out, "{:<11} {next}", "next")?;
    }
    for attempt in &event.history {
        let code = attempt.code.as_deref().map_or(String::new(), shown);
        let status = attempt
            .status
            .map_or(String::new(), |status| status.to_string());
        let error = attempt.error.as_deref().map_or(String::new(), shown);
        let line = format!(
            "attempt {:>3}  {}  {:<8}  {status:<3} {code}  {error}",
            attempt.number, attempt.at, attempt.outcome
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    for act in &event.acts {
        let who = act.who.as_deref();
        let who = who.map_or(String::new(), |who| format!(" {}", shown(who)));
        let why = or_none(act.was_reason.as_deref());
        let was = act.was_state.as_deref().unwrap_or("-");
        writeln!(
            out,
            "{}  {}  by {}{who}, was {was}: {why}",
            act.action, act.at, act.caller
        )?;
    }
    for mint in &event.mints {
        let rep = shown(&mint.rep);
        writeln!(
            out,
            "token       {}  for {rep}, may have begun the call",
            mint.requested_at
        )?;
    }
    for sibling in &event.siblings {
        let (at, state) = (sibling.received_at, sibling.state.as_str());
        writeln!(out, "same call   event {}  {at}  {state}", sibling.id)?;
    }
    writeln!(out, "body\n{}", shown(&event.body))
}

/// Text from outside, all of it, on one line.
fn shown(text: &str) -> String {
    one_line(text, usize::MAX)
}

async fn replay_events(
    store: &dyn Operators,
    what: Replay,
    is_dry_run: bool,
    clock: &Clock,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let replayed = if is_dry_run {
        Replayed::in_dry_run(store.count_replayable(what, u32::MAX).await?)
    } else {
        let step = async |after| {
            let step = replay_next(store, what, after, Actor::Command, clock.now()).await?;
            Ok((step.ids, step.next))
        };
        Replayed::in_steps(step).await
    };
    if let (Replay::One(id), true) = (what, replayed.is_nothing()) {
        anyhow::bail!(
            "there is no event {id}, or it waits already, or retention has removed its body"
        );
    }
    replayed.write_to(out, "event", json)
}
