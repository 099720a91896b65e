//! Counts with their nouns, for messages.

/// `1 event`, `2 events`.
#[must_use]
pub(crate) fn counted(count: impl TryInto<u64>, thing: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {}", plural(count, thing))
}

/// The word for so many of a thing, whose plural is regular.
#[must_use]
pub(crate) fn plural(count: u64, thing: &str) -> String {
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
