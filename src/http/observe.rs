//! The outermost layer: gives each request its id, measures it, logs it, and writes the envelope of every error.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::{Counter, Histogram, counter, histogram};
use tracing::Instrument;

use super::error::Told;
use crate::clock::Clock;

/// The header that carries the request's id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken over from whoever is in front of us.
const MAX_REQUEST_ID: usize = 64;

/// A request's id, for handlers that log.
#[derive(Clone)]
pub(super) struct RequestId(HeaderValue);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

/// What the layer needs.
#[derive(Clone)]
pub(super) struct Observer {
    clock: Clock,
    /// Few routes, methods and statuses exist, so their series are looked up once and kept.
    series: Arc<RwLock<HashMap<String, Vec<Series>>>>,
}

/// The metrics of one kind of answer.
#[derive(Clone)]
struct Series {
    method: Method,
    status: StatusCode,
    requests: Counter,
    seconds: Histogram,
}

impl Observer {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            series: Arc::default(),
        }
    }

    /// The route, not the path: ids in paths would make a metric for each call.
    fn series(&self, route: &str, method: &Method, status: StatusCode) -> Series {
        let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let fits = |series: &&Series| series.method == *method && series.status == status;
        if let Some(series) = known.get(route).and_then(|of| of.iter().find(fits)) {
            return series.clone();
        }
        drop(known);
        let series = Series {
            method: method.clone(),
            status,
            requests: counter!(
                "athos_http_requests_total",
                "route" => route.to_owned(), "method" => method.to_string(),
                "status" => status.as_u16().to_string()
            ),
            seconds: histogram!("athos_http_request_seconds", "route" => route.to_owned()),
        };
        let mut known = self.series.write().unwrap_or_else(PoisonError::into_inner);
        known
            .entry(route.to_owned())
            .or_default()
            .push(series.clone());
        series
    }
}

/// Runs `next` and tells the caller, the metrics and the log how it went.
pub(super) async fn observe(
    State(observer): State<Observer>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = RequestId(request_id(&request, &observer.clock));
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = request.method().clone();
    request.extensions_mut().insert(id.clone());
    // At `debug`: a span for each webhook would cost more than its signature.
    let span = tracing::debug_span!("request", %id, %method, route);
    let response = next.run(request).instrument(span).await;

    let response = tell(response, &id);
    let series = observer.series(route, &method, response.status());
    series.requests.increment(1);
    series.seconds.record(started.elapsed());
    let status = response.status().as_u16();
    tracing::debug!(request = %id, %method, route, status, "answered");
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

fn tell(mut response: Response, id: &RequestId) -> Response {
    let status = response.status();
    let told = response.extensions_mut().remove::<Told>();
    let failed = status.is_client_error() || status.is_server_error();
    if failed && (told.is_some() || !has_json(&response)) {
        let told = told.unwrap_or_else(|| Told::of_status(status));
        log(status, &told, id);
        let body = told.into_body(&id.to_string()).into_response();
        let (mut parts, _) = response.into_parts();
        let (body_parts, body) = body.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.extend(body_parts.headers);
        response = Response::from_parts(parts, body);
    }
    response.headers_mut().insert(REQUEST_ID, id.0.clone());
    response
}

/// Whether a handler has said in its own words what is wrong, as `/readyz` does.
fn has_json(response: &Response) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value == "application/json")
}

/// Logs a failure, once, where the request's id is at hand.
fn log(status: StatusCode, told: &Told, request: &RequestId) {
    let (status, code, cause) = (status.as_u16(), told.code(), told.cause.as_deref());
    if status >= 500 {
        tracing::error!(%request, status, code, cause, "request failed");
    } else {
        tracing::info!(%request, status, code, cause, "request refused");
    }
}
