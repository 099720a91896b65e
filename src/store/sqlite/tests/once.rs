//! That a number is given once, and that what was signed is taken once, in new databases and in older ones.

use super::*;

/// Tables whose rows are named by something else than a number of their own.
const WITHOUT_NUMBERS: [&str; 5] = [
    "call_details",
    "learnt_contract",
    "opened_events",
    "rev_floor",
    "told_rev",
];

#[tokio::test]
async fn every_table_that_numbers_its_rows_numbers_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let sql = "SELECT t.name, sql FROM pragma_table_list AS t JOIN sqlite_schema AS s ON s.name = t.name \
               WHERE t.schema = 'main' AND t.type = 'table' AND t.wr = 0 \
                 AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name NOT LIKE '\\_sqlx%' ESCAPE '\\'";
    let read = |db: &dyn sql::Connection| db.rows(sql, &[], |row| Ok((row.get(0)?, row.get(1)?)));
    let tables: Vec<(String, String)> = store.readers.work.read(read).await.unwrap();
    assert!(tables.len() > WITHOUT_NUMBERS.len(), "{tables:?}");
    for (name, sql) in tables {
        let numbers_once = sql.contains("INTEGER PRIMARY KEY AUTOINCREMENT");
        assert!(
            numbers_once != WITHOUT_NUMBERS.contains(&&*name),
            "SQLite gives the number of a deleted row of {name} to another: say AUTOINCREMENT, or WITHOUT ROWID"
        );
    }
    store.close().await;
}

/// A database of the step before, with rows, and holes at the ends of its tables.
async fn older(folder: &tempfile::TempDir, step: i64) -> SqliteConnection {
    let file = folder.path().join("athos.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    migrations::run_to(&connection, step).unwrap();
    let options = SqliteConnectOptions::new().filename(file);
    options.foreign_keys(true).connect().await.unwrap()
}

#[tokio::test]
async fn an_older_database_keeps_its_rows_and_numbers_none_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = older(&folder, 7).await;
    sqlx::raw_sql(
        "INSERT INTO events (id, webhook_id, state, received_at, signed_at, secret, call_id, body) VALUES \
           (4, 'wh_4', 'done', 1, 1, 'x', 'call_4', x''), (5, 'wh_5', 'done', 1, 1, 'x', 'call_5', x'0102'), (6, 'wh_6', 'done', 1, 1, 'x', 'call_6', x''); \
         INSERT INTO calls (seq, id, status, source, sort_at, rev) VALUES \
           (5, 'call_5', 'scored', 'roleplay', 1, 1), (6, 'call_6', 'scored', 'roleplay', 1, 2); \
         INSERT INTO call_details VALUES (5, '{}', 0, 1), (6, '{}', 0, 1); \
         INSERT INTO attempts (event_id, number, at, outcome) VALUES (5, 1, 1, 'scored'), (6, 1, 1, 'scored'); \
         INSERT INTO acts (id, at, caller, act, event_id, was_state) VALUES (9, 1, 'command', 'replay', 5, 'dead'); \
         INSERT INTO reconcile_runs (id, continues, from_at, to_at, started_at) VALUES (9, 1, 1, 1, 1); \
         INSERT INTO erasures (id, at, caller, subject, reps, athos_reps, event_id, result) \
           VALUES (9, 1, 'command', 'x', '[]', '[]', 8, '{}')",
    )
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();

    let store = store(&folder).await;
    let mut db = older(&folder, 9999).await;
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(sound, "ok");
    let count = "SELECT (SELECT count(*) FROM attempts) + (SELECT count(*) FROM call_details) \
                 + (SELECT count(*) FROM acts) + (SELECT count(*) FROM pragma_foreign_key_check)";
    let rows: i64 = sqlx::query_scalar(count).fetch_one(&mut db).await.unwrap();
    assert_eq!(rows, 5);
    // The unfinished erasure has looked through events up to 8: a new one is not among them.
    for (delete, insert, above) in [
        (
            "DELETE FROM events WHERE id = 6",
            "INSERT INTO events (webhook_id, state, received_at, signed_at, secret, body) \
             VALUES ('wh_new', 'done', 1, 1, 'x', x'01') RETURNING id",
            8,
        ),
        (
            "DELETE FROM calls WHERE seq = 6",
            "INSERT INTO calls (id, status, source, sort_at, rev) VALUES ('new', 'scored', 'roleplay', 1, 3) \
             RETURNING seq",
            6,
        ),
        (
            "DELETE FROM acts",
            "INSERT INTO acts (at, caller, act) VALUES (1, 'command', 'delete_rep') RETURNING id",
            9,
        ),
        (
            "DELETE FROM reconcile_runs",
            "INSERT INTO reconcile_runs (continues, from_at, to_at, started_at) VALUES (1, 1, 1, 1) RETURNING id",
            9,
        ),
        (
            "DELETE FROM erasures",
            "INSERT INTO erasures (at, caller, subject, reps, athos_reps, result) \
             VALUES (1, 'command', 'x', '[]', '[]', '{}') RETURNING id",
            9,
        ),
    ] {
        sqlx::query(delete).execute(&mut db).await.unwrap();
        let id: i64 = sqlx::query_scalar(insert).fetch_one(&mut db).await.unwrap();
        assert!(id > above, "{insert}: {id}");
    }
    // Those that came before are told by their webhook id, and by their bytes where they are kept.
    for (webhook, body, expected) in [
        (5, &b"\x01\x02"[..], Accepted::Duplicate),
        (4, b"emptied", Accepted::Duplicate),
        (5, b"other", Accepted::NewUnderUsedId),
        (5, b"other", Accepted::Replayed),
        (7, b"new", Accepted::New),
    ] {
        let event = NewEvent {
            body: body.to_vec(),
            ..event(webhook)
        };
        let accepted = store.accept_event(event).await.unwrap();
        assert_eq!(accepted, expected, "{webhook} {body:?}");
    }
    db.close().await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_lease_is_of_its_event_even_when_a_restored_database_numbers_rows_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let waiting = |number| NewEvent {
        parsed: Ok(said_of("rep_1", number)),
        ..event(number)
    };
    let claim = async || {
        let now = Timestamp::from_millis(1);
        let claimed = store.claim_due(ClaimFilter::All, now, 1, Duration::from_secs(60));
        claimed.await.unwrap().remove(0).lease
    };
    store.accept_event(waiting(1)).await.unwrap();
    let old = claim().await;
    let mut db = older(&folder, 9999).await;
    sqlx::raw_sql("DELETE FROM events; DELETE FROM sqlite_sequence")
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    store.accept_event(waiting(2)).await.unwrap();
    let new = claim().await;
    assert_eq!((old.event_id, old.number), (new.event_id, new.number));
    let give_up = || Settlement::Dead {
        reason: "a test".to_owned(),
        failure: None,
    };
    let now = Timestamp::from_millis(2);
    for (lease, expected) in [(old, SettleResult::LeaseLost), (new, SettleResult::Yes)] {
        let settled = store.settle(lease, give_up(), now).await.unwrap();
        assert_eq!(settled, expected);
    }
    store.close().await;
}

#[tokio::test]
async fn in_one_batch_each_delivery_is_told_by_its_id_and_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.accept_event(event(0)).await.unwrap();
    let with = |id: usize, body: usize| NewEvent {
        webhook_id: event(id).webhook_id,
        ..event(body)
    };
    // All at once: they share a batch, or a few. The first of the same id or of the same bytes is the one that counts.
    let all = [
        (1, 1),
        (0, 0),
        (1, 2),
        (3, 1),
        (4, 4),
        (1, 1),
        (0, 4),
        (5, 0),
        (6, 6),
    ];
    let told = all.map(|(id, body)| store.accept_event(with(id, body)));
    let told = futures_util::future::join_all(told).await;
    let told: Vec<_> = told.into_iter().map(Result::unwrap).collect();
    use Accepted::{Duplicate, New, NewUnderUsedId, Replayed};
    let expected = [
        New,
        Duplicate,
        NewUnderUsedId,
        Replayed,
        New,
        Duplicate,
        Replayed,
        Replayed,
        New,
    ];
    assert_eq!(told, expected);
    let count = store
        .readers
        .work
        .read(|db| db.scalar::<i64>("SELECT count(*) FROM events", &[]));
    let rows = count.await.unwrap();
    assert_eq!(rows, 5);
    store.close().await;
}
