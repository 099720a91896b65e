//! `POST /session`: what is asked, in either generation, and the token that comes back.

use secrecy::SecretString;
use serde::Serialize;

use super::{Fields, known};
use crate::athos::drift::DriftWatch;
use crate::model::{PlatformId, Timestamp};

/// The body of `POST /session`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(in crate::athos) enum MintBody<'a> {
    /// Generation `external`: our id, and an optional label for the agency.
    #[serde(rename_all = "camelCase")]
    External {
        external_user_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        external_agency_id: Option<&'a str>,
    },
}

impl<'a> MintBody<'a> {
    pub(in crate::athos) fn external(rep: &'a PlatformId, agency: Option<&'a PlatformId>) -> Self {
        Self::External {
            external_user_id: rep.as_str(),
            external_agency_id: agency.map(PlatformId::as_str),
        }
    }
}

/// A session token, as Athos minted it. It is passed on, never kept.
#[derive(Debug)]
pub struct SessionToken {
    /// The JWT for the browser SDK.
    pub token: SecretString,
    /// When it expires, about 5 minutes from now.
    pub expires_at: Timestamp,
}

pub(in crate::athos) fn read_session(
    body: &[u8],
    drift: &DriftWatch,
) -> Result<SessionToken, String> {
    let fields = Fields::read(body)?.watched(&known::TOKEN, drift);
    Ok(SessionToken {
        token: fields.text("token").ok_or("it has no token")?.into(),
        expires_at: fields.time("expiresAt").ok_or("it has no expiresAt")?,
    })
}
