//! `athos-backend events`: the inbox from a terminal of the machine that has the database. It does what the routes do,
//! through the same verbs of the store; a running service takes up what is replayed.

use std::io::{self, Write};

use clap::Subcommand;
use serde_json::json;

use crate::clock::Clock;
use crate::model::{EventState, NotATime, Timestamp, UnknownWord};
use crate::store::{
    Actor, EventFilter, EventRow, EventVerdict, Origin, Replay, SqliteStore, Store, StoredEvent,
};

use super::{Database, Misconfigured};

/// Rows read at a time.
const PAGE: u32 = 500;

/// Flags of `events`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,

    #[command(flatten)]
    database: Database,

    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum What {
    /// List events, newest first
    List(ListArgs),
    /// Show one event with its body, its attempts, and what was done by hand
    Show {
        /// Our id of the event
        id: i64,
    },
    /// Make events pending again: one by its id, or all in a state
    Replay(ReplayArgs),
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    /// pending, processing, done, ignored or dead
    #[arg(long, value_parser = word::<EventState>)]
    state: Option<EventState>,
    /// accepted, or ignored: signed, but not understood
    #[arg(long, value_parser = word::<EventVerdict>)]
    verdict: Option<EventVerdict>,
    /// webhook or reconcile
    #[arg(long, value_parser = word::<Origin>)]
    origin: Option<Origin>,
    /// Came in at or after, ISO 8601
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Came in at or before
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// About this call
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: u32,
}

#[derive(clap::Args, Debug)]
struct ReplayArgs {
    /// Our id of the event
    #[arg(required_unless_present = "state", conflicts_with = "state")]
    id: Option<i64>,
    /// All that are dead, ignored or done
    #[arg(long, value_parser = word::<EventState>)]
    state: Option<EventState>,
    /// Of these, those that came in at or after, ISO 8601
    #[arg(long, value_name = "TIME", value_parser = time, requires = "state")]
    since: Option<Timestamp>,
    /// Of these, those that came in at or before
    #[arg(long, value_name = "TIME", value_parser = time, requires = "state")]
    until: Option<Timestamp>,
    /// Say which, and do nothing
    #[arg(long)]
    dry_run: bool,
}

fn time(text: &str) -> Result<Timestamp, NotATime> {
    text.parse()
}

fn word<T: std::str::FromStr<Err = UnknownWord>>(text: &str) -> Result<T, UnknownWord> {
    text.parse()
}

/// Does what is asked, and prints it on `out`.
pub(super) async fn run(args: &Args, clock: &Clock, out: &mut impl Write) -> anyhow::Result<()> {
    let store = SqliteStore::open_existing(&args.database.database_url).await?;
    let done = match &args.what {
        What::List(list) => list_events(&store, list, args.json, out).await,
        What::Show { id } => show_event(&store, *id, args.json, out).await,
        What::Replay(replay) => replay_events(&store, replay, clock, args.json, out).await,
    };
    store.close().await;
    done
}

async fn list_events(
    store: &impl Store,
    args: &ListArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let filter = EventFilter {
        state: args.state,
        origin: args.origin,
        verdict: args.verdict,
        from: args.from,
        to: args.to,
        call: args.call.clone(),
    };
    if !json {
        writeln!(
            out,
            "{:>8}  {:<24}  {:<10}  {:<9}  {:>8}  {:<32}  REASON",
            "ID", "RECEIVED", "STATE", "ORIGIN", "ATTEMPTS", "CALL"
        )?;
    }
    let (mut left, mut after) = (args.limit, None);
    while left > 0 {
        let page = store.list_events(&filter, left.min(PAGE), after).await?;
        for row in &page.rows {
            if json {
                writeln!(out, "{}", serde_json::to_string(row)?)?;
            } else {
                print_row(out, row)?;
            }
        }
        left -= u32::try_from(page.rows.len()).unwrap_or(left).min(left);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

fn print_row(out: &mut impl Write, row: &EventRow) -> io::Result<()> {
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
    store: &impl Store,
    id: i64,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let event = store.find_event(id).await?;
    let event = event.ok_or_else(|| anyhow::anyhow!("there is no event {id}"))?;
    if json {
        writeln!(out, "{}", serde_json::to_string(&event)?)?;
    } else {
        print_event(out, &event)?;
    }
    Ok(())
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
        let who = act
            .rep
            .as_deref()
            .map_or(String::new(), |rep| format!(" {}", shown(rep)));
        let why = or_none(act.was_reason.as_deref());
        writeln!(
            out,
            "{}  {}  by {}{who}, was {}: {why}",
            act.act, act.at, act.caller, act.was_state
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

/// Text of others', on a terminal: without the characters that steer it.
fn shown(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

async fn replay_events(
    store: &impl Store,
    args: &ReplayArgs,
    clock: &Clock,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let what = match (args.id, args.state) {
        (Some(id), _) => Replay::One(id),
        (None, Some(state @ (EventState::Dead | EventState::Ignored | EventState::Done))) => {
            Replay::Range {
                state,
                since: args.since,
                until: args.until,
            }
        }
        (None, _) => {
            let why = "--state must be dead, ignored or done: the others wait already";
            return Err(Misconfigured(why.to_owned()).into());
        }
    };
    let ids = if args.dry_run {
        store.would_replay(what).await?
    } else {
        store.replay(what, Actor::Command, clock.now()).await?
    };
    if let (Replay::One(id), true) = (what, ids.is_empty()) {
        anyhow::bail!(
            "there is no event {id}, or it waits already, or retention has removed its body"
        );
    }
    if json {
        let said = json!({ "count": ids.len(), "ids": ids, "dryRun": args.dry_run });
        writeln!(out, "{said}")?;
        return Ok(());
    }
    for id in &ids {
        writeln!(out, "{id}")?;
    }
    let verb = if args.dry_run {
        "would be replayed"
    } else {
        "replayed; the running service takes them up within seconds, else `serve` does when it starts"
    };
    writeln!(out, "{} events {verb}", ids.len())?;
    Ok(())
}
