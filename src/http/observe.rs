//! The outermost layer: gives each request its id, measures it, logs it, and writes the envelope of every error.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use metrics::{Counter, Histogram, counter, histogram};
use tracing::Instrument;

use super::client_ip::Proxies;
use super::error::ErrorReport;
use super::rate_limit::LogLimit;
use super::state::AppState;
use crate::clock::{Clock, new_id};
use crate::telemetry::metric;

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
    app: AppState,
    proxies: Arc<Proxies>,
    /// Few routes, methods and statuses exist, so their series are looked up once and kept.
    series: Arc<RwLock<HashMap<String, Vec<RouteMetrics>>>>,
}

/// The metrics of one kind of answer.
#[derive(Clone)]
struct RouteMetrics {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    seconds: Histogram,
}

impl Observer {
    pub(super) fn new(app: AppState, trusted_proxies: &[IpNet]) -> Self {
        Self {
            app,
            proxies: Arc::new(Proxies::new(trusted_proxies)),
            series: Arc::default(),
        }
    }

    /// The route, not the path: ids in paths would make a metric for each call.
    fn series(&self, route: &str, method: &'static str, status: StatusCode) -> RouteMetrics {
        let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let fits = |series: &&RouteMetrics| series.method == method && series.status == status;
        if let Some(series) = known.get(route).and_then(|of| of.iter().find(fits)) {
            return series.clone();
        }
        drop(known);
        let series = RouteMetrics {
            method,
            status,
            requests: counter!(
                metric::HTTP_REQUESTS_TOTAL,
                "route" => route.to_owned(), "method" => method,
                "status" => status.as_u16().to_string()
            ),
            seconds: histogram!(metric::HTTP_REQUEST_SECONDS, "route" => route.to_owned()),
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
    let id = RequestId(request_id(&request, &observer.app.clock));
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = method_name(request.method());
    let client = observer
        .proxies
        .client(request.extensions(), request.headers());
    request.extensions_mut().insert(id.clone());
    // At `debug`: a span for each webhook would cost more than its signature.
    let span = tracing::debug_span!("request", %id, method, route);
    let response = next.run(request).instrument(span).await;

    let asked = Asked {
        id,
        method,
        route,
        client,
    };
    let response = render_error(response, &asked, &observer.app.limits.log);
    let series = observer.series(route, method, response.status());
    series.requests.increment(1);
    series.seconds.record(started.elapsed());
    let status = response.status().as_u16();
    tracing::debug!(request = %asked.id, method, route, status, "answered");
    response
}

/// The method, if it is one: anything can stand there, and each word would be a metric for ever.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The id a proxy in front of us gave, when it is one; else a fresh one.
fn request_id(request: &Request, clock: &Clock) -> HeaderValue {
    let given = request.headers().get(&REQUEST_ID).filter(|id| {
        let id = id.as_bytes();
        let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.iter().all(is_plain)
    });
    given.cloned().unwrap_or_else(|| {
        let fresh = format!("req_{}", new_id(clock));
        HeaderValue::try_from(fresh).unwrap_or_else(|_| HeaderValue::from_static("req_unknown"))
    })
}

/// What the log says of a request.
struct Asked<'r> {
    id: RequestId,
    method: &'static str,
    route: &'r str,
    client: Option<IpAddr>,
}

fn render_error(mut response: Response, asked: &Asked<'_>, log_limit: &LogLimit) -> Response {
    let id = &asked.id;
    let status = response.status();
    let report = response.extensions_mut().remove::<ErrorReport>();
    let failed = status.is_client_error() || status.is_server_error();
    if failed && (report.is_some() || !has_json(&response)) {
        let report = report.unwrap_or_else(|| ErrorReport::of_status(status));
        if log_limit.admits(asked.client) {
            log(status, &report, asked);
        }
        let body = report.into_body(&id.to_string()).into_response();
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
fn log(status: StatusCode, report: &ErrorReport, asked: &Asked<'_>) {
    let (status, code, cause) = (status.as_u16(), report.code(), report.cause.as_deref());
    let Asked {
        id,
        method,
        route,
        client,
    } = asked;
    let client = client.map(tracing::field::display);
    if status >= 500 {
        tracing::error!(request = %id, client, method, route, status, code, cause, "request failed");
    } else {
        tracing::info!(request = %id, client, method, route, status, code, cause, "request refused");
    }
}
