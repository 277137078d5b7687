//! A hasher for keys that are already well mixed or small: object ids, offsets, numbers.
//!
//! Ids are hashes chosen by whoever made the object; a peer that makes many share their first eight bytes would
//! need 2^64 work per object, so no keyed hash is needed for them. Ids that a peer merely names need no object behind
//! them: a set of those takes the standard library's keyed hasher, or a million of them would meet in one bucket.

use std::hash::{BuildHasherDefault, Hasher};

/// Takes eight bytes of an id, or multiplies a number.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastHasher(u64);

impl Hasher for FastHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let len = bytes.len().min(8);
        first[..len].copy_from_slice(&bytes[..len]);
        self.write_u64(u64::from_ne_bytes(first));
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
