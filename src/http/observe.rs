//! The outermost layer: gives each request its id, measures it, logs it, and writes the envelope of every error.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::error::Told;
use crate::clock::Clock;

/// The header that carries the request's id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken over from whoever is in front of us.
const MAX_REQUEST_ID: usize = 64;

/// Runs `next` and tells the caller, the metrics and the log how it went.
pub(super) async fn observe(State(clock): State<Clock>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(&request, &clock);
    // The route, not the path: ids in paths would make a metric for each call.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".into(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), %method, route);
    let response = next.run(request).instrument(span.clone()).await;

    let _entered = span.entered();
    let response = tell(response, &id);
    let status = response.status();
    let took = started.elapsed();
    metrics::counter!(
        "athos_http_requests_total",
        "route" => route.clone(), "method" => method.to_string(), "status" => status.as_u16().to_string()
    )
    .increment(1);
    metrics::histogram!("athos_http_request_seconds", "route" => route).record(took);
    tracing::debug!(
        status = status.as_u16(),
        took_ms = took.as_millis(),
        "answered"
    );
    response
}

/// The id a proxy in front of us gave, when it is one; else a fresh one.
fn request_id(request: &Request, clock: &Clock) -> HeaderValue {
    let given = request.headers().get(&REQUEST_ID).filter(|id| {
        let id = id.as_bytes();
        let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.iter().all(is_plain)
    });
    given.cloned().unwrap_or_else(|| {
        let fresh = format!("req_{}", clock.new_id());
        HeaderValue::try_from(fresh).unwrap_or_else(|_| HeaderValue::from_static("req_unknown"))
    })
}

fn tell(mut response: Response, id: &HeaderValue) -> Response {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let told = response
            .extensions_mut()
            .remove::<Told>()
            .unwrap_or_else(|| Told::of_status(status));
        log(status, &told);
        let body = told
            .into_body(id.to_str().unwrap_or_default())
            .into_response();
        let (mut parts, _) = response.into_parts();
        let (body_parts, body) = body.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.extend(body_parts.headers);
        response = Response::from_parts(parts, body);
    }
    response.headers_mut().insert(REQUEST_ID, id.clone());
    response
}

/// Logs a failure, once, where the request's id is at hand.
fn log(status: StatusCode, told: &Told) {
    let (status, code, cause) = (status.as_u16(), told.code(), told.cause.as_deref());
    if status >= 500 {
        tracing::error!(status, code, cause, "request failed");
    } else {
        tracing::info!(status, code, cause, "request refused");
    }
}
