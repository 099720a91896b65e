//! Reads the entries of SERVICE_TOKENS: `name:scopes:token`, or a token alone, which may do everything. What is wrong is told
//! by the entry's place or the key's name, never by the text, which has a token in it.

use secrecy::{ExposeSecret, SecretString};

use super::Config;
use crate::model::{KeyScopes, ServiceKey};
use athos_api::signature::fingerprint;

/// Longest name of a key, in characters: it is a label of metrics and stands in every log line.
const MAX_NAME_CHARS: usize = 40;

impl Config {
    /// The keys of other backends, each with its token.
    ///
    /// # Errors
    /// Everything that is wrong with the entries, a line for each.
    pub fn service_keys(&self) -> Result<Vec<(ServiceKey, SecretString)>, Vec<String>> {
        let mut keys = Vec::new();
        let mut problems = Vec::new();
        for (at, entry) in (1..).zip(&self.service_tokens) {
            match read(entry.expose_secret()) {
                Ok((key, token)) => keys.push((at, key, token)),
                Err(why) => problems.push(format!("SERVICE_TOKENS: entry {at} {why}.")),
            }
        }
        for (nth, (at, key, token)) in keys.iter().enumerate() {
            for (other_at, other, other_token) in &keys[..nth] {
                let which = format!("SERVICE_TOKENS: entries {other_at} and {at}");
                if token.expose_secret() == other_token.expose_secret() {
                    problems.push(format!(
                        "{which} have the same token: each key needs one of its own."
                    ));
                } else if key.name.eq_ignore_ascii_case(&other.name) {
                    problems.push(format!(
                        "{which} are both called {}: give each a name of its own.",
                        key.name
                    ));
                }
            }
        }
        match problems.is_empty() {
            true => Ok(keys
                .into_iter()
                .map(|(_, key, token)| (key, token))
                .collect()),
            false => Err(problems),
        }
    }

    /// The tokens alone; entries that cannot be read are left out.
    pub(super) fn service_token_values(&self) -> Vec<SecretString> {
        let entries = self.service_tokens.iter();
        let keys = entries.filter_map(|entry| read(entry.expose_secret()).ok());
        keys.map(|(_, token)| token).collect()
    }
}

/// An entry. One with a colon is never taken for a token alone: a slip in its scopes would make it a key that may do
/// everything.
fn read(entry: &str) -> Result<(ServiceKey, SecretString), String> {
    let Some((name, rest)) = entry.split_once(':') else {
        let token = SecretString::from(entry);
        let fingerprint = fingerprint(&token);
        let key = ServiceKey {
            name: fingerprint.clone(),
            fingerprint,
            scopes: KeyScopes::all(),
            is_named: false,
        };
        return Ok((key, token));
    };
    let parts = rest.split_once(':');
    let parts = parts.and_then(|(scopes, token)| Some((KeyScopes::parse(scopes)?, token)));
    let (scopes, token) = parts.ok_or_else(|| {
        let words = KeyScopes::all().words().join(", ");
        format!(
            "has a colon and is not name:scopes:token, with scopes of {words}, several joined by +: write it so, or \
             choose a token without a colon"
        )
    })?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(is_plain) {
        return Err(format!(
            "has a name that is none: use 1 to {MAX_NAME_CHARS} letters, digits, -, _ and . before the first colon"
        ));
    }
    if token.is_empty() {
        return Err(format!(
            "({name}) has no token: write it after the second colon"
        ));
    }
    let token = SecretString::from(token);
    let key = ServiceKey {
        name: name.to_owned(),
        fingerprint: fingerprint(&token),
        scopes,
        is_named: true,
    };
    Ok((key, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn keys(entries: &str) -> Result<Vec<(ServiceKey, SecretString)>, String> {
        let config = Config::from_flags([format!("--service-tokens={entries}")]).unwrap();
        let told = config
            .service_keys()
            .map_err(|problems| problems.join("\n"));
        told.inspect_err(|problems| assert!(!problems.contains("0123"), "{problems}"))
    }

    #[test]
    fn an_entry_is_a_token_with_all_scopes_or_has_a_name_and_scopes_before_it() {
        let read = keys(&format!(
            "{TOKEN},crm:read:{TOKEN}1,bi.2:read+transcripts:a:{TOKEN}"
        ))
        .unwrap();
        let told: Vec<_> = read
            .iter()
            .map(|(key, token)| {
                (
                    key.name.as_str(),
                    key.scopes.to_string(),
                    token.expose_secret().trim_end_matches(TOKEN),
                )
            })
            .collect();
        let all = "mint+read+transcripts+admin+metrics".to_owned();
        let fingerprint = fingerprint(&TOKEN.into());
        assert_eq!(
            told,
            [
                (&*fingerprint, all, ""),
                ("crm", "read".to_owned(), &*format!("{TOKEN}1")),
                // What comes after the second colon is the token, whole.
                ("bi.2", "read+transcripts".to_owned(), "a:"),
            ]
        );
    }

    #[test]
    fn an_entry_with_a_slip_is_refused_and_never_taken_for_a_token_that_may_do_everything() {
        for (entries, expected) in [
            (format!("crm:raed:{TOKEN}"), "entry 1 has a colon"),
            (
                format!("{TOKEN},crm:read,write:{TOKEN}"),
                "entry 2 has a colon",
            ),
            (format!("crm::{TOKEN}"), "entry 1 has a colon"),
            (format!("crm:read+:{TOKEN}"), "entry 1 has a colon"),
            (format!("crm:READ:{TOKEN}"), "entry 1 has a colon"),
            (format!("{TOKEN}:{TOKEN}"), "entry 1 has a colon"),
            (format!(":read:{TOKEN}"), "entry 1 has a name that is none"),
            (
                format!("my crm:read:{TOKEN}"),
                "entry 1 has a name that is none",
            ),
            (
                format!("{}:read:{TOKEN}", "x".repeat(41)),
                "entry 1 has a name",
            ),
            ("crm:read:".to_owned(), "entry 1 (crm) has no token"),
            (
                format!("a:read:{TOKEN},b:admin:{TOKEN}"),
                "entries 1 and 2 have the same token",
            ),
            (
                format!("{TOKEN},b:admin:{TOKEN}"),
                "entries 1 and 2 have the same token",
            ),
            (
                format!("a:read:{TOKEN}1,A:read:{TOKEN}2"),
                "entries 1 and 2 are both called A",
            ),
        ] {
            let refused = keys(&entries).unwrap_err();
            assert!(refused.contains(expected), "{entries}: {refused}");
        }
    }
}
