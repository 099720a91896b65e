//! The contract of every store: one story, told to each implementation through the trait alone. What SQLite does
//! beneath it (files, locks, syncs) is in `api` and `crash`.
#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot go on should stop right there"
)]

mod audit;
mod claims;
#[path = "../cluster/mod.rs"]
mod cluster;
mod erasure;
mod feed;
mod identities;
mod leaders;
mod leases;
mod notes;
mod operators;
mod outbox;
mod readers;
mod reconcile;
mod releases;
mod replicas;
mod wire;

use std::time::Duration;

use athos_backend::model::{
    CallDetail, CallEvent, CallHeader, CallStatus, EventOutcome, Identity, PlatformId, RepId,
    Scope, Timestamp,
};
use athos_backend::store::{
    self, Accepted, CallFilter, ClaimFilter, ClaimedEvent, ListedCall, MintFilter, MintOutcome,
    NewEvent, NewMint, SettleResult, Settlement, SharedStore, StoreError,
};

const NOW: Timestamp = Timestamp::from_millis(1_780_682_954_000);
const LEASE: Duration = Duration::from_secs(60);

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn id(text: &str) -> PlatformId {
    PlatformId::new(text).unwrap()
}

fn parsed(call: &str, rep: &str, agency: &str) -> CallEvent {
    CallEvent {
        call_id: call.to_owned(),
        source: "roleplay".to_owned(),
        identity: Identity {
            rep: Some(rep.to_owned()),
            agency: Some(agency.to_owned()),
            ..Identity::default()
        },
        occurred_at: Some(NOW),
        outcome: EventOutcome::Scored,
        athos_request_id: None,
    }
}

fn unscored(call: &str, rep: &str, agency: &str) -> CallEvent {
    CallEvent {
        outcome: EventOutcome::Unscored {
            reason: Some("SCORING_INCOMPLETE".to_owned()),
            message: None,
        },
        ..parsed(call, rep, agency)
    }
}

fn delivery(webhook: &str, parsed: Result<CallEvent, String>) -> NewEvent {
    NewEvent {
        webhook_id: webhook.to_owned(),
        received_at: NOW,
        signed_at_secs: NOW.as_secs(),
        secret: "0123abcd".to_owned(),
        parsed,
        body: format!("{{\"requestId\":\"req_of_{webhook}\"}}").into_bytes(),
    }
}

fn detail(call: &str, rep: &str, score: f64) -> Settlement {
    Settlement::Scored(Box::new(CallDetail {
        header: CallHeader {
            id: call.to_owned(),
            source: "roleplay".to_owned(),
            identity: Identity {
                rep: Some(rep.to_owned()),
                ..Identity::default()
            },
            drill_key: Some("ma-full-sale".to_owned()),
            started_at: Some(NOW),
            ended_at: Some(after(90)),
            duration_sec: Some(90),
            scored_at: Some(after(100)),
        },
        overall_score: Some(score),
        compliance_percent: None,
        has_recording: false,
        raw: format!("{{\"id\":\"{call}\",\"score\":{{\"overallScore\":{score}}}}}"),
        purged: false,
    }))
}

async fn claim(store: &SharedStore, now: Timestamp) -> Vec<ClaimedEvent> {
    store
        .claim_due(ClaimFilter::All, now, 10, LEASE)
        .await
        .unwrap()
}

const EVERYTHING: CallFilter = CallFilter {
    scope: Scope::All,
    from: None,
    to: None,
    rep: None,
    agency: None,
    drill: None,
    status: None,
    source: None,
};

async fn list(store: &SharedStore, filter: &CallFilter, limit: u32) -> Vec<String> {
    let (mut ids, mut place) = (Vec::new(), None);
    loop {
        let page = store.list_calls(filter, limit, place).await.unwrap();
        ids.extend(page.rows.into_iter().map(|row| row.id));
        place = page.next;
        if place.is_none() {
            return ids;
        }
    }
}

async fn all_calls(store: &SharedStore, scope: Scope, limit: u32) -> Vec<String> {
    let filter = CallFilter {
        scope,
        ..EVERYTHING
    };
    list(store, &filter, limit).await
}

async fn list_by(store: &SharedStore, rep: Option<&str>, agency: Option<&str>) -> Vec<String> {
    let filter = CallFilter {
        rep: rep.map(str::to_owned),
        agency: agency.map(str::to_owned),
        ..EVERYTHING
    };
    list(store, &filter, 100).await
}

/// The whole contract.
async fn keeps_the_contract(store: SharedStore) {
    events_are_taken_once(&store).await;
    leases_are_rights_that_end(&store).await;
    calls_only_learn(&store).await;
    readers::readers_see_their_scope(&store).await;
    readers::pages_hold_every_call_once(&store).await;
    readers::progress_adds_up_within_the_scope(&store).await;
    mints_are_recorded(&store).await;
    identities::ids_of_both_families_meet(&store).await;
    reconcile::listed_calls_come_in_once(&store).await;
    a_clock_that_is_set_back_makes_no_wait_longer(&store).await;
    operators::operators_see_events_and_replay_them(&store).await;
    reconcile::runs_say_until_when_all_is_reconciled(&store).await;
    notes::what_is_new_is_counted_by_name_and_there_is_an_end_to_it(&store).await;
    notes::credentials_keep_their_latest(&store).await;
    leaders::a_duty_has_one_leader_at_a_time(&store).await;
    leaders::a_term_of_a_wrong_clock_keeps_nobody_away(&store).await;
    leaders::what_an_old_leader_writes_is_refused(&store).await;
    leaders::replicas_are_listed_while_they_live_and_forgotten_later(&store).await;
    leases::an_attempt_that_outlives_its_event_changes_no_other(&store).await;
    leases::no_number_is_given_twice(&store).await;
    leases::attempts_that_end_at_once_are_settled_each(&store).await;
    feed::a_copy_is_kept_in_step(&store).await;
    audit::who_did_what_is_found(&store).await;
    outbox::messages_wait_until_they_are_taken(&store).await;
    erasure::what_is_erased_stays_away(&store).await;
    a_closed_store_refuses(&store).await;
}

async fn events_are_taken_once(store: &SharedStore) {
    store.check().await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), None);
    assert_eq!(store.latest_rev().await.unwrap(), 0);
    let due = store.due_times();
    assert!(claim(store, NOW).await.is_empty());
    assert_eq!(due.earliest(ClaimFilter::All), None);
    let mut changes = store.changes();

    let first = delivery("wh_1", Ok(parsed("call_1", "rep_1", "agency_1")));
    assert_eq!(
        store.accept_event(first.clone()).await.unwrap(),
        Accepted::New
    );
    due.arrival().await;
    assert_eq!(due.earliest(ClaimFilter::All), Some(NOW));
    assert_eq!(due.earliest(ClaimFilter::WithoutFetch), None);
    changes.changed().await.unwrap();
    // The call is there with its event, before anyone has worked.
    let call = store
        .find_call(&Scope::All, "call_1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(call.row.status, CallStatus::Processing);
    assert_eq!(call.raw, None);

    assert_eq!(
        store.accept_event(first).await.unwrap(),
        Accepted::Duplicate
    );
    // What counts is what was signed, and the id is not.
    let first = delivery("wh_1", Ok(parsed("call_1", "rep_1", "agency_1")));
    for n in 0..3 {
        let replayed = NewEvent {
            webhook_id: format!("wh_replayed_{n}"),
            signed_at_secs: first.signed_at_secs + n,
            ..first.clone()
        };
        let accepted = store.accept_event(replayed).await.unwrap();
        assert_eq!(accepted, Accepted::Replayed);
    }
    for expected in [Accepted::NewUnderUsedId, Accepted::Replayed] {
        let other_body = NewEvent {
            body: b"{}".to_vec(),
            ..delivery("wh_1", Err("not an event".to_owned()))
        };
        assert_eq!(store.accept_event(other_body).await.unwrap(), expected);
    }
    let ignored = delivery("wh_2", Err("not JSON".to_owned()));
    assert_eq!(store.accept_event(ignored).await.unwrap(), Accepted::New);
    let depth = store.queue_depth().await.unwrap();
    assert_eq!(
        (depth.waiting, depth.dead),
        (1, 0),
        "what is ignored waits for nothing"
    );
    assert_eq!(depth.oldest_received_at, Some(NOW));
    assert_eq!(store.next_due().await.unwrap(), Some(NOW));
}

async fn leases_are_rights_that_end(store: &SharedStore) {
    let early = NOW.minus(Duration::from_millis(1));
    assert!(claim(store, early).await.is_empty());
    let first = claim(store, NOW).await.remove(0);
    assert_eq!(first.attempts, 0);
    assert_eq!(first.body, b"{\"requestId\":\"req_of_wh_1\"}");
    assert!(claim(store, NOW).await.is_empty(), "it is leased");
    assert_eq!(store.next_due().await.unwrap(), Some(NOW.plus(LEASE)));

    // Nobody settles it, and it is due again; the first holder's right is gone.
    let second = claim(store, NOW.plus(LEASE)).await.remove(0);
    let give_up = || Settlement::Dead {
        reason: "late".to_owned(),
        failure: None,
    };
    let late = store
        .settle(first.lease, give_up(), after(61))
        .await
        .unwrap();
    assert_eq!(late, SettleResult::LeaseLost);

    let retry = |at, spent| Settlement::Retry {
        at,
        reason: "not now".to_owned(),
        spent,
        failure: None,
    };
    let settled = store
        .settle(second.lease.clone(), retry(after(100), false), after(61))
        .await
        .unwrap();
    assert_eq!(settled, SettleResult::Yes);
    let again = store
        .settle(second.lease, give_up(), after(61))
        .await
        .unwrap();
    assert_eq!(again, SettleResult::LeaseLost, "a lease is settled once");
    assert!(claim(store, after(99)).await.is_empty());
    let given_up = claim(store, after(100)).await.remove(0).lease;
    store.release(given_up.clone(), after(100)).await.unwrap();
    let third = claim(store, after(100)).await.remove(0);
    assert_eq!(third.attempts, 0, "that attempt was not the event's fault");
    store.release(given_up, after(100)).await.unwrap();
    assert!(
        claim(store, after(100)).await.is_empty(),
        "the lease is another's"
    );
    store
        .settle(third.lease, retry(after(101), true), after(100))
        .await
        .unwrap();
    let fourth = claim(store, after(101)).await.remove(0);
    assert_eq!(fourth.attempts, 1);
    let settled = store
        .settle(fourth.lease, detail("call_1", "rep_1", 82.0), after(102))
        .await;
    assert_eq!(settled.unwrap(), SettleResult::Yes);
    assert_eq!(store.queue_depth().await.unwrap().waiting, 0);
    assert_eq!(store.next_due().await.unwrap(), None);
}

/// Takes an event and settles it at once.
async fn settle(store: &SharedStore, webhook: &str, event: CallEvent, settlement: Settlement) {
    let taken = store
        .accept_event(delivery(webhook, Ok(event)))
        .await
        .unwrap();
    assert_eq!(taken, Accepted::New);
    let claimed = claim(store, after(200)).await.remove(0);
    let settled = store
        .settle(claimed.lease, settlement, after(200))
        .await
        .unwrap();
    assert_eq!(settled, SettleResult::Yes);
}

async fn calls_only_learn(store: &SharedStore) {
    let known = store
        .find_call(&Scope::All, "call_1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(known.row.status, CallStatus::Scored);
    assert_eq!(known.row.overall_score, Some(82.0));
    assert_eq!(
        known.row.agency.as_deref(),
        Some("agency_1"),
        "the event knew it"
    );
    let rev = store.latest_rev().await.unwrap();

    // The same again, and the contrary: neither changes a scored call.
    let event = || parsed("call_1", "rep_1", "agency_1");
    settle(store, "wh_3", event(), detail("call_1", "rep_1", 82.0)).await;
    let failed = unscored("call_1", "rep_1", "agency_1");
    settle(
        store,
        "wh_4",
        failed.clone(),
        Settlement::Unscored(Box::new(failed)),
    )
    .await;
    assert_eq!(store.latest_rev().await.unwrap(), rev);
    let same = store
        .find_call(&Scope::All, "call_1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(same.row, known.row);
    assert_eq!(same.reason, None);
    // A new score is news.
    settle(store, "wh_5", event(), detail("call_1", "rep_1", 90.0)).await;
    assert!(store.latest_rev().await.unwrap() > rev);

    let failed = unscored("call_2", "rep_2", "agency_1");
    settle(
        store,
        "wh_6",
        failed.clone(),
        Settlement::Unscored(Box::new(failed)),
    )
    .await;
    let unscored = store
        .find_call(&Scope::All, "call_2")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(unscored.row.status, CallStatus::Unscored);
    assert_eq!(unscored.reason.as_deref(), Some("SCORING_INCOMPLETE"));
    settle(
        store,
        "wh_7",
        parsed("call_2", "rep_2", "agency_1"),
        detail("call_2", "rep_2", 1.0),
    )
    .await;
    let scored = store
        .find_call(&Scope::All, "call_2")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(scored.row.status, CallStatus::Scored);
    assert_eq!(scored.reason, None);
}

async fn mints_are_recorded(store: &SharedStore) {
    let mint = || NewMint {
        id: "mint_1".to_owned(),
        requested_at: NOW,
        rep: RepId::Ours(id("rep_1")),
        agency: None,
        caller: "user",
    };
    store.record_mint(mint()).await.unwrap();
    let twice = store.record_mint(mint()).await;
    assert!(matches!(twice, Err(StoreError::Refused(_))), "{twice:?}");
    let outcome = MintOutcome {
        outcome: "minted".to_owned(),
        answered_at: NOW,
        expires_at: Some(after(300)),
        athos_request_id: None,
    };
    let outcomes = vec![("mint_1".to_owned(), outcome)];
    store.finish_mints(outcomes).await.unwrap();
    store.check().await.unwrap();
    let later = NewMint {
        id: "mint_2".to_owned(),
        requested_at: after(1),
        rep: RepId::Ours(id("rep_none")),
        ..mint()
    };
    store.record_mint(later).await.unwrap();
    let newest = store
        .list_mints(&MintFilter::default(), 1, None)
        .await
        .unwrap();
    assert_eq!(
        (
            newest.rows[0].id.as_str(),
            newest.rows[0].outcome.as_deref()
        ),
        ("mint_2", None)
    );
    let rest = store
        .list_mints(&MintFilter::default(), 1, newest.next.as_deref())
        .await
        .unwrap();
    assert_eq!((rest.rows[0].id.as_str(), rest.next), ("mint_1", None));
    let unused = MintFilter {
        rep: Some("rep_none".to_owned()),
        without_call: true,
        ..MintFilter::default()
    };
    // Nobody knows what became of it, so it counts as none.
    assert!(
        store
            .list_mints(&unused, 1, None)
            .await
            .unwrap()
            .rows
            .is_empty()
    );
}

fn listed(call: &str, scored_at: Timestamp) -> ListedCall {
    let key = format!("reconcile:{call}:{}", scored_at.as_millis());
    ListedCall {
        id: call.to_owned(),
        scored_at: Some(scored_at),
        event: delivery(&key, Ok(parsed(call, "rep_1", "agency_1"))),
    }
}

/// Ignores everything that waits.
async fn clear_inbox(store: &SharedStore) {
    clear_waiting(store, after(2000)).await;
}

/// Ignores everything that is due then.
async fn clear_waiting(store: &SharedStore, then: Timestamp) {
    loop {
        let claimed = claim(store, then).await;
        if claimed.is_empty() {
            return;
        }
        for event in claimed {
            let done = Settlement::Ignored {
                reason: "end of the story".to_owned(),
            };
            store.settle(event.lease, done, after(2000)).await.unwrap();
        }
    }
}

async fn a_clock_that_is_set_back_makes_no_wait_longer(store: &SharedStore) {
    clear_inbox(store).await;
    let far = after(2500);
    let waits = [0, 1, 5].map(Duration::from_secs);
    let of_then = |webhook: &str| NewEvent {
        received_at: far,
        ..delivery(webhook, Ok(parsed("call_then", "rep_1", "agency_1")))
    };
    let retry = |at| Settlement::Retry {
        at,
        reason: "r".to_owned(),
        spent: true,
        failure: None,
    };
    let due = async || store.next_due().await.unwrap().unwrap();
    // One that failed long after now, and one that Athos asked us to leave alone.
    for (webhook, failed_at, expected) in [("wh_failed", far, after(1501)), ("wh_asked", NOW, far)]
    {
        store.accept_event(of_then(webhook)).await.unwrap();
        let [event] = claim(store, far).await.try_into().unwrap();
        store
            .settle(event.lease, retry(far), failed_at)
            .await
            .unwrap();
        let shortened = store
            .clamp_schedules(after(1500), LEASE, &waits)
            .await
            .unwrap();
        assert_eq!(shortened, u64::from(expected != far), "{webhook}");
        assert_eq!(due().await, expected, "{webhook}");
        clear_waiting(store, far).await;
    }
    // One that is leased, and one that has only come.
    store.accept_event(of_then("wh_leased")).await.unwrap();
    assert_eq!(claim(store, far).await.len(), 1);
    assert_eq!(
        store
            .clamp_schedules(after(1500), LEASE, &waits)
            .await
            .unwrap(),
        1
    );
    assert_eq!(due().await, after(1500).plus(LEASE));
    store.accept_event(of_then("wh_come")).await.unwrap();
    assert_eq!(
        store
            .clamp_schedules(after(1500), LEASE, &waits)
            .await
            .unwrap(),
        1
    );
    assert_eq!(due().await, after(1500));
    assert_eq!(
        store
            .clamp_schedules(after(1500), LEASE, &waits)
            .await
            .unwrap(),
        0
    );
    clear_waiting(store, far).await;
}

async fn a_closed_store_refuses(store: &SharedStore) {
    store.close().await;
    let late = store
        .accept_event(delivery("wh_late", Err("late".to_owned())))
        .await;
    assert!(matches!(late, Err(StoreError::Closed)), "{late:?}");
    assert!(store.find_call(&Scope::All, "call_1").await.is_err());
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/new/folders/athos.db", folder.path().display());
    keeps_the_contract(store::open(&url).await.unwrap()).await;

    // What was kept is there for the next process.
    let again = store::open(&url).await.unwrap();
    let call = again
        .find_call(&Scope::All, "call_1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(call.row.overall_score, Some(90.0));
    assert_eq!(
        again.queue_depth().await.unwrap().waiting,
        2,
        "of the last story"
    );
    again.close().await;
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    let Some(database) = cluster::Database::new() else {
        return;
    };
    let tell = async |url: &str, begin: &dyn Fn()| {
        let store = store::open(url).await.unwrap();
        database.sql(replicas::ONLY_LOCKED_REVS);
        begin();
        keeps_the_contract(store).await;
    };
    releases::record_where_asked(&database, tell).await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("athos.db");
    std::fs::write(
        &file,
        "these are the last words of a text file, not a database",
    )
    .unwrap();
    let Err(error) = store::open(&format!("sqlite://{}", file.display())).await else {
        panic!("it was opened");
    };
    let text = format!("{error:#}");
    assert!(text.contains("athos.db"), "{text}");
}
