//! Copies between files and a server: every table and every kind of value, with interruptions and changes in between.

use std::path::Path;

use rusqlite::Connection as File;
use rusqlite::types::Value as Stored;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::store::postgres::cluster::Database;
use crate::store::{self, CopiedTable, CopyStep, PartialCopy};

/// At least a row of each table, with what is hard to carry: ends of ranges, bytes that are no text, floats of many digits, empty
/// values beside NULL, and numbers whose rows are gone.
const ROWS: &str = "
    INSERT INTO events (id, webhook_id, state, received_at, signed_at, secret, body, next_attempt_at, content_key)
        VALUES (1, 'wh_1', 'pending', 9223372036854775807, -9223372036854775808, '', x'', 0, x'00ff'),
               (7, 'wh_ü\u{1F600}', 'pending', 0, 0, 's', x'00ff0a5c78', 1, NULL);
    UPDATE sqlite_sequence SET seq = 90 WHERE name = 'events';
    INSERT INTO calls (seq, id, status, source, overall_score, compliance_percent, reason, sort_at, rev)
        VALUES (3, 'c1', 'scored', 'roleplay', 0.1, 1.7976931348623157e308, '', 1, 41),
               (4, 'c2', 'scored', 'roleplay', 5e-324, -0.0, NULL, 2, 42),
               (5, 'c3', 'unscored', 'roleplay', NULL, 12345678.901234567, 'a' || char(0) || 'b', 3, 43);
    INSERT INTO call_details VALUES (3, '{\"a\":\"\\u0000\"}', 1, 5);
    INSERT INTO mints (id, requested_at, rep, caller) VALUES ('m1', 1, 'r', 'user'), ('M2', 1, 'r', 'user');
    INSERT INTO reconcile_runs (continues, from_at, to_at, started_at) VALUES (1, 1, 2, 3);
    INSERT INTO acts (at, caller, act, event_id, was_state) VALUES (1, 'command', 'replay', 7, 'dead');
    INSERT INTO identities VALUES ('rep', 'athos_agent_1', 'r', 1, 1), ('agency', 'athos_agent_1', 'a', 0, 1);
    INSERT INTO learnt_contract VALUES (1, 'roster', 1, 'mint');
    INSERT INTO erased VALUES (x'ff00', NULL), (x'ff', 12), (x'', 0);
    INSERT INTO erasures (at, caller, subject, reps, athos_reps, result) VALUES (1, 'service', 's', '[]', '[]', '{}');
    INSERT INTO credentials (kind, fingerprint, first_seen_at) VALUES ('service_token', 'f', 1);
    INSERT INTO drift VALUES ('field', 'call', 'new', 3, 1, 2);
    INSERT INTO endpoints (url, kinds, is_active, added_at) VALUES ('https://a.example/', ' call.scored ', 1, 1);
    INSERT INTO messages (endpoint_id, message_id, kind, call_seq, at, state, due_at) VALUES (1, 'msg', 'call.scored', 3, 1, 'waiting', 1);
    INSERT INTO messages (endpoint_id, message_id, kind, act_id, at, state, settled_at) VALUES (1, 'msg2', 'audit', 1, 1, 'failed', 1);
    INSERT INTO erased_calls VALUES (40, 'c0');
    UPDATE rev_floor SET rev = 4711, boot = 'of the test';
    UPDATE told_rev SET rev = 43, act_id = 1;
    UPDATE opened_events SET up_to = 7;
    INSERT INTO attempts (event_id, number, at, outcome)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT 7, i, i, 'retry' FROM n;";

fn url(folder: &TempDir, name: &str) -> String {
    format!("sqlite://{}", path(folder, name).display())
}

fn path(folder: &TempDir, name: &str) -> std::path::PathBuf {
    folder.path().join(name)
}

/// A database that has been used.
async fn filled(folder: &TempDir) -> String {
    let url = url(folder, "source.db");
    store::open(&url).await.unwrap().close().await;
    File::open(path(folder, "source.db"))
        .unwrap()
        .execute_batch(ROWS)
        .unwrap();
    url
}

async fn copy(from: &str, to: &str) -> anyhow::Result<Vec<CopiedTable>> {
    store::copy(from, to, |_| {}, CancellationToken::new()).await
}

/// What the error says, with its causes.
fn said<T>(refused: anyhow::Result<T>) -> String {
    format!("{:#}", refused.map(drop).unwrap_err())
}

/// Every row of every table, in the order of their columns' names, with the numbers that were given last.
fn dump(file: &Path) -> Vec<(String, Vec<Vec<Stored>>)> {
    let db = File::open(file).unwrap();
    let mut tables = db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('_sqlx_migrations', 'leaders', 'replicas') ORDER BY name")
        .unwrap();
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let rows = |table: &String| {
        let mut rows = db
            .prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))
            .unwrap_or_else(|_| db.prepare(&format!("SELECT * FROM {table}")).unwrap());
        let columns = rows.column_count();
        let rows = rows.query_map([], |row| {
            (0..columns).map(|column| row.get(column)).collect()
        });
        rows.unwrap().map(Result::unwrap).collect()
    };
    tables
        .iter()
        .map(|table| (table.clone(), rows(table)))
        .collect()
}

#[tokio::test]
async fn every_table_and_every_value_goes_to_a_server_and_comes_back_the_same() {
    let Some(server) = Database::new() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let from = filled(&folder).await;
    let there = copy(&from, &server.url()).await.unwrap();
    for table in &there {
        assert!(
            table.rows > 0,
            "{}: give it a row in this test",
            table.table
        );
    }
    let back = url(&folder, "back.db");
    assert_eq!(copy(&server.url(), &back).await.unwrap(), there);
    let (before, mut after) = (
        dump(&path(&folder, "source.db")),
        dump(&path(&folder, "back.db")),
    );
    // PostgreSQL has no NUL in a text; what stands for it does in the rest of the store, too.
    for value in after.iter_mut().flat_map(|(_, rows)| rows).flatten() {
        if let Stored::Text(text) = value {
            *text = text.replace('\u{FFFD}', "\0");
        }
    }
    let bits = |value: &Stored| match value {
        Stored::Real(number) => format!("{:x}", number.to_bits()),
        value => format!("{value:?}"),
    };
    for ((table, before), (other, after)) in before.iter().zip(&after) {
        assert_eq!(table, other);
        let all = |rows: &[Vec<Stored>]| rows.iter().flatten().map(bits).collect::<Vec<_>>();
        assert_eq!(all(before), all(after), "{table}");
    }
    // Ids go on after those that were given, also where the rows are gone.
    let row = "(webhook_id, state, received_at, signed_at, secret, body, next_attempt_at) VALUES ('n', 'pending', 0, 0, '', '', 1)";
    let next = server.sql(&format!("INSERT INTO events {row} RETURNING id"));
    assert_eq!(next, "91");
    let first = "INSERT INTO erasures (at, caller, subject, reps, athos_reps, result) VALUES (1, '', '', '', '', '') RETURNING id";
    assert_eq!(server.sql(first), "2");
}

#[tokio::test]
async fn a_copy_that_is_stopped_anywhere_goes_on_and_nothing_uses_the_target_before_it_has_ended() {
    let Some(server) = Database::new() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let from = filled(&folder).await;
    for to in [server.url(), url(&folder, "target.db")] {
        let mut stops = 0;
        let copied = loop {
            let stop = CancellationToken::new();
            let (stopping, mut steps) = (stop.clone(), 0);
            let watch = move |step: CopyStep<'_>| {
                steps += 1;
                // Every run gets a little further; in the end one verifies all.
                if matches!(step, CopyStep::Copying { .. }) && steps == 2 {
                    stopping.cancel();
                }
            };
            match store::copy(&from, &to, watch, stop).await {
                Ok(copied) => break copied,
                Err(error) => assert!(format!("{error:#}").contains("goes on"), "{error:#}"),
            }
            stops += 1;
            let refused = store::open(&to).await.map(drop).unwrap_err();
            assert!(refused.is::<PartialCopy>(), "{refused:#}");
            assert!(stops < 100);
        };
        assert!(stops > 10, "{stops}");
        assert_eq!(copied.iter().map(|table| table.rows).max(), Some(3000));
        store::open(&to).await.unwrap().close().await;
        let again = said(copy(&from, &to).await);
        assert!(again.contains("is not empty"), "{again}");
        assert!(!again.contains("postgres@"), "{again}");
    }
}

#[tokio::test]
async fn what_changes_between_two_runs_of_a_copy_is_noticed() {
    let Some(server) = Database::new() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let from = filled(&folder).await;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let after_events = move |step: CopyStep<'_>| {
        if matches!(
            step,
            CopyStep::Copying {
                table: "messages",
                ..
            }
        ) {
            stopping.cancel();
        }
    };
    store::copy(&from, &server.url(), after_events, stop)
        .await
        .unwrap_err();
    let other = url(&folder, "other.db");
    store::open(&other).await.unwrap().close().await;
    let refused = said(copy(&other, &server.url()).await);
    assert!(refused.contains("source.db has begun there"), "{refused}");

    File::open(path(&folder, "source.db"))
        .unwrap()
        .execute_batch("UPDATE calls SET rev = 44 WHERE id = 'c1'")
        .unwrap();
    let refused = said(copy(&from, &server.url()).await);
    assert!(
        refused.contains("the table calls is not the same"),
        "{refused}"
    );
    store::open(&server.url()).await.map(drop).unwrap_err();
}

#[tokio::test]
async fn only_a_whole_current_database_that_nobody_uses_is_copied_and_only_into_an_empty_one() {
    let Some(server) = Database::new() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let from = filled(&folder).await;
    let refused = |from: &str, to: &str| {
        let (from, to) = (from.to_owned(), to.to_owned());
        async move { said(copy(&from, &to).await) }
    };
    let none = refused(&url(&folder, "none.db"), &server.url()).await;
    assert!(none.contains("there is no database"), "{none}");
    assert!(!path(&folder, "none.db").exists());
    let unknown = refused("mysql://me:hunter2@db/athos", &from).await;
    assert!(
        unknown.starts_with("--from must begin") && !unknown.contains("hunter2"),
        "{unknown}"
    );
    let unknown = refused(&from, "postgres:///athos?password=hunter2").await;
    assert!(
        unknown.starts_with("--to names no host") && !unknown.contains("hunter2"),
        "{unknown}"
    );
    let bare = refused(&server.url(), &url(&folder, "new.db")).await;
    assert!(
        bare.contains("of an earlier version of athos-backend, or of none"),
        "{bare}"
    );

    store::open(&server.url()).await.unwrap().close().await;
    for seconds in [60, 1] {
        server.sql(&format!(
            "INSERT INTO replicas (id, version, started_at, heartbeat_at, reloaded_at, credentials) VALUES \
               ('since_{seconds}', '1', 0, extract(epoch FROM clock_timestamp()) * 1000 - 1000 * {seconds}, 0, '')"
        ));
    }
    let in_use = refused(&from, &server.url()).await;
    assert!(in_use.contains("replica since_1, version 1"), "{in_use}");
    File::open(path(&folder, "source.db"))
        .unwrap()
        .execute_batch("CREATE TABLE more (id INTEGER PRIMARY KEY)")
        .unwrap();
    let more = refused(&from, &url(&folder, "new.db")).await;
    assert!(more.contains("schemas of"), "{more}");
}

#[tokio::test]
async fn long_rows_are_read_in_pages_that_fit() {
    let folder = TempDir::new().unwrap();
    let from = filled(&folder).await;
    File::open(path(&folder, "source.db"))
        .unwrap()
        .execute_batch(
            "INSERT INTO call_details SELECT seq, printf('%.*c', 3000000, 'x'), 0, 1 FROM calls WHERE seq > 3",
        )
        .unwrap();
    let watch = |step: CopyStep<'_>| {
        if let CopyStep::Copying {
            table: "call_details",
            rows,
            ..
        } = step
        {
            assert!(rows <= 3);
        }
    };
    let to = url(&folder, "target.db");
    store::copy(&from, &to, watch, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(
        dump(&path(&folder, "source.db")),
        dump(&path(&folder, "target.db"))
    );
}
