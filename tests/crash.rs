//! Power cuts: the real binary is killed with SIGKILL in the middle of thousands of webhooks, again and again, on one
//! database. Whatever it acknowledged must be there, once. `CRASH_ROUNDS` asks for more rounds than the usual few.
#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot go on should stop right there"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use athos_backend::athos::http_client;
use athos_backend::athos::signature::{SIGNATURE_HEADER, WEBHOOK_ID_HEADER, sign};
use athos_backend::clock::Clock;
use secrecy::SecretString;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::watch;

const SECRET: &str = "whsec_crash_0123456789abcdef";
const CONNECTIONS: usize = 16;
/// Webhooks that are acknowledged before the earliest kill, and at most as many more before the latest.
const FEWEST: usize = 300;
const SPREAD: usize = 900;

/// The service as an operator starts it.
struct Service {
    process: Child,
    origin: String,
}

impl Service {
    /// Starts it and waits until it says where it listens.
    fn start(database: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_athos-backend"))
            .env_clear()
            .env("ATHOS_WHSEC", SECRET)
            // Events wait: there is no key to fetch with, and nothing to spend.
            .env("SERVICE_TOKENS", "svc_crash_0123456789abcdef0123456789")
            .env("DATABASE_URL", format!("sqlite://{}", database.display()))
            .env("BIND_ADDR", "127.0.0.1:0")
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .env("LOG_FORMAT", "json")
            .current_dir(database.parent().unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let listening = log
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains("\"listening\""))
            .expect("it ended before it listened");
        let line: serde_json::Value = serde_json::from_str(&listening).unwrap();
        let origin = format!("http://{}", line["addr"].as_str().unwrap());
        // A pipe that nobody reads would stop the service once it is full.
        std::thread::spawn(move || log.for_each(drop));
        Self { process, origin }
    }

    /// SIGKILL: no handler runs, no buffer is flushed.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends webhooks over one keep-alive connection until the service is gone; the ids that were acknowledged.
async fn send_until_cut(
    origin: String,
    prefix: String,
    acknowledged: watch::Sender<usize>,
) -> (BTreeSet<String>, usize) {
    let url = origin.parse().unwrap();
    let http = http_client(&url, Duration::from_secs(10)).unwrap();
    let (secret, clock) = (SecretString::from(SECRET), Clock::system());
    let mut acked = BTreeSet::new();
    for n in 0_usize.. {
        let id = format!("{prefix}_{n}");
        let body = json!({
            "event": "call.scored", "success": true, "callId": format!("call_{id}"),
            "source": "roleplay", "externalUserId": "rep_1", "externalAgencyId": null,
        })
        .to_string();
        let signature = sign(&secret, clock.now().as_secs(), body.as_bytes());
        let request = http
            .post(format!("{origin}/athos/webhook"))
            .header(SIGNATURE_HEADER, signature)
            .header(WEBHOOK_ID_HEADER, &id)
            .body(body);
        match request.send().await {
            Ok(answer) => {
                // Only a whole answer is an acknowledgement.
                let status = answer.status();
                if answer.bytes().await.is_err() {
                    return (acked, n + 1);
                }
                assert_eq!(status, 200);
                acked.insert(id);
                acknowledged.send_modify(|count| *count += 1);
            }
            Err(_) => return (acked, n + 1),
        }
    }
    unreachable!("the service is killed before numbers run out");
}

async fn open(database: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(database)
        .disable_statement_logging()
        .connect()
        .await
        .unwrap()
}

/// What must hold after every crash.
async fn check(database: &Path, acked: &BTreeSet<String>, sent: usize) {
    let mut db = open(database).await;
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(sound, "ok");
    let ids: Vec<String> = sqlx::query_scalar("SELECT webhook_id FROM events")
        .fetch_all(&mut db)
        .await
        .unwrap();
    let kept: BTreeSet<String> = ids.iter().cloned().collect();
    assert_eq!(ids.len(), kept.len(), "an id is there twice");
    let lost: Vec<_> = acked.difference(&kept).take(5).collect();
    assert!(lost.is_empty(), "acknowledged and not on disk: {lost:?}");
    assert!(kept.len() <= sent, "more rows than were ever sent");
    // The event and its call come into being together, or not at all.
    let orphans: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE NOT EXISTS (SELECT 1 FROM calls WHERE id = call_id)",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(orphans, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_webhook_survives_being_killed_at_any_moment() {
    let rounds = std::env::var("CRASH_ROUNDS").map_or(5, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("athos.db");
    let (mut acked, mut sent) = (BTreeSet::new(), 0);
    for round in 0..rounds {
        let mut service = Service::start(&database);
        let (acknowledged, mut progress) = watch::channel(0);
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                tokio::spawn(send_until_cut(
                    service.origin.clone(),
                    format!("wh_{round}_{connection}"),
                    acknowledged.clone(),
                ))
            })
            .collect();
        drop(acknowledged);
        // Random in the number of acknowledgements, and then in the phase of the batch that is being written.
        let enough = FEWEST + rand::random_range(0..SPREAD);
        // What comes back holds a lock that senders need.
        let reached = progress.wait_for(|count| *count >= enough).await.is_ok();
        assert!(reached, "nobody can send any more");
        service.kill();
        for sender in senders {
            let (these, tried) = sender.await.unwrap();
            acked.extend(these);
            sent += tried;
        }
        // The next process opens what this one left; so does an unrelated reader.
        drop(Service::start(&database));
        check(&database, &acked, sent).await;
    }
    assert!(acked.len() >= rounds * FEWEST);
}
