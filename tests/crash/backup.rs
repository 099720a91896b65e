//! Kills while a backup is made of a database that is being written to: of the backup in most rounds, of the service in
//! the others. What has a backup's name is a whole one.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;
use sqlx::Connection;

use crate::Rounds;
use crate::audit;
use crate::migration::of_the_first_schema;
use crate::service::Binary;
use crate::vendor::Vendor;

/// Backups that may end, or not have begun, before they are killed, for each that is killed.
const MISSES: usize = 10;

/// One backup that goes on; it has begun to write.
fn begin(binary: &Binary, file: &Path) -> Child {
    let partial = file.with_extension("db.partial");
    let _ = std::fs::remove_file(&partial);
    let mut command = binary.command(&["backup", "--force", file.to_str().unwrap()]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let backup = command.spawn().unwrap();
    let began = Instant::now();
    while !partial.exists() && !file.exists() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "no backup begins"
        );
        std::thread::yield_now();
    }
    backup
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_killed_is_none_and_one_that_is_there_is_whole() {
    let rounds = Rounds::of("backup");
    let vendor = Vendor::start(rounds.vendor_seed(0)).await;
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("athos.db");
    of_the_first_schema(&database).await;
    let file = folder.path().join("backup.db");
    let binary = Binary::new(&database, &vendor);
    let mut service = binary.start();
    vendor.deliver_to(&service.origin);

    let mut backup = begin(&binary, &file);
    let began = Instant::now();
    assert!(backup.wait().unwrap().success());
    let takes = began.elapsed();

    let mut luck = rounds.luck(0);
    let (mut round, mut missed) = (0, 0);
    while round < rounds.count {
        vendor.burst(40).await;
        vendor.attempted(1).await;
        let _ = std::fs::remove_file(&file);
        let (before, _) = vendor.acknowledged().await;
        let mut backup = begin(&binary, &file);
        let began = Instant::now();
        let moment = takes.mul_f64(luck.random());
        while began.elapsed() < moment {
            std::thread::yield_now();
        }
        let of_the_service = luck.random_range(0..3) == 0;
        if of_the_service {
            service.kill();
            assert!(
                backup.wait().unwrap().success(),
                "the service is not its business"
            );
        } else {
            backup.kill().unwrap();
            backup.wait().unwrap();
        }
        let is_there = file.exists();
        if is_there {
            let mut db = audit::open(&file).await;
            audit::is_sound(&mut db).await;
            audit::holds(&mut db, &before).await;
            db.close().await.unwrap();
        }
        let mut db = audit::open(&database).await;
        audit::is_sound(&mut db).await;
        audit::holds(&mut db, &vendor.acknowledged().await.0).await;
        db.close().await.unwrap();
        if of_the_service {
            service = binary.start();
            vendor.deliver_to(&service.origin);
        }
        if is_there && !of_the_service {
            missed += 1;
            assert!(
                missed < MISSES * rounds.count,
                "hardly ever killed in a backup"
            );
            continue;
        }
        let who = if of_the_service { "service" } else { "backup" };
        rounds.tell(round, &format!("{who} killed {moment:?} in"));
        round += 1;
    }

    // What was left behind is in nobody's way, and the next one can be served.
    let (before, _) = vendor.acknowledged().await;
    assert!(begin(&binary, &file).wait().unwrap().success());
    service.kill();
    let mut restored = Binary::new(&file, &vendor).start();
    let mut db = audit::open(&file).await;
    audit::is_sound(&mut db).await;
    audit::holds(&mut db, &before).await;
    restored.kill();
}
