//! The real binary, as an operator meets it: settings that cannot work, a full disk, small commands.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};

use athos_api::signature::{SIGNATURE_HEADER, WEBHOOK_ID_HEADER, sign};
use athos_backend::clock::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{self, TestApp, event_rows_at, http_client, unique};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_athos-backend");

pub(crate) fn command(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Command {
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

pub(crate) fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    command(folder.path(), args, env).output().unwrap()
}

/// What a person is told on standard error: one message, which may have a line for each of several problems.
pub(crate) fn paragraph(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let lines = text.lines();
    let begun = lines.filter(|line| line.starts_with("athos-backend: "));
    assert_eq!(begun.count(), 1, "{text}");
    for noise in ["panicked", "stack backtrace", "RUST_BACKTRACE"] {
        assert!(!text.contains(noise), "{text}");
    }
    assert!(output.stdout.is_empty());
    let at = text.find("athos-backend: ").unwrap();
    text[at..].to_owned()
}

/// A process that is ended with the test.
pub(crate) struct Running {
    process: Child,
    pub(crate) out: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn limits(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/limits", self.process.id())).unwrap()
    }

    /// What it logs.
    pub(crate) fn stderr(&mut self) -> ChildStderr {
        self.process.stderr.take().unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.process.id().to_string());
        let sent = Command::new("kill").args([signal, pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Whether it has ended, by itself or by a signal.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// SIGTERM, as a container's runtime sends it; what was logged.
    pub(crate) fn terminate(self) -> (i32, String) {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it has ended by itself; what was logged.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let mut log = String::new();
        self.stderr().read_to_string(&mut log).unwrap();
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
}

#[test]
fn every_variable_that_cannot_be_read_is_told_on_a_line_with_its_place_and_without_its_value() {
    let folder = tempfile::tempdir().unwrap();
    let secret = unique("whsec");
    let text =
        format!("RECONCILE_EVERY={secret}\n\nATHOS_CONTRACT={secret}\nATHOS_WHSEC={secret},\n");
    std::fs::write(folder.path().join(".env"), text).unwrap();
    let env = [
        ("BIND_ADDR", &*secret),
        ("AUTO_ENROLL", "ja"),
        ("SOURCES", &*secret),
    ];
    let lines = [
        (
            "ATHOS_CONTRACT",
            ".env, line 3) is not one of auto, external, roster.",
        ),
        (
            "ATHOS_WHSEC",
            ".env, line 4) is empty, or has an empty entry",
        ),
        (
            "SOURCES",
            "(in the environment) is not one of roleplay, real_call.",
        ),
        (
            "AUTO_ENROLL",
            "(in the environment) is neither true nor false",
        ),
        (
            "BIND_ADDR",
            "(in the environment) is not an IP address with a port, such as 127.0.0.1:8080",
        ),
        (
            "RECONCILE_EVERY",
            ".env, line 1) is not a length of time such as 90s, 5m or 2h.",
        ),
    ];
    let output = command(folder.path(), &["serve"], &env).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = paragraph(&output);
    assert_eq!(said.lines().count(), 1 + lines.len(), "{said}");
    let examined = command(folder.path(), &["doctor", "--offline"], &env)
        .output()
        .unwrap();
    let examined = String::from_utf8(examined.stdout).unwrap();
    for (name, told) in lines {
        for said in [&said, &examined] {
            let is_it = |line: &str| line.contains(name) && line.contains(told);
            assert!(said.lines().any(is_it), "{name}: {said}");
        }
    }
    assert!(!said.contains(&secret) && !examined.contains(&secret));

    // What a command does not read is not its problem; what it cannot do without is.
    for (args, code) in [
        (&["sign"][..], 2),
        (&["healthcheck"], 2),
        (&["events", "list"], 1),
    ] {
        let env = [("BIND_ADDR", "8080"), ("ATHOS_WHSEC", ",")];
        let output = run(args, &env);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_flag_that_cannot_be_read_is_told_with_an_example() {
    for (args, told) in [
        (&["--bind-addr", "8080"][..], "such as 127.0.0.1:8080"),
        (&["simulate", "--bind", ":8081"], "such as 127.0.0.1:8080"),
        (&["demo", "--bind=localhost:80"], "such as 127.0.0.1:8080"),
        (&["healthcheck", "--bind-addr=x"], "such as 127.0.0.1:8080"),
        (
            &["events", "list", "--state=foo"],
            "one of pending, processing, done, ignored, dead",
        ),
        (
            &["events", "list", "--origin=foo"],
            "one of webhook, reconcile",
        ),
        (
            &["events", "list", "--verdict=foo"],
            "one of accepted, ignored",
        ),
        (&["reconcile", "--source=foo"], "one of roleplay, real_call"),
        (&["--log-format=foo"], "pretty, json"),
        (
            &["trigger", "--secret=x", "--set=nowhere=1"],
            "no such path",
        ),
        (
            &["trigger", "--secret=x", "--set=nothing"],
            "not PATH=VALUE",
        ),
        (
            &["events", "list", "--database-url=sqlite://a?mode=x"],
            "is not a SQLite URL",
        ),
        (&["--nonsense"], "unexpected argument"),
    ] {
        let output = run(args, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(told), "{args:?}: {said}");
    }
}

#[test]
fn the_log_is_not_silenced_by_a_slip() {
    let output = run(&[], &[("RUST_LOG", "warning")]);
    assert_eq!(output.status.code(), Some(2));
    let said = paragraph(&output);
    assert!(
        said.contains("\"warning\", which is neither a level"),
        "{said}"
    );
    // Set to nothing counts as not set.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "RUST_LOG=verbose\n").unwrap();
    let output = command(folder.path(), &[], &[("RUST_LOG", "")])
        .output()
        .unwrap();
    assert!(paragraph(&output).contains("\"verbose\""));
}

/// Whatever proxy is configured does not know this machine's addresses; nobody listens at this one.
const PROXIES: [(&str, &str); 4] = [
    ("HTTP_PROXY", "http://127.0.0.1:1"),
    ("http_proxy", "http://127.0.0.1:1"),
    ("HTTPS_PROXY", "http://127.0.0.1:1"),
    ("ALL_PROXY", "http://127.0.0.1:1"),
];

#[tokio::test]
async fn what_runs_on_this_machine_is_asked_without_a_proxy() {
    let app = TestApp::start().await;
    let addr = app.service().addr;
    let asked = async |args: &[&str], env: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(folder.path(), args, &[&PROXIES, env].concat());
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said)
    };
    let (local, everywhere) = (addr.to_string(), format!("0.0.0.0:{}", addr.port()));
    for bind in [&local, &everywhere] {
        let (code, said) = asked(&["healthcheck"], &[("BIND_ADDR", bind)]).await;
        assert_eq!(code, Some(0), "{bind}: {said}");
    }
    let hook = format!("http://localhost:{}/athos/webhook", addr.port());
    // Where the service listens does not matter then, not even when it cannot be read.
    let (code, said) = asked(
        &["trigger", "--url", &hook, "--secret", "wrong"],
        &[("BIND_ADDR", "8080"), ("PUBLIC_URL", "localhost")],
    )
    .await;
    assert_eq!(code, Some(1));
    assert!(said.contains("-> 401"), "{said}");
    let public = app.url("/");
    let (_, said) = asked(
        &["doctor"],
        &[("BIND_ADDR", &local), ("PUBLIC_URL", &public)],
    )
    .await;
    assert!(
        said.contains("is running at") && said.contains("the service answers"),
        "{said}"
    );
    // Athos is elsewhere, and is asked through the proxy.
    assert!(said.contains("FAIL  Athos"), "{said}");
}

#[test]
fn a_line_of_the_env_file_that_cannot_be_read_is_an_error_that_shows_no_secret() {
    let secret = unique("whsec");
    for line in [
        format!("ATHOS_WHSEC={secret}\" x y"),
        format!("ATHOS_WHSEC={secret}=a b"),
        format!("ATHOS_WHSEC={secret}$HOME"),
        format!("ATHOS_WHSEC={secret}\nATHOS_WHSEC={secret}x"),
        format!("ATHOS_WHSEC='{secret}"),
        format!("ATHOS_WHSEC {secret}"),
        secret.clone(),
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
        assert!(said.contains(".env, line "), "{said}");
        assert!(!said.contains(&secret), "{said}");
        if line.contains("ATHOS_WHSEC=") {
            assert!(said.contains("ATHOS_WHSEC"), "{said}");
        }
        // Help is for people with a file that does not work, too.
        let help = command(folder.path(), &["--help"], &[]).output().unwrap();
        assert_eq!(help.status.code(), Some(0));
        let doctor = command(folder.path(), &["doctor", "--offline"], &[])
            .output()
            .unwrap();
        let told = String::from_utf8(doctor.stdout).unwrap();
        assert!(
            told.contains(".env, line ") && !told.contains(&secret),
            "{told}"
        );
    }
}

#[test]
fn a_file_that_is_none_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::create_dir(&file).unwrap();
    let said = paragraph(&command(folder.path(), &[], &[]).output().unwrap());
    assert!(said.contains(".env is a folder"), "{said}");
    std::fs::remove_dir(&file).unwrap();
    std::os::unix::fs::symlink("missing", &file).unwrap();
    let said = paragraph(&command(folder.path(), &[], &[]).output().unwrap());
    assert!(said.contains(".env cannot be read: No such file"), "{said}");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, b"ATHOS_WHSEC=whsec_1\nSERVICE_TOKENS=\xff\n").unwrap();
    let said = paragraph(&command(folder.path(), &[], &[]).output().unwrap());
    assert!(said.contains(".env, line 2: is not UTF-8"), "{said}");
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

#[cfg(unix)]
#[test]
fn the_database_is_for_its_own_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let free = "127.0.0.1:0";
    let demo = ["demo", "--bind", free, "--simulator-bind", free];
    let demo = [&demo[..], &["--database", "data/athos.db"]].concat();
    let mut demo = Running::start(command(folder.path(), &demo, &[]));
    let mut lines = demo.out.by_ref().lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "ready"));
    for (made, mode) in [("data", 0o700), ("data/athos.db", 0o600)] {
        let made = folder.path().join(made).metadata().unwrap();
        assert_eq!(made.permissions().mode() & 0o777, mode, "{made:?}");
    }
}

#[test]
fn a_value_that_cannot_be_is_refused_with_one_that_can() {
    for (args, advice) in [
        (["--public-url", "practice.example.com"], "https://"),
        (["--retention-days", "0"], "at least 1"),
        (["--retention-days", "30d"], "a whole number"),
    ] {
        let output = run(&args, &[]);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(args[0]) && said.contains(advice), "{said}");
    }
}

#[test]
fn what_asks_about_a_database_does_not_make_an_empty_one_and_call_that_an_answer() {
    for args in [
        &["events", "list"][..],
        &["events", "replay", "--state", "dead"],
        &["reps", "delete", "rep_1", "--dry-run"],
        &["reps", "delete", "rep_1", "--yes"],
    ] {
        let folder = TempDir::new().unwrap();
        let output = command(folder.path(), args, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = paragraph(&output);
        assert!(
            said.contains("there is no database data/athos.db"),
            "{said}"
        );
        assert!(said.contains("DATABASE_URL"), "{said}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "{args:?}");
    }
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
        "backup",
        "reps",
        "doctor",
        "openapi",
        "healthcheck",
    ] {
        assert!(help.contains(name), "{name}");
    }
    assert_eq!(run(&["sevre"], &[]).status.code(), Some(2));
}

/// A pipe whose reader has gone, as `head` goes once it has seen enough.
fn nobody() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

#[test]
fn an_output_that_nobody_reads_any_more_ends_a_command_in_silence() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("body"), "{}").unwrap();
    let sign = ["sign", "--secret", "whsec_0123456789", "body"];
    for args in [&["openapi"][..], &["doctor", "--offline"], &sign] {
        let output = command(folder.path(), args, &[])
            .stdout(nobody())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(141), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
    for args in [&["help"][..], &["events", "--help"], &["--version"]] {
        let output = command(folder.path(), args, &[])
            .stdout(nobody())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
    // Nor does it panic (101) when it is the errors that nobody reads.
    let mut failing = command(folder.path(), &["events", "list"], &[]);
    let status = failing.stderr(nobody()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[tokio::test]
async fn a_service_whose_log_nobody_reads_goes_on() {
    let folder = TempDir::new().unwrap();
    let free = "127.0.0.1:0";
    let args = ["demo", "--bind", free, "--simulator-bind", free];
    let mut demo = command(folder.path(), &args, &[("RUST_LOG", "trace")]);
    demo.stderr(nobody());
    let mut demo = demo.spawn().unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let page = lines.find_map(|line| line.strip_prefix("page: ").map(str::to_owned));
    let page = page.unwrap();
    assert!(lines.any(|line| line == "ready"));
    for _ in 0..3 {
        let answer = http_client().get(format!("{page}/healthz")).send().await;
        assert_eq!(answer.unwrap().status(), 200);
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
}

#[test]
fn the_usage_in_an_error_is_that_of_the_command_whatever_the_environment_sets() {
    let env = [
        ("ATHOS_API_KEY", "ath_live_1"),
        ("ATHOS_WHSEC", "whsec_0123456789"),
        ("SERVICE_TOKENS", "svc"),
        ("DATABASE_URL", "sqlite://athos.db"),
    ];
    for (args, usage) in [
        (&["roster", "import"][..], "roster import [OPTIONS] <FILE>"),
        (&["roster", "find"], "roster find [OPTIONS] <HANDLE>"),
        (&["events", "show"], "events show [OPTIONS] <ID>"),
        (&["reps", "delete"], "reps delete [OPTIONS] <REP>"),
        (&["backup"], "backup [OPTIONS] <FILE>"),
        (&["reconcile", "--foo"], "reconcile [OPTIONS]"),
        (&["serve", "--foo"], "serve [OPTIONS]"),
    ] {
        let output = run(args, &env);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let usage = format!("\nUsage: athos-backend {usage}\n");
        assert!(said.contains(&usage), "{said}");
        assert!(said.lines().count() < 9, "{said}");
    }
}

#[test]
fn flags_that_cannot_be_are_exit_2_whatever_the_command() {
    let secret = ["--secret", "whsec_0123456789"];
    let trigger = [&["trigger"], &secret[..], &["--set", "calId=1"]].concat();
    for (args, advice) in [
        (&trigger[..], "there are event, success, callId"),
        (&["trigger", "--url", "localhost"], "such as http://"),
        (
            &["doctor", "--webhook", "--url", "localhost"],
            "such as http://",
        ),
        (
            &["events", "list", "--state", "foo"],
            "foo is no state; use one of pending,",
        ),
        (
            &["events", "list", "--from", "06/05/2026"],
            "a day in UTC (2026-06-05)",
        ),
        (&["events", "list", "--limit", "0"], "of at least 1"),
        (
            &["events", "list", "--from", "1h", "--to", "2h"],
            "is later than --to",
        ),
        (&["events", "replay"], "<ID|--state <STATE>>"),
        (&["events", "replay", "wh_1"], "not an event's number"),
        (
            &["deliveries", "list", "--state", "dead"],
            "use one of waiting, sending, delivered, failed, superseded",
        ),
        (
            &["deliveries", "replay", "--state", "sending"],
            "must be failed, delivered or waiting",
        ),
        (
            &["deliveries", "replay", "msg_1"],
            "not a delivery's number",
        ),
        (
            &["forward", "--from", "1h", "--to", "2h"],
            "is later than --to",
        ),
        (&["simulate", "--seed", "many"], "not a whole number"),
        (&["demo", "--seed", "1.5"], "not a whole number"),
        (&["sign", "--secret=x", "--t", "now"], "not unix seconds"),
        (
            &["serve", "--public-url", "localhost"],
            "'--public-url <URL>': not a whole URL, such as https://app.example.com\n",
        ),
        (
            &["events", "replay", "--state", "pending"],
            "must be dead, ignored or done",
        ),
        (
            &["reconcile", "--source", "foo"],
            "use one of roleplay, real_call",
        ),
        (&["roster", "list", "--limit", "many"], "of at least 1"),
        (
            &["simulate", "--webhook-url", "localhost:8080"],
            "such as http://",
        ),
    ] {
        let output = run(args, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(advice), "{said}");
    }
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
    let mut log = BufReader::new(service.stderr()).lines();
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
    // One that shared its commit with others may be refused where one alone still fits.
    let (mut acknowledged, mut refused_in_a_row) = (0, 0);
    while refused_in_a_row < 3 {
        let (status, body) = send(acknowledged).await;
        if status == 200 {
            (acknowledged, refused_in_a_row) = (acknowledged + 1, 0);
            assert!(acknowledged < 100, "the disk is never full");
        } else {
            assert_eq!(status, 503, "{body}");
            assert_eq!(body["error"]["code"], "STORE_UNAVAILABLE");
            refused_in_a_row += 1;
        }
    }
    assert!(acknowledged > 5, "it was full from the start");

    let pid = service.process.id().to_string();
    let room = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status();
    assert!(room.unwrap().success());
    let (status, body) = send(acknowledged).await;
    assert_eq!((status, &body["status"]), (200, &json!("accepted")));
    drop(service);
    let kept = event_rows_at(&harness::url(&folder.path().join("data/athos.db"))).await;
    assert_eq!(kept.len(), acknowledged + 1);
}
