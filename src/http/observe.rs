//! The one layer around every route: gives a request its id, runs it until its deadline, makes a panic a 500, writes the
//! envelope of every error and the headers of every answer, and tells metrics and log how it went.

use std::any::Any;
use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::body::{Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{self, HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use metrics::{Counter, Histogram, counter, histogram};
use tracing::Instrument;

use super::client_ip::{Peer, Proxies};
use super::error::{ApiError, ErrorReport};
use super::headers::Defaults;
use super::rate_limit::LogLimit;
use super::request_id::{REQUEST_ID, RequestId};
use super::server::AnswerDeadline;
use super::state::AppState;
use super::{changes, webhook};
use crate::config::Config;
use crate::store::StoreError;
use crate::telemetry::metric;

/// The route of requests that none matches.
const UNMATCHED: &str = "unmatched";

/// What the layer needs.
pub(super) struct Observer {
    app: AppState,
    proxies: Proxies,
    headers: Defaults,
    /// Few routes, methods and statuses exist, so their series are looked up once and kept.
    series: RwLock<HashMap<String, Vec<RouteMetrics>>>,
}

/// The metrics of one kind of answer.
struct RouteMetrics {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    seconds: Histogram,
}

impl RouteMetrics {
    /// The route, not the path: ids in paths would make a metric for each call.
    fn new(route: &str, method: &'static str, status: StatusCode) -> Self {
        Self {
            method,
            status,
            requests: counter!(
                metric::HTTP_REQUESTS_TOTAL,
                "route" => route.to_owned(), "method" => method,
                "status" => status.as_u16().to_string()
            ),
            seconds: histogram!(metric::HTTP_REQUEST_SECONDS, "route" => route.to_owned()),
        }
    }

    fn count(&self, took: Duration) {
        self.requests.increment(1);
        self.seconds.record(took);
    }
}

impl Observer {
    pub(super) fn new(app: AppState, config: &Config) -> Arc<Self> {
        Arc::new(Self {
            app,
            proxies: Proxies::new(&config.trusted_proxies),
            headers: Defaults::new(config),
            series: RwLock::default(),
        })
    }

    fn count(&self, route: &str, method: &'static str, status: StatusCode, took: Duration) {
        let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let fits = |series: &&RouteMetrics| series.method == method && series.status == status;
        if let Some(series) = known.get(route).and_then(|of| of.iter().find(fits)) {
            return series.count(took);
        }
        drop(known);
        let series = RouteMetrics::new(route, method, status);
        series.count(took);
        let mut known = self.series.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(route.to_owned()).or_default().push(series);
    }
}

/// Runs `next` and tells the caller, the metrics and the log how it went.
pub(super) async fn observe(
    State(observer): State<Arc<Observer>>,
    mut request: Request,
    next: Next,
) -> Response {
    let extensions = request.extensions();
    let path = extensions.get::<MatchedPath>().cloned();
    let deadline = extensions.get::<AnswerDeadline>().cloned();
    let peer = extensions.get::<Peer>().copied();
    let route = path.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let asked = observer.asked(request.method(), request.headers(), peer, route);
    request.extensions_mut().insert(asked.id.clone());
    let answering = pin!(next.run(request));
    observer.answer(&asked, deadline, answering).await
}

/// Runs `next` until its deadline.
pub(super) async fn guard(
    State(observer): State<Arc<Observer>>,
    request: Request,
    next: Next,
) -> Response {
    let extensions = request.extensions();
    let path = extensions.get::<MatchedPath>().cloned();
    let deadline = extensions.get::<AnswerDeadline>().cloned();
    let route = path.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let answering = pin!(next.run(request));
    observer.guard(route, deadline, answering).await
}

impl Observer {
    /// Answers a delivery as [`observe`] does, without the routes.
    pub(super) fn answer_delivery(
        &self,
        request: http::Request<impl HttpBody<Data = Bytes>>,
        peer: Peer,
        deadline: AnswerDeadline,
    ) -> impl Future<Output = Response> {
        let (head, body) = request.into_parts();
        let asked = self.asked(&head.method, &head.headers, Some(peer), webhook::PATH);
        async move {
            let answering = pin!(webhook::receive(&self.app, &asked.id, head.headers, body));
            self.answer(&asked, Some(deadline), answering).await
        }
    }

    fn asked<'r>(
        &self,
        method: &Method,
        headers: &HeaderMap,
        peer: Option<Peer>,
        route: &'r str,
    ) -> Asked<'r> {
        Asked {
            id: RequestId::of(headers, &self.app.clock),
            method: method_name(method),
            route,
            client: peer.map(|peer| self.proxies.client(peer, headers)),
        }
    }

    /// Waits for an answer, and tells the caller, the metrics and the log how it went. `answering` is pinned by the caller:
    /// each `async fn` that takes a future by value holds it twice.
    async fn answer(
        &self,
        asked: &Asked<'_>,
        deadline: Option<AnswerDeadline>,
        answering: impl Future<Output = Response> + Unpin,
    ) -> Response {
        let started = Instant::now();
        let Asked {
            id, method, route, ..
        } = asked;
        // At `debug`: a span for each webhook would cost more than its signature.
        let span = tracing::debug_span!("request", %id, method, route);
        let answering = self.guard(route, deadline, answering).instrument(span);
        let mut response = render_error(answering.await, asked, &self.app.limits.log);
        self.headers.add_to(response.headers_mut());
        self.count(route, method, response.status(), started.elapsed());
        let status = response.status().as_u16();
        tracing::debug!(request = %id, method, route, status, "answered");
        response
    }

    /// Waits for an answer until the deadline of its route. A panic in one request is that request's 500; the process goes
    /// on.
    async fn guard(
        &self,
        route: &str,
        deadline: Option<AnswerDeadline>,
        answering: impl Future<Output = Response> + Unpin,
    ) -> Response {
        let deadlines = &self.app.deadlines;
        let (within, late) = match route {
            webhook::PATH => (
                deadlines.delivery,
                ApiError::StoreUnavailable(StoreError::TimedOut),
            ),
            changes::PATH => (
                deadlines.answer + changes::MAX_WAIT,
                ApiError::RequestTimeout,
            ),
            _ => (deadlines.answer, ApiError::RequestTimeout),
        };
        let answering = AssertUnwindSafe(answering).catch_unwind();
        let answered = match deadline {
            Some(deadline) => deadline.limit(within, answering).await,
            None => Some(answering.await),
        };
        match answered {
            Some(Ok(response)) => response,
            Some(Err(panic)) => panicked(&*panic).into_response(),
            None => late.into_response(),
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> ApiError {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    ApiError::Internal(anyhow::anyhow!("panicked: {text}"))
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

/// What the log says of a request.
pub(super) struct Asked<'r> {
    pub(super) id: RequestId,
    pub(super) method: &'static str,
    pub(super) route: &'r str,
    pub(super) client: Option<IpAddr>,
}

/// Writes the envelope of an error, and gives the answer the request's id.
pub(super) fn render_error(
    mut response: Response,
    asked: &Asked<'_>,
    log_limit: &LogLimit,
) -> Response {
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
    response.headers_mut().insert(REQUEST_ID, id.value());
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
