//! The typed client of Athos's API: mint, list, detail. It sends a request with one key of its ring after another
//! until one is not refused; it does not retry in time (that is the worker's schedule).

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use url::Url;

use super::drift::DriftWatch;
use super::error::{Error, Refusal};
use super::keys::{ApiKey, KeyRing};
use super::types::{self, MintBody, SessionToken};
use crate::clock::Clock;
use crate::model::{CallDetail, CallHeader, Credential, KeyState, Source, Timestamp};

/// Athos's answer must be here within this time, from the first byte sent (DESIGN: no answer in 10 s is a 504).
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Largest body read from Athos, in bytes: a two-hour transcript with room to spare.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Most rows Athos gives in one page.
pub(super) const PAGE_LIMIT: u32 = 100;
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// The one way to make an HTTP client here: bounded in time, never redirected, and honest about who asks.
/// Clients of plain-HTTP hosts (the simulator) skip loading the system's certificates.
///
/// # Errors
/// When TLS is needed and the system has no certificate authorities to trust.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that builds clients"
)]
pub fn http_client(for_url: &Url, deadline: Duration) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("athos-backend/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_DEADLINE.min(deadline))
        .timeout(deadline)
        .pool_max_idle_per_host(32)
        .tcp_nodelay(true);
    match for_url.scheme() {
        "http" => builder.tls_certs_only([]).build(),
        _ => builder.https_only(true).build(),
    }
}

/// A client of Athos's API for one company.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    keys: KeyRing,
    drift: DriftWatch,
}

/// Which calls to list.
#[derive(Clone, Debug, Serialize)]
pub struct ListQuery {
    /// Of which source; it decides the axis: the end of a practice call, the start of a real one.
    #[serde(serialize_with = "as_word")]
    pub source: Source,
    /// The earliest, inclusive.
    pub from: Timestamp,
    /// The latest, inclusive; up to now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

fn as_word<S: Serializer>(source: &Source, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(source.as_str())
}

/// One page of a list, newest call first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The calls on it.
    pub calls: Vec<CallHeader>,
    /// Where the next page starts; `None` on the last.
    pub next_cursor: Option<String>,
}

impl Client {
    /// A client for the API at `base` (…/api/external/v1), with the keys in the order to try them.
    ///
    /// # Errors
    /// When no HTTP client can be made (no certificate authorities), or a key has bytes no header can carry.
    pub fn new(base: &Url, keys: &[SecretString], clock: Clock) -> anyhow::Result<Self> {
        Ok(Self {
            keys: KeyRing::new(keys, clock)?,
            http: http_client(base, ANSWER_DEADLINE)?,
            base: base.clone(),
            drift: DriftWatch::default(),
        })
    }

    /// What Athos sends that no document mentions.
    pub fn drift(&self) -> &DriftWatch {
        &self.drift
    }

    /// Puts other keys in force; requests under way go on with those they began with. Refusals are forgotten.
    ///
    /// # Errors
    /// When a key has bytes that no header can carry; then nothing has changed.
    pub fn replace_keys(&self, keys: &[SecretString]) -> anyhow::Result<()> {
        self.keys.replace(keys)
    }

    /// The keys in force, in the order of the configuration, and what Athos says to each.
    pub fn keys(&self) -> Vec<(Credential, KeyState)> {
        self.keys.list()
    }

    /// Takes over what is known of the keys from before.
    pub fn remember_keys(&self, before: &[Credential]) {
        self.keys.remember(before);
    }

    /// Mints a session token (contract, `POST /session`), in the generation that `body` is of.
    ///
    /// # Errors
    /// Any [`Error`]; a quota or an unknown agent is a [`Error::Refused`] with Athos's code.
    pub async fn mint(&self, body: &MintBody<'_>) -> Result<SessionToken, Error> {
        let request = self.request(Method::POST, &["session"]).json(body);
        let answer = self.send(request).await?;
        types::read_session(&answer.body, &self.drift).map_err(|why| answer.unreadable(&why))
    }

    /// Fetches one call with score and transcript (contract, `GET /calls/{callId}`).
    ///
    /// # Errors
    /// Any [`Error`]; an unknown call is a [`Error::Refused`] of class `NotFound`.
    pub async fn call(&self, call_id: &str) -> Result<CallDetail, Error> {
        let request = self.request(Method::GET, &["calls", call_id]);
        let answer = self.send(request).await?;
        let detail =
            types::read_detail(&answer.body, &self.drift).map_err(|why| answer.unreadable(&why))?;
        if detail.header.id == call_id {
            Ok(detail)
        } else {
            Err(answer.unreadable("it is about another call"))
        }
    }

    /// Asks for a fresh link to a call's recording (contract, `audioUrl`: short-lived, for immediate use). One that a
    /// browser must not be sent to counts as none.
    ///
    /// # Errors
    /// Any [`Error`]; an unknown call is a [`Error::Refused`] of class `NotFound`.
    pub async fn recording(&self, call_id: &str) -> Result<Option<SecretString>, Error> {
        let request = self.request(Method::GET, &["calls", call_id]);
        let answer = self.send(request).await?;
        let link = types::read_recording(&answer.body).map_err(|why| answer.unreadable(&why))?;
        let may_follow = link
            .as_ref()
            .is_none_or(|link| self.may_follow(link.expose_secret()));
        if !may_follow {
            tracing::warn!(
                call = call_id,
                athos_request_id = answer.request_id,
                "Athos's link to a recording is not https; nobody is sent there"
            );
        }
        Ok(link.filter(|_| may_follow))
    }

    /// Links are followed over TLS only; and to a vendor that is itself reached in plain, as the simulator is.
    fn may_follow(&self, link: &str) -> bool {
        Url::parse(link).is_ok_and(|link| match link.scheme() {
            "https" => true,
            "http" => link.origin() == self.base.origin(),
            _ => false,
        })
    }

    /// Lists one page of scored calls (contract, `GET /calls`).
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn list_page(&self, query: &ListQuery, cursor: Option<&str>) -> Result<Page, Error> {
        let mut request = self
            .request(Method::GET, &["calls"])
            .query(query)
            .query(&[("limit", PAGE_LIMIT)]);
        if let Some(cursor) = cursor {
            request = request.query(&[("cursor", cursor)]);
        }
        let answer = self.send(request).await?;
        let (calls, unreadable, next_cursor) =
            types::read_list(&answer.body, &self.drift).map_err(|why| answer.unreadable(&why))?;
        if unreadable > 0 {
            tracing::warn!(
                rows = unreadable,
                athos_request_id = answer.request_id,
                "Athos lists calls without a usable id; they are left out"
            );
        }
        Ok(Page { calls, next_cursor })
    }

    pub(super) fn request(&self, method: Method, path: &[&str]) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Each part becomes one percent-encoded segment, whatever is in it.
            segments.pop_if_empty().extend(path);
        }
        self.http.request(method, url)
    }

    /// Sends with the first key of the ring, and on 401 with each of the others in turn.
    pub(super) async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, Error> {
        let keys = self.keys.in_order();
        let mut refused = Error::NoKey;
        for key in &keys {
            let attempt = request
                .try_clone()
                .ok_or_else(|| Error::Unreachable("the request cannot be repeated".to_owned()))?
                .header(AUTHORIZATION, key.authorization());
            let response = attempt.send().await.map_err(transport)?;
            let answer = Answer::read(response).await?;
            if answer.status.is_success() {
                self.keys.accepted(key);
                return Ok(answer);
            }
            let refusal = answer.refusal(&keys, &self.drift);
            let other_may_do = self.keys.refused(key, &refusal);
            refused = Error::Refused(refusal);
            if !other_may_do {
                break;
            }
        }
        Err(refused)
    }
}

fn transport(error: reqwest::Error) -> Error {
    if error.is_timeout() {
        return Error::Timeout;
    }
    let is_connected = !error.is_connect();
    // The URL may hold a call id; the causes say what happened.
    let error = error.without_url();
    let mut why = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    match is_connected {
        true => Error::Interrupted(why),
        false => Error::Unreachable(why),
    }
}

/// A whole answer of Athos's, read within the limits.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    async fn read(mut response: reqwest::Response) -> Result<Self, Error> {
        let text = |name: &str| {
            response
                .headers()
                .get(name)?
                .to_str()
                .ok()
                .map(str::to_owned)
        };
        let status = response.status();
        let request_id = text("x-athos-request-id");
        let retry_after = text(RETRY_AFTER.as_str())
            .and_then(|seconds| seconds.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Error::TooLarge {
                    limit: MAX_ANSWER_BYTES,
                    request_id,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self {
            status,
            request_id,
            retry_after,
            body,
        })
    }

    pub(super) fn unreadable(&self, why: &str) -> Error {
        Error::Unreadable {
            why: why.to_owned(),
            request_id: self.request_id.clone(),
        }
    }

    fn refusal(&self, keys: &[Arc<ApiKey>], drift: &DriftWatch) -> Refusal {
        let status = self.status;
        let said = types::read_refusal(&self.body, drift);
        let mut message = said.message.unwrap_or_else(|| {
            status
                .canonical_reason()
                .unwrap_or("no reason given")
                .to_owned()
        });
        // Whatever a vendor or a proxy on the way may echo, a key of ours goes no further.
        for key in keys {
            message = key.redact(&message);
        }
        Refusal {
            status: status.as_u16(),
            code: said
                .code
                .unwrap_or_else(|| format!("HTTP_{}", status.as_u16())),
            message,
            request_id: said.request_id.or_else(|| self.request_id.clone()),
            retry_after: self.retry_after,
            existing_agent: said.existing_agent.map(Box::new),
        }
    }
}
