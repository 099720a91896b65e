//! Where calls come from, as far as Athos's lists must be asked for it by name. A call's own source is kept as Athos
//! wrote it, known here or not.

use crate::string_enum;

/// A source whose list can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Practice with a persona; listed by the end of calls.
    Roleplay,
    /// Calls with real customers; listed by their start.
    RealCall,
}

string_enum!(Source, "source", {
    Roleplay: "roleplay",
    RealCall: "real_call",
});

impl Source {
    /// Whether a call that says this of itself is of this source.
    #[must_use]
    pub fn is(self, source: &str) -> bool {
        self.as_str() == source
    }
}
