//! The generations of Athos's contract, and what the answer to a mint proves about them.

use super::error::Error;
use crate::string_enum;

/// A generation of the contract. They differ in whom a token is minted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// For any id of ours.
    External,
    /// For reps that are registered at Athos.
    Roster,
}

impl Generation {
    /// The generation that is assumed before an answer has shown another.
    pub const DEFAULT: Self = Self::External;

    /// The other generation: the one to try when this one is not understood.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::External => Self::Roster,
            Self::Roster => Self::External,
        }
    }
}

string_enum!(Generation, "generation", {
    External: "external",
    Roster: "roster",
});

/// What the answer to a mint proves about the generation it was asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Athos speaks it; the text says which answer shows it.
    Confirmed(&'static str),
    /// Athos did not understand a request that was well formed.
    NotUnderstood,
    /// Proves nothing: a refused key, a quota, an outage.
    Nothing,
}

/// Judges the answer to a well-formed mint that was asked in `asked`.
#[must_use]
pub fn classify_response<T>(asked: Generation, answer: &Result<T, Error>) -> Evidence {
    match answer {
        Ok(_) => Evidence::Confirmed("a token that was minted"),
        Err(Error::Refused(refusal)) => match (refusal.status, &*refusal.code) {
            // Only generation `roster` looks the rep up.
            (404, "AGENT_NOT_FOUND") if asked == Generation::Roster => {
                Evidence::Confirmed("the refusal AGENT_NOT_FOUND")
            }
            (400, "INVALID_REQUEST") => Evidence::NotUnderstood,
            _ => Evidence::Nothing,
        },
        Err(_) => Evidence::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;

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
    fn only_a_success_or_an_agent_looked_for_proves_a_generation() {
        use Generation::{External, Roster};
        for generation in [External, Roster] {
            assert!(matches!(
                classify_response(generation, &Ok(())),
                Evidence::Confirmed(_)
            ));
            let bad = refused(400, "INVALID_REQUEST");
            assert_eq!(classify_response(generation, &bad), Evidence::NotUnderstood);
            for (status, code) in [
                (400, "HTTP_400"),
                (401, "API_KEY_REVOKED"),
                (403, "TENANT_QUOTA_EXCEEDED"),
                (404, "HTTP_404"),
                (503, "SERVICE_UNAVAILABLE"),
            ] {
                assert_eq!(
                    classify_response(generation, &refused(status, code)),
                    Evidence::Nothing
                );
            }
            assert_eq!(
                classify_response::<()>(generation, &Err(Error::Timeout)),
                Evidence::Nothing
            );
        }
        let unknown = refused(404, "AGENT_NOT_FOUND");
        assert!(matches!(
            classify_response(Roster, &unknown),
            Evidence::Confirmed(_)
        ));
        assert_eq!(classify_response(External, &unknown), Evidence::Nothing);
    }
}
