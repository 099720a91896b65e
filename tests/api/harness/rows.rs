//! What is stored, as rows, read through a store of its own: the service's may have stopped, and what it has in memory
//! proves nothing. Of any engine; stories compare what they get.

use athos_backend::model::{CallRow, Credential, LearnedContract, Scope, SeenDrift};
use athos_backend::store::{
    self, CallFilter, EventFilter, EventRow, Mint, MintFilter, Run, Store, StoredCall, StoredEvent,
};
use serde_json::Value;

use super::TestApp;

/// More rows than a test has that lists them.
const ALL: u32 = 10_000;

impl TestApp {
    async fn read<T>(&self, ask: impl AsyncFnOnce(&dyn Store) -> T) -> T {
        read(&self.database_url(), ask).await
    }

    /// A call gets its row moments after its webhook was accepted. Readers of the service wait for it, and so does this; a
    /// store of another knows nothing of it.
    pub(super) async fn calls_have_rows(&self) {
        if let Some(service) = &self.service {
            let any = service.store.list_calls(&every_call(), 1, None).await;
            any.unwrap();
        }
    }

    /// Every event without its body and its history, the first first.
    pub(crate) async fn event_rows(&self) -> Vec<EventRow> {
        event_rows_at(&self.database_url()).await
    }

    /// The one event there is.
    pub(crate) async fn only_event(&self) -> EventRow {
        let [event] = <[EventRow; 1]>::try_from(self.event_rows().await).unwrap();
        event
    }

    /// Every event with everything that is kept of it, the first first.
    pub(crate) async fn events(&self) -> Vec<StoredEvent> {
        self.read(async |store| {
            let mut events = Vec::new();
            for row in list_events(store).await {
                events.push(store.find_event(row.id).await.unwrap().unwrap());
            }
            events
        })
        .await
    }

    /// Every call as lists have it, the first first.
    pub(crate) async fn call_rows(&self) -> Vec<CallRow> {
        self.calls_have_rows().await;
        self.read(list_calls).await
    }

    /// Every call with everything that is kept of it, the first first.
    pub(crate) async fn calls(&self) -> Vec<StoredCall> {
        self.calls_have_rows().await;
        self.read(async |store| {
            let mut calls = Vec::new();
            for row in list_calls(store).await {
                let call = store.find_call(&Scope::All, &row.id).await.unwrap();
                calls.push(call.unwrap());
            }
            calls
        })
        .await
    }

    /// Every detail, as it is kept.
    pub(crate) async fn details(&self) -> Vec<Value> {
        let calls = self.calls().await.into_iter();
        calls
            .filter_map(|call| call.raw)
            .map(|raw| serde_json::from_str(&raw).unwrap())
            .collect()
    }

    /// The one detail there is, as it is kept.
    pub(crate) async fn detail(&self) -> Value {
        let [detail] = <[Value; 1]>::try_from(self.details().await).unwrap();
        detail
    }

    /// The latest change of any call.
    pub(crate) async fn latest_rev(&self) -> i64 {
        self.calls_have_rows().await;
        self.read(async |store| store.latest_rev().await.unwrap())
            .await
    }

    /// Every request for a session token, the first first.
    pub(crate) async fn mints(&self) -> Vec<Mint> {
        self.read(async |store| {
            let page = store.list_mints(&MintFilter::default(), ALL, None).await;
            let page = page.unwrap();
            assert_eq!(page.next, None);
            page.rows.into_iter().rev().collect()
        })
        .await
    }

    /// Waits until it is on record how every mint ended: that is written after the answer.
    pub(crate) async fn mints_are_recorded(&self) {
        while self.mints().await.iter().any(|mint| mint.outcome.is_none()) {
            tokio::task::yield_now().await;
        }
    }

    /// How many requests for a session token ended like this.
    pub(crate) async fn mints_that_ended(&self, outcome: &str) -> usize {
        let mints = self.mints().await.into_iter();
        mints
            .filter(|mint| mint.outcome.as_deref() == Some(outcome))
            .count()
    }

    /// The generation of the contract that Athos was found to speak.
    pub(crate) async fn learned_contract(&self) -> Option<LearnedContract> {
        self.read(async |store| store.learned_contract().await.unwrap())
            .await
    }

    /// Every reconciliation, the latest first.
    pub(crate) async fn runs(&self) -> Vec<Run> {
        self.read(async |store| store.latest_runs(ALL).await.unwrap())
            .await
    }

    /// Every new name of Athos's that was ever stored.
    pub(crate) async fn drift(&self) -> Vec<SeenDrift> {
        self.read(async |store| store.list_drift().await.unwrap())
            .await
    }

    /// Every secret and key that was ever stored.
    pub(crate) async fn credentials(&self) -> Vec<Credential> {
        self.read(async |store| store.credentials().await.unwrap())
            .await
    }
}

/// Every event in the database at `url`, the first first.
pub(crate) async fn event_rows_at(url: &str) -> Vec<EventRow> {
    read(url, list_events).await
}

async fn read<T>(url: &str, ask: impl AsyncFnOnce(&dyn Store) -> T) -> T {
    let store = store::open_existing(url).await.unwrap();
    let found = ask(&*store).await;
    store.close().await;
    found
}

async fn list_events(store: &dyn Store) -> Vec<EventRow> {
    let page = store.list_events(&EventFilter::default(), ALL, None).await;
    let page = page.unwrap();
    assert_eq!(page.next, None);
    page.rows.into_iter().rev().collect()
}

async fn list_calls(store: &dyn Store) -> Vec<CallRow> {
    let page = store.list_calls(&every_call(), ALL, None).await.unwrap();
    assert_eq!(page.next, None);
    page.rows.into_iter().rev().collect()
}

fn every_call() -> CallFilter {
    CallFilter {
        scope: Scope::All,
        from: None,
        to: None,
        rep: None,
        agency: None,
        drill: None,
        status: None,
        source: None,
    }
}
