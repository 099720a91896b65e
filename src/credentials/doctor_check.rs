//! The event of `doctor --webhook`: signed by this service, so it says nothing about Athos.

use serde::Deserialize;

const NAME: &[u8; 12] = b"doctor.check";

/// Longest body of such an event, in bytes.
const MAX_BYTES: usize = 512;

/// Whether this is the delivery of `doctor --webhook`. Call it on verified bytes only.
pub(crate) fn is_doctor_check(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Named {
        event: String,
    }
    // Only what has the name somewhere is parsed: Athos's own deliveries are not.
    let has_name = || body.array_windows().any(|bytes| bytes == NAME);
    let event = || serde_json::from_slice::<Named>(body).ok();
    body.len() <= MAX_BYTES
        && has_name()
        && event().is_some_and(|named| named.event.as_bytes() == NAME)
}
