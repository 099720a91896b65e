//! Who a caller is, from verified credentials only: a JWT (bearer or cookie), an authenticating proxy, or a service
//! token. Absent credentials and bad ones are different refusals.

mod claims;
mod cross_site;
mod jwk;
mod jwks;
mod jws;
mod jwt;
mod proxy;
mod service_tokens;
mod standing;
mod strict_json;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use serde::Deserialize;

use super::error::ApiError;
use super::peer::Proxies;
use super::state::AppState;
use crate::clock::Clock;
use crate::config::Config;
use crate::mint::Profile;
use crate::model::{PlatformId, Scope, Timestamp};
use cross_site::SameSite;
pub use jwks::published_keys;
use jwt::JwtVerifier;
use proxy::TrustedProxy;
use service_tokens::ServiceTokens;
pub(super) use standing::Standing;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A person, signed in.
    User(User),
    /// Another backend of the same company.
    Service,
}

/// A person, signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    /// Who they are.
    pub rep: PlatformId,
    /// Their agency.
    pub agency: Option<PlatformId>,
    /// What they may see.
    pub role: Role,
    /// What else the credentials say.
    pub profile: Profile,
    /// When the credentials end, if they do.
    pub expires_at: Option<Timestamp>,
}

/// What a person may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Their own calls.
    Rep,
    /// Their agency's calls.
    Manager,
    /// All calls.
    Admin,
}

impl Role {
    /// Least authority: a word we do not know is a rep.
    fn from_word(word: Option<&str>) -> Self {
        match word {
            Some("admin") => Self::Admin,
            Some("manager") => Self::Manager,
            _ => Self::Rep,
        }
    }

    /// The word on the wire.
    #[must_use]
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rep => "rep",
            Self::Manager => "manager",
            Self::Admin => "admin",
        }
    }
}

impl Caller {
    /// Whose calls the caller may see. A manager of no agency sees their own.
    #[must_use]
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Service => Scope::All,
            Self::User(user) => match (user.role, &user.agency) {
                (Role::Admin, _) => Scope::All,
                (Role::Manager, Some(agency)) => Scope::Agency(agency.clone()),
                (Role::Manager | Role::Rep, _) => Scope::Rep(user.rep.clone()),
            },
        }
    }

    /// When the credentials end, if they do.
    #[must_use]
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Service => None,
            Self::User(user) => user.expires_at,
        }
    }
}

/// Knows callers by their credentials.
pub struct Authenticator {
    service_tokens: ServiceTokens,
    jwt: Option<JwtVerifier>,
    cookie: Option<String>,
    proxy: Option<TrustedProxy>,
    proxies: Proxies,
    same_site: SameSite,
}

impl Authenticator {
    /// The ways to know callers that `config` sets up.
    ///
    /// # Errors
    /// A public key that is none, or an HTTP client that cannot be made for the JWKS.
    pub fn new(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        Self::build(config, clock, None)
    }

    /// The same for another configuration. Published keys that were fetched stay, when they are published at the same
    /// place: the issuer may be out of reach right now.
    ///
    /// # Errors
    /// As [`Authenticator::new`].
    pub fn renewed(&self, config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        Ok(Self {
            // These go with settings that others hold too, and stay as they were at the start.
            same_site: self.same_site.clone(),
            proxies: self.proxies.clone(),
            ..Self::build(config, clock, self.jwt.as_ref())?
        })
    }

    fn build(config: &Config, clock: &Clock, before: Option<&JwtVerifier>) -> anyhow::Result<Self> {
        Ok(Self {
            service_tokens: ServiceTokens::new(&config.service_tokens),
            jwt: JwtVerifier::from_config(config, clock, before)?,
            cookie: config.auth_cookie.clone(),
            proxy: TrustedProxy::from_config(config),
            proxies: Proxies::new(&config.trusted_proxies),
            same_site: SameSite::new(&config.cors_origins, config.public_url.as_ref()),
        })
    }

    /// Has published keys fetched, if it is time, for whoever comes next.
    pub fn refresh_keys(&self) {
        if let Some(jwt) = &self.jwt {
            jwt.refresh_keys();
        }
    }

    async fn authenticate(&self, request: &Parts) -> Result<Caller, ApiError> {
        let headers = &request.headers;
        if let Some(header) = headers.get(AUTHORIZATION) {
            let token =
                header
                    .to_str()
                    .ok()
                    .and_then(bearer)
                    .ok_or(ApiError::InvalidCredentials(
                        "the Authorization header is not `Bearer <token>`",
                    ))?;
            if self.service_tokens.contain(token) {
                return Ok(Caller::Service);
            }
            let jwt = self.jwt.as_ref().ok_or(ApiError::InvalidCredentials(
                "the bearer token is not one this service knows",
            ))?;
            return jwt.verify(token).await.map(Caller::User);
        }
        // From here on the browser, not the page, decides that credentials are sent.
        let ambient = if let Some(proxy) = &self.proxy
            && let Some(user) = proxy.user(headers)?
        {
            if self.proxies.are_named() && !self.proxies.sent(&request.extensions) {
                return Err(ApiError::InvalidCredentials(
                    "headers name a user, but the request does not come from one of TRUSTED_PROXIES",
                ));
            }
            user
        } else if let (Some(jwt), Some(name)) = (&self.jwt, &self.cookie)
            && let Some(token) = cookie(headers, name)
        {
            jwt.verify(token).await?
        } else {
            return Err(ApiError::Unauthenticated);
        };
        if !request.method.is_safe() && !self.same_site.allows(headers) {
            return Err(ApiError::CrossSite);
        }
        Ok(Caller::User(ambient))
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| value)
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        state.authenticator.get().authenticate(parts).await
    }
}
