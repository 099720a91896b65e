//! Published keys: found by their name, fetched again when a name is new, and never asked for more often than the
//! limit, whatever callers make up.

use futures_util::future::join_all;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::callers::{EC, ED, OTHER_RSA, RSA};
use crate::harness::{Answer, Setup, TestApp, jwt};

struct Issuer {
    server: MockServer,
    app: TestApp,
}

async fn at(url: &str) -> TestApp {
    let setup = Setup::new().without_jwt_secret();
    setup.flag("auth-jwks-url", url).start().await
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
        // The service asks at once.
        Mock::given(path("/keys"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "keys": keys })))
            .with_priority(255)
            .mount(&server)
            .await;
        let app = at(&format!("{}/keys", server.uri())).await;
        Self { server, app }
    }

    /// Asks with a known key until the service has fetched so often.
    async fn asked_until_fetched(&self, fetches: usize, key: &EncodingKey, kid: &str) {
        while self.fetches().await < fetches {
            assert_eq!(self.status(Algorithm::RS256, key, Some(kid)).await, 200);
        }
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
        let answer = ask(&self.app, alg, key, kid).await;
        if answer.status != 200 {
            assert_eq!(answer.code(), "INVALID_TOKEN");
        }
        answer.status
    }
}

async fn ask(app: &TestApp, alg: Algorithm, key: &EncodingKey, kid: Option<&str>) -> Answer {
    let claims = app.claims("rep_1", "agency_1", "rep");
    let token = jwt(alg, key, kid, &claims);
    app.keep_secret(&token);
    app.get("/athos/me", &token).await
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
    // Without a name, whichever signed it.
    assert_eq!(issuer.status(Algorithm::RS256, &rsa(), None).await, 200);
    assert_eq!(issuer.status(Algorithm::ES256, &ec(), None).await, 200);
    // The name of one key, the signature of another; not the published alg.
    assert_eq!(issuer.status(Algorithm::ES256, &ec(), Some("r")).await, 401);
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
    let bad = [
        ResponseTemplate::new(500),
        ResponseTemplate::new(200).set_body_string("<html>not keys</html>"),
        ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/"),
    ];
    for (nth, answer) in bad.into_iter().enumerate() {
        issuer.answer(answer).await;
        issuer.app.clock.advance(Duration::from_secs(11 * 60));
        issuer.asked_until_fetched(nth + 2, &rsa(), "r").await;
        // Whoever needs another key waits until the fetch has ended.
        issuer.status(Algorithm::RS256, &rsa(), Some("x")).await;
    }
    assert_eq!(
        issuer.status(Algorithm::RS256, &rsa(), Some("r")).await,
        200
    );
    assert_eq!(issuer.fetches().await, 4);

    // But not for ever: what was withdrawn since, nobody could tell us.
    issuer.app.clock.advance(Duration::from_secs(24 * 60 * 60));
    let unknown = ask(&issuer.app, Algorithm::RS256, &rsa(), Some("r")).await;
    unknown.refused(503, "AUTH_UNAVAILABLE");
    issuer.publish(&[jwk(&rsa(), Algorithm::RS256, "r")]).await;
    issuer.app.clock.advance(Duration::from_secs(5));
    let again = issuer.status(Algorithm::RS256, &rsa(), Some("r")).await;
    assert_eq!(again, 200);
}

#[tokio::test]
async fn keys_that_the_issuer_withdraws_count_no_longer_even_when_none_are_left() {
    let issuer = Issuer::publishing(&[jwk(&rsa(), Algorithm::RS256, "r")]).await;
    let status = async |kid: &str| issuer.status(Algorithm::RS256, &rsa(), Some(kid)).await;
    assert_eq!(status("r").await, 200);
    issuer.publish(&[]).await;
    issuer.app.clock.advance(Duration::from_secs(60));
    assert_eq!(status("new").await, 401);
    assert_eq!(status("r").await, 401);
    issuer.publish(&[jwk(&rsa(), Algorithm::RS256, "r")]).await;
    issuer.app.clock.advance(Duration::from_secs(30));
    assert_eq!(status("r").await, 200);
}

#[tokio::test]
async fn an_issuer_that_is_silent_keeps_nobody_waiting_whose_key_is_known() {
    let host = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = at(&format!("http://{}/keys", host.local_addr().unwrap())).await;
    let (given_up, mut gave_up) = tokio::sync::watch::channel(false);
    let keys = json!({ "keys": [jwk(&rsa(), Algorithm::RS256, "r")] }).to_string();
    tokio::spawn(async move {
        let (mut first, _) = host.accept().await.unwrap();
        assert!(first.read(&mut [0; 4096]).await.unwrap() > 0);
        let length = keys.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        first.write_all((head + &keys).as_bytes()).await.unwrap();
        // From here on it only listens, until the service hangs up.
        let (mut silent, _) = host.accept().await.unwrap();
        while silent
            .read(&mut [0; 4096])
            .await
            .is_ok_and(|bytes| bytes > 0)
        {}
        given_up.send_replace(true);
    });
    let known = async || {
        ask(&app, Algorithm::RS256, &rsa(), Some("r"))
            .await
            .expect(200)
    };
    known().await;
    app.clock.advance(Duration::from_secs(11 * 60));
    let callers = async {
        join_all((0..20).map(|_| known())).await;
        // One whose key is not known waits, and less than for the end.
        let unknown = ask(&app, Algorithm::RS256, &rsa(), Some("x")).await;
        unknown.refused(401, "INVALID_TOKEN");
    };
    tokio::select! {
        biased;
        _ = gave_up.changed() => panic!("callers waited for the issuer"),
        () = callers => {}
    }
}

#[tokio::test]
async fn entries_that_cannot_be_used_cost_no_other_and_the_purpose_of_a_key_decides() {
    let other = EncodingKey::from_rsa_pem(OTHER_RSA.as_bytes()).unwrap();
    let with = |mut key: Value, name: &str, value: Value| {
        key[name] = value;
        key
    };
    let good = jwk(&rsa(), Algorithm::RS256, "r");
    let foreign = jwk(&other, Algorithm::RS256, "r");
    for odd in [
        json!(null),
        json!(7),
        json!("key"),
        json!({}),
        json!({ "kty": "RSA", "kid": "r" }),
        with(good.clone(), "n", json!(7)),
        with(good.clone(), "n", json!("***")),
        with(good.clone(), "kid", json!(7)),
        with(good.clone(), "alg", json!("XY999")),
        with(good.clone(), "use", json!("mystery")),
        with(good.clone(), "key_ops", json!(["encrypt", "wrapKey"])),
        with(good.clone(), "kty", json!("XYZ")),
        json!({ "kty": "EC", "crv": "secp256k1", "kid": "r", "x": "AA", "y": "AA" }),
        // Of the same name, and for something else, or just another: all that fit are tried.
        with(foreign.clone(), "use", json!("enc")),
        with(foreign.clone(), "alg", json!("PS256")),
        foreign.clone(),
    ] {
        let issuer = Issuer::publishing(&[odd.clone(), good.clone()]).await;
        for kid in [Some("r"), None] {
            let status = issuer.status(Algorithm::RS256, &rsa(), kid).await;
            assert_eq!(status, 200, "{odd}");
        }
        assert_eq!(issuer.fetches().await, 1);
    }
    // What is for something else verifies nothing.
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["sign"])),
        ("alg", json!("RSA-OAEP-256")),
    ] {
        let issuer = Issuer::publishing(&[with(good.clone(), name, value)]).await;
        for kid in [Some("r"), None] {
            assert_eq!(issuer.status(Algorithm::RS256, &rsa(), kid).await, 401);
        }
    }
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
