//! Kills while the schema is brought up to date: a database of the first schema, with rows, on which every start of the
//! new binary is cut short until one is not.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::Rounds;
use crate::audit::{self, number};
use crate::service::Binary;
use crate::vendor::Vendor;

/// The steps of the schema, as the files are.
async fn migrations() -> Migrator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    Migrator::new(folder).await.unwrap()
}

/// Enough that every migration which touches rows takes a while.
const ROWS: u32 = 20_000;
/// Starts that may be killed before or after the migrations, for each that was killed within.
const MISSES: usize = 10;

/// A database as the first version left it: every state of events and calls, text of every kind.
pub(crate) async fn of_the_first_schema(database: &Path) {
    let mut db = audit::create(database).await;
    migrations().await.run_to(1, &mut db).await.unwrap();
    let numbers = format!(
        "CREATE TEMP TABLE n AS WITH RECURSIVE c (i) AS \
         (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {ROWS}) SELECT i FROM c"
    );
    sqlx::raw_sql(AssertSqlSafe(numbers))
        .execute(&mut db)
        .await
        .unwrap();
    for insert in [
        "INSERT INTO events (webhook_id, state, received_at, signed_at, secret, call_id, body, needs_fetch, \
         next_attempt_at, lease, attempts, reason, settled_at) \
         SELECT 'wh_' || i, \
                CASE i % 10 WHEN 0 THEN 'dead' WHEN 1 THEN 'ignored' WHEN 2 THEN 'pending' ELSE 'done' END, \
                1780000000000 + i, 1780000000000, '0123abcd', 'call_' || i, \
                CAST('{\"callId\":\"call_' || i || '\",\"pad\":\"' || hex(randomblob(60)) || '\"}' AS BLOB), 1, \
                CASE i % 10 WHEN 2 THEN 9000000000000 END, 1, 1, \
                CASE WHEN i % 10 < 2 THEN 'since 1 < 2 & \"3\" ''4''' END, 1780000000000 + i FROM n",
        "INSERT INTO calls (id, status, source, rep, agency, sort_at, rev, overall_score) \
         SELECT 'call_' || i, CASE WHEN i % 10 < 3 THEN 'processing' ELSE 'scored' END, 'roleplay', \
                'rep_' || i % 97, 'agency_' || i % 7, 1780000000000 + i, i, i % 101 FROM n",
        "INSERT INTO call_details (call_seq, raw, has_recording, fetched_at) \
         SELECT seq, '{\"id\":\"' || id || '\",\"pad\":\"' || hex(randomblob(200)) || '\"}', 0, 1780000000000 \
         FROM calls WHERE status = 'scored'",
        "INSERT INTO mints (id, requested_at, rep, caller, outcome) \
         SELECT 'mint_' || i, 1780000000000 + i, 'rep_' || i % 97, 'user', 'minted' FROM n",
    ] {
        sqlx::raw_sql(insert).execute(&mut db).await.unwrap();
    }
    db.close().await.unwrap();
}

/// Every value of the first version is there, in as many rows.
async fn is_all_there(db: &mut SqliteConnection, old: &Path) {
    sqlx::query("ATTACH ? AS old")
        .bind(old.to_str().unwrap())
        .execute(&mut *db)
        .await
        .unwrap();
    for table in ["events", "calls", "call_details", "mints"] {
        let columns = "SELECT group_concat(name) FROM pragma_table_info(?, 'old')";
        let columns: String = sqlx::query_scalar(columns)
            .bind(table)
            .fetch_one(&mut *db)
            .await
            .unwrap();
        let differ = format!(
            "SELECT (SELECT count(*) FROM old.{table}) - (SELECT count(*) FROM main.{table}) \
             + (SELECT count(*) FROM (SELECT {columns} FROM old.{table} EXCEPT SELECT {columns} FROM main.{table}))"
        );
        let differ = sqlx::query_scalar::<_, i64>(AssertSqlSafe(differ));
        assert_eq!(differ.fetch_one(&mut *db).await.unwrap(), 0, "{table}");
    }
    sqlx::query("DETACH old").execute(db).await.unwrap();
}

/// How many migrations are done.
async fn version(db: &mut SqliteConnection) -> i64 {
    number(db, "SELECT count(*) FROM _sqlx_migrations WHERE success").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_was_killed_leaves_the_database_as_it_was_and_the_next_start_goes_on() {
    let rounds = Rounds::of("migration");
    let newest = migrations().await.iter().count() as i64;
    assert!(newest > 1, "there is nothing to migrate");
    let vendor = Vendor::start(rounds.vendor_seed(0)).await;
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("first.db");
    of_the_first_schema(&old).await;
    let database = folder.path().join("athos.db");
    let binary = Binary::new(&database, &vendor);

    // How long it takes from the first touch of the database until it listens.
    std::fs::copy(&old, &database).unwrap();
    let starting = binary.spawn();
    until_it_is_opened(&database);
    let opened = Instant::now();
    drop(starting.listening().map_err(|ended| ended.said).unwrap());
    let takes = opened.elapsed();

    let (mut round, mut missed) = (0, 0);
    let mut luck = rounds.luck(0);
    let mut seen = 1;
    remove(&database);
    while round < rounds.count {
        if !database.exists() {
            std::fs::copy(&old, &database).unwrap();
            seen = 1;
        }
        let mut starting = binary.spawn();
        until_it_is_opened(&database);
        let opened = Instant::now();
        let moment = takes.mul_f64(luck.random());
        while opened.elapsed() < moment {
            std::thread::yield_now();
        }
        starting.kill();
        let within = !starting.has_listened();
        let mut db = audit::open(&database).await;
        let done = version(&mut db).await;
        assert!(done >= seen, "a migration came undone");
        seen = done;
        is_all_there(&mut db, &old).await;
        audit::is_whole(&mut db).await;
        db.close().await.unwrap();
        if within && done < newest {
            rounds.tell(
                round,
                &format!("killed {moment:?} in, {done} of {newest} migrations done"),
            );
            round += 1;
        } else {
            missed += 1;
            assert!(
                missed < MISSES * rounds.count,
                "hardly ever killed in a migration"
            );
            remove(&database);
        }
    }

    if !database.exists() {
        std::fs::copy(&old, &database).unwrap();
    }
    let mut service = binary.start();
    let mut db = audit::open(&database).await;
    assert_eq!(version(&mut db).await, newest);
    is_all_there(&mut db, &old).await;
    audit::is_whole(&mut db).await;
    service.kill();
}

/// The process has the database in its hands.
fn until_it_is_opened(database: &Path) {
    let index = database.with_extension("db-shm");
    let began = Instant::now();
    while !index.exists() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it never opens the database"
        );
        std::thread::yield_now();
    }
}

/// Begins anew: the database and what belongs to it.
fn remove(database: &Path) {
    for extension in ["db", "db-wal", "db-shm"] {
        let _ = std::fs::remove_file(database.with_extension(extension));
    }
}
