//! One leader for each duty: terms are taken, renewed, given up and taken over, and what is written in an earlier one is refused.

use std::time::Duration;

use athos_backend::model::{Source, Timestamp};
use athos_backend::store::{
    ClockDifference, Duty, NewRun, REPLICA_FORGOTTEN_AFTER, ReplicaRow, RunEnd, SharedStore,
    StoreError, StoreResult, TERM_LASTS, Term,
};

use crate::{NOW, after, listed};

const DUTY: Duty = Duty::ReconcileRoleplay;

pub(crate) fn row(id: &str, now: Timestamp) -> ReplicaRow {
    ReplicaRow {
        id: id.to_owned(),
        version: "1.0.0".to_owned(),
        started_at: NOW,
        heartbeat_at: now,
        reloaded_at: NOW,
        credentials: "0123abcd".to_owned(),
        clock_difference: Some(ClockDifference { millis: -7 }),
    }
}

async fn take(store: &SharedStore, replica: &str, now: Timestamp) -> Option<Term> {
    store.take_lead(DUTY, replica, now).await.unwrap()
}

async fn renew(store: &SharedStore, term: &Term, now: Timestamp) -> bool {
    let row = row(&term.replica, now);
    let renewed = store.heartbeat(row, vec![term.clone()]).await.unwrap();
    renewed.contains(term)
}

pub(crate) fn run(now: Timestamp) -> NewRun {
    NewRun {
        source: Source::Roleplay,
        continues: false,
        from: now,
        to: now,
        started_at: now,
    }
}

fn end(now: Timestamp) -> RunEnd {
    RunEnd {
        finished_at: now,
        pages: 0,
        seen: 0,
        repaired: 0,
        error: None,
        until: None,
    }
}

fn is_refused<T>(written: StoreResult<T>) -> bool {
    matches!(written, Err(StoreError::NotLeader))
}

pub(crate) async fn a_duty_has_one_leader_at_a_time(store: &SharedStore) {
    let first = take(store, "a", NOW).await.unwrap();
    assert_eq!((first.number, &*first.replica), (1, "a"));
    assert_eq!(take(store, "b", NOW).await, None);
    let other = store.take_lead(Duty::Retention, "b", NOW).await.unwrap();
    assert_eq!(other.unwrap().number, 1, "of another duty");

    // Renewed, it lasts from then on.
    assert!(renew(store, &first, after(10)).await);
    let until = after(10).plus(TERM_LASTS);
    assert_eq!(
        take(store, "b", until.minus(Duration::from_millis(1))).await,
        None
    );
    let second = take(store, "b", until).await.unwrap();
    assert_eq!((second.number, &*second.replica), (2, "b"));
    // Who was too late learns it from the renewal, and takes nothing from the new one.
    assert!(!renew(store, &first, until).await);
    assert!(renew(store, &second, until).await);

    // One that has expired and that nobody took goes on.
    let later = until.plus(TERM_LASTS * 3);
    assert!(renew(store, &second, later).await);
    assert_eq!(take(store, "a", later).await, None);

    // A replica that stops leaves its duties to others at once, and these only.
    store.resign("a", Some(later)).await.unwrap();
    assert_eq!(take(store, "a", later).await, None);
    store.resign("b", Some(later)).await.unwrap();
    assert!(!renew(store, &second, later).await);
    let third = take(store, "a", later).await.unwrap();
    assert_eq!(third.number, 3);

    let leaders = store.observe().await.unwrap().leaders;
    let [reconcile, retention] = &leaders[..] else {
        panic!("{leaders:?}")
    };
    assert_eq!((reconcile.duty, reconcile.term), (DUTY, 3));
    assert_eq!(reconcile.replica.as_deref(), Some("a"));
    assert_eq!(
        (retention.duty, &retention.replica),
        (Duty::Retention, &None)
    );
    store.resign("a", None).await.unwrap();
}

/// The clock of the leader is an hour ahead, and then it dies.
pub(crate) async fn a_term_of_a_wrong_clock_keeps_nobody_away(store: &SharedStore) {
    let then = after(3600);
    let wrong = take(store, "wrong", then.plus(Duration::from_secs(3600))).await;
    let right = take(store, "right", then).await.unwrap();
    assert_eq!(right.number, wrong.unwrap().number + 1);
    store.resign("right", None).await.unwrap();
}

/// A leader is stopped in the middle of its work, another takes the duty, and the first goes on.
pub(crate) async fn what_an_old_leader_writes_is_refused(store: &SharedStore) {
    let old = take(store, "old", after(5000)).await.unwrap();
    let late = store.led_by(old);
    let run_of_old = late.begin_run(run(after(5000))).await.unwrap();
    let new = take(store, "new", after(5100)).await.unwrap();
    let in_time = store.led_by(new);

    let now = after(5200);
    let call = || vec![listed("call_led", now)];
    assert_eq!(late.find_missing_calls(&call()).await.unwrap().len(), 1);
    assert!(is_refused(late.ingest_missing(call()).await));
    assert!(is_refused(late.begin_run(run(now)).await));
    assert!(is_refused(late.finish_run(run_of_old, end(now)).await));
    assert!(is_refused(late.purge_records(now).await));
    assert!(is_refused(late.purge_messages(now).await));
    assert!(is_refused(late.purge_replicas(now).await));
    assert!(is_refused(late.redact_transcripts(Vec::new(), now).await));
    let latest = store.latest_runs(1).await.unwrap().remove(0);
    assert_eq!((latest.started_at, latest.finished_at), (after(5000), None));
    // A refusal is no fault of the database's, and of nobody else's writes.
    store.check().await.unwrap();

    let recovered = in_time.ingest_missing(call()).await.unwrap();
    assert_eq!(recovered.len(), 1);
    let id = in_time.begin_run(run(now)).await.unwrap();
    in_time.finish_run(id, end(now)).await.unwrap();
    // What one gives up is over, also before another takes it.
    store.resign("new", None).await.unwrap();
    assert!(is_refused(in_time.begin_run(run(now)).await));
    // Whoever leads nothing writes as ever.
    store.begin_run(run(now)).await.unwrap();
    crate::clear_waiting(store, after(5300)).await;
}

pub(crate) async fn replicas_are_listed_while_they_live_and_forgotten_later(store: &SharedStore) {
    let now = after(9000);
    for id in ["b", "a"] {
        store.heartbeat(row(id, now), Vec::new()).await.unwrap();
    }
    assert_eq!(
        store.list_replicas(now).await.unwrap(),
        [row("a", now), row("b", now)]
    );
    // One reloads and goes on, the other hangs.
    let later = now.plus(Duration::from_secs(60));
    let reloaded = ReplicaRow {
        reloaded_at: later,
        credentials: "4567ef01".to_owned(),
        clock_difference: None,
        ..row("a", later)
    };
    store.heartbeat(reloaded.clone(), Vec::new()).await.unwrap();
    let listed = store.list_replicas(later).await.unwrap();
    assert_eq!(listed, [reloaded, row("b", now)]);
    let alive: Vec<_> = listed.iter().map(|row| row.is_alive(later)).collect();
    assert_eq!(alive, [true, false]);
    // One that stops in order is not listed any more, and one that died only for a while.
    store.resign("a", Some(later)).await.unwrap();
    assert_eq!(store.list_replicas(later).await.unwrap(), [row("b", now)]);
    let much_later = later.plus(REPLICA_FORGOTTEN_AFTER);
    assert!(store.list_replicas(much_later).await.unwrap().is_empty());
    assert!(store.purge_replicas(much_later).await.unwrap() >= 1);
}
