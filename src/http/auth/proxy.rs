//! Callers whom an authenticating proxy names in headers. The headers count only with the proxy's secret.

use axum::http::{HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};

use super::User;
use super::claims::{agency, rep};
use super::role::RoleReader;
use super::service_tokens::SecretDigest;
use crate::config::Config;
use crate::http::error::ApiError;
use crate::mint::Profile;

/// The header with the proxy's secret.
const PROXY_SECRET: HeaderName = HeaderName::from_static("x-auth-proxy-secret");

pub(super) struct TrustedProxy {
    user: HeaderName,
    agency: Option<HeaderName>,
    role: Option<HeaderName>,
    roles: RoleReader,
    secret: SecretDigest,
}

impl TrustedProxy {
    pub(super) fn from_config(config: &Config) -> Option<Self> {
        let secret: &SecretString = config.auth_proxy_secret.as_ref()?;
        debug_assert!(
            !secret.expose_secret().is_empty(),
            "the configuration is checked"
        );
        Some(Self {
            user: config.auth_proxy_user_header.clone()?,
            agency: config.auth_proxy_agency_header.clone(),
            role: config.auth_proxy_role_header.clone(),
            roles: RoleReader::new(
                "AUTH_PROXY_ROLE_HEADER",
                config
                    .auth_proxy_role_header
                    .as_ref()
                    .map_or("", HeaderName::as_str),
            ),
            secret: SecretDigest::new(secret),
        })
    }

    /// The user the proxy names; `None` when it names nobody.
    pub(super) fn user(&self, headers: &HeaderMap) -> Result<Option<User>, ApiError> {
        let Some(user) = text(headers, &self.user)? else {
            return Ok(None);
        };
        let proven = text(headers, &PROXY_SECRET)?.is_some_and(|secret| self.secret.is(secret));
        if !proven {
            return Err(ApiError::InvalidCredentials(
                "headers name a user, but X-Auth-Proxy-Secret does not prove that the proxy sent them",
            ));
        }
        let optional = |name: &Option<HeaderName>| match name {
            Some(name) => text(headers, name),
            None => Ok(None),
        };
        Ok(Some(User {
            rep: rep(user)?,
            agency: optional(&self.agency)?.map(agency).transpose()?,
            role: self.roles.of_header(optional(&self.role)?),
            profile: Profile::default(),
            expires_at: None,
        }))
    }
}

/// A header's text; sent twice, or not text, it is refused: the proxy may have checked the other one.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    match (first.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
        _ => Err(ApiError::InvalidCredentials(
            "a header of the authenticating proxy was sent twice or is not text",
        )),
    }
}
