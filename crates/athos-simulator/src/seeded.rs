//! Reproducible randomness: the n-th thing of a kind is the same for the same seed, however requests of different kinds
//! interleave.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

const ID_ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
const ID_CHARS: usize = 21;

/// The seed, and what is derived from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(pub(super) u64);

impl Seed {
    /// 32 bytes that belong to the `n`-th thing of this kind.
    pub(super) fn bytes(self, kind: &str, n: u64) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0.to_be_bytes());
        hash.update(n.to_be_bytes());
        hash.update(kind.as_bytes());
        hash.finalize().into()
    }

    /// A generator that belongs to the `n`-th thing of this kind.
    pub(super) fn rng(self, kind: &str, n: u64) -> StdRng {
        StdRng::from_seed(self.bytes(kind, n))
    }

    /// An id as the vendor writes them: the prefix and 21 characters.
    pub(super) fn id(self, prefix: &str, n: u64) -> String {
        let mut rng = self.rng(prefix, n);
        let mut id = String::with_capacity(prefix.len() + ID_CHARS);
        id.push_str(prefix);
        for _ in 0..ID_CHARS {
            id.push(char::from(
                ID_ALPHABET[rng.random_range(0..ID_ALPHABET.len())],
            ));
        }
        id
    }

    /// A request id as the vendor writes them: `req_` and a random UUID.
    pub(super) fn request_id(self, kind: &str, n: u64) -> String {
        let bytes = self.rng(kind, n).random();
        let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        format!("req_{uuid}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_kind_and_number_give_the_same_id_and_nothing_else_does() {
        let id = Seed(7).id("athos_call_", 3);
        assert_eq!(id, Seed(7).id("athos_call_", 3));
        assert_ne!(id, Seed(8).id("athos_call_", 3));
        assert_ne!(id, Seed(7).id("athos_call_", 4));
        assert_eq!(id.len(), "athos_call_".len() + 21);
        assert_ne!(
            Seed(7).id("athos_call_", 3)["athos_call_".len()..],
            Seed(7).id("ext_", 3)["ext_".len()..]
        );
        assert!(Seed(7).request_id("request", 1).starts_with("req_"));
    }
}
