//! The people who answer and what is said: personas, transcripts and scores, all plausible and all
//! drawn from a seeded generator. The lines themselves are in `lines.rs`.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::Serialize;

use super::lines::{self, Family};

/// The vendor's catalogue: a drill and the product it practises.
const DRILLS: &[(&str, Family)] = &[
    ("ma-full-sale", Family::MedicareAdvantage),
    ("ma-t65", Family::MedicareAdvantage),
    ("ma-objection-handling", Family::MedicareAdvantage),
    ("ma-needs-analysis", Family::MedicareAdvantage),
    ("ma-sep-hunting", Family::MedicareAdvantage),
    ("ma-hhc", Family::MedicareAdvantage),
    ("ma-hhc-downsell", Family::Ancillary),
    ("ma-hhc-crosssell", Family::Ancillary),
    ("ma-hhc-upsell", Family::Ancillary),
    ("ms-full-sale", Family::MedicareSupplement),
    ("fe-full-sale", Family::FinalExpense),
    ("fe-objection-handling", Family::FinalExpense),
    ("fe-closing", Family::FinalExpense),
    ("u65-full-sale", Family::Under65),
    ("hi-downsell", Family::Ancillary),
    ("hi-upsell", Family::Ancillary),
    ("hi-crosssell", Family::Ancillary),
    ("ci-downsell", Family::Ancillary),
    ("ci-upsell", Family::Ancillary),
    ("ci-crosssell", Family::Ancillary),
];

/// What a drill practises; nothing for an unknown key.
pub(super) fn family_of(drill_key: &str) -> Option<Family> {
    let drill = DRILLS.iter().find(|(key, _)| *key == drill_key)?;
    Some(drill.1)
}

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
    pub(super) details: String,
}

/// Draws a persona; `state` is a wish, and like every filter it never fails a call.
pub(super) fn persona(rng: &mut StdRng, family: Family, state: Option<&str>) -> Persona {
    let (first, last) = (pick(rng, lines::FIRST_NAMES), pick(rng, lines::LAST_NAMES));
    let age = rng.random_range(lines::ages(family));
    let trade = pick(rng, lines::TRADES);
    let drawn = pick(rng, lines::STATES);
    let state = state.unwrap_or(drawn);
    let worry = pick(rng, lines::worries(family));
    Persona {
        name: format!("{first} {last}"),
        details: format!("{age}, {trade}, {state}. {worry}"),
    }
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
    let (summaries, feedback) = lines::verdicts(overall);
    Score {
        overall,
        summary: pick(rng, summaries).replace("{name}", first_name),
        feedback: pick(rng, feedback).replace("{name}", first_name),
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
    family: Family,
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

    say(Speaker::Persona, pick(rng, lines::HELLOS));
    let (rep, answer) = *pick_ref(rng, lines::OPENINGS);
    say(Speaker::Rep, rep);
    say(Speaker::Persona, answer);

    // About one exchange for each quarter of a minute, as long as there is something left to say.
    let exchanges = usize::try_from(duration_secs / 15).unwrap_or(usize::MAX);
    let needs = lines::needs(family);
    let objections = lines::objections(family);
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
    let (rep, answer) = *pick_ref(rng, lines::CLOSES);
    say(Speaker::Rep, rep);
    say(Speaker::Persona, answer);
    said
}

fn pick<'a>(rng: &mut impl Rng, from: &[&'a str]) -> &'a str {
    from.choose(rng).copied().unwrap_or_default()
}

fn pick_ref<'a, T>(rng: &mut impl Rng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

#[cfg(test)]
mod tests {
    use super::super::seeded::Seed;
    use super::*;

    #[test]
    fn every_drill_gives_a_conversation_that_two_people_hold() {
        for (n, (key, family)) in DRILLS.iter().enumerate() {
            let n = n as u64;
            let persona = persona(&mut Seed(1).rng("persona", n), *family, Some("CA"));
            assert!(persona.details.contains("CA"), "{key}: {persona:?}");
            for seconds in [0, 37, 612, u64::MAX] {
                let rng = &mut Seed(1).rng("talk", n);
                let lines = transcript(rng, *family, &persona, seconds);
                assert!(lines.len() >= 6, "{key}");
                assert!(lines.iter().any(|line| line.speaker == Speaker::Rep));
                assert!(!lines.iter().any(|line| line.text.contains('{')), "{key}");
            }
        }
    }

    #[test]
    fn scores_stay_between_0_and_100_and_practice_helps() {
        let family = Family::FinalExpense;
        let mean = |earlier: usize, difficulty| {
            let total: u32 = (0..200)
                .map(|n| {
                    let rng = &mut Seed(1).rng("score", n);
                    let persona = persona(rng, family, None);
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
