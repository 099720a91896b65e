//! One published key (JWK), and what it is for. Each is read for itself: one that cannot be used, now or ever, costs no
//! other. It fetches nothing.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::key::VerifyingKey;

/// A key that signatures can be verified with.
pub(super) struct PublishedKey {
    /// Its name, if it has one.
    pub(super) kid: Option<String>,
    pub(super) key: VerifyingKey,
}

/// A set whose entries are not looked into: half a surrogate pair in one of them makes no other unreadable.
#[derive(Deserialize)]
struct Set<'b> {
    #[serde(borrow)]
    keys: Vec<&'b RawValue>,
}

/// The usable keys of a set, and how many others it has; `None` when it is no set at all.
pub(super) fn read_set(body: &[u8]) -> Option<(Vec<PublishedKey>, usize)> {
    let text = String::from_utf8_lossy(body);
    let Set { keys: entries } = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()?;
    let readable = |entry: &&RawValue| serde_json::from_str::<Value>(entry.get()).ok();
    let keys: Vec<_> = entries
        .iter()
        .filter_map(|entry| read(&readable(entry)?))
        .collect();
    let unusable = entries.len() - keys.len();
    Some((keys, unusable))
}

/// A key for signatures, with an algorithm that we know. Symmetric keys are none: whoever can read such a key can sign with
/// it. A member of another type than its own makes the whole key doubtful.
fn read(entry: &Value) -> Option<PublishedKey> {
    let signs = match member(entry, "use") {
        None => true,
        Some(for_what) => for_what == "sig",
    };
    let verifies = match member(entry, "key_ops") {
        None => true,
        Some(operations) => operations.as_array()?.iter().any(|one| one == "verify"),
    };
    if !signs || !verifies {
        return None;
    }
    let text = |name: &str| member(entry, name)?.as_str();
    let (key, family) = read_material(text)?;
    let algorithms = match member(entry, "alg") {
        None => family,
        Some(alg) => {
            let alg = match alg.as_str()? {
                // Its newer name (RFC 9864).
                "Ed25519" => Algorithm::EdDSA,
                alg => alg.parse().ok()?,
            };
            family.contains(&alg).then(|| vec![alg])?
        }
    };
    let kid = match member(entry, "kid") {
        None => None,
        Some(kid) => Some(kid.as_str()?.to_owned()),
    };
    Some(PublishedKey {
        kid,
        key: VerifyingKey::new(key, algorithms),
    })
}

fn read_material<'e>(
    text: impl Fn(&str) -> Option<&'e str>,
) -> Option<(DecodingKey, Vec<Algorithm>)> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let (key, algorithms) = match (text("kty")?, text("crv")) {
        ("RSA", _) => (
            DecodingKey::from_rsa_components(text("n")?, text("e")?),
            vec![RS256, RS384, RS512, PS256, PS384, PS512],
        ),
        ("EC", Some("P-256")) => (
            DecodingKey::from_ec_components(text("x")?, text("y")?),
            vec![ES256],
        ),
        ("EC", Some("P-384")) => (
            DecodingKey::from_ec_components(text("x")?, text("y")?),
            vec![ES384],
        ),
        ("OKP", Some("Ed25519")) => (DecodingKey::from_ed_components(text("x")?), vec![EdDSA]),
        _ => return None,
    };
    Some((key.ok()?, algorithms))
}

fn member<'e>(entry: &'e Value, name: &str) -> Option<&'e Value> {
    entry.get(name).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_counts_when_it_is_for_signatures_and_we_know_how() {
        let rsa = json!({ "kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB" });
        let with = |name: &str, value: Value| {
            let mut key = rsa.clone();
            key[name] = value;
            key
        };
        for usable in [
            rsa.clone(),
            with("use", json!("sig")),
            with("use", json!(null)),
            with("key_ops", json!(["verify"])),
            with("key_ops", json!(["sign", "verify"])),
            with("alg", json!("PS384")),
            with("kid", json!(null)),
            with("x5c", json!(17)),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "AAAA", "alg": "Ed25519" }),
            json!({ "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "alg": "ES256" }),
        ] {
            assert!(read(&usable).is_some(), "{usable}");
        }
        for unusable in [
            with("use", json!("enc")),
            with("use", json!(["sig"])),
            with("key_ops", json!(["encrypt"])),
            with("key_ops", json!([])),
            with("key_ops", json!("verify")),
            with("alg", json!("RSA-OAEP")),
            with("alg", json!("ES256")),
            with("alg", json!("HS256")),
            with("alg", json!("RS999")),
            with("kid", json!(7)),
            with("kty", json!("rsa")),
            with("n", json!("not base64!")),
            with("e", json!(65537)),
            json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }),
            json!({ "kty": "EC", "crv": "P-521", "x": "AAAA", "y": "AAAA" }),
            json!({ "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "alg": "ES384" }),
            json!({ "kty": "OKP", "crv": "X25519", "x": "AAAA" }),
            json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" }),
            json!({}),
            json!("key"),
            json!(null),
        ] {
            assert!(read(&unusable).is_none(), "{unusable}");
            let set = json!({ "keys": [unusable, rsa] }).to_string();
            let (keys, others) = read_set(set.as_bytes()).unwrap();
            assert_eq!((keys.len(), others), (1, 1));
        }
        for unreadable in [
            r#"{"kid":"\ud83d"}"#,
            r#"{"e":1e999}"#,
            "{\"x5t\":\"\u{fffd}\"}",
        ] {
            let set = format!("\u{feff}{{\"at\":\"\\ud83d\",\"keys\":[{unreadable},{rsa}]}}");
            let (keys, others) = read_set(set.as_bytes()).unwrap();
            assert_eq!((keys.len(), others), (1, 1), "{set}");
        }
        let not_utf_8 = [b"{\"keys\":[\"\xff\",", rsa.to_string().as_bytes(), b"]}"].concat();
        assert_eq!(read_set(&not_utf_8).unwrap().0.len(), 1);
        for none in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            assert!(read_set(none.as_bytes()).is_none(), "{none}");
        }
    }
}
