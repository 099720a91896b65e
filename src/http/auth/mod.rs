//! Who a caller is, from verified credentials only: a JWT (bearer or cookie), an authenticating proxy, or a service
//! token. Absent credentials and bad ones are different refusals.

mod claims;
mod cross_site;
mod jwk;
mod jwks;
mod jws;
mod jwt;
mod key;
mod proxy;
mod role;
mod service_tokens;
mod standing;
mod strict_json;

use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use secrecy::SecretString;

use super::client_ip::Proxies;
use super::error::ApiError;
use crate::clock::Clock;
use crate::config::{Config, Problems};
use crate::mint::Profile;
use crate::model::{KeyScope, PlatformId, Scope, ServiceKey, Timestamp};
use cross_site::SameSite;
pub use jwks::published_keys;
use jws::Token;
use jwt::JwtVerifier;
use proxy::TrustedProxy;
pub(super) use role::Role;
use service_tokens::ServiceTokens;
pub(super) use standing::Standing;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A person, signed in.
    User(User),
    /// Another backend of the same company, by its key.
    Service(Arc<ServiceKey>),
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

/// Whose limits count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum CallerId {
    /// A person's.
    Person(PlatformId),
    /// Those of another backend's key, by its name.
    Key(String),
}

impl Caller {
    /// Whose calls the caller may see. A manager of no agency sees their own.
    #[must_use]
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Service(_) => Scope::All,
            Self::User(user) => match (user.role, &user.agency) {
                (Role::Admin, _) => Scope::All,
                (Role::Manager, Some(agency)) => Scope::Agency(agency.clone()),
                (Role::Manager | Role::Rep, _) => Scope::Rep(user.rep.clone()),
            },
        }
    }

    /// Fails when it is a key that lacks this scope. What a person may do is for their role to say.
    pub(super) fn check(&self, scope: KeyScope) -> Result<(), ApiError> {
        match self {
            Self::Service(key) if !key.scopes.has(scope) => Err(ApiError::ScopeMissing {
                scope,
                key: key.name.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Which person it is; other backends are none.
    #[must_use]
    pub(super) fn person(&self) -> Option<&PlatformId> {
        match self {
            Self::Service(_) => None,
            Self::User(user) => Some(&user.rep),
        }
    }

    /// Whose limits count.
    #[must_use]
    pub(super) fn id(&self) -> CallerId {
        match self {
            Self::Service(key) => CallerId::Key(key.name.clone()),
            Self::User(user) => CallerId::Person(user.rep.clone()),
        }
    }

    /// When the credentials end, if they do.
    #[must_use]
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Service(_) => None,
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
            service_tokens: ServiceTokens::new(service_keys(config)?),
            jwt: JwtVerifier::from_config(config, clock, before)?,
            cookie: config.auth_cookie.clone(),
            proxy: TrustedProxy::from_config(config),
            proxies: Proxies::new(&config.trusted_proxies),
            same_site: SameSite::new(&config.cors_origins, config.public_url.as_ref()),
        })
    }

    /// Lets a request to the metrics pass: any, as long as no key was given the scope `metrics` by name; with such a key, those
    /// that have one with it. Which key it was.
    pub(super) fn admit_to_metrics(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<ServiceKey>>, ApiError> {
        if !self.service_tokens.guard_metrics() {
            return Ok(None);
        }
        let mut tokens = headers.get_all(AUTHORIZATION).iter().filter_map(bearer);
        let token = tokens.next().ok_or(ApiError::Unauthenticated)?;
        let key = self.service_tokens.find(token);
        key.cloned().map(Some).ok_or(ApiError::InvalidCredentials(
            "the bearer token is not one this service knows",
        ))
    }

    /// Has published keys fetched, if it is time, for whoever comes next.
    pub fn refresh_keys(&self) {
        if let Some(jwt) = &self.jwt {
            jwt.refresh_keys();
        }
    }

    /// Tries what is ours, ignores what is not, and refuses only what is meant for us and wrong: what stands in front of
    /// this service, or beside it in the browser, sends credentials of its own.
    ///
    /// `acts`: whether the request costs something, so that other sites' pages may not make it.
    pub(super) async fn authenticate(
        &self,
        request: &Parts,
        acts: bool,
    ) -> Result<Caller, ApiError> {
        let headers = &request.headers;
        match self.bearer(headers)? {
            Some(Bearer::Service(key)) => return Ok(Caller::Service(Arc::clone(key))),
            Some(Bearer::Jwt(jwt, token)) => return jwt.verify(token).await.map(Caller::User),
            None => {}
        }
        // From here on the browser, not the page, decides that credentials are sent.
        let ambient = match self.proxied(request)? {
            Some(user) => Some(user),
            None => self.cookie_user(headers).await?,
        };
        let Some(user) = ambient else {
            return Err(match headers.contains_key(AUTHORIZATION) {
                true => ApiError::InvalidCredentials(
                    "the Authorization header has no bearer token that this service knows",
                ),
                false => ApiError::Unauthenticated,
            });
        };
        if acts && !self.same_site.allows(headers) {
            return Err(ApiError::CrossSite);
        }
        Ok(Caller::User(user))
    }

    /// The bearer token that is meant for this service. A wrong one is refused, and does not give way to a cookie or a
    /// proxy's word: whoever sends it means to be somebody else than those say.
    fn bearer<'r>(&'r self, headers: &'r HeaderMap) -> Result<Option<Bearer<'r>>, ApiError> {
        let mut found = None;
        for token in headers.get_all(AUTHORIZATION).iter().filter_map(bearer) {
            let ours = if let Some(key) = self.service_tokens.find(token) {
                Bearer::Service(key)
            } else if Token::is_meant(token) {
                match &self.jwt {
                    Some(jwt) => Bearer::Jwt(jwt, token),
                    None => continue,
                }
            } else if self.service_tokens.may_contain(token) {
                return Err(ApiError::InvalidCredentials(
                    "the bearer token is not one this service knows",
                ));
            } else {
                continue;
            };
            if found.replace(ours).is_some() {
                return Err(ApiError::InvalidCredentials(
                    "two Authorization headers have a bearer token each",
                ));
            }
        }
        Ok(found)
    }

    /// The user whom the proxy names.
    fn proxied(&self, request: &Parts) -> Result<Option<User>, ApiError> {
        let user = match &self.proxy {
            Some(proxy) => proxy.user(&request.headers)?,
            None => None,
        };
        if user.is_some() && self.proxies.are_named() && !self.proxies.sent(&request.extensions) {
            return Err(ApiError::InvalidCredentials(
                "headers name a user, but the request does not come from one of TRUSTED_PROXIES",
            ));
        }
        Ok(user)
    }

    /// The user of the first good cookie. There may be several of one name, for other paths or domains, and which of them
    /// comes first is not ours to say.
    async fn cookie_user(&self, headers: &HeaderMap) -> Result<Option<User>, ApiError> {
        let (Some(jwt), Some(name)) = (&self.jwt, &self.cookie) else {
            return Ok(None);
        };
        let mut refused = None;
        for token in cookies(headers, name) {
            match jwt.verify(token).await {
                Ok(user) => return Ok(Some(user)),
                // That one is bad says less than that another was good once, or may be.
                Err(ApiError::InvalidCredentials(_)) if refused.is_some() => {}
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Ok(None), Err)
    }
}

/// A bearer token that is meant for this service.
enum Bearer<'r> {
    /// One of SERVICE_TOKENS.
    Service(&'r Arc<ServiceKey>),
    /// A JWT, good or bad, and what verifies it.
    Jwt(&'r JwtVerifier, &'r str),
}

fn service_keys(config: &Config) -> Result<Vec<(ServiceKey, SecretString)>, Problems> {
    config.service_keys().map_err(Problems::new)
}

/// The token of an `Authorization` header, if that is `Bearer <token>`.
fn bearer(header: &HeaderValue) -> Option<&str> {
    let (scheme, token) = header.to_str().ok()?.trim().split_once([' ', '\t'])?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The values of the cookies of this name, without the quotes that some put around them. Other cookies may have any bytes.
fn cookies<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    let pairs = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = pairs.flat_map(|header| header.split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        let bare = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""));
        let value = std::str::from_utf8(bare.unwrap_or(value)).ok()?;
        (key == name.as_bytes() && !value.is_empty()).then_some(value)
    })
}
