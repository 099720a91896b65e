//! A signed token as it came: its parts, read strictly, before a key is asked. Whatever it asks for that this service does
//! not do is a reason to refuse it. Who is named in it, and until when, is not judged here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::key::VerifyingKey;
use super::strict_json;

/// Longest token that is looked at, in bytes; headers are not much longer.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token in the compact form of JWS.
pub(super) struct Token<'t> {
    /// The name of the key that it says it was signed with.
    pub(super) kid: Option<String>,
    algorithm: Algorithm,
    /// Header and payload, as they were signed.
    message: &'t str,
    payload: &'t str,
    signature: &'t str,
}

impl<'t> Token<'t> {
    /// Whether a text is meant to be such a token, however wrong: dots between its parts, and a JSON object first.
    pub(super) fn is_meant(text: &str) -> bool {
        let parts = text.split('.').count();
        let start = text.get(..4).map(|start| URL_SAFE_NO_PAD.decode(start));
        matches!(parts, 3 | 5) && matches!(start, Some(Ok(start)) if start.first() == Some(&b'{'))
    }

    /// Takes a token apart.
    ///
    /// # Errors
    /// In words for the log, without any of the token's.
    pub(super) fn read(text: &'t str) -> Result<Self, &'static str> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err("it is too long");
        }
        let (message, signature) = text.rsplit_once('.').ok_or("it has no signature")?;
        let (header, payload) = message.split_once('.').ok_or("it has no payload")?;
        if payload.contains('.') {
            return Err("it has more parts than a signed token");
        }
        let header =
            decode(header).ok_or("its header is not a JSON object that says each thing once")?;
        let header_text = |name: &str| match header.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err("its header has a member of another type"),
        };
        // We understand no extension, and one that is critical must be understood (RFC 7515, section 4.1.11).
        if header.contains_key("crit") {
            return Err("its header has crit");
        }
        if header
            .get("b64")
            .is_some_and(|b64| *b64 != Value::Bool(true))
        {
            return Err("its payload is not in base64");
        }
        if header_text("cty")?.is_some_and(|cty| media_type(cty) == "jwt") {
            return Err("it holds another token");
        }
        if header_text("typ")?.is_some_and(is_for_something_else) {
            return Err("its typ is that of tokens for something else than signing in");
        }
        let algorithm = header_text("alg")?
            .and_then(|alg| alg.parse().ok())
            .ok_or("its alg is none that is known")?;
        Ok(Self {
            kid: header_text("kid")?.map(str::to_owned),
            algorithm,
            message,
            payload,
            signature,
        })
    }

    /// Whether this key signed it, with an algorithm that the key is for.
    pub(super) fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.verifies(self.message, self.signature, self.algorithm)
    }

    /// What it says; to be believed once it is known to be signed.
    pub(super) fn claims(&self) -> Option<Map<String, Value>> {
        decode(self.payload)
    }
}

fn decode(part: &str) -> Option<Map<String, Value>> {
    strict_json::object(&URL_SAFE_NO_PAD.decode(part).ok()?)
}

/// A media type as RFC 7515 compares them: without case, and with its usual prefix left out.
fn media_type(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    text.strip_prefix("application/")
        .unwrap_or(&text)
        .to_owned()
}

/// Issuers sign other things with the same keys, such as logout tokens and security events, and say so (RFC 8725, section
/// 3.11). Access tokens say `at+jwt`; most tokens say `JWT`, or nothing.
fn is_for_something_else(typ: &str) -> bool {
    let typ = media_type(typ);
    typ.ends_with("+jwt") && !typ.ends_with("at+jwt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Result<Option<String>, &'static str> {
        let token = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(header));
        Token::read(&token).map(|token| token.kid)
    }

    #[test]
    fn a_header_that_asks_for_what_we_do_not_do_is_refused() {
        for header in [
            r#"{"alg":"RS256","kid":"k"}"#,
            r#"{"alg":"RS256","kid":"k","typ":"JWT","cty":null,"x":[1]}"#,
            r#"{"alg":"RS256","kid":"k","typ":"at+jwt"}"#,
            r#"{"alg":"RS256","kid":"k","typ":"application/at+JWT","b64":true,"cty":"json"}"#,
        ] {
            assert_eq!(read(header), Ok(Some("k".to_owned())), "{header}");
        }
        for header in [
            "",
            "[]",
            "{}",
            r#"{"alg":"none"}"#,
            r#"{"alg":"nOnE"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"alg":"RS256","alg":"none"}"#,
            r#"{"alg":"none","alg":"RS256"}"#,
            r#"{"alg":"RS256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"RS256","crit":["b64"],"b64":true}"#,
            r#"{"alg":"RS256","crit":[]}"#,
            r#"{"alg":"RS256","crit":null}"#,
            r#"{"alg":"RS256","b64":false}"#,
            r#"{"alg":"RS256","cty":"JWT"}"#,
            r#"{"alg":"RS256","cty":"application/jwt"}"#,
            r#"{"alg":"RS256","typ":"logout+jwt"}"#,
            r#"{"alg":"RS256","typ":"secevent+JWT"}"#,
            r#"{"alg":"RS256","typ":1}"#,
            r#"{"alg":"RS256","kid":7}"#,
        ] {
            assert!(read(header).is_err(), "{header}");
        }
        for text in [
            "",
            "a",
            "a.b",
            "e30.e30",
            "e30.e30.e30.e30",
            "..",
            "e30..",
            "eyJhbGciOiJSUzI1NiJ9=.e30.",
        ] {
            assert!(Token::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_meant_to_be_a_token_is_told_from_what_is_not() {
        for meant in [
            "eyJhbGciOiJSUzI1NiJ9.e30.AAAA",
            "eyJh.x.",
            "eyJhb!.b.c",
            "eyJh.b.c.d.e",
        ] {
            assert!(Token::is_meant(meant), "{meant}");
        }
        for other in [
            "",
            "undefined",
            "a.b.c",
            "undefined.undefined.undefined",
            "eyJhbGciOiJSUzI1NiJ9",
            "v4.public.abc",
            "é.é.é",
        ] {
            assert!(!Token::is_meant(other), "{other}");
        }
    }
}
