//! What remembers an event or a call across transactions, when rows go meanwhile: it meets no other row by its number.

use athos_backend::model::{CallStatus, RepId, Scope};
use athos_backend::store::{Accepted, Actor, EventFilter, SettleResult, SharedStore};

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
