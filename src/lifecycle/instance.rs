//! Whether another process serves the same database: a lock on a file beside it, which the system gives back when the
//! process ends, however it ends. Two are no danger to what is stored, and seldom meant.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use tokio_util::sync::CancellationToken;

/// How often a process that was not alone looks whether it is by now.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// This process, as one that serves a database.
#[derive(Debug)]
pub(super) struct Instance {
    /// None where there is no such file to be had: that is no reason not to serve.
    lock: Option<File>,
    database: PathBuf,
}

impl Instance {
    pub(super) fn of(database: &Path) -> Self {
        let mut beside = database.as_os_str().to_owned();
        beside.push("-serving");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(beside);
        Self {
            lock: lock.ok(),
            database: database.to_owned(),
        }
    }

    /// Whether no other process serves the database. From the first yes on, others are not alone.
    pub(super) fn is_alone(&self) -> bool {
        let tried = self.lock.as_ref().map(File::try_lock);
        !matches!(tried, Some(Err(TryLockError::WouldBlock)))
    }

    /// Tells the log when it is not alone, and takes over the lock when it is: a third process will want to know.
    pub(super) fn claim(self: Arc<Self>, shutdown: CancellationToken) {
        if self.is_alone() {
            return;
        }
        tracing::warn!(
            database = %self.database.display(),
            "another process serves this database: stop one of them, unless one is about to replace the other; nothing is \
             lost, but each has limits of its own, and both ask Athos"
        );
        tokio::spawn(async move {
            while !self.is_alone() {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            }
            tracing::info!("no other process serves this database any more");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_not_alone_until_the_first_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("athos.db");
        let (first, second) = (Instance::of(&database), Instance::of(&database));
        assert!(first.is_alone() && first.is_alone());
        assert!(!second.is_alone());
        drop(first);
        assert!(second.is_alone());
        assert!(Instance::of(&folder.path().join("other.db")).is_alone());
        assert!(Instance::of(&folder.path().join("no/folder.db")).is_alone());
    }
}
