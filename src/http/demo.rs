//! The demo's sign-in: anyone may say who they are. It only makes a JWT, in a cookie; from there on the demo goes
//! the same way as production. And what the demo's receiver has got, for the console. Mounted by `demo` alone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use jsonwebtoken::{EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::{Caller, Role, User};
use super::body::RawBody;
use super::error::ApiError;
use super::extract::Operator;
use super::me::Me;
use super::state::AppState;
use crate::mint::Profile;
use crate::model::{PlatformId, Timestamp};

/// The cookie that `demo` sets, and names in AUTH_COOKIE.
pub const DEMO_COOKIE: &str = "athos_demo";
/// How long a demo sign-in lasts.
const SESSION: Duration = Duration::from_secs(12 * 60 * 60);

/// Most messages of the receiver that are kept.
const MAX_RECEIVED: usize = 50;

/// What the demo adds to a service.
#[derive(Clone)]
pub struct Demo {
    /// It signs with this, and verifies with it as AUTH_JWT_SECRET.
    pub secret: SecretString,
    /// What its receiver has got.
    pub received: Received,
}

/// The last messages that the demo's receiver has verified.
#[derive(Clone, Default)]
pub struct Received(Arc<Mutex<VecDeque<Value>>>);

impl Received {
    /// Keeps a message.
    pub(crate) fn add(&self, id: &str, message: Value, now: Timestamp) {
        let mut kept = self.kept();
        kept.truncate(MAX_RECEIVED - 1);
        kept.push_front(json!({ "webhookId": id, "receivedAt": now, "message": message }));
    }

    /// Those that are kept, the newest first.
    pub(crate) fn latest(&self) -> Vec<Value> {
        self.kept().iter().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn router(demo: Demo) -> Router<AppState> {
    Router::new()
        .route("/demo/sign-in", post(sign_in))
        .route("/demo/sign-out", post(sign_out))
        .route("/demo/received", get(show_received))
        .layer(Extension(demo))
}

async fn show_received(_: Operator, Extension(demo): Extension<Demo>) -> Json<Value> {
    Json(json!({ "data": demo.received.latest() }))
}

#[derive(Deserialize)]
struct SignIn {
    user: String,
    agency: Option<String>,
    role: Option<Role>,
    name: Option<String>,
}

async fn sign_in(
    State(state): State<AppState>,
    Extension(demo): Extension<Demo>,
    body: RawBody,
) -> Result<impl IntoResponse, ApiError> {
    let wanted: SignIn = body.json()?;
    let id = |field: &str, id: &str| {
        PlatformId::new(id).map_err(|why| ApiError::InvalidRequest(format!("{field} {why}")))
    };
    let expires_at = state.clock.now().plus(SESSION);
    let user = User {
        rep: id("user", &wanted.user)?,
        agency: wanted
            .agency
            .map(|agency| id("agency", &agency))
            .transpose()?,
        role: wanted.role.unwrap_or(Role::Rep),
        profile: Profile {
            name: wanted.name,
            ..Profile::default()
        },
        expires_at: Some(expires_at),
    };
    let claims = json!({
        "sub": user.rep, "agency_id": user.agency, "role": user.role.as_str(), "name": user.profile.name,
        "exp": expires_at.as_secs(),
    });
    let key = EncodingKey::from_secret(demo.secret.expose_secret().as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key)
        .map_err(|error| ApiError::Internal(error.into()))?;
    let cookie = format!(
        "{DEMO_COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}",
        SESSION.as_secs()
    );
    Ok(([(SET_COOKIE, cookie)], Json(Me::from(Caller::User(user)))))
}

async fn sign_out() -> impl IntoResponse {
    let gone = format!("{DEMO_COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    (StatusCode::NO_CONTENT, [(SET_COOKIE, gone)])
}
