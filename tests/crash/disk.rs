//! A small disk that nobody else sees: a tmpfs in a mount namespace of its own, gone with the process that holds it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// The disk, and who holds it.
pub(crate) struct Disk {
    holder: Child,
    place: TempDir,
}

impl Disk {
    /// A disk of so many MiB; none where namespaces may not be made, which is said.
    pub(crate) fn of_mib(size: u32) -> Option<Self> {
        Self::made_by("mount -t tmpfs -o size=$1m none $0", size)
    }

    /// A folder in which nothing can be changed, with a copy of this file in it if there is one.
    pub(crate) fn read_only(copied: Option<&Path>) -> Option<Self> {
        let copy = copied.map_or("true".to_owned(), |file| {
            format!("cp {} $0", file.display())
        });
        Self::made_by(
            &format!("mount -t tmpfs none $0 && {copy} && mount -o remount,ro $0"),
            0,
        )
    }

    fn made_by(mount: &str, size: u32) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let script = format!("{mount} && echo made && exec cat");
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &script])
            .arg(place.path())
            .arg(size.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = String::new();
        let stdout = holder.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut said).unwrap();
        let disk = Self { holder, place };
        if said.trim() == "made" {
            return Some(disk);
        }
        eprintln!(
            "SKIPPED: no disk of our own can be mounted here (unshare --map-root-user --mount)"
        );
        None
    }

    /// Where the disk is, for those who see it.
    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// The same command, where it sees the disk. It keeps its process id.
    pub(crate) fn within(&self, command: &Command) -> Command {
        let mut within = Command::new("nsenter");
        within
            .args(["--user", "--mount", "--preserve-credentials", "--target"])
            .arg(self.holder.id().to_string())
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        let variables = command.get_envs();
        within.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        within.current_dir("/");
        within
    }

    /// The way in from outside.
    pub(crate) fn seen_from_outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.place.path().strip_prefix("/").unwrap())
    }

    /// Copies the database off the disk, as it is.
    pub(crate) fn copy_out(&self, to: &Path) {
        for file in ["athos.db", "athos.db-wal"] {
            let from = self.seen_from_outside().join(file);
            if from.exists() {
                std::fs::copy(from, to.join(file)).unwrap();
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
