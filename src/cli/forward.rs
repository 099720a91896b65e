//! `athos-backend forward`: writes messages about calls from before there was an endpoint, in batches, so that a running
//! service can write in between. Run again, it goes on where it was stopped: no endpoint is told of a call twice.

use std::io::Write;

use serde_json::json;

use crate::clock::Clock;
use crate::model::{TimeBound, counted};
use crate::store::{self, Act, Actor, CallsToForward, SharedStore};

use super::{Database, Misconfigured};

/// Calls between two lines of progress.
const PROGRESS_EVERY: u64 = 10_000;

/// Flags of `forward`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The earliest end of a call: a moment (2026-06-05T18:09:14Z), a day in UTC (2026-06-05, from its start), or how long
    /// ago (2h, 7d)
    #[arg(long, visible_alias = "since", value_name = "TIME")]
    from: TimeBound,

    /// The latest; else now. A day is meant to its end
    #[arg(long, visible_alias = "until", value_name = "TIME")]
    to: Option<TimeBound>,

    /// Only to the endpoint with this number (`deliveries endpoints` lists them); else to each
    #[arg(long, value_name = "NUMBER")]
    endpoint: Option<i64>,

    /// Say how many messages are missing, and write none
    #[arg(long)]
    dry_run: bool,

    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    database: Database,
}

/// Runs it, and prints its progress on `out`.
pub(super) async fn run(args: &Args, clock: &Clock, out: &mut impl Write) -> anyhow::Result<()> {
    let now = clock.now();
    let told = CallsToForward {
        from: args.from.first(now),
        to: args.to.map_or(now, |bound| bound.last(now)),
        endpoint: args.endpoint,
    };
    if told.from > told.to {
        let (from, to) = (told.from, told.to);
        return Err(Misconfigured(format!("--from {from} is later than --to {to}")).into());
    }
    let store = store::open_existing(&args.database.database_url).await?;
    let done = forward(args, &told, &store, clock, out).await;
    store.close().await;
    done
}

async fn forward(
    args: &Args,
    told: &CallsToForward,
    store: &SharedStore,
    clock: &Clock,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let endpoints = store.endpoints().await?;
    let is_meant = |id: i64| told.endpoint.is_none_or(|only| only == id);
    anyhow::ensure!(
        endpoints
            .iter()
            .any(|row| row.is_active && is_meant(row.id)),
        match told.endpoint {
            Some(number) =>
                format!("there is no endpoint {number}; `deliveries endpoints` lists them"),
            None => "there is no endpoint: set FORWARD_URLS, and start the service with it once"
                .to_owned(),
        }
    );
    if !args.dry_run {
        store.record_act(act(told, clock)).await?;
    }
    let (mut seen, mut messages, mut after, mut printed) = (0, 0, None, 0);
    loop {
        let found = store.find_untold(told, after).await?;
        seen += found.seen;
        messages += match (args.dry_run, found.calls.is_empty()) {
            (true, _) | (_, true) => found.messages,
            (false, false) => store.forward_calls(told, found.calls, clock.now()).await?,
        };
        after = found.next;
        if after.is_none() {
            break;
        }
        if seen - printed >= PROGRESS_EVERY {
            printed = seen;
            print(out, args, "looked at", seen, messages)?;
        }
    }
    print(out, args, "done:", seen, messages)
}

fn act(told: &CallsToForward, clock: &Clock) -> Act {
    Act {
        at: clock.now(),
        actor: Actor::Command,
        act: "forward_calls",
        subject: format!("calls from {} to {}", told.from, told.to),
        result: told
            .endpoint
            .map(|endpoint| json!({ "endpoint": endpoint }).to_string()),
    }
}

fn print(
    out: &mut impl Write,
    args: &Args,
    verb: &str,
    seen: u64,
    messages: u64,
) -> anyhow::Result<()> {
    if args.json {
        let said = json!({ "calls": seen, "messages": messages, "dryRun": args.dry_run });
        writeln!(out, "{said}")?;
    } else {
        let written = if args.dry_run { "missing" } else { "written" };
        let (calls, messages) = (counted(seen, "call"), counted(messages, "message"));
        writeln!(out, "{verb} {calls}, {messages} {written}")?;
    }
    out.flush()?;
    Ok(())
}
