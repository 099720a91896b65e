//! Where calls come from, as far as Athos's lists must be asked for it by name. A call's own source is kept as Athos
//! wrote it, known here or not.

use std::fmt;
use std::str::FromStr;

use super::UnknownWord;

/// A source whose list can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Practice with a persona; listed by the end of calls.
    Roleplay,
    /// Calls with real customers; listed by their start.
    RealCall,
}

impl Source {
    /// The word in the database, in settings and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Roleplay => "roleplay",
            Self::RealCall => "real_call",
        }
    }

    /// Whether a call that says this of itself is of this source.
    #[must_use]
    pub fn is(self, source: &str) -> bool {
        self.as_str() == source
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Source {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        [Self::Roleplay, Self::RealCall]
            .into_iter()
            .find(|source| source.is(word))
            .ok_or(UnknownWord)
    }
}
