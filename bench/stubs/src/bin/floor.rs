//! The least that a receiver of signed webhooks does: HTTP by Axum, the signature by HMAC-SHA256, an answer. Nothing is parsed
//! and nothing is kept, so what it reaches is the limit of what keeps every event.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Router, serve};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::net::TcpListener;

const TOLERANCE_SECS: u64 = 300;

async fn receive(
    State(secret): State<&'static str>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let header = headers
        .get("x-athos-signature")
        .and_then(|value| value.to_str().ok());
    match header.and_then(|header| verify(secret, header, &body)) {
        Some(()) => (StatusCode::OK, r#"{"received":true}"#),
        None => (StatusCode::UNAUTHORIZED, r#"{"error":"invalid signature"}"#),
    }
}

fn verify(secret: &str, header: &str, body: &[u8]) -> Option<()> {
    let (time, v1) = header.strip_prefix("t=")?.split_once(",v1=")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    if now.abs_diff(time.parse().ok()?) > TOLERANCE_SECS {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.verify_slice(&base16ct::mixed::decode_vec(v1).ok()?)
        .ok()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret: &'static str = std::env::var("ATHOS_WHSEC")?.leak();
    let app = Router::new()
        .route("/athos/webhook", post(receive))
        .with_state(secret);
    let listener = TcpListener::bind(std::env::var("BIND_ADDR")?).await?;
    Ok(serve(listener, app).await?)
}
