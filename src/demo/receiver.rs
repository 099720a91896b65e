//! The demo's receiver of forwarded messages: what a company's own system would be. It verifies each message and keeps the
//! last few; it knows nothing of the service but the secret.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::forward::signature::ForwardSecret;
use crate::http::Received;

/// Where it listens, and what it verifies with.
pub(super) struct Receiver {
    pub(super) listener: TcpListener,
    pub(super) secret: ForwardSecret,
    pub(super) received: Received,
    pub(super) clock: Clock,
}

#[derive(Clone)]
struct Shared {
    secret: ForwardSecret,
    received: Received,
    clock: Clock,
}

impl Receiver {
    /// Receives until `shutdown`. `POST /` takes a message, `GET /` shows what arrived, the newest first.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let state = Shared {
            secret: self.secret,
            received: self.received,
            clock: self.clock,
        };
        let router = Router::new()
            .route("/", get(show).post(receive))
            .with_state(state);
        let served =
            axum::serve(self.listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the demo's receiver has failed");
        }
    }
}

async fn receive(State(state): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let given = [
        header("webhook-id"),
        header("webhook-timestamp"),
        header("webhook-signature"),
    ];
    let [Some(id), Some(sent_at), Some(signatures)] = given else {
        return StatusCode::BAD_REQUEST;
    };
    let now = state.clock.now();
    if !state.secret.verifies([id, sent_at, signatures], &body, now) {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(message) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    state.received.add(id, message, now);
    StatusCode::NO_CONTENT
}

async fn show(State(state): State<Shared>) -> Json<Vec<Value>> {
    Json(state.received.latest())
}
