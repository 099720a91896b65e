//! Compliance of a call: a percentage, with a scorecard in either of the vendor's shapes or without one, or nothing: not
//! every call is assessed. Which calls may have a scorecard is in `call.rs`.

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};

use super::data::{Category, Question, RUBRIC};

/// An assessment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Compliance {
    pub(super) percent: u32,
    pub(super) scorecard: Option<Value>,
}

/// Draws an assessment: mostly by the current rubric, sometimes in the older shape, sometimes a percentage alone, sometimes
/// none.
pub(super) fn draw(rng: &mut StdRng) -> Option<Compliance> {
    match rng.random_range(0..5) {
        0 | 1 => Some(by_rubric(rng)),
        2 => Some(by_section(rng)),
        3 => Some(Compliance {
            percent: rng.random_range(40..=100),
            scorecard: None,
        }),
        _ => None,
    }
}

fn by_rubric(rng: &mut StdRng) -> Compliance {
    let (mut earned_in_all, mut possible_in_all, mut number) = (0, 0, 0);
    let mut categories = Vec::new();
    for Category {
        key,
        label,
        questions,
    } in &RUBRIC.compliance
    {
        let (mut earned, mut possible, mut answers) = (0, 0, Vec::new());
        for Question { key, label, points } in questions {
            number += 1;
            let (yes_no, score, explanation) = answer(rng, *points);
            earned += score;
            possible += points;
            answers.push(json!({
                "key": key,
                "number": number,
                "label": label,
                "points": points,
                "conditional": false,
                "binary": false,
                "yesNo": yes_no,
                "score": score,
                "evidence": if score == 0 { "" } else { "This call is recorded, and you decide for yourself?" },
                "explanation": explanation,
            }));
        }
        categories.push(json!({
            "key": key,
            "label": label,
            "percent": percent(earned, possible),
            "earned": earned,
            "possible": possible,
            "questions": answers,
        }));
        earned_in_all += earned;
        possible_in_all += possible;
    }
    Compliance {
        percent: percent(earned_in_all, possible_in_all),
        scorecard: Some(json!({ "rubricVersion": 2, "categories": categories })),
    }
}

/// The older shape: no version, and a map of sections.
fn by_section(rng: &mut StdRng) -> Compliance {
    let (mut earned_in_all, mut possible_in_all) = (0, 0);
    let mut sections = Map::new();
    for Category {
        key,
        label,
        questions,
    } in &RUBRIC.compliance
    {
        let possible: u32 = questions.iter().map(|question| question.points).sum();
        let earned = rng.random_range(possible / 2..=possible);
        let section = json!({
            "label": label,
            "score": earned,
            "maxScore": possible,
            "notes": if earned == possible { "All there." } else { "Not everything was said." },
        });
        sections.insert(key.clone(), section);
        earned_in_all += earned;
        possible_in_all += possible;
    }
    Compliance {
        percent: percent(earned_in_all, possible_in_all),
        scorecard: Some(Value::Object(sections)),
    }
}

fn answer(rng: &mut impl Rng, points: u32) -> (&'static str, u32, &'static str) {
    match rng.random_range(0..6) {
        0 => ("no", 0, "Missing."),
        1 | 2 => ("partial", points / 2, "Begun, and not finished."),
        _ => ("yes", points, "Confirmed."),
    }
}

fn percent(earned: u32, possible: u32) -> u32 {
    (earned * 100 + possible / 2) / possible.max(1)
}

#[cfg(test)]
mod tests {
    use super::super::seeded::Seed;
    use super::*;

    #[test]
    fn both_shapes_a_percentage_alone_and_no_assessment_at_all_turn_up() {
        let drawn: Vec<_> = (0..60)
            .map(|n| draw(&mut Seed(1).rng("compliance", n)))
            .collect();
        let has = |key: &str| {
            let mut assessed = drawn.iter().flatten();
            assessed.any(|drawn| {
                drawn
                    .scorecard
                    .as_ref()
                    .is_some_and(|card| card.get(key).is_some())
            })
        };
        let mut assessed = drawn.iter().flatten();
        assert!(assessed.any(|drawn| drawn.scorecard.is_none()));
        assert!(has("rubricVersion") && has("callOpening"));
        assert!(drawn.iter().any(Option::is_none));
        assert!(drawn.iter().flatten().all(|drawn| drawn.percent <= 100));
    }

    #[test]
    fn a_scorecard_of_the_rubric_has_the_shape_of_the_example() {
        let example: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/call.roster.json")).unwrap();
        let example = &example["score"]["complianceScorecard"];
        let drawn = by_rubric(&mut Seed(1).rng("compliance", 0));
        let drawn = drawn.scorecard.unwrap();
        let keys =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(keys(&drawn), keys(example));
        let category = &drawn["categories"][0];
        assert_eq!(keys(category), keys(&example["categories"][0]));
        assert_eq!(
            keys(&category["questions"][0]),
            keys(&example["categories"][0]["questions"][0])
        );
        for (path, value) in [("label", "Call Opening"), ("key", "callOpening")] {
            assert_eq!(category[path], value);
        }
    }
}
