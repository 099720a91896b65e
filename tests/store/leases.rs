//! What remembers an event or a call across transactions, when rows go meanwhile: it meets no other row by its number.

use athos_backend::model::{CallEvent, CallStatus, Identity, RepId, Scope};
use athos_backend::store::{Accepted, Actor, EventFilter, SettleResult, Settlement, SharedStore};

use crate::{after, claim, clear_waiting, delivery, detail, id, parsed};

/// An event is being fetched, its rep is erased, another rep's webhook comes in: the attempt returns.
pub(crate) async fn an_attempt_that_outlives_its_event_changes_no_other(store: &SharedStore) {
    clear_waiting(store, after(2000)).await;
    let gone = delivery("wh_left", Ok(parsed("call_left", "rep_left", "agency_1")));
    assert_eq!(store.accept_event(gone).await.unwrap(), Accepted::New);
    let old = claim(store, after(2000)).await.remove(0);
    let rep = RepId::Ours(id("rep_left"));
    store
        .erase(&rep, Actor::Command, after(2000))
        .await
        .unwrap();

    let new = delivery(
        "wh_stays",
        Ok(parsed("call_stays", "rep_stays", "agency_1")),
    );
    assert_eq!(store.accept_event(new).await.unwrap(), Accepted::New);
    let new = claim(store, after(2000)).await.remove(0);
    assert!(new.lease.event_id > old.lease.event_id, "{new:?} {old:?}");
    assert_eq!(new.lease.number, old.lease.number);
    let late = detail("call_left", "rep_left", 10.0);
    let settled = store.settle(old.lease, late, after(2001)).await.unwrap();
    assert_eq!(settled, SettleResult::LeaseLost);
    let good = detail("call_stays", "rep_stays", 90.0);
    let settled = store.settle(new.lease, good, after(2001)).await.unwrap();
    assert_eq!(settled, SettleResult::Yes);
    let call = store.find_call(&Scope::All, "call_stays").await.unwrap();
    assert_eq!(call.unwrap().row.status, CallStatus::Scored);
    let call = store.find_call(&Scope::All, "call_left").await.unwrap();
    assert!(call.is_none());
}

/// Wherever the latest row of all goes, and also on the way that accepts once something was erased.
pub(crate) async fn no_number_is_given_twice(store: &SharedStore) {
    let mut latest = 0;
    for n in 0..4 {
        let rep = format!("rep_once_{n}");
        for part in ["a", "b"] {
            let call = format!("call_once_{n}_{part}");
            let event = delivery(
                &format!("wh_once_{n}_{part}"),
                Ok(parsed(&call, &rep, "agency_1")),
            );
            assert_eq!(store.accept_event(event).await.unwrap(), Accepted::New);
        }
        let everything = EventFilter::default();
        let newest = store.list_events(&everything, 2, None).await.unwrap().rows;
        assert!(newest[1].id > latest, "{newest:?}");
        latest = newest[0].id;
        let rep = RepId::Ours(id(&rep));
        let rows = store
            .erase(&rep, Actor::Command, after(2000))
            .await
            .unwrap();
        assert_eq!((rows.events, rows.calls), (2, 2));
    }
}

/// Settlements that come at once share statements where the engine can do many with one; each has its own effect all the same.
pub(crate) async fn attempts_that_end_at_once_are_settled_each(store: &SharedStore) {
    clear_waiting(store, after(3000)).await;
    let theirs = |rep: Option<&str>| Identity {
        rep: rep.map(str::to_owned),
        athos_rep: Some("athos_agent_at_once".to_owned()),
        ..Identity::default()
    };
    let brought = |call: &str, identity: Identity, score: f64| {
        let Settlement::Scored(mut scored) = detail(call, "", score) else {
            unreachable!();
        };
        scored.header.identity = identity;
        Settlement::Scored(scored)
    };
    let known = |call: &str| CallEvent {
        identity: Identity::default(),
        ..parsed(call, "", "")
    };
    for (webhook, call) in [
        ("wh_at_once_late", "late"),
        ("wh_at_once_a", "call_at_once_a"),
        ("wh_at_once_b", "call_at_once_b"),
        ("wh_at_once_a_again", "call_at_once_a"),
        ("wh_at_once_c", "call_at_once_c"),
    ] {
        // Of one the rep is known from the webhook; its detail does not say.
        let event = match webhook {
            "wh_at_once_c" => parsed(call, "rep_of_webhook", "agency_of_webhook"),
            _ => known(call),
        };
        let taken = store.accept_event(delivery(webhook, Ok(event))).await;
        assert_eq!(taken.unwrap(), Accepted::New);
    }
    let first = claim(store, after(3000)).await;
    let lost = first
        .iter()
        .find(|event| event.lease.webhook_id == "wh_at_once_late");
    let lost = lost.unwrap().lease.clone();
    let again = claim(store, after(3100)).await;
    let lease = |webhook: &str| {
        let claimed = again.iter().find(|event| event.lease.webhook_id == webhook);
        claimed.unwrap().lease.clone()
    };
    // All have their rows by then.
    assert!(
        store
            .find_call(&Scope::All, "late")
            .await
            .unwrap()
            .is_some()
    );
    let before = store.latest_rev().await.unwrap();
    let at = after(3101);
    let settled = tokio::join!(
        store.settle(lost, brought("late", theirs(None), 1.0), at),
        // Only a later one says who it is.
        store.settle(
            lease("wh_at_once_b"),
            brought("call_at_once_b", theirs(None), 20.0),
            at
        ),
        store.settle(
            lease("wh_at_once_a"),
            brought("call_at_once_a", theirs(Some("rep_at_once")), 10.0),
            at
        ),
        store.settle(
            lease("wh_at_once_a_again"),
            brought("call_at_once_a", theirs(None), 11.0),
            at
        ),
        store.settle(
            lease("wh_at_once_c"),
            brought("call_at_once_c", Identity::default(), 30.0),
            at
        ),
    );
    assert_eq!(settled.0.unwrap(), SettleResult::LeaseLost);
    for settled in [settled.1, settled.2, settled.3, settled.4] {
        assert_eq!(settled.unwrap(), SettleResult::Yes);
    }
    for (call, rep, score) in [
        ("call_at_once_a", "rep_at_once", 11.0),
        ("call_at_once_b", "rep_at_once", 20.0),
        ("call_at_once_c", "rep_of_webhook", 30.0),
    ] {
        let found = store.find_call(&Scope::All, call).await.unwrap().unwrap();
        assert_eq!(found.row.status, CallStatus::Scored, "{call}");
        assert_eq!(found.row.rep.as_deref(), Some(rep), "{call}");
        assert_eq!(found.row.overall_score, Some(score), "{call}");
        let raw = found.raw.unwrap();
        assert!(raw.contains(&format!("\"id\":\"{call}\"")), "{raw}");
    }
    let late = store.find_call(&Scope::All, "late").await.unwrap();
    assert_eq!(late.unwrap().row.status, CallStatus::Processing);
    let changes = store.changes_since(&Scope::All, before, 100).await.unwrap();
    let mut changed: Vec<_> = changes.changes.iter().map(|change| &*change.id).collect();
    assert!(changes.changes.is_sorted_by(|one, next| one.rev < next.rev));
    changed.sort_unstable();
    assert_eq!(
        changed,
        ["call_at_once_a", "call_at_once_b", "call_at_once_c"]
    );
}
