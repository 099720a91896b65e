//! The names that the contract mentions, by the object they are in, for both generations; and the comparison of a payload
//! with them. Scorecards are left out: their keys are the rubric's, not the contract's.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::flat::{FlatFields, Shape};
use super::{DAMAGED, Fields};
use crate::drift::{DriftWatch, MAX_NAMES_PER_BODY};
use crate::{Drift, DriftKind, Timestamp};

/// Known names.
type Names = &'static [&'static str];

/// A kind of object and its known names.
pub(super) struct Place {
    name: &'static str,
    /// Fields that hold anything.
    fields: &'static [Names],
    /// Fields that hold one of a few words.
    words: &'static [(&'static str, DriftKind, Names)],
    /// Fields that hold an object, or a list of them.
    parts: &'static [(&'static str, &'static Place)],
}

const fn place(name: &'static str, fields: &'static [Names]) -> Place {
    Place {
        name,
        fields,
        words: &[],
        parts: &[],
    }
}

/// Ids of reps and agencies, of either generation.
pub(super) const IDS: Names = &[
    "externalUserId",
    "externalAgencyId",
    "agentId",
    "agencyId",
    "platformAgentId",
    "platformAgencyId",
];
const CALL_FIELDS: Names = &[
    "id",
    "drillKey",
    "startedAt",
    "endedAt",
    "durationSec",
    "scoredAt",
];
const SOURCE: (&str, DriftKind, Names) = ("source", DriftKind::Source, &["roleplay", "real_call"]);

pub(super) const WEBHOOK: Place = Place {
    words: &[
        SOURCE,
        ("event", DriftKind::Event, &["call.scored"]),
        ("reason", DriftKind::Code, &["SCORING_INCOMPLETE"]),
    ],
    ..place(
        "webhook",
        &[
            IDS,
            &[
                "success",
                "callId",
                "occurredAt",
                "requestId",
                "reasonMessage",
            ],
        ],
    )
};

pub(super) const CALL: Place = Place {
    words: &[SOURCE],
    parts: &[("score", &SCORE), ("transcript", &TURN)],
    ..place(
        "call",
        &[
            IDS,
            CALL_FIELDS,
            &[
                "status",
                "audioUrl",
                "audioUrlExpiresAt",
                "waveform",
                "createdAt",
                "updatedAt",
            ],
        ],
    )
};
const SCORE: Place = place(
    "score",
    &[&[
        "overallScore",
        "summary",
        "feedback",
        "compliancePercent",
        "complianceScorecard",
    ]],
);
const TURN: Place = Place {
    words: &[(
        "role",
        DriftKind::Role,
        &["user", "assistant", "agent", "beneficiary"],
    )],
    ..place("transcript", &[&["content", "startTime", "endTime"]])
};

pub(super) const CALLS: Place = Place {
    parts: &[("data", &LISTED_CALL)],
    ..place("list of calls", &[&["nextCursor"]])
};
const LISTED_CALL: Place = Place {
    words: &[SOURCE],
    ..place("listed call", &[IDS, CALL_FIELDS])
};

pub(super) const TOKEN: Place = place("token", &[&["token", "expiresAt"]]);

pub(super) const ERROR: Place = Place {
    words: &[(
        "code",
        DriftKind::Code,
        &[
            "INVALID_REQUEST",
            "DRILL_NOT_FOUND",
            "INVALID_API_KEY",
            "API_KEY_REVOKED",
            "INVALID_TOKEN",
            "TOKEN_EXPIRED",
            "TOKEN_ALREADY_USED",
            "IP_NOT_ALLOWED",
            "TENANT_INACTIVE",
            "TENANT_QUOTA_EXCEEDED",
            "CALL_NOT_FOUND",
            "AGENT_NOT_FOUND",
            "AGENCY_NOT_FOUND",
            "AGENT_ALREADY_EXISTS",
            "INTERNAL_ERROR",
            "SERVICE_UNAVAILABLE",
        ],
    )],
    ..place("error", &[&["message", "requestId", "details"]])
};

pub(super) const AGENCY: Place = place(
    "agency",
    &[&["id", "name", "platformAgencyId", "createdAt"]],
);
const AGENT: Place = place(
    "agent",
    &[&[
        "id",
        "firstName",
        "lastName",
        "email",
        "npn",
        "platformAgentId",
        "agencyId",
        "createdAt",
    ]],
);

pub(super) const REGISTRATION: Place = Place {
    parts: &[("agent", &AGENT), ("agency", &AGENCY)],
    ..place("registration", &[])
};

pub(super) const AGENTS: Place = Place {
    parts: &[("data", &AGENT)],
    ..place("list of agents", &[&["nextCursor"]])
};

/// Whether `name` is one of the `names`.
fn has(names: Names, name: &str) -> bool {
    names.contains(&name)
}

impl Fields {
    /// Counts the names that are not known at this place, and returns the fields.
    pub(super) fn watched(self, place: &Place, drift: &DriftWatch) -> Self {
        let mut found = BTreeSet::new();
        place.compare(&self.0, &mut found);
        drift.note(found);
        self
    }
}

/// Fields that hold a number, a flag, or anything; all others hold text.
const NUMBERS: Names = &[
    "durationSec",
    "overallScore",
    "compliancePercent",
    "startTime",
    "endTime",
];
const FLAGS: Names = &["success"];
const ANYTHING: Names = &["waveform", "complianceScorecard", "details"];

/// The actual kind of a value of the wrong kind; such a value reads as absent.
fn oddity(field: &str, value: &Shape<'_>) -> Option<&'static str> {
    match value {
        Shape::Null => None,
        _ if has(ANYTHING, field) => None,
        Shape::Flag(_) => (!has(FLAGS, field)).then_some("flag"),
        Shape::Number => (!has(NUMBERS, field)).then_some("number"),
        Shape::List => Some("list"),
        Shape::Object => Some("object"),
        Shape::Text(_) if has(NUMBERS, field) || has(FLAGS, field) => Some("text"),
        Shape::Text(text) if text.contains(DAMAGED) => Some("damaged"),
        Shape::Text(text) => {
            let is_time = field.ends_with("At");
            (is_time && text.parse::<Timestamp>().is_err()).then_some("no_time")
        }
    }
}

impl Place {
    /// The names in an object that are not known at this place, and in its parts.
    fn compare(&self, object: &Map<String, Value>, found: &mut BTreeSet<Drift>) {
        for (field, value) in object {
            let Some((_, part)) = self.parts.iter().find(|(name, _)| name == field) else {
                self.compare_field(field, &value.into(), found);
                continue;
            };
            let objects = value
                .as_array()
                .map_or(std::slice::from_ref(value), Vec::as_slice);
            for part_value in objects {
                match part_value {
                    Value::Object(object) => part.compare(object, found),
                    Value::Null => {}
                    other => {
                        let oddity = oddity(field, &other.into()).or(Some("text"));
                        self.add_odd(field, oddity, found);
                    }
                }
            }
        }
    }

    /// The names in an object without parts that are not known at this place.
    pub(super) fn compare_flat(&self, object: &FlatFields<'_>) -> BTreeSet<Drift> {
        let mut found = BTreeSet::new();
        for (field, value) in object.iter() {
            self.compare_field(field, value, &mut found);
        }
        found
    }

    fn compare_field(&self, field: &str, value: &Shape<'_>, found: &mut BTreeSet<Drift>) {
        let is_named = |(name, ..): &&(&str, DriftKind, Names)| *name == field;
        if let Some((_, kind, words)) = self.words.iter().find(is_named) {
            let word = value.text().filter(|word| !has(words, word));
            self.add(*kind, word, found);
            self.add_odd(field, oddity(field, value), found);
        } else if self.fields.iter().any(|some| has(some, field)) {
            self.add_odd(field, oddity(field, value), found);
        } else {
            self.add(DriftKind::Field, Some(field), found);
        }
    }

    /// Records a known field with a value of the wrong kind.
    fn add_odd(&self, field: &str, oddity: Option<&str>, found: &mut BTreeSet<Drift>) {
        let name = oddity.map(|oddity| format!("{field}.{oddity}"));
        self.add(DriftKind::Field, name.as_deref(), found);
    }

    fn add(&self, kind: DriftKind, name: Option<&str>, found: &mut BTreeSet<Drift>) {
        let Some(name) = name.filter(|_| found.len() < MAX_NAMES_PER_BODY) else {
            return;
        };
        found.insert(Drift {
            kind,
            place: self.name.to_owned(),
            name: plain(name).to_owned(),
        });
    }
}

/// The name, or a placeholder when it may be text or a secret: names are logged and shown.
fn plain(name: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_secret = ["ath_live_", "whsec_"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    if (1..=64).contains(&name.len()) && name.chars().all(is_plain) && !is_secret {
        name
    } else {
        "(no plain name)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_names(place: &Place, json: &str) -> Vec<String> {
        let drift = DriftWatch::default();
        let fields = Fields::read(json.as_bytes()).unwrap();
        fields.watched(place, &drift);
        let counted = drift.take().into_iter();
        counted
            .map(|(drift, count)| format!("{drift} x{count}"))
            .collect()
    }

    #[test]
    fn nothing_in_the_contracts_examples_is_new() {
        for (place, json) in [
            (
                &WEBHOOK,
                include_str!("../../../../tests/fixtures/webhook.external.scored.json"),
            ),
            (
                &WEBHOOK,
                include_str!("../../../../tests/fixtures/webhook.external.failed.json"),
            ),
            (
                &WEBHOOK,
                include_str!("../../../../tests/fixtures/webhook.roster.scored.json"),
            ),
            (
                &CALL,
                include_str!("../../../../tests/fixtures/call.external.json"),
            ),
            (
                &CALL,
                include_str!("../../../../tests/fixtures/call.roster.json"),
            ),
        ] {
            assert_eq!(new_names(place, json), [""; 0], "{json}");
        }
    }

    #[test]
    fn new_fields_and_words_are_named_once_a_body_wherever_they_stand() {
        let call = r#"{"id":"c","source":"video_call","mood":1,"waveform":{"x":1},
            "score":{"overallScore":1,"empathy":2,"complianceScorecard":{"anything":1}},
            "transcript":[{"role":"agent","tone":"x"},{"role":"supervisor","tone":"y"},7]}"#;
        assert_eq!(
            new_names(&CALL, call),
            [
                "the field mood (call) x1",
                "the field transcript.number (call) x1",
                "the field empathy (score) x1",
                "the field tone (transcript) x1",
                "the source video_call (call) x1",
                "the role supervisor (transcript) x1",
            ]
        );
        let list =
            r#"{"data":[{"id":"a","new":1},{"id":"b","new":2}],"nextCursor":null,"total":2}"#;
        assert_eq!(
            new_names(&CALLS, list),
            [
                "the field total (list of calls) x1",
                "the field new (listed call) x1"
            ]
        );
        let event = r#"{"event":"call.archived","success":false,"reason":"TOO_SHORT"}"#;
        assert_eq!(
            new_names(&WEBHOOK, event),
            [
                "the code TOO_SHORT (webhook) x1",
                "the event call.archived (webhook) x1"
            ]
        );
        // A word that is not text is a wrong value, not an unknown name.
        assert_eq!(
            new_names(&WEBHOOK, r#"{"event":7,"reason":null}"#),
            ["the field event.number (webhook) x1"]
        );
        let odd = r#"{"id":7,"drillKey":{},"startedAt":"soon","durationSec":"5","score":[1],"externalUserId":"\ud83d"}"#;
        assert_eq!(
            new_names(&CALL, odd),
            [
                "the field drillKey.object (call) x1",
                "the field durationSec.text (call) x1",
                "the field externalUserId.damaged (call) x1",
                "the field id.number (call) x1",
                "the field score.number (call) x1",
                "the field startedAt.no_time (call) x1",
            ]
        );
    }

    #[test]
    fn a_hostile_body_gives_few_names_and_plain_ones() {
        let long = "x".repeat(65);
        let odd = [
            "",
            " ",
            "a b",
            "é",
            "<b>",
            "a\u{0}",
            "a\nINFO forged",
            &long,
            "ath_live_abc",
            "whsec_abc",
        ];
        let body: Map<_, _> = odd
            .iter()
            .map(|name| ((*name).to_owned(), Value::Null))
            .collect();
        assert_eq!(
            new_names(&TOKEN, &Value::Object(body).to_string()),
            ["the field (no plain name) (token) x1"]
        );
        let many: Map<_, _> = (0..1000).map(|n| (format!("f{n}"), Value::Null)).collect();
        let many = Value::Object(many).to_string();
        assert_eq!(new_names(&TOKEN, &many).len(), MAX_NAMES_PER_BODY);
        let drift = DriftWatch::default();
        for n in 0..100 {
            let body: Map<_, _> = (0..10)
                .map(|m| (format!("f{n}_{m}"), Value::Null))
                .collect();
            Fields(body).watched(&TOKEN, &drift);
        }
        assert_eq!(drift.take().len(), 200);
        assert!(drift.take().is_empty());
    }
}
