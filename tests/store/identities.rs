//! Ids of both families meet in the same rows, whichever came first, and no call goes from one rep to another.

use athos_api::contract::Generation;
use athos_backend::model::LearnedContract;
use athos_backend::model::{AgentId, CallEvent, Identity, RepId, Scope};
use athos_backend::store::{
    Actor, IdentityKind, LinkedIds, MintOutcome, NewMint, ProgressFilter, Settlement, SharedStore,
};

use crate::{NOW, after, all_calls, delivery, detail, id, list_by, parsed, settle, unscored};

const AGENT: &str = "athos_agent_1";
const AGENCY: &str = "athos_agency_1";

/// What a roster says of a call: ids of Athos's, and ours where it has them.
fn by(athos_rep: &str, rep: Option<&str>, agency: Option<&str>) -> Identity {
    Identity {
        rep: rep.map(str::to_owned),
        agency: agency.map(str::to_owned),
        athos_rep: Some(athos_rep.to_owned()),
        athos_agency: Some(AGENCY.to_owned()),
    }
}

fn said_by(call: &str, identity: Identity) -> CallEvent {
    CallEvent {
        identity,
        ..parsed(call, "", "")
    }
}

fn scored(call: &str, identity: Identity) -> Settlement {
    let Settlement::Scored(mut scored) = detail(call, "", 80.0) else {
        unreachable!();
    };
    scored.header.identity = identity;
    Settlement::Scored(scored)
}

fn pairing(athos_id: &str, our_id: &str, on_record: bool) -> LinkedIds {
    LinkedIds {
        kind: IdentityKind::Rep,
        athos_id: athos_id.to_owned(),
        our_id: our_id.to_owned(),
        on_record,
    }
}

fn rep_scope(rep: &str) -> Scope {
    Scope::Rep(id(rep))
}

async fn sees(store: &SharedStore, scope: Scope) -> Vec<String> {
    let mut ids = all_calls(store, scope, 10).await;
    ids.sort();
    ids
}

async fn mint(store: &SharedStore, name: &str, rep: RepId) {
    let mint = NewMint {
        id: name.to_owned(),
        requested_at: NOW,
        rep,
        agency: None,
        caller: "service",
    };
    store.record_mint(mint).await.unwrap();
    let outcome = MintOutcome {
        outcome: "minted".to_owned(),
        answered_at: NOW,
        expires_at: Some(after(300)),
        athos_request_id: None,
    };
    let outcomes = vec![(name.to_owned(), outcome)];
    store.finish_mints(outcomes).await.unwrap();
}

async fn lacking(store: &SharedStore) -> u64 {
    store.mints_without_call(NOW, NOW).await.unwrap()
}

pub(crate) async fn ids_of_both_families_meet(store: &SharedStore) {
    let before = lacking(store).await;
    // Of a rep by Athos's id alone, before anybody has told ours.
    let nameless = || by(AGENT, None, None);
    let event = said_by("meet_1", nameless());
    settle(store, "wh_meet_1", event, scored("meet_1", nameless())).await;
    let failed = CallEvent {
        identity: nameless(),
        ..unscored("meet_2", "", "")
    };
    let unscored = Settlement::Unscored(Box::new(failed.clone()));
    settle(store, "wh_meet_2", failed, unscored).await;
    for scope in [rep_scope("meeting"), Scope::Agency(id("meeting_place"))] {
        assert!(sees(store, scope).await.is_empty());
    }
    let row = store
        .find_call(&Scope::All, "meet_1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.row.rep.as_deref(), Some(AGENT), "the id there is");
    assert_eq!(row.row.agency.as_deref(), Some(AGENCY));
    assert_eq!(list_by(store, Some(AGENT), None).await.len(), 2);
    assert_eq!(list_by(store, None, Some(AGENCY)).await.len(), 2);

    // Their mint, named the same way, has these calls to show.
    mint(
        store,
        "mint_meet",
        RepId::Athos(AgentId::new(AGENT).unwrap()),
    )
    .await;
    assert_eq!(lacking(store).await, before);

    // A call says both: what lacked ours has it, and whoever watches is told.
    let rev = store.latest_rev().await.unwrap();
    let both = || by(AGENT, Some("meeting"), Some("meeting_place"));
    settle(
        store,
        "wh_meet_3",
        said_by("meet_3", both()),
        scored("meet_3", both()),
    )
    .await;
    let all = ["meet_1", "meet_2", "meet_3"];
    assert_eq!(sees(store, rep_scope("meeting")).await, all);
    assert_eq!(sees(store, Scope::Agency(id("meeting_place"))).await, all);
    let changes = store
        .changes_since(&rep_scope("meeting"), rev, 10)
        .await
        .unwrap();
    let mut changed: Vec<_> = changes.changes.iter().map(|change| &*change.id).collect();
    changed.sort_unstable();
    assert_eq!(changed, all);
    let mut revs: Vec<_> = changes.changes.iter().map(|change| change.rev).collect();
    revs.dedup();
    assert_eq!(revs.len(), all.len(), "each change has a number of its own");
    assert_eq!(lacking(store).await, before);

    // From now on a call without ours is known from the first moment, also to filters of either family.
    let event = delivery("wh_meet_4", Ok(said_by("meet_4", nameless())));
    store.accept_event(event).await.unwrap();
    let found = store
        .find_call(&rep_scope("meeting"), "meet_4")
        .await
        .unwrap();
    assert!(found.is_some());
    for (rep, agency) in [
        (Some("meeting"), None),
        (Some(AGENT), None),
        (None, Some("meeting_place")),
        (None, Some(AGENCY)),
        (Some(AGENT), Some("meeting_place")),
    ] {
        assert_eq!(
            list_by(store, rep, agency).await.len(),
            4,
            "{rep:?} {agency:?}"
        );
    }
    let claimed = crate::claim(store, after(200)).await.remove(0);
    let settled = store
        .settle(claimed.lease, scored("meet_4", nameless()), after(200))
        .await;
    settled.unwrap();

    nothing_changes_hands(store).await;
    an_erased_rep_is_no_pairing_either(store).await;
    what_the_roster_says_counts_for_more(store).await;
    the_contract_is_remembered(store).await;
}

async fn nothing_changes_hands(store: &SharedStore) {
    // Whatever later events say: a call that has a rep keeps that one, and so does Athos's id.
    let other = || by(AGENT, Some("thief"), Some("den"));
    let event = said_by("meet_1", other());
    let answer = scored("meet_1", by(AGENT, None, None));
    settle(store, "wh_meet_5", event, answer).await;
    let failed = CallEvent {
        identity: other(),
        ..unscored("meet_2", "", "")
    };
    let unscored = Settlement::Unscored(Box::new(failed.clone()));
    settle(store, "wh_meet_6", failed, unscored).await;
    // Nor while the call still waits for its detail.
    let first = said_by("meet_7", by(AGENT, Some("meeting"), Some("meeting_place")));
    let first = delivery("wh_meet_11", Ok(first));
    store.accept_event(first).await.unwrap();
    let waiting = crate::claim(store, after(200)).await.remove(0);
    let failed = CallEvent {
        identity: other(),
        ..crate::unscored("meet_7", "", "")
    };
    let unscored = Settlement::Unscored(Box::new(failed.clone()));
    settle(store, "wh_meet_12", failed, unscored).await;
    let found = store.find_call(&rep_scope("meeting"), "meet_7").await;
    assert!(found.unwrap().is_some());
    let ignored = Settlement::Ignored {
        reason: "enough".to_owned(),
    };
    let settled = store.settle(waiting.lease, ignored, after(200)).await;
    settled.unwrap();
    // An event comes first, and Athos itself says otherwise.
    let event = said_by("meet_5", by("athos_agent_5", Some("thief"), Some("den")));
    let answer = scored("meet_5", by(AGENT, Some("meeting"), Some("meeting_place")));
    settle(store, "wh_meet_7", event, answer).await;
    for scope in [rep_scope("thief"), Scope::Agency(id("den"))] {
        assert!(sees(store, scope).await.is_empty());
    }
    let event = said_by("meet_6", by(AGENT, None, None));
    let answer = scored("meet_6", by(AGENT, None, None));
    settle(store, "wh_meet_10", event, answer).await;
    assert_eq!(sees(store, rep_scope("meeting")).await.len(), 7);
}

async fn an_erased_rep_is_no_pairing_either(store: &SharedStore) {
    let gone = by("athos_agent_gone", None, None);
    let event = said_by("meet_gone", gone.clone());
    settle(store, "wh_meet_gone", event, scored("meet_gone", gone)).await;
    let agent = RepId::new("athos_agent_gone").unwrap();
    mint(store, "mint_gone", agent.clone()).await;
    let pairing = pairing("athos_agent_gone", "rep_gone", true);
    store.learn_identities(vec![pairing], NOW).await.unwrap();
    mint(store, "mint_gone_too", agent.clone()).await;
    let rows = store
        .erase(&agent, Actor::Command, after(400))
        .await
        .unwrap();
    assert_eq!((rows.calls, rows.mints), (1, 2));
    assert_eq!(store.find_agent(&id("rep_gone")).await.unwrap(), None);
    assert!(sees(store, rep_scope("rep_gone")).await.is_empty());
}

async fn what_the_roster_says_counts_for_more(store: &SharedStore) {
    let known = store.find_agent(&id("meeting")).await.unwrap();
    assert_eq!(known, Some(pairing(AGENT, "meeting", true)));
    let learn = async |new: LinkedIds| store.learn_identities(vec![new], NOW).await.unwrap();

    // What Athos has not on record fills a gap, and takes nobody's place.
    let by_mail = pairing("athos_agent_2", "met_by_mail", false);
    assert_eq!(learn(by_mail.clone()).await, std::slice::from_ref(&by_mail));
    let another = pairing("athos_agent_2", "of_the_same_mail", false);
    assert_eq!(learn(another).await, std::slice::from_ref(&by_mail));
    assert_eq!(
        store.find_agent(&id("of_the_same_mail")).await.unwrap(),
        None
    );
    // What it has on record does.
    let on_record = pairing("athos_agent_2", "registered", true);
    assert_eq!(
        learn(on_record.clone()).await,
        std::slice::from_ref(&on_record)
    );
    assert_eq!(store.find_agent(&id("met_by_mail")).await.unwrap(), None);

    let agencies = store.known_agencies().await.unwrap();
    assert!(
        agencies
            .iter()
            .all(|known| known.kind == IdentityKind::Agency)
    );
    let agency = LinkedIds {
        kind: IdentityKind::Agency,
        ..pairing("athos_agency_9", "ninth", true)
    };
    learn(agency.clone()).await;
    let more = store.known_agencies().await.unwrap();
    assert_eq!(more.len(), agencies.len() + 1);
    assert!(more.contains(&agency));

    // Two reps of whom only Athos's ids are known are two, also in sums.
    for (call, agent) in [("meet_8", "athos_agent_8"), ("meet_9", "athos_agent_9")] {
        let identity = by(agent, None, None);
        let event = said_by(call, identity.clone());
        settle(store, &format!("wh_{call}"), event, scored(call, identity)).await;
    }
    let filter = ProgressFilter {
        scope: Scope::Agency(id("meeting_place")),
        from: None,
        to: None,
        rep: None,
        agency: None,
        source: "roleplay".to_owned(),
    };
    let progress = store.progress(&filter, 10, 10).await.unwrap();
    let mut reps: Vec<_> = progress
        .iter()
        .filter_map(|one| one.rep.as_deref())
        .collect();
    reps.sort_unstable();
    assert_eq!(reps, ["athos_agent_8", "athos_agent_9", "meeting"]);
    for one in &progress {
        let expected = if one.rep.as_deref() == Some("meeting") {
            5
        } else {
            1
        };
        assert_eq!((one.count, one.points.len()), (expected, expected as usize));
    }
}

async fn the_contract_is_remembered(store: &SharedStore) {
    assert_eq!(store.learned_contract().await.unwrap(), None);
    for (generation, from) in [(Generation::External, "one"), (Generation::Roster, "two")] {
        let learnt = LearnedContract {
            generation,
            at: NOW,
            from: from.to_owned(),
        };
        store.record_learned_contract(learnt.clone()).await.unwrap();
        assert_eq!(store.learned_contract().await.unwrap(), Some(learnt));
    }
}
