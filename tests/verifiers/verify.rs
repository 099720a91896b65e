// Rust: base64 0.23, hmac 0.13, sha2 0.11
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub fn verify(secret: &str, id: &str, time: &str, signatures: &str, body: &[u8], now: i64) -> Option<bool> {
    if (now - time.parse::<i64>().ok()?).abs() > 300 {
        return Some(false);
    }
    let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{time}.").as_bytes());
    mac.update(body);
    let good = |signature: &str| {
        let given = signature.strip_prefix("v1,").and_then(|given| STANDARD.decode(given).ok());
        given.is_some_and(|given| mac.clone().verify_slice(&given).is_ok())
    };
    Some(signatures.split(' ').any(good))
}
