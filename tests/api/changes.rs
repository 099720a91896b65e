//! The change feed: a copy that follows it has what the service has, and forgets what the service forgets.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::commands::command;
use crate::harness::{Event, PastCall, Setup, TestApp, unique, url};

/// A copy that somebody keeps by the feed.
#[derive(Default)]
struct Copy {
    calls: BTreeMap<String, Value>,
    after: i64,
    erased: Vec<String>,
}

impl Copy {
    /// Reads until nothing is new.
    async fn catch_up(&mut self, app: &TestApp, bearer: &str, limit: u32) {
        loop {
            let path = format!("/athos/changes?after={}&limit={limit}", self.after);
            let page = app.get(&path, bearer).await.expect(200).json();
            let next = page["next"].as_i64().unwrap();
            let data = page["data"].as_array().unwrap();
            for change in data {
                let rev = change["rev"].as_i64().unwrap();
                assert!(rev > self.after && rev <= next, "{page}");
                self.keep(change);
            }
            if data.is_empty() && next == self.after {
                return;
            }
            self.after = next;
        }
    }

    fn keep(&mut self, change: &Value) {
        let id = change["id"].as_str().unwrap().to_owned();
        if change["erased"] == json!(true) {
            assert_eq!(change.as_object().unwrap().len(), 3, "{change}");
            self.calls.remove(&id);
            self.erased.push(id);
        } else {
            let mut row = change.clone();
            row.as_object_mut().unwrap().remove("rev");
            self.calls.insert(id, row);
        }
    }

    /// Fails unless it has what the list has.
    async fn is_true(&self, app: &TestApp, bearer: &str) {
        let list = app.get("/athos/calls?limit=100", bearer).await.json();
        let list = list["data"].as_array().unwrap().iter();
        let rows: BTreeMap<_, _> = list
            .map(|row| (row["id"].as_str().unwrap().to_owned(), row.clone()))
            .collect();
        assert_eq!(self.calls, rows);
    }
}

async fn unscored(app: &TestApp, call: &str, rep: &str, agency: &str) {
    let event = Event::unscored(call, rep, agency);
    app.event(&format!("wh_{call}"), &event)
        .send(app)
        .await
        .receipt("accepted");
    app.work().await;
}

async fn erase(app: &TestApp, rep: &str) {
    let request = app.request(Method::DELETE, &format!("/athos/reps/{rep}"));
    let request = request.bearer_auth(&app.secrets.service);
    app.send(request).await.expect(200);
}

#[tokio::test]
async fn a_copy_has_what_the_service_has_and_forgets_what_it_forgets_also_over_restarts() {
    let mut app = TestApp::start().await;
    let service = app.secrets.service.clone();
    let mut copy = Copy::default();
    let mut later = Copy::default();
    app.burst(5, &["rep_1", "rep_2"], "agency_1").await;
    copy.catch_up(&app, &service, 2).await;
    copy.is_true(&app, &service).await;
    assert!(copy.calls.values().all(|row| row["status"] == "processing"));
    // Each is scored: a change of it, which comes once.
    app.work().await;
    copy.catch_up(&app, &service, 2).await;
    copy.is_true(&app, &service).await;
    assert!(copy.calls.values().all(|row| row["status"] == "scored"));
    app.stop().await;
    app.start_again().await;
    let theirs = copy.calls.values().filter(|row| row["rep"] == "rep_1");
    let theirs = theirs.count();
    assert!(theirs > 0);
    erase(&app, "rep_1").await;
    unscored(&app, "call_new", "rep_2", "agency_1").await;
    copy.catch_up(&app, &service, 2).await;
    copy.is_true(&app, &service).await;
    assert_eq!(copy.erased.len(), theirs, "each is told once");
    // One that begins now hears of calls that it never had, and keeps the same.
    later.catch_up(&app, &service, 1000).await;
    later.is_true(&app, &service).await;
    assert_eq!(later.erased.len(), theirs);
    assert_eq!(later.after, copy.after);
}

#[tokio::test]
async fn a_reader_of_a_scope_follows_their_own_calls_and_hears_of_no_other() {
    let app = TestApp::start().await;
    // Two calls of rep_1 with thousands of others' before, between and after.
    let call = |n: i64| PastCall {
        id: format!("call_{n}"),
        rep: if matches!(n, 3100 | 28_000) {
            "rep_1"
        } else {
            "rep_2"
        }
        .to_owned(),
        agency: "agency_2".to_owned(),
        drill: None,
        score: None,
        at: n,
    };
    let calls: Vec<_> = (1..=30_000).map(call).collect();
    app.add_calls(&calls).await;
    let rep = app.rep("rep_1", "agency_1");
    let mut theirs = Copy::default();
    theirs.catch_up(&app, &rep, 100).await;
    let ids: Vec<_> = theirs.calls.keys().map(String::as_str).collect();
    assert_eq!(ids, ["call_28000", "call_3100"]);
    // The first answer says how far it has looked, though it found one only.
    let first = app.get("/athos/changes?after=3100", &rep).await.json();
    assert_eq!(
        (&first["data"], &first["next"]),
        (&json!([]), &json!(23_100))
    );
    erase(&app, "rep_1").await;
    for bearer in [rep, app.manager("agency_2")] {
        let mut copy = Copy::default();
        copy.catch_up(&app, &bearer, 1000).await;
        assert_eq!(copy.erased, [""; 0], "whose it was is not known any more");
    }
}

/// Returns when this key has been let in somewhere.
async fn is_used(app: &TestApp, key: &str) {
    loop {
        let ready = app.get("/readyz", &app.secrets.service).await.json();
        let keys = ready["credentials"]["serviceTokens"].as_array().unwrap();
        let used = keys.iter().find(|one| one["name"] == key).unwrap();
        if used["lastUsedAt"].is_string() {
            return;
        }
    }
}

#[tokio::test]
async fn who_is_up_to_date_may_wait_for_the_next_change_or_until_the_service_stops() {
    let (first, second) = (unique("svc"), unique("svc"));
    let tokens = format!("first:read:{first},second:read:{second}");
    let mut app = Setup::new().flag("service-tokens", &tokens).start().await;
    let ask = |app: &TestApp, after: i64, bearer: &str| {
        let path = format!("/athos/changes?wait=60&after={after}");
        let request = app.request(Method::GET, &path).bearer_auth(bearer);
        tokio::spawn(request.send())
    };
    let waiting = ask(&app, 0, &first);
    is_used(&app, "first").await;
    unscored(&app, "call_1", "rep_1", "agency_1").await;
    let told: Value = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(told["data"][0]["id"], "call_1");
    let mut copy = Copy::default();
    copy.catch_up(&app, &first, 10).await;
    // Nothing changes any more: the stop ends the wait.
    let waiting = ask(&app, copy.after, &second);
    is_used(&app, "second").await;
    app.stop().await;
    let ended = waiting.await.unwrap().unwrap();
    assert_eq!(ended.status(), 200);
    let ended: Value = ended.json().await.unwrap();
    assert_eq!(ended, json!({ "data": [], "next": copy.after }));
}

#[tokio::test]
async fn whoever_waits_takes_the_place_of_a_stream() {
    let app = TestApp::start().await;
    let rep = app.rep("rep_1", "agency_1");
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(app.live(&rep, None).await);
    }
    let waits = app.get("/athos/changes?wait=1", &rep).await;
    waits.refused(503, "TOO_MANY_STREAMS");
    app.get("/athos/changes", &rep).await.expect(200);
}

#[tokio::test]
async fn a_wait_ends_with_the_credentials() {
    let app = TestApp::start().await;
    let path = "/athos/changes?wait=60";
    let request = app.request(Method::GET, path).bearer_auth(app.admin());
    let waiting = tokio::spawn(request.send());
    // Whether it waits by now or comes later: it is refused.
    let mut config = app.config.clone();
    config.auth_jwt_secret = Some(unique("jwt").into());
    app.service().reload(&config).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 401);
}

#[tokio::test]
async fn a_cursor_of_another_database_is_refused_and_nonsense_too() {
    let app = TestApp::start().await;
    let service = &app.secrets.service;
    unscored(&app, "call_1", "rep_1", "agency_1").await;
    for ahead in ["1000000", "9223372036854775807", "18446744073709551615"] {
        let path = format!("/athos/changes?wait=30&after={ahead}");
        app.get(&path, service).await.refused(410, "CURSOR_AHEAD");
    }
    for query in [
        "after=-1",
        "after=x",
        "after=",
        "after=1.5",
        "limit=0",
        "limit=1001",
        "wait=61",
        "wait=-1",
        "wait=30s",
    ] {
        let answer = app.get(&format!("/athos/changes?{query}"), service).await;
        answer.refused(400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn a_copy_misses_nothing_over_wide_gaps_and_a_restored_backup() {
    let app = TestApp::start().await;
    let service = app.secrets.service.clone();
    for call in ["call_1", "call_2", "call_3"] {
        unscored(&app, call, "rep_1", "agency_1").await;
    }
    // As after a power cut.
    app.move_change("call_3", 5_000_000).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copy.db");
    let backup = command(
        folder.path(),
        &["backup", "copy.db"],
        &[("DATABASE_URL", &url(&app.database()))],
    );
    assert!({ backup }.output().unwrap().status.success());
    // What happens after the backup is lost with the disk.
    unscored(&app, "call_lost", "rep_1", "agency_1").await;
    erase(&app, "rep_nobody").await;
    let mut copy = Copy::default();
    copy.catch_up(&app, &service, 1).await;
    assert_eq!(copy.calls.len(), 4);

    let restored = Setup::restored(&app, &file).start().await;
    for call in ["call_4", "call_lost"] {
        unscored(&restored, call, "rep_2", "agency_1").await;
    }
    copy.catch_up(&restored, &service, 1).await;
    copy.is_true(&restored, &service).await;
    assert_eq!(copy.calls["call_lost"]["rep"], "rep_2");
}
