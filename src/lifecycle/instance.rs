//! Detects another process on the same database, by a lock on a file beside it, which the system releases when the process
//! ends. Two processes do not endanger the data, but are rarely intended.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use tokio_util::sync::CancellationToken;

/// How often a process that was not alone checks again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// This process as a user of the database.
#[derive(Debug)]
pub(crate) struct Instance {
    /// None when the file cannot be created; the service starts all the same.
    lock: Option<File>,
    database: PathBuf,
}

impl Instance {
    pub(crate) fn of(database: &Path) -> Self {
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

    /// Whether no other process uses the database. Once true, this process holds the lock.
    pub(crate) fn is_alone(&self) -> bool {
        let tried = self.lock.as_ref().map(File::try_lock);
        !matches!(tried, Some(Err(TryLockError::WouldBlock)))
    }

    /// Logs when another process uses the database, and takes the lock when that one ends.
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
            tracing::info!("the other process on this database has ended");
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
