//! `athos-backend deliveries`: the outbox from a terminal of the machine that has the database. It does what the routes do,
//! through the same verbs of the store; a running service takes up what is replayed.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::process::ExitCode;

use clap::{ArgGroup, Subcommand};
use serde_json::json;
use url::Url;

use crate::clock::Clock;
use crate::config::Config;
use crate::forward::{self, Pinged};
use crate::http::wire;
use crate::model::{MessageKind, Timestamp};
use crate::store::{
    self, Act, Actor, Deliveries, DeliveryFilter, DeliveryReplay, DeliveryRow, DeliveryState,
    EndpointRow, Outbox, SharedStore, StoreResult, StoredDelivery,
};
use athos_api::setting::parse_url;

use super::listing::Listing;
use super::output::one_line;
use super::replay::Replayed;
use super::time_range::TimeRange;
use super::{Database, Misconfigured, at_least_one};

/// Flags of `deliveries`.
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
    /// List deliveries, newest first: each message on its way to each endpoint
    List(ListArgs),
    /// Show one delivery with its message as it would be sent now, and what was done to it by hand
    Show {
        /// The delivery's number, its webhook-id, or the id of its call, of which the latest delivery is shown
        id: String,
        /// Where the service is reached, which begins the links in messages
        #[arg(long, env, value_name = "URL", value_parser = parse_url)]
        public_url: Option<Url>,
    },
    /// Send messages again: one by its delivery's number, or all in a state
    Replay(ReplayArgs),
    /// List the endpoints and how they fare: healthy or failing since when, what waits, the last answer
    Endpoints,
    /// Send a signed ping to each endpoint of FORWARD_URLS, and say what it answers
    Test(Box<TestArgs>),
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    /// To the endpoint with this number
    #[arg(long, value_name = "NUMBER")]
    endpoint: Option<i64>,
    /// waiting, sending, delivered, failed or superseded
    #[arg(long)]
    state: Option<DeliveryState>,
    /// call.scored, call.unscored, call.updated, event.dead or audit.recorded
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<MessageKind>,
    #[command(flatten)]
    written: TimeRange,
    /// About this call
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Of the message with this webhook-id
    #[arg(long, value_name = "ID")]
    message: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value = "50", value_parser = at_least_one)]
    limit: NonZeroU32,
}

#[derive(clap::Args, Debug)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "state"])))]
struct ReplayArgs {
    /// The delivery's number
    #[arg(conflicts_with_all = ["from", "to", "endpoint"], value_parser = delivery_number)]
    id: Option<i64>,
    /// All that are failed, delivered, or waiting, which are sent now instead of at their next attempt
    #[arg(long)]
    state: Option<DeliveryState>,
    /// To the endpoint with this number; else to each
    #[arg(long, value_name = "NUMBER")]
    endpoint: Option<i64>,
    #[command(flatten)]
    written: TimeRange,
    /// Say which, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args, Debug)]
struct TestArgs {
    /// Only the endpoint with this number; else each
    #[arg(long, value_name = "NUMBER")]
    endpoint: Option<i64>,
    #[command(flatten)]
    config: Config,
}

fn delivery_number(text: &str) -> Result<i64, &'static str> {
    let number = text.trim().parse();
    number
        .map_err(|_| "not a delivery's number; `deliveries show` tells that of a message or a call")
}

impl ListArgs {
    fn filter(&self, now: Timestamp) -> Result<DeliveryFilter, Misconfigured> {
        let (from, to) = self.written.range(now)?;
        Ok(DeliveryFilter {
            endpoint: self.endpoint,
            state: self.state,
            kind: self.kind,
            call: self.call.clone(),
            message: self.message.clone(),
            from,
            to,
        })
    }
}

impl ReplayArgs {
    fn replay(&self, now: Timestamp) -> Result<DeliveryReplay, Misconfigured> {
        let (since, until) = self.written.range(now)?;
        match (self.id, self.state) {
            (Some(id), _) => Ok(DeliveryReplay::One(id)),
            (None, Some(state)) if state.can_be_replayed() => Ok(DeliveryReplay::Range {
                endpoint: self.endpoint,
                state,
                since,
                until,
            }),
            (None, _) => Err(Misconfigured(
                "--state must be failed, delivered or waiting: the others are under way or replaced"
                    .to_owned(),
            )),
        }
    }
}

/// Runs the command, and prints its result on `out`. The exit code is 1 when an endpoint does not take a ping.
pub(super) async fn run(
    args: &Args,
    clock: &Clock,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    if let Action::Test(test) = &args.what {
        return test_endpoints(test, clock, args.json, out).await;
    }
    let open = || store::open_existing(&args.database.database_url);
    let now = clock.now();
    let (store, done);
    match &args.what {
        Action::List(list) => {
            let filter = list.filter(now)?;
            store = open().await?;
            done = list_deliveries(&*store, &filter, list.limit.get(), args.json, out).await;
        }
        Action::Show { id, public_url } => {
            store = open().await?;
            let id = id.trim();
            done = show_delivery(&*store, id, public_url.as_ref(), args.json, out).await;
        }
        Action::Replay(replay) => {
            let what = replay.replay(now)?;
            store = open().await?;
            done = replay_deliveries(&*store, &what, replay.dry_run, clock, args.json, out).await;
        }
        Action::Endpoints => {
            store = open().await?;
            done = list_endpoints(&*store, args.json, out).await;
        }
        Action::Test(_) => return Ok(ExitCode::SUCCESS),
    }
    store.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn list_deliveries(
    store: &dyn Deliveries,
    filter: &DeliveryFilter,
    limit: u32,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let listing = Listing {
        limit,
        json,
        head: print_head,
        row: print_row,
        wire: wire::DeliveryRow::from,
    };
    let fetch = async |limit, after| store.list_deliveries(filter, limit, after).await;
    listing.print(out, fetch).await
}

fn print_head(out: &mut dyn Write, is_empty: bool) -> io::Result<()> {
    if is_empty {
        return writeln!(out, "no deliveries");
    }
    writeln!(
        out,
        "{:>8}  {:<24}  {:<10}  {:>8}  {:<13}  {:>8}  {:<32}  ERROR",
        "ID", "WRITTEN", "STATE", "ENDPOINT", "TYPE", "ATTEMPTS", "CALL"
    )
}

fn print_row(out: &mut dyn Write, row: &DeliveryRow) -> io::Result<()> {
    let line = format!(
        "{:>8}  {:<24}  {:<10}  {:>8}  {:<13}  {:>8}  {:<32}  {}",
        row.id,
        row.at.to_string(),
        row.state.as_str(),
        row.endpoint,
        row.kind.as_str(),
        row.attempts,
        shown(row.call_id.as_deref().unwrap_or("-")),
        shown(row.error.as_deref().unwrap_or("")),
    );
    writeln!(out, "{}", line.trim_end())
}

async fn show_delivery(
    store: &dyn Deliveries,
    id: &str,
    public_url: Option<&Url>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let delivery = find_delivery(store, id).await?;
    let delivery = delivery.ok_or_else(|| {
        anyhow::anyhow!(
            "there is no delivery {0}, none of a message {0}, and none about a call {0}",
            shown(id)
        )
    })?;
    let body = forward::body_of(&delivery, public_url);
    if json {
        let delivery = wire::StoredDelivery::new(delivery, body.as_deref());
        writeln!(out, "{}", serde_json::to_string(&delivery)?)?;
    } else {
        print_delivery(out, &delivery, body.as_deref())?;
    }
    Ok(())
}

/// By its number, else the latest of this message or about this call.
async fn find_delivery(store: &dyn Deliveries, id: &str) -> StoreResult<Option<StoredDelivery>> {
    if let Ok(number) = id.parse()
        && let Some(delivery) = store.find_delivery(number).await?
    {
        return Ok(Some(delivery));
    }
    let of_message = DeliveryFilter {
        message: Some(id.to_owned()),
        ..DeliveryFilter::default()
    };
    let of_call = DeliveryFilter {
        call: Some(id.to_owned()),
        ..DeliveryFilter::default()
    };
    for filter in [of_call, of_message] {
        let found = store.list_deliveries(&filter, 1, None).await?;
        if let Some(row) = found.rows.first() {
            return store.find_delivery(row.id).await;
        }
    }
    Ok(None)
}

fn print_delivery(
    out: &mut impl Write,
    delivery: &StoredDelivery,
    body: Option<&[u8]>,
) -> io::Result<()> {
    let row = &delivery.row;
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let facts = [
        ("delivery", row.id.to_string()),
        ("webhook-id", shown(&row.message_id)),
        ("endpoint", row.endpoint.to_string()),
        ("type", row.kind.as_str().to_owned()),
        ("call", or_none(row.call_id.as_deref().map(shown))),
        ("event", or_none(row.event_id.map(|id| id.to_string()))),
        ("written", row.at.to_string()),
        ("state", row.state.as_str().to_owned()),
        ("attempts", row.attempts.to_string()),
        (
            "status",
            or_none(row.status.map(|status| status.to_string())),
        ),
        ("error", or_none(row.error.as_deref().map(shown))),
    ];
    for (name, fact) in facts {
        writeln!(out, "{name:<11} {fact}")?;
    }
    for (name, time) in [("due", row.due_at), ("settled", row.settled_at)] {
        if let Some(time) = time {
            writeln!(out, "{name:<11} {time}")?;
        }
    }
    for entry in &delivery.acts {
        let who = entry.who.as_deref().map_or(String::new(), shown);
        let line = format!("{}  {}  by {} {who}", entry.action, entry.at, entry.caller);
        writeln!(out, "{}", line.trim_end())?;
    }
    match body {
        Some(body) => writeln!(out, "body\n{}", shown(&String::from_utf8_lossy(body))),
        None => writeln!(out, "body\n- (what it tells of is gone)"),
    }
}

/// Text from outside, all of it, on one line.
fn shown(text: &str) -> String {
    one_line(text, usize::MAX)
}

async fn replay_deliveries(
    store: &dyn Deliveries,
    what: &DeliveryReplay,
    is_dry_run: bool,
    clock: &Clock,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let now = clock.now();
    let replayed = if is_dry_run {
        let would = store.count_replayable_deliveries(what, u32::MAX, now);
        Replayed::in_dry_run(would.await?)
    } else {
        let step = async |after| {
            let step = store
                .replay_deliveries(what, after, Actor::Command, now)
                .await?;
            Ok((step.ids, step.next))
        };
        Replayed::in_steps(step).await
    };
    if let (DeliveryReplay::One(id), true) = (what, replayed.is_nothing()) {
        anyhow::bail!(
            "there is no delivery {id}, or it is due or under way already, or a newer message about the same call replaces \
             it, or its endpoint is not configured any more"
        );
    }
    replayed.write_to(out, "delivery", json)
}

async fn list_endpoints(
    store: &dyn Outbox,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let endpoints = wire::Endpoint::of_interest(store.endpoints().await?);
    if endpoints.is_empty() && !json {
        writeln!(
            out,
            "no endpoints: FORWARD_URLS is not set, or the service has not started with it"
        )?;
    }
    for endpoint in endpoints {
        if json {
            writeln!(out, "{}", serde_json::to_string(&endpoint)?)?;
        } else {
            writeln!(out, "{}", shown(&endpoint.to_string()))?;
        }
    }
    Ok(())
}

async fn test_endpoints(
    args: &TestArgs,
    clock: &Clock,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let settings = forward::Settings::new(&args.config)?;
    let store = store::open_existing(&args.config.database_url).await?;
    let tested = ping(&settings, args.endpoint, &store, clock).await;
    store.close().await;
    let tested = tested?;
    anyhow::ensure!(
        !tested.is_empty(),
        match args.endpoint {
            Some(number) => format!(
                "there is no endpoint {number} in FORWARD_URLS; `deliveries endpoints` lists them"
            ),
            None => "FORWARD_URLS is not set: nothing is forwarded".to_owned(),
        }
    );
    let is_any_bad = tested.iter().any(|(_, pinged)| pinged.error.is_some());
    for (number, pinged) in tested {
        if json {
            let answer = wire::PingAnswer::new(number, pinged);
            writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        } else {
            print_ping(out, number, &pinged)?;
        }
    }
    Ok(ExitCode::from(u8::from(is_any_bad)))
}

/// Pings the endpoints that are asked for, and records it; each with its number, which it has once the service has started
/// with it.
async fn ping(
    settings: &forward::Settings,
    only: Option<i64>,
    store: &SharedStore,
    clock: &Clock,
) -> anyhow::Result<Vec<(Option<i64>, Pinged)>> {
    let known = store.endpoints().await?;
    let number_of = |url: &Url| {
        let is_it = |row: &&EndpointRow| row.url == url.as_str();
        known.iter().find(is_it).map(|row| row.id)
    };
    let is_wanted = |url: &Url| only.is_none_or(|only| number_of(url) == Some(only));
    let mut tested = Vec::new();
    for (url, pinged) in settings.ping_each(is_wanted, clock).await {
        let number = number_of(&url);
        if let Some(number) = number {
            let act = Act {
                at: clock.now(),
                actor: Actor::Command,
                act: "test_endpoint",
                subject: format!("endpoint {number}"),
                result: Some(json!({ "status": pinged.status }).to_string()),
            };
            store.record_act(act).await?;
        }
        tested.push((number, pinged));
    }
    Ok(tested)
}

fn print_ping(out: &mut impl Write, number: Option<i64>, pinged: &Pinged) -> io::Result<()> {
    let number = number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let (host, took) = (&pinged.host, pinged.took.as_millis());
    let said = match (&pinged.error, pinged.status) {
        (Some(error), _) => format!("FAIL  {}", shown(error)),
        (None, Some(status)) => format!("ok    it answered {status} in {took} ms"),
        (None, None) => format!("ok    in {took} ms"),
    };
    writeln!(out, "endpoint {number:>3}  {host:<32}  {said}")
}
