//! Who may read what, and how lists are read page by page.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Event, PastCall, Setup, TestApp};

/// A service with one call each of rep_a and rep_b of agency_1, and rep_c of agency_2.
async fn three_calls() -> (TestApp, [String; 3]) {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for (rep, agency) in [
        ("rep_a", "agency_1"),
        ("rep_b", "agency_1"),
        ("rep_c", "agency_2"),
    ] {
        ids.push(app.ended_call(rep, agency).await);
        app.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(app.work().await.scored, 3);
    (app, ids.try_into().unwrap())
}

async fn listed(app: &TestApp, token: &str, query: &str) -> Vec<String> {
    let answer = app
        .get(&format!("/athos/calls{query}"), token)
        .await
        .expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    ids(&answer.json())
}

fn ids(list: &Value) -> Vec<String> {
    let rows = list["data"].as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn each_caller_sees_their_scope_in_lists_and_by_name() {
    let (app, [a, b, c]) = three_calls().await;
    let all = [&c, &b, &a];
    let scopes: &[(String, &[&String])] = &[
        (app.rep("rep_a", "agency_1"), &[&a]),
        (app.rep("rep_b", "agency_1"), &[&b]),
        // The right rep of another agency: a rep is known by the rep's id.
        (app.rep("rep_c", "agency_1"), &[&c]),
        (app.rep("nobody", "agency_1"), &[]),
        (app.manager("agency_1"), &[&b, &a]),
        (app.manager("agency_2"), &[&c]),
        (app.manager("agency_3"), &[]),
        (app.admin(), &all),
        (app.secrets.service.clone(), &all),
    ];
    for (token, expected) in scopes {
        let seen = listed(&app, token, "").await;
        assert_eq!(seen.iter().collect::<Vec<_>>(), *expected);
        for id in &all {
            let answer = app.get(&format!("/athos/calls/{id}"), token).await;
            if expected.contains(id) {
                answer.expect(200);
            } else {
                answer.refused(404, "CALL_NOT_FOUND");
            }
        }
    }
}

#[tokio::test]
async fn a_call_of_another_is_told_like_one_that_does_not_exist() {
    let (app, [_, b, _]) = three_calls().await;
    let rep = app.rep("rep_a", "agency_1");
    let theirs = app.get(&format!("/athos/calls/{b}"), &rep).await;
    let nothing = app.get("/athos/calls/athos_call_nothing", &rep).await;
    let strip = |mut answer: Value| {
        answer["error"]["requestId"] = json!("");
        answer
    };
    assert_eq!(strip(theirs.json()), strip(nothing.json()));
    assert_eq!(theirs.status, nothing.status);
    let names = |headers: &reqwest::header::HeaderMap| {
        headers
            .keys()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&theirs.headers), names(&nothing.headers));
}

#[tokio::test]
async fn a_manager_of_no_agency_and_an_unknown_role_see_only_their_own() {
    let (app, [a, _, _]) = three_calls().await;
    let mut manager = app.claims("rep_a", "", "manager");
    manager.as_object_mut().unwrap().remove("agency_id");
    assert_eq!(
        listed(&app, &app.jwt(&manager), "").await,
        *std::slice::from_ref(&a)
    );
    for role in [
        json!("owner"),
        json!("Admin"),
        json!(["owner", "Admin"]),
        json!({ "admin": true }),
    ] {
        let mut claims = app.claims("rep_a", "agency_1", "");
        claims["role"] = role;
        assert_eq!(
            listed(&app, &app.jwt(&claims), "").await,
            *std::slice::from_ref(&a)
        );
    }
}

#[tokio::test]
async fn filters_narrow_and_never_widen() {
    let (app, [a, b, c]) = three_calls().await;
    let rep = app.rep("rep_a", "agency_1");
    let manager = app.manager("agency_1");
    for query in [
        "?rep=rep_b",
        "?agency=agency_2",
        "?rep=rep_c&agency=agency_2",
        "?rep=%25",
    ] {
        assert!(listed(&app, &rep, query).await.is_empty(), "{query}");
    }
    assert_eq!(
        listed(&app, &rep, "?rep=rep_a&agency=agency_1").await,
        *std::slice::from_ref(&a)
    );
    assert!(listed(&app, &manager, "?agency=agency_2").await.is_empty());
    assert!(listed(&app, &manager, "?rep=rep_c").await.is_empty());
    assert_eq!(
        listed(&app, &manager, "?rep=rep_b").await,
        *std::slice::from_ref(&b)
    );

    let service = app.secrets.service.clone();
    let cases: &[(&str, &[&String])] = &[
        ("?agency=agency_1", &[&b, &a]),
        ("?rep=rep_c", &[&c]),
        ("?drill=ma-full-sale", &[&c, &b, &a]),
        ("?drill=another", &[]),
        ("?status=scored", &[&c, &b, &a]),
        ("?status=unscored", &[]),
        ("?status=processing", &[]),
        // Both ends belong to the window; each call ended a minute after the one before.
        ("?from=2026-06-05T14:40:40.295Z", &[&c, &b]),
        ("?from=2026-06-05T14:40:40.296Z", &[&c]),
        ("?to=2026-06-05T14:40:40.295Z", &[&b, &a]),
        ("?to=2026-06-05T14:40:40.294Z", &[&a]),
        (
            "?from=2026-06-05T14:40:40.295Z&to=2026-06-05T14:40:40.295Z",
            &[&b],
        ),
        (
            "?from=2026-06-05T16:40:40.295%2B02:00&to=2026-06-05T14:40:40.295Z",
            &[&b],
        ),
        ("?from=2027-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", &[]),
        ("?limit=2", &[&c, &b]),
        ("?rep=' OR 1=1 --", &[]),
        ("?unknown=parameter", &[&c, &b, &a]),
    ];
    for (query, expected) in cases {
        let seen = listed(&app, &service, query).await;
        assert_eq!(seen.iter().collect::<Vec<_>>(), *expected, "{query}");
    }
}

#[tokio::test]
async fn pages_hold_every_call_exactly_once_also_when_all_ended_at_once_and_others_arrive() {
    let app = Setup::new().flag("fetch-concurrency", "32").start().await;
    let mut wanted: BTreeSet<String> = app
        .burst(60, &["rep_1", "rep_2"], "agency_1")
        .await
        .into_iter()
        .collect();
    app.clock.advance(Duration::from_secs(1));
    wanted.extend(app.burst(5, &["rep_1"], "agency_1").await);
    app.work().await;

    let token = app.manager("agency_1");
    let (mut seen, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let path = format!("/athos/calls?limit=7{cursor}");
        let page = app.get(&path, &token).await.expect(200).json();
        let rows = ids(&page);
        assert!(rows.len() <= 7 && !rows.is_empty());
        seen.extend(rows);
        pages += 1;
        // Newer calls arrive while somebody reads.
        app.clock.advance(Duration::from_secs(1));
        app.burst(1, &["rep_1"], "agency_1").await;
        app.work().await;
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(pages, 10);
    assert_eq!(
        seen.len(),
        65,
        "none twice, and none of those that came later"
    );
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), wanted);
}

#[tokio::test]
async fn a_full_last_page_leads_nowhere_and_a_cursor_of_one_is_no_key_to_another() {
    let (app, [a, b, c]) = three_calls().await;
    let service = app.secrets.service.clone();
    let whole = app
        .get("/athos/calls?limit=3", &service)
        .await
        .expect(200)
        .json();
    assert_eq!(whole["nextCursor"], Value::Null);
    let page = app
        .get("/athos/calls?limit=1", &service)
        .await
        .expect(200)
        .json();
    assert_eq!(ids(&page), [c]);
    let cursor = page["nextCursor"].as_str().unwrap();
    // It is a place in time, read within the reader's own scope.
    let rep = app.rep("rep_a", "agency_1");
    assert_eq!(
        listed(&app, &rep, &format!("?cursor={cursor}")).await,
        *std::slice::from_ref(&a)
    );
    assert_eq!(
        listed(&app, &service, &format!("?cursor={cursor}")).await,
        [b, a]
    );
}

#[tokio::test]
async fn garbage_in_the_query_is_400() {
    let app = TestApp::start().await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=1.5",
        "limit=ten",
        "limit=",
        "limit=99999999999",
        "cursor=",
        "cursor=x",
        "cursor=!!",
        "cursor=bm90IG9uZQ",
        "cursor=MS4y.MS4y",
        "cursor=%00",
        "cursor=MS4",
        "from=yesterday",
        "from=",
        "from=2026-06",
        "from=2026-06-05T14:39:40",
        "to=1780682954",
        "status=done",
        "status=",
        "status=Scored",
        "limit=1&limit=2",
    ] {
        let path = format!("/athos/calls?{query}");
        let answer = app.get(&path, &app.secrets.service).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "INVALID_REQUEST".into()),
            "{query}"
        );
    }
}

#[tokio::test]
async fn strange_ids_in_the_path_are_calls_that_do_not_exist() {
    let app = TestApp::start().await;
    let long = "x".repeat(2000);
    for id in ["%20", "..%2f..%2fetc", "a'b", "%F0%9F%99%82", "%00", &long] {
        let answer = app
            .get(&format!("/athos/calls/{id}"), &app.secrets.service)
            .await;
        answer.refused(404, "CALL_NOT_FOUND");
    }
    let not_text = app.get("/athos/calls/%ff", &app.secrets.service).await;
    assert_eq!(not_text.status, 400);
    app.get("/athos/calls/", &app.secrets.service)
        .await
        .refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn an_unscored_call_says_why() {
    let app = TestApp::start().await;
    let event = Event::unscored("call_1", "rep_1", "agency_1");
    app.event("wh_1", &event)
        .send(&app)
        .await
        .receipt("accepted");
    app.work().await;
    let call = app.call("call_1").await;
    assert_eq!(call["status"], "unscored");
    assert_eq!(call["reason"], "SCORING_INCOMPLETE");
    assert_eq!(
        call["reasonMessage"],
        "Athos did not finish processing this call."
    );
    for absent in [
        "score",
        "transcript",
        "overallScore",
        "startedAt",
        "endedAt",
        "scoredAt",
    ] {
        assert_eq!(call[absent], Value::Null, "{absent}");
    }
    assert_eq!(
        listed(&app, &app.rep("rep_1", "x"), "?status=unscored").await,
        ["call_1"]
    );
}

/// Many scored calls of one agency, straight into the database.
async fn history(app: &TestApp, agency: &str, calls: i32) {
    let call = |n: i32| PastCall {
        id: format!("{agency}{n}"),
        rep: format!("rep_{}", n % 500),
        agency: agency.to_owned(),
        drill: Some(format!("drill_{}", n % 7)),
        score: Some(f64::from(n % 100)),
        at: n.into(),
    };
    let calls: Vec<_> = (1..=calls).map(call).collect();
    app.add_calls(&calls).await;
}

#[tokio::test]
async fn a_manager_who_reads_much_at_once_is_held_back_and_nobody_else_is() {
    let app = TestApp::start().await;
    history(&app, "agency_1", 30_000).await;
    let manager = app.manager("agency_1");
    let flood = join_all((0..128).map(|_| app.get("/athos/progress", &manager)));
    let others = async {
        let rep = app.rep("rep_x", "agency_2");
        for n in 0..20 {
            let ready = app.get("/readyz", &app.secrets.service).await.expect(200);
            assert_eq!(ready.json()["status"], "ready");
            app.get("/athos/calls", &rep).await.expect(200);
            app.get("/athos/progress", &rep).await.expect(200);
            let event = Event::unscored(&format!("call_{n}"), "rep_x", "agency_2");
            let hook = app.event(&format!("wh_{n}"), &event);
            hook.send(&app).await.receipt("accepted");
            assert_eq!(app.work().await.unscored, 1);
        }
    };
    let (flood, ()) = tokio::join!(flood, others);
    let (served, refused): (Vec<_>, Vec<_>) =
        flood.into_iter().partition(|answer| answer.status == 200);
    assert!(served.len() >= 2, "{}", served.len());
    // All have come before a few could be served.
    assert!(!refused.is_empty());
    for answer in refused {
        let answer = answer.refused(429, "RATE_LIMITED");
        assert_eq!(answer.header("retry-after"), "2");
    }
}
