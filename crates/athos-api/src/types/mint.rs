//! `POST /session`: the request in either generation, and the token it answers.

use secrecy::SecretString;
use serde::Serialize;

use super::{Fields, TextFields, known};
use crate::drift::DriftWatch;
use crate::{PlatformId, Timestamp};

/// The body of `POST /session`, in one generation.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct MintBody<'a>(Words<'a>);

#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Words<'a> {
    External {
        external_user_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        external_agency_id: Option<&'a str>,
    },
    Platform {
        platform_agent_id: &'a str,
    },
    Agent {
        agent_id: &'a str,
    },
}

impl<'a> MintBody<'a> {
    /// Generation `external`: our id, and an optional label for the agency.
    #[must_use]
    pub fn external(rep: &'a PlatformId, agency: Option<&'a PlatformId>) -> Self {
        Self(Words::External {
            external_user_id: rep.as_str(),
            external_agency_id: agency.map(PlatformId::as_str),
        })
    }

    /// Generation `roster`: our id of a registered rep.
    #[must_use]
    pub fn platform(rep: &'a PlatformId) -> Self {
        Self(Words::Platform {
            platform_agent_id: rep.as_str(),
        })
    }

    /// Generation `roster`: Athos's id of a registered rep.
    #[must_use]
    pub fn agent(id: &'a str) -> Self {
        Self(Words::Agent { agent_id: id })
    }
}

/// A session token. It is passed on, never stored.
#[derive(Debug)]
pub struct SessionToken {
    /// The JWT for the browser SDK.
    pub token: SecretString,
    /// When it expires, about 5 minutes from now.
    pub expires_at: Timestamp,
}

/// Reads the answer of `POST /session`.
///
/// # Errors
/// When it has no token or no time; the text says why.
pub fn read_session(body: &[u8], drift: &DriftWatch) -> Result<SessionToken, String> {
    let fields = Fields::read(body)?.watched(&known::TOKEN, drift);
    Ok(SessionToken {
        token: fields.text("token").ok_or("it has no token")?.into(),
        expires_at: fields.time("expiresAt").ok_or("it has no expiresAt")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_has_its_own_words() {
        let (rep, agency) = (PlatformId::new("r"), PlatformId::new("a"));
        let (rep, agency) = (rep.unwrap(), agency.unwrap());
        let written = |body: MintBody| serde_json::to_string(&body).unwrap();
        assert_eq!(
            written(MintBody::external(&rep, Some(&agency))),
            r#"{"externalUserId":"r","externalAgencyId":"a"}"#
        );
        assert_eq!(
            written(MintBody::external(&rep, None)),
            r#"{"externalUserId":"r"}"#
        );
        assert_eq!(
            written(MintBody::platform(&rep)),
            r#"{"platformAgentId":"r"}"#
        );
        assert_eq!(written(MintBody::agent("x")), r#"{"agentId":"x"}"#);
    }
}
