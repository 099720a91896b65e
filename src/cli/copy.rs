//! `athos-backend copy`: moves a store to another database, of either engine, while no service runs.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Misconfigured;
use crate::config::{DatabaseUrl, database_url};
use crate::lifecycle::{Instance, ShutdownSignal};
use crate::model::counted;
use crate::store::{self, CopyStep};

/// How often progress is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Flags of `copy`.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Stop the service first. The source is only read, and nobody can write to it meanwhile. The target must be empty: for SQLite a \
file that is not there yet, for PostgreSQL a new database that the role of the URL owns. Ids and cursors go on where they were.

Interrupted, by Ctrl-C or a crash, the same command goes on where it stopped; until it has ended, no service starts on the \
target. In the end both databases are read whole and compared, and the number of rows and a hash of each table are printed.

Other users of the machine can see the flags while it runs (`ps`), with what passwords are in them: give URLs with a password as
COPY_FROM and COPY_TO, in the environment or in .env.

Examples:
  Move to PostgreSQL:
    createdb --owner=athos athos
    read -rs COPY_TO && export COPY_TO   # postgres://athos:password@db/athos
    athos-backend copy --from sqlite://data/athos.db

  And back:
    COPY_FROM=$COPY_TO athos-backend copy --to sqlite://data/athos-again.db")]
pub(super) struct Args {
    /// The database to copy: sqlite://file or postgres://user:password@host/database
    #[arg(long, env = "COPY_FROM", hide_env_values = true, value_name = "URL", value_parser = database_url)]
    from: DatabaseUrl,

    /// Where to: an empty database
    #[arg(long, env = "COPY_TO", hide_env_values = true, value_name = "URL", value_parser = database_url)]
    to: DatabaseUrl,
}

/// Copies, and prints each table's number of rows and hash on `out`.
pub(super) async fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let started = Instant::now();
    if args.from == args.to {
        let why = "--from and --to are the same database: name an empty one with --to";
        return Err(Misconfigured(why.to_owned()).into());
    }
    let _nobody_serves = [refuse_served(&args.from)?, refuse_served(&args.to)?];
    let signal = ShutdownSignal::listen()?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        signal.received().await;
        stopping.cancel();
    });
    let mut told = Instant::now();
    let watch = move |step: CopyStep<'_>| {
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            // Progress is optional: a closed standard error does not stop the copy.
            let _ = match step {
                CopyStep::Copying { table, rows, of } => {
                    writeln!(io::stderr(), "{table}: {rows} of {of} rows copied")
                }
                CopyStep::Verifying {
                    table,
                    database,
                    rows,
                    of,
                } => {
                    writeln!(
                        io::stderr(),
                        "{table}: {rows} of {of} rows read in {database}, to verify"
                    )
                }
            };
        }
    };
    let tables = store::copy(&args.from, &args.to, watch, stop).await?;
    let rows: u64 = tables.iter().map(|table| table.rows).sum();
    for table in tables {
        let hash = base16ct::lower::encode_string(&table.hash);
        writeln!(
            out,
            "{}: {} {hash}",
            table.table,
            counted(table.rows, "row")
        )?;
    }
    writeln!(
        out,
        "verified: {} are the same in both databases",
        counted(rows, "row")
    )?;
    writeln!(out, "took: {:.1} s", started.elapsed().as_secs_f64())?;
    Ok(())
}

/// Refuses a file that a service has open, and keeps others from being served meanwhile unnoticed. Databases on a server are
/// looked at when they are opened.
fn refuse_served(url: &str) -> anyhow::Result<Option<Instance>> {
    // A URL that names no database is told of by whoever opens it.
    let file = store::database_file(url).ok().flatten();
    let Some(file) = file.filter(|file| file.exists()) else {
        return Ok(None);
    };
    let instance = Instance::of(&file);
    anyhow::ensure!(
        instance.is_alone(),
        "a service runs on the database {}: stop it first, so that nothing comes in that is not copied",
        file.display()
    );
    Ok(Some(instance))
}
