//! Webhook signatures, as the contract defines them: `X-Athos-Signature: t=<unix seconds>,v1=<hex
//! HMAC-SHA256(secret, "<t>.<raw body>")>`. Pure: no IO, no clock; the caller says what time it is.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::Timestamp;

/// The header that carries the signature.
pub const SIGNATURE_HEADER: &str = "x-athos-signature";
/// The header that carries the delivery's idempotency key; stable across the vendor's one retry.
pub const WEBHOOK_ID_HEADER: &str = "x-athos-webhook-id";
/// How far `t` may be from now, in either direction, in seconds (docs/athos-contract.md, "Webhooks").
pub const TOLERANCE_SECS: i64 = 300;

/// Signatures beyond this many in one header are refused: no rotation needs them.
const MAX_SIGNATURES: usize = 8;
const MAC_BYTES: usize = 32;

type HmacSha256 = Hmac<Sha256>;

/// The result of checking a signature header against a body and the secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Signed with a shared secret, and fresh.
    Valid {
        /// When the vendor signed, in unix seconds.
        signed_at_secs: i64,
        /// Which of the configured secrets matched, by [`fingerprint`].
        secret: String,
    },
    /// Not to be let in.
    Invalid(InvalidSignature),
}

/// Why a delivery is not to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    /// The signature header is missing.
    #[error("the X-Athos-Signature header is missing")]
    Missing,
    /// The header is not `t=…,v1=…`.
    #[error("the X-Athos-Signature header is malformed: {0}")]
    Malformed(Malformed),
    /// Well-formed, but `t` is more than [`TOLERANCE_SECS`] away from now.
    #[error("the signature {}; the limit is {TOLERANCE_SECS} s", age(*.age_secs))]
    Stale {
        /// Seconds between `t` and now; negative when `t` lies in the future.
        age_secs: i64,
    },
    /// Well-formed and fresh, but no configured secret gives this signature for these bytes.
    #[error("no configured secret gives this signature for this body")]
    Mismatch,
}

fn age(secs: i64) -> String {
    match secs {
        0.. => format!("is {secs} s old"),
        _ => format!("lies {} s in the future", -secs),
    }
}

impl Verdict {
    /// A short name for metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Valid { .. } => "valid",
            Self::Invalid(why) => why.name(),
        }
    }
}

impl InvalidSignature {
    /// A short name for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed(_) => "malformed",
            Self::Stale { .. } => "stale",
            Self::Mismatch => "mismatch",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid { secret, .. } => write!(f, "the signature is valid (secret {secret})"),
            Self::Invalid(why) => why.fmt(f),
        }
    }
}

/// Why a header is not `t=…,v1=…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The header holds something other than visible ASCII, or was sent more than once.
    #[error("it is not one line of visible ASCII")]
    NotText,
    /// An element between commas is not `key=value`.
    #[error("an element is not key=value")]
    NotAPair,
    /// No `t`.
    #[error("t is missing")]
    NoTimestamp,
    /// More than one `t`: the sender could choose which one is checked.
    #[error("t is given more than once")]
    TwoTimestamps,
    /// `t` is not 1 to 12 decimal digits.
    #[error("t is not a unix time in seconds")]
    BadTimestamp,
    /// No `v1`.
    #[error("v1 is missing")]
    NoSignature,
    /// A `v1` is not 64 hexadecimal digits.
    #[error("v1 is not 64 hexadecimal digits")]
    BadSignature,
    /// Too many `v1`.
    #[error("there are more than {MAX_SIGNATURES} v1 signatures")]
    TooManySignatures,
}

/// A parsed signature header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// `t` as it was sent: these characters are what is signed.
    t: &'a str,
    /// `t` as a number of seconds.
    pub signed_at_secs: i64,
    signatures: Vec<[u8; MAC_BYTES]>,
}

impl<'a> Header<'a> {
    /// Reads `t=…,v1=…` strictly; ignores keys of other schemes.
    ///
    /// # Errors
    /// One [`Malformed`] per cause.
    pub fn parse(header: &'a str) -> Result<Self, Malformed> {
        let mut t = None;
        let mut signatures = Vec::with_capacity(1);
        for element in header.split(',') {
            let (key, value) = element.split_once('=').ok_or(Malformed::NotAPair)?;
            match key {
                "t" if t.is_some() => return Err(Malformed::TwoTimestamps),
                "t" => t = Some((value, parse_seconds(value)?)),
                "v1" if signatures.len() == MAX_SIGNATURES => {
                    return Err(Malformed::TooManySignatures);
                }
                "v1" => signatures.push(parse_mac(value)?),
                _ => {}
            }
        }
        let (t, signed_at_secs) = t.ok_or(Malformed::NoTimestamp)?;
        if signatures.is_empty() {
            return Err(Malformed::NoSignature);
        }
        Ok(Self {
            t,
            signed_at_secs,
            signatures,
        })
    }
}

fn parse_seconds(value: &str) -> Result<i64, Malformed> {
    let all_digits = value.bytes().all(|b| b.is_ascii_digit());
    if !all_digits || !(1..=12).contains(&value.len()) {
        return Err(Malformed::BadTimestamp);
    }
    value.parse().map_err(|_| Malformed::BadTimestamp)
}

fn parse_mac(hex: &str) -> Result<[u8; MAC_BYTES], Malformed> {
    let mut mac = [0; MAC_BYTES];
    match base16ct::mixed::decode(hex, &mut mac) {
        Ok(bytes) if bytes.len() == MAC_BYTES => Ok(mac),
        _ => Err(Malformed::BadSignature),
    }
}

/// Checks signatures against every configured secret; there are several during a rotation.
pub struct Verifier {
    keys: Vec<Key>,
}

struct Key {
    /// Already keyed: a clone of it saves two SHA-256 blocks for each delivery.
    mac: HmacSha256,
    fingerprint: String,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.fingerprint))
            .finish()
    }
}

impl Verifier {
    /// A verifier that accepts any of `secrets`, each the whole string as given, prefix included.
    #[must_use]
    pub fn new(secrets: &[SecretString]) -> Self {
        let keys = secrets
            .iter()
            .map(|secret| Key {
                mac: keyed(secret),
                fingerprint: fingerprint(secret),
            })
            .collect();
        Self { keys }
    }

    /// Verifies one delivery over its raw bytes. Compares in constant time.
    #[must_use]
    pub fn verify(&self, header: Option<&str>, body: &[u8], now: Timestamp) -> Verdict {
        let Some(header) = header else {
            return Verdict::Invalid(InvalidSignature::Missing);
        };
        let header = match Header::parse(header) {
            Ok(header) => header,
            Err(why) => return Verdict::Invalid(InvalidSignature::Malformed(why)),
        };
        let age_secs = now.as_secs() - header.signed_at_secs;
        if age_secs.abs() > TOLERANCE_SECS {
            return Verdict::Invalid(InvalidSignature::Stale { age_secs });
        }
        for key in &self.keys {
            let mut mac = key.mac.clone();
            feed(&mut mac, header.t, body);
            for signature in &header.signatures {
                if mac.clone().verify_slice(signature).is_ok() {
                    return Verdict::Valid {
                        signed_at_secs: header.signed_at_secs,
                        secret: key.fingerprint.clone(),
                    };
                }
            }
        }
        Verdict::Invalid(InvalidSignature::Mismatch)
    }
}

/// The header value for `body`, signed with `secret` at `signed_at_secs`, as Athos would send it.
#[must_use]
pub fn sign(secret: &SecretString, signed_at_secs: i64, body: &[u8]) -> String {
    let mut mac = keyed(secret);
    feed(&mut mac, &signed_at_secs.to_string(), body);
    let v1 = base16ct::lower::encode_string(&mac.finalize().into_bytes());
    format!("t={signed_at_secs},v1={v1}")
}

/// Eight hexadecimal digits of a SHA-256: names a secret without revealing it.
#[must_use]
pub fn fingerprint(secret: &SecretString) -> String {
    let digest = Sha256::digest(secret.expose_secret().as_bytes());
    base16ct::lower::encode_string(&digest[..4])
}

fn keyed(secret: &SecretString) -> HmacSha256 {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    HmacSha256::new_from_slice(secret.expose_secret().as_bytes()).expect("any length is a key")
}

fn feed(mac: &mut HmacSha256, t: &str, body: &[u8]) {
    mac.update(t.as_bytes());
    mac.update(b".");
    mac.update(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    const SECRET: &str = "whsec_test_4f0c2a9d";

    fn verify(secret: &str, header: &str, body: &[u8], now_secs: i64) -> Verdict {
        let verifier = Verifier::new(&[SecretString::from(secret)]);
        verifier.verify(Some(header), body, Timestamp::from_millis(now_secs * 1000))
    }

    fn is_valid(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Valid { .. })
    }

    #[test]
    fn every_vector_of_the_contract_signs_and_verifies() {
        #[derive(Deserialize)]
        struct Vectors {
            vectors: Vec<Vector>,
        }
        #[derive(Deserialize)]
        struct Vector {
            name: String,
            secret: String,
            t: i64,
            body: String,
            header: String,
        }
        let file = include_str!("../../../tests/vectors/signatures.json");
        let vectors: Vectors = serde_json::from_str(file).unwrap();
        assert_eq!(vectors.vectors.len(), 5);
        for v in vectors.vectors {
            let body = v.body.as_bytes();
            let signed = sign(&SecretString::from(v.secret.as_str()), v.t, body);
            assert_eq!(signed, v.header, "{}", v.name);
            let verdict = verify(&v.secret, &v.header, body, v.t);
            assert!(is_valid(&verdict), "{}: {verdict}", v.name);
        }
    }

    #[test]
    fn the_window_is_300_seconds_in_both_directions() {
        let header = sign(&SecretString::from(SECRET), 1_000_000, b"x");
        for (now, fresh) in [
            (1_000_300, true),
            (999_700, true),
            (1_000_301, false),
            (999_699, false),
        ] {
            let verdict = verify(SECRET, &header, b"x", now);
            assert_eq!(is_valid(&verdict), fresh, "at {now}: {verdict}");
            assert_eq!(verdict.name() == "stale", !fresh);
        }
    }

    #[test]
    fn each_malformed_header_has_its_reason() {
        let mac = "ab".repeat(32);
        let many = format!("t=1{}", format!(",v1={mac}").repeat(9));
        let cases = [
            ("", Malformed::NotAPair),
            ("hello", Malformed::NotAPair),
            (&format!("t=1,v1={mac},"), Malformed::NotAPair),
            (&format!("v1={mac}"), Malformed::NoTimestamp),
            (&format!("t=1,t=1,v1={mac}"), Malformed::TwoTimestamps),
            (&format!("t=,v1={mac}"), Malformed::BadTimestamp),
            (&format!("t=-1,v1={mac}"), Malformed::BadTimestamp),
            (&format!("t=+1,v1={mac}"), Malformed::BadTimestamp),
            (&format!("t=1.5,v1={mac}"), Malformed::BadTimestamp),
            (
                &format!("t=9999999999999,v1={mac}"),
                Malformed::BadTimestamp,
            ),
            (&format!("t= 1,v1={mac}"), Malformed::BadTimestamp),
            ("t=1", Malformed::NoSignature),
            (&format!("t=1, v1={mac}"), Malformed::NoSignature),
            (&format!("t=1,v0={mac}"), Malformed::NoSignature),
            ("t=1,v1=", Malformed::BadSignature),
            ("t=1,v1=abcd", Malformed::BadSignature),
            (&format!("t=1,v1={mac}00"), Malformed::BadSignature),
            (
                &format!("t=1,v1={}", "zz".repeat(32)),
                Malformed::BadSignature,
            ),
            (&many, Malformed::TooManySignatures),
        ];
        for (header, why) in cases {
            assert_eq!(Header::parse(header), Err(why), "{header:?}");
        }
    }

    #[test]
    fn several_signatures_several_secrets_upper_case_and_unknown_schemes_are_accepted() {
        let right = sign(&SecretString::from(SECRET), 77, b"body");
        let (t, v1) = right.split_once(",v1=").unwrap();
        let wrong = "00".repeat(32);
        let header = format!("{t},v0=zzz,v1={wrong},v1={},v2=?", v1.to_uppercase());
        let verifier = Verifier::new(&[SecretString::from("other"), SecretString::from(SECRET)]);
        let verdict = verifier.verify(Some(&header), b"body", Timestamp::from_millis(77_000));
        assert_eq!(
            verdict,
            Verdict::Valid {
                signed_at_secs: 77,
                secret: fingerprint(&SecretString::from(SECRET)),
            }
        );
    }

    #[test]
    fn debug_shows_fingerprints_and_never_the_secret() {
        let shown = format!("{:?}", Verifier::new(&[SecretString::from(SECRET)]));
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(shown.contains(&fingerprint(&SecretString::from(SECRET))));
    }

    proptest! {
        #[test]
        fn the_parser_never_panics(header in "\\PC*") {
            let _ = Header::parse(&header);
        }

        #[test]
        fn near_misses_never_panic(header in "(t|v1|v2)?=?[0-9a-fA-F.,=+ -]{0,90}(,(t|v1)=[0-9a-f]{0,70}){0,3}") {
            let _ = Header::parse(&header);
        }

        #[test]
        fn what_is_signed_verifies(secret in ".{1,80}", t in 0_i64..4_000_000_000, body: Vec<u8>) {
            let header = sign(&SecretString::from(secret.as_str()), t, &body);
            let verdict = verify(&secret, &header, &body, t);
            prop_assert!(is_valid(&verdict));
        }

        #[test]
        fn a_flipped_bit_of_body_time_or_secret_is_refused(
            secret in "[ -~]{8,40}",
            t in 1_000_i64..4_000_000_000,
            body in proptest::collection::vec(any::<u8>(), 1..200),
            at: prop::sample::Index,
            bit in 0_u32..8,
        ) {
            let header = sign(&SecretString::from(secret.as_str()), t, &body);

            let mut bad_body = body.clone();
            bad_body[at.index(body.len())] ^= 1 << bit;
            prop_assert_eq!(verify(&secret, &header, &bad_body, t), Verdict::Invalid(InvalidSignature::Mismatch));

            let v1 = header.split_once(',').unwrap().1;
            let bad_t = t ^ (1 << bit);
            let bad_header = format!("t={bad_t},{v1}");
            prop_assert_eq!(verify(&secret, &bad_header, &body, bad_t), Verdict::Invalid(InvalidSignature::Mismatch));

            let mut bad_secret = secret.clone().into_bytes();
            bad_secret[at.index(secret.len())] ^= 1;
            let bad_secret = String::from_utf8(bad_secret).unwrap();
            prop_assert_eq!(verify(&bad_secret, &header, &body, t), Verdict::Invalid(InvalidSignature::Mismatch));
        }
    }
}
