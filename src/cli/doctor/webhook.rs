//! Sends a delivery as Athos would, with a body that a proxy cannot rewrite unnoticed; the service verifies, stores and
//! ignores it. If it fails, a plain body tells a rewriting proxy from a wrong secret.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::finding::Finding;
use super::network::{read, words};
use crate::clients::http_client;
use crate::clock::{Clock, new_id};
use athos_api::signature::{SIGNATURE_HEADER, WEBHOOK_ID_HEADER, fingerprint, sign};

const CHECK: &str = "webhook";
/// Athos gives up after this long (docs/athos-contract.md, "Webhooks").
const DEADLINE: Duration = Duration::from_secs(10);

/// Parsing this as JSON and writing it again changes it: spaces, order, numbers, escapes, the final line break. Another
/// encoding changes the letters.
const BODY: &str = "{ \"zeta\" : 1.0,  \"event\":\"doctor.check\", \"text\": \"Gr\u{fc}\u{df}e \u{65e5}\u{672c}\u{8a9e} \\u00e9 \\/ \
                    <&> \u{1f642}\",\t\"alpha\":[ 1e2 , true ] }\n";
/// A body that stays the same when it is parsed and written again.
const SMALL_BODY: &str = "{\"event\":\"doctor.check\"}";

/// The answer to a delivery.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: Value,
}

/// Sends the delivery, and explains the answer.
pub(super) async fn send(url: &Url, secrets: &[SecretString], clock: &Clock) -> Finding {
    let Some(secret) = secrets.first() else {
        return Finding::skipped(CHECK, "without ATHOS_WHSEC there is nothing to sign with");
    };
    let Answer {
        status,
        location,
        body,
    } = match deliver(url, secret, BODY, clock).await {
        Ok(answer) => answer,
        Err(why) => {
            return Finding::fail(CHECK, format!("{url} cannot be reached: {why}")).fix(
                "check DNS, the certificate and the proxy; Athos needs an answer within 10 s",
            );
        }
    };
    let code = body["error"]["code"].as_str().unwrap_or_default();
    let said = body["error"]["message"].as_str().unwrap_or_default();
    let fail = |seen: String, fix: &str| Finding::fail(CHECK, seen).fix(fix);
    match (status.as_u16(), code) {
        (200, _) if body["status"] == "ignored" => Finding::ok(
            CHECK,
            format!(
                "{url} received it as it was sent, signed with {}, and kept it as ignored",
                fingerprint(secret)
            ),
        ),
        (200..=299, _) => fail(
            format!("{url} answers {status}, but not as the service does"),
            "something else answers at this URL: Athos would take its deliveries for received",
        ),
        (401, "SIGNATURE_MISMATCH") => tell_mismatch(url, secrets, clock).await,
        (401, "STALE_SIGNATURE") => fail(
            format!("the service finds the time wrong: {said}"),
            "set the clocks of this machine and of the service's by NTP",
        ),
        (401, "MISSING_SIGNATURE" | "MALFORMED_SIGNATURE") => fail(
            format!("the signature did not arrive: {said}"),
            "have the proxy pass the header X-Athos-Signature on as it is",
        ),
        (401 | 403 | 407, _) => fail(
            format!("something before the service asks who is there: {status}"),
            "let /athos/webhook through without signing in: its signature is its credential",
        ),
        (404 | 405 | 410, _) => fail(
            format!("{url} answers {status}: the service's webhook is not there"),
            "the path is /athos/webhook; does the proxy strip or add a prefix?",
        ),
        (300..=399, _) => fail(
            format!(
                "{url} redirects to {}",
                location.as_deref().unwrap_or("somewhere else")
            ),
            "give Athos the URL at the end: it does not follow redirects",
        ),
        (413, _) => fail(
            format!("the body is too large for something on the way: {status}"),
            "have the proxy let bodies of 64 KiB through",
        ),
        (503, "STORE_UNAVAILABLE") => fail(
            "it arrived, and could not be kept".to_owned(),
            "see what is said of the database and its disk",
        ),
        (502..=504, _) => fail(
            format!("the proxy does not reach the service: {status}"),
            "is the service running where the proxy looks for it?",
        ),
        _ => fail(
            format!("{url} answers {status} {code}"),
            "look into the logs of the service and of what is in front of it",
        ),
    }
}

/// Sends the plain body with each secret, to tell an altered body from a wrong secret.
async fn tell_mismatch(url: &Url, secrets: &[SecretString], clock: &Clock) -> Finding {
    let mut matching = None;
    for (at, secret) in secrets.iter().enumerate() {
        let answer = deliver(url, secret, SMALL_BODY, clock).await;
        if answer.is_ok_and(|answer| answer.status.is_success()) {
            matching = Some((at, fingerprint(secret)));
            break;
        }
    }
    match matching {
        Some((0, _)) => Finding::fail(CHECK, format!("something on the way to {url} alters bodies: a plain one arrives, one with \
            spaces and other alphabets does not")).fix(
            "have it pass /athos/webhook on byte for byte: no parsing and writing again, no other encoding",
        ),
        Some((_, name)) => {
            let first = secrets.first().map(fingerprint).unwrap_or_default();
            Finding::fail(CHECK, format!("the service at {url} knows the secret {name}, but not {first}"))
                .fix("reload (SIGHUP) or restart it with the ATHOS_WHSEC of here")
        }
        None => Finding::fail(CHECK, format!("the service at {url} knows none of the secrets of here, or every body is altered"))
            .fix("compare the fingerprints that doctor shows here and there; is ATHOS_WHSEC the same?"),
    }
}

/// Sends a body; returns the answer, or why there is none.
async fn deliver(
    url: &Url,
    secret: &SecretString,
    body: &'static str,
    clock: &Clock,
) -> Result<Answer, String> {
    let client = http_client(url, DEADLINE).map_err(words)?;
    let id = new_id(clock);
    // A unique body: the service treats equal bytes as the same delivery.
    let body = body.replacen('{', &format!("{{\"id\":\"{id}\","), 1);
    let request = client
        .post(url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header(
            SIGNATURE_HEADER,
            sign(secret, clock.now().as_secs(), body.as_bytes()),
        )
        .header(WEBHOOK_ID_HEADER, format!("doctor_{id}"))
        .body(body);
    let answer = request.send().await.map_err(words)?;
    let status = answer.status();
    let location = answer.headers().get(LOCATION);
    let location = location.and_then(|to| to.to_str().ok()).map(str::to_owned);
    let body = read(answer, 16 * 1024).await.unwrap_or_default();
    Ok(Answer {
        status,
        location,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}
