//! Bytes into the checksum at the end of a pack or of a companion file.
//!
//! Source: gitformat-pack, "pack-*.pack files": "a trailer … checksum of all of the above". It guards against accidents:
//! nobody trusts it to name what is inside, and git itself makes and checks it without looking for collisions. Objects'
//! ids and packs that somebody sends are hashed elsewhere, with collision detection, at twice the cost.

use gix_hash::ObjectId;
use sha1::Digest;

/// A checksum in the making.
pub(super) enum Checksum {
    /// Without collision detection.
    Sha1(sha1::Sha1),
    /// Of any other kind.
    Other(gix_hash::Hasher),
}

impl Checksum {
    /// Of no bytes yet.
    pub fn new(hash: gix_hash::Kind) -> Self {
        match hash {
            gix_hash::Kind::Sha1 => Self::Sha1(sha1::Sha1::new()),
            other => Self::Other(gix_hash::hasher(other)),
        }
    }

    /// Add `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Other(hasher) => hasher.update(bytes),
        }
    }

    /// The sum; `None`: the hash function itself gave up.
    pub fn finish(self) -> Option<ObjectId> {
        match self {
            Self::Sha1(hasher) => Some(ObjectId::from_bytes_or_panic(&hasher.finalize())),
            Self::Other(hasher) => hasher.try_finalize().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_hash_of_the_bytes(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6)) {
            for kind in [gix_hash::Kind::Sha1, gix_hash::Kind::Sha256] {
                let (mut sum, mut hasher) = (Checksum::new(kind), gix_hash::hasher(kind));
                pieces.iter().for_each(|piece| sum.update(piece));
                hasher.update(&pieces.concat());
                prop_assert_eq!(sum.finish(), hasher.try_finalize().ok());
            }
        }
    }
}
