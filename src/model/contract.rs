//! Which generation of Athos's contract tokens are minted with, and why.

use std::fmt;

use athos_api::contract::Generation;

use super::Timestamp;

/// A generation that Athos was found to speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedContract {
    /// Which.
    pub generation: Generation,
    /// When.
    pub at: Timestamp,
    /// The answer that showed it.
    pub from: String,
}

/// The generation that is used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveContract {
    /// Which.
    pub generation: Generation,
    /// Why.
    pub why: Why,
}

impl EffectiveContract {
    /// The pinned generation, else the one that was learned last, else the default.
    #[must_use]
    pub fn of(pinned: Option<Generation>, learned: Option<&LearnedContract>) -> Self {
        match (pinned, learned) {
            (Some(generation), _) => Self {
                generation,
                why: Why::Pinned,
            },
            (None, Some(learned)) => Self {
                generation: learned.generation,
                why: Why::Learned {
                    at: learned.at,
                    from: learned.from.clone(),
                },
            },
            (None, None) => Self {
                generation: Generation::DEFAULT,
                why: Why::Default,
            },
        }
    }
}

/// Why a generation is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The configuration says so.
    Pinned,
    /// Athos was found to speak it.
    Learned {
        /// When.
        at: Timestamp,
        /// The answer that showed it.
        from: String,
    },
    /// Nothing has been learned yet.
    Default,
}

impl fmt::Display for EffectiveContract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.generation, self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("pinned by ATHOS_CONTRACT"),
            Self::Learned { at, from } => write!(f, "learned at {at} from {from}"),
            Self::Default => f.write_str("the default: no mint has shown yet what Athos speaks"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_goes_before_what_was_learned_and_that_before_the_default() {
        let learned = LearnedContract {
            generation: Generation::Roster,
            at: Timestamp::from_millis(0),
            from: "a token that was minted".to_owned(),
        };
        let said = |pinned, learned| EffectiveContract::of(pinned, learned).to_string();
        assert_eq!(
            said(Some(Generation::External), Some(&learned)),
            "external (pinned by ATHOS_CONTRACT)"
        );
        assert_eq!(
            said(None, Some(&learned)),
            "roster (learned at 1970-01-01T00:00:00.000Z from a token that was minted)"
        );
        assert!(said(None, None).starts_with("external (the default"));
    }
}
