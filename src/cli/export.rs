//! `athos-backend export`: calls as a file of CSV or JSON lines, beside a running service or without it. A file grows under
//! another name and gets its own when it is whole; what was cut short is gone on with.

mod part;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;

use super::time_range::TimeRange;
use super::{Database, Misconfigured};
use crate::clock::Clock;
use crate::export::{Export, ExportOptions, FileFormat};
use crate::model::{CallStatus, Scope, counted};
use crate::store::{self, CallFilter, SharedStore};
use part::{Part, Query};

/// Calls between two lines of progress.
const PROGRESS_EVERY_CALLS: u64 = 50_000;

/// Flags of `export`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Where the calls go, newest first; - is standard output. Only its owner may read the file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// csv for spreadsheets, ndjson for programs; without it, as the name of the file ends
    #[arg(long, value_name = "FORMAT")]
    format: Option<FileFormat>,
    #[command(flatten)]
    ended: TimeRange,
    /// Of this rep
    #[arg(long, value_name = "ID")]
    rep: Option<String>,
    /// Of this agency
    #[arg(long, value_name = "ID")]
    agency: Option<String>,
    /// Of this drill
    #[arg(long, value_name = "KEY")]
    drill: Option<String>,
    /// processing, scored or unscored
    #[arg(long)]
    status: Option<CallStatus>,
    /// roleplay or real_call
    #[arg(long)]
    source: Option<String>,
    /// What else to export: transcript
    #[arg(long, value_name = "WHAT")]
    include: Option<Include>,
    /// Begin a file of CSV with a byte order mark, by which Excel knows UTF-8
    #[arg(long)]
    bom: bool,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// Begin anew where an earlier export was cut short
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    database: Database,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Include {
    /// What was said in each call
    Transcript,
}

impl Args {
    fn is_standard_output(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    fn options(&self) -> Result<ExportOptions, Misconfigured> {
        let by_name = match self.file.extension().and_then(|name| name.to_str()) {
            Some("csv") => Some(FileFormat::Csv),
            Some("ndjson" | "jsonl") => Some(FileFormat::Ndjson),
            _ => None,
        };
        let format = self.format.or(by_name).ok_or_else(|| {
            Misconfigured("say --format csv or --format ndjson, or name a file that ends with .csv, .ndjson or .jsonl".to_owned())
        })?;
        if self.bom && format != FileFormat::Csv {
            let why = "--bom is for CSV: JSON has no byte order mark";
            return Err(Misconfigured(why.to_owned()));
        }
        Ok(ExportOptions {
            format,
            with_transcripts: self.include.is_some(),
            bom: self.bom,
        })
    }
}

/// Exports, and says on standard error how far it is. `out` gets the rows, or the facts about the file.
pub(super) async fn run(args: &Args, clock: &Clock, out: &mut impl Write) -> anyhow::Result<()> {
    let options = args.options()?;
    let (from, to) = args.ended.range(clock.now())?;
    let filter = CallFilter {
        scope: Scope::All,
        from,
        to,
        rep: args.rep.clone(),
        agency: args.agency.clone(),
        drill: args.drill.clone(),
        status: args.status,
        source: args.source.clone(),
    };
    let url = &args.database.database_url;
    if args.is_standard_output() {
        let store = store::open_existing(url).await?;
        let done = to_output(Export::new(store.clone(), filter, options, None), out).await;
        store.close().await;
        return done;
    }
    let asked = Query::new(args, &filter, options);
    // Opened before the database: what is wrong with the file is told at once.
    let part = Part::open(&args.file, args.force, args.restart, asked)?;
    let store = store::open_existing(url).await?;
    let done = to_file(&store, filter, options, part, out).await;
    store.close().await;
    done
}

async fn to_output(mut export: Export, out: &mut impl Write) -> anyhow::Result<()> {
    let mut progress = Progress::default();
    out.write_all(export.head().as_bytes())?;
    while let Some(rows) = export.next().await? {
        out.write_all(rows.text.as_bytes())?;
        progress.add(rows.count);
    }
    out.flush()?;
    progress.end();
    Ok(())
}

async fn to_file(
    store: &SharedStore,
    mut filter: CallFilter,
    options: ExportOptions,
    mut part: Part,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    // Times that were said as how long ago are those of the first start.
    (filter.from, filter.to) = part.times();
    let mut export = Export::new(store.clone(), filter, options, part.after());
    let mut progress = Progress::default();
    if part.calls() == 0 {
        part.write(&export.head(), 0)?;
    } else {
        progress.go_on_from(part.calls());
    }
    let written = async {
        while let Some(rows) = export.next().await? {
            part.write(&rows.text, rows.count)?;
            if let Some(after) = export.after() {
                part.keep(after)?;
            }
            progress.add(rows.count);
        }
        anyhow::Ok(())
    };
    if let Err(error) = written.await {
        return Err(error.context(format!(
            "the export broke off after {}; the same command goes on from there",
            counted(part.kept_calls(), "call")
        )));
    }
    progress.end();
    let (file, calls, bytes) = part.finish().context("cannot finish the file")?;
    writeln!(out, "export: {}", file.display())?;
    writeln!(out, "calls: {calls}")?;
    writeln!(out, "bytes: {bytes}")?;
    Ok(())
}

/// What is said on standard error meanwhile. It is optional: a closed standard error does not stop the export.
#[derive(Default)]
struct Progress {
    calls: u64,
    told: u64,
}

impl Progress {
    fn go_on_from(&mut self, calls: u64) {
        (self.calls, self.told) = (calls, calls);
        let _ = writeln!(io::stderr(), "going on after {}", counted(calls, "call"));
    }

    fn add(&mut self, calls: u64) {
        self.calls += calls;
        if self.calls - self.told >= PROGRESS_EVERY_CALLS {
            self.told = self.calls;
            let _ = writeln!(io::stderr(), "exported {}", counted(self.calls, "call"));
        }
    }

    fn end(&self) {
        let _ = writeln!(
            io::stderr(),
            "exported {}, all",
            counted(self.calls, "call")
        );
    }
}
