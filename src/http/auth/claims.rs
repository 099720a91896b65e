//! Reads a user from the claims of a JWT. The names of the claims are configured; their values are checked here.

use serde_json::{Map, Value};

use super::User;
use super::role::RoleReader;
use crate::config::Config;
use crate::http::error::ApiError;
use crate::mint::Profile;
use crate::model::{PlatformId, Timestamp};

/// The names of the claims.
pub(super) struct ClaimNames {
    user: String,
    agency: String,
    role: String,
    roles: RoleReader,
    name: String,
    email: String,
    email_verified: Option<String>,
    agency_name: Option<String>,
}

impl ClaimNames {
    pub(super) fn from_config(config: &Config) -> Self {
        Self {
            user: config.auth_claim_user.clone(),
            agency: config.auth_claim_agency.clone(),
            role: config.auth_claim_role.clone(),
            roles: RoleReader::new("AUTH_CLAIM_ROLE", &config.auth_claim_role),
            name: config.auth_claim_name.clone(),
            email: config.auth_claim_email.clone(),
            email_verified: config.claim_of_checked_email().map(str::to_owned),
            agency_name: config.auth_claim_agency_name.clone(),
        }
    }

    /// The user of verified claims.
    pub(super) fn user(
        &self,
        claims: &Map<String, Value>,
        expires_at: Timestamp,
    ) -> Result<User, ApiError> {
        let id = id(claims, &self.user)?.ok_or(ApiError::InvalidCredentials(
            "the token does not say who the user is",
        ))?;
        Ok(User {
            rep: rep(&id)?,
            agency: self::id(claims, &self.agency)?
                .as_deref()
                .map(agency)
                .transpose()?,
            role: self.roles.of_claim(find(claims, &self.role)),
            profile: self.profile(claims),
            expires_at: Some(expires_at),
        })
    }

    /// The profile. Parts of names are in the claims of OpenID Connect.
    fn profile(&self, claims: &Map<String, Value>) -> Profile {
        Profile {
            name: text(claims, &self.name),
            names: text(claims, "given_name").zip(text(claims, "family_name")),
            email: text(claims, &self.email),
            email_verified: self
                .email_verified
                .as_ref()
                .and_then(|claim| find(claims, claim))
                .map(|verified| *verified == Value::Bool(true) || verified == "true"),
            agency_name: self
                .agency_name
                .as_ref()
                .and_then(|claim| text(claims, claim)),
        }
    }
}

/// A rep's id, from verified credentials.
pub(super) fn rep(id: &str) -> Result<PlatformId, ApiError> {
    PlatformId::new(id).map_err(|_| {
        ApiError::InvalidCredentials(
            "the credentials name a user id that is blank, too long, begins or ends with white space, has control or invisible \
             characters, or begins like Athos's own",
        )
    })
}

/// An agency's id, from verified credentials.
pub(super) fn agency(id: &str) -> Result<PlatformId, ApiError> {
    PlatformId::new(id).map_err(|_| {
        ApiError::InvalidCredentials(
            "the credentials name an agency id that is blank, too long, begins or ends with white space, has control or invisible \
             characters, or begins like Athos's own",
        )
    })
}

/// A claim, by its name or else by a path of names.
fn find<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    claims.get(name).or_else(|| {
        let mut parts = name.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    })
}

/// A claim as an id, unchanged. Whole numbers are accepted, since some issuers have numeric ids; a float is refused, as it
/// may stand for several ids.
fn id(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, ApiError> {
    match find(claims, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.trim().is_empty())),
        Some(Value::Number(number)) if number.is_u64() || number.is_i64() => {
            Ok(Some(number.to_string()))
        }
        Some(_) => Err(ApiError::InvalidCredentials(
            "the token has an id that is neither text nor a whole number of at most 64 bits",
        )),
    }
}

/// A claim as text for people.
fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    let text = find(claims, name)?.as_str()?;
    (!text.trim().is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_found_by_name_or_by_path() {
        let claims: Value = serde_json::json!({
            "sub": "rep_1", "n": 42, "app": {"user": {"id": "deep"}}, "https://x.y/role": "admin", "blank": " ",
        });
        let claims = claims.as_object().unwrap();
        assert_eq!(text(claims, "sub").as_deref(), Some("rep_1"));
        assert_eq!(text(claims, "n"), None);
        assert_eq!(text(claims, "app.user.id").as_deref(), Some("deep"));
        assert_eq!(text(claims, "https://x.y/role").as_deref(), Some("admin"));
        assert_eq!(text(claims, "blank"), None);
        assert_eq!(text(claims, "app.user"), None);
        assert_eq!(text(claims, "no.such"), None);
    }

    #[test]
    fn an_id_is_text_or_a_number_that_is_told_exactly_and_anything_else_is_refused() {
        let read = |json: &str| {
            let claims: Value = serde_json::from_str(&format!("{{\"id\":{json}}}")).unwrap();
            id(claims.as_object().unwrap(), "id").map_err(|_| ())
        };
        for (json, expected) in [
            ("\"rep 1 \"", "rep 1 "),
            ("42", "42"),
            ("-7", "-7"),
            // Two that a float takes for one.
            ("9007199254740992", "9007199254740992"),
            ("9007199254740993", "9007199254740993"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(read(json), Ok(Some(expected.to_owned())), "{json}");
        }
        for nothing in ["null", "\"\"", "\" \""] {
            assert_eq!(read(nothing), Ok(None), "{nothing}");
        }
        for lossy in [
            "18446744073709551616",
            "123456789012345678901",
            "-9223372036854775809",
            "1e20",
            "42.0",
            "1.5",
            "-0",
            "true",
            "[\"rep_1\"]",
            "{\"id\":1}",
        ] {
            assert_eq!(read(lossy), Err(()), "{lossy}");
        }
    }
}
