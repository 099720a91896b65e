//! Warnings about secrets that were probably copied badly. They never quote one.

use secrecy::{ExposeSecret, SecretString};

use super::{Config, Warning};

/// Shortest plausible secret of Athos's, in bytes.
const SHORT_SECRET_BYTES: usize = 16;

impl Config {
    /// Warnings about secrets of an unusual shape.
    pub(super) fn secret_warnings(&self) -> Vec<Warning> {
        let service_tokens = self.service_token_values();
        let all: [(&str, Option<&str>, &[SecretString]); 5] = [
            ("ATHOS_API_KEY", Some("ath_live_"), &self.athos_api_key),
            ("ATHOS_WHSEC", Some("whsec_"), &self.athos_whsec),
            ("SERVICE_TOKENS", None, &service_tokens),
            ("AUTH_JWT_SECRET", None, self.auth_jwt_secret.as_slice()),
            ("AUTH_PROXY_SECRET", None, self.auth_proxy_secret.as_slice()),
        ];
        let mut warnings = Vec::new();
        for (name, prefix, secrets) in all {
            let mut odd = |what: &str| {
                let warning = format!("an entry of {name} {what}");
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            };
            for (at, secret) in secrets.iter().enumerate() {
                let text = secret.expose_secret();
                if secrets[..at]
                    .iter()
                    .any(|other| other.expose_secret() == text)
                {
                    odd("is there twice: remove one");
                }
                if is_quoted(text) {
                    odd(
                        "is in quotes, which count as part of it (Docker's --env-file takes values as they stand): remove them",
                    );
                    continue;
                }
                let Some(prefix) = prefix else { continue };
                if !text.starts_with(prefix) {
                    odd(&format!("does not begin with {prefix}"));
                } else if text.contains(char::is_whitespace) || !text.is_ascii() {
                    odd("has a space or a letter in it that Athos's never have: copy it again");
                } else if text.len() < SHORT_SECRET_BYTES {
                    odd("is shorter than any of Athos's: copy it again, whole");
                }
            }
        }
        warnings
    }
}

fn is_quoted(text: &str) -> bool {
    let bare = text.trim_start_matches(['"', '\'', '`']);
    let bare = bare.trim_end_matches(['"', '\'', '`']);
    bare.len() != text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn badly_copied_secrets_are_reported_and_not_quoted() {
        let long = "0123456789abcdef";
        let warnings_of = |flag: &str, value: &str| {
            let config = Config::from_flags([format!("--{flag}={value}")]).unwrap();
            let warnings = config.secret_warnings();
            assert!(!format!("{warnings:?}").contains(long), "{warnings:?}");
            warnings
        };
        let right = format!("whsec_{long}");
        assert!(warnings_of("athos-whsec", &right).is_empty());
        let cases = [
            ("athos-whsec", format!("{right},{right}"), "twice"),
            ("athos-whsec", format!("\"{right}\""), "in quotes"),
            ("athos-api-key", format!("'ath_live_{long}'"), "in quotes"),
            ("service-tokens", format!("\"{long}"), "in quotes"),
            ("athos-whsec", format!("whsec_ {long}"), "a space"),
            ("athos-whsec", long.to_owned(), "begin with whsec_"),
            ("athos-api-key", "ath_live_012".to_owned(), "shorter"),
        ];
        for (flag, value, expected) in cases {
            let warnings = warnings_of(flag, &value);
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(expected), "{warnings:?}");
        }
    }
}
