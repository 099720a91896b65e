//! What disks do to the service: full, read-only, damaged. It refuses to start with advice, or says that it is not ready
//! and acknowledges nothing; and what it did acknowledge is there when the disk is well again.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use athos_api::signature::{SIGNATURE_HEADER, WEBHOOK_ID_HEADER, sign};
use athos_backend::clients::http_client;
use athos_backend::clock::Clock;
use serde_json::json;
use sqlx::Connection;
use tempfile::TempDir;

use crate::audit::{self, number};
use crate::disk::Disk;
use crate::service::{Binary, Starting};
use crate::vendor::Vendor;

const PAGE: u64 = 4096;

/// Delivers webhooks one by one.
struct Sender<'v> {
    vendor: &'v Vendor,
    http: reqwest::Client,
    sent: usize,
    acknowledged: BTreeSet<String>,
}

impl<'v> Sender<'v> {
    fn new(vendor: &'v Vendor) -> Self {
        let url = vendor.base_url().parse().unwrap();
        Self {
            vendor,
            http: http_client(&url, Duration::from_secs(20)).unwrap(),
            sent: 0,
            acknowledged: BTreeSet::new(),
        }
    }

    /// One more webhook, which needs nothing from Athos; the status of the answer.
    async fn send(&mut self, origin: &str, pad: usize) -> u16 {
        self.sent += 1;
        let id = format!("wh_{}", self.sent);
        let body = json!({
            "event": "call.scored", "success": false, "callId": format!("call_{}", self.sent), "source": "roleplay",
            "externalUserId": "rep_1", "externalAgencyId": null, "reason": "x".repeat(pad), "reasonMessage": "y",
        })
        .to_string();
        let secret = self.vendor.secret.clone().into();
        let signature = sign(&secret, Clock::system().now().as_secs(), body.as_bytes());
        let request = self.http.post(format!("{origin}/athos/webhook"));
        let request = request
            .header(SIGNATURE_HEADER, signature)
            .header(WEBHOOK_ID_HEADER, &id);
        let answer = request.body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        if status == 200 {
            self.acknowledged.insert(id);
        }
        status
    }

    async fn readiness(&self, origin: &str) -> u16 {
        let answer = self.http.get(format!("{origin}/readyz")).send().await;
        answer.unwrap().status().as_u16()
    }

    /// Whatever was acknowledged is there, in a database that is whole. Looked at in a copy: the disk is in another
    /// namespace.
    async fn finds_all_on(&self, disk: &Disk) {
        let copy = tempfile::tempdir().unwrap();
        disk.copy_out(copy.path());
        let mut db = audit::open(&copy.path().join("athos.db")).await;
        audit::is_sound(&mut db).await;
        audit::holds(&mut db, &self.acknowledged).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_nothing_is_acknowledged_that_is_not_kept_and_room_is_all_it_takes() {
    let Some(disk) = Disk::of_mib(8) else { return };
    std::fs::write(disk.seen_from_outside().join("ballast"), vec![0; 4 << 20]).unwrap();
    let vendor = Vendor::start(1).await;
    let binary = Binary::new(&disk.path().join("athos.db"), &vendor);
    let start = || Starting::spawn(disk.within(&binary.command(&["serve"]))).listening();
    let mut service = start().map_err(|ended| ended.said).unwrap();
    let mut sender = Sender::new(&vendor);
    // One that shared its commit with others may be refused where one alone still fits.
    let mut refused_in_a_row = 0;
    while refused_in_a_row < 3 {
        refused_in_a_row = match sender.send(&service.origin, 20_000).await {
            200 => 0,
            status => {
                assert_eq!(status, 503);
                refused_in_a_row + 1
            }
        };
        assert!(sender.sent < 1000, "the disk is never full");
    }
    assert!(sender.sent > 10, "it was full from the start");
    assert_eq!(sender.readiness(&service.origin).await, 503);

    // Killed on the full disk; whether it comes up again on it or says why not, nothing is gone.
    service.kill();
    if let Err(ended) = start() {
        assert!(ended.said.contains("no room on the disk"), "{}", ended.said);
    }
    std::fs::remove_file(disk.seen_from_outside().join("ballast")).unwrap();
    let mut service = start().map_err(|ended| ended.said).unwrap();
    assert_eq!(sender.send(&service.origin, 20_000).await, 200);
    assert_eq!(sender.readiness(&service.origin).await, 200);
    service.kill();
    sender.finds_all_on(&disk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_service_goes_on_when_a_full_disk_has_room_again() {
    let Some(disk) = Disk::of_mib(8) else { return };
    std::fs::write(disk.seen_from_outside().join("ballast"), vec![0; 4 << 20]).unwrap();
    let vendor = Vendor::start(2).await;
    let binary = Binary::new(&disk.path().join("athos.db"), &vendor);
    let service = Starting::spawn(disk.within(&binary.command(&["serve"])));
    let mut service = service.listening().map_err(|ended| ended.said).unwrap();
    let mut sender = Sender::new(&vendor);
    while sender.send(&service.origin, 20_000).await == 200 {}
    assert_eq!(sender.readiness(&service.origin).await, 503);
    std::fs::remove_file(disk.seen_from_outside().join("ballast")).unwrap();
    assert_eq!(
        sender.readiness(&service.origin).await,
        200,
        "it finds out by itself"
    );
    assert_eq!(sender.send(&service.origin, 20_000).await, 200);
    service.kill();
    sender.finds_all_on(&disk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_may_only_be_read_is_refused_with_advice() {
    let vendor = Vendor::start(3).await;
    let (folder, _) = a_database(&vendor, 3).await;
    let existing = folder.path().join("athos.db");
    for copied in [None, Some(&*existing)] {
        let Some(disk) = Disk::read_only(copied) else {
            return;
        };
        let binary = Binary::new(&disk.path().join("athos.db"), &vendor);
        let started = Starting::spawn(disk.within(&binary.command(&["serve"]))).listening();
        let said = started.map(drop).unwrap_err().said;
        assert!(said.contains("athos.db"), "{said}");
        assert!(
            said.contains("may not be written to") || said.contains("may write"),
            "{said}"
        );
    }
}

/// A database as a stopped service left it, and what was acknowledged.
async fn a_database(vendor: &Vendor, webhooks: usize) -> (TempDir, BTreeSet<String>) {
    let folder = tempfile::tempdir().unwrap();
    let binary = Binary::new(&folder.path().join("athos.db"), vendor);
    let mut service = binary.start();
    let mut sender = Sender::new(vendor);
    for _ in 0..webhooks {
        assert_eq!(sender.send(&service.origin, 500).await, 200);
    }
    service.kill();
    (folder, sender.acknowledged)
}

/// Everything that is in the log is in the database, and the log is gone.
async fn empty_the_log(database: &Path) {
    let mut db = audit::open(database).await;
    number(&mut db, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    db.close().await.unwrap();
}

/// Where a table or an index has its first page, counted from 0.
async fn page_of(database: &Path, name: &'static str) -> u64 {
    let mut db = audit::open(database).await;
    let page: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = ?")
        .bind(name)
        .fetch_one(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    page.unsigned_abs() - 1
}

/// Overwrites what is there.
fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_is_not_served_and_whoever_starts_it_is_told_what_to_do() {
    let vendor = Vendor::start(4).await;
    let (folder, _) = a_database(&vendor, 60).await;
    let whole = folder.path().join("athos.db");
    empty_the_log(&whole).await;
    let events = page_of(&whole, "events").await;
    let index = page_of(&whole, "sqlite_autoindex_events_1").await;
    let length = std::fs::metadata(&whole).unwrap().len();
    let garbage = [0xa5; PAGE as usize];
    type Damage<'d> = (&'static str, Box<dyn Fn(&Path) + 'd>);
    let damages: [Damage<'_>; 7] = [
        (
            "a flipped byte in the header",
            Box::new(|file| overwrite(file, 3, b"\x00")),
        ),
        (
            "garbage for the schema's page",
            Box::new(|file| overwrite(file, 100, &garbage[100..])),
        ),
        (
            "garbage in the table of events",
            Box::new(|file| overwrite(file, events * PAGE, &garbage)),
        ),
        (
            "garbage in an index",
            Box::new(|file| overwrite(file, index * PAGE, &garbage)),
        ),
        (
            "half of the file",
            Box::new(|file| {
                let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
                file.set_len(length / 2 / PAGE * PAGE).unwrap();
            }),
        ),
        (
            "a text file",
            Box::new(|file| std::fs::write(file, "not a database. ".repeat(900)).unwrap()),
        ),
        (
            "zeros",
            Box::new(|file| std::fs::write(file, vec![0; length as usize]).unwrap()),
        ),
    ];
    for (damage, inflict) in damages {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("athos.db");
        std::fs::copy(&whole, &database).unwrap();
        inflict(&database);
        let before = std::fs::read(&database).unwrap();
        let started = Binary::new(&database, &vendor).spawn().listening();
        let said = match started {
            Err(ended) => ended.said,
            Ok(_) => panic!("{damage}: it serves"),
        };
        for advice in ["is damaged", "restore a backup"] {
            assert!(said.contains(advice), "{damage}: {said}");
        }
        assert!(
            std::fs::read(&database).unwrap() == before,
            "{damage}: the evidence was changed"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_power_cut_leaves_at_the_end_of_the_log_is_passed_over() {
    let vendor = Vendor::start(5).await;
    let (folder, mut acknowledged) = a_database(&vendor, 40).await;
    let database = folder.path().join("athos.db");
    let log = database.with_extension("db-wal");
    let length = std::fs::metadata(&log).unwrap().len();
    assert!(length > 0, "nothing is in the log");
    // Half a frame, as a write that did not reach the disk, and then something else's bytes.
    overwrite(&log, length, &[0xa5; 2 * PAGE as usize + 77]);
    let mut service = Binary::new(&database, &vendor).start();
    let mut sender = Sender::new(&vendor);
    sender.sent = 1000;
    assert_eq!(sender.send(&service.origin, 10).await, 200);
    service.kill();
    acknowledged.extend(sender.acknowledged);
    let mut db = audit::open(&database).await;
    audit::is_sound(&mut db).await;
    audit::holds(&mut db, &acknowledged).await;
}
