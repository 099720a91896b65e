//! Credentials that a browser or a proxy adds by itself: cookies, the demo's among them, and a proxy's headers. They
//! count only where no page of another site can make use of them.

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::json;

use crate::harness::{Setup, TestApp, unique};

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
    // A recording is asked for at Athos, a stream takes a place, and any page can embed either.
    let [recording, stream] = ["/athos/calls/call_1/recording", "/athos/live"];
    let embedded = async |path: &str, headers: Headers<'_>| {
        let mut request = app.request(Method::GET, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        app.send(request.header("cookie", format!("session={token}")))
            .await
    };
    for headers in refused {
        for path in [recording, stream] {
            let answer = embedded(path, headers).await;
            answer.refused(403, "CROSS_SITE_REQUEST");
        }
    }
    let media_of_a_trusted_page: Headers<'_> = &[
        ("sec-fetch-site", "cross-site"),
        ("referer", "https://app.example.com/"),
    ];
    for headers in allowed.iter().chain([&media_of_a_trusted_page]) {
        let answer = embedded(recording, headers).await;
        answer.refused(404, "CALL_NOT_FOUND");
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

/// `Authorization` headers that are not for this service.
const FOREIGN: [&str; 15] = [
    "Basic cmVwXzE6cHc=",
    "Negotiate YIIabc==",
    "Digest username=\"rep_1\"",
    "",
    "Bearer",
    "Bearer ",
    "Bearer undefined",
    "bearer null",
    "Bearer [object Object]",
    "Bearer NaN",
    "Bearer undefined.undefined.undefined",
    "Bearer {{access_token_1}}",
    "Bearer YOUR_ACCESS_TOKEN",
    "undefined",
    "Token 0123456789abcdef0123456789abcdef",
];

#[tokio::test]
async fn credentials_of_others_do_not_shut_off_ours() {
    let secret = unique("proxy");
    let app = Setup::new()
        .flag("auth-cookie", "session")
        .flag("auth-proxy-user-header", "X-User")
        .flag("auth-proxy-secret", &secret)
        .start()
        .await;
    let cookie = format!("session={}", app.rep("rep_c", "agency_1"));
    let ask = |method: Method, path: &str, foreign: &str| {
        app.request(method, path).header("authorization", foreign)
    };
    for foreign in FOREIGN {
        let by_cookie = ask(Method::GET, "/athos/me", foreign).header("cookie", &cookie);
        let known = app.send(by_cookie).await;
        assert_eq!(known.status, 200, "{foreign}: {}", known.text());
        assert_eq!(known.json()["rep"], "rep_c");
        let by_proxy = ask(Method::GET, "/athos/me", foreign).header("x-user", "rep_p");
        let by_proxy = by_proxy.header("x-auth-proxy-secret", &secret);
        assert_eq!(app.send(by_proxy).await.expect(200).json()["rep"], "rep_p");
        // A bearer of ours beside it counts.
        let both = ask(Method::GET, "/athos/me", foreign).bearer_auth(app.rep("rep_b", "agency_1"));
        let both = app.send(both.header("cookie", &cookie)).await.expect(200);
        assert_eq!(both.json()["rep"], "rep_b");
        // The cookie is ambient all the same.
        let elsewhere = ask(Method::POST, "/athos/token", foreign).header("cookie", &cookie);
        let elsewhere = elsewhere.header("origin", "https://evil.example");
        app.send(elsewhere).await.refused(403, "CROSS_SITE_REQUEST");
        // By itself it is nobody.
        let alone = app.send(ask(Method::GET, "/athos/me", foreign)).await;
        alone.refused(401, "INVALID_TOKEN");
    }
}

#[tokio::test]
async fn a_bearer_that_is_meant_for_us_and_wrong_does_not_give_way_to_another_identity() {
    let secret = unique("proxy");
    let app = Setup::new()
        .flag("auth-cookie", "session")
        .flag("auth-proxy-user-header", "X-User")
        .flag("auth-proxy-secret", &secret)
        .start()
        .await;
    let mut expired = app.claims("rep_b", "agency_1", "rep");
    expired["exp"] = json!(app.now().as_secs() - 60);
    let good = app.rep("rep_b", "agency_1");
    let (message, _) = good.rsplit_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyZXBfYiJ9.";
    for (bearer, code) in [
        (app.jwt(&expired), "TOKEN_EXPIRED"),
        (format!("{message}.AAAA"), "INVALID_TOKEN"),
        (format!("{message}."), "INVALID_TOKEN"),
        (none.to_owned(), "INVALID_TOKEN"),
        (unique("svc"), "INVALID_TOKEN"),
        (format!("{}x", app.secrets.service), "INVALID_TOKEN"),
    ] {
        let request = app.request(Method::GET, "/athos/me").bearer_auth(&bearer);
        let request = request.header("cookie", format!("session={}", app.rep("rep_c", "a")));
        let request = request
            .header("x-user", "rep_p")
            .header("x-auth-proxy-secret", &secret);
        app.send(request).await.refused(401, code);
    }
    // Nor does one of two bearers, whichever comes first.
    for other in [good.clone(), app.secrets.service.clone(), app.jwt(&expired)] {
        let two = app.request(Method::GET, "/athos/me").bearer_auth(&good);
        app.send(two.bearer_auth(other))
            .await
            .refused(401, "INVALID_TOKEN");
    }
}

#[tokio::test]
async fn where_no_jwt_is_known_a_proxys_users_may_carry_one_of_their_own() {
    let secret = unique("proxy");
    let app = Setup::new()
        .without_jwt_secret()
        .flag("auth-proxy-user-header", "X-User")
        .flag("auth-proxy-secret", &secret)
        .start()
        .await;
    let request = app
        .request(Method::GET, "/athos/me")
        .header("x-user", "rep_p");
    let request = request.header("x-auth-proxy-secret", &secret);
    let request = request.bearer_auth(app.rep("rep_b", "agency_1"));
    assert_eq!(app.send(request).await.expect(200).json()["rep"], "rep_p");
}

#[tokio::test]
async fn of_cookies_the_first_that_is_good_counts_whatever_is_beside_it() {
    let app = Setup::new().flag("auth-cookie", "session").start().await;
    let mut expired = app.claims("rep_0", "agency_1", "rep");
    expired["exp"] = json!(app.now().as_secs() - 60);
    let (good, other) = (app.rep("rep_1", "agency_1"), app.rep("rep_2", "agency_1"));
    let (old, none) = (app.jwt(&expired), String::new());
    let ask = async |lines: &[&str]| {
        let mut request = app.request(Method::GET, "/athos/me");
        for line in lines {
            let value = HeaderValue::from_bytes(&latin_1(line)).unwrap();
            request = request.header("cookie", value);
        }
        app.send(request).await
    };
    for lines in [
        vec![format!("session={good}")],
        vec![format!("name=caf\u{e9}; session={good}; x=\u{ff}")],
        vec![format!("session={old}; session={good}")],
        vec![format!("session={good}; session={old}")],
        vec![format!(
            "session=undefined; session=\u{e9}; session={good}; session={other}"
        )],
        vec![format!("session={old}"), format!("a=b; session={good}")],
        vec![format!("session=\"{good}\"")],
        vec![format!("a=b;session = {good} ;c")],
        vec![format!("session; =; session=; ;; session={good}")],
        vec![format!("Session={other}; sessions={other}; session={good}")],
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let known = ask(&lines).await;
        assert_eq!(known.status, 200, "{lines:?}: {}", known.text());
        assert_eq!(known.json()["rep"], "rep_1", "{lines:?}");
    }
    for (lines, code) in [
        (format!("session={old}; session=undefined"), "TOKEN_EXPIRED"),
        (format!("session=undefined; session={old}"), "TOKEN_EXPIRED"),
        (format!("session={good}x"), "INVALID_TOKEN"),
        (format!("session=\"{good}"), "INVALID_TOKEN"),
        (format!("session={none}; SESSION={good}"), "UNAUTHENTICATED"),
    ] {
        ask(&[&lines]).await.refused(401, code);
    }
}

/// The bytes that some servers write where others would have UTF-8.
fn latin_1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect()
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
async fn where_proxies_are_named_only_they_may_name_a_user() {
    let secret = unique("proxy");
    let named = async |proxies: &str| {
        let app = Setup::new()
            .flag("auth-proxy-user-header", "X-User")
            .flag("auth-proxy-secret", &secret)
            .flag("trusted-proxies", proxies)
            .start()
            .await;
        let ask = app
            .request(Method::GET, "/athos/me")
            .header("x-user", "rep_1")
            .header("x-auth-proxy-secret", &secret)
            // Whoever it says it was asked by, it is the peer that counts.
            .header("x-forwarded-for", "10.0.0.1");
        app.send(ask).await
    };
    let known = named("10.0.0.0/8,127.0.0.1").await.expect(200);
    assert_eq!(known.json()["rep"], "rep_1");
    named("10.0.0.0/8").await.refused(401, "INVALID_TOKEN");
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
