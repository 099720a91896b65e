//! What a power cut may undo: only what is done again, and never what somebody was told.

use super::*;
use crate::model::{CallDetail, CallHeader, CallStatus, Scope};
use crate::store::sql::{Accept, Claim, FinishMint, Settle, values};
use crate::store::{
    CallFilter, Calls, EventFilter, MintFilter, MintOutcome, Operators, Settlement,
};

const LEASE: Duration = Duration::from_secs(60);

fn scored(number: usize) -> Settlement {
    let said = said_of("rep_1", number);
    Settlement::Scored(Box::new(CallDetail {
        header: CallHeader {
            id: said.call_id,
            source: said.source,
            identity: said.identity,
            drill_key: None,
            started_at: None,
            ended_at: Some(Timestamp::from_millis(1)),
            duration_sec: None,
            scored_at: Some(Timestamp::from_millis(1)),
        },
        overall_score: Some(80.0),
        compliance_percent: None,
        has_recording: false,
        raw: "{}".to_owned(),
        purged: false,
    }))
}

fn number_of(webhook_id: &str) -> usize {
    webhook_id.strip_prefix("wh_").unwrap().parse().unwrap()
}

/// A store, and how much of its log is on the disk.
struct Powered {
    folder: tempfile::TempDir,
    store: Opened,
    synced_bytes: u64,
}

impl Powered {
    fn wrote<O: Operation>(&mut self) {
        if O::DURABILITY == Durability::Synced {
            self.synced_bytes = self.store.upkeep.wal.bytes();
        }
    }

    async fn accept(&mut self, number: usize) {
        let event = NewEvent {
            parsed: Ok(said_of("rep_1", number)),
            ..event(number)
        };
        let accepted = self.store.accept_event(event).await.unwrap();
        assert_eq!(accepted, Accepted::New);
        self.wrote::<Accept>();
    }

    async fn mint(&mut self, number: usize) {
        self.store.record_mint(mint(number)).await.unwrap();
        self.wrote::<NewMint>();
        let outcome = MintOutcome {
            outcome: "minted".to_owned(),
            answered_at: Timestamp::from_millis(2),
            expires_at: None,
            athos_request_id: None,
        };
        let finished = self
            .store
            .finish_mints(vec![(number.to_string(), outcome)])
            .await;
        finished.unwrap();
        self.wrote::<FinishMint>();
    }

    /// Claims up to `limit`, and settles the first of them.
    async fn work(&mut self, now: Timestamp, limit: u32) -> usize {
        let claimed = self
            .store
            .claim_due(ClaimFilter::All, now, limit, LEASE)
            .await;
        self.wrote::<Claim>();
        let mut settled = 0;
        for claimed in claimed.unwrap().into_iter().take(1) {
            let number = number_of(&claimed.lease.webhook_id);
            let ended = self.store.settle(claimed.lease, scored(number), now).await;
            assert_eq!(ended.unwrap(), SettleResult::Yes);
            self.wrote::<Settle>();
            settled += 1;
        }
        settled
    }

    /// What the worker does at the start.
    async fn open_what_was_left(&self) {
        for left in self.store.find_unopened().await.unwrap() {
            let number = std::str::from_utf8(&left.body).unwrap().trim();
            let said = said_of("rep_1", number.parse().unwrap());
            self.store.open_call(left.event_id, said, left.received_at);
        }
        self.store.arrivals.opening.caught_up().await;
    }

    /// The same store as the next start finds it when the power fails now.
    async fn after_power_cut(&self) -> Self {
        let after = tempfile::tempdir().unwrap();
        for name in ["athos.db", "athos.db-wal"] {
            std::fs::copy(self.folder.path().join(name), after.path().join(name)).unwrap();
        }
        let log = std::fs::File::options()
            .write(true)
            .open(after.path().join("athos.db-wal"));
        log.unwrap().set_len(self.synced_bytes).unwrap();
        let db = rusqlite::Connection::open(after.path().join("athos.db")).unwrap();
        db.execute("UPDATE rev_floor SET boot = 'before'", [])
            .unwrap();
        let told = self.store.latest_rev().await.unwrap();
        let store = store(&after).await;
        assert!(
            store.latest_rev().await.unwrap() > told,
            "a rev was assigned twice"
        );
        drop(db);
        Self {
            folder: after,
            store,
            synced_bytes: 0,
        }
    }
}

#[tokio::test]
async fn after_a_power_cut_every_acknowledged_event_is_processed_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.upkeep.keeper.abort();
    let mut before = Powered {
        folder,
        store,
        synced_bytes: 0,
    };
    let now = Timestamp::from_millis(2);
    let mut undone = 0;
    for number in 0..12 {
        before.mint(number).await;
        before.accept(number).await;
        let settled = before.work(now, 1 + u32::try_from(number % 3).unwrap());
        assert_eq!(settled.await, 1);
        let mut after = before.after_power_cut().await;
        // Leases that were given before have expired.
        let later = now.plus(LEASE * 2);
        let mut again = 0;
        loop {
            match after.work(later, 1).await {
                0 => break,
                settled => again += settled,
            }
        }
        assert!(again > 0, "nothing was undone");
        undone += again;
        let all = EventFilter::default();
        let events = after.store.list_events(&all, 100, None).await.unwrap().rows;
        assert_eq!(events.len(), number + 1);
        for event in events {
            assert_eq!((event.state.as_str(), event.attempts), ("done", 1));
        }
        for acknowledged in 0..=number {
            let id = said_of("rep_1", acknowledged).call_id;
            let call = after.store.find_call(&Scope::All, &id).await.unwrap();
            assert_eq!(call.unwrap().row.status, CallStatus::Scored, "{id}");
        }
        let all = MintFilter::default();
        let mints = after.store.list_mints(&all, 100, None).await.unwrap().rows;
        assert_eq!(mints.len(), number + 1);
        after.store.close().await;
    }
    assert!(undone < 12 * 12, "what was synced later was not undone");
    before.store.close().await;
}

/// What the database itself has of a call, without anybody hurrying its row.
async fn row_of(store: &SqlStore, number: usize) -> Option<String> {
    let id = said_of("rep_1", number).call_id;
    let find = move |db: &dyn sql::Connection| {
        let sql = "SELECT status FROM calls WHERE id = ?1";
        db.first(sql, values![id], |row| row.get(0))
    };
    store.readers.work.read(find).await.unwrap()
}

#[tokio::test]
async fn whoever_asks_for_calls_sees_those_of_webhooks_that_are_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let mut powered = Powered {
        folder,
        store,
        synced_bytes: 0,
    };
    let mut changes = powered.store.changes();
    let [theirs, others] = ["rep_1", "rep_2"].map(|rep| Scope::Rep(PlatformId::new(rep).unwrap()));
    for number in 0..300 {
        powered.accept(number).await;
        let id = said_of("rep_1", number).call_id;
        let found = powered.store.find_call(&theirs, &id).await;
        assert_eq!(found.unwrap().unwrap().row.status, CallStatus::Processing);
        let found = powered.store.find_call(&others, &id).await;
        assert!(found.unwrap().is_none());
    }
    assert!(changes.has_changed().unwrap());
    changes.borrow_and_update();
    powered.accept(300).await;
    let all = CallFilter {
        scope: Scope::All,
        rep: None,
        agency: None,
        from: None,
        to: None,
        drill: None,
        status: None,
        source: None,
    };
    let calls = powered.store.list_calls(&all, 1000, None).await.unwrap();
    assert_eq!(calls.rows.len(), 301);
    changes.changed().await.unwrap();
    powered.store.close().await;
}

/// Accepts that many webhooks at once, the highest id first; the order in which the rows of their calls were written.
async fn order_of_rows(count: usize) -> Vec<usize> {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let accepted = (100..100 + count).rev().map(|number| {
        store.accept_event(NewEvent {
            parsed: Ok(said_of("rep_1", number)),
            ..event(number)
        })
    });
    futures_util::future::try_join_all(accepted).await.unwrap();
    store.arrivals.opening.caught_up().await;
    let read = |db: &dyn sql::Connection| {
        let last = "SELECT up_to = (SELECT max(id) FROM events) FROM opened_events";
        assert!(
            db.scalar::<bool>(last, &[])?,
            "opened_events ends before the last event"
        );
        db.rows("SELECT id FROM calls ORDER BY seq", &[], |row| {
            row.get::<String>(0)
        })
    };
    let ids = store.readers.work.read(read).await.unwrap();
    store.close().await;
    let number = |id: &String| id.strip_prefix("call_").unwrap().parse().unwrap();
    ids.iter().map(number).collect()
}

#[tokio::test]
async fn rows_of_many_calls_are_written_in_the_order_of_their_ids_and_those_of_few_as_they_came() {
    let many: Vec<_> = (100..400).collect();
    assert_eq!(order_of_rows(300).await, many);
    assert_eq!(order_of_rows(3).await, [102, 101, 100]);
}

#[tokio::test]
async fn a_call_whose_row_a_power_cut_took_has_it_again_after_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let mut before = Powered {
        folder,
        store,
        synced_bytes: 0,
    };
    for number in 0..3 {
        before.accept(number).await;
    }
    // What was undone with the row is not the event.
    before.store.arrivals.opening.caught_up().await;
    assert_eq!(
        row_of(&before.store, 2).await.as_deref(),
        Some("processing")
    );
    let after = before.after_power_cut().await;
    after.open_what_was_left().await;
    for number in 0..3 {
        let row = row_of(&after.store, number).await;
        assert_eq!(row.as_deref(), Some("processing"), "{number}");
    }
    before.store.close().await;
    after.store.close().await;
}

#[tokio::test]
async fn an_event_that_died_before_its_call_had_a_row_shows_its_call_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    // The process ends before it writes the row.
    store.tasks.opener.abort();
    let mut before = Powered {
        folder,
        store,
        synced_bytes: 0,
    };
    before.accept(0).await;
    let now = Timestamp::from_millis(2);
    let claimed = before.store.claim_due(ClaimFilter::All, now, 1, LEASE);
    let lease = claimed.await.unwrap().remove(0).lease;
    let dead = Settlement::Dead {
        reason: "Athos refused it".to_owned(),
        failure: None,
    };
    before.store.settle(lease, dead, now).await.unwrap();
    // What is synced later syncs the settlement too.
    before.mint(0).await;
    let after = before.after_power_cut().await;
    assert_eq!(row_of(&after.store, 0).await, None);
    after.open_what_was_left().await;
    assert_eq!(row_of(&after.store, 0).await.as_deref(), Some("processing"));
    before.store.close().await;
    after.store.close().await;
}
