//! `doctor`, as an operator runs it: the real binary against a service, its vendor and what may stand between them, each
//! in health and broken in one way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use athos_api::signature::{SIGNATURE_HEADER, WEBHOOK_ID_HEADER, fingerprint};
use athos_backend::clock::Clock;
use athos_backend::model::{EventState, Source, Timestamp};
use athos_backend::store::{self, NewRun, RunEnd};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::post;
use reqwest::Method;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::cluster::Database;
use crate::commands::command;
use crate::forwarding;
use crate::harness::{Setup, TestApp, date_ahead, http_client, unique, url};

/// What it found.
struct Examined {
    code: i32,
    report: Value,
    said: String,
}

impl Examined {
    /// The findings of one check: verdict and what was seen.
    fn of(&self, check: &str) -> Vec<(&str, &str)> {
        let all = self.report["findings"].as_array().unwrap();
        all.iter()
            .filter(|one| one["check"] == check)
            .map(|one| {
                (
                    one["verdict"].as_str().unwrap(),
                    one["message"].as_str().unwrap(),
                )
            })
            .collect()
    }

    #[track_caller]
    fn expect(&self, check: &str, verdict: &str, message: &str) {
        let found = self.of(check);
        let is_it = |&(v, m): &(&str, &str)| v == verdict && m.contains(message);
        assert!(found.iter().any(is_it), "{check}: {}", self.said);
    }
}

/// Runs it in `folder` with this environment and no other.
async fn doctor(folder: &Path, env: &[(&str, &str)], args: &[&str]) -> Examined {
    let args = [&["doctor", "--json"], args].concat();
    let mut process = command(folder, &args, env);
    // The service and its vendor answer meanwhile; the command ends by itself, whoever does not answer it.
    let output = tokio::task::spawn_blocking(move || process.output());
    let output = output.await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    Examined {
        code: output.status.code().unwrap(),
        report: serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{stderr}")),
        said,
    }
}

/// The service's own settings, as its environment would have them.
struct Deployment {
    app: TestApp,
    env: Vec<(&'static str, String)>,
}

impl Deployment {
    async fn start() -> Self {
        Self::of(Setup::new().start().await).await
    }

    async fn of(app: TestApp) -> Self {
        // What signs here and what judges there go by the same clock.
        app.clock.set(Clock::system().now());
        let env = vec![
            ("ATHOS_API_KEY", app.secrets.api_keys.join(",")),
            ("ATHOS_WHSEC", app.secrets.whsec.clone()),
            ("SERVICE_TOKENS", app.secrets.service.clone()),
            ("ATHOS_BASE_URL", app.simulator.base_url()),
            ("BIND_ADDR", app.service().addr.to_string()),
            ("ATHOS_SDK_URL", "https://cdn.example.com/sdk.js".to_owned()),
            ("PUBLIC_URL", app.url("/")),
            ("DATABASE_URL", app.database_url()),
        ];
        Self { app, env }
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.env.retain(|(other, _)| *other != name);
        self.env.push((name, value.to_owned()));
    }

    async fn examine(&self, args: &[&str]) -> Examined {
        let folder = self.app.database();
        let env: Vec<_> = self
            .env
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let examined = doctor(folder.parent().unwrap(), &env, args).await;
        let secrets = &self.app.secrets;
        let all = [&secrets.whsec, &secrets.service]
            .into_iter()
            .chain(&secrets.api_keys);
        for secret in all {
            assert!(
                !examined.said.contains(secret.as_str()),
                "{}",
                examined.said
            );
        }
        examined
    }
}

#[tokio::test]
async fn a_deployment_in_health_has_no_failure_and_every_check() {
    let mut deployment = Deployment::start().await;
    let jwt = deployment.app.secrets.jwt.clone();
    deployment.set("AUTH_JWT_SECRET", &jwt);
    deployment.set("AUTH_COOKIE", "session");
    let app = &deployment.app;
    let event = app.hook("{}").id("wh_1");
    event.send(app).await.receipt("ignored");
    app.service().reconcilers[0].run_once().await.unwrap();
    app.service().credentials.note().await.unwrap();
    let examined = deployment.examine(&["--webhook"]).await;
    assert_eq!(examined.code, 0, "{}", examined.said);
    assert_eq!(examined.report["verdict"], "ok", "{}", examined.said);
    examined.expect("settings", "ok", "from the environment");
    examined.expect(
        "callers",
        "ok",
        "also in the cookie session, 1 service token",
    );
    examined.expect("database", "ok", "can be written");
    examined.expect("database", "ok", "sound");
    examined.expect("events", "ok", "0 waiting; 0 dead");
    examined.expect("last webhook", "ok", "ago");
    examined.expect("last reconciliation", "ok", "roleplay: ");
    examined.expect("last reconciliation", "ok", "0 calls seen");
    let name = fingerprint(&app.secrets.whsec.clone().into());
    examined.expect("webhook secret", "ok", &format!("{name}: last used"));
    examined.expect("contract", "ok", "external");
    examined.expect("drift", "ok", "nothing");
    examined.expect("Athos", "ok", "answers in");
    examined.expect("clock", "ok", "");
    for key in &app.secrets.api_keys {
        let name = fingerprint(&key.clone().into());
        examined.expect("API key", "ok", &name);
    }
    examined.expect("service", "ok", "running at");
    examined.expect("public URL", "ok", "the service answers");
    examined.expect("webhook", "ok", "as it was sent");
    assert!(!examined.of("disk space").is_empty());

    let text = command(
        app.database().parent().unwrap(),
        &["doctor", "--offline"],
        &[("DATABASE_URL", &*app.database_url())],
    );
    let text = String::from_utf8({ text }.output().unwrap().stdout).unwrap();
    assert!(text.contains("\nok    database "), "{text}");
    assert!(text.contains("\nskip  network "), "{text}");
    assert!(text.starts_with("FAIL  settings "), "{text}");

    deployment.app.stop().await;
    let folder = deployment.app.database();
    let files = || {
        let files = std::fs::read_dir(folder.parent().unwrap()).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    deployment
        .examine(&["--offline"])
        .await
        .expect("database", "ok", "sound");
    assert_eq!(files(), before);
}

#[tokio::test]
async fn it_lists_what_is_new_and_says_of_each_source_how_it_does() {
    let mut deployment = Deployment::start().await;
    deployment.set("SOURCES", "roleplay,real_call");
    let app = &deployment.app;
    let event = json!({ "event": "call.archived", "mood": 1, "tone": 2 });
    let sent = app.hook(event.to_string()).id("wh_1").send(app).await;
    sent.receipt("ignored");
    app.service().worker.record_drift().await;
    let examined = deployment.examine(&["--offline"]).await;
    examined.expect("drift", "warn", "the field mood (webhook): once, first ");
    examined.expect("drift", "warn", "the field tone (webhook)");
    examined.expect("drift", "warn", "the event call.archived (webhook)");
    examined.expect("last reconciliation", "warn", "roleplay: there was none");
    examined.expect("last reconciliation", "warn", "real_call: there was none");

    let ended = [
        (Source::RealCall, Some("take it out of SOURCES")),
        (Source::Roleplay, None),
    ];
    let at = Timestamp::from_millis(0);
    for (source, error) in ended {
        let run = NewRun {
            source,
            continues: true,
            from: at,
            to: at,
            started_at: at,
        };
        let end = RunEnd {
            finished_at: at,
            pages: 0,
            seen: 0,
            repaired: 0,
            error: error.map(str::to_owned),
            until: None,
        };
        let store = &app.service().store;
        let id = store.begin_run(run).await.unwrap();
        store.finish_run(id, end).await.unwrap();
    }
    let examined = deployment.examine(&["--offline"]).await;
    examined.expect("last reconciliation", "warn", "take it out of SOURCES");
    examined.expect("last reconciliation", "warn", "roleplay: ");
}

#[tokio::test]
async fn before_the_first_start_it_says_what_is_missing_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let examined = doctor(folder.path(), &[], &["--offline"]).await;
    assert_eq!(examined.code, 1);
    examined.expect("settings", "fail", "ATHOS_WHSEC is missing");
    examined.expect("settings", "fail", "No way to authenticate callers");
    examined.expect("settings", "warn", "ATHOS_API_KEY is not set");
    examined.expect("settings", "warn", "ATHOS_SDK_URL is not set");
    examined.expect("database", "ok", "`serve` can create it");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    // All that can be known without the network is well once it is set.
    let secret = unique("whsec");
    let text = format!("ATHOS_WHSEC={secret}\nSERVICE_TOKENS={}\n", unique("svc"));
    std::fs::write(folder.path().join(".env"), text).unwrap();
    let key = unique("ath_live");
    let env = [
        ("ATHOS_API_KEY", &*key),
        ("ATHOS_WHSEC", "\"whsec_in_quotes\""),
    ];
    let examined = doctor(folder.path(), &env, &["--offline"]).await;
    assert_eq!(examined.code, 0, "{}", examined.said);
    assert_eq!(examined.report["verdict"], "warn");
    examined.expect("settings", "ok", ".env");
    examined.expect("settings", "warn", "in quotes");
    examined.expect("settings", "warn", "ATHOS_WHSEC is in .env and");
    assert!(!examined.said.contains("in_quotes") && !examined.said.contains(&secret));

    for args in [
        &["--offline", "--webhook"][..],
        &["--url", "https://x.example"],
        &["--nonsense"],
    ] {
        let mut process = command(folder.path(), &["doctor"], &[]);
        assert_eq!(
            process.args(args).output().unwrap().status.code(),
            Some(2),
            "{args:?}"
        );
    }
    let mut process = command(folder.path(), &["doctor", "--webhook"], &[]);
    assert_eq!(
        process.output().unwrap().status.code(),
        Some(2),
        "no URL is known"
    );
}

#[tokio::test]
async fn what_it_sends_itself_hides_nothing_on_the_next_run() {
    let deployment = Deployment::start().await;
    deployment.app.service().reconcilers[0]
        .run_once()
        .await
        .unwrap();
    let name = fingerprint(&deployment.app.secrets.whsec.clone().into());
    for _ in 0..2 {
        let examined = deployment.examine(&["--webhook"]).await;
        examined.expect("webhook", "ok", "as it was sent");
        deployment.app.service().credentials.note().await.unwrap();
        let examined = deployment.examine(&["--offline"]).await;
        examined.expect("last webhook", "warn", "none has ever come in");
        examined.expect("webhook secret", "ok", &format!("{name}: never used"));
    }
}

#[tokio::test]
async fn whether_anybody_can_sign_in_with_a_browser_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (whsec, jwt, token) = (unique("whsec"), unique("jwt"), unique("svc"));
    let base = [("ATHOS_WHSEC", &*whsec), ("SERVICE_TOKENS", &*token)];
    let jwt = ("AUTH_JWT_SECRET", &*jwt);
    let proxy = [
        ("AUTH_PROXY_USER_HEADER", "X-User"),
        ("AUTH_PROXY_SECRET", &*whsec),
    ];
    for (env, verdict, told) in [
        (&[][..], "warn", "only other backends"),
        (&[jwt], "warn", "AUTH_COOKIE is not set"),
        (
            &[jwt, ("AUTH_COOKIE", "session")],
            "ok",
            "in the cookie session",
        ),
        (&proxy, "ok", "a proxy that sets x-user"),
    ] {
        let examined = doctor(folder.path(), &[&base, env].concat(), &["--offline"]).await;
        assert_eq!(examined.code, 0, "{}", examined.said);
        examined.expect("callers", verdict, told);
    }
}

#[tokio::test]
async fn each_endpoint_of_forwarding_is_sent_a_signed_ping() {
    let mut deployment = Deployment::start().await;
    let good = forwarding::receiver(ResponseTemplate::new(204)).await;
    let strict = forwarding::receiver(ResponseTemplate::new(401)).await;
    let nobody = "http://127.0.0.1:1/hook?key=hidden";
    let urls = format!("{}/,{}/hook?key=hidden,{nobody}", good.uri(), strict.uri());
    deployment.set("FORWARD_URLS", &urls);
    deployment.set("FORWARD_SECRETS", &forwarding::secret(&forwarding::KEY));
    let examined = deployment.examine(&[]).await;
    assert_eq!(examined.code, 1, "{}", examined.said);
    let host = good.address();
    examined.expect("endpoint", "ok", &format!("{host} took a signed ping"));
    examined.expect("endpoint", "fail", "it answered 401");
    examined.expect("endpoint", "fail", "127.0.0.1:1: ");
    assert!(!examined.said.contains("hidden"), "{}", examined.said);
    assert_eq!(forwarding::received(&good).await[0].kind, "ping");

    deployment.set("FORWARD_URLS", "http://8.8.8.8/");
    let examined = deployment.examine(&["--offline"]).await;
    examined.expect("settings", "fail", "Entry 1 of FORWARD_URLS");
}

#[tokio::test]
async fn before_the_first_start_a_public_url_that_does_not_answer_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (whsec, token) = (unique("whsec"), unique("svc"));
    let in_front = MockServer::start().await;
    let in_front_url = in_front.uri();
    let env = |public| {
        [
            ("ATHOS_WHSEC", &*whsec),
            ("SERVICE_TOKENS", &*token),
            ("BIND_ADDR", "127.0.0.1:1"),
            ("PUBLIC_URL", public),
        ]
    };
    let answer = Mock::given(any()).respond_with(ResponseTemplate::new(502));
    let answer = answer.mount_as_scoped(&in_front).await;
    for public in ["http://127.0.0.1:1", &*in_front_url] {
        let examined = doctor(folder.path(), &env(public), &[]).await;
        examined.expect("public URL", "skipped", "not started yet");
    }
    drop(answer);
    // What stands there instead will not go away by starting.
    let answer = Mock::given(any()).respond_with(ResponseTemplate::new(200));
    let _answer = answer.mount_as_scoped(&in_front).await;
    let examined = doctor(folder.path(), &env(&in_front_url), &[]).await;
    examined.expect("public URL", "fail", "something else answers");
    // It has been started, and does not run.
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/athos.db"), "").unwrap();
    let examined = doctor(folder.path(), &env("http://127.0.0.1:1"), &[]).await;
    examined.expect("public URL", "fail", "does not lead to the service");
}

#[tokio::test]
async fn names_that_are_no_settings_and_lines_that_stand_twice_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (whsec, token) = (unique("whsec"), unique("svc"));
    let write = |more: &str| {
        let text = format!("ATHOS_WHSEC={whsec}\nSERVICE_TOKENS={token}\n{more}");
        std::fs::write(folder.path().join(".env"), text).unwrap();
    };
    write("RETENTION_DAY=30\nIMAGE_TAG=7\n");
    let env = [("STORE_TRANSCRIPT", "false"), ("AUTH_AUDIENCE", "")];
    let examined = doctor(folder.path(), &env, &["--offline"]).await;
    assert_eq!(examined.code, 0, "{}", examined.said);
    examined.expect(
        "settings",
        "warn",
        ".env, line 3) is not a setting and changes nothing: did you mean RETENTION_DAYS?",
    );
    examined.expect("settings", "warn", "IMAGE_TAG (");
    examined.expect(
        "settings",
        "warn",
        "STORE_TRANSCRIPT (in the environment) is not a setting",
    );
    write(&format!("ATHOS_WHSEC={whsec}x\n"));
    let examined = doctor(folder.path(), &[], &["--offline"]).await;
    assert_eq!(examined.code, 1);
    examined.expect(
        "settings",
        "fail",
        ".env, line 3: ATHOS_WHSEC is set here and on line 1: keep one of them",
    );
    assert!(!examined.said.contains("with another value") && !examined.said.contains(&whsec));
}

#[tokio::test]
async fn a_key_that_is_refused_is_a_warning_beside_one_that_works_and_a_failure_alone() {
    let mut deployment = Deployment::start().await;
    let [first, second] = deployment.app.secrets.api_keys.clone();
    let revoke = json!({ "key-revoked": { "key": first } });
    deployment.app.faults(revoke).await;
    let name = fingerprint(&first.clone().into());
    let told = format!("{name}: Athos answered 401 API_KEY_REVOKED");
    let examined = deployment.examine(&[]).await;
    assert_eq!(examined.code, 0, "{}", examined.said);
    examined.expect("API key", "warn", &told);
    examined.expect("API key", "ok", &fingerprint(&second.into()));
    deployment.set("ATHOS_API_KEY", &first);
    let examined = deployment.examine(&[]).await;
    assert_eq!(examined.code, 1);
    examined.expect("API key", "fail", &told);
    deployment.set("ATHOS_BASE_URL", "http://127.0.0.1:1/api");
    let examined = deployment.examine(&[]).await;
    assert_eq!(examined.code, 1);
    examined.expect("Athos", "fail", "cannot be reached");
    examined.expect("API key", "skipped", "cannot be reached");
}

#[tokio::test]
async fn a_clock_that_is_off_is_found_by_athoss() {
    let athos = MockServer::start().await;
    let answer = |date: &str| ResponseTemplate::new(401).insert_header("date", date);
    let mut deployment = Deployment::start().await;
    deployment.set("ATHOS_BASE_URL", &athos.uri());
    let now = Clock::system().now();
    for (behind, verdict) in [(100, "warn"), (3600, "fail")] {
        let then = now.plus(Duration::from_secs(behind));
        let then = jiff::Timestamp::from_millisecond(then.as_millis()).unwrap();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new();
        let date = date.timestamp_to_rfc9110_string(&then).unwrap();
        let mock = Mock::given(any()).respond_with(answer(&date));
        let mock = mock.mount_as_scoped(&athos).await;
        let examined = deployment.examine(&[]).await;
        examined.expect("clock", verdict, "behind Athos's");
        drop(mock);
    }
}

#[tokio::test]
async fn a_database_in_trouble_is_told_apart() {
    let mut deployment = Deployment::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text.db"), "x".repeat(5000)).unwrap();
    deployment.set("DATABASE_URL", &url(&path("text.db")));
    let examined = deployment.examine(&["--offline"]).await;
    examined.expect("database", "fail", "cannot be read");

    // A copy of the service's, with what a later version would write, and with a page overwritten.
    let copy = path("copy.db");
    deployment.app.copy_database(&copy).await;
    deployment.set("DATABASE_URL", &url(&copy));
    deployment
        .examine(&["--offline"])
        .await
        .expect("database", "ok", "sound");
    let pristine = std::fs::read(&copy).unwrap();
    date_ahead(&copy).await;
    let examined = deployment.examine(&["--offline"]).await;
    examined.expect("database", "fail", "a later version wrote it");
    let mut broken = pristine;
    broken[8192..12288].fill(0xff);
    std::fs::write(&copy, broken).unwrap();
    let examined = deployment.examine(&["--offline"]).await;
    assert_eq!(examined.code, 1);
    let told = examined.of("database");
    assert!(
        told.iter().any(|(verdict, _)| *verdict == "fail"),
        "{told:?}"
    );

    deployment.set("DATABASE_URL", "sqlite:///proc/nowhere/athos.db");
    let examined = deployment.examine(&["--offline"]).await;
    examined.expect("database", "fail", "cannot be written");
}

#[tokio::test]
async fn what_waits_what_is_dead_and_which_secret_can_go_is_told() {
    let second = unique("whsec");
    let app = Setup::new().flag("athos-whsec", &second).start().await;
    let mut deployment = Deployment::of(app).await;
    let both = format!("{},{second}", deployment.app.secrets.whsec);
    deployment.set("ATHOS_WHSEC", &both);
    let app = &deployment.app;
    // As it was ten days ago.
    let now = app.now();
    app.clock.set(now.minus(Duration::from_secs(10 * 86_400)));
    app.hook("1").send(app).await.receipt("ignored");
    app.clock.set(now);
    let body = "2";
    let signature =
        athos_api::signature::sign(&second.clone().into(), now.as_secs(), body.as_bytes());
    crate::harness::Hook::signed(body, &[&signature])
        .send(app)
        .await
        .receipt("ignored");
    app.service().credentials.note().await.unwrap();
    app.give_events_up().await;
    let examined = deployment.examine(&["--offline"]).await;
    assert_eq!(examined.code, 0, "{}", examined.said);
    examined.expect("events", "warn", "0 waiting; 2 dead");
    let name = fingerprint(&deployment.app.secrets.whsec.clone().into());
    examined.expect(
        "webhook secret",
        "warn",
        &format!("{name}: last used 10 d ago, while another"),
    );
    let name = fingerprint(&second.into());
    examined.expect("webhook secret", "ok", &format!("{name}: last used"));
    let mut app = deployment.app;
    app.leaves(crate::harness::Left {
        waiting: 0,
        dead: 2,
    });
}

#[tokio::test]
async fn a_public_url_that_leads_elsewhere_is_found() {
    let elsewhere = MockServer::start().await;
    let mut deployment = Deployment::start().await;
    let cases = [
        (
            ResponseTemplate::new(200).set_body_string("<h1>It works!</h1>"),
            "something else answers",
        ),
        (ResponseTemplate::new(404), "404"),
        (
            ResponseTemplate::new(301).insert_header("location", "https://x.example/"),
            "redirect",
        ),
    ];
    deployment.set("PUBLIC_URL", &elsewhere.uri());
    for (answer, told) in cases {
        let mock = Mock::given(any()).respond_with(answer);
        let mock = mock.mount_as_scoped(&elsewhere).await;
        let examined = deployment.examine(&[]).await;
        assert_eq!(examined.code, 1);
        examined.expect("public URL", "fail", told);
        drop(mock);
    }
    let mock = Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "keys": [] })));
    let _mock = mock.mount_as_scoped(&elsewhere).await;
    deployment.set("AUTH_JWKS_URL", &elsewhere.uri());
    let examined = deployment.examine(&[]).await;
    examined.expect("JWKS", "fail", "no key");
}

/// What may stand in front of a service: passes webhooks on, after this has been done to them.
async fn proxy<F>(app: &TestApp, alter: F) -> String
where
    F: Fn(&mut HeaderMap, Bytes) -> Bytes + Send + Sync + 'static,
{
    let (to, http, alter) = (app.url("/athos/webhook"), http_client(), Arc::new(alter));
    let pass = move |mut headers: HeaderMap, body: Bytes| {
        let (to, http, alter) = (to.clone(), http.clone(), Arc::clone(&alter));
        async move {
            let body = alter(&mut headers, body);
            let mut request = http.request(Method::POST, to).body(body);
            for name in [SIGNATURE_HEADER, WEBHOOK_ID_HEADER] {
                if let Some(value) = headers.get(name) {
                    request = request.header(name, value);
                }
            }
            let answer = request.send().await.unwrap();
            (answer.status(), answer.bytes().await.unwrap())
        }
    };
    serve(Router::new().route("/athos/webhook", post(pass))).await
}

/// Serves on loopback until the test's runtime ends; where.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{addr}")
}

#[tokio::test]
async fn a_proxy_that_alters_bodies_is_told_from_a_secret_that_is_not_there() {
    let mut deployment = Deployment::start().await;
    let as_json = |body: &Bytes| serde_json::from_slice::<Value>(body).unwrap();
    let transparent = proxy(&deployment.app, |_, body| body).await;
    let encoding = proxy(&deployment.app, move |_, body| {
        as_json(&body).to_string().into()
    })
    .await;
    let trimming = proxy(&deployment.app, |_, body| {
        Bytes::copy_from_slice(body.trim_ascii())
    })
    .await;
    let latin = proxy(&deployment.app, |_, body| {
        let text = String::from_utf8(body.to_vec()).unwrap();
        text.chars()
            .map(|c| u8::try_from(c).unwrap_or(b'?'))
            .collect()
    })
    .await;
    let bare = proxy(&deployment.app, |headers, body| {
        headers.remove(SIGNATURE_HEADER);
        body
    })
    .await;
    let altered = "alters bodies";
    for (url, verdict, told) in [
        (transparent, "ok", "as it was sent"),
        (encoding, "fail", altered),
        (trimming, "fail", altered),
        (latin, "fail", altered),
        (bare, "fail", "the signature did not arrive"),
    ] {
        let url = format!("{url}/athos/webhook");
        let examined = deployment.examine(&["--webhook", "--url", &url]).await;
        examined.expect("webhook", verdict, told);
        assert_eq!(
            examined.code,
            i32::from(verdict == "fail"),
            "{}",
            examined.said
        );
    }

    deployment.app.service().worker.record_drift().await;
    let examined = deployment.examine(&["--offline"]).await;
    examined.expect("drift", "ok", "nothing that is new");

    let here = deployment.app.secrets.whsec.clone();
    let new = unique("whsec");
    deployment.set("ATHOS_WHSEC", &format!("{new},{here}"));
    let name = |secret: &str| fingerprint(&secret.to_owned().into());
    let told = format!("knows the secret {}, but not {}", name(&here), name(&new));
    deployment
        .examine(&["--webhook"])
        .await
        .expect("webhook", "fail", &told);
    deployment.set("ATHOS_WHSEC", &new);
    let examined = deployment.examine(&["--webhook"]).await;
    examined.expect("webhook", "fail", "knows none of the secrets");

    deployment.set("ATHOS_WHSEC", &here);
    let app = &deployment.app;
    app.clock.set(app.now().plus(Duration::from_secs(600)));
    let examined = deployment.examine(&["--webhook"]).await;
    examined.expect("webhook", "fail", "the time wrong");
    for event in app.event_rows().await {
        let why = "what doctor sends is never processed";
        assert_eq!(event.state, EventState::Ignored, "{why}");
    }
}

#[tokio::test]
async fn what_stands_where_the_webhook_should_be_is_named() {
    let deployment = Deployment::start().await;
    let answering = |status: u16| async move { StatusCode::from_u16(status).unwrap() };
    let router = Router::new()
        .route(
            "/moved",
            post(async || Redirect::permanent("/athos/webhook")),
        )
        .route("/sign-in", post(move || answering(401)))
        .route("/small", post(move || answering(413)))
        .route("/gone", post(move || answering(502)))
        .route("/odd", post(move || answering(418)))
        .route("/welcome", post(async || "Welcome!".into_response()));
    let origin = serve(router).await;
    for (path, told) in [
        ("moved", "redirects to /athos/webhook"),
        ("sign-in", "asks who is there"),
        ("small", "too large"),
        ("gone", "does not reach the service"),
        ("odd", "418"),
        ("welcome", "not as the service does"),
        ("nothing", "webhook is not there"),
    ] {
        let url = format!("{origin}/{path}");
        let examined = deployment.examine(&["--webhook", "--url", &url]).await;
        examined.expect("webhook", "fail", told);
    }
    let url = "http://127.0.0.1:1/athos/webhook";
    let examined = deployment.examine(&["--webhook", "--url", url]).await;
    examined.expect("webhook", "fail", "cannot be reached");
}

#[tokio::test]
async fn a_server_is_looked_at_before_the_first_start_and_as_a_poor_role() {
    let Some(server) = Database::new() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let look =
        async |url: &str| doctor(folder.path(), &[("DATABASE_URL", url)], &["--offline"]).await;
    let bare = look(&server.url()).await;
    bare.expect("database", "ok", "PostgreSQL");
    bare.expect("database", "ok", "`serve` brings it up to date");
    bare.expect("rights", "ok", "the role postgres");
    bare.expect("notifications", "ok", "heard of at once");
    bare.expect("server's clock", "ok", "");
    assert_eq!(
        server.sql("SELECT to_regclass('events') IS NULL"),
        "t",
        "it has changed something"
    );

    store::open(&server.url()).await.unwrap().close().await;
    look(&server.url())
        .await
        .expect("events", "ok", "0 waiting");
    let role = format!("poor_doctor_{}", std::process::id());
    server.sql(&format!(
        "CREATE ROLE {role} LOGIN CONNECTION LIMIT 4; GRANT SELECT ON migrations TO {role}"
    ));
    let poor = look(&server.url().replace("postgres@", &format!("{role}@"))).await;
    poor.expect("rights", "fail", "may not read and write");
    poor.expect("connections", "warn", "a replica has up to 10");
    assert_eq!(poor.code, 1);
    server.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));

    let away = look("postgres://me:hunter2@127.0.0.1:1/athos").await;
    away.expect("database", "fail", "cannot be reached");
    assert!(!away.said.contains("hunter2"), "{}", away.said);
}
