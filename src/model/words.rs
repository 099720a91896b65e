//! Closed sets of words: an enum whose values have one word each, the same in the database, on the wire and on the command
//! line. A word that is none of them is answered with those that are.

/// No value has this word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is no {kind}; use one of {}", shown(.word), .words.join(", "))]
pub struct UnknownWord {
    /// What was written.
    pub word: String,
    /// What it should have been.
    pub kind: &'static str,
    /// What it may be.
    pub words: Vec<&'static str>,
}

/// As it is quoted in a message: a blank one is seen, and a long or strange one does no harm.
fn shown(word: &str) -> String {
    const MOST_CHARS: usize = 40;
    if word.trim().is_empty() {
        return format!("{:?}", word.chars().take(MOST_CHARS).collect::<String>());
    }
    let mut shown: String = word.chars().take(MOST_CHARS).collect();
    if shown.len() < word.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

/// Gives an enum its words: `ALL`, `as_str`, `Display` and `FromStr`.
macro_rules! words {
    ($type:ident, $kind:literal, { $($variant:ident: $word:literal),* $(,)? }) => {
        impl $type {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its word: in the database, on the wire, on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::model::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err($crate::model::UnknownWord {
                        word: word.to_owned(),
                        kind: $kind,
                        words: vec![$($word),*],
                    }),
                }
            }
        }
    };
}

pub(crate) use words;

/// `1 event`, `2 events`: so many of a thing.
#[must_use]
pub fn counted(count: impl TryInto<u64>, thing: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {}", plural(count, thing))
}

/// The word for so many of a thing, whose plural is regular.
#[must_use]
pub fn plural(count: u64, thing: &str) -> String {
    let is_vowel = |c: char| "aeiou".contains(c);
    match thing.strip_suffix('y') {
        _ if count == 1 => thing.to_owned(),
        Some(stem) if !stem.ends_with(is_vowel) => format!("{stem}ies"),
        _ => format!("{thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventState;

    #[test]
    fn an_unknown_word_is_answered_with_the_known_ones() {
        for (word, shown) in [
            ("foo", "foo"),
            ("Dead", "Dead"),
            ("", "\"\""),
            ("a\nb", "a\\nb"),
            (&"x".repeat(99), &format!("{}…", "x".repeat(40))),
        ] {
            let unknown = word.parse::<EventState>().unwrap_err().to_string();
            let said = "is no state; use one of pending, processing, done, ignored, dead";
            assert_eq!(unknown, format!("{shown} {said}"));
        }
        for state in EventState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
    }

    #[test]
    fn one_is_singular_and_all_else_plural() {
        assert_eq!(counted(0_u32, "event"), "0 events");
        assert_eq!(counted(1_usize, "event"), "1 event");
        assert_eq!(counted(2_u64, "session token"), "2 session tokens");
        assert_eq!(counted(2_u64, "audit entry"), "2 audit entries");
        assert_eq!(counted(1_u64, "audit entry"), "1 audit entry");
        assert_eq!(counted(2_u64, "day"), "2 days");
    }
}
