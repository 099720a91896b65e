//! The sources that Athos lists calls of. A stored call keeps the source that Athos wrote, known here or not.

use crate::string_enum;

/// A source whose calls Athos lists.
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
    /// Whether this is the source in a call's payload.
    #[must_use]
    pub fn is(self, source: &str) -> bool {
        self.as_str() == source
    }
}
