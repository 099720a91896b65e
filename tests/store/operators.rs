//! What operators see of events, and their replays.

use athos_backend::model::{EventState, PlatformId};
use athos_backend::store::{
    Actor, ClaimFilter, EventFilter, EventVerdict, Failure, NewEvent, Origin, Replay, SettleResult,
    Settlement, SharedStore,
};
use athos_backend::worker::replay::replay_next;

use crate::{LEASE, after, clear_inbox, delivery, parsed};

pub(crate) async fn operators_see_events_and_replay_them(store: &SharedStore) {
    clear_inbox(store).await;
    let late = |webhook: &str, parsed| NewEvent {
        received_at: after(3000),
        ..delivery(webhook, parsed)
    };
    let known = late("wh_seen", Ok(parsed("call_seen", "rep_1", "agency_1")));
    store.accept_event(known).await.unwrap();
    let unknown = late("wh_unknown", Err("not JSON".to_owned()));
    store.accept_event(unknown).await.unwrap();
    let here = EventFilter {
        from: Some(after(3000)),
        ..EventFilter::default()
    };
    let newest = store.list_events(&here, 1, None).await.unwrap();
    assert_eq!(newest.rows[0].webhook_id, "wh_unknown");
    assert_eq!(newest.rows[0].verdict, EventVerdict::Ignored);
    let rest = store.list_events(&here, 1, newest.next).await.unwrap();
    assert_eq!(
        (rest.rows[0].webhook_id.as_str(), rest.next),
        ("wh_seen", None)
    );
    let reconciled = EventFilter {
        origin: Some(Origin::Reconcile),
        call: Some("call_lost".to_owned()),
        ..EventFilter::default()
    };
    let reconciled = store.list_events(&reconciled, 10, None).await.unwrap();
    assert_eq!(reconciled.rows.len(), 2);

    // Each attempt is written with the state it led to, and not at all without a lease.
    let id = rest.rows[0].id;
    let failed = store
        .claim_due(ClaimFilter::All, after(3000), 1, LEASE)
        .await
        .unwrap()
        .remove(0);
    let give_up = || Settlement::Dead {
        reason: "no use".to_owned(),
        failure: Some(Failure {
            status: Some(404),
            code: "CALL_NOT_FOUND".to_owned(),
            athos_request_id: Some("req_1".to_owned()),
        }),
    };
    // One that waits is not replayed.
    let one = Replay::One(id);
    let would = async |replay| {
        let would = store.count_replayable(replay, 10).await.unwrap();
        assert_eq!(would.count, would.first.len() as u64);
        would.first
    };
    assert_eq!(would(one).await, [0_i64; 0]);
    let none = replay_next(&**store, one, 0, Actor::Command, after(3001));
    let none = none.await.unwrap();
    assert_eq!((none.ids.len(), none.next), (0, None));
    for expected in [SettleResult::Yes, SettleResult::LeaseLost] {
        let settled = store
            .settle(failed.lease.clone(), give_up(), after(3002))
            .await
            .unwrap();
        assert_eq!(settled, expected);
    }
    let range = Replay::Range {
        state: EventState::Dead,
        since: Some(after(3000)),
        until: Some(after(3000)),
    };
    assert_eq!(would(range).await, [id]);
    let admin = Actor::User(PlatformId::new("an_admin").unwrap());
    let behind = replay_next(&**store, range, id, admin.clone(), after(3003)).await;
    assert_eq!(behind.unwrap().ids, [0_i64; 0]);
    let replayed = replay_next(&**store, range, 0, admin, after(3003));
    let replayed = replayed.await.unwrap();
    assert_eq!((&replayed.ids[..], replayed.next), (&[id][..], None));
    assert_eq!(would(range).await, [0_i64; 0]);
    let event = store.find_event(id).await.unwrap().unwrap();
    assert_eq!(
        (event.row.state, event.row.attempts),
        (EventState::Pending, 0)
    );
    assert_eq!(event.row.next_attempt_at, Some(after(3003)));
    assert_eq!(event.secret_fingerprint.as_deref(), Some("0123abcd"));
    let [attempt] = &event.history[..] else {
        panic!("{event:?}");
    };
    assert_eq!((attempt.number, attempt.outcome.as_str()), (1, "dead"));
    assert_eq!((attempt.status, attempt.at), (Some(404), after(3002)));
    assert_eq!(attempt.athos_request_id.as_deref(), Some("req_1"));
    let [act] = &event.acts[..] else {
        panic!("{event:?}");
    };
    assert_eq!(
        (act.caller.as_str(), act.who.as_deref()),
        ("user", Some("an_admin"))
    );
    assert_eq!(
        (act.was_state.as_deref(), act.was_reason.as_deref()),
        (Some("dead"), Some("no use"))
    );
    let call = event.call.unwrap();
    assert_eq!((call.row.id.as_str(), call.reason), ("call_seen", None));
    assert!(event.siblings.is_empty());
    let another = late("wh_another", Ok(parsed("call_seen", "rep_1", "agency_1")));
    store.accept_event(another).await.unwrap();
    let event = store.find_event(id).await.unwrap().unwrap();
    let [sibling] = &event.siblings[..] else {
        panic!("{event:?}");
    };
    assert_eq!(sibling.webhook_id, "wh_another");
    assert!(store.find_event(i64::MAX).await.unwrap().is_none());
}
