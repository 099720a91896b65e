//! The contract of every store: one story, told to each implementation through the trait alone. What SQLite does
//! beneath it (files, locks, syncs) is in `api` and `crash`.
#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot go on should stop right there"
)]

#[path = "store/identities.rs"]
mod identities;

use std::sync::Arc;
use std::time::Duration;

use athos_backend::model::{
    CallDetail, CallEvent, CallHeader, CallStatus, Credential, CredentialKind, Drift, DriftKind,
    EventOutcome, EventState, Identity, PlatformId, RepId, Scope, SeenDrift, Source, Timestamp,
};
use athos_backend::store::{
    Accepted, Actor, CallFilter, Claimable, ClaimedEvent, EventFilter, EventVerdict, Failure,
    ListedCall, MintFilter, MintOutcome, NewEvent, NewMint, NewRun, Origin, ProgressFilter, Repair,
    RepairCause, Replay, RunEnd, Settled, Settlement, SharedStore, SqliteStore, StoreError,
};

const NOW: Timestamp = Timestamp::from_millis(1_780_682_954_000);
const LEASE: Duration = Duration::from_secs(60);

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn id(text: &str) -> PlatformId {
    PlatformId::new(text).unwrap()
}

fn said(call: &str, rep: &str, agency: &str) -> CallEvent {
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
        ..said(call, rep, agency)
    }
}

fn delivery(webhook: &str, said: Result<CallEvent, String>) -> NewEvent {
    NewEvent {
        webhook_id: webhook.to_owned(),
        received_at: NOW,
        signed_at_secs: NOW.as_secs(),
        secret: "0123abcd".to_owned(),
        said,
        body: b"{}".to_vec(),
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
        .claim_due(Claimable::All, now, 10, LEASE)
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
    readers_see_their_scope(&store).await;
    pages_hold_every_call_once(&store).await;
    progress_adds_up_within_the_scope(&store).await;
    mints_are_recorded(&store).await;
    identities::ids_of_both_families_meet(&store).await;
    listed_calls_come_in_once(&store).await;
    a_clock_that_is_set_back_makes_no_wait_longer(&store).await;
    operators_see_events_and_replay_them(&store).await;
    runs_say_until_when_all_is_reconciled(&store).await;
    what_is_new_is_counted_by_name_and_there_is_an_end_to_it(&store).await;
    credentials_keep_their_latest(&store).await;
    what_is_erased_stays_away(&store).await;
    a_closed_store_refuses(&store).await;
}

async fn events_are_taken_once(store: &SharedStore) {
    store.check().await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), None);
    assert_eq!(store.latest_rev().await.unwrap(), 0);
    let arrived = store.arrivals();
    let mut changes = store.changes();

    let first = delivery("wh_1", Ok(said("call_1", "rep_1", "agency_1")));
    assert_eq!(
        store.accept_event(first.clone()).await.unwrap(),
        Accepted::New
    );
    arrived.notified().await;
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
    let other_body = delivery("wh_1", Err("no matter what it says".to_owned()));
    assert_eq!(
        store.accept_event(other_body).await.unwrap(),
        Accepted::Duplicate
    );
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
    assert_eq!(first.body, b"{}");
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
    assert_eq!(late, Settled::LeaseLost);

    let retry = |at, spent| Settlement::Retry {
        at,
        reason: "not now".to_owned(),
        spent,
        failure: None,
    };
    let settled = store
        .settle(second.lease, retry(after(100), false), after(61))
        .await
        .unwrap();
    assert_eq!(settled, Settled::Yes);
    let again = store
        .settle(second.lease, give_up(), after(61))
        .await
        .unwrap();
    assert_eq!(again, Settled::LeaseLost, "a lease is settled once");
    assert!(claim(store, after(99)).await.is_empty());
    let third = claim(store, after(100)).await.remove(0);
    assert_eq!(third.attempts, 0, "that attempt was not the event's fault");
    store
        .settle(third.lease, retry(after(101), true), after(100))
        .await
        .unwrap();
    let fourth = claim(store, after(101)).await.remove(0);
    assert_eq!(fourth.attempts, 1);
    let settled = store
        .settle(fourth.lease, detail("call_1", "rep_1", 82.0), after(102))
        .await;
    assert_eq!(settled.unwrap(), Settled::Yes);
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
    assert_eq!(settled, Settled::Yes);
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
    let event = || said("call_1", "rep_1", "agency_1");
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
        said("call_2", "rep_2", "agency_1"),
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

async fn readers_see_their_scope(store: &SharedStore) {
    let dead = Settlement::Dead {
        reason: "Athos does not know it".to_owned(),
        failure: None,
    };
    settle(store, "wh_8", said("call_3", "rep_3", "agency_2"), dead).await;
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

async fn pages_hold_every_call_once(store: &SharedStore) {
    // All at the same moment: only the tie-break orders them.
    for n in 0..25 {
        let event = delivery(
            &format!("wh_page_{n}"),
            Ok(said(&format!("page_{n}"), "rep_p", "a")),
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

async fn progress_adds_up_within_the_scope(store: &SharedStore) {
    for (number, score) in [60.0, 90.0, 75.0].into_iter().enumerate() {
        let call = format!("call_progress_{number}");
        let Settlement::Scored(mut detail) = detail(&call, "rep_9", score) else {
            unreachable!("a detail is a score")
        };
        detail.header.ended_at = Some(after(1000 + 60 * number as u64));
        detail.has_recording = number == 0;
        let event = said(&call, "rep_9", "agency_9");
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
    store.finish_mint("mint_1", outcome).await.unwrap();
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
        event: delivery(&key, Ok(said(call, "rep_1", "agency_1"))),
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

async fn listed_calls_come_in_once(store: &SharedStore) {
    clear_inbox(store).await;
    let causes = |repairs: Vec<Repair>| -> Vec<(String, RepairCause)> {
        let pairs = repairs.into_iter();
        pairs.map(|repair| (repair.call_id, repair.cause)).collect()
    };
    let scored_at = after(100);
    // One that is on its way already, and one of which nothing is known, twice on the page.
    let on_its_way = delivery("wh_flight", Ok(said("call_flight", "rep_1", "agency_1")));
    store.accept_event(on_its_way).await.unwrap();
    let page = || {
        let ids = ["call_flight", "call_lost", "call_lost"];
        ids.map(|id| listed(id, scored_at)).to_vec()
    };
    let lost = [("call_lost".to_owned(), RepairCause::Missing)];
    let would = store.would_bring_in(&page()).await.unwrap();
    assert_eq!(causes(would), lost);
    assert_eq!(
        store
            .find_call(&Scope::All, "call_lost")
            .await
            .unwrap()
            .map(|call| call.row.id),
        None
    );
    assert_eq!(causes(store.bring_in(page()).await.unwrap()), lost);
    assert_eq!(store.bring_in(page()).await.unwrap(), []);
    assert_eq!(store.would_bring_in(&[]).await.unwrap(), []);
    assert_eq!(store.bring_in(Vec::new()).await.unwrap(), []);

    // They are events like others, and their calls were opened with them.
    let call = store
        .find_call(&Scope::All, "call_lost")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(call.row.status, CallStatus::Processing);
    let [flight, lost] = claim(store, after(2000)).await.try_into().unwrap();
    let dead = Settlement::Dead {
        reason: "no use".to_owned(),
        failure: None,
    };
    store.settle(flight.lease, dead, after(2000)).await.unwrap();
    store
        .settle(lost.lease, detail("call_lost", "rep_1", 70.0), after(2000))
        .await
        .unwrap();
    // What was given up comes in; what has its score does not, until Athos scores it anew.
    let again = causes(store.bring_in(page()).await.unwrap());
    assert_eq!(again, [("call_flight".to_owned(), RepairCause::NotScored)]);
    let anew = vec![listed("call_lost", after(900))];
    let anew = causes(store.bring_in(anew).await.unwrap());
    assert_eq!(anew, [("call_lost".to_owned(), RepairCause::ScoredAgain)]);
}

async fn operators_see_events_and_replay_them(store: &SharedStore) {
    clear_inbox(store).await;
    let late = |webhook: &str, said| NewEvent {
        received_at: after(3000),
        ..delivery(webhook, said)
    };
    let known = late("wh_seen", Ok(said("call_seen", "rep_1", "agency_1")));
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
        .claim_due(Claimable::All, after(3000), 1, LEASE)
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
    assert_eq!(store.would_replay(one).await.unwrap(), [0_i64; 0]);
    let none = store
        .replay(one, Actor::Command, after(3001))
        .await
        .unwrap();
    assert_eq!(none, [0_i64; 0]);
    for expected in [Settled::Yes, Settled::LeaseLost] {
        let settled = store
            .settle(failed.lease, give_up(), after(3002))
            .await
            .unwrap();
        assert_eq!(settled, expected);
    }
    let range = Replay::Range {
        state: EventState::Dead,
        since: Some(after(3000)),
        until: Some(after(3000)),
    };
    assert_eq!(store.would_replay(range).await.unwrap(), [id]);
    let admin = Actor::User(PlatformId::new("an_admin").unwrap());
    assert_eq!(store.replay(range, admin, after(3003)).await.unwrap(), [id]);
    assert_eq!(store.would_replay(range).await.unwrap(), [0_i64; 0]);
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
        (act.caller.as_str(), act.rep.as_deref()),
        ("user", Some("an_admin"))
    );
    assert_eq!(
        (act.was_state.as_str(), act.was_reason.as_deref()),
        ("dead", Some("no use"))
    );
    let call = event.call.unwrap();
    assert_eq!((call.row.id.as_str(), call.reason), ("call_seen", None));
    assert!(event.siblings.is_empty());
    let another = late("wh_another", Ok(said("call_seen", "rep_1", "agency_1")));
    store.accept_event(another).await.unwrap();
    let event = store.find_event(id).await.unwrap().unwrap();
    let [sibling] = &event.siblings[..] else {
        panic!("{event:?}");
    };
    assert_eq!(sibling.webhook_id, "wh_another");
    assert!(store.find_event(i64::MAX).await.unwrap().is_none());
}

async fn runs_say_until_when_all_is_reconciled(store: &SharedStore) {
    let begin = async |continues, to| {
        let run = NewRun {
            source: Source::Roleplay,
            continues,
            from: NOW,
            to,
            started_at: to,
        };
        store.begin_run(run).await.unwrap()
    };
    let end = async |id, error: Option<&str>| {
        let end = RunEnd {
            finished_at: after(500),
            pages: 1,
            seen: 2,
            repaired: 0,
            error: error.map(str::to_owned),
            until: None,
        };
        store.finish_run(id, end).await.unwrap();
    };
    let until = async || store.reconciled_until(Source::Roleplay).await.unwrap();
    assert_eq!(until().await, None);
    end(begin(false, after(1)).await, None).await;
    assert_eq!(until().await, None, "somebody named its window");
    let first = begin(true, after(2)).await;
    begin(true, after(3)).await;
    assert_eq!(until().await, Some(after(2)), "none is completed");
    end(first, Some("Athos is down")).await;
    assert_eq!(until().await, Some(after(2)), "nor by failing");
    end(begin(true, after(4)).await, None).await;
    assert_eq!(until().await, Some(after(4)));
    end(begin(true, after(9)).await, Some("Athos is down")).await;
    end(begin(false, after(8)).await, None).await;
    assert_eq!(until().await, Some(after(4)));
    // A clock was set back.
    end(begin(true, after(3)).await, None).await;
    assert_eq!(until().await, Some(after(3)));

    // The list ended before the window did.
    let end_at = RunEnd {
        finished_at: after(500),
        pages: 1,
        seen: 2,
        repaired: 0,
        error: None,
        until: Some(after(5)),
    };
    let id = begin(true, after(90)).await;
    store.finish_run(id, end_at).await.unwrap();
    assert_eq!(until().await, Some(after(5)));

    let of_real_calls = async || store.reconciled_until(Source::RealCall).await.unwrap();
    assert_eq!(of_real_calls().await, None, "each source goes by itself");
    let run = NewRun {
        source: Source::RealCall,
        continues: true,
        from: NOW,
        to: after(7),
        started_at: after(7),
    };
    end(store.begin_run(run).await.unwrap(), None).await;
    assert_eq!(of_real_calls().await, Some(after(7)));
    assert_eq!(until().await, Some(after(5)));
}

async fn a_clock_that_is_set_back_makes_no_wait_longer(store: &SharedStore) {
    clear_inbox(store).await;
    let far = after(2500);
    let waits = [0, 1, 5].map(Duration::from_secs);
    let of_then = |webhook: &str| NewEvent {
        received_at: far,
        ..delivery(webhook, Ok(said("call_then", "rep_1", "agency_1")))
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
            .shorten_waits(after(1500), LEASE, &waits)
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
            .shorten_waits(after(1500), LEASE, &waits)
            .await
            .unwrap(),
        1
    );
    assert_eq!(due().await, after(1500).plus(LEASE));
    store.accept_event(of_then("wh_come")).await.unwrap();
    assert_eq!(
        store
            .shorten_waits(after(1500), LEASE, &waits)
            .await
            .unwrap(),
        1
    );
    assert_eq!(due().await, after(1500));
    assert_eq!(
        store
            .shorten_waits(after(1500), LEASE, &waits)
            .await
            .unwrap(),
        0
    );
    clear_waiting(store, far).await;
}

async fn what_is_new_is_counted_by_name_and_there_is_an_end_to_it(store: &SharedStore) {
    let drift = |place: &str, name: &str| Drift {
        kind: DriftKind::Field,
        place: place.to_owned(),
        name: name.to_owned(),
    };
    let (call, score) = (drift("call", "mood"), drift("score", "mood"));
    let first = vec![(call.clone(), 2)];
    let new = store.note_drift(first, after(1)).await.unwrap();
    assert_eq!(new, std::slice::from_ref(&call));
    let second = vec![(call.clone(), 3), (score.clone(), 1)];
    let new = store.note_drift(second, after(2)).await.unwrap();
    assert_eq!(new, std::slice::from_ref(&score));
    let seen = |drift, count, first, last| SeenDrift {
        drift,
        count,
        first_seen_at: after(first),
        last_seen_at: after(last),
    };
    assert_eq!(
        store.list_drift().await.unwrap(),
        [seen(score, 1, 2, 2), seen(call.clone(), 5, 1, 2)]
    );
    let many = (0..1200).map(|n| (drift("call", &format!("f{n}")), 1));
    let new = store.note_drift(many.collect(), after(3)).await.unwrap();
    assert_eq!(new.len(), 998);
    assert_eq!(store.list_drift().await.unwrap().len(), 1000);
    // What is known is counted on.
    store
        .note_drift(vec![(call.clone(), 1)], after(4))
        .await
        .unwrap();
    let all = store.list_drift().await.unwrap();
    assert!(all.contains(&seen(call, 6, 1, 4)));
}

async fn credentials_keep_their_latest(store: &SharedStore) {
    let note = async |credential: &Credential| {
        let noted = store.note_credentials(vec![credential.clone()]).await;
        noted.unwrap();
        store.credentials().await.unwrap()
    };
    let new = Credential::new(CredentialKind::ApiKey, "ab12cd34".to_owned(), after(5));
    assert_eq!(note(&new).await, std::slice::from_ref(&new));
    let used = Credential {
        last_used_at: Some(after(20)),
        last_refused_at: Some(after(10)),
        last_code: Some("API_KEY_REVOKED".to_owned()),
        ..new.clone()
    };
    assert_eq!(note(&used).await, std::slice::from_ref(&used));
    // Somebody who knows less, or had it longer, takes nothing away.
    let elsewhere = Credential {
        first_seen_at: NOW,
        last_used_at: Some(after(15)),
        ..new
    };
    let both = Credential {
        first_seen_at: NOW,
        ..used
    };
    assert_eq!(note(&elsewhere).await, std::slice::from_ref(&both));
    let secret = Credential::new(CredentialKind::WebhookSecret, "ab12cd34".to_owned(), NOW);
    assert_eq!(note(&secret).await, [both, secret.clone()]);
}

/// A rep is known by both ids, and each call by what it says.
async fn what_is_erased_stays_away(store: &SharedStore) {
    clear_waiting(store, after(9000)).await;
    let owned = |call: &str, rep: Option<&str>, athos_rep: Option<&str>, at: Timestamp| CallEvent {
        identity: Identity {
            rep: rep.map(str::to_owned),
            athos_rep: athos_rep.map(str::to_owned),
            ..Identity::default()
        },
        occurred_at: Some(at),
        ..said(call, "", "")
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
    let would = store.would_erase(&rep, erased_at).await.unwrap();
    let rows = store.erase(&rep, Actor::Command, erased_at).await.unwrap();
    assert_eq!(would, rows);
    assert_eq!((rows.calls, rows.events, rows.mints), (3, 3, 1));
    assert!(store.empty_log().await.unwrap());
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
    relisted.event.said = Ok(owned("call_ours", Some("rep_erased"), None, NOW));
    assert_eq!(
        store
            .would_bring_in(std::slice::from_ref(&relisted))
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.bring_in(vec![relisted]).await.unwrap(), []);
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
    keeps_the_contract(Arc::new(SqliteStore::open(&url).await.unwrap())).await;

    // What was kept is there for the next process.
    let again: SharedStore = Arc::new(SqliteStore::open(&url).await.unwrap());
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
async fn a_file_that_is_no_database_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("athos.db");
    std::fs::write(
        &file,
        "these are the last words of a text file, not a database",
    )
    .unwrap();
    let Err(error) = SqliteStore::open(&format!("sqlite://{}", file.display())).await else {
        panic!("it was opened");
    };
    let text = format!("{error:#}");
    assert!(text.contains("athos.db"), "{text}");
}
