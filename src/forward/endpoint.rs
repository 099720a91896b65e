//! An endpoint of `FORWARD_URLS`: what may be configured, and one signed request to it. Whether and when to try again is
//! for the forwarder.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode};
use url::Url;

use super::address::{self, GuardedResolver, Transport};
use super::signature::{self, ForwardSecret};
use crate::model::Timestamp;
use athos_api::{failure_text, outside_text, retry_after};

/// An answer must be whole within this time, from the first byte sent.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// Most bytes that are read of an answer.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A message as it goes over the wire.
#[derive(Clone, Debug)]
pub struct Message {
    /// `webhook-id`: the same for every attempt.
    pub id: String,
    /// JSON.
    pub body: Vec<u8>,
}

/// Why an endpoint did not take a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status, when it answered.
    pub status: Option<u16>,
    /// In words.
    pub reason: String,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// Somewhere to send messages.
#[derive(Clone, Debug)]
pub struct Endpoint {
    url: Url,
    transport: Transport,
    client: Client,
}

impl Endpoint {
    /// An endpoint at `url`; `allow_http` names the hosts that may be reached without TLS wherever they are.
    ///
    /// # Errors
    /// In words that end a sentence about the URL: why nothing can be sent there.
    pub fn new(url: &Url, allow_http: &[String]) -> Result<Self, String> {
        let host = url.host_str().unwrap_or_default();
        let is_allowed = allow_http
            .iter()
            .any(|name| name.eq_ignore_ascii_case(host));
        let transport = match url.scheme() {
            "https" => Transport::AnyAddress,
            "http" if is_allowed => Transport::AnyAddress,
            "http" => Transport::PrivateAddress,
            other => return Err(format!("begins with {other}:, not with https://")),
        };
        if url.fragment().is_some() {
            return Err("has a fragment (#…), which is never sent: remove it".to_owned());
        }
        address::check_url(url, transport).map_err(|why| format!("cannot be used: {why}"))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the client of endpoints differs: it checks addresses, and asks no proxy, which would look names up itself"
        )]
        let client = Client::builder()
            .user_agent(concat!("athos-backend/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(GuardedResolver(transport))
            .no_proxy()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(ANSWER_DEADLINE)
            .build()
            .map_err(|error| format!("cannot be used: {error}"))?;
        Ok(Self {
            url: url.clone(),
            transport,
            client,
        })
    }

    /// Where it is. May carry a secret.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Its host, and its port when it has one: what may be shown of the URL.
    #[must_use]
    pub fn host(&self) -> String {
        host_of(&self.url)
    }

    /// Sends a message once. 2xx means that it was taken.
    ///
    /// # Errors
    /// Anything else.
    pub async fn send(
        &self,
        message: &Message,
        secrets: &[ForwardSecret],
        now: Timestamp,
    ) -> Result<StatusCode, Failure> {
        let unsent = |reason: String| Failure {
            status: None,
            reason,
            retry_after: None,
        };
        // A name is checked by the resolver; an address in the URL is looked up by nobody.
        address::check_url(&self.url, self.transport).map_err(|why| unsent(why.to_string()))?;
        let headers = headers(message, secrets, now)
            .ok_or_else(|| unsent("the message cannot be signed".to_owned()))?;
        let request = self
            .client
            .post(self.url.clone())
            .headers(headers)
            .body(message.body.clone());
        let mut answer = request.send().await.map_err(|error| unsent(why(error)))?;
        let status = answer.status();
        let retry_after = retry_after(answer.headers(), now);
        let mut body = Vec::new();
        let read = loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => {
                    let room = MAX_ANSWER_BYTES - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() >= room {
                        break Ok(());
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(why(error)),
            }
        };
        match (status.is_success(), read) {
            (true, Ok(())) => Ok(status),
            (true, Err(why)) => Err(Failure {
                status: Some(status.as_u16()),
                reason: format!("its answer {} broke off: {why}", status.as_u16()),
                retry_after,
            }),
            (false, _) => Err(Failure {
                status: Some(status.as_u16()),
                reason: refusal(status, &body),
                retry_after,
            }),
        }
    }
}

/// What may be shown of an endpoint's URL.
#[must_use]
pub fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn headers(message: &Message, secrets: &[ForwardSecret], now: Timestamp) -> Option<HeaderMap> {
    let signature = signature::sign(secrets, &message.id, now, &message.body);
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("webhook-id", HeaderValue::from_str(&message.id).ok()?);
    headers.insert("webhook-timestamp", HeaderValue::from(now.as_secs()));
    headers.insert("webhook-signature", HeaderValue::from_str(&signature).ok()?);
    Some(headers)
}

/// What went wrong, without the URL, which may carry a secret.
fn why(error: reqwest::Error) -> String {
    match error.is_timeout() {
        true => format!("no whole answer within {} s", ANSWER_DEADLINE.as_secs()),
        false => failure_text(error),
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    let said = outside_text(String::from_utf8_lossy(body).trim());
    let status_text = match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    match (status.is_redirection(), said.is_empty()) {
        (true, _) => format!(
            "it answered {status_text}; redirects are not followed: configure where it leads"
        ),
        (false, true) => format!("it answered {status_text}"),
        (false, false) => format!("it answered {status_text}: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str, allow: &[&str]) -> Option<String> {
        let allow: Vec<_> = allow.iter().map(|&name| name.to_owned()).collect();
        Endpoint::new(&url.parse().unwrap(), &allow).err()
    }

    #[test]
    fn plain_http_is_for_private_addresses_and_named_hosts() {
        for (url, allow) in [
            ("https://hooks.example.com/athos?key=1", &[][..]),
            ("http://127.0.0.1:9000/", &[]),
            ("http://crm.internal/", &[]),
            ("http://8.8.8.8/", &["8.8.8.8"]),
        ] {
            assert_eq!(refused(url, allow), None, "{url}");
        }
        for (url, expected) in [
            ("http://8.8.8.8/", "use https"),
            ("ftp://example.com/", "not with https://"),
            ("https://example.com/#part", "fragment"),
            ("https://169.254.169.254/latest", "nothing is sent"),
            ("http://[fe80::1]/", "nothing is sent"),
        ] {
            let why = refused(url, &[]).unwrap();
            assert!(why.contains(expected), "{url}: {why}");
        }
    }
}
