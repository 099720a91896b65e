//! Checks of the database and its disk: writable, intact, the queue, the last reconciliations, the use of secrets.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::Duration;

use super::DEADLINE;
use super::credentials;
use super::finding::{Bytes, Finding, Span};
use super::server;
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{EffectiveContract, SeenDrift, Source, Timestamp, counted};
use crate::store::{Contents, Examined, Integrity, Place, Schema, database_file, examine};

pub(super) const CHECK: &str = "database";
/// A write-ahead log of this size, in bytes, is not being checkpointed: a reader stays open, or the disk is too slow.
const LONG_LOG_BYTES: u64 = 256 * 1024 * 1024;
const LITTLE_SPACE_BYTES: u64 = 1024 * 1024 * 1024;
const NO_SPACE_BYTES: u64 = 64 * 1024 * 1024;
/// An event that waits longer than this has seen several attempts fail.
const LONG_WAIT: Duration = Duration::from_secs(15 * 60);
/// Missed reconciliation rounds before a warning.
const LATE_ROUNDS: u32 = 3;

pub(super) async fn check_all(config: &Config, clock: &Clock) -> Vec<Finding> {
    let file = match database_file(&config.database_url) {
        Ok(Some(file)) => file,
        Ok(None) => return on_server(config, clock).await,
        Err(_) => return vec![Finding::skipped(CHECK, "DATABASE_URL names none")],
    };
    if !file.exists() {
        let folder = nearest_folder(&file);
        return vec![not_there_yet(&file, folder), space(folder)];
    }
    let mut findings = vec![writable(&file), space(nearest_folder(&file))];
    let options = config.server_options();
    let examined = examine(&config.database_url, &options, DEADLINE);
    match tokio::time::timeout(DEADLINE * 2, examined).await {
        Ok(Ok(examined)) => tell(config, clock.now(), &examined, &mut findings),
        Ok(Err(error)) => findings.push(
            Finding::fail(CHECK, format!("{} cannot be read: {error:#}", file.display())).fix(
                "if DATABASE_URL names the right file, restore it from a backup; the service will not start with it",
            ),
        ),
        Err(_) => findings.push(Finding::warn(CHECK, "it did not answer in time: the disk is slow")),
    }
    findings
}

/// The folder of the file, or the nearest existing one above it.
fn nearest_folder(file: &Path) -> &Path {
    let mut folders = file.ancestors().skip(1);
    let found = folders.find(|folder| folder.is_dir());
    found
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn not_there_yet(file: &Path, folder: &Path) -> Finding {
    match try_folder(folder) {
        Ok(()) => Finding::ok(
            CHECK,
            format!("{} is not there yet; `serve` can create it", file.display()),
        ),
        Err(error) => unwritable(folder, &error),
    }
}

fn writable(file: &Path) -> Finding {
    let opened = OpenOptions::new().append(true).open(file);
    // The log lies beside it.
    match opened
        .map(drop)
        .and_then(|()| try_folder(nearest_folder(file)))
    {
        Ok(()) => Finding::ok(CHECK, format!("{} can be written", file.display())),
        Err(error) => unwritable(file, &error),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Finding {
    Finding::fail(CHECK, format!("{} cannot be written: {error}", path.display())).fix(
        "give it to the user the service runs as (in the container: chown 10001), and do not mount it read-only",
    )
}

/// Tries to write: the mode of a folder does not show whether it can be written.
fn try_folder(folder: &Path) -> std::io::Result<()> {
    let trial = folder.join(format!(".athos-doctor-{}", std::process::id()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&trial)?;
    fs::remove_file(&trial)
}

fn space(folder: &Path) -> Finding {
    const CHECK: &str = "disk space";
    let stat = match rustix::fs::statvfs(folder) {
        Ok(stat) => stat,
        Err(error) => return Finding::skipped(CHECK, format!("cannot be asked for: {error}")),
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let seen = format!("{} free at {}", Bytes(free), folder.display());
    let fix = "make room: on a full disk nothing is acknowledged, and Athos tries each webhook only twice";
    match free {
        0..NO_SPACE_BYTES => Finding::fail(CHECK, seen).fix(fix),
        NO_SPACE_BYTES..LITTLE_SPACE_BYTES => Finding::warn(CHECK, seen).fix(fix),
        _ => Finding::ok(CHECK, seen),
    }
}

async fn on_server(config: &Config, clock: &Clock) -> Vec<Finding> {
    let options = config.server_options();
    let examined = examine(&config.database_url, &options, DEADLINE);
    let mut findings = Vec::new();
    match tokio::time::timeout(DEADLINE * 3, examined).await {
        Ok(Ok(examined)) => tell(config, clock.now(), &examined, &mut findings),
        Ok(Err(error)) => findings.push(
            Finding::fail(CHECK, format!("{error:#}"))
                .fix("the service does not start, and answers webhooks 503, until it can be used"),
        ),
        Err(_) => findings.push(Finding::fail(CHECK, "the server did not answer in time")),
    }
    findings
}

fn tell(config: &Config, now: Timestamp, examined: &Examined, findings: &mut Vec<Finding>) {
    match &examined.place {
        Place::File {
            size_bytes,
            log_bytes,
            integrity,
        } => findings.push(file(*size_bytes, *log_bytes, integrity)),
        Place::Server(state) => findings.extend(server::findings(config, state, examined.schema)),
    }
    match examined.schema {
        Schema::Current => {}
        Schema::Older => findings.push(Finding::ok(
            CHECK,
            "of an earlier version; `serve` brings it up to date when it starts, and more is known then",
        )),
        Schema::Newer => findings.push(
            Finding::fail(CHECK, "a later version wrote it; this one will not start with it")
                .fix("run that version or a later one, or restore a backup from before"),
        ),
        Schema::Copying => findings.push(
            Finding::fail(CHECK, "a copy into it has begun and not ended; the service will not start with it")
                .fix("run the same `copy` again: it goes on where it stopped"),
        ),
    }
    if let Some(contents) = &examined.contents {
        findings.push(events(contents, now));
        findings.push(last_webhook(contents, now));
        findings.extend(last_rounds(config, contents, now));
        findings.extend(credentials::secrets(config, contents, now));
        findings.extend(credentials::service_tokens(config, contents, now));
        findings.push(contract(config, contents));
        findings.extend(drift(contents, now));
    }
}

fn file(size_bytes: u64, log_bytes: u64, integrity: &Integrity) -> Finding {
    let sizes = format!("{}, log {}", Bytes(size_bytes), Bytes(log_bytes));
    match integrity {
        Integrity::Broken(why) => Finding::fail(CHECK, format!("it is damaged: {why}"))
            .fix("stop the service, keep a copy of the file, and restore a backup"),
        Integrity::Unfinished => Finding::skipped(
            CHECK,
            format!(
                "{sizes}; too large to look at all of it now (sqlite3 FILE 'PRAGMA integrity_check' does)"
            ),
        ),
        Integrity::Sound if log_bytes > LONG_LOG_BYTES => {
            Finding::warn(CHECK, format!("sound; {sizes}"))
                .fix("the log is long: look for a program that keeps the database open for reading")
        }
        Integrity::Sound => Finding::ok(CHECK, format!("sound; {sizes}")),
    }
}

fn events(contents: &Contents, now: Timestamp) -> Finding {
    const CHECK: &str = "events";
    let depth = contents.depth;
    let oldest = depth.oldest_received_at.map(|oldest| now.since(oldest));
    let mut seen = format!("{} waiting", depth.waiting);
    if let Some(oldest) = oldest {
        seen = format!("{seen}, the oldest for {}", Span(oldest));
    }
    seen = format!("{seen}; {} dead", depth.dead);
    if depth.dead > 0 {
        return Finding::warn(CHECK, seen)
            .fix("`events list --state dead` says why; `events replay ID` tries one again");
    }
    if oldest.is_some_and(|oldest| oldest > LONG_WAIT) {
        return Finding::warn(CHECK, seen).fix(
            "`events list --state pending` says why; is the service running, and a key accepted?",
        );
    }
    Finding::ok(CHECK, seen)
}

fn last_webhook(contents: &Contents, now: Timestamp) -> Finding {
    const CHECK: &str = "last webhook";
    match contents.last_webhook_at {
        Some(at) => Finding::ok(CHECK, format!("{} ago", Span(now.since(at)))),
        None => Finding::warn(CHECK, "none has ever come in").fix(
            "give Athos the URL of /athos/webhook, and try the way there with `doctor --webhook`",
        ),
    }
}

/// The last reconciliation of each source.
fn last_rounds(config: &Config, contents: &Contents, now: Timestamp) -> Vec<Finding> {
    let one = |source: &Source| last_round(*source, config, contents, now);
    config.sources.iter().map(one).collect()
}

fn last_round(source: Source, config: &Config, contents: &Contents, now: Timestamp) -> Finding {
    const CHECK: &str = "last reconciliation";
    let Some(run) = contents.runs.iter().find(|run| source.is(&run.source)) else {
        return Finding::warn(CHECK, format!("{source}: there was none"))
            .fix("start the service; it begins with one");
    };
    let ago = now.since(run.finished_at.unwrap_or(run.started_at));
    let seen = format!(
        "{source}: {} ago, {} seen, {} brought in",
        Span(ago),
        counted(run.seen, "call"),
        run.repaired
    );
    if let Some(error) = &run.error {
        return Finding::warn(CHECK, format!("{seen}; it broke off: {error}"))
            .fix("the next one goes on from there; see what is said of Athos below");
    }
    if ago > config.reconcile_every * LATE_ROUNDS {
        return Finding::warn(
            CHECK,
            format!("{seen}; one is due every {}", Span(config.reconcile_every)),
        )
        .fix("is the service running? `reconcile` does one now");
    }
    Finding::ok(CHECK, seen)
}

fn contract(config: &Config, contents: &Contents) -> Finding {
    let pinned = config.athos_contract.pinned();
    let effective = EffectiveContract::of(pinned, contents.learned_contract.as_ref());
    Finding::ok("contract", effective.to_string())
}

/// Names in Athos's payloads that this version does not know.
fn drift(contents: &Contents, now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "drift";
    const MAX_SHOWN_NAMES: usize = 5;
    let all = &contents.drift;
    if all.is_empty() {
        let nothing = "Athos sends nothing that is new to this version";
        return vec![Finding::ok(CHECK, nothing)];
    }
    let tell = |seen: &SeenDrift| {
        let ago = |at| Span(now.since(at));
        let (first, last) = (ago(seen.first_seen_at), ago(seen.last_seen_at));
        let times = match seen.count {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        format!(
            "Athos now sends {}: {times}, first {first} ago, last {last} ago",
            seen.drift
        )
    };
    let mut lines: Vec<_> = all.iter().take(MAX_SHOWN_NAMES).map(tell).collect();
    if let Some(last) = lines.last_mut()
        && all.len() > MAX_SHOWN_NAMES
    {
        *last = format!(
            "{last}; and {}",
            counted(all.len() - MAX_SHOWN_NAMES, "other name")
        );
    }
    let mut findings: Vec<_> = lines
        .into_iter()
        .map(|line| Finding::warn(CHECK, line))
        .collect();
    let last = findings.pop().map(|last| {
        last.fix("nothing breaks by it; a later version of this service may make use of it")
    });
    findings.extend(last);
    findings
}
