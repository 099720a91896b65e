//! Links to recordings: signed, short-lived, and good without another credential.

use std::time::Duration;

use super::seeded::Seed;
use athos_api::Timestamp;

/// How long a link can be used.
const LINK_LIFE: Duration = Duration::from_secs(3600);

/// A link to a call's recording.
pub(super) struct Link {
    pub(super) url: String,
    pub(super) expires_at: Timestamp,
}

impl Link {
    /// A fresh link. Like the vendor's, it needs no other credential, and works for `GET` only.
    pub(super) fn sign(call_id: &str, host: &str, seed: Seed, now: Timestamp) -> Self {
        let expires_at = now.plus(LINK_LIFE);
        let expires = expires_at.as_secs();
        let signature = signature(call_id, expires, seed);
        Self {
            url: format!(
                "http://{host}/_simulator/recordings/{call_id}.wav?expires={expires}&signature={signature}"
            ),
            expires_at,
        }
    }
}

/// What a link to this recording must be signed with.
pub(super) fn signature(call_id: &str, expires: i64, seed: Seed) -> String {
    let seal = seed.bytes(&format!("recording {call_id} {expires}"), 0);
    base16ct::lower::encode_string(&seal)
}
