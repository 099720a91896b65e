//! The profile of a rep in their own credentials, and how a full name is split.

/// The profile of a rep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The whole name.
    pub name: Option<String>,
    /// First name and last name, when the credentials have both.
    pub names: Option<(String, String)>,
    /// E-mail address.
    pub email: Option<String>,
    /// Whether the issuer has verified the address; `None` when it does not say.
    pub email_verified: Option<bool>,
    /// The name of the rep's agency.
    pub agency_name: Option<String>,
}

/// Longest first or last name that Athos takes, in characters (docs/athos-contract.md, "Roster").
const MAX_NAME_CHARS: usize = 100;
/// Longest name of an agency that is sent, in characters.
const MAX_AGENCY_CHARS: usize = 200;
/// Longest e-mail address there is, in bytes (RFC 5321).
const MAX_EMAIL_BYTES: usize = 254;

impl Profile {
    /// First and last name, neither of them blank.
    pub(super) fn first_and_last(&self) -> Option<(String, String)> {
        let (first, last) = match (&self.names, &self.name) {
            (Some(names), _) => names.clone(),
            (None, Some(name)) => split(name)?,
            (None, None) => return None,
        };
        let (first, last) = (tidy(&first, MAX_NAME_CHARS), tidy(&last, MAX_NAME_CHARS));
        (!first.is_empty() && !last.is_empty()).then_some((first, last))
    }

    /// An address that Athos may know the rep by; not one that somebody has checked in vain. It is taken exactly, and
    /// only of ASCII: Athos trims addresses and lower-cases them, which makes one of two (`\u{212a}im@…` is `kim@…` then),
    /// and what was checked is one of them.
    pub(super) fn usable_email(&self) -> Option<&str> {
        let email = self.email.as_deref()?;
        let (local, host) = email.rsplit_once('@')?;
        let is_sound = !local.is_empty()
            && host.contains('.')
            && email.len() <= MAX_EMAIL_BYTES
            && email.bytes().all(|byte| byte.is_ascii_graphic());
        (is_sound && self.email_verified != Some(false)).then_some(email)
    }

    /// Whether the address proves who the rep is. A missing claim does not: many products let people change their address
    /// unchecked, and a rep could then claim any agent.
    pub(super) fn has_verified_email(&self) -> bool {
        self.email_verified == Some(true)
    }

    /// The name to register the agency with.
    pub(super) fn agency_name(&self) -> Option<String> {
        let name = tidy(self.agency_name.as_deref()?, MAX_AGENCY_CHARS);
        (!name.is_empty()).then_some(name)
    }
}

/// One space between words, no control characters, not too long.
fn tidy(text: &str, max_chars: usize) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let words: Vec<_> = text.split_whitespace().collect();
    let text: String = words.join(" ").chars().take(max_chars).collect();
    text.trim_end().to_owned()
}

/// First and last name of a whole one: "Reyes, Dana" as well as "Dana Reyes". The last name is the last word, with the
/// particles before it ("van", "de la") and the suffix behind it ("Jr."). Who has one name only gets a dash for the other:
/// Athos wants both.
fn split(name: &str) -> Option<(String, String)> {
    if let Some((last, first)) = name.split_once(',')
        && !is_suffix(first.trim())
        && !first.trim().is_empty()
        && !last.trim().is_empty()
    {
        return Some((first.to_owned(), last.to_owned()));
    }
    let words: Vec<&str> = name.split_whitespace().collect();
    let mut last_from = match words.len() {
        0 => return None,
        1 => return Some((words[0].to_owned(), "-".to_owned())),
        count => count - 1,
    };
    if last_from > 1 && is_suffix(words[last_from]) {
        last_from -= 1;
    }
    while last_from > 1 && words[last_from - 1].starts_with(char::is_lowercase) {
        last_from -= 1;
    }
    Some((words[..last_from].join(" "), words[last_from..].join(" ")))
}

fn is_suffix(word: &str) -> bool {
    let word = word.trim_end_matches('.').to_ascii_lowercase();
    matches!(&*word, "jr" | "sr" | "ii" | "iii" | "iv")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Option<(String, String)> {
        let profile = Profile {
            name: Some(name.to_owned()),
            ..Profile::default()
        };
        profile.first_and_last()
    }

    #[test]
    fn a_name_is_split_where_people_would() {
        for (name, first, last) in [
            ("Dana Reyes", "Dana", "Reyes"),
            ("  Dana \t Reyes ", "Dana", "Reyes"),
            ("Reyes, Dana", "Dana", "Reyes"),
            ("Mary Jane Watson", "Mary Jane", "Watson"),
            ("Ludwig van Beethoven", "Ludwig", "van Beethoven"),
            ("Ana Maria de la Cruz", "Ana Maria", "de la Cruz"),
            ("Martin Luther King Jr.", "Martin Luther", "King Jr."),
            ("Martin Luther King, Jr.", "Martin Luther", "King, Jr."),
            ("Cher", "Cher", "-"),
            ("dana reyes", "dana", "reyes"),
            ("李 小龙", "李", "小龙"),
        ] {
            let expected = Some((first.to_owned(), last.to_owned()));
            assert_eq!(names(name), expected, "{name:?}");
        }
        for name in ["", "  ", "\u{0}", ",", " , "] {
            let split = names(name);
            assert!(split.is_none() || name.contains(','), "{name:?}: {split:?}");
        }
        let long = "é".repeat(150);
        let (first, last) = names(&format!("{long} {long}")).unwrap();
        assert_eq!((first.chars().count(), last.chars().count()), (100, 100));
    }

    #[test]
    fn separate_first_and_last_names_are_taken_as_they_are() {
        let profile = Profile {
            name: Some("Dana R.".to_owned()),
            names: Some(("Dana".to_owned(), "Reyes Ortiz".to_owned())),
            ..Profile::default()
        };
        let expected = Some(("Dana".to_owned(), "Reyes Ortiz".to_owned()));
        assert_eq!(profile.first_and_last(), expected);
    }

    #[test]
    fn an_address_that_is_none_or_was_checked_in_vain_is_not_used() {
        let email = |email: &str, email_verified| {
            let profile = Profile {
                email: Some(email.to_owned()),
                email_verified,
                ..Profile::default()
            };
            profile.usable_email().map(str::to_owned)
        };
        for verified in [None, Some(true)] {
            assert_eq!(email("d@e.com", verified).as_deref(), Some("d@e.com"));
        }
        assert_eq!(email("d@e.com", Some(false)), None);
        for bad in [
            "",
            "d",
            "@e.com",
            "d@",
            "d@localhost",
            "d e@f.com",
            "d\n@e.com",
            " d@e.com",
            "d@e.com\u{a0}",
            // Athos may fold all of these into kim@e.com.
            "\u{212a}im@e.com",
            "kim@e.com\u{feff}",
            "k\u{200b}im@e.com",
            "kim\u{ff20}e.com",
        ] {
            assert_eq!(email(bad, Some(true)), None, "{bad:?}");
        }
        assert_eq!(
            email(&format!("{}@e.com", "d".repeat(250)), Some(true)),
            None
        );
    }
}
