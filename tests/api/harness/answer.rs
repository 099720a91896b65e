//! What the service answers: whole, or as a stream of server-sent events.

use std::sync::{Arc, Mutex};

use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::audit::Evidence;

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Method and path.
    pub(crate) asked: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(super) async fn read(asked: String, response: Response) -> Self {
        Self {
            asked,
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap().into(),
        }
    }

    /// Every answer has a request id, and every error the envelope.
    pub(super) fn check_shape(&self) {
        let id = self.header("x-request-id");
        assert!(!id.is_empty(), "no X-Request-Id: {self:?}");
        if self.status < 400 || self.asked == "GET /readyz" {
            return;
        }
        let error = &self.json()["error"];
        for member in ["code", "message", "requestId"] {
            let text = error[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "no error.{member}: {}", self.text());
        }
        let is_from_athos = matches!(self.status, 403 | 404 | 502 | 503);
        assert!(error["requestId"] == id || is_from_athos, "{}", self.text());
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|why| panic!("{}: {why}: {}", self.asked, self.text()))
    }

    /// A header, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The error's code, or the status of a receipt.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text());
        self
    }

    /// Fails unless this is the error with this status and code.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Self {
        let told = (self.status, self.code());
        assert_eq!(
            told,
            (status, code.to_owned()),
            "{}: {}",
            self.asked,
            self.text()
        );
        self
    }

    /// Fails unless this is the receipt of a webhook with this status.
    #[track_caller]
    pub(crate) fn receipt(self, status: &str) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.text(), format!("{{\"status\":\"{status}\"}}"));
        self
    }
}

/// A stream of server-sent events.
pub(crate) struct Live {
    pub(crate) headers: HeaderMap,
    /// When the client is told to reconnect.
    pub(crate) retry_ms: u64,
    response: Response,
    unread: String,
    evidence: Arc<Mutex<Evidence>>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    /// `call` or `reset`.
    pub(crate) event: String,
    pub(crate) id: i64,
    pub(crate) data: Value,
}

impl Live {
    /// Reads up to the greeting, so that the subscription is in place.
    pub(super) async fn new(response: Response, evidence: Arc<Mutex<Evidence>>) -> Self {
        assert_eq!(response.status(), 200);
        let mut live = Self {
            headers: response.headers().clone(),
            retry_ms: 0,
            response,
            unread: String::new(),
            evidence,
        };
        let greeting = live.block().await.unwrap();
        let mut lines = greeting.lines();
        let retry = lines.find_map(|line| line.strip_prefix("retry:")).unwrap();
        live.retry_ms = retry.trim().parse().unwrap();
        live
    }

    /// The next change; `None` when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Change> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                let mut lines = block.lines();
                lines
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::trim)
            };
            // A comment keeps the connection alive and says nothing.
            let Some(data) = field("data:") else { continue };
            let event = field("event:").unwrap().to_owned();
            assert!(["call", "reset"].contains(&&*event), "{event}");
            return Some(Change {
                event,
                id: field("id:").unwrap().parse().unwrap(),
                data: serde_json::from_str(data).unwrap(),
            });
        }
    }

    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                return Some(block);
            }
            let chunk = self.response.chunk().await.unwrap()?;
            let text = std::str::from_utf8(&chunk).unwrap();
            self.evidence
                .lock()
                .unwrap()
                .add_text("GET /athos/live", text);
            self.unread.push_str(text);
        }
    }
}
