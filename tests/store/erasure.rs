//! An erasure: what goes, and what comes late and is kept away.

use athos_backend::model::{CallEvent, Identity, RepId, Scope, Timestamp};
use athos_backend::store::{Accepted, Actor, NewMint, SharedStore};

use crate::{NOW, after, clear_waiting, delivery, id, listed, parsed};

/// A rep is known by both ids, and each call by what it says.
pub(crate) async fn what_is_erased_stays_away(store: &SharedStore) {
    clear_waiting(store, after(9000)).await;
    let owned = |call: &str, rep: Option<&str>, athos_rep: Option<&str>, at: Timestamp| CallEvent {
        identity: Identity {
            rep: rep.map(str::to_owned),
            athos_rep: athos_rep.map(str::to_owned),
            ..Identity::default()
        },
        occurred_at: Some(at),
        ..parsed(call, "", "")
    };
    let theirs = Some("athos_agent_erased");
    let both = || owned("call_both", Some("rep_erased"), theirs, NOW);
    // The last change is of a call that goes: revs grow all the same.
    for (webhook, event) in [
        // Our id decides: the other one was reassigned.
        ("wh_kept", owned("call_kept", Some("rep_kept"), theirs, NOW)),
        ("wh_both", both()),
        ("wh_athos", owned("call_athos", None, theirs, NOW)),
        ("wh_ours", owned("call_ours", Some("rep_erased"), None, NOW)),
    ] {
        let taken = store.accept_event(delivery(webhook, Ok(event))).await;
        assert_eq!(taken.unwrap(), Accepted::New);
    }
    let mint = NewMint {
        id: "mint_erased".to_owned(),
        requested_at: NOW,
        rep: RepId::Ours(id("rep_erased")),
        agency: None,
        caller: "user",
    };
    store.record_mint(mint).await.unwrap();
    let rev = store.latest_rev().await.unwrap();
    let erased_at = after(9000);
    let rep = RepId::Ours(id("rep_erased"));
    let would = store.preview_erasure(&rep, erased_at).await.unwrap();
    let rows = store.erase(&rep, Actor::Command, erased_at).await.unwrap();
    assert_eq!(would, rows);
    assert_eq!((rows.calls, rows.events, rows.mints), (3, 3, 1));
    assert!(store.truncate_wal().await.unwrap());
    assert_eq!(store.resume_erasures().await.unwrap(), 0);
    assert!(store.latest_rev().await.unwrap() >= rev, "revs only grow");
    let kept = store.find_call(&Scope::All, "call_kept").await.unwrap();
    assert_eq!(kept.unwrap().row.rep.as_deref(), Some("rep_kept"));

    let late = [
        both(),
        owned("call_both", None, None, after(9999)),
        owned("call_unheard", Some("rep_erased"), None, erased_at),
        owned("call_unheard", None, theirs, erased_at),
    ];
    for (n, event) in late.into_iter().enumerate() {
        let taken = store
            .accept_event(delivery(&format!("wh_late_{n}"), Ok(event)))
            .await;
        assert_eq!(taken.unwrap(), Accepted::Erased, "{n}");
    }
    let mut relisted = listed("call_ours", after(100));
    relisted.event.parsed = Ok(owned("call_ours", Some("rep_erased"), None, NOW));
    assert_eq!(
        store
            .find_missing_calls(std::slice::from_ref(&relisted))
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.ingest_missing(vec![relisted]).await.unwrap(), []);
    // In one batch, each is told what became of it.
    let new = owned("call_new", Some("rep_erased"), None, after(9001));
    let (stopped, taken) = tokio::join!(
        store.accept_event(delivery("wh_late", Ok(both()))),
        store.accept_event(delivery("wh_new", Ok(new))),
    );
    assert_eq!(
        (stopped.unwrap(), taken.unwrap()),
        (Accepted::Erased, Accepted::New)
    );
}
