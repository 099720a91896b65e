//! Which generation of Athos's contract tokens are minted with, and why. Pure: what was learnt is given to it, what an
//! answer proves is judged here, and who asks Athos is elsewhere.

use std::fmt;

use super::error::Error;
use crate::model::{Timestamp, words};

/// A generation of the contract. They differ in whom a token is minted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// For any id of ours.
    External,
    /// For reps that are registered at Athos.
    Roster,
}

impl Generation {
    /// What is spoken before anything has been learnt.
    pub const DEFAULT: Self = Self::External;

    /// The one to try when this one is not understood.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::External => Self::Roster,
            Self::Roster => Self::External,
        }
    }
}

words!(Generation, "generation", {
    External: "external",
    Roster: "roster",
});

/// A generation that Athos was found to speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearntContract {
    /// Which.
    pub generation: Generation,
    /// When.
    pub at: Timestamp,
    /// From what answer.
    pub from: String,
}

/// The generation in force, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractInForce {
    /// Which.
    pub generation: Generation,
    /// Why.
    pub why: Why,
}

impl ContractInForce {
    /// What is in force: what is pinned, else what was learnt last, else the default.
    #[must_use]
    pub fn of(pinned: Option<Generation>, learnt: Option<&LearntContract>) -> Self {
        match (pinned, learnt) {
            (Some(generation), _) => Self {
                generation,
                why: Why::Pinned,
            },
            (None, Some(learnt)) => Self {
                generation: learnt.generation,
                why: Why::Learnt {
                    at: learnt.at,
                    from: learnt.from.clone(),
                },
            },
            (None, None) => Self {
                generation: Generation::DEFAULT,
                why: Why::Default,
            },
        }
    }
}

/// Why a generation is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The configuration says so.
    Pinned,
    /// Athos was found to speak it.
    Learnt {
        /// When.
        at: Timestamp,
        /// From what answer.
        from: String,
    },
    /// Nothing has been learnt yet.
    Default,
}

impl fmt::Display for ContractInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.generation, self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("pinned by ATHOS_CONTRACT"),
            Self::Learnt { at, from } => write!(f, "learnt at {at} from {from}"),
            Self::Default => f.write_str("the default: no mint has shown yet what Athos speaks"),
        }
    }
}

/// What the answer to a mint proves about the generation it was asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Athos speaks it; the text says by what.
    Spoken(&'static str),
    /// Athos did not understand a request that was well formed.
    NotUnderstood,
    /// Nothing either way: a refused key, a quota, an outage.
    Nothing,
}

/// Judges the answer to a well-formed mint that was asked in `asked`.
#[must_use]
pub fn judge<T>(asked: Generation, answer: &Result<T, Error>) -> Proof {
    match answer {
        Ok(_) => Proof::Spoken("a token that was minted"),
        Err(Error::Refused(refusal)) => match (refusal.status, &*refusal.code) {
            // Only who has looked for the rep can say so, and only `roster` looks.
            (404, "AGENT_NOT_FOUND") if asked == Generation::Roster => {
                Proof::Spoken("the refusal AGENT_NOT_FOUND")
            }
            (400, "INVALID_REQUEST") => Proof::NotUnderstood,
            _ => Proof::Nothing,
        },
        Err(_) => Proof::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::athos::Refusal;

    fn refused(status: u16, code: &str) -> Result<(), Error> {
        Err(Error::Refused(Refusal {
            status,
            code: code.to_owned(),
            message: String::new(),
            request_id: None,
            retry_after: None,
            existing_agent: None,
        }))
    }

    #[test]
    fn a_pin_goes_before_what_was_learnt_and_that_before_the_default() {
        let learnt = LearntContract {
            generation: Generation::Roster,
            at: Timestamp::from_millis(0),
            from: "a token that was minted".to_owned(),
        };
        let said = |pinned, learnt| ContractInForce::of(pinned, learnt).to_string();
        assert_eq!(
            said(Some(Generation::External), Some(&learnt)),
            "external (pinned by ATHOS_CONTRACT)"
        );
        assert_eq!(
            said(None, Some(&learnt)),
            "roster (learnt at 1970-01-01T00:00:00.000Z from a token that was minted)"
        );
        assert!(said(None, None).starts_with("external (the default"));
    }

    #[test]
    fn only_a_success_or_an_agent_looked_for_proves_a_generation() {
        use Generation::{External, Roster};
        for generation in [External, Roster] {
            assert!(matches!(judge(generation, &Ok(())), Proof::Spoken(_)));
            let bad = refused(400, "INVALID_REQUEST");
            assert_eq!(judge(generation, &bad), Proof::NotUnderstood);
            for (status, code) in [
                (400, "HTTP_400"),
                (401, "API_KEY_REVOKED"),
                (403, "TENANT_QUOTA_EXCEEDED"),
                (404, "HTTP_404"),
                (503, "SERVICE_UNAVAILABLE"),
            ] {
                assert_eq!(judge(generation, &refused(status, code)), Proof::Nothing);
            }
            assert_eq!(
                judge::<()>(generation, &Err(Error::Timeout)),
                Proof::Nothing
            );
        }
        let unknown = refused(404, "AGENT_NOT_FOUND");
        assert!(matches!(judge(Roster, &unknown), Proof::Spoken(_)));
        assert_eq!(judge(External, &unknown), Proof::Nothing);
    }
}
