//! Ids of reps and agencies: a company's own, Athos's, and which of them belong together on a call.

use std::fmt;

use serde::Serialize;

/// Longest id of a company's own that Athos takes, in characters (docs/athos-contract.md, "Roster").
pub const MAX_ID_CHARS: usize = 200;

/// How Athos's ids of reps begin.
pub const AGENT_PREFIX: &str = "athos_agent_";
/// How Athos's ids of agencies begin.
pub const AGENCY_PREFIX: &str = "athos_agency_";

/// A company's own id of a rep or an agency. It is taken exactly or refused, never changed: changed ids could collide. It
/// has 1 to 200 characters, no white space at its ends (Athos trims ids), no invisible characters, and does not begin like
/// an id of Athos's, which would name another rep.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PlatformId(String);

/// Why a text cannot be a [`PlatformId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Nothing, or only white space.
    #[error("must not be blank")]
    Blank,
    /// More than [`MAX_ID_CHARS`] characters.
    #[error("must be at most {MAX_ID_CHARS} characters long")]
    TooLong,
    /// White space at its start or end.
    #[error("must not begin or end with white space")]
    Padded,
    /// A control character, such as a line break, a tab or a NUL.
    #[error("must not contain control characters")]
    Control,
    /// An invisible character, such as a zero-width space or a mark of text direction.
    #[error("must not contain invisible characters")]
    Invisible,
    /// It begins like an id of Athos's.
    #[error("must not begin with athos_agent_ or athos_agency_: such ids are Athos's own")]
    Athos,
}

impl PlatformId {
    /// Checks `id`, and takes it unchanged.
    ///
    /// # Errors
    /// One [`BadId`] per cause.
    pub fn new(id: &str) -> Result<Self, BadId> {
        let id = Self::on_record(id)?;
        if id.0.chars().any(is_invisible) {
            return Err(BadId::Invisible);
        }
        Ok(id)
    }

    /// Like [`Self::new`], but allows invisible characters, which older records may have.
    fn on_record(id: &str) -> Result<Self, BadId> {
        if id.chars().any(char::is_control) {
            return Err(BadId::Control);
        }
        if id.trim().is_empty() {
            return Err(BadId::Blank);
        }
        if id.trim() != id {
            return Err(BadId::Padded);
        }
        if id.chars().nth(MAX_ID_CHARS).is_some() {
            return Err(BadId::TooLong);
        }
        if id.starts_with(AGENT_PREFIX) || id.starts_with(AGENCY_PREFIX) {
            return Err(BadId::Athos);
        }
        Ok(Self(id.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<PlatformId> for String {
    fn from(id: PlatformId) -> Self {
        id.0
    }
}

impl fmt::Display for PlatformId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Characters that are shown as nothing, or that change how others are shown: Unicode's `Default_Ignorable_Code_Point`,
/// and line and paragraph separators. Ids that differ only in them look the same, and some systems drop them.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Athos's id of a registered rep.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(String);

impl AgentId {
    /// Takes a text that begins like an id of Athos's and can be sent as one.
    #[must_use]
    pub fn new(id: &str) -> Option<Self> {
        let is_sound = id.starts_with(AGENT_PREFIX)
            && id.chars().nth(MAX_ID_CHARS).is_none()
            && !id.contains(|c: char| c.is_control() || c.is_whitespace() || is_invisible(c));
        is_sound.then(|| Self(id.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A rep, by one id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RepId {
    /// By the company's id.
    Ours(PlatformId),
    /// By Athos's id, when the company's is not known.
    Athos(AgentId),
}

impl RepId {
    /// Takes an id of either kind, for an erasure; the prefix tells them apart. Invisible characters are allowed: data
    /// stored under such an id must be erasable.
    ///
    /// # Errors
    /// One [`BadId`] per cause.
    pub fn new(id: &str) -> Result<Self, BadId> {
        match AgentId::new(id) {
            Some(id) => Ok(Self::Athos(id)),
            None => PlatformId::on_record(id).map(Self::Ours),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ours(id) => id.as_str(),
            Self::Athos(id) => id.as_str(),
        }
    }

    /// Our id, if the rep is known by it.
    #[must_use]
    pub fn ours(&self) -> Option<&PlatformId> {
        match self {
            Self::Ours(id) => Some(id),
            Self::Athos(_) => None,
        }
    }

    /// Athos's id, if the rep is known by it.
    #[must_use]
    pub fn athos(&self) -> Option<&AgentId> {
        match self {
            Self::Ours(_) => None,
            Self::Athos(id) => Some(id),
        }
    }
}

/// Who a call belongs to: our own ids and, when Athos gives them, its own. A row may have either family, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Our id of the rep.
    pub rep: Option<String>,
    /// Our id, or label, of the agency.
    pub agency: Option<String>,
    /// Athos's id of the rep.
    pub athos_rep: Option<String>,
    /// Athos's id of the agency.
    pub athos_agency: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_exactly_or_refused() {
        // Case, inner spaces and Unicode composition are significant.
        for id in [
            "rep 1",
            "Rep 1",
            "rep  1",
            "rep\u{a0}1",
            "é",
            "e\u{301}",
            "0042",
            "ﬁ",
        ] {
            assert_eq!(PlatformId::new(id).unwrap().as_str(), id);
            assert_eq!(RepId::new(id).unwrap().as_str(), id);
        }
        for space in [
            ' ', '\u{a0}', '\u{1680}', '\u{2003}', '\u{202f}', '\u{3000}',
        ] {
            for padded in [format!("{space}rep_1"), format!("rep_1{space}")] {
                assert_eq!(PlatformId::new(&padded).unwrap_err(), BadId::Padded);
                assert_eq!(RepId::new(&padded).unwrap_err(), BadId::Padded);
            }
            assert_eq!(
                PlatformId::new(&space.to_string()).unwrap_err(),
                BadId::Blank
            );
        }
        for hidden in [
            '\u{200b}',
            '\u{200d}',
            '\u{202e}',
            '\u{2066}',
            '\u{2060}',
            '\u{feff}',
            '\u{ad}',
            '\u{e0041}',
        ] {
            for id in [
                format!("{hidden}rep_1"),
                format!("rep{hidden}_1"),
                format!("rep_1{hidden}"),
            ] {
                assert_eq!(PlatformId::new(&id).unwrap_err(), BadId::Invisible);
                assert_eq!(RepId::new(&id).unwrap().as_str(), id);
            }
        }
        for control in ['\0', '\t', '\r', '\u{7f}', '\u{85}', '\u{9b}'] {
            let id = format!("rep_1{control}");
            assert_eq!(PlatformId::new(&id).unwrap_err(), BadId::Control);
        }
        for separator in ['\u{2028}', '\u{2029}'] {
            assert!(PlatformId::new(&format!("rep_1{separator}")).is_err());
            assert!(PlatformId::new(&format!("rep{separator}1")).is_err());
        }
        assert_eq!(PlatformId::new("").unwrap_err(), BadId::Blank);
        assert_eq!(PlatformId::new(" \u{a0}").unwrap_err(), BadId::Blank);
        assert_eq!(PlatformId::new("a\nb").unwrap_err(), BadId::Control);
        assert_eq!(PlatformId::new("rep\n").unwrap_err(), BadId::Control);
        assert!(PlatformId::new(&"é".repeat(200)).is_ok());
        assert_eq!(
            PlatformId::new(&"é".repeat(201)).unwrap_err(),
            BadId::TooLong
        );
    }

    #[test]
    fn an_id_of_athoss_is_no_id_of_ours_and_the_other_way_round() {
        for id in ["athos_agent_1", "athos_agency_1", "athos_agent_"] {
            assert_eq!(PlatformId::new(id).unwrap_err(), BadId::Athos);
        }
        assert!(PlatformId::new("athos_fan").is_ok());
        assert!(AgentId::new("athos_agent_1").is_some());
        for id in [
            "rep_1",
            "athos_agency_1",
            "athos_agent_1\n",
            " athos_agent_1",
            "athos_agent_\u{200b}1",
        ] {
            assert_eq!(AgentId::new(id), None, "{id:?}");
        }
        assert!(RepId::new("rep_1").unwrap().ours().is_some());
        assert!(RepId::new("athos_agent_1").unwrap().athos().is_some());
        assert_eq!(RepId::new("athos_agency_1").unwrap_err(), BadId::Athos);
    }
}
