//! What reconciliation brings in and what it remembers of its runs.

use athos_backend::model::{CallStatus, Scope, Source};
use athos_backend::store::{NewRun, RecoveredCall, RecoveryCause, RunEnd, Settlement, SharedStore};

use crate::{NOW, after, claim, clear_inbox, delivery, detail, listed, parsed};

pub(crate) async fn listed_calls_come_in_once(store: &SharedStore) {
    clear_inbox(store).await;
    let causes = |repairs: Vec<RecoveredCall>| -> Vec<(String, RecoveryCause)> {
        let pairs = repairs.into_iter();
        pairs.map(|repair| (repair.call_id, repair.cause)).collect()
    };
    let scored_at = after(100);
    // One that is on its way already, and one of which nothing is known, twice on the page.
    let on_its_way = delivery("wh_flight", Ok(parsed("call_flight", "rep_1", "agency_1")));
    store.accept_event(on_its_way).await.unwrap();
    let page = || {
        let ids = ["call_flight", "call_lost", "call_lost"];
        ids.map(|id| listed(id, scored_at)).to_vec()
    };
    let lost = [("call_lost".to_owned(), RecoveryCause::Missing)];
    let would = store.find_missing_calls(&page()).await.unwrap();
    assert_eq!(causes(would), lost);
    assert_eq!(
        store
            .find_call(&Scope::All, "call_lost")
            .await
            .unwrap()
            .map(|call| call.row.id),
        None
    );
    assert_eq!(causes(store.ingest_missing(page()).await.unwrap()), lost);
    assert_eq!(store.ingest_missing(page()).await.unwrap(), []);
    assert_eq!(store.find_missing_calls(&[]).await.unwrap(), []);
    assert_eq!(store.ingest_missing(Vec::new()).await.unwrap(), []);

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
    let again = causes(store.ingest_missing(page()).await.unwrap());
    assert_eq!(
        again,
        [("call_flight".to_owned(), RecoveryCause::NotScored)]
    );
    let anew = vec![listed("call_lost", after(900))];
    let anew = causes(store.ingest_missing(anew).await.unwrap());
    assert_eq!(anew, [("call_lost".to_owned(), RecoveryCause::ScoredAgain)]);
}

pub(crate) async fn runs_say_until_when_all_is_reconciled(store: &SharedStore) {
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
