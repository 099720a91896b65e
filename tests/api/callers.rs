//! Each kind of caller, and each way to pretend to be one. Public keys are here; published ones in `jwks`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Setup, TestApp, jwt, unique};

pub(crate) const RSA: &str = include_str!("../fixtures/keys/rsa.private.pem");
const RSA_PUBLIC: &str = include_str!("../fixtures/keys/rsa.public.pem");
pub(crate) const EC: &str = include_str!("../fixtures/keys/ec.private.pem");
const EC_PUBLIC: &str = include_str!("../fixtures/keys/ec.public.pem");
pub(crate) const ED: &str = include_str!("../fixtures/keys/ed25519.private.pem");
const ED_PUBLIC: &str = include_str!("../fixtures/keys/ed25519.public.pem");
const OTHER_RSA: &str = include_str!("../fixtures/keys/rsa-other.private.pem");

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
    assert_eq!(known.header("cache-control"), "private, no-store");
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
    assert_eq!(service.json(), json!({ "kind": "service" }));
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

#[tokio::test]
async fn a_cookie_counts_only_on_requests_of_our_own_pages() {
    let app = Setup::new()
        .flag("auth-cookie", "session")
        .flag("cors-origins", "https://app.example.com")
        .flag("public-url", "https://practice.example.com/")
        .start()
        .await;
    let token = app.rep("rep_1", "agency_1");
    let host = app.url("").replace("http://", "");
    let own = format!("http://{host}");
    let https_own = format!("https://{host}");
    type Headers<'h> = &'h [(&'h str, &'h str)];
    let allowed: &[Headers<'_>] = &[
        &[],
        &[("sec-fetch-site", "same-origin"), ("origin", &own)],
        &[("sec-fetch-site", "none")],
        &[("origin", &own)],
        // TLS ends at a proxy in front of us.
        &[("origin", &https_own)],
        &[
            ("origin", "https://app.example.com"),
            ("sec-fetch-site", "cross-site"),
        ],
        &[
            ("origin", "https://practice.example.com"),
            ("sec-fetch-site", "same-origin"),
        ],
    ];
    let refused: &[Headers<'_>] = &[
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site"), ("origin", &own)],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "https://app.example.com.evil.example")],
        &[("origin", "http://app.example.com")],
        &[("sec-fetch-site", "something-new")],
    ];
    let post = async |headers: Headers<'_>| {
        let mut request = app
            .request(Method::POST, "/athos/token")
            .header("cookie", format!("theme=dark; session={token}; x=y"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        app.send(request).await
    };
    for headers in allowed {
        let answer = post(headers).await;
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
    }
    for headers in refused {
        let answer = post(headers).await;
        assert_eq!(
            (answer.status, answer.code()),
            (403, "CROSS_SITE_REQUEST".into()),
            "{headers:?}"
        );
    }
    // Reading changes nothing, and CORS keeps the answer from the other page.
    let read = app
        .request(Method::GET, "/athos/me")
        .header("cookie", format!("session={token}"))
        .header("origin", "https://evil.example");
    let read = app.send(read).await.expect(200);
    assert_eq!(read.header("access-control-allow-origin"), "");
    // A bearer token is sent by the page itself, never by the browser.
    let bearer = app
        .request(Method::POST, "/athos/token")
        .bearer_auth(&token);
    app.send(bearer.header("origin", "https://evil.example"))
        .await
        .expect(200);
}

#[tokio::test]
async fn without_a_configured_cookie_no_cookie_counts() {
    let app = TestApp::start().await;
    let cookie = format!("session={}", app.rep("rep_1", "agency_1"));
    let request = app
        .request(Method::GET, "/athos/me")
        .header("cookie", cookie);
    app.send(request).await.refused(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn the_proxys_headers_count_only_with_its_secret() {
    let secret = unique("proxy");
    let app = Setup::new()
        .without_jwt_secret()
        .flag("auth-proxy-user-header", "X-User")
        .flag("auth-proxy-agency-header", "X-Agency")
        .flag("auth-proxy-role-header", "X-Role")
        .flag("auth-proxy-secret", &secret)
        .start()
        .await;
    let ask = async |headers: &[(&str, &str)]| {
        let mut request = app.request(Method::GET, "/athos/me");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        app.send(request).await
    };
    let user = ("x-user", "rep_1");
    let proof = ("x-auth-proxy-secret", secret.as_str());
    let known = ask(&[user, ("x-agency", "agency_1"), ("x-role", "manager"), proof]).await;
    let known = known.expect(200).json();
    assert_eq!(known["rep"], "rep_1");
    assert_eq!(known["agency"], "agency_1");
    assert_eq!(known["role"], "manager");

    ask(&[user]).await.refused(401, "INVALID_TOKEN");
    ask(&[user, ("x-auth-proxy-secret", "")])
        .await
        .refused(401, "INVALID_TOKEN");
    ask(&[user, ("x-auth-proxy-secret", &secret[1..])])
        .await
        .refused(401, "INVALID_TOKEN");
    // Sent twice, one of them may be the caller's own.
    ask(&[user, ("x-user", "rep_2"), proof])
        .await
        .refused(401, "INVALID_TOKEN");
    ask(&[user, ("x-role", "rep"), ("x-role", "admin"), proof])
        .await
        .refused(401, "INVALID_TOKEN");
    ask(&[user, proof, ("x-auth-proxy-secret", "x")])
        .await
        .refused(401, "INVALID_TOKEN");
    // The proxy names nobody: nobody is signed in.
    ask(&[proof]).await.refused(401, "UNAUTHENTICATED");
    ask(&[("x-user", " "), proof])
        .await
        .refused(401, "UNAUTHENTICATED");
    let long = "r".repeat(201);
    ask(&[("x-user", &long), proof])
        .await
        .refused(401, "INVALID_TOKEN");

    // A page of another site must not act through the proxy's sign-in either.
    let mint = app
        .request(Method::POST, "/athos/token")
        .header(user.0, user.1)
        .header(proof.0, proof.1);
    let foreign = mint
        .try_clone()
        .unwrap()
        .header("sec-fetch-site", "cross-site");
    app.send(foreign).await.refused(403, "CROSS_SITE_REQUEST");
    app.send(mint).await.expect(200);
}

#[tokio::test]
async fn the_demos_sign_in_makes_a_cookie_that_goes_the_usual_way() {
    let app = Setup::new().with_demo().start().await;
    let body = json!({ "user": "rep_1", "agency": "agency_1", "role": "manager", "name": "Ada" });
    let request = app
        .request(Method::POST, "/demo/sign-in")
        .body(body.to_string());
    // Not through `send`: the cookie is the answer.
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let cookie = response.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .to_owned();
    for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap();
    app.keep_secret(cookie.split_once('=').unwrap().1);
    let request = app
        .request(Method::GET, "/athos/me")
        .header("cookie", cookie);
    let known = app.send(request).await.expect(200).json();
    assert_eq!(
        (&known["rep"], &known["role"]),
        (&json!("rep_1"), &json!("manager"))
    );

    let bad = json!({ "user": " " }).to_string();
    let bad = app.request(Method::POST, "/demo/sign-in").body(bad);
    app.send(bad).await.refused(400, "INVALID_REQUEST");
    let out = app
        .send(app.request(Method::POST, "/demo/sign-out"))
        .await
        .expect(204);
    assert!(out.header("set-cookie").contains("Max-Age=0"));

    let real = TestApp::start().await;
    let nothing = real.request(Method::POST, "/demo/sign-in").body("{}");
    real.send(nothing).await.refused(404, "NOT_FOUND");
}
