//! The table of contents of a chunk-based file into ranges, and its sorted ids into lookup.
//!
//! Source: gitformat-chunk; gitformat-pack, "multi-pack-index (MIDX) files", gitformat-commit-graph: both keep their
//! ids in the chunks `OIDF` (a fan-out by first byte) and `OIDL`. All offsets are checked here, once. A pack's index keeps
//! its ids alike, without chunks.

use super::checksum::Checksum;
use bytes::Bytes;
use gix_hash::oid;
use std::ops::Range;

/// Bytes of one row of the table: an id of four bytes and an offset.
const ROW_BYTES: usize = 12;

/// The number in network byte order at `at`, which the caller knows to be within `data`.
pub(super) fn be32(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

/// As [`be32`], of eight bytes.
pub(super) fn be64(data: &[u8], at: usize) -> u64 {
    u64::from(be32(data, at)) << 32 | u64::from(be32(data, at + 4))
}

/// Whether the last bytes of `data` are the hash of all that is before them.
pub(crate) fn checksum_holds(data: &[u8], hash: gix_hash::Kind) -> bool {
    let Some(end) = data.len().checked_sub(hash.len_in_bytes()) else { return false };
    let mut sum = Checksum::new(hash);
    sum.update(&data[..end]);
    sum.finish().is_some_and(|sum| sum.as_slice() == &data[end..])
}

/// Which chunk lies where.
pub(super) struct Chunks(Vec<([u8; 4], Range<usize>)>);

impl Chunks {
    /// Read the table of `count` chunks at `at`; the last `trailer` bytes of `data` belong to no chunk.
    pub fn read(data: &[u8], at: usize, count: u8, trailer: usize) -> Result<Self, &'static str> {
        let end = data.len().checked_sub(trailer).ok_or("it is too short")?;
        let table = data[..end].get(at..at + (usize::from(count) + 1) * ROW_BYTES).ok_or("its table of contents is cut off")?;
        let mut chunks: Vec<([u8; 4], Range<usize>)> = Vec::with_capacity(usize::from(count));
        for (row, next) in table.chunks_exact(ROW_BYTES).zip(table.chunks_exact(ROW_BYTES).skip(1)) {
            let id = [row[0], row[1], row[2], row[3]];
            let (start, stop) = (be64(row, 4), be64(next, 4));
            if id == [0; 4] || chunks.iter().any(|(known, _)| *known == id) {
                return Err("its table of contents names a chunk twice or none");
            }
            if start > stop || stop > end as u64 {
                return Err("a chunk lies outside of it");
            }
            chunks.push((id, start as usize..stop as usize));
        }
        Ok(Self(chunks))
    }

    /// Where the chunk called `id` lies.
    pub fn find(&self, id: &[u8; 4]) -> Option<Range<usize>> {
        self.0.iter().find(|(known, _)| known == id).map(|(_, range)| range.clone())
    }

    /// As [`Chunks::find`], of a chunk that must have `len` bytes.
    pub fn find_of_len(&self, id: &[u8; 4], len: usize) -> Result<Range<usize>, &'static str> {
        self.find(id).filter(|range| range.len() == len).ok_or("a chunk that it must have is missing or of the wrong size")
    }
}

/// Sorted ids with a fan-out.
pub(super) struct OidTable {
    data: Bytes,
    fan: usize,
    ids: usize,
    /// Bytes from one id to the next.
    stride: usize,
    len: u32,
    id_bytes: usize,
}

/// How far from where an evenly spread id would lie it is looked for first: about the square root of a bucket's size.
const NEAR: u32 = 16;

impl OidTable {
    /// The chunks `OIDF` and `OIDL` of `data`.
    pub fn read(data: &Bytes, chunks: &Chunks, hash: gix_hash::Kind) -> Result<Self, &'static str> {
        let fan = chunks.find_of_len(b"OIDF", 256 * 4)?.start;
        let id_bytes = hash.len_in_bytes();
        let ids = chunks.find_of_len(b"OIDL", be32(data, fan + 255 * 4) as usize * id_bytes)?.start;
        Self::new(data, fan, ids, id_bytes, hash)
    }

    /// The fan-out at `fan`, and from `ids` on as many ids as it counts, each so many bytes behind the one before it: both lie
    /// within `data`.
    pub fn new(data: &Bytes, fan: usize, ids: usize, stride: usize, hash: gix_hash::Kind) -> Result<Self, &'static str> {
        let rising = (1..256).all(|n| be32(data, fan + (n - 1) * 4) <= be32(data, fan + n * 4));
        if !rising {
            return Err("its fan-out does not rise");
        }
        Ok(Self { data: data.clone(), fan, ids, stride, len: be32(data, fan + 255 * 4), id_bytes: hash.len_in_bytes() })
    }

    /// How many ids there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Id number `at`, which is below [`OidTable::len`].
    pub fn id(&self, at: u32) -> &oid {
        assert!(at < self.len, "a number of this table");
        let start = self.ids + at as usize * self.stride;
        oid::from_bytes_unchecked(&self.data[start..start + self.id_bytes])
    }

    /// The number of `id`.
    pub fn find(&self, id: &oid) -> Option<u32> {
        let bytes = id.as_bytes();
        if bytes.len() != self.id_bytes {
            return None;
        }
        let fan = |byte: usize| be32(&self.data, self.fan + byte * 4);
        let first = usize::from(bytes[0]);
        let (mut low, mut high) = (if first == 0 { 0 } else { fan(first - 1) }, fan(first));
        if high - low > 2 * NEAR {
            // Ids are hashes, spread evenly: look near where this one should be, then ever farther off.
            let guess = low + ((u64::from(high - low) * u64::from(be32(bytes, 1))) >> 32) as u32;
            (low, high) = if self.id(guess) < id { self.search_up(guess + 1, high, id) } else { self.search_down(low, guess + 1, id) };
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.id(middle).cmp(id) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn search_up(&self, mut low: u32, high: u32, id: &oid) -> (u32, u32) {
        let mut step = NEAR;
        while high - low > step {
            if self.id(low + step) >= id {
                return (low, low + step + 1);
            }
            low += step + 1;
            step = step.saturating_mul(2);
        }
        (low, high)
    }

    fn search_down(&self, low: u32, mut high: u32, id: &oid) -> (u32, u32) {
        let mut step = NEAR;
        while high - low > step {
            if self.id(high - 1 - step) < id {
                return (high - step, high);
            }
            high -= step;
            step = step.saturating_mul(2);
        }
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gix_hash::ObjectId;
    use proptest::prelude::*;

    fn table(ids: &std::collections::BTreeSet<[u8; 20]>) -> OidTable {
        let mut data = vec![];
        for byte in 0..=255u8 {
            data.extend((ids.iter().filter(|id| id[0] <= byte).count() as u32).to_be_bytes());
        }
        data.extend(ids.iter().flatten());
        let end = data.len();
        let chunks = Chunks(vec![(*b"OIDF", 0..1024), (*b"OIDL", 1024..end)]);
        OidTable::read(&data.into(), &chunks, gix_hash::Kind::Sha1).expect("sound")
    }

    proptest! {
        #[test]
        fn every_id_is_found_and_no_other(seeds in prop::collection::vec((0u8..3, 0u8..4, any::<[u8; 4]>()), 0..600), other: [u8; 20]) {
            // Few first bytes and uneven second ones: big buckets, and bad guesses.
            let ids: std::collections::BTreeSet<[u8; 20]> = seeds.iter().map(|(first, second, rest)| {
                let mut id = [7; 20];
                id[..6].copy_from_slice(&[&[*first, *second], &rest[..]].concat());
                id
            }).collect();
            let table = table(&ids);
            for (number, id) in ids.iter().enumerate() {
                prop_assert_eq!(table.find(&ObjectId::Sha1(*id)), Some(number as u32));
                let mut near = *id;
                near[19] ^= 1;
                prop_assert_eq!(table.find(&ObjectId::Sha1(near)), None);
            }
            prop_assert_eq!(table.find(&ObjectId::Sha1(other)).is_some(), ids.contains(&other));
        }

        #[test]
        fn no_table_of_contents_makes_it_panic(data: Vec<u8>, at in 0usize..40, count: u8) {
            if let Ok(chunks) = Chunks::read(&data, at, count, 20) {
                let data = Bytes::from(data);
                let _ = OidTable::read(&data, &chunks, gix_hash::Kind::Sha1);
            }
        }
    }
}
