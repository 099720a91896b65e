//! `athos-backend backup`: a copy of the database, made while the service runs or while it does not.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use crate::store::{Step, back_up};

use super::Database;

/// Flags of `backup`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Where the copy goes; only its owner may read it
    file: PathBuf,

    /// Replace the file if it exists
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    database: Database,
}

/// Makes the copy, and prints its content on `out`.
pub(super) async fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut progress = io::stderr();
    let database = &args.database.database_url;
    let backup = back_up(database, &args.file, args.force, |step| {
        // Progress is optional: a closed standard error does not stop the backup.
        let _ = match step {
            Step::Copying { bytes, of } => writeln!(
                progress,
                "copied {} of at most {}",
                megabytes(bytes),
                megabytes(of)
            ),
            Step::Verifying => writeln!(progress, "verifying"),
        };
    })
    .await?;
    writeln!(out, "backup: {}", args.file.display())?;
    writeln!(out, "size: {}", megabytes(backup.bytes))?;
    for (table, rows) in backup.rows {
        writeln!(out, "{table}: {rows}")?;
    }
    if let Some(at) = backup.latest_event {
        writeln!(out, "latest event: {at}")?;
    }
    writeln!(out, "verified: every page and index")?;
    writeln!(out, "took: {:.1} s", started.elapsed().as_secs_f64())?;
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}
