//! What several replicas do to one database on a server at the same time, each with a store of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use athos_backend::clock::ManualClock;
use athos_backend::model::{CallStatus, Scope};
use athos_backend::replica::Replica;
use athos_backend::store::{
    self, Accepted, ClaimFilter, Duty, ServerOptions, SettleResult, SharedStore, StoreError,
    TERM_LASTS,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{LEASE, NOW, after, cluster, delivery, detail, leaders, parsed};

/// Has the server refuse a `rev` that is given without the lock that keeps revs in the order of commits.
pub(crate) const ONLY_LOCKED_REVS: &str = "
    CREATE FUNCTION refuse_unlocked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()) THEN
            RAISE EXCEPTION 'a rev without the lock';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER unlocked BEFORE INSERT OR UPDATE OF rev ON calls FOR EACH ROW EXECUTE FUNCTION refuse_unlocked();
    CREATE TRIGGER unlocked BEFORE UPDATE OF rev ON told_rev FOR EACH ROW EXECUTE FUNCTION refuse_unlocked();
";

/// Has transactions that do not say otherwise see nothing that was committed after they began.
const OLD_SNAPSHOTS: &str = "DO $$ BEGIN \
    EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = %L', current_database(), 'repeatable read'); \
    END $$";

/// Two replicas on a database of their own.
async fn two() -> Option<(cluster::Database, [SharedStore; 2])> {
    let database = cluster::Database::new()?;
    let url = database.url();
    let options = ServerOptions {
        poll: Some(Duration::from_secs(1)),
        ..ServerOptions::default()
    };
    database.sql(OLD_SNAPSHOTS);
    let open = async || store::open_with(&url, &options).await.unwrap();
    let stores = [open().await, open().await];
    database.sql(ONLY_LOCKED_REVS);
    Some((database, stores))
}

/// Has both replicas do the same number of things, all at once.
async fn at_once<T: Send + 'static, F>(
    stores: &[SharedStore; 2],
    count: usize,
    work: impl Fn(SharedStore, usize, usize) -> F,
) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let mut working = tokio::task::JoinSet::new();
    for number in 0..count {
        for (replica, store) in stores.iter().enumerate() {
            working.spawn(work(store.clone(), replica, number));
        }
    }
    working.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_deliveries_to_two_replicas_at_once_are_accepted_once_each() {
    let Some((database, stores)) = two().await else {
        return;
    };
    let accepted = at_once(&stores, 200, |store, replica, number| async move {
        // In opposite orders.
        let number = if replica == 0 { number } else { 199 - number };
        let event = delivery(
            &format!("wh_{number}"),
            Ok(parsed(&format!("call_{number}"), "rep", "agency")),
        );
        store.accept_event(event).await.unwrap()
    })
    .await;
    let new = accepted
        .iter()
        .filter(|accepted| **accepted == Accepted::New)
        .count();
    let again = accepted
        .iter()
        .filter(|accepted| **accepted == Accepted::Duplicate)
        .count();
    assert_eq!((new, again), (200, 200));
    assert_eq!(
        database.sql("SELECT count(*), sum(deliveries) FROM events"),
        "200|400"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_claim_each_event_once_and_leave_none() {
    let Some((_database, stores)) = two().await else {
        return;
    };
    at_once(&stores, 50, |store, replica, number| async move {
        let webhook = format!("wh_{replica}_{number}");
        store
            .accept_event(delivery(&webhook, Ok(parsed(&webhook, "rep", "agency"))))
            .await
            .unwrap()
    })
    .await;
    let claimed = at_once(&stores, 40, |store, _, _| async move {
        store
            .claim_due(ClaimFilter::All, NOW, 5, LEASE)
            .await
            .unwrap()
    })
    .await;
    let events: Vec<_> = claimed
        .into_iter()
        .flatten()
        .map(|event| event.lease.event_id)
        .collect();
    assert_eq!(events.len(), 100);
    assert_eq!(events.into_iter().collect::<BTreeSet<_>>().len(), 100);
}

/// Follows the changes as a stream does, until no more are made and all were told: their revs, and how many calls are scored.
async fn follow(store: SharedStore, mut is_done: watch::Receiver<bool>) -> (Vec<i64>, usize) {
    let (mut seen, mut status, mut rev) = (Vec::new(), BTreeMap::new(), 0);
    let mut changed = store.changes();
    loop {
        let was_done = *is_done.borrow_and_update();
        let changes = store.changes_since(&Scope::All, rev, 7).await.unwrap();
        for change in &changes.changes {
            seen.push(change.rev);
            status.insert(change.id.clone(), change.status);
        }
        rev = changes.up_to;
        if rev < changes.latest {
            continue;
        }
        if was_done {
            let scored = status
                .into_values()
                .filter(|status| *status == CallStatus::Scored);
            return (seen, scored.count());
        }
        tokio::select! {
            told = changed.changed() => told.unwrap(),
            told = is_done.changed() => told.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_told_once_and_in_order_whichever_replica_makes_it_and_tells_it() {
    const CALLS: usize = 150;
    let Some((database, stores)) = two().await else {
        return;
    };
    let done = watch::Sender::new(false);
    let follow = |store: &SharedStore| tokio::spawn(follow(store.clone(), done.subscribe()));
    let followers = stores.each_ref().map(follow);
    let settled = at_once(&stores, CALLS, |store, replica, number| async move {
        let call = format!("call_{replica}_{number}");
        store
            .accept_event(delivery(
                &format!("wh_{call}"),
                Ok(parsed(&call, "rep", "agency")),
            ))
            .await
            .unwrap();
        let claimed = store
            .claim_due(ClaimFilter::All, NOW, 1, LEASE)
            .await
            .unwrap()
            .remove(0);
        // Whichever of them it is: its call is told by its webhook id.
        let call = claimed
            .lease
            .webhook_id
            .strip_prefix("wh_")
            .unwrap()
            .to_owned();
        store
            .settle(claimed.lease, detail(&call, "rep", 80.0), NOW)
            .await
            .unwrap()
    })
    .await;
    assert!(settled.iter().all(|settled| *settled == SettleResult::Yes));
    done.send_replace(true);
    for follower in followers {
        let (seen, scored) = follower.await.unwrap();
        assert_eq!(scored, 2 * CALLS);
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    }
    let revs = database.sql("SELECT count(DISTINCT rev) = count(*), count(*) FROM calls");
    assert_eq!(revs, format!("t|{}", 2 * CALLS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_one_replica_has_accepted_is_there_for_readers_of_the_other() {
    let Some((_database, [one, other])) = two().await else {
        return;
    };
    for number in 0..20 {
        let call = format!("call_{number}");
        one.accept_event(delivery(
            &format!("wh_{number}"),
            Ok(parsed(&call, "rep", "agency")),
        ))
        .await
        .unwrap();
        let found = other.find_call(&Scope::All, &call).await.unwrap();
        assert_eq!(
            found.map(|call| call.row.status),
            Some(CallStatus::Processing)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_that_ended_has_accepted_gets_its_row_from_another() {
    let Some((database, [one, other])) = two().await else {
        return;
    };
    one.accept_event(delivery("wh_1", Ok(parsed("call_1", "rep", "agency"))))
        .await
        .unwrap();
    one.close().await;
    database.sql("DELETE FROM calls");
    // Later ones of another replica have theirs.
    other
        .accept_event(delivery("wh_2", Ok(parsed("call_2", "rep", "agency"))))
        .await
        .unwrap();
    other
        .find_call(&Scope::All, "call_2")
        .await
        .unwrap()
        .unwrap();
    let left: Vec<_> = other.find_unopened().await.unwrap();
    assert_eq!(left.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_server_ends_cost_no_write_and_one_read_each() {
    let Some((database, [store, _])) = two().await else {
        return;
    };
    store.check().await.unwrap();
    for number in 0..5 {
        database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'athos-backend'",
        );
        let event = delivery(&format!("wh_{number}"), Ok(parsed("call", "rep", "agency")));
        assert_eq!(store.accept_event(event).await.unwrap(), Accepted::New);
        let _ = store.queue_depth().await;
        store.queue_depth().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_want_a_duty_at_once_one_gets_it() {
    let Some((_database, stores)) = two().await else {
        return;
    };
    for round in 0..5 {
        let now = after(100 * round);
        let taken = at_once(&stores, 20, |store, replica, number| async move {
            let id = format!("{replica}_{number}");
            store.take_lead(Duty::Retention, &id, now).await.unwrap()
        })
        .await;
        let terms: Vec<_> = taken.into_iter().flatten().collect();
        assert_eq!(terms.len(), 1, "{terms:?}");
        assert_eq!(terms[0].number, 1 + i64::try_from(round).unwrap());
    }
}

/// Everything that is committed in a term comes before all that is committed in the next one, however they are mixed.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_of_a_term_comes_after_one_of_the_next() {
    let Some((database, [one, other])) = two().await else {
        return;
    };
    database.sql(
        "CREATE TABLE written (at BIGSERIAL, term BIGINT);
         CREATE FUNCTION note_term() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO written (term) SELECT term FROM leaders WHERE duty = 'reconcile_roleplay'; RETURN NEW;
         END $$;
         CREATE TRIGGER note BEFORE INSERT ON reconcile_runs FOR EACH ROW EXECUTE FUNCTION note_term();",
    );
    let duty = Duty::ReconcileRoleplay;
    for round in 0..10 {
        let (old, new) = match round % 2 {
            0 => (&one, &other),
            _ => (&other, &one),
        };
        let (now, later) = (after(200 * round), after(200 * round + 100));
        let term = old.take_lead(duty, "old", now).await.unwrap().unwrap();
        let number = term.number;
        let led = old.led_by(term);
        let writing = tokio::spawn(async move {
            let mut written = 0;
            loop {
                match led.begin_run(leaders::run(now)).await {
                    Ok(_) => written += 1,
                    Err(StoreError::NotLeader) => return written,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let next = new.take_lead(duty, "new", later).await.unwrap().unwrap();
        assert_eq!(next.number, number + 1);
        let written: u32 = writing.await.unwrap();
        let of_this = database.sql(&format!(
            "SELECT count(*) FROM written WHERE term = {number}"
        ));
        assert_eq!(of_this, written.to_string());
        let of_next = format!("SELECT count(*) FROM written WHERE term = {}", number + 1);
        assert_eq!(database.sql(&of_next), "0");
        new.resign("new", None).await.unwrap();
    }
}

/// Two replicas that are stepped.
fn replicas(stores: &[SharedStore; 2], clock: &ManualClock) -> [Replica; 2] {
    stores
        .each_ref()
        .map(|store| Replica::new(store, &clock.clock(), "0123abcd".to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hangs_is_replaced_and_finds_out_when_it_goes_on() {
    let Some((_database, stores)) = two().await else {
        return;
    };
    let clock = ManualClock::starting_at(NOW);
    let [one, other] = replicas(&stores, &clock);
    let mut lead = pin!(one.lead(Duty::Retention));
    let mut next = pin!(other.lead(Duty::Retention));
    assert!(poll_once(lead.as_mut()).is_none());
    assert!(poll_once(next.as_mut()).is_none());
    one.beat().await.unwrap();
    let mut lead = poll_once(lead).expect("nobody else leads");
    other.beat().await.unwrap();
    assert!(poll_once(next.as_mut()).is_none(), "the first leads");
    // While the first says that it lives, the other waits.
    clock.advance(TERM_LASTS / 2);
    one.beat().await.unwrap();
    clock.advance(TERM_LASTS / 2);
    other.beat().await.unwrap();
    assert!(poll_once(next.as_mut()).is_none(), "the term was renewed");
    // It hangs.
    clock.advance(TERM_LASTS);
    other.beat().await.unwrap();
    let next = poll_once(next).expect("the term has expired");
    next.store.purge_records(NOW).await.unwrap();
    let late = lead.store.purge_records(NOW).await;
    assert!(matches!(late, Err(StoreError::NotLeader)), "{late:?}");
    let seen = other.seen().await.unwrap();
    assert_eq!(seen.leaders[0].replica.as_deref(), Some(other.id()));
    assert_eq!(seen.replicas.len(), 2);
    assert_eq!(
        seen.replicas
            .iter()
            .filter(|row| row.is_alive(seen.now))
            .count(),
        1
    );
    // It goes on, and is told.
    one.beat().await.unwrap();
    poll_once(pin!(lead.wait(Duration::from_secs(3600)))).expect("it leads no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_leaves_its_duties_to_others_at_once() {
    let Some((_database, stores)) = two().await else {
        return;
    };
    let clock = ManualClock::starting_at(NOW);
    let [one, other] = replicas(&stores, &clock).map(std::sync::Arc::new);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(one.clone().run(shutdown.clone()));
    one.lead(Duty::ReconcileRealCall).await;
    shutdown.cancel();
    running.await.unwrap();
    let leading = tokio::spawn(async move {
        let mut lead = pin!(other.lead(Duty::ReconcileRealCall));
        assert!(poll_once(lead.as_mut()).is_none());
        other.beat().await.unwrap();
        poll_once(lead).expect("the duty was given up");
        other.seen().await.unwrap().replicas.len()
    });
    assert_eq!(leading.await.unwrap(), 1, "the first is gone");
}

/// The server's clock is set: the store asks for it by a name that this database has a function of its own for.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_clock_is_wrong_leads_nothing_until_it_is_right() {
    let Some(database) = cluster::Database::new() else {
        return;
    };
    let set = |seconds: i64| {
        database.sql(&format!(
            "CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS \
             $$ SELECT pg_catalog.clock_timestamp() + interval '{seconds} s' $$"
        ));
    };
    set(0);
    database.sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$");
    let store = store::open(&database.url()).await.unwrap();
    let clock = ManualClock::starting_at(NOW);
    let replica = Replica::new(&store, &clock.clock(), "0123abcd".to_owned());
    let mut leading = Box::pin(replica.lead(Duty::Retention));
    assert!(poll_once(leading.as_mut()).is_none());
    replica.beat().await.unwrap();
    let lead = poll_once(leading.as_mut()).expect("nobody else leads");
    lead.store.purge_records(NOW).await.unwrap();

    set(60);
    replica.beat().await.unwrap();
    let difference = replica.clock_difference().unwrap();
    assert!(difference.is_too_large());
    assert!(
        (-61_000..=-59_000).contains(&difference.millis),
        "{difference}"
    );
    let late = lead.store.purge_records(NOW).await;
    assert!(matches!(late, Err(StoreError::NotLeader)), "{late:?}");
    let seen = replica.seen().await.unwrap();
    assert_eq!(seen.leaders[0].replica, None);
    assert_eq!(seen.replicas[0].clock_difference, Some(difference));

    set(0);
    replica.beat().await.unwrap();
    assert!(!replica.clock_difference().unwrap().is_too_large());
    replica
        .lead(Duty::Retention)
        .await
        .store
        .purge_records(NOW)
        .await
        .unwrap();
}

/// What the future has come to, if it waits for nothing any more.
fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    match future.poll(&mut context) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
