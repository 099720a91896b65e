//! What readers are shown: their own scope, every call once over all pages, and progress that adds up.

use athos_backend::model::Scope;
use athos_backend::store::{ProgressFilter, Settlement, SharedStore};

use crate::{after, all_calls, delivery, detail, id, parsed, settle};

pub(crate) async fn readers_see_their_scope(store: &SharedStore) {
    let dead = Settlement::Dead {
        reason: "Athos does not know it".to_owned(),
        failure: None,
    };
    settle(store, "wh_8", parsed("call_3", "rep_3", "agency_2"), dead).await;
    assert_eq!(store.queue_depth().await.unwrap().dead, 1);
    let scopes = [
        (Scope::All, vec!["call_1", "call_2", "call_3"]),
        (Scope::Rep(id("rep_1")), vec!["call_1"]),
        (Scope::Rep(id("agency_1")), vec![]),
        (Scope::Agency(id("agency_1")), vec!["call_1", "call_2"]),
        (Scope::Agency(id("agency_2")), vec!["call_3"]),
    ];
    for (scope, visible) in scopes {
        let mut listed = all_calls(store, scope.clone(), 50).await;
        listed.sort();
        assert_eq!(listed, visible, "{scope:?}");
        let found = store.changes_since(&scope, 0, 50).await.unwrap();
        assert_eq!(found.up_to, store.latest_rev().await.unwrap());
        let changes = found.changes;
        assert!(changes.is_sorted_by_key(|change| change.rev));
        let mut changed: Vec<_> = changes.into_iter().map(|change| change.id).collect();
        changed.sort();
        assert_eq!(changed, visible, "{scope:?}");
        for call in ["call_1", "call_2", "call_3"] {
            let found = store.find_call(&scope, call).await.unwrap();
            assert_eq!(found.is_some(), visible.contains(&call), "{scope:?} {call}");
        }
    }
    let latest = store.latest_rev().await.unwrap();
    assert!(
        store
            .changes_since(&Scope::All, latest, 50)
            .await
            .unwrap()
            .changes
            .is_empty()
    );
}

pub(crate) async fn pages_hold_every_call_once(store: &SharedStore) {
    // All at the same moment: only the tie-break orders them.
    for n in 0..25 {
        let event = delivery(
            &format!("wh_page_{n}"),
            Ok(parsed(&format!("page_{n}"), "rep_p", "a")),
        );
        store.accept_event(event).await.unwrap();
    }
    let scope = Scope::Rep(id("rep_p"));
    let whole = all_calls(store, scope.clone(), 100).await;
    assert_eq!(whole.len(), 25);
    for limit in [1, 7, 24, 25, 26] {
        assert_eq!(
            all_calls(store, scope.clone(), limit).await,
            whole,
            "{limit}"
        );
    }
}

pub(crate) async fn progress_adds_up_within_the_scope(store: &SharedStore) {
    for (number, score) in [60.0, 90.0, 75.0].into_iter().enumerate() {
        let call = format!("call_progress_{number}");
        let Settlement::Scored(mut detail) = detail(&call, "rep_9", score) else {
            unreachable!("a detail is a score")
        };
        detail.header.ended_at = Some(after(1000 + 60 * number as u64));
        detail.has_recording = number == 0;
        let event = parsed(&call, "rep_9", "agency_9");
        let webhook = format!("wh_progress_{number}");
        settle(store, &webhook, event, Settlement::Scored(detail)).await;
        let kept = store.find_call(&Scope::All, &call).await.unwrap().unwrap();
        assert_eq!(kept.has_recording, number == 0);
    }
    let progress = async |scope: Scope, rep: Option<&str>, from, points| {
        let filter = ProgressFilter {
            scope,
            from,
            to: None,
            rep: rep.map(str::to_owned),
            agency: None,
            source: "roleplay".to_owned(),
        };
        store.progress(&filter, 10, points).await.unwrap()
    };
    let own = progress(Scope::Rep(id("rep_9")), None, None, 2).await;
    let [drill] = &own[..] else {
        panic!("one rep at one drill, not {own:?}")
    };
    assert_eq!(drill.rep.as_deref(), Some("rep_9"));
    assert_eq!(drill.drill_key.as_deref(), Some("ma-full-sale"));
    assert_eq!(
        (drill.count, drill.mean, drill.best),
        (3, Some(75.0), Some(90.0))
    );
    let points: Vec<_> = drill.points.iter().map(|point| point.score).collect();
    assert_eq!(points, [90.0, 75.0], "the latest two, oldest first");

    let late = progress(Scope::Rep(id("rep_9")), None, Some(after(1120)), 10).await;
    assert_eq!(late[0].count, 1);
    assert_eq!(
        progress(Scope::Agency(id("agency_9")), None, None, 2).await,
        own
    );
    for (scope, rep) in [
        (Scope::Rep(id("rep_1")), Some("rep_9")),
        (Scope::Agency(id("agency_1")), Some("rep_9")),
        (Scope::Agency(id("agency_2")), None),
    ] {
        let seen = progress(scope.clone(), rep, None, 2).await;
        assert!(seen.is_empty(), "{scope:?} {rep:?}");
    }
    let all = progress(Scope::All, None, None, 1).await;
    assert_eq!(all[0].rep.as_deref(), Some("rep_9"), "the latest practised");
    assert!(all.len() > 1);
}
