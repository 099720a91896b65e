//! The demo's sign-in: anyone may say who they are. It only makes a JWT, in a cookie; from there on the demo goes
//! the same way as production. Mounted by `demo` alone.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Json, Router};
use jsonwebtoken::{EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::auth::{Caller, Role, User};
use super::body::RawBody;
use super::error::ApiError;
use super::me::Me;
use super::state::AppState;
use crate::mint::Profile;
use crate::model::PlatformId;

/// The cookie that `demo` sets, and names in AUTH_COOKIE.
pub const DEMO_COOKIE: &str = "athos_demo";
/// How long a demo sign-in lasts.
const SESSION: Duration = Duration::from_secs(12 * 60 * 60);

/// The secret the demo signs with, and verifies with as AUTH_JWT_SECRET.
#[derive(Clone)]
pub struct DemoSecret(pub SecretString);

pub(super) fn router(secret: DemoSecret) -> Router<AppState> {
    Router::new()
        .route("/demo/sign-in", post(sign_in))
        .route("/demo/sign-out", post(sign_out))
        .layer(Extension(secret))
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
    Extension(DemoSecret(secret)): Extension<DemoSecret>,
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
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
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
