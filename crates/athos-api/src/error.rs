//! Failures of requests to Athos, and what each means: try again, wait for a working key, or give up.

use std::time::Duration;

use super::types::ExistingAgent;

/// Why a request to Athos gave no answer we can use.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No API key is configured.
    #[error("ATHOS_API_KEY is not set")]
    NoKey,
    /// No answer within the deadline.
    #[error("Athos did not answer in time")]
    Timeout,
    /// No connection could be made.
    #[error("Athos cannot be reached: {0}")]
    Unreachable(String),
    /// The connection broke before the whole answer had arrived.
    #[error("the connection to Athos broke: {0}")]
    Interrupted(String),
    /// Athos answered, and refused.
    #[error("Athos answered {0}")]
    Refused(Refusal),
    /// Athos answered 2xx with a body that is not what the contract says.
    #[error("Athos answered something unreadable: {why}{}", quoted(.request_id.as_deref()))]
    Unreadable {
        /// Why it could not be read.
        why: String,
        /// Athos's request id, to quote.
        request_id: Option<String>,
    },
    /// The body is larger than anything the contract describes.
    #[error("Athos answered more than {limit} {of}{}", quoted(.request_id.as_deref()))]
    TooLarge {
        /// The limit that was passed.
        limit: usize,
        /// What it limits: bytes, or values.
        of: &'static str,
        /// Athos's request id, to quote.
        request_id: Option<String>,
    },
}

/// Athos's own refusal, in its own words (docs/athos-contract.md, "Errors").
#[derive(Clone, Debug, thiserror::Error)]
#[error("{status} {code}: {message}{}", quoted(.request_id.as_deref()))]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Machine code; the list is append-only, so unknown ones are kept as they are.
    pub code: String,
    /// Text for people. Never branch on it.
    pub message: String,
    /// Athos's request id, to quote.
    pub request_id: Option<String>,
    /// How long Athos asks us to wait.
    pub retry_after: Option<Duration>,
    /// The agent that already has one of the handles, when a registration is refused for that.
    pub existing_agent: Option<Box<ExistingAgent>>,
}

/// The code of a refusal that has nothing to do with the key.
pub(super) const QUOTA: &str = "TENANT_QUOTA_EXCEEDED";

fn quoted(request_id: Option<&str>) -> String {
    request_id.map_or_else(String::new, |id| format!(" (Athos request {id})"))
}

/// What a failure means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// May pass by itself; try again, not before `after` when Athos named a time.
    Transient {
        /// Athos's `Retry-After`.
        after: Option<Duration>,
    },
    /// Our key, tenant or address is refused: nothing will succeed until an operator acts.
    KeyFault,
    /// Not found, or not yet.
    NotFound,
    /// Trying again cannot help.
    Permanent,
}

/// What a failure is evidence against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The call that was asked for; Athos works.
    Call,
    /// The call, or Athos as a whole.
    Unclear,
    /// Athos as a whole: it cannot be reached, or says that it is not available.
    Athos,
    /// Our account is refused or throttled, whatever is asked.
    Account,
}

impl Error {
    /// What this failure means, from status **and** code.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::NoKey => Class::KeyFault,
            Self::Timeout
            | Self::Unreachable(_)
            | Self::Interrupted(_)
            | Self::Unreadable { .. } => Class::Transient { after: None },
            Self::TooLarge { .. } => Class::Permanent,
            Self::Refused(refusal) => refusal.class(),
        }
    }

    /// What it is evidence against.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match (self, self.class()) {
            (Self::NoKey, _) | (_, Class::KeyFault) => Blame::Account,
            (Self::Unreadable { .. }, _) | (_, Class::NotFound | Class::Permanent) => Blame::Call,
            (Self::Unreachable(_), _) => Blame::Athos,
            (Self::Refused(refusal), _) => match refusal.status {
                429 => Blame::Account,
                503 => Blame::Athos,
                _ => Blame::Unclear,
            },
            (Self::Timeout | Self::Interrupted(_) | Self::TooLarge { .. }, _) => Blame::Unclear,
        }
    }

    /// Whether a 401 or 403 has an unknown code, and so may not be about the key.
    #[must_use]
    pub fn may_concern_one_call(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.class() == Class::KeyFault && !refusal.names_key() && refusal.code != QUOTA)
    }

    /// How long Athos asks us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.class() {
            Class::Transient { after } => after,
            _ => None,
        }
    }

    /// Athos's request id, when it gave one.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Refused(Refusal { request_id, .. })
            | Self::Unreadable { request_id, .. }
            | Self::TooLarge { request_id, .. } => request_id.as_deref(),
            Self::NoKey | Self::Timeout | Self::Unreachable(_) | Self::Interrupted(_) => None,
        }
    }

    /// Whether Athos says that the request is malformed.
    #[must_use]
    pub fn is_invalid_request(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == "INVALID_REQUEST")
    }

    /// A short name for metrics: Athos's code, or ours.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::Timeout => "timeout",
            Self::Unreachable(_) | Self::Interrupted(_) => "unreachable",
            Self::Unreadable { .. } => "unreadable",
            Self::TooLarge { .. } => "too_large",
            Self::Refused(refusal) => match refusal.class() {
                Class::Transient { .. } => "refused_transient",
                Class::KeyFault => "refused_key",
                Class::NotFound => "not_found",
                Class::Permanent => "refused",
            },
        }
    }
}

impl Refusal {
    /// Whether the code says that the key, the tenant or the address is refused.
    fn names_key(&self) -> bool {
        matches!(
            &*self.code,
            "INVALID_API_KEY" | "API_KEY_REVOKED" | "TENANT_INACTIVE" | "IP_NOT_ALLOWED"
        )
    }

    fn class(&self) -> Class {
        match (self.status, self.code.as_str()) {
            (401 | 403, _) => Class::KeyFault,
            _ if self.names_key() => Class::KeyFault,
            (404, _) => Class::NotFound,
            // A redirect, a throttle, a proxy's time-out, or trouble at Athos.
            (300..=399 | 408 | 425 | 429 | 500..=599, _) => Class::Transient {
                after: self.retry_after,
            },
            _ => Class::Permanent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_code_decide_together() {
        let class = |status, code: &str| {
            Error::Refused(Refusal {
                status,
                code: code.to_owned(),
                message: String::new(),
                request_id: None,
                retry_after: None,
                existing_agent: None,
            })
            .class()
        };
        assert_eq!(class(401, "API_KEY_REVOKED"), Class::KeyFault);
        assert_eq!(class(403, "IP_NOT_ALLOWED"), Class::KeyFault);
        assert_eq!(class(403, "SOMETHING_NEW"), Class::KeyFault);
        assert_eq!(class(404, "CALL_NOT_FOUND"), Class::NotFound);
        assert_eq!(class(400, "INVALID_REQUEST"), Class::Permanent);
        assert_eq!(class(409, "SOMETHING_NEW"), Class::Permanent);
        for status in [302, 408, 429, 500, 503, 520] {
            assert_eq!(class(status, "?"), Class::Transient { after: None });
        }
    }
}
