//! Published keys: found by their name, fetched again when a name is new, and never asked for more often than the
//! limit, whatever callers make up.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use std::time::Duration;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::callers::{EC, ED, RSA};
use crate::harness::{Setup, TestApp, jwt};

struct Issuer {
    server: MockServer,
    app: TestApp,
}

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap()
}

fn ec() -> EncodingKey {
    EncodingKey::from_ec_pem(EC.as_bytes()).unwrap()
}

fn jwk(key: &EncodingKey, alg: Algorithm, kid: &str) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, alg).unwrap()).unwrap();
    jwk["kid"] = json!(kid);
    jwk
}

impl Issuer {
    async fn publishing(keys: &[Value]) -> Self {
        let server = MockServer::start().await;
        let app = Setup::new()
            .without_jwt_secret()
            .flag("auth-jwks-url", &format!("{}/keys", server.uri()))
            .start()
            .await;
        let issuer = Self { server, app };
        issuer.publish(keys).await;
        issuer
    }

    async fn publish(&self, keys: &[Value]) {
        self.answer(ResponseTemplate::new(200).set_body_json(json!({ "keys": keys })))
            .await;
    }

    async fn answer(&self, answer: ResponseTemplate) {
        // `reset` would also forget who asked.
        Mock::given(path("/keys"))
            .respond_with(answer)
            .with_priority(self.next_priority())
            .mount(&self.server)
            .await;
    }

    /// Later answers win.
    fn next_priority(&self) -> u8 {
        use std::sync::atomic::{AtomicU8, Ordering};
        static PRIORITY: AtomicU8 = AtomicU8::new(250);
        PRIORITY.fetch_sub(1, Ordering::Relaxed)
    }

    async fn fetches(&self) -> usize {
        self.server.received_requests().await.unwrap().len()
    }

    async fn status(&self, alg: Algorithm, key: &EncodingKey, kid: Option<&str>) -> u16 {
        let claims = self.app.claims("rep_1", "agency_1", "rep");
        let token = jwt(alg, key, kid, &claims);
        self.app.keep_secret(&token);
        let answer = self.app.get("/athos/me", &token).await;
        if answer.status != 200 {
            assert_eq!(answer.code(), "INVALID_TOKEN");
        }
        answer.status
    }
}

#[tokio::test]
async fn every_published_key_verifies_under_its_name() {
    let ed = EncodingKey::from_ed_pem(ED.as_bytes()).unwrap();
    let issuer = Issuer::publishing(&[
        jwk(&rsa(), Algorithm::RS256, "r"),
        jwk(&ec(), Algorithm::ES256, "e"),
        jwk(&ed, Algorithm::EdDSA, "d"),
    ])
    .await;
    assert_eq!(
        issuer.status(Algorithm::RS256, &rsa(), Some("r")).await,
        200
    );
    assert_eq!(issuer.status(Algorithm::ES256, &ec(), Some("e")).await, 200);
    assert_eq!(issuer.status(Algorithm::EdDSA, &ed, Some("d")).await, 200);
    assert_eq!(issuer.fetches().await, 1);
    // The name of one key, the signature of another; no name, with three to choose from; not the published alg.
    assert_eq!(issuer.status(Algorithm::ES256, &ec(), Some("r")).await, 401);
    assert_eq!(issuer.status(Algorithm::RS256, &rsa(), None).await, 401);
    assert_eq!(
        issuer.status(Algorithm::RS512, &rsa(), Some("r")).await,
        401
    );
}

#[tokio::test]
async fn made_up_names_of_keys_fetch_at_most_every_half_minute() {
    let issuer = Issuer::publishing(&[jwk(&rsa(), Algorithm::RS256, "r")]).await;
    assert_eq!(
        issuer.status(Algorithm::RS256, &rsa(), Some("r")).await,
        200
    );
    for n in 0..20 {
        let kid = format!("made-up-{n}");
        assert_eq!(
            issuer.status(Algorithm::RS256, &rsa(), Some(&kid)).await,
            401
        );
    }
    assert_eq!(
        issuer.fetches().await,
        1,
        "the first fetch was less than 30 s ago"
    );
    issuer.app.clock.advance(Duration::from_secs(30));
    for kid in ["x", "y", "z"] {
        assert_eq!(
            issuer.status(Algorithm::RS256, &rsa(), Some(kid)).await,
            401
        );
    }
    assert_eq!(issuer.fetches().await, 2);
    assert_eq!(
        issuer.status(Algorithm::RS256, &rsa(), Some("r")).await,
        200
    );
}

#[tokio::test]
async fn a_rotated_key_is_found_by_its_new_name_and_the_old_one_goes_with_the_set() {
    let issuer = Issuer::publishing(&[jwk(&rsa(), Algorithm::RS256, "old")]).await;
    assert_eq!(
        issuer.status(Algorithm::RS256, &rsa(), Some("old")).await,
        200
    );
    issuer.publish(&[jwk(&ec(), Algorithm::ES256, "new")]).await;
    issuer.app.clock.advance(Duration::from_secs(31));
    assert_eq!(
        issuer.status(Algorithm::ES256, &ec(), Some("new")).await,
        200
    );
    assert_eq!(
        issuer.status(Algorithm::RS256, &rsa(), Some("old")).await,
        401
    );
    assert_eq!(issuer.fetches().await, 2);
}

#[tokio::test]
async fn known_keys_outlive_an_issuer_that_is_down() {
    let issuer = Issuer::publishing(&[jwk(&rsa(), Algorithm::RS256, "r")]).await;
    assert_eq!(
        issuer.status(Algorithm::RS256, &rsa(), Some("r")).await,
        200
    );
    for answer in [
        ResponseTemplate::new(500),
        ResponseTemplate::new(200).set_body_string("<html>not keys</html>"),
        ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/"),
    ] {
        issuer.answer(answer).await;
        issuer.app.clock.advance(Duration::from_secs(11 * 60));
        assert_eq!(
            issuer.status(Algorithm::RS256, &rsa(), Some("r")).await,
            200
        );
    }
    assert_eq!(issuer.fetches().await, 4);
}

#[tokio::test]
async fn a_symmetric_or_encrypting_key_in_the_set_signs_nothing() {
    let secret = b"whoever reads the set can sign with this";
    let shared = EncodingKey::from_secret(secret);
    let mut encrypting = jwk(&ec(), Algorithm::ES256, "enc");
    encrypting["use"] = json!("enc");
    let issuer = Issuer::publishing(&[jwk(&shared, Algorithm::HS256, "oct"), encrypting]).await;
    assert_eq!(
        issuer.status(Algorithm::HS256, &shared, Some("oct")).await,
        401
    );
    assert_eq!(
        issuer.status(Algorithm::ES256, &ec(), Some("enc")).await,
        401
    );
}

#[tokio::test]
async fn a_key_without_an_alg_is_good_for_its_family_and_a_key_we_cannot_read_harms_no_other() {
    let mut bare = jwk(&rsa(), Algorithm::RS256, "bare");
    bare.as_object_mut().unwrap().remove("alg");
    let issuer = Issuer::publishing(&[bare]).await;
    // The only key there is needs no name.
    assert_eq!(issuer.status(Algorithm::RS256, &rsa(), None).await, 200);
    assert_eq!(
        issuer.status(Algorithm::PS512, &rsa(), Some("bare")).await,
        200
    );
    assert_eq!(
        issuer.status(Algorithm::ES256, &ec(), Some("bare")).await,
        401
    );

    let future = json!({ "kty": "AKP", "alg": "ML-DSA-44", "kid": "pq", "pub": "AAAA" });
    let issuer = Issuer::publishing(&[future, jwk(&rsa(), Algorithm::RS256, "r")]).await;
    assert_eq!(
        issuer.status(Algorithm::RS256, &rsa(), Some("r")).await,
        200
    );
}

#[tokio::test]
async fn keys_come_from_the_configured_place_only_and_in_bounds() {
    let issuer = Issuer::publishing(&[jwk(&rsa(), Algorithm::RS256, "r")]).await;
    let first = issuer.status(Algorithm::RS256, &rsa(), Some("r")).await;
    assert_eq!(first, 200);
    let elsewhere = MockServer::start().await;
    let forged = json!({ "keys": [jwk(&ec(), Algorithm::ES256, "forged")] });
    let redirect = format!("{}/keys", elsewhere.uri());
    let mut huge = forged.clone();
    huge["padding"] = json!(" ".repeat(300 * 1024));
    for answer in [
        ResponseTemplate::new(302).insert_header("location", redirect.as_str()),
        ResponseTemplate::new(307).insert_header("location", redirect.as_str()),
        ResponseTemplate::new(200).set_body_json(huge),
    ] {
        issuer.answer(answer).await;
        issuer.app.clock.advance(Duration::from_secs(60));
        let (good, forger) = (rsa(), ec());
        let forged = issuer.status(Algorithm::ES256, &forger, Some("forged"));
        assert_eq!(forged.await, 401);
        // A refused document spoils nothing.
        let known = issuer.status(Algorithm::RS256, &good, Some("r"));
        assert_eq!(known.await, 200);
    }
    assert_eq!(issuer.fetches().await, 4);
    assert_eq!(elsewhere.received_requests().await.unwrap().len(), 0);
}
