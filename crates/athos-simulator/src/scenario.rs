//! The people who answer and what is said: personas, transcripts and scores, all plausible and all
//! drawn from a seeded generator. The content is in `data.rs`.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::data::{DIALOGUE, PERSONAS, Place, Product, RUBRIC};
use athos_api::Timestamp;

/// How hard the persona makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Difficulty {
    Beginner,
    Advanced,
    Elite,
}

impl Difficulty {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "Beginner" => Some(Self::Beginner),
            "Advanced" => Some(Self::Advanced),
            "Elite" => Some(Self::Elite),
            _ => None,
        }
    }

    /// Points off for the same skill.
    fn handicap(self) -> i32 {
        match self {
            Self::Beginner => -6,
            Self::Advanced => 0,
            Self::Elite => 9,
        }
    }
}

/// Who answers the phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Persona {
    pub(super) name: String,
    /// What the rep sees of them, in the drills that show it.
    pub(super) details: Option<Value>,
}

/// What a rep wishes the persona to be. Like every filter, it never fails a call.
#[derive(Default)]
pub(super) struct Wishes<'a> {
    pub(super) state: Option<&'a str>,
    pub(super) category: Option<&'a str>,
}

/// Draws a persona, for a drill or for a real call.
pub(super) fn persona(
    rng: &mut StdRng,
    product: &Product,
    drill_key: Option<&str>,
    wishes: &Wishes<'_>,
    now: Timestamp,
) -> Persona {
    let first = pick(rng, &PERSONAS.first_names);
    let last = pick(rng, &PERSONAS.last_names);
    let (youngest, oldest) = product.ages;
    let age = rng.random_range(youngest..=oldest);
    let details = drill_key.is_some_and(shows_details);
    Persona {
        name: format!("{first} {last}"),
        details: details.then(|| draw_details(rng, age, wishes, now)),
    }
}

/// Whether the vendor gives the persona's details with a drill: Medicare Advantage, Hospital Indemnity and Critical
/// Illness, but for one.
fn shows_details(drill_key: &str) -> bool {
    let product = drill_key.split('-').next();
    matches!(product, Some("ma" | "hi" | "ci")) && drill_key != "ma-sep-hunting"
}

/// Details with the vendor's keys; any value may be missing.
fn draw_details(rng: &mut StdRng, age: u8, wishes: &Wishes<'_>, now: Timestamp) -> Value {
    let year: i32 = now.to_string()[..4].parse().unwrap_or(2026);
    let (month, day) = (rng.random_range(1..=12), rng.random_range(1..=28));
    let house = rng.random_range(1..=999);
    let street = pick(rng, &PERSONAS.streets);
    let drawn = pick(rng, &PERSONAS.places);
    let place = match wishes.state {
        Some(state) => PERSONAS.places.iter().find(|place| place.state == state),
        None => Some(drawn),
    };
    let of_place = |part: fn(&Place) -> &String| place.map(part);
    let category = pick(rng, &PERSONAS.categories);
    let medicaid = pick(rng, &PERSONAS.medicaid_levels);
    let plan = pick(rng, &PERSONAS.plans);
    json!({
        "gender": pick(rng, &["female", "male"]),
        "dateOfBirth": format!("{}-{month:02}-{day:02}", year - i32::from(age) - 1),
        // The number on the specimen card: nobody has it.
        "mbi": rng.random_ratio(4, 5).then_some("1EG4TE5MK73"),
        "address": {
            "street": format!("{house} {street}"),
            "city": of_place(|place| &place.city),
            "state": wishes.state.unwrap_or(&drawn.state),
            "zipCode": of_place(|place| &place.zip_code),
            "county": of_place(|place| &place.county),
        },
        "category": wishes.category.unwrap_or(category),
        "medicaidLevel": rng.random_ratio(1, 4).then_some(medicaid),
        "currentPlan": rng.random_ratio(2, 3).then_some(plan),
    })
}

/// How well a call went, and what the scorer says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Score {
    pub(super) overall: u8,
    pub(super) summary: String,
    pub(super) feedback: String,
}

/// Scores a call. Practice helps: `earlier_calls` of the same rep raise the mean, ever more slowly.
pub(super) fn score(
    rng: &mut StdRng,
    difficulty: Difficulty,
    earlier_calls: usize,
    persona: &Persona,
) -> Score {
    let practice = i32::try_from(earlier_calls.min(40)).unwrap_or(40) * 3 / 4;
    let luck = rng.random_range(-11..=11);
    let points = (63 + practice + luck - difficulty.handicap()).clamp(0, 100);
    verdict(rng, u8::try_from(points).unwrap_or(0), persona)
}

/// Scores a call with a customer: from 60 up, or 0 when there is no headline score.
pub(super) fn real_score(rng: &mut StdRng, persona: &Persona) -> Score {
    let drawn = rng.random_range(60..=100);
    let mut score = verdict(rng, drawn, persona);
    if rng.random_ratio(1, 8) {
        score.overall = 0;
    }
    score
}

fn verdict(rng: &mut StdRng, overall: u8, persona: &Persona) -> Score {
    let first_name = persona.name.split(' ').next().unwrap_or("The prospect");
    let verdict = RUBRIC.verdict(overall);
    Score {
        overall,
        summary: pick(rng, &verdict.summaries).replace("{name}", first_name),
        feedback: pick(rng, &verdict.feedback).replace("{name}", first_name),
    }
}

/// Who speaks a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    Rep,
    Persona,
}

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) speaker: Speaker,
    pub(super) text: String,
}

/// Draws a conversation: greeting, needs, the offer, an objection or two, the close. The longer the
/// call, the more of it there is.
pub(super) fn transcript(
    rng: &mut StdRng,
    product: &Product,
    persona: &Persona,
    duration_secs: u64,
) -> Vec<Line> {
    let first_name = persona.name.split(' ').next().unwrap_or("there");
    let mut said = Vec::new();
    let mut say = |speaker, text: &str| {
        said.push(Line {
            speaker,
            text: text.replace("{name}", first_name),
        });
    };

    let hello = pick(rng, &DIALOGUE.hellos);
    say(Speaker::Persona, hello);
    let (rep, answer) = pick(rng, &DIALOGUE.openings);
    say(Speaker::Rep, rep);
    say(Speaker::Persona, answer);

    // About one exchange for each quarter of a minute, as long as there is something left to say.
    let exchanges = usize::try_from(duration_secs / 15).unwrap_or(usize::MAX);
    let (needs, objections) = (&product.needs, &product.objections);
    let asked = exchanges.clamp(1, needs.len());
    let objected = exchanges.saturating_sub(asked).clamp(1, objections.len());
    for (rep, answer) in needs.sample(rng, asked) {
        say(Speaker::Rep, rep);
        say(Speaker::Persona, answer);
    }
    for (objection, reply) in objections.sample(rng, objected) {
        say(Speaker::Persona, objection);
        say(Speaker::Rep, reply);
    }
    let (rep, answer) = pick(rng, &DIALOGUE.closes);
    say(Speaker::Rep, rep);
    say(Speaker::Persona, answer);
    said
}

fn pick<'a, T>(rng: &mut impl Rng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

#[cfg(test)]
mod tests {
    use super::super::data::{PRODUCTS, product_of};
    use super::super::seeded::Seed;
    use super::*;

    fn drills() -> impl Iterator<Item = (&'static str, &'static Product)> {
        let of =
            |product: &'static Product| product.drills.iter().map(move |key| (&**key, product));
        PRODUCTS.iter().flat_map(of)
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_780_000_000_000)
    }

    #[test]
    fn details_come_with_the_drills_that_have_them_and_have_the_vendors_keys() {
        let (mut nulls, mut values) = (0, 0);
        for n in 0..40 {
            for (key, product) in drills() {
                let rng = &mut Seed(n).rng("persona", 0);
                let wishes = Wishes {
                    state: Some("HI"),
                    category: Some("Veteran"),
                };
                let details = persona(rng, product, Some(key), &wishes, now()).details;
                let has = ["ma-", "hi-", "ci-"].iter().any(|of| key.starts_with(of));
                assert_eq!(details.is_some(), has && key != "ma-sep-hunting", "{key}");
                let Some(details) = details else { continue };
                let keys = |value: &Value| {
                    value
                        .as_object()
                        .unwrap()
                        .keys()
                        .cloned()
                        .collect::<Vec<_>>()
                        .join(" ")
                };
                assert_eq!(
                    keys(&details),
                    "gender dateOfBirth mbi address category medicaidLevel currentPlan"
                );
                assert_eq!(
                    keys(&details["address"]),
                    "street city state zipCode county"
                );
                assert_eq!(details["address"]["state"], "HI");
                assert_eq!(details["category"], "Veteran");
                match &details["currentPlan"] {
                    Value::Null => nulls += 1,
                    plan => {
                        assert_eq!(keys(plan), "name contractId planId planType");
                        values += 1;
                    }
                }
            }
        }
        assert!(nulls > 0 && values > 0);
    }

    #[test]
    fn every_drill_gives_a_conversation_that_two_people_hold() {
        for (n, (key, product)) in drills().enumerate() {
            let n = n as u64;
            let wishes = Wishes {
                state: Some("CA"),
                category: None,
            };
            let rng = &mut Seed(1).rng("persona", n);
            let persona = persona(rng, product, Some(key), &wishes, now());
            if let Some(details) = &persona.details {
                assert_eq!(details["address"]["city"], "Fresno", "{key}");
            }
            for seconds in [0, 37, 612, u64::MAX] {
                let rng = &mut Seed(1).rng("talk", n);
                let lines = transcript(rng, product, &persona, seconds);
                assert!(lines.len() >= 6, "{key}");
                assert!(lines.iter().any(|line| line.speaker == Speaker::Rep));
                assert!(!lines.iter().any(|line| line.text.contains('{')), "{key}");
            }
        }
    }

    #[test]
    fn scores_stay_between_0_and_100_and_practice_helps() {
        let product = product_of("fe-closing").unwrap();
        let mean = |earlier: usize, difficulty| {
            let total: u32 = (0..200)
                .map(|n| {
                    let rng = &mut Seed(1).rng("score", n);
                    let persona = persona(rng, product, None, &Wishes::default(), now());
                    let score = score(rng, difficulty, earlier, &persona);
                    assert!(score.overall <= 100);
                    assert!(!score.summary.is_empty() && !score.feedback.is_empty());
                    u32::from(score.overall)
                })
                .sum();
            total / 200
        };
        assert!(mean(20, Difficulty::Advanced) > mean(0, Difficulty::Advanced));
        assert!(mean(0, Difficulty::Beginner) > mean(0, Difficulty::Elite));
    }
}
