//! The entries of a pack in order of offsets: which one stands at a position, where it begins, and back.
//!
//! Source: gitformat-pack, "pack-*.rev files": the numbers of entries in order of offsets. Beside them stand the offsets
//! themselves: who reads a pack from front to back asks for each several times, and a table in order answers from one
//! cache line what the index answers from many. Four bytes an entry in packs below 4 GiB, eight in others.

use super::chunks::be32;
use super::file::PACK_HEADER_BYTES;
use bytes::Bytes;

/// Bytes before the numbers of a `.rev` file.
pub(super) const REV_HEADER_BYTES: usize = 12;
/// Positions before its own among which a delta's base is looked for first.
const NEAR: usize = 16;

/// All entries of one pack, whose offsets rise strictly.
pub struct PackOrder {
    /// Where each entry begins, and then where the last one ends.
    offsets: Offsets,
    entries: Entries,
}

enum Offsets {
    Short(Vec<u32>),
    Long(Vec<u64>),
}

/// The numbers of the entries: those of a `.rev` file, or sorted here.
enum Entries {
    Stored(Bytes),
    Sorted(Vec<u32>),
}

impl PackOrder {
    /// The order that a `.rev` file of `len` entries tells, where entry `n` begins at `offset_of(n)` and the last one ends at `end`.
    pub(super) fn from_rev(rev: Bytes, len: u32, end: u64, offset_of: impl Fn(u32) -> u64) -> Result<Self, &'static str> {
        let numbers = rev[REV_HEADER_BYTES..].chunks_exact(4).map(|number| be32(number, 0)).take(len as usize);
        let offsets = numbers.map(|number| if number < len { offset_of(number) } else { u64::MAX });
        let offsets = Offsets::rising(offsets, len, end).ok_or("its reverse index is not in order")?;
        Ok(Self { offsets, entries: Entries::Stored(rev) })
    }

    /// As [`PackOrder::from_rev`], sorted here.
    pub(super) fn sorted(len: u32, end: u64, offset_of: impl Fn(u32) -> u64) -> Result<Self, &'static str> {
        let unsound = "two entries begin at one place, or one outside the pack";
        let (offsets, mut entries): (_, Vec<u32>) = if u32::try_from(end).is_ok() {
            let short = |entry| u32::try_from(offset_of(entry)).map(|offset| (offset, entry)).map_err(|_| unsound);
            let order = sort_by_offset((0..len).map(short).collect::<Result<Vec<_>, _>>()?);
            (
                Offsets::rising(order.iter().map(|(offset, _)| u64::from(*offset)), len, end),
                order.into_iter().map(|(_, entry)| entry).collect(),
            )
        } else {
            let order = sort_by_offset((0..len).map(|entry| (offset_of(entry), entry)).collect());
            (Offsets::rising(order.iter().map(|(offset, _)| *offset), len, end), order.into_iter().map(|(_, entry)| entry).collect())
        };
        // Collected in place, the numbers would keep the room that the pairs had.
        entries.shrink_to_fit();
        Ok(Self { offsets: offsets.ok_or(unsound)?, entries: Entries::Sorted(entries) })
    }

    /// How many entries there are.
    pub fn len(&self) -> u32 {
        let offsets = match &self.offsets {
            Offsets::Short(offsets) => offsets.len(),
            Offsets::Long(offsets) => offsets.len(),
        };
        offsets as u32 - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the entry at `position` begins, in bytes from the start of the pack; for [`PackOrder::len`], where the last one ends.
    ///
    /// # Panics
    /// When there is no such position, like indexing a slice.
    #[inline]
    pub fn offset(&self, position: u32) -> u64 {
        match &self.offsets {
            Offsets::Short(offsets) => u64::from(offsets[position as usize]),
            Offsets::Long(offsets) => offsets[position as usize],
        }
    }

    /// The number, by id, of the entry at `position`.
    ///
    /// # Panics
    /// When there is no such position, like indexing a slice.
    #[inline]
    pub fn entry(&self, position: u32) -> u32 {
        match &self.entries {
            Entries::Stored(rev) => be32(rev, REV_HEADER_BYTES + position as usize * 4),
            Entries::Sorted(entries) => entries[position as usize],
        }
    }

    /// The position of the entry that begins at `offset`.
    pub fn position_of(&self, offset: u64) -> Option<u32> {
        self.position_before(self.len(), offset)
    }

    /// The position, before `end`, of the entry that begins at `offset`, looked for from the back: a delta's base is mostly near.
    pub fn position_before(&self, end: u32, offset: u64) -> Option<u32> {
        match &self.offsets {
            Offsets::Short(offsets) => find_back(&offsets[..end as usize], u32::try_from(offset).ok()?),
            Offsets::Long(offsets) => find_back(&offsets[..end as usize], offset),
        }
    }
}

impl Offsets {
    /// A table of `len` rising offsets and the `end` behind them.
    fn rising(offsets: impl Iterator<Item = u64>, len: u32, end: u64) -> Option<Self> {
        let mut before = PACK_HEADER_BYTES - 1;
        let mut checked = offsets.chain([end]).map_while(|offset| {
            let rises = offset > before;
            before = offset;
            rises.then_some(offset)
        });
        let len = len as usize + 1;
        if u32::try_from(end).is_ok() {
            let mut table = Vec::with_capacity(len);
            table.extend(checked.map_while(|offset| u32::try_from(offset).ok()));
            (table.len() == len).then_some(Self::Short(table))
        } else {
            let mut table = Vec::with_capacity(len);
            table.extend(&mut checked);
            (table.len() == len).then_some(Self::Long(table))
        }
    }
}

/// Where `wanted` stands in rising `offsets`, looked for from the back.
fn find_back<T: Ord + Copy>(offsets: &[T], wanted: T) -> Option<u32> {
    let (mut low, mut high, mut step) = (offsets.len(), offsets.len(), NEAR);
    while low > 0 {
        low = high.saturating_sub(step);
        if offsets[low] <= wanted {
            break;
        }
        high = low;
        step *= 2;
    }
    offsets[low..high].binary_search(&wanted).ok().map(|at| (low + at) as u32)
}

/// Sort by digits, the lowest first, as git does (`pack-revindex.c`): comparing takes several times as long for 700,000 entries.
fn sort_by_offset<T: Copy + Default + Into<u64>>(mut order: Vec<(T, u32)>) -> Vec<(T, u32)> {
    const DIGIT_BITS: u32 = 11;
    const DIGITS: usize = 1 << DIGIT_BITS;
    let largest: u64 = order.iter().map(|(offset, _)| (*offset).into()).max().unwrap_or(0);
    let mut sorted = vec![(T::default(), 0); order.len()];
    for shift in (0..u64::BITS - largest.leading_zeros()).step_by(DIGIT_BITS as usize) {
        let digit = |offset: T| (offset.into() >> shift) as usize & (DIGITS - 1);
        let mut starts = [0usize; DIGITS];
        for (offset, _) in order.iter() {
            starts[digit(*offset)] += 1;
        }
        let mut before = 0;
        for start in &mut starts {
            before += std::mem::replace(start, before);
        }
        for entry in order.iter() {
            let at = &mut starts[digit(entry.0)];
            sorted[*at] = *entry;
            *at += 1;
        }
        std::mem::swap(&mut order, &mut sorted);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn offsets_sort_by_digits_as_by_comparing(offsets in prop::collection::vec(prop_oneof![0u64..5000, any::<u64>()], 0..200)) {
            let order: Vec<(u64, u32)> = offsets.into_iter().zip(0..).collect();
            let mut wanted = order.clone();
            wanted.sort();
            prop_assert_eq!(sort_by_offset(order), wanted);
        }

        #[test]
        fn looking_from_the_back_finds_what_is_there(offsets in prop::collection::btree_set(0u64..400, 0..200), wanted in 0u64..400) {
            let offsets: Vec<u64> = offsets.into_iter().collect();
            prop_assert_eq!(find_back(&offsets, wanted), offsets.binary_search(&wanted).ok().map(|at| at as u32));
        }

        #[test]
        fn an_order_goes_forth_and_back(offsets in prop::collection::hash_set(12u64..6_000, 0..200), far: bool) {
            let offsets: Vec<u64> = offsets.into_iter().map(|offset| if far { offset << 24 } else { offset }).collect();
            let end = if far { 6_000 << 24 } else { 6_000 };
            let order = PackOrder::sorted(offsets.len() as u32, end, |entry| offsets[entry as usize]).expect("distinct");
            let numbers: Vec<u8> = (0..order.len()).flat_map(|position| order.entry(position).to_be_bytes()).collect();
            let rev = [vec![0; REV_HEADER_BYTES], numbers, vec![9; 40]].concat();
            let stored = PackOrder::from_rev(rev.into(), order.len(), end, |entry| offsets[entry as usize]).expect("rising");
            for order in [order, stored] {
                prop_assert_eq!(order.offset(order.len()), end);
                for position in 0..order.len() {
                    prop_assert_eq!(order.offset(position), offsets[order.entry(position) as usize]);
                    prop_assert_eq!(order.position_of(order.offset(position)), Some(position));
                    prop_assert_eq!(order.position_before(position, order.offset(position)), None);
                    prop_assert!(order.offset(position) < order.offset(position + 1));
                }
            }
        }
    }

    #[test]
    fn what_is_not_in_order_is_refused() {
        let offsets = [40u64, 12, 12];
        assert!(PackOrder::sorted(3, 60, |entry| offsets[entry as usize]).is_err(), "two begin at one place");
        assert!(PackOrder::sorted(2, 40, |entry| offsets[entry as usize]).is_err(), "one begins where the trailer does");
        let rev = |numbers: [u8; 2]| [vec![0; REV_HEADER_BYTES], vec![0, 0, 0, numbers[0], 0, 0, 0, numbers[1]], vec![0; 40]].concat();
        let read = |numbers| PackOrder::from_rev(rev(numbers).into(), 2, 60, |entry| offsets[entry as usize]);
        assert!(read([1, 0]).is_ok());
        assert!(read([0, 1]).is_err(), "falling");
        assert!(read([1, 2]).is_err(), "a number that no entry has");
    }
}
