//! What is PostgreSQL's alone: the driver, values and errors. The contract of the store is in `tests/store`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::Socket;
use tokio_util::sync::CancellationToken;

use super::cluster::Database;
use super::connector::Connector;
use super::session::Session;
use super::url::Address;
use crate::model::Timestamp;
use crate::store::StoreError;
use crate::store::sql::{Connection, GivenRows, Reader, Value, Watch, values};

/// A connection to a test's database.
pub(super) fn connect(url: &str) -> Session {
    connect_with(url, Duration::from_secs(20))
}

fn connect_with(url: &str, patience: Duration) -> Session {
    let connector = Connector::new("DATABASE_URL", url).unwrap();
    connector.connect(patience).unwrap()
}

fn with<T>(work: impl FnOnce(&dyn Connection) -> T) -> Option<T> {
    let database = Database::new()?;
    Some(work(&connect(&database.url())))
}

#[test]
fn what_is_bound_is_what_is_read() {
    with(|db| {
        let at = Timestamp::from_millis(5);
        let (text, bytes) = ("ü".to_owned(), b"\0\xff".to_vec());
        let nothing: Option<String> = None;
        let values = values![7_i64, true, at, 1.5, text, bytes, nothing];
        db.one("SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?1 = 7", values, |row| {
            let mut columns = row.from(0);
            assert_eq!(columns.next::<i64>()?, 7);
            assert!(columns.next::<bool>()?);
            assert_eq!(columns.next::<Timestamp>()?, at);
            assert_eq!(columns.next::<f64>()?.to_bits(), 1.5_f64.to_bits());
            assert_eq!(columns.next::<String>()?, text);
            assert_eq!(columns.next::<&[u8]>()?, bytes);
            assert_eq!(columns.next::<Option<String>>()?, nothing);
            assert!(columns.next::<bool>()?);
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn given_rows_are_read_with_their_types_and_their_nulls() {
    with(|db| {
        let (some, none) = (
            [
                Value::Integer(Some(1)),
                Value::Real(Some(1.5)),
                Value::Text(Some("a\0b")),
                Value::Bytes(Some(b"\0\xff")),
            ],
            [
                Value::Integer(None),
                Value::Real(None),
                Value::Text(None),
                Value::Bytes(None),
            ],
        );
        let rows: GivenRows<'_, _> = [none, some].into_iter().collect();
        let read = db.rows(
            "SELECT * FROM unnest(?1, ?2, ?3, ?4)",
            &rows.values(),
            |row| {
                let number: Option<i64> = row.get(0)?;
                let real: Option<f64> = row.get(1)?;
                let text: Option<String> = row.get(2)?;
                let bytes: Option<Vec<u8>> = row.get(3)?;
                Ok((number, real, text, bytes))
            },
        );
        let text = Some("a\u{FFFD}b".to_owned());
        let bytes = Some(b"\0\xff".to_vec());
        assert_eq!(
            read.unwrap(),
            [(None, None, None, None), (Some(1), Some(1.5), text, bytes)]
        );
    });
}

#[test]
fn sums_and_averages_are_the_numbers_that_sqlite_has() {
    with(|db| {
        for number in [
            0,
            7,
            -7,
            9_999,
            10_000,
            -120_000_000,
            123_456_789_012,
            i64::MAX,
            i64::MIN + 1,
        ] {
            let sum: i64 = db
                .scalar(
                    "SELECT sum(x) FROM (VALUES (?1), (0::bigint)) AS t (x)",
                    values![number],
                )
                .unwrap();
            assert_eq!(sum, number);
        }
        for (sql, average) in [
            ("(1), (2)", 1.5),
            ("(-1), (-2)", -1.5),
            ("(0), (0)", 0.0),
            ("(20000), (20000)", 20_000.0),
            ("(1), (1), (2)", 4.0 / 3.0),
            ("(0), (0), (0), (1)", 0.25),
            ("(100000), (100001)", 100_000.5),
        ] {
            let found: f64 = db
                .scalar(&format!("SELECT avg(x) FROM (VALUES {sql}) AS t (x)"), &[])
                .unwrap();
            assert!((found - average).abs() < 1e-9, "{sql}: {found}");
        }
    });
}

#[test]
fn a_text_with_a_nul_is_kept_with_a_mark_in_its_place() {
    with(|db| {
        let kept: String = db.scalar("SELECT ?1", values!["a\0b"]).unwrap();
        assert_eq!(kept, "a\u{FFFD}b");
    });
}

#[test]
fn each_error_is_what_it_means_and_the_connection_can_be_used_again() {
    with(|db| {
        type Is = fn(&StoreError) -> bool;
        let cases: [(&str, Is); 6] = [
            ("SELECT nonsense", |error| {
                matches!(error, StoreError::Refused(_))
            }),
            (
                "SET LOCAL statement_timeout = 50; SELECT pg_sleep(60)",
                |error| matches!(error, StoreError::ReadTimedOut),
            ),
            (
                "SET LOCAL transaction_read_only = on; CREATE TABLE t (x INT)",
                |error| matches!(error, StoreError::ReadOnly(_)),
            ),
            ("DO $$ BEGIN RAISE SQLSTATE '53100'; END $$", |error| {
                matches!(error, StoreError::Full(_))
            }),
            ("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$", |error| {
                matches!(error, StoreError::Busy(_))
            }),
            ("DO $$ BEGIN RAISE SQLSTATE '53300'; END $$", |error| {
                matches!(error, StoreError::Io(_))
            }),
        ];
        for (sql, is) in cases {
            db.batch("BEGIN").unwrap();
            let error = db.batch(sql).unwrap_err();
            assert!(is(&error), "{sql}: {error:?}");
            db.batch("ROLLBACK").unwrap();
        }
        assert_eq!(db.scalar::<i64>("SELECT 1::bigint", &[]).unwrap(), 1);
    });
}

#[test]
fn a_connection_that_the_server_ends_says_so_and_is_not_used_again() {
    let Some(database) = Database::new() else {
        return;
    };
    let session = connect(&database.url());
    assert!(session.is_usable());
    database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'athos-backend' AND datname = current_database()");
    let db: &dyn Connection = &session;
    let error = db.scalar::<i64>("SELECT 1::bigint", &[]).unwrap_err();
    assert!(matches!(error, StoreError::Io(_)), "{error:?}");
    assert!(!session.is_usable());
}

#[test]
fn a_statement_that_takes_too_long_is_ended_and_the_connection_goes_on() {
    let Some(database) = Database::new() else {
        return;
    };
    let session = connect_with(&database.url(), Duration::from_millis(300));
    let db: &dyn Connection = &session;
    let error = db.batch("SELECT pg_sleep(60)").unwrap_err();
    assert!(matches!(error, StoreError::ReadTimedOut), "{error:?}");
    assert!(session.is_usable());
    assert_eq!(database.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(60)' AND state = 'active'"), "0");
}

#[test]
fn a_read_ends_at_its_deadline_and_when_nobody_waits_for_it() {
    let Some(database) = Database::new() else {
        return;
    };
    let mut session = connect(&database.url());
    for (deadline, is_abandoned) in [(Some(Instant::now()), false), (None, true)] {
        let watch = Watch {
            abandoned: CancellationToken::new(),
            deadline,
        };
        if is_abandoned {
            watch.abandoned.cancel();
        }
        session.begin(watch).unwrap();
        let db: &dyn Connection = &session;
        let error = db
            .scalar::<i64>("SELECT 1::bigint FROM pg_sleep(60)", &[])
            .unwrap_err();
        assert!(matches!(error, StoreError::ReadTimedOut), "{error:?}");
        assert!(session.is_reusable());
    }
}

/// Between a connection and the server, on a thread for each direction: what it is told to swallow is acknowledged, as by a
/// machine that hangs, and never answered.
fn start_relay(port: u16) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, swallows) = (
        listener.local_addr().unwrap().port(),
        Arc::new(AtomicBool::new(false)),
    );
    let told = Arc::clone(&swallows);
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                let told = Arc::clone(&told);
                std::thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    while let Ok(1..) = from.read(&mut bytes).map(|count| {
                        if told.load(Ordering::Relaxed) || to.write_all(&bytes[..count]).is_ok() {
                            count
                        } else {
                            0
                        }
                    }) {}
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    (at, swallows)
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let Some(database) = Database::new() else {
        return;
    };
    let address = Address::parse("DATABASE_URL", &database.url()).unwrap();
    let port = address.config.get_ports()[0];
    let (relay, swallows) = start_relay(port);
    let url = database
        .url()
        .replace(&format!(":{port}/"), &format!(":{relay}/"));
    let session = connect_with(&url, Duration::from_secs(1));
    let db: &dyn Connection = &session;
    db.batch("SELECT 1").unwrap();
    swallows.store(true, Ordering::Relaxed);
    let error = db.batch("SELECT 1").unwrap_err();
    assert!(matches!(error, StoreError::Io(_)), "{error:?}");
    assert!(!session.is_usable());
}

/// What happens behind a pooler is in `tests/replicas/pooler.rs`.
#[test]
fn a_connection_that_leads_to_the_server_itself_gives_names_to_its_statements() {
    let Some(database) = Database::new() else {
        return;
    };
    for mode in ["disable", "prefer"] {
        let session = connect(&format!("{}?sslmode={mode}", database.url()));
        let db: &dyn Connection = &session;
        let count = "SELECT count(*) FROM pg_prepared_statements WHERE statement <> ''";
        for _ in 0..2 {
            assert_eq!(db.scalar::<i64>(count, &[]).unwrap(), 1, "{mode}");
        }
    }
}

#[test]
fn a_statement_that_was_prepared_for_another_schema_is_prepared_anew() {
    let Some(database) = Database::new() else {
        return;
    };
    let session = connect(&database.url());
    let db: &dyn Connection = &session;
    db.batch("CREATE TABLE t (x BIGINT)").unwrap();
    db.exists("SELECT * FROM t", &[]).unwrap();
    db.batch("ALTER TABLE t ADD COLUMN y BIGINT").unwrap();
    let error = db.exists("SELECT * FROM t", &[]).unwrap_err();
    assert!(matches!(error, StoreError::Busy(_)), "{error:?}");
    assert!(!session.is_usable());
}

/// A driver that leaves Nagle's algorithm on has the second of two small messages wait 40 ms for the acknowledgement of the
/// first. Asked of the system, since it shows only in some patterns of messages.
#[test]
fn small_messages_are_sent_at_once_and_a_server_that_is_gone_is_noticed() {
    let Some(database) = Database::new() else {
        return;
    };
    let address = Address::parse("DATABASE_URL", &database.url()).unwrap();
    let port = address.config.get_ports()[0];
    let session = connect(&database.url());
    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let sockets = descriptors.filter_map(|entry| {
        let number: i32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
        let socket = Socket::from(pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).ok()?);
        let peer = socket.peer_addr().ok()?.as_socket()?;
        (peer.port() == port).then_some(socket)
    });
    let sockets: Vec<_> = sockets.collect();
    assert_eq!(sockets.len(), 1);
    for socket in sockets {
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert!(socket.tcp_user_timeout().unwrap().is_some());
    }
    drop(session);
}
