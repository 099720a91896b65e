//! A file that is being written: under the name of the file with `.part`, with a second one beside it that says what was asked
//! for and how far it is. Both go when the file is whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::Args;
use crate::export::ExportOptions;
use crate::model::Timestamp;
use crate::store::{CallFilter, PageKey};
use athos_api::signature::fingerprint;

/// Bytes between two places from which an export can go on; each costs a sync.
const KEEP_EVERY_BYTES: u64 = 16 << 20;

/// What an export was asked for, in the words of its flags: another one does not go on with its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Query {
    flags: Vec<Option<String>>,
    from: Option<i64>,
    to: Option<i64>,
}

impl Query {
    pub(super) fn new(args: &Args, filter: &CallFilter, options: ExportOptions) -> Self {
        let bound = |bound: Option<crate::model::TimeBound>| bound.map(|it| format!("{it:?}"));
        Self {
            flags: vec![
                Some(format!("{options:?}")),
                // It may have a password in it.
                Some(fingerprint(&args.database.database_url.to_string().into())),
                bound(args.ended.from),
                bound(args.ended.to),
                filter.rep.clone(),
                filter.agency.clone(),
                filter.drill.clone(),
                filter.status.map(|status| status.as_str().to_owned()),
                filter.source.clone(),
            ],
            from: filter.from.map(Timestamp::as_millis),
            to: filter.to.map(Timestamp::as_millis),
        }
    }
}

/// How far a file is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    query: Query,
    /// After the call with this key: when it ended, and its number.
    after: Option<(i64, i64)>,
    bytes: u64,
    calls: u64,
}

/// The file that is being written.
pub(super) struct Part {
    file: PathBuf,
    part: PathBuf,
    place_file: PathBuf,
    is_forced: bool,
    out: File,
    place: Place,
    /// How far it was when that was last kept.
    kept: Place,
}

impl Part {
    /// Begins the file, or goes on with what the same export has left.
    pub(super) fn open(
        file: &Path,
        is_forced: bool,
        restart: bool,
        query: Query,
    ) -> anyhow::Result<Self> {
        let shown = file.display();
        let name = file
            .file_name()
            .with_context(|| format!("{shown} is not the name of a file"))?;
        if file.is_dir() {
            bail!("{shown} is a folder: name a file in it");
        }
        refuse_existing(file, is_forced)?;
        let beside = |suffix: &str| {
            let mut name = name.to_owned();
            name.push(suffix);
            file.with_file_name(name)
        };
        let (part, place_file) = (beside(".part"), beside(".part.json"));
        let mut out = open_own(&part)?;
        let left = match fs::read(&place_file) {
            Ok(text) if !restart => Some(text),
            _ => None,
        };
        let begun = Place {
            query,
            after: None,
            bytes: 0,
            calls: 0,
        };
        let place = match left {
            Some(left) => read_place(&left, &begun, out.metadata()?.len()).with_context(|| {
                format!("{} cannot be gone on with: say --restart", part.display())
            })?,
            None => {
                remove_if_there(&place_file)?;
                begun
            }
        };
        // What was written after the place was kept may not be whole.
        out.set_len(place.bytes)?;
        out.seek(SeekFrom::End(0))?;
        Ok(Self {
            file: file.to_owned(),
            part,
            place_file,
            is_forced,
            out,
            kept: place.clone(),
            place,
        })
    }

    /// The range of time, as it was when the file was begun.
    pub(super) fn times(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let query = &self.place.query;
        (
            query.from.map(Timestamp::from_millis),
            query.to.map(Timestamp::from_millis),
        )
    }

    /// After which call to go on.
    pub(super) fn after(&self) -> Option<PageKey> {
        self.place.after.map(|(sort_at, seq)| PageKey {
            sort_at: Timestamp::from_millis(sort_at),
            seq,
        })
    }

    /// How many calls it has.
    pub(super) fn calls(&self) -> u64 {
        self.place.calls
    }

    /// How many calls it has from which an export would go on.
    pub(super) fn kept_calls(&self) -> u64 {
        self.kept.calls
    }

    pub(super) fn write(&mut self, text: &str, calls: u64) -> anyhow::Result<()> {
        let shown = self.part.display();
        self.out
            .write_all(text.as_bytes())
            .with_context(|| format!("cannot write {shown}"))?;
        self.place.bytes += text.len() as u64;
        self.place.calls += calls;
        Ok(())
    }

    /// What is written so far ends with the call that has this key. Kept now and then.
    pub(super) fn keep(&mut self, after: PageKey) -> anyhow::Result<()> {
        self.place.after = Some((after.sort_at.as_millis(), after.seq));
        if self.place.bytes - self.kept.bytes < KEEP_EVERY_BYTES {
            return Ok(());
        }
        // The rows first: the place must not say more than there is.
        self.out.sync_data()?;
        let new = self.place_file.with_extension("json.new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&self.place)?)?;
        file.sync_data()?;
        fs::rename(&new, &self.place_file)?;
        self.kept = self.place.clone();
        Ok(())
    }

    /// Gives the file its name; that name, how many calls it has, and how many bytes.
    pub(super) fn finish(self) -> anyhow::Result<(PathBuf, u64, u64)> {
        self.out.sync_all()?;
        refuse_existing(&self.file, self.is_forced)?;
        fs::rename(&self.part, &self.file)?;
        let folder = match self.file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()?;
        remove_if_there(&self.place_file)?;
        Ok((self.file, self.place.calls, self.place.bytes))
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn refuse_existing(file: &Path, is_forced: bool) -> anyhow::Result<()> {
    if !is_forced && file.symlink_metadata().is_ok() {
        bail!(
            "{} exists: choose another name, or say --force",
            file.display()
        );
    }
    Ok(())
}

/// Opens a file that only its owner may read, and that no other export writes. Links are not followed.
fn open_own(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .with_context(|| format!("cannot create {shown}"))?;
    if !file.metadata()?.is_file() {
        bail!("{shown} is no file: choose another name");
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another export is writing {shown}"),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {shown}"))
        }
    }
}

/// The place that an earlier export has left, if this one is the same and its rows are there.
fn read_place(left: &[u8], begun: &Place, bytes: u64) -> anyhow::Result<Place> {
    let place: Place = serde_json::from_slice(left).context("the file beside it is damaged")?;
    if place.query.flags != begun.query.flags {
        bail!("it was begun with other flags");
    }
    if place.bytes > bytes {
        bail!("it is shorter than it was");
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(rep: &str) -> Query {
        Query {
            flags: vec![Some(rep.to_owned())],
            from: Some(7),
            to: None,
        }
    }

    fn key(seq: i64) -> PageKey {
        PageKey {
            sort_at: Timestamp::from_millis(9),
            seq,
        }
    }

    #[test]
    fn what_was_cut_short_is_gone_on_with_from_the_last_place_that_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("calls.csv");
        let open = |restart, query| Part::open(&file, false, restart, query);
        let much = "x".repeat(usize::try_from(KEEP_EVERY_BYTES).unwrap());
        let mut first = open(false, query("a")).unwrap();
        assert!(open(false, query("a")).is_err(), "another writes it");
        first.write("head\n", 0).unwrap();
        first.write(&much, 3).unwrap();
        first.keep(key(3)).unwrap();
        first.write("cut sh", 1).unwrap();
        first.keep(key(4)).unwrap();
        assert_eq!((first.calls(), first.kept_calls()), (4, 3));
        drop(first);
        assert!(!file.exists());

        let other = open(false, query("b")).map(drop).unwrap_err();
        assert!(format!("{other:#}").contains("--restart"), "{other:#}");
        let mut again = open(false, query("a")).unwrap();
        assert_eq!((again.after(), again.calls()), (Some(key(3)), 3));
        assert_eq!(again.times().0, Some(Timestamp::from_millis(7)));
        again.write("rest\n", 2).unwrap();
        let (_, calls, bytes) = again.finish().unwrap();
        let whole = std::fs::read_to_string(&file).unwrap();
        assert_eq!(whole, format!("head\n{much}rest\n"));
        assert_eq!((calls, bytes), (5, whole.len() as u64));
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "nothing else is left");

        assert!(open(false, query("a")).is_err(), "it exists");
        let mut forced = Part::open(&file, true, false, query("a")).unwrap();
        forced.write("new", 1).unwrap();
        forced.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn an_export_begins_anew_when_it_is_told_to_and_when_nothing_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("calls.csv");
        let much = "x".repeat(usize::try_from(KEEP_EVERY_BYTES).unwrap());
        let mut first = Part::open(&file, false, false, query("a")).unwrap();
        first.write(&much, 3).unwrap();
        first.keep(key(3)).unwrap();
        drop(first);
        let mut anew = Part::open(&file, false, true, query("b")).unwrap();
        assert_eq!((anew.after(), anew.calls()), (None, 0));
        anew.write("little", 1).unwrap();
        drop(anew);
        let mut again = Part::open(&file, false, false, query("c")).unwrap();
        assert_eq!((again.after(), again.calls()), (None, 0));
        again.write("whole", 1).unwrap();
        again.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "whole");
    }
}
