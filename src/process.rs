//! What the process asks of the operating system before it holds a secret: that its memory and its files are its own,
//! and that it may have as many files open as connections need. What the system refuses is logged, and no reason not to
//! start. And where a process is asked from its own machine.

use std::net::{Ipv4Addr, SocketAddr};

use rustix::fs::Mode;
use rustix::io::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside the public listener's connections: the admin listener's, the database's, those to Athos.
const OTHER_FILES: u64 = 256;

/// Keeps the process's memory, which holds keys and transcripts, out of core dumps and away from other processes of the
/// same user.
pub fn keep_memory_private() {
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    report(
        "core dumps could not be turned off",
        setrlimit(Resource::Core, nothing),
    );
    // Core dumps that go to a program know no limit of size. This also hides /proc/PID/environ and /proc/PID/mem.
    #[cfg(target_os = "linux")]
    report(
        "the process could not be made undumpable",
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable),
    );
}

/// Has whatever files the process makes be readable by its own user only: the database and its log hold transcripts, and
/// SQLite asks for no less than everybody may have.
pub fn keep_files_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Raises the limit on open files as far as this user may, and warns when it is too low for `connections`.
pub fn make_room_for(connections: u32) {
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

/// Where whoever listens at `addr` is asked from the same machine: a container listens everywhere, and is asked here.
#[must_use]
pub fn asked_at(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    addr
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
}
