//! Cursors of `GET /calls`: a place in the list, sealed so that one not made here is told from one that was.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::seeded::Seed;
use crate::model::Timestamp;

const PLACE_BYTES: usize = 16;
const SEAL_BYTES: usize = 8;

/// Where a call stands in the list: by when it ended, then by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) at_ms: i64,
    pub(super) number: u64,
}

impl Place {
    /// Before every call that ended at `at`.
    pub(super) fn first_at(at: Timestamp) -> Self {
        Self {
            at_ms: at.as_millis(),
            number: 0,
        }
    }

    /// After every call that ended at `at`.
    pub(super) fn last_at(at: Timestamp) -> Self {
        Self {
            at_ms: at.as_millis(),
            number: u64::MAX,
        }
    }

    /// The place as an opaque cursor.
    pub(super) fn to_cursor(self, seed: Seed) -> String {
        let mut bytes = [0; PLACE_BYTES + SEAL_BYTES];
        bytes[..8].copy_from_slice(&self.at_ms.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        let seal = seal(seed, &bytes[..PLACE_BYTES]);
        bytes[PLACE_BYTES..].copy_from_slice(&seal);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place of a cursor made here; nothing for any other text.
    pub(super) fn from_cursor(cursor: &str, seed: Seed) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (place, found) = bytes.split_at_checked(PLACE_BYTES)?;
        if seal(seed, place) != found {
            return None;
        }
        Some(Self {
            at_ms: i64::from_be_bytes(place[..8].try_into().ok()?),
            number: u64::from_be_bytes(place[8..].try_into().ok()?),
        })
    }
}

/// Not a secret: a cursor tells nothing. It only has to differ from what others make.
fn seal(seed: Seed, place: &[u8]) -> [u8; SEAL_BYTES] {
    let mut hash = Sha256::new();
    hash.update(seed.bytes("cursor", 0));
    hash.update(place);
    let mut seal = [0; SEAL_BYTES];
    seal.copy_from_slice(&hash.finalize()[..SEAL_BYTES]);
    seal
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_its_place_under_its_own_seed_only(at_ms: i64, number: u64) {
            let place = Place { at_ms, number };
            let cursor = place.to_cursor(Seed(1));
            prop_assert_eq!(Place::from_cursor(&cursor, Seed(1)), Some(place));
            prop_assert_eq!(Place::from_cursor(&cursor, Seed(2)), None);
        }

        #[test]
        fn no_garbage_is_a_cursor(garbage in "\\PC*") {
            prop_assert_eq!(Place::from_cursor(&garbage, Seed(1)), None);
        }
    }
}
