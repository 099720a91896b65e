//! Cursors: a place in a list, sealed so that a forged cursor, or one of another list, is refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::call::Source;
use super::error::ApiError;
use super::seeded::Seed;
use athos_api::Timestamp;

const PLACE_BYTES: usize = 16;
const SEAL_BYTES: usize = 8;

/// What a cursor can be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Calls(Source),
    Agents,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            Self::Calls(source) => source.name(),
            Self::Agents => "agents",
        }
    }
}

/// Where something stands in a list: by its time on the list's axis, then by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) at_ms: i64,
    pub(super) number: u64,
}

impl Place {
    /// In a list that is ordered by number only.
    pub(super) fn nth(number: u64) -> Self {
        Self { at_ms: 0, number }
    }

    /// Before everything at `at`.
    pub(super) fn first_at(at: Timestamp) -> Self {
        Self {
            at_ms: at.as_millis(),
            number: 0,
        }
    }

    /// After everything at `at`.
    pub(super) fn last_at(at: Timestamp) -> Self {
        Self {
            at_ms: at.as_millis(),
            number: u64::MAX,
        }
    }

    /// The place as an opaque cursor.
    pub(super) fn to_cursor(self, seed: Seed, list: List) -> String {
        let mut bytes = [0; PLACE_BYTES + SEAL_BYTES];
        bytes[..8].copy_from_slice(&self.at_ms.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        let seal = seal(seed, list, &bytes[..PLACE_BYTES]);
        bytes[PLACE_BYTES..].copy_from_slice(&seal);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place of a cursor made here for this list; any other text is refused.
    pub(super) fn from_cursor(cursor: &str, seed: Seed, list: List) -> Result<Self, ApiError> {
        let place = Self::unseal(cursor, seed, list);
        place.ok_or_else(|| ApiError::invalid_request("cursor is not one that this list gave."))
    }

    fn unseal(cursor: &str, seed: Seed, list: List) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (place, found) = bytes.split_at_checked(PLACE_BYTES)?;
        if seal(seed, list, place) != found {
            return None;
        }
        Some(Self {
            at_ms: i64::from_be_bytes(place[..8].try_into().ok()?),
            number: u64::from_be_bytes(place[8..].try_into().ok()?),
        })
    }
}

/// Not a secret: it only tells cursors made here from others.
fn seal(seed: Seed, list: List, place: &[u8]) -> [u8; SEAL_BYTES] {
    let mut hash = Sha256::new();
    hash.update(seed.bytes("cursor", 0));
    hash.update(list.name());
    hash.update(place);
    let mut seal = [0; SEAL_BYTES];
    seal.copy_from_slice(&hash.finalize()[..SEAL_BYTES]);
    seal
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: List = List::Calls(Source::Roleplay);

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_its_place_under_its_own_seed_and_list_only(at_ms: i64, number: u64) {
            let place = Place { at_ms, number };
            let cursor = place.to_cursor(Seed(1), LIST);
            prop_assert_eq!(Place::unseal(&cursor, Seed(1), LIST), Some(place));
            prop_assert_eq!(Place::unseal(&cursor, Seed(2), LIST), None);
            prop_assert_eq!(Place::unseal(&cursor, Seed(1), List::Calls(Source::RealCall)), None);
            prop_assert_eq!(Place::unseal(&cursor, Seed(1), List::Agents), None);
        }

        #[test]
        fn no_garbage_is_a_cursor(garbage in "\\PC*") {
            prop_assert_eq!(Place::unseal(&garbage, Seed(1), LIST), None);
        }
    }
}
