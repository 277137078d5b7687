//! What is remembered of each entry of an incoming pack: id, offset, checksum, base; 36 bytes each with SHA-1.
//!
//! Entries are numbered in the order in which they lie in the pack. Every list grows with the entries that
//! really come, never by a number that the peer has named.

use super::super::{Kind, kind_of_code, type_code};
use gix_hash::{ObjectId, oid};

/// Ids of one kind of hash, side by side.
#[derive(Debug)]
pub(super) struct Ids {
    bytes: Vec<u8>,
    width: usize,
}

impl Ids {
    pub(super) fn new(hash: gix_hash::Kind) -> Self {
        Self { bytes: vec![], width: hash.len_in_bytes() }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    pub(super) fn push(&mut self, id: &oid) {
        self.bytes.extend_from_slice(id.as_bytes());
    }

    pub(super) fn get(&self, at: usize) -> &oid {
        oid::from_bytes_unchecked(self.bytes(at))
    }

    pub(super) fn set(&mut self, at: usize, id: &oid) {
        self.bytes[at * self.width..(at + 1) * self.width].copy_from_slice(id.as_bytes());
    }

    fn bytes(&self, at: usize) -> &[u8] {
        &self.bytes[at * self.width..(at + 1) * self.width]
    }

    fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// The numbers of all ids in the order of the ids (equal ones by number), and for each first byte how many begin with it or less.
    pub(super) fn sorted(&self) -> (Vec<u32>, [u32; 256]) {
        let mut fanout = [0u32; 256];
        for id in self.bytes.chunks_exact(self.width) {
            fanout[usize::from(id[0])] += 1;
        }
        let (mut next, mut sum) = ([0u32; 256], 0);
        for (first, count) in fanout.iter_mut().enumerate() {
            next[first] = sum;
            sum += *count;
            *count = sum;
        }
        let mut order = vec![0u32; self.len()];
        for (at, id) in self.bytes.chunks_exact(self.width).enumerate() {
            let slot = &mut next[usize::from(id[0])];
            order[*slot as usize] = at as u32;
            *slot += 1;
        }
        // Sorting (prefix, number) pairs of one first byte at a time keeps comparisons within the cache.
        let (mut pairs, mut start) = (Vec::new(), 0);
        for end in fanout {
            let bucket = &mut order[start as usize..end as usize];
            pairs.clear();
            pairs.extend(bucket.iter().map(|&at| (self.prefix(at), at)));
            pairs.sort_unstable_by(|a, b| {
                a.0.cmp(&b.0).then_with(|| self.bytes(a.1 as usize).cmp(self.bytes(b.1 as usize))).then(a.1.cmp(&b.1))
            });
            for (to, (_, at)) in bucket.iter_mut().zip(&pairs) {
                *to = *at;
            }
            start = end;
        }
        (order, fanout)
    }

    fn prefix(&self, at: u32) -> u64 {
        self.bytes(at as usize).iter().take(8).fold(0, |sum, &byte| (sum << 8) | u64::from(byte))
    }
}

/// What an entry builds upon, in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link(u32);

/// Numbers from here up are not entries.
const CODES: u32 = u32::MAX - 15;
/// Most entries that a pack may have: every number below stands for an entry.
pub(super) const ENTRIES_MAX: u32 = CODES;

impl Link {
    /// A delta whose base is named by id.
    pub(super) const BY_ID: Self = Self(CODES + 8);
    /// A delta whose base offset is no entry's.
    pub(super) const NOWHERE: Self = Self(CODES + 9);

    pub(super) fn whole(kind: Kind) -> Self {
        Self(CODES + u32::from(type_code(kind)))
    }

    pub(super) fn entry(at: usize) -> Self {
        debug_assert!((at as u64) < u64::from(CODES));
        Self(at as u32)
    }

    /// The entry that this is a delta against, if that is known by its number.
    pub(super) fn base(self) -> Option<usize> {
        (self.0 < CODES).then_some(self.0 as usize)
    }

    /// The type of a whole object; `None` for a delta.
    pub(super) fn kind(self) -> Option<Kind> {
        kind_of_code(self.0.checked_sub(CODES)? as u8)
    }
}

/// Entries in the order of the pack.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) ids: Ids,
    pub(super) offsets: Vec<u64>,
    pub(super) crcs: Vec<u32>,
    pub(super) links: Vec<Link>,
}

impl Table {
    pub(super) fn new(hash: gix_hash::Kind) -> Self {
        Self { ids: Ids::new(hash), offsets: vec![], crcs: vec![], links: vec![] }
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(super) fn push(&mut self, id: &oid, offset: u64, crc: u32, link: Link) {
        self.ids.push(id);
        self.offsets.push(offset);
        self.crcs.push(crc);
        self.links.push(link);
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.ids.append(&other.ids);
        self.offsets.extend_from_slice(&other.offsets);
        self.crcs.extend_from_slice(&other.crcs);
        self.links.extend_from_slice(&other.links);
    }

    /// The entry that begins at `offset`. Bases mostly lie near the end, so the search doubles its step from there.
    pub(super) fn find(&self, offset: u64) -> Option<usize> {
        let len = self.len();
        let mut step = 1;
        while step < len && self.offsets[len - step] > offset {
            step *= 2;
        }
        let low = len.saturating_sub(step);
        let high = len - step / 2;
        self.offsets[low..high].binary_search(&offset).ok().map(|at| low + at)
    }
}

/// Entries whose base is named by id, in the order of these ids once [`ByBase::sort`] was called.
#[derive(Debug)]
pub(super) struct ByBase {
    bases: Ids,
    entries: Vec<u32>,
}

impl ByBase {
    pub(super) fn new(hash: gix_hash::Kind) -> Self {
        Self { bases: Ids::new(hash), entries: vec![] }
    }

    pub(super) fn push(&mut self, base: &oid, entry: usize) {
        self.bases.push(base);
        self.entries.push(entry as u32);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn sort(&mut self) {
        let (order, _) = self.bases.sorted();
        let mut bases = Ids { bytes: Vec::with_capacity(self.bases.bytes.len()), width: self.bases.width };
        order.iter().for_each(|&at| bases.push(self.bases.get(at as usize)));
        self.entries = order.iter().map(|&at| self.entries[at as usize]).collect();
        self.bases = bases;
    }

    pub(super) fn base(&self, at: usize) -> ObjectId {
        self.bases.get(at).to_owned()
    }

    pub(super) fn entry(&self, at: usize) -> usize {
        self.entries[at] as usize
    }

    /// The range of those whose base is `id`.
    pub(super) fn find(&self, id: &oid) -> std::ops::Range<u32> {
        let first = self.partition_point(|base| base < id);
        let after = if first < self.len() && self.bases.get(first) == id { self.partition_point(|base| base <= id) } else { first };
        first as u32..after as u32
    }

    fn partition_point(&self, before: impl Fn(&oid) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.bases.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(bytes: [u8; 2]) -> ObjectId {
        let mut id = [7; 20];
        id[0] = bytes[0];
        id[19] = bytes[1];
        ObjectId::Sha1(id)
    }

    proptest! {
        #[test]
        fn ids_come_out_in_order(numbers: Vec<[u8; 2]>) {
            let mut ids = Ids::new(gix_hash::Kind::Sha1);
            numbers.iter().for_each(|&n| ids.push(&id(n)));
            let (order, fanout) = ids.sorted();
            let mut want: Vec<u32> = (0..numbers.len() as u32).collect();
            want.sort_by_key(|&at| (numbers[at as usize], at));
            prop_assert_eq!(&order, &want);
            for first in 0..=255u8 {
                let upto = numbers.iter().filter(|n| n[0] <= first).count();
                prop_assert_eq!(fanout[usize::from(first)] as usize, upto);
            }
        }

        #[test]
        fn every_offset_is_found_and_nothing_else(offsets in prop::collection::btree_set(0u64..300, 0..60), asked in 0u64..310) {
            let mut table = Table::new(gix_hash::Kind::Sha1);
            for &offset in &offsets {
                table.push(&id([0, 0]), offset, 0, Link::BY_ID);
            }
            prop_assert_eq!(table.find(asked), offsets.iter().position(|&offset| offset == asked));
        }

        #[test]
        fn those_with_one_base_form_a_range(bases in prop::collection::vec(0u8..8, 0..40), asked in 0u8..9) {
            let mut by_base = ByBase::new(gix_hash::Kind::Sha1);
            bases.iter().enumerate().for_each(|(entry, &base)| by_base.push(&id([base, base]), entry));
            by_base.sort();
            let found: Vec<_> = by_base.find(&id([asked, asked])).map(|at| by_base.entry(at as usize)).collect();
            let want: Vec<_> = (0..bases.len()).filter(|&entry| bases[entry] == asked).collect();
            prop_assert_eq!(found, want);
        }
    }

    #[test]
    fn a_link_is_one_of_its_kinds() {
        assert_eq!(Link::whole(Kind::Tag).kind(), Some(Kind::Tag));
        assert_eq!(Link::whole(Kind::Tag).base(), None);
        assert_eq!(Link::entry(3).base(), Some(3));
        for link in [Link::entry(3), Link::BY_ID, Link::NOWHERE] {
            assert_eq!(link.kind(), None);
        }
    }
}
