//! What several replicas do to one database on a server at the same time, each with a store of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use athos_backend::model::{CallStatus, Scope};
use athos_backend::store::{self, Accepted, ClaimFilter, ServerOptions, SettleResult, SharedStore};
use tokio::sync::watch;

use super::{LEASE, NOW, cluster, delivery, detail, parsed};

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

/// Two replicas on a database of their own.
async fn two() -> Option<(cluster::Database, [SharedStore; 2])> {
    let database = cluster::Database::new()?;
    let url = database.url();
    let options = ServerOptions {
        poll: Some(Duration::from_secs(1)),
        ..ServerOptions::default()
    };
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
