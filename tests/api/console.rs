//! What the operator page stands on: the life of one event, the overview, the tokens whose call never appeared; and the
//! page itself, which holds nothing.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Event, TestApp};

const MINUTE: Duration = Duration::from_secs(60);

async fn asked(app: &TestApp, path: &str) -> Value {
    app.get(path, &app.secrets.service).await.expect(200).json()
}

#[tokio::test]
async fn an_event_is_shown_with_its_call_its_tokens_and_its_siblings() {
    let app = TestApp::start().await;
    app.mint_for("rep_2", "agency_1").await.expect(200);
    let call = app.ended_call("rep_1", "agency_1").await;
    let waiting = asked(&app, "/athos/events/1").await;
    assert_eq!(waiting["call"]["status"], "processing");
    app.work().await;
    // Athos scores it again, and says so twice; another call is none of its siblings.
    let again = app.event("wh_again", &Event::scored(&call, "rep_1", "agency_1"));
    again.send(&app).await.receipt("accepted");
    again.send(&app).await.receipt("duplicate");
    app.ended_call("rep_1", "agency_1").await;

    app.mints_are_recorded().await;
    let event = asked(&app, "/athos/events/1").await;
    assert_eq!(event["call"]["id"], call.as_str());
    assert_eq!(event["call"]["status"], "scored");
    assert!(event["call"]["overallScore"].is_number());
    assert!(event["call"]["endedAt"].is_string());
    assert!(
        event["call"].get("transcript").is_none(),
        "not what was said"
    );
    let mints = event["mints"].as_array().unwrap();
    assert_eq!(
        mints.len(),
        2,
        "both tokens of the rep at the time may have begun it"
    );
    for mint in mints {
        assert_eq!(
            (&mint["rep"], &mint["outcome"], &mint["caller"]),
            (&json!("rep_1"), &json!("minted"), &json!("service"))
        );
    }
    let siblings = event["siblings"].as_array().unwrap();
    assert_eq!(siblings.len(), 1, "{event}");
    assert_eq!(siblings[0]["webhookId"], "wh_again");
    assert_eq!(
        (&siblings[0]["deliveries"], &siblings[0]["state"]),
        (&json!(2), &json!("pending"))
    );
    // The other way round: one that waits has siblings that are settled.
    let sibling = asked(&app, "/athos/events/2").await;
    assert_eq!(sibling["siblings"][0]["id"], 1);
    let about = asked(&app, &format!("/athos/events?call={call}")).await;
    let ids: Vec<_> = about["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].clone())
        .collect();
    assert_eq!(ids, [2, 1]);
    app.work().await;

    let event = Event::unscored("call_short", "rep_1", "agency_1");
    app.event("wh_short", &event)
        .send(&app)
        .await
        .receipt("accepted");
    app.work().await;
    app.hook("not JSON").send(&app).await.receipt("ignored");
    let newest = asked(&app, "/athos/events?limit=2").await;
    let path = |at: usize| format!("/athos/events/{}", newest["data"][at]["id"]);
    let short = asked(&app, &path(1)).await;
    assert_eq!(short["call"]["reason"], "SCORING_INCOMPLETE");
    let ignored = asked(&app, &path(0)).await;
    assert_eq!(
        (&ignored["call"], &ignored["mints"], &ignored["siblings"]),
        (&Value::Null, &json!([]), &json!([]))
    );
}

#[tokio::test]
async fn the_overview_counts_what_waits_and_what_was_lost() {
    let app = TestApp::start().await;
    let mut empty = asked(&app, "/athos/overview").await;
    // Of processes, not of the inbox.
    for name in ["replica", "replicas", "leaders"] {
        empty.as_object_mut().unwrap().remove(name).unwrap();
    }
    assert_eq!(
        empty,
        json!({
            "now": app.now(), "waiting": 0, "oldestReceivedAt": null, "dead": 0, "repaired": 0,
            "mintsWithoutCall": 0, "lastRuns": [], "endpoints": [],
        })
    );
    app.mint_for("rep_2", "agency_1").await.expect(200);
    app.mints_are_recorded().await;
    app.faults(json!({ "never-send": {} })).await;
    app.ended_call("rep_1", "agency_1").await;
    app.faults(json!({})).await;
    app.clock.advance(MINUTE);
    app.reconciler().run_once().await.unwrap();
    let found_at = app.now();
    app.clock.advance(MINUTE);
    let overview = asked(&app, "/athos/overview").await;
    assert_eq!(
        (&overview["waiting"], &overview["oldestReceivedAt"]),
        (&json!(1), &json!(found_at))
    );
    assert_eq!(overview["repaired"], 1);
    assert_eq!(overview["lastRuns"][0]["repaired"], 1);
    assert_eq!(overview["lastRuns"][0]["error"], Value::Null);
    assert_eq!(
        overview["mintsWithoutCall"], 0,
        "its rep may still be on the call"
    );
    app.work().await;
    app.clock.advance(180 * MINUTE);
    assert_eq!(asked(&app, "/athos/overview").await["mintsWithoutCall"], 1);
    app.clock.advance(24 * 60 * MINUTE);
    let later = asked(&app, "/athos/overview").await;
    assert_eq!(
        (&later["repaired"], &later["mintsWithoutCall"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn the_overview_counts_what_has_come_in_and_what_became_of_it() {
    let app = TestApp::start().await;
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    app.clock.advance(60 * MINUTE);
    let begun = app.now();
    app.faults(json!({ "duplicate": { "copies": 3 } })).await;
    app.ended_call("rep_1", "agency_1").await;
    app.faults(json!({ "never-send": {} })).await;
    app.ended_call("rep_2", "agency_1").await;
    app.faults(json!({})).await;
    app.clock.advance(MINUTE);
    app.reconciler().run_once().await.unwrap();
    let event = Event::unscored("call_short", "rep_1", "agency_1");
    app.event("wh_short", &event)
        .send(&app)
        .await
        .receipt("accepted");
    app.hook("not JSON").send(&app).await.receipt("ignored");
    let received = async || {
        let path = format!("/athos/overview?from={begun}");
        asked(&app, &path).await["received"].clone()
    };
    let mut expected = json!({
        "from": begun, "webhooks": 3, "duplicates": 2, "repaired": 1, "scored": 0, "unscored": 0, "waiting": 3,
        "ignored": 1, "dead": 0,
    });
    assert_eq!(received().await, expected);
    app.work().await;
    for (what, count) in [("waiting", 0), ("scored", 2), ("unscored", 1)] {
        expected[what] = json!(count);
    }
    assert_eq!(received().await, expected);
    let all = asked(&app, "/athos/overview?from=2h").await;
    assert_eq!(all["received"]["scored"], 3);
}

#[tokio::test]
async fn a_token_whose_call_never_appeared_is_visible_as_such() {
    let app = TestApp::start().await;
    app.ended_call("rep_1", "agency_1").await;
    app.work().await;
    for _ in 0..3 {
        app.clock.advance(MINUTE);
        app.mint_for("rep_2", "agency_1").await.expect(200);
    }
    app.clock.advance(MINUTE);
    app.faults(json!({ "quota": {} })).await;
    app.mint_for("rep_3", "agency_1").await.expect(403);
    app.faults(json!({})).await;
    app.mints_are_recorded().await;
    let all = asked(&app, "/athos/mints").await;
    let rows = all["data"].as_array().unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (&row["rep"], &row["outcome"], &row["hasCall"]))
        .collect();
    let [rep_1, rep_2, rep_3] = [json!("rep_1"), json!("rep_2"), json!("rep_3")];
    let (minted, refused) = (json!("minted"), json!("TENANT_QUOTA_EXCEEDED"));
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(
        seen,
        [
            (&rep_3, &refused, &no),
            (&rep_2, &minted, &no),
            (&rep_2, &minted, &no),
            (&rep_2, &minted, &no),
            (&rep_1, &minted, &yes),
        ]
    );
    let without = "/athos/mints?withoutCall=true";
    assert_eq!(
        asked(&app, without).await["data"],
        json!([]),
        "a call may still come"
    );
    app.clock.advance(4 * 60 * MINUTE);
    let first = asked(&app, &format!("{without}&limit=2")).await;
    assert_eq!(first["data"].as_array().unwrap().len(), 2);
    let cursor = first["nextCursor"].as_str().unwrap();
    let rest = asked(&app, &format!("{without}&limit=2&cursor={cursor}")).await;
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&rest["data"][0]["rep"], &rest["nextCursor"]),
        (&rep_2, &Value::Null)
    );
    let of_rep = asked(&app, "/athos/mints?rep=rep_1&to=2026-06-05T15:00:00Z").await;
    assert_eq!(of_rep["data"].as_array().unwrap().len(), 1);
    for query in ["withoutCall=maybe", "limit=0", "from=yesterday"] {
        let path = format!("/athos/mints?{query}");
        app.get(&path, &app.secrets.service)
            .await
            .refused(400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn the_page_is_for_anyone_and_its_data_for_admins_only() {
    let app = TestApp::start().await;
    let page = app
        .send(app.request(Method::GET, "/console"))
        .await
        .expect(200);
    let policy = page.header("content-security-policy").to_owned();
    assert!(
        policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(
        !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
    for path in ["/athos/overview", "/athos/mints"] {
        for role in ["rep", "manager", "root"] {
            let token = app.jwt(&app.claims("rep_1", "agency_1", role));
            app.get(path, &token).await.refused(403, "ADMIN_ONLY");
        }
        let anyone = app.send(app.request(Method::GET, path)).await;
        anyone.refused(401, "UNAUTHENTICATED");
        app.get(path, &app.admin()).await.expect(200);
    }
}
