//! A standby of the server for tests: nothing serves from it, and `doctor` says what it is.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::cluster::{self, Database};
use crate::luck;
use crate::service::Binary;
use crate::vendor::Vendor;

const FOLLOWS_WITHIN: Duration = Duration::from_secs(60);
/// Has the primary keep what the standby has not received yet, however much others write meanwhile.
const SLOT: &str = "standby_of_a_story";

/// A server that follows the one for tests; it ends with its owner.
struct Standby {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
}

impl Standby {
    /// Makes one of the server at this port.
    fn of(primary: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let standby = Self {
            programs: cluster::find_programs().unwrap(),
            folder,
            port,
        };
        let data = standby.data();
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
        if let Some((_, user, group)) = cluster::owner() {
            chown(&data, Some(user), Some(group)).unwrap();
        }
        let data = data.to_str().unwrap();
        standby.run(
            "pg_basebackup",
            &[
                &[
                    "-D",
                    data,
                    "-h",
                    "127.0.0.1",
                    "-p",
                    primary,
                    "-U",
                    "postgres",
                ][..],
                // It is to follow, begins at once, and may be lost.
                &["--write-recovery-conf", "--checkpoint=fast", "--no-sync"],
                &["--create-slot", "--slot", SLOT],
            ]
            .concat(),
        );
        let log = standby.data().join("standby.log");
        let at = format!("-p {port}");
        let log = log.to_str().unwrap();
        standby.run("pg_ctl", &["-D", data, "-l", log, "-o", &at, "-w", "start"]);
        standby
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let log = self.folder.path().join("setup.log");
        cluster::run(&self.programs.join(program), arguments, &log);
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let data = self.data();
        let data: &Path = &data;
        self.run(
            "pg_ctl",
            &["-D", data.to_str().unwrap(), "-m", "immediate", "stop"],
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_not_served_from_and_doctor_says_how_far_it_is_behind() {
    let vendor = Vendor::start(luck().random()).await;
    let Some(database) = Database::new() else {
        return;
    };
    let url = database.url();
    let mut first = Binary::on(url.clone(), &vendor).start();
    first.kill();
    let (_, place) = url.split_once('@').unwrap();
    let (primary, _) = place
        .strip_prefix("127.0.0.1:")
        .unwrap()
        .split_once('/')
        .unwrap();
    let standby = Standby::of(primary);
    let standby_url = url.replace(primary, &standby.port.to_string());

    let (client, connection) = tokio_postgres::connect(&standby_url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    // How far it is behind is told by the last transaction that it has replayed: there must be one before it is paused.
    database.sql("CREATE TABLE replayed (x INT)");
    let follows = tokio::time::timeout(FOLLOWS_WITHIN, async {
        let is_following = "SELECT EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming') \
                            AND pg_last_xact_replay_timestamp() IS NOT NULL";
        while !client
            .query_one(is_following, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
        {
            ticks.tick().await;
        }
    });
    follows.await.expect("it does not follow");
    client
        .batch_execute("SELECT pg_wal_replay_pause()")
        .await
        .unwrap();
    database.sql("CREATE TABLE not_yet_there (x INT)");
    let follows = tokio::time::timeout(FOLLOWS_WITHIN, async {
        let is_behind = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn() AND pg_last_xact_replay_timestamp() IS NOT NULL";
        while !client
            .query_one(is_behind, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
        {
            ticks.tick().await;
        }
    });
    follows.await.expect("it has heard of nothing");

    let binary = Binary::on(standby_url, &vendor);
    let refused = binary.spawn().listening();
    let said = refused.err().expect("it serves from a standby").said;
    assert!(said.contains("the server is a standby"), "{said}");
    let doctor = binary.command(&["doctor", "--offline"]).output().unwrap();
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(!doctor.status.success());
    let lag = said
        .lines()
        .find(|line| line.contains("the server is a standby, "));
    assert!(
        lag.is_some_and(|lag| lag.contains(" behind its primary")),
        "{said}"
    );

    // Of several hosts, the one that takes writes.
    let both = format!("{},127.0.0.1:{primary}", standby.port);
    Binary::on(url.replace(primary, &both), &vendor).start();
    drop(standby);
    database.sql(&format!("SELECT pg_drop_replication_slot('{SLOT}')"));
}
