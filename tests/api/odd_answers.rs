//! Answers and webhooks of Athos's with odd parts: the rest is read, what is said is short and plain, and what cannot be
//! read is refused in words.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{API, Event, Left, Setup, TestApp};
use crate::log::Mark;
use crate::worker::{detail_of, standing};

/// What a careless `slice()` leaves of an emoji.
const HALF: &str = r#""\ud83d""#;

fn json_text(text: String) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(text.into_bytes(), "application/json")
}

#[tokio::test]
async fn half_an_emoji_in_a_detail_costs_nothing_else() {
    let detail = format!(
        r#"{{"id":"call_1","source":"roleplay","drillKey":{HALF},"durationSec":1e400,"score":{{"overallScore":82,"summary":{HALF}}},
        "transcript":[{{"role":"user","content":{HALF}}},{HALF},{{"role":"user","content":"Hi"}}]}}"#
    );
    let (_server, app) = detail_of(json_text(detail)).await;
    assert_eq!(app.step().await.scored, 1);
    let call = app.call("call_1").await;
    assert_eq!(call["overallScore"], 82);
    assert_eq!(call["transcript"].as_array().unwrap().len(), 2);
    assert_eq!(call["transcript"][0]["content"], "\u{fffd}");
    assert!(app.detail().await.is_object(), "what is kept is sound");
}

#[tokio::test]
async fn half_an_emoji_in_a_webhook_does_not_lose_the_only_trace_of_a_call() {
    let app = TestApp::start().await;
    let event = Event::unscored("call_1", "rep_1", "agency_1").0.to_string();
    let event = event.replace("\"Athos did not finish processing this call.\"", HALF);
    assert!(event.contains(HALF));
    for (id, body) in [
        ("wh_1", event.clone()),
        ("wh_2", format!("\u{feff}{event}")),
    ] {
        app.hook(body.clone())
            .id(id)
            .send(&app)
            .await
            .receipt("accepted");
    }
    assert_eq!(app.work().await.unscored, 2);
    assert_eq!(app.call("call_1").await["status"], "unscored");
    assert_eq!(app.call("call_1").await["rep"], "rep_1");
    let events = app.events().await;
    let kept = events.iter().find(|kept| kept.row.webhook_id == "wh_1");
    assert_eq!(kept.unwrap().body, event, "as it came");
}

#[tokio::test]
async fn a_webhook_about_two_dots_does_not_ask_for_the_list() {
    let app = TestApp::start().await;
    for id in ["..", ".", " .. "] {
        let event = Event::scored(id, "rep_1", "agency_1");
        app.event(&format!("wh_{id}"), &event)
            .send(&app)
            .await
            .receipt("ignored");
    }
    app.work().await;
    assert_eq!(app.asked("calls").await + app.asked("call").await, 0);
}

#[tokio::test]
async fn a_list_goes_on_past_what_it_cannot_read() {
    let server = MockServer::start().await;
    let row = |id: &str, label: &str| {
        format!(
            r#"{{"id":"{id}","source":"roleplay","externalUserId":"rep_1","externalAgencyId":{label},
            "drillKey":{label},"endedAt":"2026-06-05T14:05:00.000Z","scoredAt":"2026-06-05T14:10:00.000Z"}}"#
        )
    };
    let pages = [
        (
            format!("[{},{{\"id\":\"..\"}},{}]", row("a", HALF), row("b", "7")),
            "\"c1\"",
        ),
        ("[{\"id\":7}]".to_owned(), "\"c2\""),
        (format!("[{}]", row("c", "{}")), "7"),
    ];
    for (n, (rows, next)) in pages.into_iter().enumerate() {
        let body = format!("{{\"data\":{rows},\"nextCursor\":{next}}}");
        let mock = Mock::given(path(format!("{API}/calls")));
        let mock = match n {
            0 => mock.and(wiremock::matchers::query_param_is_missing("cursor")),
            n => mock.and(wiremock::matchers::query_param("cursor", format!("c{n}"))),
        };
        mock.respond_with(json_text(body)).mount(&server).await;
    }
    let mut app = Setup::new()
        .athos(&format!("{}{API}", server.uri()))
        .start()
        .await;
    let ended = app.reconciler().run_once().await.unwrap();
    let athos_backend::worker::reconcile::RunOutcome::Failed(tally, reason) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(
        (tally.pages, tally.seen, tally.repaired, tally.unreadable),
        (3, 3, 3, 2)
    );
    assert!(reason.contains("cursor cannot be used"), "{reason}");
    app.leaves(Left {
        waiting: 3,
        dead: 0,
    });
}

fn hostile_refusal(status: u16) -> ResponseTemplate {
    let message = format!("No.\nINFO forged \u{1b}[2J{}", "x".repeat(50_000));
    let error = json!({ "code": "SOMETHING_NEW", "message": message, "requestId": "r\n2" });
    ResponseTemplate::new(status)
        .set_body_json(json!({ "error": error }))
        .insert_header("x-athos-request-id", "y".repeat(5000).as_str())
}

fn is_short_and_plain(text: &str) {
    assert!(
        text.chars().count() < 500,
        "{} characters",
        text.chars().count()
    );
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[tokio::test]
async fn what_athos_says_is_short_and_plain_wherever_it_is_repeated() {
    for status in [400, 401, 403, 404, 429, 500, 503] {
        let (server, mut app) = detail_of(hostile_refusal(status)).await;
        Mock::given(path(format!("{API}/session")))
            .respond_with(hostile_refusal(status))
            .mount(&server)
            .await;
        Mock::given(path(format!("{API}/calls")))
            .respond_with(hostile_refusal(status))
            .mount(&server)
            .await;
        let log = Mark::here();
        app.step().await;
        app.reconciler().run_once().await.unwrap();
        let minted = app.mint_for("rep_1", "agency_1").await;
        is_short_and_plain(minted.json()["error"]["message"].as_str().unwrap());
        let standing = standing(&app).await;
        is_short_and_plain(&standing.reason.unwrap());
        let events = app.get("/athos/events", &app.secrets.service).await;
        assert!(
            events.text().len() < 5000,
            "{status}: {}",
            events.text().len()
        );
        let anyone = app.send(app.request(Method::GET, "/readyz")).await;
        assert!(!anyone.text().contains("SOMETHING_NEW") && !anyone.text().contains("No."));
        let operator = app.get("/readyz", &app.secrets.service).await.json();
        let paused = &operator["athos"]["paused"];
        if !paused.is_null() {
            is_short_and_plain(paused["reason"].as_str().unwrap());
            assert_eq!(anyone.json()["athos"]["paused"]["cause"], paused["cause"]);
        }
        let said = log.since();
        assert!(
            !said
                .lines()
                .any(|line| line.trim_start().starts_with("INFO forged")),
            "{status}"
        );
        assert!(!said.contains("xxxxxxxxxx".repeat(60).as_str()), "{status}");
        let is_dead = standing.state == "dead";
        app.leaves(Left {
            waiting: i64::from(!is_dead),
            dead: i64::from(is_dead),
        });
    }
}

#[tokio::test]
async fn a_refusal_is_known_by_its_status_however_long_or_broken_its_body_is() {
    let long = ResponseTemplate::new(401).set_body_bytes(vec![b' '; 9 * 1024 * 1024]);
    let deep = ResponseTemplate::new(401).set_body_bytes("[".repeat(30_000));
    let zipped = ResponseTemplate::new(401)
        .set_body_bytes(vec![0x1f, 0x8b, 8])
        .insert_header("content-encoding", "gzip");
    for answer in [long, deep, zipped] {
        let (_server, mut app) = detail_of(answer).await;
        assert_eq!(app.step().await.retried, 1);
        let standing = standing(&app).await;
        assert_eq!((&*standing.state, standing.attempts), ("pending", 0));
        assert!(standing.reason.unwrap().contains("HTTP_401"));
        app.leaves(Left {
            waiting: 1,
            dead: 0,
        });
    }
}

#[tokio::test]
async fn an_answer_in_an_encoding_that_was_not_asked_for_is_told_in_words() {
    let zipped = ResponseTemplate::new(200)
        .set_body_bytes(vec![0x1f, 0x8b, 8])
        .insert_header("content-encoding", "gzip");
    let (server, mut app) = detail_of(zipped).await;
    assert_eq!(app.step().await.retried, 1);
    let reason = standing(&app).await.reason.unwrap();
    assert!(
        reason.contains("encoded as gzip, which was not asked for"),
        "{reason}"
    );
    let asked = server.received_requests().await.unwrap();
    assert_eq!(asked[0].headers["accept-encoding"], "identity");
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
}

#[tokio::test]
async fn retry_after_is_read_in_each_way_that_it_is_written() {
    for (asked, seconds) in [
        ("120", 120),
        ("119.2", 120),
        (" 120 ", 120),
        ("Fri, 05 Jun 2026 14:02:00 GMT", 120),
        ("Thu, 04 Jun 2026 14:02:00 GMT", 1),
        ("-5", 1),
        ("soon", 1),
        ("inf", 1),
        ("1e300", 24 * 3600),
    ] {
        let error = json!({ "code": "BUSY", "message": "m", "requestId": "r" });
        let answer = ResponseTemplate::new(503)
            .set_body_json(json!({ "error": error }))
            .insert_header("date", "Fri, 05 Jun 2026 14:00:00 GMT")
            .insert_header("retry-after", asked);
        let (_server, mut app) = detail_of(answer).await;
        app.step().await;
        let wait = Duration::from_millis(standing(&app).await.wait_ms.unwrap().unsigned_abs());
        let wanted = Duration::from_secs(seconds);
        // A second of the schedule is jittered.
        let differs = wait.abs_diff(wanted) > Duration::from_millis(900);
        assert!(!differs, "{asked}: {wait:?}");
        app.leaves(Left {
            waiting: 1,
            dead: 0,
        });
    }
}

#[tokio::test]
async fn a_detail_of_too_many_values_is_given_up_and_one_of_many_is_read() {
    for (values, dead) in [(45_000, 0), (1_000_000, 1)] {
        let turns = vec!["{}"; values].join(",");
        let detail =
            format!(r#"{{"id":"call_1","score":{{"overallScore":8}},"transcript":[{turns}]}}"#);
        let (_server, mut app) = detail_of(json_text(detail)).await;
        assert_eq!(app.step().await.dead, dead);
        let call: Value = app.call("call_1").await;
        if dead == 1 {
            let reason = standing(&app).await.reason.unwrap();
            assert!(reason.contains("more than 100000 values"), "{reason}");
        } else {
            assert_eq!(call["transcript"].as_array().unwrap().len(), values);
        }
        app.leaves(Left {
            waiting: 0,
            dead: dead as i64,
        });
    }
}
