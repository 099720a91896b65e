//! What only this store can promise: states that the schema enforces, the sync, a full disk, batches of old and new.

mod claims;
mod identities;
mod once;
mod power_cut;
mod redaction;
mod sync;

use std::ops::Deref;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::*;
use crate::model::{CallEvent, EventOutcome, Identity, PlatformId, RepId, Source, Timestamp};
use crate::store::sql::{self, Durability, Operation, ReadPool};
use crate::store::{
    Accepted, Actor, ClaimFilter, Identities, Inbox, InvalidUrl, Maintenance, Mints, NewEvent,
    NewMint, Privacy, Reconciliation, SettleResult, Settlement, StoreError,
};

/// Asks the writer's own connection.
struct Pragma(&'static str);

impl Operation for Pragma {
    type Output = i64;

    fn apply(&self, tx: &dyn sql::Connection) -> StoreResult<i64> {
        tx.scalar(self.0, &[])
    }
}

/// A store, and what it has on this engine only.
struct Opened {
    store: SqlStore,
    upkeep: Arc<SqliteUpkeep>,
}

impl Deref for Opened {
    type Target = SqlStore;

    fn deref(&self) -> &SqlStore {
        &self.store
    }
}

async fn store(folder: &tempfile::TempDir) -> Opened {
    let url = format!("sqlite://{}/athos.db", folder.path().display());
    let (store, upkeep) = open_with_upkeep(&url).await.unwrap();
    Opened { store, upkeep }
}

fn event(number: usize) -> NewEvent {
    NewEvent {
        webhook_id: format!("wh_{number}"),
        received_at: Timestamp::from_millis(1),
        signed_at_secs: 0,
        secret: "0".repeat(8),
        body: format!("{number:4000}").into_bytes(),
        parsed: Err("a test".to_owned()),
    }
}

fn said_of(rep: &str, number: usize) -> CallEvent {
    CallEvent {
        call_id: format!("call_{number}"),
        source: "roleplay".to_owned(),
        identity: Identity {
            rep: Some(rep.to_owned()),
            ..Identity::default()
        },
        occurred_at: None,
        outcome: EventOutcome::Scored,
        athos_request_id: None,
    }
}

fn mint(number: usize) -> NewMint {
    NewMint {
        id: number.to_string(),
        requested_at: Timestamp::from_millis(1),
        rep: RepId::Ours(PlatformId::new(&"r".repeat(200)).unwrap()),
        agency: None,
        caller: "service",
    }
}

#[tokio::test]
async fn a_database_that_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let in_memory = format!("sqlite://{}/x.db?mode=memory", folder.path().display());
    for url in ["sqlite::memory:", "sqlite:", &in_memory] {
        let refused = open(url).await.map(drop).unwrap_err();
        assert!(refused.is::<InvalidUrl>(), "{url}: {refused:#}");
    }
}

#[tokio::test]
async fn a_row_that_is_in_no_state_or_in_two_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.accept_event(event(1)).await.unwrap();
    for row in [
        "state = 'waiting'",
        "state = NULL",
        "state = 'done', next_attempt_at = 1",
        "state = 'dead', next_attempt_at = 1",
        "state = 'pending', next_attempt_at = NULL",
        "state = 'processing', next_attempt_at = NULL",
    ] {
        let file = folder.path().join("athos.db");
        let mut db = SqliteConnectOptions::new()
            .filename(file)
            .connect()
            .await
            .unwrap();
        let update = format!("UPDATE events SET {row}");
        let updated = sqlx::query(sqlx::AssertSqlSafe(update))
            .execute(&mut db)
            .await;
        let refused = updated.unwrap_err().to_string();
        assert!(refused.contains("constraint failed"), "{row}: {refused}");
    }
    store.close().await;
}

#[tokio::test]
async fn after_a_full_disk_every_kind_of_write_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let limit = Pragma("PRAGMA max_page_count = 100");
    store.writer.write(limit).await.unwrap();
    let mut accepted = 0;
    let refused = loop {
        match store.accept_event(event(accepted)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused}");
    // Writes in shared transactions fail in another place, and must recover there too.
    let mut minted = 0;
    while store.record_mint(mint(minted)).await.is_ok() {
        minted += 1;
    }

    let limit = Pragma("PRAGMA max_page_count = 1000000");
    store.writer.write(limit).await.unwrap();
    assert_eq!(
        store.accept_event(event(accepted)).await.unwrap(),
        Accepted::New
    );
    store.record_mint(mint(minted)).await.unwrap();
    store.check().await.unwrap();
    assert_eq!(
        store.accept_event(event(0)).await.unwrap(),
        Accepted::Duplicate
    );
    store.close().await;
}

#[tokio::test]
async fn in_a_batch_of_old_and_new_each_is_told_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    for number in [3, 1, 4] {
        store.accept_event(event(number)).await.unwrap();
    }
    // All at once: they share a batch, or a few.
    let all = (0..40).map(|number| store.accept_event(event(number / 2)));
    let told = futures_util::future::join_all(all).await;
    for (number, pair) in told.chunks(2).enumerate() {
        let new = pair
            .iter()
            .filter(|told| matches!(told, Ok(Accepted::New)))
            .count();
        let known = [3, 1, 4].contains(&number);
        assert_eq!(new, usize::from(!known), "wh_{number}");
    }
    store.close().await;
}

#[tokio::test]
async fn what_another_process_erased_does_not_come_in_here() {
    let folder = tempfile::tempdir().unwrap();
    let (serving, erasing) = (store(&folder).await, store(&folder).await);
    let of = |rep: &str, number| NewEvent {
        parsed: Ok(said_of(rep, number)),
        ..event(number)
    };
    let accepted = serving.accept_event(of("rep_1", 1)).await;
    assert_eq!(accepted.unwrap(), Accepted::New);
    let rep = RepId::Ours(PlatformId::new("rep_1").unwrap());
    let now = Timestamp::from_millis(9);
    erasing.erase(&rep, Actor::Command, now).await.unwrap();
    for (rep, number, expected) in [
        ("rep_1", 1, Accepted::Erased),
        ("rep_2", 2, Accepted::New),
        ("rep_1", 3, Accepted::Erased),
        ("rep_2", 2, Accepted::Duplicate),
    ] {
        let accepted = serving.accept_event(of(rep, number)).await;
        assert_eq!(accepted.unwrap(), expected, "{rep} {number}");
    }
    serving.close().await;
    erasing.close().await;
}

/// It never ends by itself.
const ENDLESS: &str =
    "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";

#[tokio::test]
async fn callers_who_hold_every_connection_of_theirs_keep_neither_worker_nor_readiness_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let pools = &store.readers;
    let theirs = [
        &pools.requests,
        &pools.streams,
        &pools.scans,
        &pools.background,
    ];
    let mut held = Vec::new();
    for pool in theirs {
        held.push(pool.occupy().await);
    }
    store.accept_event(event(1)).await.unwrap();
    store.check().await.unwrap();
    let now = Timestamp::from_millis(2);
    store.next_due().await.unwrap();
    let claimed = store.claim_due(ClaimFilter::All, now, 10, Duration::from_secs(1));
    claimed.await.unwrap();
    store.credentials().await.unwrap();
    store.learned_contract().await.unwrap();
    let rep = PlatformId::new("rep_1").unwrap();
    store.find_agent(&rep).await.unwrap();
    let until = store.reconciled_until(Source::Roleplay).await.unwrap();
    assert_eq!(until, None);
    drop(held);
    store.close().await;
}

#[tokio::test]
async fn a_read_that_takes_too_long_or_that_nobody_waits_for_ends_and_leaves_its_connection_usable()
{
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let pool = |deadline| {
        let source = ReadSource::new(&folder.path().join("athos.db"));
        ReadPool::of_its_own(source, deadline)
    };
    let one = async |pool: &ReadPool| {
        let one = pool.read(|db| db.scalar::<i64>("SELECT 1", &[]));
        one.await.unwrap()
    };
    let endless = |db: &dyn sql::Connection| db.scalar::<i64>(ENDLESS, &[]);
    let hurried = pool(Duration::from_millis(200));
    let ended = hurried.read(endless).await;
    assert!(matches!(ended, Err(StoreError::ReadTimedOut)), "{ended:?}");
    assert_eq!(one(&hurried).await, 1);

    let patient = pool(Duration::MAX);
    let abandoned = tokio::time::timeout(Duration::from_millis(50), patient.read(endless)).await;
    assert!(abandoned.is_err());
    assert_eq!(one(&patient).await, 1);
    store.close().await;
}

/// A read in a transaction, which goes on until it is told to end.
struct LongRead {
    end: std::sync::mpsc::Sender<()>,
    reading: tokio::task::JoinHandle<StoreResult<()>>,
}

impl LongRead {
    async fn begin(pool: &ReadPool) -> Self {
        let pool = pool.clone();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (end, ends) = std::sync::mpsc::channel();
        let read = move |db: &dyn sql::Connection| {
            db.batch("BEGIN")?;
            db.scalar::<i64>("SELECT count(*) FROM events", &[])?;
            begun.send(()).unwrap();
            let _ = ends.recv();
            db.batch("ROLLBACK")
        };
        let reading = tokio::spawn(async move { pool.read(read).await });
        has_begun.await.unwrap();
        Self { end, reading }
    }

    async fn end(self) {
        drop(self.end);
        self.reading.await.unwrap().unwrap();
    }
}

/// Events that fill this much of the log.
async fn fill_log(store: &Opened, first: usize, bytes: u64) {
    const BODY: usize = 64 << 10;
    let count = usize::try_from(bytes).unwrap() / BODY + 1;
    let big = |number| NewEvent {
        body: [
            format!("{:08}", first + number).into_bytes(),
            vec![b'x'; BODY],
        ]
        .concat(),
        ..event(first + number)
    };
    let accepted = futures_util::future::join_all((0..count).map(|n| store.accept_event(big(n))));
    assert!(accepted.await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_log_that_overlapping_readers_let_grow_is_emptied_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.upkeep.keeper.abort();
    let mut number = 0;
    for pool in [&store.readers.scans, &store.readers.requests] {
        let earlier = LongRead::begin(pool).await;
        fill_log(&store, number, wal::MAX_LOG_BYTES).await;
        number += 10_000;
        assert!(store.upkeep.wal.bytes() > wal::MAX_LOG_BYTES);
        // SQLite alone would let the later one read the log before the earlier one has ended.
        let mut tending = Box::pin(store.upkeep.wal.tend());
        while store.upkeep.wal.gates.is_open_to(pool) {
            let still = futures_util::FutureExt::now_or_never(&mut tending);
            assert!(still.is_none(), "the log is not emptied under a reader");
            tokio::task::yield_now().await;
        }
        let wal = Arc::clone(&store.upkeep.wal);
        let later = pool.read(move |db| {
            let bytes = wal.bytes();
            db.scalar::<i64>("SELECT count(*) FROM events", &[])?;
            Ok(bytes)
        });
        let (_, bytes, ()) = tokio::join!(tending, later, earlier.end());
        assert_eq!((bytes.unwrap(), store.upkeep.wal.bytes()), (0, 0));
    }
    store.close().await;
}

#[tokio::test]
async fn a_log_that_is_long_for_no_reason_is_emptied_and_a_short_one_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.upkeep.keeper.abort();
    fill_log(&store, 0, 1 << 20).await;
    store.upkeep.wal.tend().await;
    let short = store.upkeep.wal.bytes();
    assert!(short > 1 << 20);
    let reading = LongRead::begin(&store.readers.work).await;
    fill_log(&store, 10_000, wal::LOG_AT_REST_BYTES).await;
    // A reader goes on: nobody waits for it.
    store.upkeep.wal.tend().await;
    assert!(store.upkeep.wal.bytes() > wal::LOG_AT_REST_BYTES);
    reading.end().await;
    store.upkeep.wal.tend().await;
    assert_eq!(store.upkeep.wal.bytes(), 0);
    store.close().await;
}

#[tokio::test]
async fn another_process_that_reads_for_long_does_not_make_the_writer_wait_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.upkeep.keeper.abort();
    let file = folder.path().join("athos.db");
    let elsewhere = SqliteConnectOptions::new().filename(file);
    let mut elsewhere = elsewhere.connect().await.unwrap();
    for sql in ["BEGIN", "SELECT count(*) FROM events"] {
        sqlx::query(sql).execute(&mut elsewhere).await.unwrap();
    }
    fill_log(&store, 0, wal::MAX_LOG_BYTES).await;
    let soon = Duration::from_secs(1);
    assert!(store.upkeep.wal.tend().await > soon);
    assert!(store.upkeep.wal.bytes() > wal::MAX_LOG_BYTES);
    store.accept_event(event(20_000)).await.unwrap();
    let ended = sqlx::query("ROLLBACK").execute(&mut elsewhere).await;
    ended.unwrap();
    assert_eq!(
        (store.upkeep.wal.tend().await, store.upkeep.wal.bytes()),
        (soon, 0)
    );
    store.close().await;
}

#[tokio::test]
async fn a_long_log_is_checkpointed_beside_the_writer_and_started_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.upkeep.keeper.abort();
    let wal = Arc::clone(&store.upkeep.wal);
    let copying = tokio::spawn(async move { wal.checkpoint_long_logs().await });
    fill_log(&store, 0, 9 << 20).await;
    // Writes go on, and each makes the log longer until it is started over.
    for number in 20_000.. {
        let before = store.upkeep.wal.bytes();
        store.accept_event(event(number)).await.unwrap();
        if store.upkeep.wal.bytes() <= before {
            break;
        }
        // At 32 MB the writer checkpoints it itself.
        assert!(before < 24 << 20, "nobody checkpoints the log");
    }
    copying.abort();
    store.close().await;
}

#[tokio::test]
async fn no_row_of_a_hot_table_needs_a_temporary_table_to_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder).await.close().await;
    let db = rusqlite::Connection::open(folder.path().join("athos.db")).unwrap();
    for (table, column, words) in [
        (
            "events",
            "state",
            "'pending', 'processing', 'done', 'ignored', 'dead'",
        ),
        ("calls", "status", "'processing', 'scored', 'unscored'"),
        (
            "attempts",
            "outcome",
            "'scored', 'unscored', 'retry', 'dead', 'ignored'",
        ),
        (
            "messages",
            "state",
            "'waiting', 'sending', 'delivered', 'failed', 'superseded'",
        ),
    ] {
        let update = format!("UPDATE {table} SET {column} = ?1");
        let mut steps = db.prepare(&format!("EXPLAIN {update}")).unwrap();
        let steps = steps
            .query_map(["x"], |row| row.get::<_, String>(1))
            .unwrap();
        let steps: Vec<_> = steps.map(Result::unwrap).collect();
        assert!(steps.iter().any(|step| step == "OpenWrite"), "{steps:?}");
        assert!(
            !steps.iter().any(|step| step == "OpenEphemeral"),
            "{table}: {steps:?}"
        );
        let schema = "SELECT sql FROM sqlite_schema WHERE name = ?1";
        let schema: String = db.query_row(schema, [table], |row| row.get(0)).unwrap();
        let check = words.split(", ").map(|word| format!("{column} = {word}"));
        let check = format!("CHECK ({})", check.collect::<Vec<_>>().join(" OR "));
        assert!(schema.contains(&check), "{schema}");
    }
}
