//! `POST /athos/webhook`: a signed delivery becomes a row on disk, and only then a 200. What it means for the call
//! is found out later, by the worker.

use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, Uri};
use axum::{Extension, Json};
use metrics::counter;
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
/// a 404, and what is delivered there is lost. Runs for what no route has matched.
pub(super) async fn forgive_slashes(mut request: Request) -> Request {
    let segments = request.uri().path().split('/');
    if segments
        .filter(|it| !it.is_empty())
        .eq(["athos", "webhook"])
    {
        *request.uri_mut() = Uri::from_static(PATH);
    }
    request
}

/// A delivery that Athos signed. The only way to have one is to verify it.
pub(super) struct SignedWebhook(NewEvent);

impl FromRequest<AppState> for SignedWebhook {
    type Rejection = ApiError;

    /// Limited bytes, verified, then parsed: in this order.
    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let signature = signature_header(request.headers()).map_err(refuse)?;
        let webhook_id = webhook_id(request.headers());
        let body = request.into_body();
        let RawBody(body) = RawBody::<MAX_WEBHOOK_BYTES>::read(body, state).await?;
        let now = state.clock.now();
        let secrets = &state.credentials.secrets;
        let (signed_at_secs, secret) = match secrets.verify(Some(&signature), &body, now) {
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
            webhook_id: webhook_id.unwrap_or_else(|| NewEvent::id_of_content(&body)),
            received_at: now,
            signed_at_secs,
            secret,
            parsed: parsed.map_err(|why| why.to_string()),
            // Copied: what came with it is the connection's buffer, of which it would keep all.
            body: body.to_vec(),
        }))
    }
}

/// The signature, which must be sent exactly once: of two, a proxy might check one and we the other.
fn signature_header(headers: &HeaderMap) -> Result<String, InvalidSignature> {
    let mut values = headers.get_all(SIGNATURE_HEADER).iter();
    let first = values.next().ok_or(InvalidSignature::Missing)?;
    match (first.to_str(), values.next()) {
        (Ok(text), None) => Ok(text.to_owned()),
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
    Extension(request): Extension<RequestId>,
    SignedWebhook(event): SignedWebhook,
) -> Result<Json<Receipt>, ApiError> {
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
    let status = match (accepted, ignored) {
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
            count("accepted");
            tracing::debug!(%request, call, "event accepted");
            ReceiptStatus::Accepted
        }
    };
    Ok(Json(Receipt { status }))
}
