//! Signs what is forwarded, by the Standard Webhooks specification. Not to be confused with Athos's own webhook secrets:
//! those are used whole as the key; here the key is what the base64 after `whsec_` says.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;

use crate::model::Timestamp;

const PREFIX: &str = "whsec_";
/// Begins a signature; the specification has no other for shared secrets.
const VERSION: &str = "v1,";
/// How far a receiver's clock may be from the time of an attempt.
const TOLERANCE_SECS: u64 = 300;
/// The length of a key, in bytes, that the specification allows.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret of `FORWARD_SECRETS`.
#[derive(Clone, Debug)]
pub struct ForwardSecret(Arc<SecretBox<Vec<u8>>>);

impl ForwardSecret {
    /// Reads `whsec_` and the base64 of a key.
    ///
    /// # Errors
    /// What is wrong with it, without the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("empty, or has an empty entry");
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(
            "not whsec_ followed by base64; make one with: echo whsec_$(openssl rand -base64 32)",
        )?;
        let key = STANDARD.decode(encoded).map_err(|_| {
            "not base64 after whsec_ (Athos's own webhook secret cannot be used here); \
             make one with: echo whsec_$(openssl rand -base64 32)"
        })?;
        if !KEY_BYTES.contains(&key.len()) {
            return Err(
                "not 24 to 64 bytes long; make one with: echo whsec_$(openssl rand -base64 32)",
            );
        }
        Ok(Self(Arc::new(SecretBox::new(Box::new(key)))))
    }

    fn sign(&self, id: &str, at_secs: i64, body: &[u8]) -> String {
        let signature = self.mac(id, &at_secs.to_string(), body);
        signature.map_or_else(String::new, |mac| {
            format!("{VERSION}{}", STANDARD.encode(mac.finalize().into_bytes()))
        })
    }

    /// Whether a message is signed with this secret, and now: what a receiver asks of `webhook-id`, `webhook-timestamp` and
    /// `webhook-signature`.
    pub(crate) fn verifies(
        &self,
        [id, sent_at, signatures]: [&str; 3],
        body: &[u8],
        now: Timestamp,
    ) -> bool {
        let sent_at_secs = sent_at.parse::<i64>().ok();
        let is_fresh =
            sent_at_secs.is_some_and(|secs| secs.abs_diff(now.as_secs()) <= TOLERANCE_SECS);
        let Some(mac) = self.mac(id, sent_at, body).filter(|_| is_fresh) else {
            return false;
        };
        signatures.split(' ').any(|signature| {
            let given = signature.strip_prefix(VERSION);
            let given = given.and_then(|given| STANDARD.decode(given).ok());
            given.is_some_and(|given| mac.clone().verify_slice(&given).is_ok())
        })
    }

    /// HMAC takes a key of any length: there is always one.
    fn mac(&self, id: &str, sent_at: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).ok()?;
        mac.update(format!("{id}.{sent_at}.").as_bytes());
        mac.update(body);
        Some(mac)
    }
}

/// The value of `webhook-signature`: one signature for each secret, so that receivers can change over.
#[must_use]
pub fn sign(secrets: &[ForwardSecret], id: &str, at: Timestamp, body: &[u8]) -> String {
    let each = secrets
        .iter()
        .map(|secret| secret.sign(id, at.as_secs(), body));
    each.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the Standard Webhooks libraries.
        let secret = ForwardSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_millis(1_614_265_330_000);
        let signed = sign(
            std::slice::from_ref(&secret),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let other = ForwardSecret::parse(&format!("whsec_{}", STANDARD.encode([7; 32]))).unwrap();
        let two = sign(&[other.clone(), secret.clone()], "id", at, b"x");
        assert_eq!(two.split(' ').count(), 2);
        let time = at.as_secs().to_string();
        for secret in [&secret, &other] {
            assert!(secret.verifies(["id", &time, &two], b"x", at));
            assert!(!secret.verifies(["id", &time, &two], b"y", at));
            assert!(!secret.verifies(["di", &time, &two], b"x", at));
            assert!(!secret.verifies(["id", &time, "v1,AAAA v2,x"], b"x", at));
            let late = Timestamp::from_millis(at.as_millis() + 301_000);
            assert!(!secret.verifies(["id", &time, &two], b"x", late));
        }
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_refused_with_advice_and_never_shown() {
        for (text, expected) in [
            ("", "empty"),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_"),
            ("whsec_0123456789-abcdef", "Athos's own"),
            ("whsec_MfKQ9r8GKYqrTwjU", "24 to 64"),
            (&format!("whsec_{}", STANDARD.encode([7; 65])), "24 to 64"),
        ] {
            let why = ForwardSecret::parse(text).unwrap_err();
            assert!(why.contains(expected), "{text}: {why}");
        }
        let secret = ForwardSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert!(!format!("{secret:?}").contains("49"), "{secret:?}");
    }
}
