//! The real binary, as an operator meets it: settings that cannot work, the demo, a full disk, small commands.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use athos_backend::athos::signature::{SIGNATURE_HEADER, WEBHOOK_ID_HEADER, sign};
use athos_backend::clock::Clock;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::harness::{http_client, unique};

const BINARY: &str = env!("CARGO_BIN_EXE_athos-backend");

fn command(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .args(args)
        .envs(env.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    command(folder.path(), args, env).output().unwrap()
}

/// One paragraph for a person, on standard error.
fn paragraph(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let said: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("athos-backend: "))
        .collect();
    assert_eq!(said.len(), 1, "{text}");
    for noise in ["panicked", "stack backtrace", "RUST_BACKTRACE"] {
        assert!(!text.contains(noise), "{text}");
    }
    assert!(output.stdout.is_empty());
    said[0].to_owned()
}

/// A process that is ended with the test.
struct Running {
    process: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out }
    }

    /// SIGTERM, as a container's runtime sends it; what was logged.
    fn terminate(mut self) -> (i32, String) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
        let mut log = String::new();
        self.process
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        (self.process.wait().unwrap().code().unwrap(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn without_settings_it_says_what_to_set_and_exits_with_2() {
    for args in [&[][..], &["serve"]] {
        let output = run(args, &[]);
        assert_eq!(output.status.code(), Some(2));
        let said = paragraph(&output);
        for variable in [
            "ATHOS_WHSEC",
            "AUTH_JWT_SECRET",
            "AUTH_JWKS_URL",
            "SERVICE_TOKENS",
        ] {
            assert!(said.contains(variable), "{said}");
        }
    }
}

#[test]
fn settings_that_contradict_each_other_are_named_and_never_quoted() {
    let secret = unique("jwt");
    let output = run(
        &[],
        &[
            ("ATHOS_WHSEC", "whsec_0123456789"),
            ("AUTH_JWT_SECRET", &secret),
            ("AUTH_JWKS_URL", "https://idp.example.com/keys"),
            ("AUTH_PROXY_USER_HEADER", "X-User"),
        ],
    );
    assert_eq!(output.status.code(), Some(2));
    let said = paragraph(&output);
    for part in ["AUTH_JWT_SECRET and AUTH_JWKS_URL", "AUTH_PROXY_SECRET"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains(&secret), "{said}");
    let output = run(&[], &[("BIND_ADDR", "nonsense")]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("bind-addr") && said.contains("nonsense"),
        "{said}"
    );
}

#[test]
fn a_line_of_the_env_file_that_cannot_be_read_is_an_error_that_shows_no_secret() {
    let secret = unique("whsec");
    for line in [
        format!("ATHOS_WHSEC={secret}\" x y"),
        format!("ATHOS_WHSEC {secret}"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join(".env"),
            format!("LOG_FORMAT=json\n{line}\n"),
        )
        .unwrap();
        let output = command(folder.path(), &[], &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        let said = paragraph(&output);
        assert!(said.contains(".env"), "{said}");
        assert!(!said.contains(&secret), "{said}");
    }
}

#[test]
fn a_port_in_use_and_a_database_that_cannot_be_are_clear_messages() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = busy.local_addr().unwrap().to_string();
    let tokens = unique("svc");
    let env = [
        ("ATHOS_WHSEC", "whsec_0123456789"),
        ("SERVICE_TOKENS", &*tokens),
        ("BIND_ADDR", &*addr),
        ("ADMIN_ADDR", "127.0.0.1:0"),
    ];
    let output = run(&[], &env);
    assert_eq!(output.status.code(), Some(1));
    let said = paragraph(&output);
    assert!(
        said.contains(&format!("BIND_ADDR={addr} is in use")),
        "{said}"
    );

    let mut env = env;
    env[2] = ("BIND_ADDR", "127.0.0.1:0");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let mut command = command(folder.path(), &[], &env);
    let output = command
        .env("DATABASE_URL", "sqlite://file/athos.db")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = paragraph(&output);
    assert!(said.contains("file"), "{said}");
}

#[test]
fn openapi_prints_the_document_without_any_settings() {
    let output = run(&["openapi"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert!(document["paths"]["/athos/webhook"]["post"].is_object());
}

#[test]
fn help_names_every_command_and_an_unknown_one_is_exit_2() {
    let help = String::from_utf8(run(&["help"], &[]).stdout).unwrap();
    for name in [
        "serve",
        "demo",
        "simulate",
        "trigger",
        "sign",
        "verify",
        "openapi",
        "healthcheck",
    ] {
        assert!(help.contains(name), "{name}");
    }
    assert_eq!(run(&["sevre"], &[]).status.code(), Some(2));
}

/// The demo, and the facts it printed.
fn demo(folder: &Path) -> (Running, Vec<(String, String)>) {
    let args = [
        "demo",
        "--bind=127.0.0.1:0",
        "--simulator-bind=127.0.0.1:0",
        "--score-delay=0s",
    ];
    // A production's variables must not reach it.
    let env = [
        ("ATHOS_API_KEY", "ath_live_production"),
        ("TMPDIR", folder.to_str().unwrap()),
    ];
    let mut demo = Running::start(command(folder, &args, &env));
    let mut facts = Vec::new();
    for line in demo.out.by_ref().lines() {
        let line = line.unwrap();
        if line == "ready" {
            break;
        }
        let (key, value) = line.split_once(": ").unwrap();
        facts.push((key.to_owned(), value.to_owned()));
    }
    (demo, facts)
}

#[tokio::test]
async fn the_demo_prints_where_things_are_and_the_readmes_loop_works_against_it() {
    let folder = TempDir::new().unwrap();
    let (demo, facts) = demo(folder.path());
    let keys: Vec<_> = facts.iter().map(|(key, _)| key.as_str()).collect();
    let expected = ["page", "simulator", "service-token", "webhook", "database"];
    assert_eq!(keys[..5], expected);
    let fact = |name: &str| &facts.iter().find(|(key, _)| key == name).unwrap().1;
    let (page, simulator, service) = (fact("page"), fact("simulator"), fact("service-token"));
    let database = fact("database").to_owned();
    assert_eq!(*fact("webhook"), format!("{page}/athos/webhook"));

    let http = http_client();
    let mut live = http
        .get(format!("{page}/athos/live"))
        .bearer_auth(service)
        .send()
        .await
        .unwrap();
    // As typed with curl: a body, and no Content-Type.
    let minted = http
        .post(format!("{page}/athos/token"))
        .bearer_auth(service)
        .body("{\"externalUserId\":\"rep_8842\",\"externalAgencyId\":\"agency_chicago\"}");
    let minted: Value = minted.send().await.unwrap().json().await.unwrap();
    let redeem = http
        .post(format!("{simulator}/api/external/v1/roleplay/session"))
        .bearer_auth(minted["token"].as_str().unwrap())
        .json(&json!({ "drillKey": "ma-full-sale" }));
    let begun: Value = redeem.send().await.unwrap().json().await.unwrap();
    let call_id = begun["callId"].as_str().unwrap();
    let end = http.post(format!("{simulator}/_simulator/calls/{call_id}/end"));
    assert_eq!(end.send().await.unwrap().status(), 200);
    let mut seen = String::new();
    while !seen.contains("\"status\":\"scored\"") {
        let chunk = live.chunk().await.unwrap().expect("the stream ended");
        seen += std::str::from_utf8(&chunk).unwrap();
    }
    let call = http
        .get(format!("{page}/athos/calls/{call_id}"))
        .bearer_auth(service);
    let call: Value = call.send().await.unwrap().json().await.unwrap();
    assert_eq!(call["status"], "scored");
    assert_eq!(call["rep"], "rep_8842");
    assert!(!call["transcript"].as_array().unwrap().is_empty());

    let addr = page.strip_prefix("http://").unwrap();
    assert_eq!(
        run(&["healthcheck", "--bind-addr", addr], &[])
            .status
            .code(),
        Some(0)
    );
    assert_eq!(
        run(&["healthcheck"], &[("BIND_ADDR", addr)]).status.code(),
        Some(0)
    );
    drop(live);

    let (code, log) = demo.terminate();
    assert_eq!(code, 0, "{log}");
    for secret in [
        service.as_str(),
        minted["token"].as_str().unwrap(),
        "ath_live_",
        "whsec_",
    ] {
        assert!(!log.contains(secret), "{log}");
    }
    assert!(!Path::new(&database).exists(), "the demo cleans up");
    let gone = run(&["healthcheck", "--bind-addr", addr], &[]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(paragraph(&gone).contains("no answer from"));
}

/// `ulimit` makes files stop growing, as a full disk does; raising the limit again makes room.
#[tokio::test]
async fn on_a_full_disk_nothing_is_acknowledged_and_the_retry_is_stored() {
    let folder = TempDir::new().unwrap();
    let secret = unique("whsec");
    let mut command = Command::new("/bin/sh");
    command
        .env_clear()
        .envs([
            ("ATHOS_WHSEC", &*secret),
            ("SERVICE_TOKENS", &*unique("svc")),
        ])
        .envs([("BIND_ADDR", "127.0.0.1:0"), ("ADMIN_ADDR", "127.0.0.1:0")])
        .env("LOG_FORMAT", "json")
        .current_dir(folder.path())
        // Ignored, the signal becomes an error of the write.
        .args(["-c", "trap '' XFSZ; ulimit -S -f 2000; exec \"$0\"", BINARY])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut service = Running::start(command);
    let mut log = BufReader::new(service.process.stderr.take().unwrap()).lines();
    let listening = log
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains("\"listening\""));
    let listening: Value = serde_json::from_str(&listening.unwrap()).unwrap();
    std::thread::spawn(move || log.for_each(drop));
    let url = format!(
        "http://{}/athos/webhook",
        listening["addr"].as_str().unwrap()
    );

    let http = http_client();
    let send = async |id: usize| {
        let body = json!({
            "event": "call.scored", "success": true, "callId": format!("call_{id}"), "pad": "x".repeat(60_000),
        })
        .to_string();
        let now = Clock::system().now().as_secs();
        let request = http
            .post(&url)
            .header(
                SIGNATURE_HEADER,
                sign(&secret.clone().into(), now, body.as_bytes()),
            )
            .header(WEBHOOK_ID_HEADER, format!("wh_{id}"));
        let answer = request.body(body).send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let mut acknowledged = 0;
    let refused = loop {
        let (status, body) = send(acknowledged).await;
        if status != 200 {
            assert_eq!(status, 503, "{body}");
            break body;
        }
        acknowledged += 1;
        assert!(acknowledged < 100, "the disk is never full");
    };
    assert_eq!(refused["error"]["code"], "STORE_UNAVAILABLE");
    assert_eq!(send(acknowledged).await.0, 503, "it stays full");

    let pid = service.process.id().to_string();
    let room = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status();
    assert!(room.unwrap().success());
    let (status, body) = send(acknowledged).await;
    assert_eq!((status, &body["status"]), (200, &json!("accepted")));
    drop(service);
    let mut db = SqliteConnectOptions::new()
        .filename(folder.path().join("data/athos.db"))
        .connect()
        .await
        .unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(kept, acknowledged as i64 + 1);
}
