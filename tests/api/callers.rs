//! Each kind of caller, and each way to pretend to be one. Public keys are here; published ones in `jwks`. The private
//! keys in `fixtures/keys` were made for these tests and open nothing else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Setup, TestApp, jwt};
use crate::log::Mark;

pub(crate) const RSA: &str = include_str!("../fixtures/keys/rsa.private.pem");
const RSA_PUBLIC: &str = include_str!("../fixtures/keys/rsa.public.pem");
pub(crate) const EC: &str = include_str!("../fixtures/keys/ec.private.pem");
const EC_PUBLIC: &str = include_str!("../fixtures/keys/ec.public.pem");
pub(crate) const ED: &str = include_str!("../fixtures/keys/ed25519.private.pem");
const ED_PUBLIC: &str = include_str!("../fixtures/keys/ed25519.public.pem");
pub(crate) const OTHER_RSA: &str = include_str!("../fixtures/keys/rsa-other.private.pem");

async fn me(app: &TestApp, token: &str) -> Answer {
    app.keep_secret(token);
    app.get("/athos/me", token).await
}

#[tokio::test]
async fn nobody_is_told_to_sign_in_and_a_stranger_that_the_token_is_bad() {
    let app = TestApp::start().await;
    for path in ["/athos/me", "/athos/calls", "/athos/calls/x", "/athos/live"] {
        let absent = app.send(app.request(Method::GET, path)).await;
        let absent = absent.refused(401, "UNAUTHENTICATED");
        assert_eq!(absent.header("www-authenticate"), "Bearer");
        assert_eq!(absent.header("cache-control"), "no-store");
        let invalid = app
            .get(path, "nonsense")
            .await
            .refused(401, "INVALID_TOKEN");
        assert_eq!(invalid.header("www-authenticate"), "Bearer");
    }
    let absent = app.send(app.request(Method::POST, "/athos/token")).await;
    absent.refused(401, "UNAUTHENTICATED");
    let basic = app
        .request(Method::GET, "/athos/me")
        .basic_auth("rep_1", Some("pw"));
    app.send(basic).await.refused(401, "INVALID_TOKEN");
    // A header that is empty is a mistake of the caller's, not an absence.
    let empty = app
        .request(Method::GET, "/athos/me")
        .header("authorization", "Bearer ");
    app.send(empty).await.refused(401, "INVALID_TOKEN");
}

#[tokio::test]
async fn a_rep_is_who_the_hs256_token_says() {
    let app = TestApp::start().await;
    let mut claims = app.claims("rep_1", "agency_1", "manager");
    claims["name"] = json!("Ada");
    claims["email"] = json!("ada@example.com");
    let known = me(&app, &app.jwt(&claims)).await.expect(200);
    assert_eq!(known.header("cache-control"), "no-store");
    let expected = json!({
        "kind": "user", "rep": "rep_1", "agency": "agency_1", "role": "manager", "name": "Ada",
        "email": "ada@example.com",
    });
    assert_eq!(known.json(), expected);
    claims["role"] = json!("superuser");
    let least = me(&app, &app.jwt(&claims)).await.expect(200);
    assert_eq!(least.json()["role"], "rep");
}

#[tokio::test]
async fn a_service_token_is_a_service_and_one_letter_more_is_nobody() {
    let app = TestApp::start().await;
    let service = me(&app, &app.secrets.service).await.expect(200);
    let name = athos_api::signature::fingerprint(&app.secrets.service.clone().into());
    let all = ["mint", "read", "transcripts", "admin", "metrics"];
    let expected = json!({ "kind": "service", "name": name, "scopes": all });
    assert_eq!(service.json(), expected);
    for wrong in [
        format!("{}x", app.secrets.service),
        app.secrets.service[1..].to_owned(),
    ] {
        app.get("/athos/me", &wrong)
            .await
            .refused(401, "INVALID_TOKEN");
    }
}

#[tokio::test]
async fn without_a_jwt_key_only_service_tokens_are_known() {
    let app = Setup::new().without_jwt_secret().start().await;
    me(&app, &app.secrets.service).await.expect(200);
    me(&app, &app.rep("rep_1", "a"))
        .await
        .refused(401, "INVALID_TOKEN");
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused() {
    let app = Setup::new()
        .flag("auth-issuer", "https://idp.example.com/")
        .flag("auth-audience", "athos-backend")
        .start()
        .await;
    let now = app.now().as_secs();
    let mut good = app.claims("rep_1", "agency_1", "rep");
    good["iss"] = json!("https://idp.example.com/");
    good["aud"] = json!(["something-else", "athos-backend"]);
    me(&app, &app.jwt(&good)).await.expect(200);

    // 30 s of leeway, and not one more.
    let cases: &[(&str, Value, u16, &str)] = &[
        ("exp", json!(now - 29), 200, ""),
        ("exp", json!(now - 30), 401, "TOKEN_EXPIRED"),
        ("exp", json!(now - 86_400), 401, "TOKEN_EXPIRED"),
        ("exp", Value::Null, 401, "INVALID_TOKEN"),
        ("exp", json!("tomorrow"), 401, "INVALID_TOKEN"),
        ("nbf", json!(now + 30), 200, ""),
        ("nbf", json!(now + 31), 401, "INVALID_TOKEN"),
        (
            "iss",
            json!("https://idp.example.com"),
            401,
            "INVALID_TOKEN",
        ),
        ("iss", Value::Null, 401, "INVALID_TOKEN"),
        ("aud", json!("something-else"), 401, "INVALID_TOKEN"),
        ("aud", Value::Null, 401, "INVALID_TOKEN"),
        ("sub", Value::Null, 401, "INVALID_TOKEN"),
        ("sub", json!(""), 401, "INVALID_TOKEN"),
        ("sub", json!("  "), 401, "INVALID_TOKEN"),
        ("sub", json!(["rep_1"]), 401, "INVALID_TOKEN"),
        ("sub", json!("rep\n1"), 401, "INVALID_TOKEN"),
        ("sub", json!("r".repeat(201)), 401, "INVALID_TOKEN"),
        ("sub", json!("r".repeat(200)), 200, ""),
        ("sub", json!("rep_1 "), 401, "INVALID_TOKEN"),
        ("sub", json!("\u{a0}rep_1"), 401, "INVALID_TOKEN"),
        ("sub", json!("rep_1\u{2003}"), 401, "INVALID_TOKEN"),
        ("sub", json!("rep_1\u{feff}"), 401, "INVALID_TOKEN"),
        ("sub", json!("rep\u{200b}_1"), 401, "INVALID_TOKEN"),
        ("sub", json!("rep\u{202e}_1"), 401, "INVALID_TOKEN"),
        ("sub", json!(1e20), 401, "INVALID_TOKEN"),
        ("sub", json!(1.0), 401, "INVALID_TOKEN"),
        ("sub", json!(true), 401, "INVALID_TOKEN"),
        ("agency_id", json!("agency_1\u{3000}"), 401, "INVALID_TOKEN"),
        ("agency_id", json!(1e20), 401, "INVALID_TOKEN"),
        ("agency_id", json!(["agency_1"]), 401, "INVALID_TOKEN"),
        ("agency_id", json!(""), 200, ""),
        ("agency_id", json!("a\u{0}b"), 401, "INVALID_TOKEN"),
        ("agency_id", Value::Null, 200, ""),
    ];
    for (claim, value, status, code) in cases {
        let mut claims = good.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(*claim);
        } else {
            claims[*claim] = value.clone();
        }
        let answer = me(&app, &app.jwt(&claims)).await;
        assert_eq!(answer.status, *status, "{claim}={value}: {}", answer.text());
        if *status == 401 {
            assert_eq!(answer.code(), *code, "{claim}={value}");
        }
    }
}

#[tokio::test]
async fn claims_of_odd_shapes_are_refused_and_none_is_overlooked() {
    let app = Setup::new()
        .flag("auth-issuer", "https://idp.example.com/")
        .flag("auth-audience", "athos-backend")
        .start()
        .await;
    let now = app.now().as_secs();
    let ask = async |claims: &str| {
        let (claims, at) = (claims.replace("LATER", &(now + 600).to_string()), now - 60);
        let claims = claims.replace("EARLIER", &at.to_string());
        let header = r#"{"alg":"HS256","typ":"JWT"}"#;
        me(&app, &app.raw_jwt(header, &claims)).await
    };
    let parties = r#""iss":"https://idp.example.com/","aud":"athos-backend""#;
    let good = format!(r#"{{"sub":"rep_1","exp":LATER,{parties}}}"#);
    ask(&good).await.expect(200);
    for more in [
        r#","nbf":null"#,
        r#","nbf":EARLIER"#,
        r#","nbf":EARLIER.5"#,
        // When it was made is not ours to judge.
        r#","iat":LATER"#,
        r#","iat":"today""#,
    ] {
        let claims = good.replace('}', &format!("{more}}}"));
        let answer = ask(&claims).await;
        assert_eq!(answer.status, 200, "{more}: {}", answer.text());
    }
    for more in [
        r#","nbf":"LATER""#,
        r#","nbf":"EARLIER""#,
        r#","nbf":true"#,
        r#","nbf":[EARLIER]"#,
        r#","nbf":{}"#,
        r#","nbf":LATER"#,
        r#","nbf":1e300"#,
        // Said twice: what others have checked may be the other one.
        r#","nbf":LATER,"nbf":EARLIER"#,
        r#","sub":"rep_2""#,
        r#","sub":"rep_1""#,
        r#","\u0073ub":"rep_2""#,
        r#","exp":LATER"#,
        r#","aud":"another""#,
        r#","app":{"id":1,"id":2}"#,
    ] {
        let claims = good.replace('}', &format!("{more}}}"));
        let claims = claims.replace(r#"{"id":1,"id":2}}"#, r#"{"id":1,"id":2}"#);
        let claims = if more.contains("app") {
            format!("{claims}}}")
        } else {
            claims
        };
        let refused = ask(&claims).await;
        assert_eq!(refused.status, 401, "{more}: {}", refused.text());
        assert_eq!(refused.code(), "INVALID_TOKEN", "{more}");
    }
    for (exp, code) in [
        (r#""LATER""#, "INVALID_TOKEN"),
        ("true", "INVALID_TOKEN"),
        ("null", "INVALID_TOKEN"),
        ("[LATER]", "INVALID_TOKEN"),
        ("LATER000", "INVALID_TOKEN"),
        ("1e300", "INVALID_TOKEN"),
        ("253402300800", "INVALID_TOKEN"),
        ("-1", "TOKEN_EXPIRED"),
        ("-1e300", "TOKEN_EXPIRED"),
        ("0", "TOKEN_EXPIRED"),
    ] {
        let claims = good.replace(r#""exp":LATER"#, &format!(r#""exp":{exp}"#));
        assert_eq!(ask(&claims).await.expect(401).code(), code, "{exp}");
    }
    for exp in ["LATER.75", "253402300799"] {
        let claims = good.replace(r#""exp":LATER"#, &format!(r#""exp":{exp}"#));
        assert_eq!(ask(&claims).await.status, 200, "{exp}");
    }
    for odd in [
        r#""aud":7"#,
        r#""aud":{"athos-backend":true}"#,
        r#""aud":[]"#,
        r#""aud":[["athos-backend"]]"#,
        r#""aud":["athos-backend",7]"#,
        r#""aud":"athos-backend ""#,
        r#""aud":"athos-backend,another""#,
    ] {
        let claims = good.replace(r#""aud":"athos-backend""#, odd);
        assert_eq!(
            ask(&claims).await.expect(401).code(),
            "INVALID_TOKEN",
            "{odd}"
        );
    }
    let several = good.replace("https://idp.example.com/\"", "https://idp.example.com/\"]");
    let several = several.replace("\"iss\":", "\"iss\":[");
    ask(&several).await.refused(401, "INVALID_TOKEN");
}

#[tokio::test]
async fn a_header_that_asks_for_more_than_a_signature_is_refused() {
    let app = TestApp::start().await;
    let claims = app.claims("rep_1", "agency_1", "rep").to_string();
    for header in [
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"at+jwt","x":{"y":1}}"#,
    ] {
        me(&app, &app.raw_jwt(header, &claims)).await.expect(200);
    }
    for header in [
        r#"{"alg":"HS256","crit":["urn:example:revoked"],"urn:example:revoked":true}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
        r#"{"alg":"HS256","b64":false}"#,
        r#"{"alg":"HS256","cty":"JWT"}"#,
        r#"{"alg":"HS256","typ":"logout+jwt"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":["HS256","none"]}"#,
        r#"{"typ":"JWT"}"#,
    ] {
        let refused = me(&app, &app.raw_jwt(header, &claims)).await;
        assert_eq!(refused.status, 401, "{header}");
        assert_eq!(refused.code(), "INVALID_TOKEN");
    }
}

#[tokio::test]
async fn people_whose_ids_are_alike_stay_apart() {
    let app = TestApp::start().await;
    let who = async |sub: &Value| {
        let mut claims = app.claims("x", "agency_1", "rep");
        claims["sub"] = sub.clone();
        let known = me(&app, &app.jwt(&claims)).await.expect(200).json();
        known["rep"].as_str().unwrap().to_owned()
    };
    let alike = [
        json!(9_007_199_254_740_992_u64),
        json!(9_007_199_254_740_993_u64),
        json!(u64::MAX),
        json!(u64::MAX - 1),
        json!("Rep_1"),
        json!("rep_1"),
        json!("rep 1"),
        json!("rep\u{a0}1"),
        json!("rep_\u{e9}"),
        json!("rep_e\u{301}"),
        json!("007"),
        json!(7),
    ];
    let mut known = Vec::new();
    for sub in &alike {
        known.push(who(sub).await);
    }
    for (known, sub) in known.iter().zip(&alike) {
        let exactly = sub.as_str().map_or_else(|| sub.to_string(), str::to_owned);
        assert_eq!(*known, exactly);
    }
}

#[tokio::test]
async fn configured_claims_say_who_the_rep_is() {
    let app = Setup::new()
        .flag("auth-claim-user", "app.user_id")
        .flag("auth-claim-agency", "https://example.com/agency")
        .flag("auth-claim-role", "app.role")
        .start()
        .await;
    let claims = json!({
        "sub": "idp|1", "exp": app.now().as_secs() + 60, "https://example.com/agency": 77,
        "app": { "user_id": "rep_1", "role": "manager" },
    });
    let known = me(&app, &app.jwt(&claims)).await.expect(200).json();
    assert_eq!(
        (&known["rep"], &known["agency"], &known["role"]),
        (&json!("rep_1"), &json!("77"), &json!("manager"))
    );
}

#[tokio::test]
async fn of_a_list_of_roles_the_highest_counts_and_one_that_is_not_understood_is_told_once() {
    let log = Mark::here();
    let app = Setup::new().flag("auth-claim-role", "groups").start().await;
    let role = async |role: Value| {
        let mut claims = app.claims("rep_1", "agency_1", "rep");
        claims["groups"] = role;
        let known = me(&app, &app.jwt(&claims)).await.expect(200).json();
        known["role"].as_str().unwrap().to_owned()
    };
    assert_eq!(role(json!(["rep", "manager"])).await, "manager");
    assert_eq!(role(json!(["offline_access", "admin"])).await, "admin");
    for unknown in [
        json!({ "admin": true }),
        json!(["sales"]),
        json!("superuser"),
    ] {
        assert_eq!(role(unknown).await, "rep");
    }
    // Other tests of this process may have their own.
    let log = log.since();
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("AUTH_CLAIM_ROLE=groups"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("neither text nor a list"), "{told:?}");
}

#[tokio::test]
async fn a_token_without_a_signature_or_with_a_foreign_one_is_refused() {
    let app = TestApp::start().await;
    let claims = app.claims("rep_1", "agency_1", "admin");
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    for alg in ["none", "None", "NONE", "nOnE"] {
        let header = part(&json!({ "alg": alg, "typ": "JWT" }));
        for signature in ["", "AAAA"] {
            let token = format!("{header}.{}.{signature}", part(&claims));
            me(&app, &token).await.refused(401, "INVALID_TOKEN");
        }
    }
    let foreign = EncodingKey::from_secret(b"another secret of at least 32 bytes");
    let forged = jwt(Algorithm::HS256, &foreign, None, &claims);
    me(&app, &forged).await.refused(401, "INVALID_TOKEN");
    // The right secret, but an algorithm that is not configured.
    let own = EncodingKey::from_secret(app.secrets.jwt.as_bytes());
    for alg in [Algorithm::HS384, Algorithm::HS512] {
        let token = jwt(alg, &own, None, &claims);
        me(&app, &token).await.refused(401, "INVALID_TOKEN");
    }
    // Claims of one token under the signature of another.
    let (admin, rep) = (app.jwt(&claims), app.rep("rep_1", "agency_1"));
    let mut parts: Vec<_> = rep.split('.').collect();
    parts[1] = admin.split('.').nth(1).unwrap();
    me(&app, &parts.join("."))
        .await
        .refused(401, "INVALID_TOKEN");
    for broken in [
        "a.b.c",
        "..",
        &rep[..rep.len() - 2],
        &format!("{rep}.x"),
        &"x".repeat(7000),
    ] {
        me(&app, broken).await.refused(401, "INVALID_TOKEN");
    }
}

#[tokio::test]
async fn each_kind_of_public_key_verifies_its_own_family_and_nothing_else() {
    let keys = [
        (
            RSA_PUBLIC,
            Algorithm::RS256,
            EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap(),
        ),
        (
            EC_PUBLIC,
            Algorithm::ES256,
            EncodingKey::from_ec_pem(EC.as_bytes()).unwrap(),
        ),
        (
            ED_PUBLIC,
            Algorithm::EdDSA,
            EncodingKey::from_ed_pem(ED.as_bytes()).unwrap(),
        ),
    ];
    for (public, alg, _) in &keys {
        // As an environment file would have it.
        let one_line = public.replace('\n', "\\n");
        let app = Setup::new()
            .without_jwt_secret()
            .flag("auth-jwt-public-key", &one_line)
            .start()
            .await;
        let claims = app.claims("rep_1", "agency_1", "rep");
        for (_, other, key) in &keys {
            let token = jwt(*other, key, None, &claims);
            let answer = me(&app, &token).await;
            let expected = if other == alg { 200 } else { 401 };
            assert_eq!(answer.status, expected, "{other:?} at {alg:?}");
        }
        // Alg confusion: whoever has the public key signs with it as if it were a shared secret.
        for secret in [
            public.as_bytes(),
            public.trim().as_bytes(),
            one_line.as_bytes(),
        ] {
            let confused = jwt(
                Algorithm::HS256,
                &EncodingKey::from_secret(secret),
                None,
                &claims,
            );
            me(&app, &confused).await.refused(401, "INVALID_TOKEN");
        }
        let stranger = EncodingKey::from_rsa_pem(OTHER_RSA.as_bytes()).unwrap();
        let forged = jwt(Algorithm::RS256, &stranger, None, &claims);
        me(&app, &forged).await.refused(401, "INVALID_TOKEN");
    }
}
