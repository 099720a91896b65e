//! What every request passes through: an id for it, the vendor's error envelope, the counters, the
//! refusal of cross-origin calls, and a listener whose connections can be hung up.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::error::ApiError;
use super::faults::Endpoint;
use super::routes;
use super::vendor::SharedVendor;

/// The header with the id of a request; the vendor sends it with every answer.
const REQUEST_ID_HEADER: &str = "x-athos-request-id";

/// Gives the request an id, counts it, and writes the body of an error.
pub(super) async fn stamp(
    State(vendor): State<SharedVendor>,
    request: Request,
    next: Next,
) -> Response {
    let endpoint = endpoint_of(&request);
    let cut = request.extensions().get::<ConnectInfo<Abort>>().cloned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let request_id = vendor.change(|memory| {
        if let Some(endpoint) = endpoint {
            memory.count_request(endpoint);
        }
        memory.next_request_id()
    });

    let mut response = next.run(request).await;

    let error = response.extensions_mut().remove::<ApiError>();
    if let Some(error) = &error {
        if let (true, Some(ConnectInfo(cut))) = (error.hangs_up, cut) {
            cut.0.store(true, Ordering::Relaxed);
        }
        let unknown = endpoint.and_then(|_| vendor.memory().faults.unknown_code());
        let mut body = json!({ "error": {
            "code": unknown.as_deref().unwrap_or(error.code),
            "message": error.message,
            "requestId": request_id,
        }});
        if let Some(details) = &error.details {
            body["error"]["details"] = Value::clone(details);
        }
        *response.body_mut() = Body::from(body.to_string());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
    let status = response.status().as_u16();
    if let Some(endpoint) = endpoint {
        vendor.change(|memory| memory.count_answer(endpoint, status));
    }
    let code = error.map(|error| error.code);
    tracing::debug!(%method, path, status, code, request_id, "simulator answered");
    response
}

fn endpoint_of(request: &Request) -> Option<Endpoint> {
    // A preflight is the browser's request, not the caller's.
    if request.method() == Method::OPTIONS {
        return None;
    }
    let path = request.extensions().get::<MatchedPath>()?;
    routes::endpoint_of(path.as_str())
}

/// Refuses browsers of other origins, as the vendor's endpoints with an API key do.
pub(super) async fn refuse_cross_origin(request: Request, next: Next) -> Response {
    if is_same_origin(request.headers()) {
        next.run(request).await
    } else {
        ApiError::cross_origin().into_response()
    }
}

fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    host.is_some() && host == authority(origin).as_ref().map(String::as_bytes)
}

/// `host` or `host:port` of an origin.
fn authority(origin: &HeaderValue) -> Option<String> {
    let url = Url::parse(origin.to_str().ok()?).ok()?;
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// A listener whose connections can be closed without an answer.
pub(super) struct AbortableListener(pub(super) TcpListener);

/// One of its connections.
pub(super) struct AbortableIo {
    stream: TcpStream,
    cut: Abort,
}

/// Set, it makes the next write to its connection fail, which closes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Abort(Arc<AtomicBool>);

impl Listener for AbortableListener {
    type Io = AbortableIo;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (AbortableIo, SocketAddr) {
        // axum's own: it logs and retries when accepting fails.
        let (stream, addr) = Listener::accept(&mut self.0).await;
        let cut = Abort::default();
        (AbortableIo { stream, cut }, addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, AbortableListener>> for Abort {
    fn connect_info(stream: IncomingStream<'_, AbortableListener>) -> Self {
        stream.io().cut.clone()
    }
}

impl AsyncRead for AbortableIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for AbortableIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cut.0.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
