//! PgBouncer in transaction mode before the server for tests. Nothing is started where it is not installed, which is said.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_postgres::NoTls;

use crate::cluster;

/// Where the package puts it, beside PATH.
const PACKAGED: &str = "/usr/sbin";
/// Connections to the server: fewer than one replica has, so that each serves several.
const SERVER_CONNECTIONS: u32 = 4;
const STARTS_WITHIN: Duration = Duration::from_secs(30);

pub(crate) struct PgBouncer {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    database: String,
    process: Child,
}

impl PgBouncer {
    /// Starts one before this database.
    pub(crate) async fn start(database_url: &str) -> Option<Self> {
        let Some(program) = find_program() else {
            eprintln!(
                "SKIPPED, nothing was tested: there is no pgbouncer: apt-get install pgbouncer"
            );
            return None;
        };
        let (server, database) = database_url
            .split_once('@')
            .and_then(|(_, rest)| rest.split_once('/'))
            .unwrap();
        let (host, server_port) = server.split_once(':').unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        // It does not run as root, and reads its settings all the same.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let users = folder.path().join("users");
        fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let settings = format!(
            "[databases]\n{database} = host={host} port={server_port}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = {SERVER_CONNECTIONS}\nmax_client_conn = 200\n",
            users.display()
        );
        fs::write(folder.path().join("pgbouncer.ini"), settings).unwrap();
        let mut started = Self {
            process: spawn(&program, &folder),
            program,
            folder,
            port,
            database: database.to_owned(),
        };
        started.listens().await;
        Some(started)
    }

    /// The database through it.
    pub(crate) fn url(&self) -> String {
        let (port, database) = (self.port, &self.database);
        format!("postgres://postgres@127.0.0.1:{port}/{database}")
    }

    /// Statements that have names in the session that it lends: another process could mean something else by them.
    pub(crate) async fn named_statements(&self) -> i64 {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let count = "SELECT count(*) FROM pg_prepared_statements";
        let rows = client.query_typed(count, &[]).await.unwrap();
        rows[0].get(0)
    }

    /// Ends it at once, as its restart by a package update does, and every connection with it.
    pub(crate) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again at the same address.
    pub(crate) async fn start_again(&mut self) {
        self.process = spawn(&self.program, &self.folder);
        self.listens().await;
    }

    async fn listens(&mut self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let listens = tokio::time::timeout(STARTS_WITHIN, async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                let ended = self.process.try_wait().unwrap();
                assert!(ended.is_none(), "pgbouncer ended: {ended:?}");
                ticks.tick().await;
            }
        });
        listens.await.expect("pgbouncer does not listen");
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn find_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PACKAGED.into()])
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.exists())
}

fn spawn(program: &PathBuf, folder: &TempDir) -> Child {
    let mut command = Command::new(program);
    command
        .arg(folder.path().join("pgbouncer.ini"))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some((_, user, group)) = cluster::owner() {
        command.uid(user).gid(group);
    }
    command.spawn().unwrap()
}
