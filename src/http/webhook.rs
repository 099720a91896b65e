//! `POST /athos/webhook`: a signed delivery becomes a row on disk, and only then a 200. What it means for the call
//! is found out later, by the worker.

use std::sync::LazyLock;

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{self, HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use metrics::{Counter, counter};
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Api, routes};
use super::body::{MAX_WEBHOOK_BYTES, RawBody};
use super::error::{ApiError, ErrorEnvelope};
use super::request_id::RequestId;
use super::state::AppState;
use crate::credentials::is_doctor_check;
use crate::model::MAX_ID_CHARS;
use crate::store::{Accepted, NewEvent};
use crate::telemetry::metric;
use athos_api::signature::{
    InvalidSignature, Malformed, SIGNATURE_HEADER, Verdict, WEBHOOK_ID_HEADER,
};
use athos_api::types;

pub(super) const PATH: &str = "/athos/webhook";

pub(super) fn router() -> Api {
    routes!(receive_webhook)
}

/// Reads a path that differs from the webhook's in slashes only as the webhook's: whoever typed it in will not be told of
/// a 404, and what is delivered there is lost.
pub(super) fn forgive_slashes<B>(request: &mut http::Request<B>) {
    let path = request.uri().path();
    let segments = path.split('/').filter(|it| !it.is_empty());
    if path != PATH && segments.eq(["athos", "webhook"]) {
        *request.uri_mut() = Uri::from_static(PATH);
    }
}

/// A delivery that Athos signed. The only way to have one is to verify it.
struct SignedWebhook(NewEvent);

impl SignedWebhook {
    /// Limited bytes, verified, then parsed: in this order.
    async fn read(
        headers: &HeaderMap,
        body: impl HttpBody<Data = Bytes>,
        state: &AppState,
    ) -> Result<Self, ApiError> {
        let signature = signature_header(headers).map_err(refuse)?;
        let RawBody(body) = RawBody::<MAX_WEBHOOK_BYTES>::read(body, state).await?;
        let now = state.clock.now();
        let secrets = &state.credentials.secrets;
        let (signed_at_secs, secret) = match secrets.verify(Some(signature), &body, now) {
            Verdict::Valid {
                signed_at_secs,
                secret,
            } => (signed_at_secs, secret),
            Verdict::Invalid(why) => return Err(refuse(why)),
        };
        // What this service wrote itself is no drift of the contract.
        let parsed = match is_doctor_check(&body) {
            true => types::read_event(&body),
            false => types::read_delivery(&body, state.athos.drift()),
        };
        Ok(Self(NewEvent {
            webhook_id: webhook_id(headers).unwrap_or_else(|| NewEvent::id_of_content(&body)),
            received_at: now,
            signed_at_secs,
            secret,
            parsed: parsed.map_err(|why| why.to_string()),
            body,
        }))
    }
}

/// The signature, which must be sent exactly once: of two, a proxy might check one and we the other.
fn signature_header(headers: &HeaderMap) -> Result<&str, InvalidSignature> {
    let mut values = headers.get_all(SIGNATURE_HEADER).iter();
    let first = values.next().ok_or(InvalidSignature::Missing)?;
    match (first.to_str(), values.next()) {
        (Ok(text), None) => Ok(text),
        _ => Err(InvalidSignature::Malformed(Malformed::NotText)),
    }
}

fn refuse(why: InvalidSignature) -> ApiError {
    count(why.name());
    ApiError::BadSignature(why)
}

fn count(verdict: &'static str) {
    counter!(metric::WEBHOOKS_TOTAL, "verdict" => verdict).increment(1);
}

/// Looked up once: nearly every delivery counts here.
static ACCEPTED: LazyLock<Counter> =
    LazyLock::new(|| counter!(metric::WEBHOOKS_TOTAL, "verdict" => "accepted"));

/// The delivery's id, when it is one that can serve as a key.
fn webhook_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(WEBHOOK_ID_HEADER)?.to_str().ok()?;
    let usable = !id.trim().is_empty() && id.len() <= MAX_ID_CHARS && !NewEvent::is_own_id(id);
    usable.then(|| id.to_owned())
}

/// What became of a delivery.
#[derive(Serialize, ToSchema)]
struct Receipt {
    status: ReceiptStatus,
}

impl ReceiptStatus {
    /// The [`Receipt`] as an answer, whose headers go into an empty map.
    fn answer(self, mut headers: HeaderMap) -> Response {
        let receipt = match self {
            Self::Accepted => r#"{"status":"accepted"}"#,
            Self::Duplicate => r#"{"status":"duplicate"}"#,
            Self::Ignored => r#"{"status":"ignored"}"#,
        };
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let mut answer = Response::new(Body::from(receipt));
        *answer.headers_mut() = headers;
        answer
    }
}

/// What became of a delivery. It is kept on disk, unless it is about what was erased.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ReceiptStatus {
    /// New; it will be processed.
    Accepted,
    /// It was here before.
    Duplicate,
    /// Signed, but nothing we understand: kept, and left alone. Or about what was erased: not kept.
    Ignored,
}

/// Receive a signed webhook
///
/// Answers 200 only when the event is on disk.
#[utoipa::path(
    post, path = "/athos/webhook", tag = "athos",
    request_body(content = String, content_type = "application/json", description = "Athos's bytes, as signed; at most 64 KiB"),
    params(
        ("X-Athos-Signature" = String, Header, description = "`t=<unix seconds>,v1=<hex HMAC-SHA256>`"),
        ("X-Athos-Webhook-Id" = Option<String>, Header, description = "idempotency key"),
    ),
    responses(
        (status = 200, body = Receipt),
        (status = 401, body = ErrorEnvelope, description = "MISSING_SIGNATURE, MALFORMED_SIGNATURE, STALE_SIGNATURE, SIGNATURE_MISMATCH"),
        (status = 408, body = ErrorEnvelope, description = "REQUEST_TIMEOUT: the body did not come"),
        (status = 413, body = ErrorEnvelope, description = "PAYLOAD_TOO_LARGE"),
        (status = 503, body = ErrorEnvelope, description = "STORE_UNAVAILABLE: the event could not be kept; deliver it again"),
    ),
)]
async fn receive_webhook(
    State(state): State<AppState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    receive(&state, &id, head.headers, body).await
}

/// Answers a delivery. The answer gets the request's map of headers, which has room for its own.
pub(super) async fn receive(
    state: &AppState,
    request: &RequestId,
    mut headers: HeaderMap,
    body: impl HttpBody<Data = Bytes>,
) -> Response {
    let kept = match SignedWebhook::read(&headers, body, state).await {
        Ok(SignedWebhook(event)) => {
            // The values keep the connection's buffer, which the next request needs.
            headers.clear();
            keep(state, request, event).await
        }
        Err(refusal) => Err(refusal),
    };
    match kept {
        Ok(status) => status.answer(headers),
        Err(error) => error.into_response(),
    }
}

/// Has an event stored, and says what became of it.
async fn keep(
    state: &AppState,
    request: &RequestId,
    event: NewEvent,
) -> Result<ReceiptStatus, ApiError> {
    let ignored = event.parsed.as_ref().err().cloned();
    let call = event.parsed.as_ref().map(|said| said.call_id.clone()).ok();
    let webhook_id = event.webhook_id.clone();
    let accepted = state
        .store
        .accept_event(event)
        .await
        .inspect_err(|_| count("not_stored"))?;
    if accepted == Accepted::NewUnderUsedId {
        counter!(metric::WEBHOOK_IDS_REUSED_TOTAL).increment(1);
        tracing::warn!(
            %request,
            webhook_id,
            call,
            "a webhook id that belongs to another event came with other signed bytes; kept as a new event"
        );
    }
    Ok(match (accepted, ignored) {
        (Accepted::Duplicate, _) => {
            count("duplicate");
            tracing::debug!(%request, call, "duplicate delivery");
            ReceiptStatus::Duplicate
        }
        (Accepted::Replayed, _) => {
            count("replayed");
            tracing::info!(%request, webhook_id, call, "duplicate delivery under another webhook id");
            ReceiptStatus::Duplicate
        }
        (Accepted::Erased, _) => {
            count("erased");
            tracing::info!(%request, "webhook discarded: its call or rep was erased");
            ReceiptStatus::Ignored
        }
        (Accepted::New | Accepted::NewUnderUsedId, Some(reason)) => {
            count("ignored");
            tracing::warn!(
                %request,
                reason,
                "webhook kept as ignored: its body is not a known event"
            );
            ReceiptStatus::Ignored
        }
        (Accepted::New | Accepted::NewUnderUsedId, None) => {
            ACCEPTED.increment(1);
            tracing::debug!(%request, call, "event accepted");
            ReceiptStatus::Accepted
        }
    })
}
