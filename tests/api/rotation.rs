//! Secrets and keys are rotated while the service runs: several are in force, it is seen which of them are used, and
//! others are taken over without a delivery, a request or a connection lost.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use athos_api::signature::{SIGNATURE_HEADER, fingerprint, sign};
use athos_backend::clock::Clock;
use athos_backend::config::Config;
use athos_backend::model::Credential;
use reqwest::Method;
use serde_json::{Value, json};

use crate::commands::{Running, command};
use crate::harness::{Event, Hook, Left, Setup, TestApp, jwt, start_time, unique};

/// The name that a secret goes by.
fn name_of(secret: &str) -> String {
    fingerprint(&secret.to_owned().into())
}

/// A delivery of something that the service keeps and ignores, signed with `secret`.
fn hook(app: &TestApp, secret: &str, body: &str) -> Hook {
    let signature = sign(
        &secret.to_owned().into(),
        app.now().as_secs(),
        body.as_bytes(),
    );
    Hook::signed(body, &[&signature])
}

/// What it shows; after the clock has leapt, the worker that is stepped counts as dead.
async fn readiness(app: &TestApp, bearer: &str) -> Value {
    app.get("/readyz", bearer).await.json()
}

async fn credentials(app: &TestApp) -> Value {
    readiness(app, &app.secrets.service).await["credentials"].take()
}

/// A configuration like that of `app`, with other keys and secrets.
fn other(app: &TestApp, secrets: &[&str], keys: &[&str]) -> Config {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned().into()).collect();
    secrets
        .iter()
        .chain(keys)
        .for_each(|it| app.keep_secret(it));
    Config {
        athos_whsec: owned(secrets),
        athos_api_key: owned(keys),
        ..app.config.clone()
    }
}

#[tokio::test]
async fn of_two_secrets_it_is_seen_which_one_signs_and_when() {
    let second = unique("whsec");
    let app = Setup::new().flag("athos-whsec", &second).start().await;
    let (old, new) = (app.secrets.whsec.clone(), second);
    let never = json!([
        { "fingerprint": name_of(&old), "lastUsedAt": null },
        { "fingerprint": name_of(&new), "lastUsedAt": null },
    ]);
    assert_eq!(credentials(&app).await["webhookSecrets"], never);

    hook(&app, &old, "1").send(&app).await.receipt("ignored");
    app.clock.advance(Duration::from_secs(60));
    hook(&app, &new, "2").send(&app).await.receipt("ignored");
    let foreign = hook(&app, "whsec_foreign", "3").send(&app).await;
    foreign.refused(401, "SIGNATURE_MISMATCH");
    let used = json!([
        { "fingerprint": name_of(&old), "lastUsedAt": "2026-06-05T14:39:40.295Z" },
        { "fingerprint": name_of(&new), "lastUsedAt": "2026-06-05T14:40:40.295Z" },
    ]);
    assert_eq!(credentials(&app).await["webhookSecrets"], used);

    app.service().credentials.note().await.unwrap();
    let metrics = app.metrics().await;
    let uses = |secret: &str| {
        let name = name_of(secret);
        format!("athos_credential_uses_total{{kind=\"webhook_secret\",fingerprint=\"{name}\"}} 1\n")
    };
    for secret in [&old, &new] {
        assert!(metrics.contains(&uses(secret)), "{metrics}");
    }
    let last = format!("fingerprint=\"{}\"}} 1780670440\n", name_of(&new));
    assert!(metrics.contains(&last), "{metrics}");
    assert!(!metrics.contains(&name_of("whsec_foreign")));
}

#[tokio::test]
async fn fingerprints_are_for_admins_and_other_backends_only() {
    let app = TestApp::start().await;
    let anyone = app.send(app.request(Method::GET, "/readyz")).await;
    let shown = [
        anyone.expect(200).json(),
        readiness(&app, "nobody we know").await,
        readiness(&app, &app.rep("rep_1", "agency_1")).await,
        readiness(&app, &app.manager("agency_1")).await,
    ];
    for shown in shown {
        assert_eq!(shown["status"], "ready");
        assert!(shown.get("credentials").is_none(), "{shown}");
    }
    let admin = readiness(&app, &app.admin()).await;
    assert_eq!(
        admin["credentials"]["webhookSecrets"][0]["fingerprint"],
        name_of(&app.secrets.whsec)
    );
}

#[tokio::test]
async fn a_revoked_key_is_left_alone_while_another_works_whatever_is_asked() {
    let app = TestApp::start().await;
    let [first, second] = app.secrets.api_keys.clone();
    app.faults(json!({ "key-revoked": { "key": first } })).await;
    // An unknown call is no success, and still shows that the second key is good.
    app.event("wh_1", &Event::scored("call_unknown", "rep_1", "agency_1"))
        .send(&app)
        .await
        .receipt("accepted");
    assert_eq!(app.step().await.retried, 1);
    assert_eq!(app.asked("call").await, 2);
    app.clock.advance(Duration::from_secs(10));
    assert_eq!(app.step().await.retried, 1);
    assert_eq!(app.asked("call").await, 3);
    let keys = json!([
        { "fingerprint": name_of(&first), "lastUsedAt": null, "state": "refused", "code": "API_KEY_REVOKED" },
        { "fingerprint": name_of(&second), "lastUsedAt": "2026-06-05T14:39:50.295Z", "state": "ok" },
    ]);
    assert_eq!(credentials(&app).await["apiKeys"], keys);
    assert_eq!(readiness(&app, "").await["status"], "ready");

    let mut app = app;
    app.leaves(Left {
        waiting: 1,
        dead: 0,
    });
}

#[tokio::test]
async fn with_every_key_revoked_events_wait_and_go_on_with_the_reload_that_brings_a_good_one() {
    let app = TestApp::start().await;
    let [good, bad] = app.secrets.api_keys.clone();
    app.service()
        .reload(&other(&app, &[&app.secrets.whsec], &[&bad]))
        .await
        .unwrap();
    app.faults(json!({ "key-revoked": { "key": bad } })).await;
    let id = app.burst(1, &["rep_1"], "agency_1").await.remove(0);
    assert_eq!(app.step().await.retried, 1);
    for _ in 0..5 {
        app.clock.advance(Duration::from_secs(600));
        app.step().await;
    }
    assert!(app.step().await.held);
    let degraded = readiness(&app, &app.secrets.service).await;
    assert_eq!(degraded["athos"]["paused"]["cause"], "key_refused");
    assert_eq!(degraded["credentials"]["apiKeys"][0]["state"], "refused");

    // No time passes: the next request need not wait for the gate.
    let both = other(&app, &[&app.secrets.whsec], &[&bad, &good]);
    let replaced = app.service().reload(&both).await.unwrap();
    assert_eq!(replaced.added, [format!("api_key {}", name_of(&good))]);
    assert_eq!(replaced.removed, [""; 0]);
    assert_eq!(app.work().await.scored, 1);
    assert_eq!(app.call(&id).await["status"], "scored");
    let spent = app.only_event().await.attempts;
    assert_eq!(spent, 1, "only the last attempt counts");
    let keys = credentials(&app).await["apiKeys"].take();
    assert_eq!(keys[0]["state"], "refused");
    assert_eq!(keys[1]["state"], "ok");
}

#[tokio::test]
async fn a_reload_ends_no_request_and_judges_the_next_by_what_is_new() {
    let app = TestApp::start().await;
    let (old, new) = (app.secrets.whsec.clone(), unique("whsec"));
    let (old_token, new_token) = (app.secrets.service.clone(), unique("svc"));
    app.keep_secret(&new_token);
    app.faults(json!({ "slow": { "ms": 700, "on": ["session"] } }))
        .await;
    let mut live = app.live(&app.admin(), None).await;
    let mut withdrawn = app.live(&old_token, None).await;
    let reload = async {
        while app.asked("session").await == 0 {
            tokio::task::yield_now().await;
        }
        let mut config = other(&app, &[&new], &[&app.secrets.api_keys[1]]);
        config.service_tokens = vec![new_token.clone().into()];
        app.service().reload(&config).await.unwrap()
    };
    // The mint is under way with a key and a service token that are gone when it is answered.
    let (minted, replaced) = tokio::join!(app.mint_for("rep_1", "agency_1"), reload);
    minted.expect(200);
    let token = |token: &str| {
        format!(
            "service_token {} (mint+read+transcripts+admin+metrics)",
            name_of(token)
        )
    };
    assert_eq!(
        replaced.added,
        [
            format!("webhook_secret {}", name_of(&new)),
            token(&new_token)
        ]
    );
    assert_eq!(
        replaced.removed,
        [
            format!("webhook_secret {}", name_of(&old)),
            format!("api_key {}", name_of(&app.secrets.api_keys[0])),
            token(&old_token),
        ]
    );

    hook(&app, &old, "1")
        .send(&app)
        .await
        .refused(401, "SIGNATURE_MISMATCH");
    let me = "/athos/me";
    app.get(me, &old_token).await.refused(401, "INVALID_TOKEN");
    app.get(me, &new_token).await.expect(200);
    let event = Event::unscored("call_1", "rep_1", "agency_1").0.to_string();
    hook(&app, &new, &event)
        .send(&app)
        .await
        .receipt("accepted");
    assert_eq!(app.step().await.unscored, 1);
    // The stream was open all the time; that of the token that is gone has ended.
    assert_eq!(live.next().await.unwrap().data["id"], "call_1");
    assert_eq!(withdrawn.next().await, None);
}

#[tokio::test]
async fn a_configuration_that_does_not_work_changes_nothing() {
    let app = TestApp::start().await;
    let good = app.secrets.whsec.clone();
    let before = credentials(&app).await;
    let fresh = unique("whsec");
    let mut swapped = other(&app, &[&fresh], &[]);
    swapped.athos_api_key = vec![unique("whsec").into()];
    let mut no_header = other(&app, &[&fresh], &[]);
    no_header.athos_api_key = vec!["ath_live_\u{7}".to_owned().into()];
    let no_secret = other(&app, &[], &[]);
    let mut no_pem = other(&app, &[&fresh], &[]);
    no_pem.auth_jwt_secret = None;
    no_pem.auth_jwt_public_key = Some("not a key".to_owned());
    for broken in [swapped, no_header, no_secret, no_pem] {
        let refused = app.service().reload(&broken).await.unwrap_err();
        assert!(format!("{refused:#}").contains("A"), "{refused:#}");
        assert_eq!(credentials(&app).await, before);
        hook(&app, &fresh, "1")
            .send(&app)
            .await
            .refused(401, "SIGNATURE_MISMATCH");
    }
    hook(&app, &good, "1").send(&app).await.receipt("ignored");
    app.get("/athos/me", &app.rep("rep_1", "agency_1"))
        .await
        .expect(200);
}

#[tokio::test]
async fn the_last_use_outlives_the_process() {
    let mut app = TestApp::start().await;
    hook(&app, &app.secrets.whsec, "1")
        .send(&app)
        .await
        .receipt("ignored");
    app.faults(json!({ "key-revoked": { "key": app.secrets.api_keys[0] } }))
        .await;
    app.mint_for("rep_1", "agency_1").await.expect(200);
    app.stop().await;
    let stored = app.credentials().await;
    assert_eq!(stored.len(), 4);
    assert!(stored.iter().all(|one| one.first_seen_at == start_time()));
    app.clock.advance(Duration::from_secs(3600));
    app.start_again().await;
    let known = credentials(&app).await;
    let used = "2026-06-05T14:39:40.295Z";
    assert_eq!(known["webhookSecrets"][0]["lastUsedAt"], used);
    assert_eq!(known["apiKeys"][0]["lastUsedAt"], Value::Null);
    assert_eq!(known["apiKeys"][1]["lastUsedAt"], used);
    // What was refused is tried again after a start: somebody may have acted.
    assert_eq!(known["apiKeys"][0]["state"], "untried");
    let stored = app.credentials().await;
    let refused = |one: &&Credential| one.last_code.as_deref() == Some("API_KEY_REVOKED");
    assert_eq!(stored.iter().filter(refused).count(), 1);
    assert_eq!(stored.len(), 4);
    assert!(stored.iter().all(|one| one.first_seen_at == start_time()));
}

/// The real service, and what it logs.
struct Served {
    process: Running,
    log: std::io::Lines<BufReader<std::process::ChildStderr>>,
    connection: BufReader<TcpStream>,
}

impl Served {
    fn start(folder: &std::path::Path, env: &[(&str, &str)]) -> Self {
        let mut process = Running::start(command(folder, &["serve"], env));
        let mut log = BufReader::new(process.stderr()).lines();
        let listening = wait_for(&mut log, "listening");
        let connection = TcpStream::connect(listening["addr"].as_str().unwrap()).unwrap();
        Self {
            process,
            log,
            connection: BufReader::new(connection),
        }
    }

    /// SIGHUP; the line that says what came of it.
    fn reload(&mut self, expected: &str) -> Value {
        self.process.signal("HUP");
        wait_for(&mut self.log, expected)
    }

    /// A webhook; its status.
    fn hook(&mut self, secret: &str) -> u16 {
        let now = Clock::system().now().as_secs();
        let signature = sign(&secret.to_owned().into(), now, b"{}");
        self.send(&format!(
            "POST /athos/webhook HTTP/1.1\r\nhost: x\r\n{SIGNATURE_HEADER}: {signature}\r\n\
             content-length: 2\r\n\r\n{{}}"
        ))
    }

    /// Whether a service token is known; the status.
    fn me(&mut self, token: &str) -> u16 {
        self.send(&format!(
            "GET /athos/me HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
        ))
    }

    /// A request over the one connection there is; its status.
    fn send(&mut self, request: &str) -> u16 {
        self.connection
            .get_mut()
            .write_all(request.as_bytes())
            .unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.connection.read_line(&mut head).unwrap(), 0, "closed");
        }
        let head = head.to_lowercase();
        let length = head.split_once("content-length: ").unwrap().1;
        let length = length.split_once("\r\n").unwrap().0.parse().unwrap();
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body).unwrap();
        head[9..12].parse().unwrap()
    }
}

fn wait_for(log: &mut impl Iterator<Item = std::io::Result<String>>, text: &str) -> Value {
    let line = log
        .map(Result::unwrap)
        .find(|line| line.contains(text))
        .unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn on_sighup_the_env_file_is_read_again_and_no_connection_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new, token] = [unique("whsec"), unique("whsec"), unique("svc")];
    let write = |text: &str| std::fs::write(folder.path().join(".env"), text).unwrap();
    write(&format!(
        "ATHOS_WHSEC={old}\nSERVICE_TOKENS=of_the_file_{token}\nMINT_LIMIT_PER_REP=5\n"
    ));
    let env = [
        ("SERVICE_TOKENS", &*token),
        ("BIND_ADDR", "127.0.0.1:0"),
        ("ADMIN_ADDR", "127.0.0.1:0"),
        ("LOG_FORMAT", "json"),
    ];
    let mut served = Served::start(folder.path(), &env);
    assert_eq!((served.hook(&old), served.hook(&new)), (200, 401));

    write(&format!("ATHOS_WHSEC={new},{old}\n"));
    let reloaded = served.reload("reloaded");
    assert_eq!(
        reloaded["added"],
        format!("webhook_secret {}", name_of(&new))
    );
    assert_eq!((served.hook(&old), served.hook(&new)), (200, 200));

    // Neither of these is a configuration: what is in force stays.
    for (broken, said) in [
        (format!("ATHOS_WHSEC={new}\" x"), "ATHOS_WHSEC"),
        ("SERVICE_TOKENS=x".to_owned(), "ATHOS_WHSEC is missing"),
        (
            format!("ATHOS_WHSEC={new}\n\nATHOS_WHSEC={new}"),
            "line 3: ATHOS_WHSEC is set here and on line 1",
        ),
        (
            format!("ATHOS_WHSEC={new}$x"),
            "line 1: ATHOS_WHSEC has a $",
        ),
        (
            format!("ATHOS_WHSEC={new}\nRECONCILE_EVERY=soon"),
            "RECONCILE_EVERY",
        ),
    ] {
        write(&broken);
        let refused = served.reload("reload failed");
        let error = refused["error"].as_str().unwrap();
        assert!(error.contains(said) && !error.contains(&new), "{error}");
        assert_eq!((served.hook(&old), served.hook(&new)), (200, 200));
    }

    write(&format!(
        "ATHOS_WHSEC={new}\nSERVICE_TOKENS=other_{token}\nMINT_LIMIT_PER_REP=6\nRETENTION_DAY=3\n"
    ));
    let reloaded = served.reload("reloaded");
    assert_eq!(
        reloaded["removed"],
        format!("webhook_secret {}", name_of(&old))
    );
    let line = wait_for(&mut served.log, "RETENTION_DAY");
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .ends_with("did you mean RETENTION_DAYS?")
    );
    let line = wait_for(&mut served.log, "MINT_LIMIT_PER_REP");
    assert!(line["message"].as_str().unwrap().contains("with a restart"));
    let line = wait_for(&mut served.log, "SERVICE_TOKENS");
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .contains("the environment")
    );
    assert_eq!((served.hook(&old), served.hook(&new)), (401, 200));
    let of_the_file = format!("other_{token}");
    assert_eq!((served.me(&token), served.me(&of_the_file)), (200, 401));

    served.process.signal("TERM");
    let rest: Vec<_> = served.log.map(Result::unwrap).collect();
    assert!(rest.last().unwrap().contains("stopped"), "{rest:?}");
}

#[test]
fn an_empty_variable_hides_no_line_of_the_file_at_the_start_or_later() {
    let folder = tempfile::tempdir().unwrap();
    let (whsec, key) = (unique("whsec"), unique("jwt"));
    let file = |audience: &str| {
        let text =
            format!("ATHOS_WHSEC={whsec}\nAUTH_JWT_SECRET={key}\nAUTH_AUDIENCE='{audience}'\n");
        std::fs::write(folder.path().join(".env"), text).unwrap();
    };
    file("athos");
    let env = [
        ("AUTH_AUDIENCE", ""),
        ("ATHOS_WHSEC", ""),
        ("RUST_LOG", ""),
        ("BIND_ADDR", "127.0.0.1:0"),
        ("ADMIN_ADDR", "127.0.0.1:0"),
        ("LOG_FORMAT", "json"),
    ];
    let mut served = Served::start(folder.path(), &env);
    let token = |audience: &str| {
        let expires = Clock::system().now().as_secs() + 600;
        let claims = json!({ "sub": "rep_1", "aud": audience, "exp": expires });
        let key = jsonwebtoken::EncodingKey::from_secret(key.as_bytes());
        jwt(jsonwebtoken::Algorithm::HS256, &key, None, &claims)
    };
    let (ours, others) = (token("athos"), token("other"));
    assert_eq!((served.me(&ours), served.me(&others)), (200, 401));
    file("other");
    served.reload("reloaded");
    assert_eq!((served.me(&ours), served.me(&others)), (401, 200));
    assert_eq!(served.hook(&whsec), 200);
}

#[test]
fn a_second_process_on_one_database_is_told_until_the_first_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let env = [
        ("ATHOS_WHSEC", &*unique("whsec")),
        ("SERVICE_TOKENS", &*unique("svc")),
        ("BIND_ADDR", "127.0.0.1:0"),
        ("ADMIN_ADDR", "127.0.0.1:0"),
        ("LOG_FORMAT", "json"),
    ];
    let start = || {
        let mut process = Running::start(command(folder.path(), &["serve"], &env));
        let mut log = BufReader::new(process.stderr()).lines().map(Result::unwrap);
        let mut is_told = false;
        for line in log.by_ref() {
            is_told |= line.contains("another process serves this database");
            if line.contains("\"listening\"") {
                break;
            }
        }
        // Nobody would read the rest of a log that is closed.
        (process, log, is_told)
    };
    let (first, second) = (start(), start());
    assert_eq!((first.2, second.2), (false, true));
    // Killed, as nobody should: nothing is left to be cleaned up.
    drop((first, second));
    assert!(!start().2);
}
