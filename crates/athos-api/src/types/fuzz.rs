//! Hostile payloads: the contract's examples with fields of any type in any place, cut and bent, and bytes that are none
//! of it. `scripts/fuzz` runs these for longer than the test suite does.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Number, Value};

use super::*;
use crate::PlatformId;
use crate::drift::{DriftWatch, MAX_NAMES_PER_BODY};

const EXAMPLES: &[&str] = &[
    include_str!("../../../../tests/fixtures/webhook.external.scored.json"),
    include_str!("../../../../tests/fixtures/webhook.external.failed.json"),
    include_str!("../../../../tests/fixtures/webhook.roster.scored.json"),
    include_str!("../../../../tests/fixtures/call.external.json"),
    include_str!("../../../../tests/fixtures/call.roster.json"),
    r#"{"data":[{"id":"c","source":"roleplay","startedAt":"2026-06-05T18:09:14.000Z"}],"nextCursor":"n"}"#,
    r#"{"error":{"code":"X","message":"m","requestId":"r","details":{"agentId":"a","matchedOn":"email"}}}"#,
    r#"{"token":"t","expiresAt":"2026-06-05T18:09:14.000Z"}"#,
    r#"{"agent":{"id":"a","firstName":"f","lastName":"l","agencyId":"y"},"agency":{"id":"y","name":"n"}}"#,
];

/// Words that mean something somewhere, and text that should not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("call.scored".to_owned()),
        Just("2026-06-05T18:09:14.000Z".to_owned()),
        Just("+999999-12-31T23:59:59Z".to_owned()),
        Just("audioUrl".to_owned()),
        "\\PC{0,40}",
        "(?s).{0,8}",
        Just("x".repeat(5000)),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        any::<f64>().prop_filter_map("JSON has no such number", Number::from_f64),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number.prop_map(Value::Number),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Puts a value somewhere into another.
fn put(into: &mut Value, path: &[Index], value: Value) {
    let place = match (into, path) {
        (Value::Object(fields), [at, ..]) if !fields.is_empty() => {
            let at = at.index(fields.len());
            fields.values_mut().nth(at)
        }
        (Value::Array(items), [at, ..]) if !items.is_empty() => {
            let at = at.index(items.len());
            items.get_mut(at)
        }
        (place, _) => {
            *place = value;
            return;
        }
    };
    if let Some(place) = place {
        put(place, &path[1..], value);
    }
}

/// A payload that might have been one of Athos's.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let path = || prop::collection::vec(any::<Index>(), 1..4);
    let bent = || {
        (
            prop::sample::select(EXAMPLES),
            prop::collection::vec((path(), any_json()), 0..4),
        )
            .prop_map(|(example, changes)| {
                let mut value: Value = serde_json::from_str(example).unwrap();
                for (path, change) in changes {
                    put(&mut value, &path, change);
                }
                value.to_string().into_bytes()
            })
    };
    let broken = (bent(), any::<Index>(), any::<u8>(), any::<Index>()).prop_map(
        |(mut bytes, at, byte, end)| {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes.truncate(end.index(bytes.len()) + 1);
            }
            bytes
        },
    );
    let nested = (0_usize..2000).prop_map(|depth| {
        let opened = "[".repeat(depth);
        format!(r#"{{"event":{opened}"#).into_bytes()
    });
    prop_oneof![
        8 => bent(),
        4 => broken,
        2 => any_json().prop_map(|value| value.to_string().into_bytes()),
        1 => nested,
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn holds_a_link(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name.starts_with("audioUrl") || holds_a_link(value)),
        Value::Array(items) => items.iter().any(holds_a_link),
        _ => false,
    }
}

proptest! {
    #[test]
    fn any_webhook_body_is_understood_or_not_and_its_id_can_be_stored(body in payload()) {
        let drift = DriftWatch::default();
        let delivered = read_delivery(&body, &drift);
        // Athos's news is remembered, and no body has much of it.
        prop_assert!(drift.take().len() <= MAX_NAMES_PER_BODY);
        prop_assert_eq!(&delivered, &read_event(&body));
        if let Ok(event) = delivered {
            prop_assert!(PlatformId::new(&event.call_id).is_ok());
        }
    }

    #[test]
    fn any_detail_is_read_or_refused_and_what_is_kept_holds_no_link(body in payload()) {
        if let Ok(detail) = read_detail(&body, &DriftWatch::default()) {
            let kept: Value = serde_json::from_str(&detail.raw).unwrap();
            prop_assert!(!holds_a_link(&kept));
            prop_assert!(detail.overall_score.is_none_or(f64::is_finite));
            prop_assert!(read_content(&detail.raw).is_ok());
            let without: Value = serde_json::from_str(&redact_transcript(&detail.raw)).unwrap();
            prop_assert!(!holds_a_link(&without));
            // What was written for a call that reconciliation found is read again as that call.
            if PlatformId::new(&detail.header.id).is_ok() {
                prop_assert_eq!(read_event(&write_event(&detail.header)).unwrap().call_id, detail.header.id);
            }
        }
        let _ = read_recording(&body);
    }

    #[test]
    fn any_other_answer_of_athos_is_read_or_refused(body in payload()) {
        let _ = read_list(&body, &DriftWatch::default());
        let _ = read_session(&body, &DriftWatch::default());
        let _ = read_agency(&body, &DriftWatch::default());
        let _ = read_registration(&body, &DriftWatch::default());
        let _ = read_agents(&body, &DriftWatch::default());
        let _ = read_refusal(&body, &DriftWatch::default());
    }
}

#[test]
fn the_examples_are_payloads_of_athos() {
    let scored = EXAMPLES
        .iter()
        .filter(|example| read_event(example.as_bytes()).is_ok());
    assert_eq!(scored.count(), 3);
    let details = EXAMPLES
        .iter()
        .filter(|example| read_detail(example.as_bytes(), &DriftWatch::default()).is_ok());
    assert_eq!(details.count(), 2);
}
