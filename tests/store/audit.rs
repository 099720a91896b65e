//! The audit log: what the stories before this one did by hand.

use athos_backend::model::RepId;
use athos_backend::store::{Actor, AuditEntry, AuditFilter, SharedStore};

use crate::{after, id};

async fn list(store: &SharedStore, filter: &AuditFilter) -> Vec<AuditEntry> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let page = store.list_audit(filter, 2, from).await.unwrap();
        all.extend(page.rows);
        from = page.next;
        if from.is_none() {
            return all;
        }
    }
}

pub(crate) async fn who_did_what_is_found(store: &SharedStore) {
    let nobody = RepId::Ours(id("rep_nobody"));
    let key = || Actor::Service("ops".to_owned());
    store.erase(&nobody, key(), after(8700)).await.unwrap();
    // A key that is called what a rep is called is not that rep.
    let namesake = RepId::Ours(id("ops"));
    store.erase(&namesake, key(), after(8701)).await.unwrap();
    let by = |who: &str| AuditFilter {
        who: Some(who.to_owned()),
        ..AuditFilter::default()
    };
    let ops = list(store, &by("ops")).await;
    let told: Vec<_> = ops
        .iter()
        .map(|entry| (entry.caller.as_str(), entry.action.as_str(), entry.at))
        .collect();
    assert_eq!(
        told,
        [
            ("service", "delete_rep", after(8701)),
            ("service", "delete_rep", after(8700)),
        ]
    );
    assert!(ops[0].id > ops[1].id && ops[0].subject != ops[1].subject);
    let all = list(store, &AuditFilter::default()).await;
    assert!(all.is_sorted_by(|newer, older| newer.id > older.id));
    let commands = list(store, &by("command")).await;
    assert!(!commands.is_empty());
    assert!(commands.iter().all(|entry| entry.who.is_none()));
    let [replay] = &list(store, &by("an_admin")).await[..] else {
        panic!("{all:?}");
    };
    assert_eq!((&*replay.action, &*replay.caller), ("replay", "user"));
    let filter = AuditFilter {
        action: Some("delete_rep".to_owned()),
        from: Some(after(8700)),
        to: Some(after(8700)),
        ..AuditFilter::default()
    };
    assert_eq!(list(store, &filter).await, ops[1..]);
}
