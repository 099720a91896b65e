//! Callers' JWTs, signed as their issuer would, or as somebody who would like to be the issuer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{Telling, TestApp};

/// A token made with any key.
pub(crate) fn jwt(alg: Algorithm, key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
    let header = Header {
        kid: kid.map(str::to_owned),
        ..Header::new(alg)
    };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

impl TestApp {
    /// Claims of a rep, good for an hour.
    pub(crate) fn claims(&self, rep: &str, agency: &str, role: &str) -> Value {
        let now = self.now().as_secs();
        let claims =
            json!({ "sub": rep, "agency_id": agency, "role": role, "iat": now, "exp": now + 3600 });
        Self::named(claims)
    }

    /// Where Athos has a roster, reps say their names, and are enrolled.
    fn named(mut claims: Value) -> Value {
        if Telling::of_this_run() != Telling::External {
            claims["name"] = json!("Dana Reyes");
        }
        claims
    }

    /// A token signed with the shared secret.
    pub(crate) fn jwt(&self, claims: &Value) -> String {
        let key = EncodingKey::from_secret(self.secrets.jwt.as_bytes());
        let token = jwt(Algorithm::HS256, &key, None, claims);
        self.keep_secret(&token);
        token
    }

    /// A token signed with the shared secret, of whatever texts.
    pub(crate) fn raw_jwt(&self, header: &str, claims: &str) -> String {
        let key = EncodingKey::from_secret(self.secrets.jwt.as_bytes());
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let message = format!("{header}.{claims}");
        let signature = sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        let token = format!("{message}.{signature}");
        self.keep_secret(&token);
        token
    }

    pub(crate) fn rep(&self, rep: &str, agency: &str) -> String {
        self.jwt(&self.claims(rep, agency, "rep"))
    }

    pub(crate) fn manager(&self, agency: &str) -> String {
        self.jwt(&self.claims("a_manager", agency, "manager"))
    }

    pub(crate) fn admin(&self) -> String {
        self.jwt(&self.claims("an_admin", "headquarters", "admin"))
    }
}
