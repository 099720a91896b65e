//! Checks over the network: whether Athos answers and accepts our keys, whether our clock is right, whether the issuer of
//! callers' JWTs publishes its keys, and whether the service answers at its URLs.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use reqwest::StatusCode;
use reqwest::header::DATE;
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::DEADLINE;
use super::finding::{CheckStatus, Finding, Span};
use crate::clients::{athos_client, direct_http_client, http_client};
use crate::clock::Clock;
use crate::config::Config;
use crate::http;
use crate::model::{Source, Timestamp, outside_text};
use crate::store::database_file;
use athos_api::local::{is_loopback, reachable_addr};
use athos_api::signature::{TOLERANCE_SECS, fingerprint};
use athos_api::{self as athos, ListQuery};

/// Difference from Athos's clock that is worth a warning, in seconds: webhooks are refused at 300.
const SKEW_SECS: u64 = 30;

/// Checks Athos itself, our clock against its own, and each key.
pub(super) async fn look_at_athos(config: &Config, clock: &Clock) -> Vec<Finding> {
    let keys = config
        .athos_api_key
        .iter()
        .map(|key| try_key(config, key, clock));
    let (mut findings, tried) = tokio::join!(
        reach_athos(config, clock),
        futures_util::future::join_all(keys)
    );
    let any_works = tried.iter().any(|(_, said)| said.is_ok());
    findings.extend(
        tried
            .iter()
            .map(|(name, said)| tell_key(name, said, any_works)),
    );
    findings
}

/// Sends a request without a key: any answer shows that Athos is reachable, and its time.
async fn reach_athos(config: &Config, clock: &Clock) -> Vec<Finding> {
    const CHECK: &str = "Athos";
    let base = &config.athos_base_url;
    let reachable_addr = clock.now();
    let started = Instant::now();
    let answer = match get(&below(base, &["calls"])).await {
        Ok(answer) => answer,
        Err(why) => {
            return vec![
                Finding::fail(CHECK, format!("{base} cannot be reached: {why}"))
                    .fix("check ATHOS_BASE_URL, DNS, and that outgoing HTTPS is allowed from here"),
            ];
        }
    };
    let took = started.elapsed();
    let status = answer.status();
    let reached = format!("{base} answers in {} ms", took.as_millis());
    let reached = match status {
        StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST => Finding::ok(CHECK, reached),
        StatusCode::FORBIDDEN => Finding::warn(CHECK, format!("{reached}, with {status}"))
            .fix("Athos or something on the way refuses this machine's address: see what is said of the keys"),
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Finding::warn(CHECK, format!("{reached}, with {status}")).fix("try again later")
        }
        _ => Finding::warn(CHECK, format!("{reached}, with {status}, which its API would not"))
            .fix("check ATHOS_BASE_URL: its path ends with /api/external/v1"),
    };
    let date = answer
        .headers()
        .get(DATE)
        .and_then(|date| date.to_str().ok());
    // The date was written between request and answer.
    vec![reached, check_clock(date, reachable_addr.plus(took / 2))]
}

fn check_clock(date: Option<&str>, now: Timestamp) -> Finding {
    const CHECK: &str = "clock";
    let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else {
        return Finding::skipped(CHECK, "Athos's answer does not say what time it is");
    };
    let theirs = Timestamp::from_millis(date.timestamp().as_millisecond());
    // The date has whole seconds.
    let (skew, way) = if now > theirs {
        (now.since(theirs), "ahead of")
    } else {
        (theirs.since(now), "behind")
    };
    let secs = skew.as_secs();
    if secs <= 1 {
        return Finding::ok(CHECK, "agrees with Athos's");
    }
    let seen = format!("ours is {} {way} Athos's", Span(skew));
    let fix =
        "set the machine's clock by NTP: webhooks signed more than 300 s from now are refused";
    if secs >= TOLERANCE_SECS.unsigned_abs() {
        Finding::fail(CHECK, seen).fix(fix)
    } else if secs >= SKEW_SECS {
        Finding::warn(CHECK, seen).fix(fix)
    } else {
        Finding::ok(CHECK, seen)
    }
}

/// Asks for the calls that end from now on: there are none, and both generations understand.
async fn try_key(
    config: &Config,
    key: &SecretString,
    clock: &Clock,
) -> (String, Result<(), athos::Error>) {
    let query = ListQuery {
        source: Source::Roleplay,
        from: clock.now(),
        to: None,
    };
    let keys = std::slice::from_ref(key);
    let said = match athos_client(&config.athos_base_url, keys, Arc::new(()), clock) {
        Ok(client) => timeout(DEADLINE, client.list_page(&query, None))
            .await
            .unwrap_or(Err(athos::Error::Timeout))
            .map(drop),
        Err(why) => Err(athos::Error::Unreachable(why.to_string())),
    };
    (fingerprint(key), said)
}

fn tell_key(name: &str, said: &Result<(), athos::Error>, any_works: bool) -> Finding {
    const CHECK: &str = "API key";
    let error = match said {
        Ok(()) => return Finding::ok(CHECK, format!("{name}: Athos accepts it")),
        Err(error) => error,
    };
    let seen = format!("{name}: {error}");
    let athos::Error::Refused(refusal) = error else {
        return Finding::skipped(CHECK, seen);
    };
    if error.class() != athos::Class::KeyFault {
        return Finding::warn(CHECK, seen).fix("that says nothing about the key; try again later");
    }
    let fix = match refusal.code.as_str() {
        "API_KEY_REVOKED" => "take it out of ATHOS_API_KEY, and put in another one from Athos",
        "INVALID_API_KEY" => "Athos does not know it: copy it again, whole and without quotes",
        "IP_NOT_ALLOWED" => "have Athos allow the address that this machine goes out from",
        "TENANT_INACTIVE" => "ask Athos to activate the account",
        _ => "ask Athos, quoting the request's id",
    };
    if any_works {
        // Calls go on by the other one.
        Finding::warn(CHECK, seen).fix(fix)
    } else {
        Finding::fail(CHECK, seen).fix(fix)
    }
}

/// The keys that callers' JWTs are verified with, where somebody publishes them.
pub(super) async fn look_at_callers(config: &Config, clock: &Clock) -> Option<Finding> {
    const CHECK: &str = "JWKS";
    let url = config.auth_jwks_url.as_ref()?;
    let fix = "check AUTH_JWKS_URL; until its keys are here, nobody can sign in with a JWT";
    Some(match http::published_keys(url, clock).await {
        Ok(0) => Finding::fail(
            CHECK,
            format!("{url} has no key that can verify a signature"),
        )
        .fix(fix),
        Ok(count) => Finding::ok(CHECK, format!("{url} has keys to verify with: {count}")),
        Err(error) => Finding::fail(
            CHECK,
            format!(
                "{url} cannot be read: {}",
                outside_text(&format!("{error:#}"))
            ),
        )
        .fix(fix),
    })
}

/// The service, where it listens and where others reach it.
pub(super) async fn look_at_service(config: &Config) -> Vec<Finding> {
    let here = look_here(config).await;
    let is_expected = here.verdict == CheckStatus::Ok || has_been_started(config);
    let public = look_from_outside(config, is_expected).await;
    vec![here, public]
}

/// Whether the service was started before: its database file exists. Of a server nobody knows.
fn has_been_started(config: &Config) -> bool {
    matches!(database_file(&config.database_url), Ok(Some(file)) if file.exists())
}

async fn look_here(config: &Config) -> Finding {
    const CHECK: &str = "service";
    let addr = reachable_addr(config.bind_addr);
    let Ok(url) = format!("http://{addr}/healthz").parse() else {
        return Finding::skipped(CHECK, format!("{addr} cannot be asked"));
    };
    let client = direct_http_client(&url, DEADLINE);
    match ask_version(&url, client).await {
        Ok(version) => Finding::ok(CHECK, format!("version {version} is running at {addr}")),
        Err(_) => Finding::skipped(CHECK, format!("not running at BIND_ADDR={addr}")),
    }
}

async fn look_from_outside(config: &Config, is_expected: bool) -> Finding {
    const CHECK: &str = "public URL";
    let Some(public) = &config.public_url else {
        return Finding::skipped(CHECK, "PUBLIC_URL is not set").fix(
            "set it to where browsers and Athos reach the service, to have the way there looked at",
        );
    };
    let health = below(public, &["healthz"]);
    let seen = match ask_version(&health, http_client(&health, DEADLINE)).await {
        Ok(version) if version == env!("CARGO_PKG_VERSION") => {
            format!("the service answers at {public}")
        }
        Ok(version) => {
            let ours = env!("CARGO_PKG_VERSION");
            return Finding::warn(
                CHECK,
                format!("version {version} answers at {public}, and this is {ours}"),
            )
            .fix("deploy the same version, or ignore this during a roll-out");
        }
        Err(Missing::NoAnswer(why)) if !is_expected => {
            let seen = format!("the service is not started yet; {public} does not answer: {why}");
            return Finding::skipped(CHECK, seen).fix("run doctor again when it is started");
        }
        Err(Missing::NoAnswer(why) | Missing::SomethingElse(why)) => {
            return Finding::fail(CHECK, format!("{public} does not lead to the service: {why}")).fix(
                "start the service; then check DNS, the certificate, and that the proxy passes every path on to it",
            );
        }
    };
    if public.scheme() == "http" && !is_loopback(public) {
        return Finding::warn(CHECK, format!("{seen}, without TLS"))
            .fix("put TLS in front of it: Athos delivers to https:// only, and tokens cross the network in the clear");
    }
    Finding::ok(CHECK, seen)
}

/// Why the service was not found at a URL.
enum Missing {
    /// No answer, or a proxy without a service behind it.
    NoAnswer(String),
    SomethingElse(String),
}

/// The version of the service at this `/healthz`.
async fn ask_version(
    url: &Url,
    client: reqwest::Result<reqwest::Client>,
) -> Result<String, Missing> {
    let answer = ask(url, client).await.map_err(Missing::NoAnswer)?;
    let status = answer.status();
    let something_else = |why: String| Err(Missing::SomethingElse(why));
    if status.is_redirection() {
        return something_else(format!("{status}, a redirect, which Athos does not follow"));
    }
    if matches!(status.as_u16(), 502..=504) {
        return Err(Missing::NoAnswer(format!("{url} answers {status}")));
    }
    if !status.is_success() {
        return something_else(format!("{url} answers {status}"));
    }
    let body = read(answer, 4096).await.map_err(Missing::NoAnswer)?;
    let health: Value = serde_json::from_slice(&body).unwrap_or_default();
    match health["version"].as_str() {
        Some(version) if health["status"] == "ok" => Ok(version.to_owned()),
        _ => something_else(format!("something else answers at {url}")),
    }
}

async fn get(url: &Url) -> Result<reqwest::Response, String> {
    ask(url, http_client(url, DEADLINE)).await
}

async fn ask(
    url: &Url,
    client: reqwest::Result<reqwest::Client>,
) -> Result<reqwest::Response, String> {
    let client = client.map_err(words)?;
    client.get(url.clone()).send().await.map_err(words)
}

/// The first `limit` bytes of the answer's body.
pub(super) async fn read(mut answer: reqwest::Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(words)? {
        body.extend_from_slice(&chunk);
        if body.len() >= limit {
            body.truncate(limit);
            break;
        }
    }
    Ok(body)
}

/// The error with its causes; the last one is the useful one.
pub(super) fn words(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let error = error.without_url();
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(why) = cause {
        let _ = write!(message, ": {why}");
        cause = why.source();
    }
    message
}

/// `base` with these segments appended to its path.
pub(super) fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}
