//! The keys of other backends: what each is called, and what it may do.

use std::fmt;

use super::string_enum;

/// Something that a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyScope {
    /// Ask for session tokens.
    Mint,
    /// Read calls, scores and progress, of every rep.
    Read,
    /// Read and hear what was said in calls.
    Transcripts,
    /// Look into the inbox and the audit log, replay, erase.
    Admin,
    /// Read the metrics.
    Metrics,
}

string_enum!(KeyScope, "scope", {
    Mint: "mint",
    Read: "read",
    Transcripts: "transcripts",
    Admin: "admin",
    Metrics: "metrics",
});

/// What a key may do: each scope by itself, none implies another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyScopes(Vec<KeyScope>);

impl KeyScopes {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self(KeyScope::ALL.to_vec())
    }

    /// Reads `read+transcripts`; `None` when a word is no scope.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let scopes = text.split('+').map(|word| word.parse().ok());
        scopes.collect::<Option<_>>().map(Self)
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn has(&self, scope: KeyScope) -> bool {
        self.0.contains(&scope)
    }

    /// The words, as they were written.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|scope| scope.as_str()).collect()
    }
}

impl fmt::Display for KeyScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join("+"))
    }
}

/// A key of another backend, without its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceKey {
    /// What it is called in logs, metrics and the audit log; the fingerprint of the token when it was given no name.
    pub name: String,
    /// Tells its token from others without telling what it is.
    pub fingerprint: String,
    /// What it may do.
    pub scopes: KeyScopes,
    /// Whether its scopes were written down, and not all taken for want of any.
    pub is_named: bool,
}
