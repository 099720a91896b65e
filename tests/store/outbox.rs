//! Messages about calls wait for each endpoint until it has taken them, and can be sent again by hand.

use athos_backend::model::MessageKind;
use athos_backend::store::{
    Act, Actor, CallsToForward, ClaimFilter, DeliveryFilter, DeliveryReplay, DeliveryState,
    MessageSettled, NewEndpoint, SendOutcome, SharedStore,
};

use crate::{LEASE, after, delivery, detail, parsed};

fn endpoint(kinds: &[MessageKind]) -> NewEndpoint {
    NewEndpoint {
        url: "https://example.test/hook".to_owned(),
        kinds: kinds.to_vec(),
    }
}

pub(crate) async fn messages_wait_until_they_are_taken(store: &SharedStore) {
    let now = after(9000);
    let scored = endpoint(&[MessageKind::CallScored, MessageKind::CallUpdated]);
    let endpoints = store.register_endpoints(vec![scored], now).await.unwrap();
    let [hook] = endpoints[..] else {
        panic!("{endpoints:?}");
    };
    let event = delivery(
        "wh_told",
        Ok(parsed("call_told", "rep_told", "agency_told")),
    );
    store.accept_event(event).await.unwrap();
    let claimed = store
        .claim_due(ClaimFilter::All, now, 10, LEASE)
        .await
        .unwrap();
    for event in claimed {
        let score = detail("call_told", "rep_told", 71.0);
        store.settle(event.lease, score, now).await.unwrap();
    }
    assert!(store.messages_due(hook, now).await.unwrap().any);
    let until = after(9060);
    let [told] = &store.claim_messages(hook, now, 5, until).await.unwrap()[..] else {
        panic!("not one message");
    };
    let failed = SendOutcome::NotDelivered {
        retry_at: Some(after(9010)),
        status: Some(500),
        reason: "it says 500".to_owned(),
    };
    let settled = store.settle_message(told.lease.clone(), failed, now).await;
    assert!(matches!(settled.unwrap(), MessageSettled::Yes { .. }));
    assert!(!store.messages_due(hook, now).await.unwrap().any);
    let now = after(9010);
    let claimed = store
        .claim_messages(hook, now, 5, after(9070))
        .await
        .unwrap();
    let taken = SendOutcome::Delivered {
        status: 200,
        resumes: true,
    };
    let settled = store
        .settle_message(claimed[0].lease.clone(), taken, now)
        .await;
    assert!(matches!(settled.unwrap(), MessageSettled::Yes { .. }));

    let delivered = DeliveryFilter {
        state: Some(DeliveryState::Delivered),
        ..DeliveryFilter::default()
    };
    let [row] = &store
        .list_deliveries(&delivered, 10, None)
        .await
        .unwrap()
        .rows[..]
    else {
        panic!("not one delivery");
    };
    assert_eq!(
        (row.call_id.as_deref(), row.attempts),
        (Some("call_told"), 2)
    );
    let again = DeliveryReplay::One(row.id);
    let counted = store.count_replayable_deliveries(&again, 10, now).await;
    assert_eq!(counted.unwrap().first, [row.id]);
    let by = || Actor::Service("ops".to_owned());
    let replayed = store.replay_deliveries(&again, 0, by(), now).await.unwrap();
    assert_eq!(replayed.ids, [row.id]);
    let found = store.find_delivery(row.id).await.unwrap().unwrap();
    assert_eq!(
        (found.row.state, found.acts.len()),
        (DeliveryState::Waiting, 1)
    );
    let claimed = store
        .claim_messages(hook, now, 5, after(9070))
        .await
        .unwrap();
    let put_back = store
        .settle_message(claimed[0].lease.clone(), SendOutcome::NotTried, now)
        .await;
    assert!(matches!(put_back.unwrap(), MessageSettled::Yes { .. }));

    let all = CallsToForward {
        from: after(0),
        to: after(9000),
        endpoint: Some(hook),
    };
    let untold = store.find_untold(&all, None).await.unwrap();
    assert!(untold.messages > 0);
    let written = store.forward_calls(&all, untold.calls, now).await.unwrap();
    assert_eq!(written, untold.messages);
    let act = Act {
        at: now,
        actor: by(),
        act: "forward",
        subject: "calls".to_owned(),
        result: None,
    };
    store.record_act(act).await.unwrap();
    store
        .disable_endpoint(hook, "it says 410", now)
        .await
        .unwrap();
    let hook = &store.endpoints().await.unwrap()[0];
    assert!(hook.disabled.is_some() && hook.waiting > 0);
}
