//! `GET /athos/me`: who we think the caller is.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Api, routes};
use super::auth::Caller;
use super::error::ErrorEnvelope;
use super::wire::schema;

pub(super) fn router() -> Api {
    routes!(show_me)
}

/// Who the caller is.
#[derive(Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Me {
    /// A person, signed in.
    User {
        /// Their id.
        #[schema(value_type = schema::PlatformId)]
        rep: String,
        /// Their agency's id.
        #[schema(value_type = Option<schema::PlatformId>)]
        agency: Option<String>,
        /// `rep`, `manager` or `admin`.
        role: &'static str,
        /// For display.
        name: Option<String>,
        /// For display.
        email: Option<String>,
    },
    /// Another backend.
    Service {
        /// What its key is called.
        #[schema(example = "crm")]
        name: String,
        /// What the key may do.
        scopes: Vec<&'static str>,
    },
}

impl From<Caller> for Me {
    fn from(caller: Caller) -> Self {
        match caller {
            Caller::Service(key) => Self::Service {
                name: key.name.clone(),
                scopes: key.scopes.words(),
            },
            Caller::User(user) => Self::User {
                rep: user.rep.as_str().to_owned(),
                agency: user.agency.map(|agency| agency.as_str().to_owned()),
                role: user.role.as_str(),
                name: user.profile.name,
                email: user.profile.email,
            },
        }
    }
}

/// Who am I
#[utoipa::path(
    get, path = "/athos/me", tag = "athos",
    responses(
        (status = 200, body = Me),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
    ),
    security(("bearer" = [])),
)]
async fn show_me(caller: Caller) -> Json<Me> {
    Json(caller.into())
}
