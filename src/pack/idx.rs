//! A pack's `.idx` file into lookup by id and offsets.
//!
//! Source: gitformat-pack, "pack-*.idx files", versions 1 and 2; `packfile.c`: `load_idx`. Opening reads no more than
//! header and fan-out, whatever the number of objects; what an entry says is checked when it is asked for.

use super::chunks::{OidTable, be32, be64};
use bytes::Bytes;
use gix_hash::oid;
use std::ops::Range;

const FAN_BYTES: usize = 256 * 4;
/// Bytes before the fan-out in version 2: signature and version.
const HEADER_BYTES: usize = 8;
/// Says that the other bits of an offset are a row of the table of large ones.
const LARGE: u32 = 1 << 31;

/// The index of one pack.
pub(super) struct PackIndex {
    data: Bytes,
    ids: OidTable,
    /// Where the first offset stands, and how far it is from one to the next.
    offsets: (usize, usize),
    /// Offsets of eight bytes; version 1 knows none.
    large: Option<Range<usize>>,
    id_bytes: usize,
}

impl PackIndex {
    /// Read header and fan-out; what is wrong with the file is told in words that follow "the file".
    pub fn open(data: Bytes, hash: gix_hash::Kind) -> Result<Self, &'static str> {
        let id_bytes = hash.len_in_bytes();
        let trailers = 2 * id_bytes;
        let has_header = data.starts_with(b"\xfftOc");
        if has_header && data.get(4..HEADER_BYTES) != Some(&[0, 0, 0, 2]) {
            return Err("it is no index of version 1 or 2");
        }
        let fan = if has_header { HEADER_BYTES } else { 0 };
        let tables = fan + FAN_BYTES;
        if data.len() < tables + trailers {
            return Err("it is too short");
        }
        let len = be32(&data, tables - 4) as usize;
        let of_size = |entry_bytes: usize| len.checked_mul(entry_bytes).and_then(|bytes| bytes.checked_add(tables + trailers));
        let wrong_size = "its size does not go with the number of its objects";
        let (ids, offsets, large) = if has_header {
            // Ids, checksums and offsets stand in tables of their own.
            let size = of_size(id_bytes + 8).filter(|size| *size <= data.len()).ok_or(wrong_size)?;
            let large_bytes = data.len() - size;
            if !large_bytes.is_multiple_of(8) || large_bytes / 8 > len {
                return Err(wrong_size);
            }
            let offsets = tables + len * (id_bytes + 4);
            let large = offsets + len * 4;
            ((tables, id_bytes), (offsets, 4), Some(large..large + large_bytes))
        } else {
            if of_size(4 + id_bytes) != Some(data.len()) {
                return Err(wrong_size);
            }
            ((tables + 4, 4 + id_bytes), (tables, 4 + id_bytes), None)
        };
        let ids = OidTable::new(&data, fan, ids.0, ids.1, hash)?;
        Ok(Self { data, ids, offsets, large, id_bytes })
    }

    /// How many entries there are.
    pub fn len(&self) -> u32 {
        self.ids.len()
    }

    /// The number of the entry with this id.
    pub fn find(&self, id: &oid) -> Option<u32> {
        self.ids.find(id)
    }

    /// The id of `entry`, which is below [`PackIndex::len`].
    pub fn id(&self, entry: u32) -> &oid {
        self.ids.id(entry)
    }

    /// Where `entry` begins in the pack; `None` when there is none of this number, or the file is damaged.
    #[inline]
    pub fn offset(&self, entry: u32) -> Option<u64> {
        if entry >= self.len() {
            return None;
        }
        let offset = be32(&self.data, self.offsets.0 + entry as usize * self.offsets.1);
        match &self.large {
            Some(large) if offset & LARGE != 0 => {
                let row = (offset & !LARGE) as usize;
                (row < large.len() / 8).then(|| be64(&self.data, large.start + row * 8))
            }
            _ => Some(u64::from(offset)),
        }
    }

    /// The trailer of the pack that this is the index of.
    pub fn pack_trailer(&self) -> &[u8] {
        let start = self.data.len() - 2 * self.id_bytes;
        &self.data[start..start + self.id_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gix_hash::{Kind, ObjectId};
    use proptest::prelude::*;

    /// An index over these ids: the entry with number `n` begins at offset `12 + n`, those with an odd number beyond 4 GiB
    /// where the version can say so.
    fn sample(ids: &std::collections::BTreeSet<[u8; 20]>, version: u32) -> Vec<u8> {
        let mut file = if version == 2 { b"\xfftOc\x00\x00\x00\x02".to_vec() } else { vec![] };
        for byte in 0..=255u8 {
            file.extend((ids.iter().filter(|id| id[0] <= byte).count() as u32).to_be_bytes());
        }
        let mut large = vec![];
        if version == 2 {
            file.extend(ids.iter().flatten());
            file.extend(ids.iter().flat_map(|_| [0; 4]));
            for number in 0..ids.len() as u32 {
                let offset = if number % 2 == 1 { LARGE | (number / 2) } else { 12 + number };
                file.extend(offset.to_be_bytes());
                large.extend((number % 2 == 1).then(|| offset_of(number, version).to_be_bytes()).into_iter().flatten());
            }
        } else {
            for (number, id) in ids.iter().enumerate() {
                file.extend((12 + number as u32).to_be_bytes());
                file.extend(id);
            }
        }
        file.extend(large);
        file.extend([[1; 20], [2; 20]].concat());
        file
    }

    fn offset_of(number: u32, version: u32) -> u64 {
        12 + u64::from(number) + if version == 2 && number % 2 == 1 { 1 << 33 } else { 0 }
    }

    proptest! {
        #[test]
        fn both_versions_are_read_as_gitoxide_reads_them(ids in prop::collection::btree_set(any::<[u8; 20]>(), 0..80), second: bool) {
            let version = if second { 2 } else { 1 };
            let file = Bytes::from(sample(&ids, version));
            let ours = PackIndex::open(file.clone(), Kind::Sha1).expect("sound");
            let theirs = gix_pack::index::File::from_data(file, "test.idx".into(), Kind::Sha1).expect("sound");
            prop_assert_eq!(ours.len(), theirs.num_objects());
            prop_assert_eq!(ours.pack_trailer(), [1; 20]);
            for (number, id) in ids.iter().enumerate() {
                let (number, id) = (number as u32, ObjectId::Sha1(*id));
                prop_assert_eq!((ours.find(&id), theirs.lookup(id)), (Some(number), Some(number)));
                prop_assert_eq!(ours.id(number), theirs.oid_at_index(number));
                prop_assert_eq!(ours.offset(number), Some(offset_of(number, version)));
                prop_assert_eq!(theirs.pack_offset_at_index(number), offset_of(number, version));
            }
            prop_assert_eq!(ours.offset(ours.len()), None);
        }

        #[test]
        fn damage_never_panics(ids in prop::collection::btree_set(any::<[u8; 20]>(), 0..9), second: bool, at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut file = sample(&ids, if second { 2 } else { 1 });
            let at = at.index(file.len());
            file[at] = byte;
            let whole = Bytes::from(file);
            for data in [whole.clone(), whole.slice(..cut.index(whole.len()))] {
                if let Ok(index) = PackIndex::open(data, Kind::Sha1) {
                    let _ = (index.find(&ObjectId::Sha1([byte; 20])), index.pack_trailer());
                    for entry in 0..index.len() {
                        let _ = (index.offset(entry), index.find(index.id(entry)));
                    }
                }
            }
        }
    }
}
