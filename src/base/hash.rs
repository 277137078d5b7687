//! A hasher for keys that are short: object ids, names, offsets, numbers.
//!
//! Ids and names may be chosen by a peer, who need not have objects behind the ids that a commit of its names: all
//! their bytes count, under keys that this process alone knows, or a million of them would meet in one bucket. Numbers are
//! places that we gave ourselves, and are merely spread.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::LazyLock;

/// Keys of this process.
static KEYS: LazyLock<[u64; 2]> = LazyLock::new(|| {
    let state = RandomState::new();
    [state.hash_one(1u8), state.hash_one(2u8) | 1]
});

/// Both halves of a product: every bit of the result depends on every bit of the factors.
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// Mixes bytes under keys, or multiplies a number.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastHasher(u64);

impl Hasher for FastHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let [begin, factor] = *KEYS;
        let mut state = self.0 ^ begin;
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state = fold(state ^ u64::from_ne_bytes(*word), factor);
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            state = fold(state ^ u64::from_ne_bytes(last), factor.rotate_left(rest.len() as u32 * 8));
        }
        self.0 = state;
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio: neighbours land far apart.
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, _: isize) {
        // The discriminant of an enum: ids of one repository are all of one kind.
    }
}

/// A map with [`FastHasher`].
pub type FastMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<FastHasher>>;
/// A set with [`FastHasher`].
pub type FastSet<K> = std::collections::HashSet<K, BuildHasherDefault<FastHasher>>;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(bytes: &[u8]) -> u64 {
        let mut hasher = FastHasher::default();
        hasher.write(bytes);
        hasher.finish()
    }

    #[test]
    fn ids_and_names_that_differ_in_a_few_bytes_only_spread_over_all_buckets() {
        for (len, at) in [(20, 0), (20, 8), (20, 12), (20, 16), (32, 24), (16, 12), (11, 7), (4, 0)] {
            let mut used = std::collections::HashSet::new();
            for n in 0..4096u32 {
                let mut id = vec![0xab; len];
                id[at..at + 4].copy_from_slice(&n.to_le_bytes());
                // What a table goes by: the lowest bits, and the highest seven.
                used.insert((hash(&id) & 0xfff, hash(&id) >> 57));
            }
            // The seed is another one in every process: with few of them some hundred meet, never most.
            assert!(used.len() > 3_072, "{} places for 4096 of {len} bytes that differ at {at}", used.len());
        }
    }

    proptest! {
        #[test]
        fn the_same_bytes_hash_alike_and_a_longer_name_otherwise(name in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(hash(&name), hash(&name.clone()));
            let longer = [&name[..], &[0]].concat();
            prop_assert_ne!(hash(&name), hash(&longer));
        }
    }
}
