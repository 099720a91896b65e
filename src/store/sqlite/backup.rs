//! Copies the database while others use it: one consistent state, verified, synced, and complete or absent.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::OFlags;

use super::open;
use crate::store::sql::{self, values};
use crate::store::{Backup, Step, StoreError};

/// How often progress is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// More changes of calls than are made between a backup and the day when it is restored.
const LOST_REVS_MAX: i64 = 1_000_000_000;
/// The tables to count, the largest last.
const TABLES: [&str; 4] = ["events", "calls", "call_details", "mints"];

pub(in crate::store) async fn back_up(
    url: &str,
    file: &Path,
    overwrite: bool,
    mut watch: impl FnMut(Step),
) -> anyhow::Result<Backup> {
    let source = open::database_file(url)?;
    let target = Target::new(file, &source, overwrite)?;
    let partial = target.begin()?;
    let made = async {
        copy(&source, &target, &mut watch).await?;
        target.check_still(&partial)?;
        watch(Step::Verifying);
        let copy = target.partial.clone();
        let verified = tokio::task::spawn_blocking(move || {
            skip_lost_revs(&copy)?;
            verify(&copy)
        });
        let backup = verified.await??;
        partial.sync_all()?;
        anyhow::Ok(backup)
    };
    let made = made.await.and_then(|backup| {
        target.check_still(&partial)?;
        target.finish()?;
        Ok(backup)
    });
    if made.is_err() {
        // An error of the cleanup would hide the first one.
        let _ = std::fs::remove_file(&target.partial);
    }
    made
}

/// The path of the backup, and of the partial file.
struct Target {
    file: PathBuf,
    partial: PathBuf,
    folder: PathBuf,
}

impl Target {
    fn new(file: &Path, source: &Path, overwrite: bool) -> anyhow::Result<Self> {
        let shown = file.display();
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{shown} is not the name of a file"))?;
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = folder
            .canonicalize()
            .with_context(|| format!("the folder {} cannot be used", folder.display()))?;
        let source = open::existing(source)?;
        let file = folder.join(name);
        let partial = folder.join(format!("{name}.partial"));
        let of_the_database = ["", "-wal", "-shm", "-journal", "-serving"];
        if of_the_database.iter().any(|suffix| {
            let mut part = source.clone().into_os_string();
            part.push(suffix);
            file.as_os_str() == part || partial.as_os_str() == part
        }) {
            bail!("{shown} is the database itself: choose another name");
        }
        // SQLite would take them for the log of the backup.
        for suffix in ["-wal", "-journal"] {
            let part = folder.join(format!("{name}{suffix}"));
            if part.symlink_metadata().is_ok() {
                bail!(
                    "{} belongs to another database: remove it, or choose another name",
                    part.display()
                );
            }
        }
        if file.is_dir() {
            bail!("{shown} is a folder: name a file in it");
        }
        if !overwrite && file.symlink_metadata().is_ok() {
            bail!("{shown} exists: choose another name, or say --force");
        }
        Ok(Self {
            partial,
            file,
            folder,
        })
    }

    /// Makes an empty file that only its owner may read, and never takes one that is there: somebody else could have made
    /// it, and would have the backup. What a backup of ours left behind when it was cut short is removed; one that is
    /// being made is left alone.
    fn begin(&self) -> anyhow::Result<File> {
        let shown = self.partial.display();
        let mut journal = self.partial.clone().into_os_string();
        journal.push("-journal");
        // Kept open, with their locks, until the new file has its own.
        let _leftovers = [
            remove_leftover(&self.partial)?,
            remove_leftover(Path::new(&journal))?,
        ];
        let partial = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.partial)
            .with_context(|| format!("cannot create {shown}"))?;
        lock(&partial, &self.partial)?;
        Ok(partial)
    }

    /// The copy must have gone into the file that was made for it.
    fn check_still(&self, partial: &File) -> anyhow::Result<()> {
        let (ours, there) = (partial.metadata()?, self.partial.symlink_metadata()?);
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            bail!(
                "{} was replaced while the backup was written: choose a folder that nobody else may write to",
                self.partial.display()
            );
        }
        Ok(())
    }

    /// Renames the backup to its path, and syncs that.
    fn finish(&self) -> anyhow::Result<()> {
        std::fs::rename(&self.partial, &self.file)
            .with_context(|| format!("cannot name the backup {}", self.file.display()))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(())
    }
}

/// Removes what a backup of this user left behind when it was cut short, if it did.
fn remove_leftover(path: &Path) -> anyhow::Result<Option<File>> {
    let shown = path.display();
    // Links are not followed, and opening a pipe does not block.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let is_leftover = |file: &File| {
        let metadata = file.metadata()?;
        let owner = rustix::process::geteuid().as_raw();
        anyhow::Ok(metadata.is_file() && metadata.uid() == owner && metadata.nlink() == 1)
    };
    let foreign = || {
        anyhow::anyhow!(
            "{shown} is there, and is nothing that a backup of this user left behind: remove it, or choose another name"
        )
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(anyhow::Error::new(error).context(foreign())),
    };
    if !is_leftover(&file)? {
        return Err(foreign());
    }
    lock(&file, path)?;
    // The process that held the lock before may have removed it.
    if !is_leftover(&file)? {
        bail!("another backup is writing {shown}");
    }
    std::fs::remove_file(path).with_context(|| format!("cannot remove {shown}"))?;
    Ok(Some(file))
}

fn lock(file: &File, path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => bail!("another backup is writing {shown}"),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {shown}"))
        }
    }
}

async fn copy(source: &Path, target: &Target, watch: &mut impl FnMut(Step)) -> anyhow::Result<()> {
    let explain = |error: StoreError| open::explain(error, source);
    let connection = open::open_to_copy(source).map_err(explain)?;
    let db: &dyn sql::Connection = &connection;
    let is_ours = "SELECT count(*) FROM sqlite_schema WHERE name IN ('events', 'calls')";
    if db.scalar::<i64>(is_ours, &[]).map_err(explain)? != 2 {
        bail!("{} is not a database of this service", source.display());
    }
    let of = open::size(db).map_err(explain)?;
    let partial = target.partial.to_str().context("the path is not UTF-8")?;
    let partial = partial.to_owned();
    let mut copying = tokio::task::spawn_blocking(move || {
        let db: &dyn sql::Connection = &connection;
        db.execute("VACUUM INTO ?1", values![partial])
    });
    let copied = loop {
        tokio::select! {
            copied = &mut copying => break copied?,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                let bytes = std::fs::metadata(&target.partial).map_or(0, |file| file.len());
                watch(Step::Copying { bytes, of });
            }
        }
    };
    copied.map(drop).map_err(|error| match error {
        StoreError::Full(_) | StoreError::Io(_) => anyhow::Error::new(error).context(format!(
            "the backup cannot be written to {}: it needs up to {of} bytes of room there",
            target.folder.display()
        )),
        error => explain(error),
    })
}

/// Has the copy's revs go on far beyond those that the database will have reached when the copy takes its place: who follows
/// changes, and has seen some that are lost by then, misses none of those that come after.
fn skip_lost_revs(file: &Path) -> anyhow::Result<()> {
    let connection = open::open_to_copy(file)?;
    let db: &dyn sql::Connection = &connection;
    // An older version's database has none.
    if db.exists("SELECT 1 FROM sqlite_schema WHERE name = 'rev_floor'", &[])? {
        let skip = "UPDATE rev_floor SET rev = (SELECT rev + ?1 FROM latest_rev)";
        db.execute(skip, values![LOST_REVS_MAX])?;
    }
    Ok(())
}

/// Reads the copy from end to end.
fn verify(file: &Path) -> anyhow::Result<Backup> {
    let connection = open::open_to_read(file, true)?;
    let db: &dyn sql::Connection = &connection;
    let said: String = db.scalar("PRAGMA integrity_check(1)", &[])?;
    if said != "ok" {
        bail!("the copy is not sound, so the database may be damaged (SQLite says: {said})");
    }
    let mut rows = Vec::new();
    for table in TABLES {
        let count = format!("SELECT count(*) FROM {table}");
        rows.push((table, db.scalar(&count, &[])?));
    }
    let latest = "SELECT received_at FROM events ORDER BY id DESC LIMIT 1";
    Ok(Backup {
        bytes: std::fs::metadata(file)?.len(),
        rows,
        latest_event: db.first(latest, &[], |row| row.get(0))?,
    })
}
