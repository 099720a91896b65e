//! That a claim costs the same however much waits.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::*;
use crate::store::DueTimes;
use crate::store::sql::{Claim, ClaimMessages};

const NOW: Timestamp = Timestamp::from_millis(1_000);

/// A database in which so many events, and messages about so many calls, are due at the same time.
fn with_due(count: u32) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    migrations::run(&connection).unwrap();
    let fill = format!(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {count}) \
         INSERT INTO events (webhook_id, state, received_at, signed_at, secret, call_id, body, next_attempt_at) \
           SELECT 'wh_' || x, 'pending', 1, 1, 's', 'call_' || x, x'7b7d', 1 FROM n; \
         INSERT INTO calls (id, status, source, sort_at, rev) \
           SELECT call_id, 'scored', 'roleplay', 1, id FROM events; \
         INSERT INTO endpoints (url, kinds, is_active, added_at) VALUES ('http://crm.internal', ' call.scored ', 1, 1); \
         INSERT INTO messages (endpoint_id, message_id, kind, call_seq, at, state, due_at) \
           SELECT 1, 'msg_' || seq, 'call.scored', seq, 1, 'waiting', 1 FROM calls;"
    );
    connection.execute_batch(&fill).unwrap();
    connection
}

/// Instructions of SQLite for it, in tens.
fn cost<O: Operation>(connection: &Connection, operation: &O) -> (u64, O::Output) {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    connection.progress_handler(10, Some(count)).unwrap();
    let output = operation.apply(connection).unwrap();
    connection
        .progress_handler(10, None::<fn() -> bool>)
        .unwrap();
    (steps.load(Ordering::Relaxed), output)
}

fn cost_of_claims(waiting: u32) -> [u64; 2] {
    let connection = with_due(waiting);
    let (until, limit) = (Timestamp::from_millis(2_000), 8);
    let events = Claim {
        due: Arc::new(DueTimes::default()),
        which: ClaimFilter::All,
        now: NOW,
        limit,
        until,
    };
    let messages = ClaimMessages {
        endpoint: 1,
        now: NOW,
        limit,
        until,
    };
    let (of_events, (claimed, _)) = cost(&connection, &events);
    assert_eq!(claimed.len(), 8);
    let (of_messages, claimed) = cost(&connection, &messages);
    assert_eq!(claimed.len(), 8);
    [of_events, of_messages]
}

#[test]
fn a_claim_costs_the_same_however_many_are_due_at_once() {
    let (few, many) = (cost_of_claims(100), cost_of_claims(5_000));
    for (few, many) in few.into_iter().zip(many) {
        assert!(
            many <= few + few / 10,
            "{few} and {many} tens of instructions"
        );
    }
}
