//! The content of calls, from the files in `data/`: products with their dialogue, personas, and the rubric. What is picked,
//! and how much of it, is decided in `scenario.rs` and `compliance.rs`.

use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A line, and the answer to it.
pub(super) type Exchange = (String, String);

/// What companies sell; it decides what people worry about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Product {
    /// The drills of the vendor's catalogue that practise it.
    pub(super) drills: Vec<String>,
    /// The youngest and the oldest age of its customers.
    pub(super) ages: (u8, u8),
    /// Whether simulated real calls are about it.
    pub(super) has_real_calls: bool,
    /// Questions that find out what is needed, and their answers.
    pub(super) needs: Vec<Exchange>,
    /// Objections of the persona, and the replies of the rep.
    pub(super) objections: Vec<Exchange>,
}

/// How every call begins and ends.
#[derive(Deserialize)]
pub(super) struct Dialogue {
    pub(super) hellos: Vec<String>,
    pub(super) openings: Vec<Exchange>,
    pub(super) closes: Vec<Exchange>,
}

/// What personas, and agents without a name, are made from.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Personas {
    pub(super) first_names: Vec<String>,
    pub(super) last_names: Vec<String>,
    pub(super) places: Vec<Place>,
    pub(super) streets: Vec<String>,
    pub(super) categories: Vec<String>,
    pub(super) medicaid_levels: Vec<String>,
    /// Insurance plans, as a persona's details show them.
    pub(super) plans: Vec<serde_json::Value>,
}

/// Where a persona lives.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    pub(super) state: String,
    pub(super) city: String,
    pub(super) county: String,
    pub(super) zip_code: String,
}

/// How calls are judged.
#[derive(Deserialize)]
pub(super) struct Rubric {
    verdicts: Vec<Verdict>,
    /// The compliance questions, by category.
    pub(super) compliance: Vec<Category>,
}

/// Summaries and feedback for scores below a number.
#[derive(Deserialize)]
pub(super) struct Verdict {
    below: u8,
    pub(super) summaries: Vec<String>,
    pub(super) feedback: Vec<String>,
}

/// A category of compliance questions.
#[derive(Deserialize)]
pub(super) struct Category {
    pub(super) key: String,
    pub(super) label: String,
    pub(super) questions: Vec<Question>,
}

/// A compliance question and the points it is worth.
#[derive(Deserialize)]
pub(super) struct Question {
    pub(super) key: String,
    pub(super) label: String,
    pub(super) points: u32,
}

impl Rubric {
    /// The verdict on a score from 0 to 100.
    pub(super) fn verdict(&self, overall: u8) -> &Verdict {
        let fits = |verdict: &&Verdict| overall < verdict.below;
        let last = &self.verdicts[self.verdicts.len() - 1];
        self.verdicts.iter().find(fits).unwrap_or(last)
    }
}

pub(super) static PRODUCTS: LazyLock<Vec<Product>> =
    LazyLock::new(|| parse("products.json", include_str!("../data/products.json")));
pub(super) static DIALOGUE: LazyLock<Dialogue> =
    LazyLock::new(|| parse("dialogue.json", include_str!("../data/dialogue.json")));
pub(super) static PERSONAS: LazyLock<Personas> =
    LazyLock::new(|| parse("personas.json", include_str!("../data/personas.json")));
pub(super) static RUBRIC: LazyLock<Rubric> =
    LazyLock::new(|| parse("rubric.json", include_str!("../data/rubric.json")));

/// The file is embedded, and a test parses it: it cannot fail in a build that passed its tests.
fn parse<T: DeserializeOwned>(name: &str, json: &str) -> T {
    serde_json::from_str(json).unwrap_or_else(|why| panic!("data/{name}: {why}"))
}

/// The product that a drill practises; nothing for an unknown key.
pub(super) fn product_of(drill_key: &str) -> Option<&'static Product> {
    let practises = |product: &&Product| product.drills.iter().any(|drill| drill == drill_key);
    PRODUCTS.iter().find(practises)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_parses_and_no_list_to_pick_from_is_empty() {
        let mut drills: Vec<_> = PRODUCTS
            .iter()
            .flat_map(|product| &product.drills)
            .collect();
        let listed = drills.len();
        drills.sort();
        drills.dedup();
        assert_eq!(drills.len(), listed, "a drill practises one product");
        assert!(PRODUCTS.iter().any(|product| product.has_real_calls));
        for product in PRODUCTS.iter() {
            let (youngest, oldest) = product.ages;
            assert!(youngest <= oldest, "{product:?}");
            assert!(!product.needs.is_empty() && !product.objections.is_empty());
        }

        let dialogue = &*DIALOGUE;
        assert!(!dialogue.hellos.is_empty());
        assert!(!dialogue.openings.is_empty() && !dialogue.closes.is_empty());

        let personas = &*PERSONAS;
        for names in [
            &personas.first_names,
            &personas.last_names,
            &personas.streets,
            &personas.categories,
            &personas.medicaid_levels,
        ] {
            assert!(!names.is_empty());
        }
        assert!(!personas.places.is_empty() && !personas.plans.is_empty());

        let verdicts = &RUBRIC.verdicts;
        assert!(verdicts.is_sorted_by(|a, b| a.below < b.below));
        assert!(verdicts.last().unwrap().below > 100);
        for verdict in verdicts {
            assert!(!verdict.summaries.is_empty() && !verdict.feedback.is_empty());
        }
        for category in &RUBRIC.compliance {
            assert!(!category.questions.is_empty(), "{}", category.key);
        }
    }
}
