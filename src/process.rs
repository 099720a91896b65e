//! What the process asks of the operating system before it holds a secret: private memory and files, and enough open
//! files for its connections. A refusal is logged, and the process starts all the same.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside the public listener's connections: the admin listener's, the database's, those to Athos.
const OTHER_FILES: u64 = 256;

/// Keeps the process's memory, which holds keys and transcripts, out of core dumps and away from other processes of the
/// same user.
pub(crate) fn keep_memory_private() {
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    report(
        "core dumps could not be turned off",
        setrlimit(Resource::Core, nothing),
    );
    // The size limit does not apply to core dumps that are piped to a program. This also hides /proc/PID/environ and
    // /proc/PID/mem.
    #[cfg(target_os = "linux")]
    report(
        "the process could not be made undumpable",
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable),
    );
}

/// Makes new files readable by the process's user only: the database and its log hold transcripts, and SQLite creates
/// files with the widest mode that the umask allows.
pub(crate) fn keep_files_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Opens a file to read and write it, and creates it if it is missing. An existing one must belong to this user and be no
/// link: otherwise somebody else could read what is written.
///
/// # Errors
/// When it cannot be opened, or is not this user's.
pub(crate) fn open_own_file(path: &Path) -> std::io::Result<File> {
    let refused = || {
        let why = "it is a link, no plain file, or another user's: name another";
        std::io::Error::new(std::io::ErrorKind::PermissionDenied, why)
    };
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let file = opened.map_err(|error| {
        // The system's error for a symbolic link here: "too many levels of symbolic links".
        let is_link = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
        if is_link { refused() } else { error }
    })?;
    let metadata = file.metadata()?;
    let owner = rustix::process::geteuid().as_raw();
    if !metadata.is_file() || metadata.uid() != owner || metadata.nlink() != 1 {
        return Err(refused());
    }
    Ok(file)
}

/// Raises the limit on open files as far as this user may, and warns when it is too low for `connections`.
pub(crate) fn raise_open_file_limit(connections: u32) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limits = Rlimit {
        current: maximum,
        maximum,
    };
    report(
        "the limit on open files could not be raised",
        setrlimit(Resource::Nofile, limits),
    );
    let limit = getrlimit(Resource::Nofile).current;
    if limit.is_some_and(|limit| limit < u64::from(connections) + OTHER_FILES) {
        tracing::warn!(
            limit,
            connections,
            "the limit on open files is too low for MAX_CONNECTIONS: raise it (ulimit -n, LimitNOFILE=, --ulimit nofile=), \
             or lower MAX_CONNECTIONS"
        );
    }
}

fn report(what: &str, outcome: Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "{what}");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior};

    use super::*;

    #[test]
    fn memory_is_neither_dumped_nor_read() {
        keep_memory_private();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }

    #[test]
    fn a_file_is_written_where_it_is_new_or_ours_and_never_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let there = |name: &str| folder.path().join(name);
        std::fs::write(there("precious"), "as it was").unwrap();
        std::fs::hard_link(there("precious"), there("second_name")).unwrap();
        std::os::unix::fs::symlink(there("precious"), there("link")).unwrap();
        std::os::unix::fs::symlink(there("nothing"), there("nowhere")).unwrap();
        for name in ["second_name", "link", "nowhere"] {
            let refused = open_own_file(&there(name)).unwrap_err();
            assert!(refused.to_string().contains("it is a link"), "{refused}");
        }
        open_own_file(&there(".")).unwrap_err();
        assert!(!there("nothing").exists());
        assert_eq!(std::fs::read(there("precious")).unwrap(), b"as it was");
        std::fs::write(there("ours"), "of yesterday").unwrap();
        for (name, bytes) in [("ours", 12), ("new", 0)] {
            let file = open_own_file(&there(name)).unwrap();
            assert_eq!(file.metadata().unwrap().len(), bytes, "{name}");
        }
        let mode = there("new").metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
