//! The typed client of Athos's API: mint, list, detail. It tries the keys of its ring in turn until one is accepted. It
//! never retries later; the caller schedules that.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, DATE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER,
};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use url::Url;

use super::drift::DriftWatch;
use super::error::{Error, Refusal};
use super::keys::{ApiKey, KeyRing};
use super::types::{self, MintBody, NextCursor, SessionToken};
use crate::clock::Clock;
use crate::local::is_loopback;
use crate::{
    CallDetail, CallHeader, InvalidKey, KeyState, Observer, Source, Timestamp, outside_text,
};

/// How long Athos may take for a whole answer.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Largest body read from Athos, in bytes: a two-hour transcript with room to spare.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Largest body read of an error, in bytes: Athos's envelope, with room to spare.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
/// Longest `Retry-After` that is honoured.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Most rows Athos gives in one page.
pub(super) const PAGE_LIMIT: u32 = 100;
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Makes an HTTP client with a deadline, no redirects, and a `User-Agent` that names this crate. A client for plain HTTP
/// (the simulator) loads no certificates; a client for this machine uses no proxy.
///
/// # Errors
/// When TLS is needed and the system has no certificate authorities to trust.
pub fn http_client(
    user_agent: &str,
    for_url: &Url,
    deadline: Duration,
) -> Result<reqwest::Client, reqwest::Error> {
    build(user_agent, for_url, deadline, !is_loopback(for_url))
}

/// An [`http_client`] that never uses a proxy: for what listens on this machine, at whatever address.
///
/// # Errors
/// As `http_client`.
pub fn direct_http_client(
    user_agent: &str,
    for_url: &Url,
    deadline: Duration,
) -> Result<reqwest::Client, reqwest::Error> {
    build(user_agent, for_url, deadline, false)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that builds clients"
)]
fn build(
    user_agent: &str,
    for_url: &Url,
    deadline: Duration,
    proxied: bool,
) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .user_agent(user_agent)
        .default_headers(HeaderMap::from_iter([(
            ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        )]))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_DEADLINE.min(deadline))
        .timeout(deadline)
        .pool_max_idle_per_host(32)
        .tcp_nodelay(true);
    let builder = if proxied { builder } else { builder.no_proxy() };
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
    clock: Clock,
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
pub struct CallListPage {
    /// The calls on it.
    pub calls: Vec<CallHeader>,
    /// Rows that name no call; they are left out.
    pub unreadable: usize,
    /// Where the next page starts; `None` on the last.
    pub next_cursor: NextCursor,
}

impl Client {
    /// A client for the API at `base` (…/api/external/v1), with the keys in the order to try them. `http` should give up
    /// after [`ANSWER_DEADLINE`] and follow no redirect, as one of [`http_client`] does.
    ///
    /// # Errors
    /// When a key has bytes that no header can carry.
    pub fn new(
        http: reqwest::Client,
        base: &Url,
        keys: &[SecretString],
        observer: Arc<dyn Observer>,
        clock: Clock,
    ) -> Result<Self, InvalidKey> {
        Ok(Self {
            keys: KeyRing::new(keys, observer)?,
            clock,
            http,
            base: base.clone(),
            drift: DriftWatch::default(),
        })
    }

    /// What Athos sends that no document mentions.
    pub fn drift(&self) -> &DriftWatch {
        &self.drift
    }

    /// Replaces the keys and forgets refusals. Requests under way keep the keys they began with.
    ///
    /// # Errors
    /// When a key has bytes that no header can carry; then nothing has changed.
    pub fn replace_keys(&self, keys: &[SecretString]) -> Result<(), InvalidKey> {
        self.keys.replace(keys)
    }

    /// The current keys by fingerprint, in the order of the configuration, each with its state.
    pub fn keys(&self) -> Vec<(String, KeyState)> {
        self.keys.list()
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

    /// Asks for a fresh link to a call's recording (contract, `audioUrl`: short-lived, for immediate use). A link that is
    /// not safe to redirect a browser to counts as none.
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
                "link to a recording ignored: it is not https"
            );
        }
        Ok(link.filter(|_| may_follow))
    }

    /// Whether a link is safe: over TLS, or over plain HTTP when Athos itself is reached so, as the simulator is.
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
    pub async fn list_page(
        &self,
        query: &ListQuery,
        cursor: Option<&str>,
    ) -> Result<CallListPage, Error> {
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
                "rows of Athos's list skipped: they have no usable call id"
            );
        }
        Ok(CallListPage {
            calls,
            unreadable,
            next_cursor,
        })
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
            let answer = Answer::read(response, self.clock.now()).await?;
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
    let why = failure_text(error);
    match is_connected {
        true => Error::Interrupted(why),
        false => Error::Unreachable(why),
    }
}

/// What went wrong with a request, with its causes and without its URL, which may hold a call id or a secret.
#[must_use]
pub fn failure_text(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut why = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    outside_text(&why)
}

/// How long `Retry-After` asks to wait: seconds, with or without a fraction, or a date, measured against the answer's own
/// `Date`.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |text: &str| {
        let date = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(Timestamp::from_millis(date.timestamp().as_millisecond()))
    };
    let asked = text(RETRY_AFTER)?;
    match asked.parse::<f64>() {
        Ok(seconds) if !seconds.is_finite() => None,
        Ok(seconds) => Duration::try_from_secs_f64(seconds.min(MAX_RETRY_AFTER.as_secs_f64())).ok(),
        Err(_) => {
            let written_at = text(DATE).and_then(date).unwrap_or(now);
            Some(date(asked)?.since(written_at).min(MAX_RETRY_AFTER))
        }
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
    async fn read(mut response: reqwest::Response, now: Timestamp) -> Result<Self, Error> {
        let status = response.status();
        let headers = response.headers();
        let request_id = headers
            .get("x-athos-request-id")
            .and_then(|value| types::plain_word(value.to_str().ok()?));
        let retry_after = retry_after(headers, now);
        let encoding = headers
            .get(CONTENT_ENCODING)
            .filter(|encoding| *encoding != "identity")
            .map(|encoding| outside_text(&String::from_utf8_lossy(encoding.as_bytes())));
        let mut answer = Self {
            status,
            request_id,
            retry_after,
            body: Vec::new(),
        };
        if !status.is_success() {
            // The status says what was refused; a body that is cut, broken or too long costs only the message.
            while let Ok(Some(chunk)) = response.chunk().await {
                let room = MAX_REFUSAL_BYTES - answer.body.len();
                answer
                    .body
                    .extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() >= room {
                    break;
                }
            }
            return Ok(answer);
        }
        if let Some(encoding) = encoding {
            let why = format!("it is encoded as {encoding}, which was not asked for");
            return Err(answer.unreadable(&why));
        }
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if answer.body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(answer.too_large(MAX_ANSWER_BYTES, "bytes"));
            }
            answer.body.extend_from_slice(&chunk);
        }
        if types::has_too_many_values(&answer.body) {
            return Err(answer.too_large(types::MAX_VALUES, "values"));
        }
        Ok(answer)
    }

    fn too_large(&self, limit: usize, of: &'static str) -> Error {
        Error::TooLarge {
            limit,
            of,
            request_id: self.request_id.clone(),
        }
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
        // A vendor or proxy may echo our key. It must not go further, not even a part of it: it is
        // cut out before the text is cut.
        for key in keys {
            message = key.redact(&message);
        }
        let is_clean = |word: &String| keys.iter().all(|key| key.redact(word) == *word);
        Refusal {
            status: status.as_u16(),
            code: said
                .code
                .filter(is_clean)
                .unwrap_or_else(|| format!("HTTP_{}", status.as_u16())),
            message: outside_text(&message),
            request_id: said
                .request_id
                .or_else(|| self.request_id.clone())
                .filter(is_clean),
            retry_after: self.retry_after,
            existing_agent: said.existing_agent.map(Box::new),
        }
    }
}
