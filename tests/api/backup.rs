//! Backups by the real binary, while webhooks come in, and what a restored one is worth.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use athos_backend::store;
use athos_backend::worker::reconcile::{RunOptions, RunOutcome, Window};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use crate::commands::{BINARY, command, paragraph};
use crate::harness::{Left, Setup, TestApp, start_time, url};

fn back_up(folder: &Path, database: &Path, args: &[&str]) -> Command {
    let args = [&["backup"], args].concat();
    command(folder, &args, &[("DATABASE_URL", &url(database))])
}

/// What the command says of a table.
fn told(output: &Output, fact: &str) -> String {
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{fact}: ")));
    line.unwrap_or_else(|| panic!("no {fact}: {said}"))
        .to_owned()
}

/// How many events have led to the row of a call, and how many calls there are.
async fn opened_and_calls(database: &Path) -> (i64, i64) {
    let options = SqliteConnectOptions::new().filename(database);
    let mut db = options.read_only(true).connect().await.unwrap();
    let sql = "SELECT (SELECT count(*) FROM events WHERE id <= up_to), (SELECT count(*) FROM calls) FROM opened_events";
    sqlx::query_as(sql).fetch_one(&mut db).await.unwrap()
}

#[tokio::test]
async fn a_restored_backup_has_what_was_acknowledged_before_and_reconciliation_brings_the_rest() {
    let mut app = TestApp::start().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("athos.backup");
    let before = app.burst(150, &["rep_1", "rep_2"], "agency_1").await;
    let backup = back_up(folder.path(), &app.database(), &["athos.backup"])
        .spawn()
        .unwrap();
    let meanwhile = app.burst(250, &["rep_1", "rep_3"], "agency_1").await;
    let output = backup.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let events: usize = told(&output, "events").parse().unwrap();
    assert!((150..=400).contains(&events), "{events}");
    let (opened, calls) = opened_and_calls(&file).await;
    assert_eq!(calls, opened, "one state of all tables");
    assert_eq!(told(&output, "calls"), calls.to_string());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1, "something is left beside the backup");

    let restored = Setup::restored(&app, &file).start().await;
    for id in &before {
        assert_eq!(restored.call(id).await["status"], "processing", "{id}");
    }
    assert_eq!(restored.work().await.scored, events);
    let window = Some(Window {
        from: start_time().minus(Duration::from_secs(24 * 60 * 60)),
        to: restored.now(),
    });
    let asked = RunOptions {
        window,
        dry_run: false,
    };
    let ended = restored
        .reconciler()
        .run_asked(asked, |_| {})
        .await
        .unwrap();
    let RunOutcome::Completed(tally) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(tally.repaired as usize, 400 - events);
    restored.work().await;
    for id in before.iter().chain(&meanwhile) {
        assert_eq!(restored.call(id).await["status"], "scored", "{id}");
    }
    app.leaves(Left {
        waiting: 400,
        dead: 0,
    });
}

#[tokio::test]
async fn a_backup_overwrites_nothing_unless_it_is_told_to_and_never_the_database() {
    let app = TestApp::start().await;
    app.burst(3, &["rep_1"], "agency_1").await;
    app.work().await;
    let database = app.database();
    let folder = TempDir::new().unwrap();
    let run = |args: &[&str]| back_up(folder.path(), &database, args).output().unwrap();
    std::fs::write(folder.path().join("there"), "precious").unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let wal = format!("{}-wal", database.display());
    let named_as_if_unfinished = folder.path().join("odd.partial");
    std::fs::copy(&database, &named_as_if_unfinished).unwrap();
    let before = std::fs::read(&named_as_if_unfinished).unwrap();
    let output = back_up(folder.path(), &named_as_if_unfinished, &["odd"])
        .output()
        .unwrap();
    let said = paragraph(&output);
    assert!(said.contains("is the database itself"), "{said}");
    assert_eq!(std::fs::read(&named_as_if_unfinished).unwrap(), before);
    std::fs::write(folder.path().join("opened-wal"), "of another").unwrap();
    for (args, why) in [
        (
            &["there"][..],
            "exists: choose another name, or say --force",
        ),
        (&["folder", "--force"], "is a folder"),
        (&["nowhere/file"], "the folder nowhere cannot be used"),
        (
            &[database.to_str().unwrap(), "--force"],
            "is the database itself",
        ),
        (&[&wal, "--force"], "is the database itself"),
        (&["opened", "--force"], "belongs to another database"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = paragraph(&output);
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(
        std::fs::read(folder.path().join("there")).unwrap(),
        b"precious"
    );
    // What a backup that was cut short left behind is no hindrance.
    std::fs::write(folder.path().join("there.partial"), "half").unwrap();
    let output = run(&["there", "--force"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(told(&output, "call_details"), "3");
    assert!(!folder.path().join("there.partial").exists());
    store::open(&url(&folder.path().join("there")))
        .await
        .unwrap()
        .close()
        .await;
    assert_eq!(app.call_rows().await.len(), 3);
}

#[tokio::test]
async fn a_backup_takes_no_file_that_somebody_else_made_for_it() {
    let app = TestApp::start().await;
    let folder = TempDir::new().unwrap();
    let run = |name: &str| {
        back_up(folder.path(), &app.database(), &[name])
            .output()
            .unwrap()
    };
    let there = |name: &str| folder.path().join(name);
    std::fs::write(there("precious"), "as it was").unwrap();
    symlink(there("precious"), there("link.db.partial")).unwrap();
    symlink(there("nothing"), there("nowhere.db.partial")).unwrap();
    symlink(there("precious"), there("journal.db.partial-journal")).unwrap();
    symlink(there("nothing"), there("log.db-wal")).unwrap();
    symlink(there("nothing"), there("named.db")).unwrap();
    std::fs::hard_link(there("precious"), there("linked.db.partial")).unwrap();
    std::fs::create_dir(there("folder.db.partial")).unwrap();
    let mut mkfifo = std::process::Command::new("mkfifo");
    let made = mkfifo.arg(there("pipe.db.partial")).status().unwrap();
    assert!(made.success());
    for (name, why) in [
        ("link.db", "link.db.partial is there"),
        ("nowhere.db", "nowhere.db.partial is there"),
        ("journal.db", "journal.db.partial-journal is there"),
        ("log.db", "belongs to another database"),
        ("named.db", "exists"),
        ("linked.db", "linked.db.partial is there"),
        ("folder.db", "folder.db.partial is there"),
        ("pipe.db", "pipe.db.partial is there"),
    ] {
        let output = run(name);
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        let said = paragraph(&output);
        assert!(said.contains(why), "{name}: {said}");
        assert!(!there("nothing").exists(), "{name}");
    }
    assert_eq!(std::fs::read(there("precious")).unwrap(), b"as it was");

    // Another user's, whom only root can be beside.
    std::fs::write(there("planted.db.partial"), "").unwrap();
    if chown(there("planted.db.partial"), Some(65_534), None).is_ok() {
        let said = paragraph(&run("planted.db"));
        assert!(
            said.contains("nothing that a backup of this user left behind"),
            "{said}"
        );
    }
    // What is ours is removed, not written to: whoever has it open has nothing.
    std::fs::write(there("own.db.partial"), "half").unwrap();
    std::fs::write(there("own.db.partial-journal"), "half").unwrap();
    let mut held = std::fs::File::open(there("own.db.partial")).unwrap();
    assert!(run("own.db").status.success());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut held, &mut text).unwrap();
    assert_eq!(text, "half");
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_says_why_and_leaves_nothing() {
    let app = TestApp::start().await;
    app.burst(40, &["rep_1"], "agency_1").await;
    app.work().await;
    let folder = TempDir::new().unwrap();
    let nothing_left = |said: &str| {
        let files = std::fs::read_dir(folder.path()).unwrap();
        let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        assert!(names.is_empty(), "{said}: {names:?}");
    };
    let missing = folder.path().join("missing.db");
    let said = paragraph(
        &back_up(folder.path(), &missing, &["file"])
            .output()
            .unwrap(),
    );
    assert!(
        said.contains("there is no database") && said.contains("DATABASE_URL"),
        "{said}"
    );
    nothing_left(&said);

    // `ulimit` makes files stop growing, as a full disk does.
    let full = Command::new("/bin/sh")
        .env_clear()
        .env("DATABASE_URL", url(&app.database()))
        .current_dir(folder.path())
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 40; exec \"$0\" backup file",
            BINARY,
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1));
    let said = paragraph(&full);
    assert!(
        said.contains("cannot be written") && said.contains("bytes of room"),
        "{said}"
    );
    nothing_left(&said);

    // Another file than a database of ours.
    let other = TempDir::new().unwrap();
    let spoilt = other.path().join("spoilt.db");
    let mut bytes = std::fs::read(app.database()).unwrap();
    bytes.truncate(100);
    bytes.resize(20_000, 0xa5);
    std::fs::write(&spoilt, bytes).unwrap();
    let said = paragraph(&back_up(folder.path(), &spoilt, &["file"]).output().unwrap());
    assert!(
        said.contains("damaged") && said.contains("restore a backup"),
        "{said}"
    );
    nothing_left(&said);
}

#[tokio::test]
async fn a_backup_of_an_older_schema_starts_with_what_it_had() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("old.db");
    let options = SqliteConnectOptions::new()
        .filename(&database)
        .create_if_missing(true);
    let mut old = options.connect().await.unwrap();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let mut migrations = Migrator::new(files).await.unwrap();
    migrations
        .migrations
        .to_mut()
        .retain(|migration| migration.version <= 2);
    migrations.run(&mut old).await.unwrap();
    for sql in [
        "INSERT INTO events (webhook_id, state, received_at, signed_at, secret, body, reason) \
         VALUES ('wh_1', 'ignored', 1, 1, '00000000', x'7b7d', 'not understood')",
        "INSERT INTO acts (at, caller, rep, act, event_id, was_state, was_reason) \
         VALUES (2, 'user', 'an_admin', 'replay', 1, 'dead', 'why')",
        "INSERT INTO calls (id, status, source, sort_at, rev) VALUES ('call_1', 'scored', 'roleplay', 1, 7)",
    ] {
        sqlx::query(sql).execute(&mut old).await.unwrap();
    }
    old.close().await.unwrap();
    let output = back_up(folder.path(), &database, &["copy.db"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    let store = store::open(&url(&folder.path().join("copy.db")))
        .await
        .unwrap();
    let event = store.find_event(1).await.unwrap().unwrap();
    assert_eq!(event.acts[0].was_reason.as_deref(), Some("why"));
    assert_eq!(event.acts[0].who.as_deref(), Some("an_admin"));
    assert_eq!(store.latest_rev().await.unwrap(), 7);
    store.close().await;
}
