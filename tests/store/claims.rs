//! What a claim costs the server: it reads about what it takes, however much is due, has failed before or waits, and whether or
//! not the server knows how large its tables are.

use std::time::Duration;

use athos_backend::store::{self, ClaimFilter, Settlement};
use tokio_postgres::NoTls;

use super::{LEASE, NOW, after, cluster, delivery, parsed};

const DUE: i64 = 20_000;
const CLAIMS: i64 = 20;
const AT_ONCE: u32 = 8;
const TABLES: [&str; 3] = ["events", "attempts", "messages"];

/// As many of each as are due, all of them at the same time; a server that was told nothing of them.
fn fill(database: &cluster::Database) {
    let now = NOW.as_millis();
    database.sql(&format!(
        "ALTER TABLE events SET (autovacuum_enabled = off); ALTER TABLE attempts SET (autovacuum_enabled = off);
         ALTER TABLE messages SET (autovacuum_enabled = off); ALTER TABLE calls SET (autovacuum_enabled = off);
         INSERT INTO events (webhook_id, state, received_at, signed_at, secret, call_id, body, next_attempt_at, origin)
           SELECT 'wh_' || n, 'pending', {now}, {now}, '', 'call_' || n, '', {now}, 'webhook' FROM generate_series(1, {DUE}) AS n;
         INSERT INTO attempts (event_id, number, at, outcome) SELECT id, 0, {now}, 'retry' FROM events;
         INSERT INTO endpoints (url, kinds, is_active, added_at) VALUES ('http://127.0.0.1/', '', 1, {now});
         INSERT INTO calls (id, status, source, sort_at, rev)
           SELECT 'call_' || n, 'scored', 'roleplay', {now}, n FROM generate_series(1, {DUE}) AS n;
         INSERT INTO messages (endpoint_id, message_id, kind, call_seq, at, state, due_at)
           SELECT 1, 'msg_' || seq, 'call.scored', seq, {now}, 'waiting', {now} FROM calls;"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_reads_about_what_it_takes_however_much_is_due() {
    let Some(database) = cluster::Database::new() else {
        return;
    };
    let open = async || store::open(&database.url()).await.unwrap();
    open().await.close().await;
    fill(&database);
    let store = open().await;
    let number = |sql: &str| database.sql(sql).parse::<i64>().unwrap();
    let rows_read = || {
        TABLES.map(|table| {
            number(&format!(
                "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables \
                 WHERE relname = '{table}'"
            ))
        })
    };
    let before = rows_read();
    for _ in 0..CLAIMS {
        let claimed = store
            .claim_due(ClaimFilter::All, NOW, AT_ONCE, LEASE)
            .await
            .unwrap();
        assert_eq!(claimed.len(), AT_ONCE as usize);
        assert!(claimed.iter().all(|event| event.has_failed));
        let claimed = store
            .claim_messages(1, NOW, AT_ONCE, after(60))
            .await
            .unwrap();
        assert_eq!(claimed.len(), AT_ONCE as usize);
    }
    store.close().await;
    // A connection that has ended has said what it did.
    let updated =
        "SELECT min(n_tup_upd) FROM pg_stat_user_tables WHERE relname IN ('events', 'messages')";
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while number(updated) < CLAIMS * i64::from(AT_ONCE) {
        ticks.tick().await;
    }
    for ((table, before), after) in TABLES.into_iter().zip(before).zip(rows_read()) {
        let read = after - before;
        assert!(
            read < DUE,
            "{CLAIMS} claims have read {read} rows of {table}"
        );
    }
}

/// While somebody's transaction is open, the server keeps what was due before, in the index too.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_does_not_read_what_was_done_while_a_transaction_is_left_open() {
    const ROUNDS: u64 = 120;
    let Some(database) = cluster::Database::new() else {
        return;
    };
    let store = store::open(&database.url()).await.unwrap();
    let (holder, connection) = tokio_postgres::connect(&database.url(), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let look = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM events";
    holder.batch_execute(look).await.unwrap();
    for round in 0..ROUNDS {
        let now = after(10 * round);
        let mut event = delivery(
            &format!("wh_{round}"),
            Ok(parsed(&format!("call_{round}"), "rep", "agency")),
        );
        event.received_at = now;
        store.accept_event(event).await.unwrap();
        for event in store
            .claim_due(ClaimFilter::All, now, AT_ONCE, LEASE)
            .await
            .unwrap()
        {
            let done = Settlement::Ignored {
                reason: "done".to_owned(),
            };
            store.settle(event.lease, done, now).await.unwrap();
        }
    }
    store.close().await;
    // A connection that has ended has said what it did.
    let number = |sql: &str| database.sql(sql).parse::<u64>().unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while number("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'events'") < 2 * ROUNDS
    {
        ticks.tick().await;
    }
    let read =
        number("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'events_due'");
    assert!(
        read < ROUNDS * 50,
        "{ROUNDS} claims have read {read} entries"
    );
}
