//! What must hold of the database after every crash, and what must have become of every call in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions, Row, SqliteConnection};

use crate::half_settled::HALF_SETTLED;
use crate::vendor::Vendor;

/// How long a restarted service may take until nothing waits any more.
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

pub(crate) async fn open(database: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(Duration::from_secs(30))
        .disable_statement_logging()
        .connect()
        .await
        .unwrap()
}

/// A new database, with the service's way of writing.
pub(crate) async fn create(database: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .disable_statement_logging()
        .connect()
        .await
        .unwrap()
}

pub(crate) async fn number(db: &mut SqliteConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.unwrap()
}

/// No page is broken, and no row points nowhere.
pub(crate) async fn is_whole(db: &mut SqliteConnection) {
    let sound: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut *db)
        .await
        .unwrap();
    assert_eq!(sound, ["ok"]);
    let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *db);
    assert!(dangling.await.unwrap().is_empty(), "a row points nowhere");
}

/// The file is whole, and says nothing twice.
pub(crate) async fn is_sound(db: &mut SqliteConnection) {
    is_whole(db).await;
    for (none, what) in [
        (
            "SELECT count(*) - count(DISTINCT webhook_id) FROM events",
            "an event is there twice",
        ),
        (
            "SELECT count(*) - count(DISTINCT id) FROM calls",
            "a call is there twice",
        ),
        (
            "SELECT count(*) FROM events WHERE (state IN ('pending', 'processing')) \
             != (next_attempt_at IS NOT NULL)",
            "an event is in no state, or in two",
        ),
        (
            "SELECT count(*) FROM events WHERE NOT EXISTS (SELECT 1 FROM calls WHERE id = call_id) \
             AND (next_attempt_at IS NULL OR events.id <= (SELECT up_to FROM opened_events))",
            "an event has no call, and the start does not give it one",
        ),
    ]
    .into_iter()
    .chain(HALF_SETTLED)
    {
        assert_eq!(number(db, none).await, 0, "{what}");
    }
}

/// Everything that was acknowledged is on disk.
pub(crate) async fn holds(db: &mut SqliteConnection, acknowledged: &BTreeSet<String>) {
    let kept: Vec<String> = sqlx::query_scalar("SELECT webhook_id FROM events")
        .fetch_all(db)
        .await
        .unwrap();
    let kept = BTreeSet::from_iter(kept);
    let lost: Vec<_> = acknowledged.difference(&kept).take(5).collect();
    assert!(lost.is_empty(), "acknowledged and not on disk: {lost:?}");
}

/// The leases of the process that died have run out, as they would have in a minute.
pub(crate) async fn let_leases_run_out(db: &mut SqliteConnection) {
    sqlx::query("UPDATE events SET next_attempt_at = 0 WHERE state = 'processing'")
        .execute(db)
        .await
        .unwrap();
}

/// Waits until every call that ended at the vendor is here as it is there, and nothing waits.
pub(crate) async fn drained(db: &mut SqliteConnection, vendor: &Vendor) {
    let wait = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let waiting = "SELECT count(*) FROM events WHERE next_attempt_at IS NOT NULL";
            if number(db, waiting).await == 0 && missing(db, vendor).await.is_empty() {
                return;
            }
        }
    };
    if tokio::time::timeout(DRAINED_WITHIN, wait).await.is_err() {
        let missing = missing(db, vendor).await;
        let waiting =
            sqlx::query("SELECT state || coalesce(': ' || reason, '') FROM events LIMIT 5");
        let waiting: Vec<String> = waiting
            .fetch_all(db)
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        panic!(
            "not drained; {} missing: {missing:?}; {waiting:?}",
            missing.len()
        );
    }
}

/// The calls that ended at the vendor and are not here, or not as they are there.
async fn missing(db: &mut SqliteConnection, vendor: &Vendor) -> Vec<String> {
    let here = sqlx::query("SELECT id, status FROM calls")
        .fetch_all(db)
        .await;
    let here: BTreeMap<String, String> = here
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let (ended, _) = vendor.ended().await;
    ended
        .into_iter()
        .filter(|(id, status)| here.get(id) != Some(status))
        .map(|(id, status)| format!("{id} {status}"))
        .collect()
}
