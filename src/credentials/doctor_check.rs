//! The event of `doctor --webhook`: signed by this service, so it says nothing about Athos.

use serde::Deserialize;

const NAME: &str = "doctor.check";

/// Longest body of such an event, in bytes.
const MAX_BYTES: usize = 512;

/// Whether this is the delivery of `doctor --webhook`. Call it on verified bytes only.
pub(crate) fn is_doctor_check(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Named {
        event: String,
    }
    let event = || serde_json::from_slice::<Named>(body).ok();
    body.len() <= MAX_BYTES && event().is_some_and(|named| named.event == NAME)
}
