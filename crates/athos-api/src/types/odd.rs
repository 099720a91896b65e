//! Every optional field of every payload in every wrong shape: the necessary fields are read all the same.

use serde_json::Value;

use super::*;
use crate::drift::DriftWatch;
use crate::{EventOutcome, Speaker};

/// Values of the wrong type, for any field.
fn shapes() -> Vec<Vec<u8>> {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let long = format!("\"{}\"", "x".repeat(5000));
    let mut shapes: Vec<Vec<u8>> = [
        r#""\ud83d""#,
        r#""\ude00\ud83d""#,
        r#""\u12""#,
        "7",
        "-1.5",
        "1e400",
        "-1e400",
        "99999999999999999999999",
        "NaN",
        "true",
        "null",
        "{}",
        "[]",
        r#"{"id":"\ud83d","callId":1,"data":[],"code":null}"#,
        r#"[{"role":7,"content":{}},"\udfff",null,7]"#,
        r#""""#,
        r#""2026-13-45T99:99:99Z""#,
        r#""+999999-12-31T23:59:59Z""#,
        r#""a\u0000b""#,
        &deep,
        &long,
    ]
    .map(|shape| shape.as_bytes().to_vec())
    .into();
    shapes.push(b"\"\xff\xfe\"".to_vec());
    shapes.push(b"\"a\0b\nc\"".to_vec());
    shapes
}

/// The object with one field replaced.
fn object(fields: &[(&str, &str)], name: &str, odd: &[u8]) -> Vec<u8> {
    let mut body = b"{".to_vec();
    let mut is_there = false;
    for (field, value) in fields {
        let value = match *field == name {
            true => odd,
            false => value.as_bytes(),
        };
        is_there |= *field == name;
        body.extend(format!("\"{field}\":").bytes());
        body.extend(value);
        body.push(b',');
    }
    if is_there {
        body.pop();
    } else {
        body.extend(format!("\"{name}\":").bytes());
        body.extend(odd);
    }
    body.push(b'}');
    body
}

/// Calls `check` with every optional field in every shape.
fn each(fields: &[(&str, &str)], optional: &[&str], mut check: impl FnMut(&str, &[u8])) {
    for name in optional.iter().chain(&["added"]) {
        for shape in shapes() {
            let body = object(fields, name, &shape);
            let case = format!(
                "{name}: {}",
                String::from_utf8_lossy(&shape[..shape.len().min(60)])
            );
            check(&case, &body);
        }
    }
}

#[test]
fn a_webhook_keeps_its_call_and_its_outcome() {
    for success in ["true", "false"] {
        let fields = [
            ("event", "\"call.scored\""),
            ("callId", "\"call_1\""),
            ("success", success),
            ("source", "\"roleplay\""),
            ("externalUserId", "\"rep_1\""),
            ("occurredAt", "\"2026-06-05T18:09:14.000Z\""),
            ("reason", "\"TOO_SHORT\""),
        ];
        let mut optional = vec![
            "source",
            "occurredAt",
            "requestId",
            "reason",
            "reasonMessage",
        ];
        optional.extend(known::IDS);
        each(&fields, &optional, |case, body| {
            let drift = DriftWatch::default();
            let event = read_delivery(body, &drift).expect(case);
            assert_eq!(event.call_id, "call_1", "{case}");
            assert_eq!(event.needs_fetch(), success == "true", "{case}");
            assert_eq!(read_event(body).as_ref(), Ok(&event), "{case}");
            if !case.contains("externalUserId") && !case.contains("platformAgentId") {
                assert_eq!(event.identity.rep.as_deref(), Some("rep_1"), "{case}");
            }
            if let EventOutcome::Unscored { reason, .. } = &event.outcome
                && !case.starts_with("reason:")
            {
                assert_eq!(reason.as_deref(), Some("TOO_SHORT"), "{case}");
            }
        });
    }
}

#[test]
fn two_ids_that_are_damaged_are_not_one() {
    for field in known::IDS {
        let body = format!(
            r#"{{"event":"call.scored","callId":"c","success":true,"{field}":"rep_\ud83d"}}"#
        );
        assert_eq!(
            read_event(body.as_bytes()).unwrap().identity,
            Identity::default()
        );
    }
    let body = r#"{"event":"call.scored","callId":"c\ud83d","success":true}"#;
    assert_eq!(
        read_event(body.as_bytes()),
        Err(NotUnderstood::Missing("callId"))
    );
}

const CALL: [(&str, &str); 8] = [
    ("id", "\"call_1\""),
    ("source", "\"roleplay\""),
    ("externalUserId", "\"rep_1\""),
    ("startedAt", "\"2026-06-05T18:04:14.000Z\""),
    ("endedAt", "\"2026-06-05T18:09:14.000Z\""),
    ("durationSec", "300"),
    ("score", r#"{"overallScore":82,"compliancePercent":50}"#),
    ("transcript", r#"[{"role":"user","content":"Hi"}]"#),
];

fn optional_of_call() -> Vec<&'static str> {
    let mut optional = vec![
        "source",
        "drillKey",
        "startedAt",
        "endedAt",
        "durationSec",
        "scoredAt",
        "status",
        "audioUrl",
        "audioUrlExpiresAt",
        "waveform",
        "createdAt",
        "updatedAt",
        "score",
        "transcript",
    ];
    optional.extend(known::IDS);
    optional
}

#[test]
fn a_detail_keeps_its_score_its_transcript_and_what_is_kept_is_json() {
    each(&CALL, &optional_of_call(), |case, body| {
        let detail = read_detail(body, &DriftWatch::default()).expect(case);
        assert_eq!(detail.header.id, "call_1", "{case}");
        let kept: Value = serde_json::from_str(&detail.raw).expect(case);
        assert_eq!(kept.get("audioUrl"), None, "{case}");
        let content = read_content(&detail.raw).expect(case);
        if !case.starts_with("score:") {
            assert_eq!(detail.overall_score, Some(82.0), "{case}");
            assert!(content.score.is_some(), "{case}");
        }
        if !case.starts_with("transcript:") {
            assert_eq!(content.transcript.len(), 1, "{case}");
        }
        if !case.starts_with("endedAt:") {
            assert!(detail.header.ended_at.is_some(), "{case}");
        }
        assert!(redact_transcript(&detail.raw).contains("\"id\""), "{case}");
        read_recording(body).expect(case);
    });
}

#[test]
fn a_score_and_a_turn_keep_what_is_sound_in_them() {
    let score = [("overallScore", "82"), ("compliancePercent", "50")];
    let optional = [
        "overallScore",
        "compliancePercent",
        "summary",
        "feedback",
        "complianceScorecard",
    ];
    each(&score, &optional, |case, part| {
        let body = object(&CALL, "score", part);
        let detail = read_detail(&body, &DriftWatch::default()).expect(case);
        if !case.starts_with("overallScore:") {
            assert_eq!(detail.overall_score, Some(82.0), "{case}");
        }
        if !case.starts_with("compliancePercent:") {
            assert_eq!(detail.compliance_percent, Some(50.0), "{case}");
        }
        let percent = |score: Option<f64>| score.is_none_or(|it| (0.0..=100.0).contains(&it));
        assert!(
            percent(detail.overall_score) && percent(detail.compliance_percent),
            "{case}"
        );
    });
    let turn = [("role", "\"user\""), ("content", "\"Hi\"")];
    each(
        &turn,
        &["role", "content", "startTime", "endTime"],
        |case, part| {
            let turns = [b"[{\"role\":\"user\",\"content\":\"first\"},", part, b",7]"].concat();
            let body = object(&CALL, "transcript", &turns);
            let detail = read_detail(&body, &DriftWatch::default()).expect(case);
            let content = read_content(&detail.raw).expect(case);
            assert_eq!(content.transcript.len(), 2, "{case}");
            assert_eq!(content.transcript[0].content, "first", "{case}");
            if !case.starts_with("role:") {
                assert_eq!(content.transcript[1].role, Speaker::Rep, "{case}");
            }
        },
    );
}

#[test]
fn a_bad_row_of_a_list_costs_that_row() {
    let page = |row: &[u8]| {
        let good = |id: &str| format!(r#"{{"id":"{id}","endedAt":"2026-06-05T18:09:14.000Z"}}"#);
        let (first, last) = (good("first"), good("last"));
        let rows = [
            b"{\"data\":[",
            first.as_bytes(),
            b",",
            row,
            b",",
            last.as_bytes(),
        ];
        [&rows.concat()[..], b"],\"nextCursor\":\"next\"}"].concat()
    };
    each(&CALL, &optional_of_call(), |case, row| {
        let (calls, unreadable, next) = read_list(&page(row), &DriftWatch::default()).expect(case);
        assert_eq!(
            (calls.len(), unreadable, next),
            (3, 0, Ok(Some("next".to_owned()))),
            "{case}"
        );
    });
    let mut ids = shapes();
    ids.retain(|id| id.len() < 5000 || id.starts_with(b"["));
    ids.extend([b"\"..\"".to_vec(), b"\".\"".to_vec(), b"\" \"".to_vec()]);
    for id in ids
        .iter()
        .filter(|id| !id.starts_with(b"\"2026") && !id.starts_with(b"\"+99"))
    {
        let row = object(&CALL, "id", id);
        for row in [&row[..], id] {
            let case = String::from_utf8_lossy(id);
            let (calls, unreadable, _) = read_list(&page(row), &DriftWatch::default()).unwrap();
            assert_eq!((calls.len(), unreadable), (2, 1), "{case}");
        }
    }
}

#[test]
fn a_cursor_that_cannot_be_used_costs_the_rest_of_the_list_and_says_so() {
    for shape in shapes() {
        let body = [
            b"{\"data\":[{\"id\":\"a\"}],\"nextCursor\":",
            &shape[..],
            b"}",
        ]
        .concat();
        let case = String::from_utf8_lossy(&shape[..shape.len().min(60)]).into_owned();
        let (calls, _, next) = read_list(&body, &DriftWatch::default()).expect(&case);
        assert_eq!(calls.len(), 1, "{case}");
        let ends = matches!(&shape[..], b"null");
        assert_eq!(next == Ok(None), ends, "{case}");
    }
}

#[test]
fn a_refusal_keeps_its_code() {
    let fields = [("code", "\"AGENT_ALREADY_EXISTS\""), ("message", "\"m\"")];
    each(
        &fields,
        &["message", "requestId", "details"],
        |case, error| {
            let body = [b"{\"error\":", error, b",\"added\":\"\\ud83d\"}"].concat();
            let said = read_refusal(&body, &DriftWatch::default());
            assert_eq!(said.code.as_deref(), Some("AGENT_ALREADY_EXISTS"), "{case}");
        },
    );
    let details = [("agentId", "\"athos_agent_1\""), ("matchedOn", "\"email\"")];
    each(&details, &["agencyId", "matchedOn"], |case, details| {
        let error = object(&fields, "details", details);
        let body = [b"{\"error\":", &error[..], b"}"].concat();
        let said = read_refusal(&body, &DriftWatch::default());
        assert_eq!(said.existing_agent.expect(case).agent_id, "athos_agent_1");
    });
}

#[test]
fn a_mint_keeps_its_token_and_the_roster_its_ids() {
    let token = [
        ("token", "\"t\""),
        ("expiresAt", "\"2026-06-05T18:09:14.000Z\""),
    ];
    each(&token, &[], |case, body| {
        read_session(body, &DriftWatch::default()).expect(case);
    });
    let agency = [("id", "\"athos_agency_1\""), ("name", "\"Acme\"")];
    each(
        &agency,
        &["name", "platformAgencyId", "createdAt"],
        |case, body| {
            assert_eq!(
                read_agency(body, &DriftWatch::default()).expect(case).id,
                "athos_agency_1"
            );
        },
    );
    let agent = [
        ("id", "\"athos_agent_1\""),
        ("agencyId", "\"athos_agency_1\""),
    ];
    let optional = [
        "firstName",
        "lastName",
        "email",
        "npn",
        "platformAgentId",
        "createdAt",
    ];
    each(&agent, &optional, |case, agent| {
        let body = [b"{\"agent\":", agent, b",\"agency\":", b"\"\\ud83d\"}"].concat();
        let (agent_read, agency) = read_registration(&body, &DriftWatch::default()).expect(case);
        assert_eq!(agent_read.id, "athos_agent_1", "{case}");
        assert_eq!(agency.id, "athos_agency_1", "{case}");
        if case.starts_with("platformAgentId:") && !case.ends_with(": null") {
            assert!(agent_read.platform_id.is_some(), "{case}: it is somebody's");
        }
        let body = [
            b"{\"data\":[{\"id\":7},",
            agent,
            b",\"\\ud83d\"],\"nextCursor\":null}",
        ]
        .concat();
        let (agents, _) = read_agents(&body, &DriftWatch::default()).expect(case);
        assert_eq!(agents.len(), 1, "{case}");
    });
}
