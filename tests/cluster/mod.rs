//! A PostgreSQL server for tests, with a database for each of them. The first test that needs it starts it, on a port of its
//! own in a folder of its own; it ends by itself when no process of a test has used it for a while.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Set where a server must be there: without it, tests that need one pass with a warning.
const REQUIRED: &str = "STORY_STORE";
/// Stops the server when nobody has held the lock for a moment. It holds the lock while it does.
const WATCH: &str = r#"
while sleep 15; do
  flock --exclusive --nonblock "$1/users" sh -c '"$0" -D "$1/data" -m immediate stop && rm -rf "$1/data"' "$2" "$1" && exit
done
"#;

/// The oldest server that the service supports.
const OLDEST: u32 = 15;

struct Cluster {
    programs: PathBuf,
    port: u16,
    /// Locked as long as this process lives, so that the server does too.
    _used: File,
}

static CLUSTER: LazyLock<Option<Cluster>> = LazyLock::new(|| {
    let programs = find_programs();
    if programs.is_none() {
        let said = format!(
            "no PostgreSQL server of version {OLDEST} or newer: apt-get install postgresql"
        );
        assert!(std::env::var_os(REQUIRED).is_none(), "{said}");
        eprintln!("SKIPPED, nothing was tested: {said}");
    }
    programs.map(Cluster::join)
});

/// A database that goes with its owner.
pub(crate) struct Database {
    cluster: &'static Cluster,
    name: String,
}

impl Database {
    /// An empty database; nothing when there is no server, which is said.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let cluster = CLUSTER.as_ref()?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        cluster.sql(
            "postgres",
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        );
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
        Some(Self { cluster, name })
    }

    /// Its URL, over TCP.
    pub(crate) fn url(&self) -> String {
        let (port, name) = (self.cluster.port, &self.name);
        format!("postgres://postgres@127.0.0.1:{port}/{name}")
    }

    /// Runs statements in it, beside the store; the rows, a line each, columns separated by `|`.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.cluster.sql(&self.name, sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = self.cluster.psql("postgres", &sql);
    }
}

impl Cluster {
    /// Starts the server, or uses the one that another process has started.
    fn join(programs: PathBuf) -> Self {
        let folder = std::env::temp_dir().join(format!(
            "athos-backend-tests-{}",
            rustix::process::getuid().as_raw()
        ));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let starting = File::create(folder.join("starting")).unwrap();
        starting.lock().unwrap();
        let used = File::create(folder.join("users")).unwrap();
        used.lock_shared().unwrap();
        let data = folder.join("data");
        let port = read_port(&data).filter(|port| is_answering(&programs, *port));
        let port = port.unwrap_or_else(|| start(&programs, &folder, &data));
        Self {
            programs,
            port,
            _used: used,
        }
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {said}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    fn psql(&self, database: &str, sql: &str) -> Output {
        Command::new(self.programs.join("psql"))
            .args([
                "--no-psqlrc",
                "-qAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
            ])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql])
            .output()
            .unwrap()
    }
}

/// The folder of the newest server's programs.
pub(crate) fn find_programs() -> Option<PathBuf> {
    let packaged = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut folders: Vec<_> = packaged.map(|version| version.path().join("bin")).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    let usable = folders
        .into_iter()
        .filter_map(|folder| Some((version(&folder)?, folder)));
    let newest = usable
        .filter(|(version, _)| *version >= OLDEST)
        .max_by_key(|(version, _)| *version);
    newest.map(|(_, folder)| folder)
}

/// The major version of the server in this folder, when all that is needed is beside it.
fn version(folder: &Path) -> Option<u32> {
    let needed = ["initdb", "pg_basebackup", "pg_ctl", "pg_isready", "psql"];
    if !needed.iter().all(|program| folder.join(program).exists()) {
        return None;
    }
    let output = Command::new(folder.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    said.split(' ')
        .find_map(|word| word.split('.').next()?.parse().ok())
}

/// The port of the server whose data these are, by its own file.
fn read_port(data: &Path) -> Option<u16> {
    let file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    file.lines().nth(3)?.parse().ok()
}

fn is_answering(programs: &Path, port: u16) -> bool {
    let port = port.to_string();
    let asked = Command::new(programs.join("pg_isready"))
        .args(["-q", "-h", "127.0.0.1", "-p", &port])
        .status();
    asked.is_ok_and(|status| status.success())
}

fn start(programs: &Path, folder: &Path, data: &Path) -> u16 {
    let _ = fs::remove_dir_all(data);
    fs::create_dir(data).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let data_folder = data.to_str().unwrap();
    let owner = owner();
    if let Some((_, user, group)) = &owner {
        chown(data, Some(*user), Some(*group)).unwrap();
    }
    let run = |program: &str, arguments: &[&str]| {
        let log = folder.join("setup.log");
        run(&programs.join(program), arguments, &log);
    };
    run(
        "initdb",
        &[
            "-D",
            data_folder,
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ],
    );
    let settings = format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nmax_connections = 400\n\
         shared_buffers = 64MB\nlog_min_messages = fatal\n"
    );
    fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
    let log = data.join("server.log");
    run(
        "pg_ctl",
        &[
            "-D",
            data_folder,
            "-l",
            log.to_str().unwrap(),
            "-w",
            "start",
        ],
    );
    watch(programs, folder, owner.map(|(name, _, _)| name));
    port
}

/// Runs one of the server's programs, as the server's owner, until it ends.
pub(crate) fn run(program: &Path, arguments: &[&str], log: &Path) {
    let mut command = match owner() {
        // The server does not run as root.
        Some((name, _, _)) => {
            let mut command = Command::new("runuser");
            command.args(["-u", name, "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    let said = File::create(log).unwrap();
    let status = command
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(said.try_clone().unwrap())
        .stdout(said)
        .status();
    let said = fs::read_to_string(log).unwrap();
    assert!(status.unwrap().success(), "{arguments:?}: {said}");
}

/// Has the server stopped when the last process that uses it has ended.
fn watch(programs: &Path, folder: &Path, owner: Option<&str>) {
    let stop = match owner {
        // `pg_ctl` refuses root as well.
        Some(name) => format!(
            "exec runuser -u {name} -- {}/pg_ctl \"$@\"",
            programs.display()
        ),
        None => format!("exec {}/pg_ctl \"$@\"", programs.display()),
    };
    let stopper = folder.join("stop");
    fs::write(&stopper, format!("#!/bin/sh\ncd /\n{stop}\n")).unwrap();
    fs::set_permissions(&stopper, fs::Permissions::from_mode(0o755)).unwrap();
    Command::new("setsid")
        .args(["--fork", "sh", "-c", WATCH, "watch"])
        .args([folder, &stopper])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

/// Whom the server runs as when these tests run as root: name, user and group.
pub(crate) fn owner() -> Option<(&'static str, u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    ["postgres", "nobody"].into_iter().find_map(|name| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        Some((name, numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}
