//! The change feed: every call once, in the order of its last change, and what was erased.

use std::collections::{BTreeMap, BTreeSet};

use athos_backend::model::{CallEvent, Identity, RepId, Scope};
use athos_backend::store::{Accepted, Actor, FeedChange, SharedStore};

use crate::{after, clear_waiting, delivery, id, parsed};

/// The whole feed after `rev`, read in small steps.
async fn feed(store: &SharedStore, scope: &Scope, mut rev: i64) -> Vec<FeedChange> {
    let mut all = Vec::new();
    loop {
        let page = store.read_feed(scope, rev, 2).await.unwrap();
        assert!(page.changes.len() <= 2 && page.up_to >= rev);
        let revs = page.changes.iter().map(FeedChange::rev);
        assert!(revs.clone().is_sorted_by(|a, b| a < b), "{page:?}");
        assert!(revs.clone().all(|one| one > rev && one <= page.up_to));
        let is_end = page.changes.is_empty() && page.up_to >= page.latest;
        rev = page.up_to;
        all.extend(page.changes);
        if is_end {
            return all;
        }
    }
}

pub(crate) async fn a_copy_is_kept_in_step(store: &SharedStore) {
    clear_waiting(store, after(8500)).await;
    let begun = store.latest_rev().await.unwrap();
    let of = |call: &str, rep: &str| CallEvent {
        identity: Identity {
            rep: Some(rep.to_owned()),
            ..Identity::default()
        },
        ..parsed(call, "", "")
    };
    for (call, rep) in [
        ("feed_1", "rep_feed"),
        ("feed_2", "rep_other_feed"),
        ("feed_3", "rep_feed"),
        ("feed_4", "rep_other_feed"),
        ("feed_5", "rep_feed"),
    ] {
        let event = delivery(&format!("wh_{call}"), Ok(of(call, rep)));
        assert_eq!(store.accept_event(event).await.unwrap(), Accepted::New);
    }
    let mut copy = BTreeMap::new();
    let first = feed(store, &Scope::All, begun).await;
    let mut read = begun;
    for change in &first {
        let FeedChange::Call { rev, row } = change else {
            panic!("nothing was erased since: {change:?}");
        };
        copy.insert(row.id.clone(), *rev);
        read = *rev;
    }
    assert!(copy.contains_key("feed_2"), "a feed misses no change");
    assert_eq!(copy.len(), first.len(), "each call is there once");
    let whole = feed(store, &Scope::All, 0).await;
    assert!(whole.ends_with(&first), "it goes on where it was read to");

    let rep = RepId::Ours(id("rep_feed"));
    store
        .erase(&rep, Actor::Command, after(8600))
        .await
        .unwrap();
    let erased = feed(store, &Scope::All, read).await;
    let ids: BTreeSet<_> = erased
        .iter()
        .map(|change| match change {
            FeedChange::Erased { id, .. } => id.as_str(),
            FeedChange::Call { .. } => panic!("no call has changed: {change:?}"),
        })
        .collect();
    assert_eq!(ids, BTreeSet::from(["feed_1", "feed_3", "feed_5"]));
    assert_eq!(erased.len(), 3, "each is told once");
    // What comes next is newer than what was erased.
    let event = delivery("wh_feed_6", Ok(of("feed_6", "rep_other_feed")));
    assert_eq!(store.accept_event(event).await.unwrap(), Accepted::New);
    let last = erased.last().unwrap().rev();
    let next = feed(store, &Scope::All, last).await;
    assert!(matches!(&next[..], [FeedChange::Call { row, .. }] if row.id == "feed_6"));

    // A reader of a scope sees their own calls, and of what was erased nothing: it does not say whose it was.
    for (scope, expected) in [
        (
            Scope::Rep(id("rep_other_feed")),
            &["feed_2", "feed_4", "feed_6"][..],
        ),
        (Scope::Rep(id("rep_feed")), &[]),
        (Scope::Agency(id("agency_of_no_feed")), &[]),
    ] {
        let seen = feed(store, &scope, 0).await;
        let seen: Vec<_> = seen
            .iter()
            .map(|change| match change {
                FeedChange::Call { row, .. } => row.id.as_str(),
                FeedChange::Erased { .. } => panic!("{change:?}"),
            })
            .collect();
        assert_eq!(seen, expected);
    }
    let latest = store.latest_rev().await.unwrap();
    let ahead = store.read_feed(&Scope::All, latest + 7, 10).await.unwrap();
    assert_eq!((ahead.up_to, ahead.latest), (latest + 7, latest));
    assert!(ahead.changes.is_empty());
}
