//! Enums with one word for each variant, the same in the database, on the wire and on the command line. The error for an
//! unknown word lists the known ones.

/// The word is not one of the enum's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is no {kind}; use one of {}", shown(.word), .words.join(", "))]
pub struct UnknownVariant {
    /// What was written.
    pub word: String,
    /// What it should have been.
    pub kind: &'static str,
    /// What it may be.
    pub words: Vec<&'static str>,
}

/// The word, quoted, escaped and shortened for messages.
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
#[macro_export]
macro_rules! string_enum {
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
            type Err = $crate::UnknownVariant;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err($crate::UnknownVariant {
                        word: word.to_owned(),
                        kind: $kind,
                        words: vec![$($word),*],
                    }),
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::Source;

    #[test]
    fn an_unknown_word_is_answered_with_the_known_ones() {
        for (word, shown) in [
            ("foo", "foo"),
            ("Roleplay", "Roleplay"),
            ("", "\"\""),
            ("a\nb", "a\\nb"),
            (&"x".repeat(99), &format!("{}…", "x".repeat(40))),
        ] {
            let unknown = word.parse::<Source>().unwrap_err().to_string();
            let said = "is no source; use one of roleplay, real_call";
            assert_eq!(unknown, format!("{shown} {said}"));
        }
        for source in Source::ALL {
            assert_eq!(source.as_str().parse(), Ok(*source));
        }
    }
}
