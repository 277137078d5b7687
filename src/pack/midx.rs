//! A multi-pack index into lookup by id over many packs.
//!
//! Source: gitformat-pack, "multi-pack-index (MIDX) files have the following format" and "multi-pack-index reverse
//! indexes"; versions 1 and 2, which differ only in the order of names. What it says is a hint: whoever looks an
//! object up asks the pack itself, so a damaged or stale file costs time, not truth.

use super::chunks::{Chunks, OidTable, be32, be64, checksum_holds};
use bytes::Bytes;
use gix_hash::oid;
use std::ops::Range;

/// Bytes of the header: signature, version, hash, chunks, bases, packs.
const HEADER_BYTES: usize = 12;
/// Bytes per object in `OOFF`: pack and offset.
const PLACE_BYTES: usize = 8;
/// Says that the other bits of an offset are a row of `LOFF`.
const LARGE: u32 = 1 << 31;

/// One file; a chain is several of them.
pub struct MultiPackIndex {
    data: Bytes,
    ids: OidTable,
    names: Vec<String>,
    places: usize,
    large: Option<Range<usize>>,
    order: Option<Range<usize>>,
    hash: gix_hash::Kind,
}

impl MultiPackIndex {
    /// Read the tables of a file; what is wrong with it is told in words that follow "the file".
    ///
    /// Structure is checked, content is not: see [`MultiPackIndex::is_sound`].
    pub fn open(data: Bytes, hash: gix_hash::Kind) -> Result<Self, &'static str> {
        let header = data.get(..HEADER_BYTES).ok_or("it is too short")?;
        if &header[..4] != b"MIDX" || !matches!(header[4], 1 | 2) {
            return Err("it is no multi-pack index of version 1 or 2");
        }
        if header[5] != hash_version(hash) {
            return Err("its hash is not the repository's");
        }
        let chunks = Chunks::read(&data, HEADER_BYTES, header[6], hash.len_in_bytes())?;
        let ids = OidTable::read(&data, &chunks, hash)?;
        let names = chunks.find(b"PNAM").ok_or("it names no packs")?;
        let names = read_names(&data[names], be32(header, 8))?;
        let places = chunks.find_of_len(b"OOFF", ids.len() as usize * PLACE_BYTES)?.start;
        let order = chunks.find(b"RIDX").filter(|range| range.len() == ids.len() as usize * 4);
        let large = chunks.find(b"LOFF");
        Ok(Self { data, ids, names, places, large, order, hash })
    }

    /// How many objects it knows.
    pub fn len(&self) -> u32 {
        self.ids.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packs by number: `pack-…` without ending.
    pub fn pack_names(&self) -> &[String] {
        &self.names
    }

    /// The rank by id of `id`.
    pub fn find(&self, id: &oid) -> Option<u32> {
        self.ids.find(id)
    }

    /// The id at `rank`, which is below [`MultiPackIndex::len`].
    pub fn id(&self, rank: u32) -> &oid {
        self.ids.id(rank)
    }

    /// The number of the pack that was selected for the object at `rank`; a damaged file names packs that are not there.
    pub fn pack(&self, rank: u32) -> u32 {
        assert!(rank < self.len(), "a rank of this index");
        be32(&self.data, self.places + rank as usize * PLACE_BYTES)
    }

    /// Where in that pack it begins; `None` when the file is damaged.
    pub fn offset(&self, rank: u32) -> Option<u64> {
        assert!(rank < self.len(), "a rank of this index");
        let offset = be32(&self.data, self.places + rank as usize * PLACE_BYTES + 4);
        match &self.large {
            Some(large) if offset & LARGE != 0 => {
                let row = (offset & !LARGE) as usize;
                (row < large.len() / 8).then(|| be64(&self.data, large.start + row * 8))
            }
            _ => Some(u64::from(offset)),
        }
    }

    /// The trailer: bitmap and reverse index name it.
    pub fn checksum(&self) -> &[u8] {
        &self.data[self.data.len() - self.hash.len_in_bytes()..]
    }

    /// Whether the trailer is the hash of the rest: reads the whole file.
    pub fn is_sound(&self) -> bool {
        checksum_holds(&self.data, self.hash)
    }

    /// Ranks in pseudo-pack order, as numbers of four bytes: the chunk `RIDX`.
    pub fn order(&self) -> Option<Bytes> {
        self.order.clone().map(|range| self.data.slice(range))
    }
}

/// The number that stands for a hash in chunk-based files.
pub(super) fn hash_version(hash: gix_hash::Kind) -> u8 {
    match hash {
        gix_hash::Kind::Sha256 => 2,
        _ => 1,
    }
}

fn read_names(chunk: &[u8], count: u32) -> Result<Vec<String>, &'static str> {
    let mut names = vec![];
    let mut rest = chunk;
    for _ in 0..count {
        let end = memchr::memchr(0, rest).ok_or("it names fewer packs than it counts")?;
        let name = std::str::from_utf8(&rest[..end]).ok().filter(|name| !name.contains('/')).ok_or("it names a pack oddly")?;
        names.push(name.strip_suffix(".idx").or_else(|| name.strip_suffix(".pack")).unwrap_or(name).to_owned());
        rest = &rest[end + 1..];
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gix_hash::Kind::Sha1;
    use proptest::prelude::*;

    /// Two objects in two packs.
    fn sample() -> Vec<u8> {
        let mut body = vec![];
        let mut table = vec![];
        let start = HEADER_BYTES + 5 * 12;
        let mut chunk = |id: &[u8; 4], bytes: Vec<u8>| {
            table.extend(id);
            table.extend(((start + body.len()) as u64).to_be_bytes());
            body.extend(bytes);
        };
        chunk(b"PNAM", b"pack-a.idx\0pack-b.idx\0\0\0".to_vec());
        chunk(b"OIDF", (0..256u32).flat_map(|byte| (u32::from(byte >= 1) + u32::from(byte >= 9)).to_be_bytes()).collect());
        chunk(b"OIDL", [[1u8; 20], [9u8; 20]].concat());
        chunk(b"OOFF", [1u32, 12, 0, 77].iter().flat_map(|number| number.to_be_bytes()).collect());
        table.extend([0; 4]);
        table.extend(((start + body.len()) as u64).to_be_bytes());
        let mut file = b"MIDX\x01\x01\x04\x00\x00\x00\x00\x02".to_vec();
        file.extend(table);
        file.extend(body);
        let mut hasher = gix_hash::hasher(Sha1);
        hasher.update(&file);
        file.extend(hasher.try_finalize().expect("no collision").as_slice());
        file
    }

    #[test]
    fn objects_are_found_with_pack_and_offset() {
        let index = MultiPackIndex::open(sample().into(), Sha1).expect("sound");
        assert!(index.is_sound());
        assert_eq!(index.pack_names(), ["pack-a", "pack-b"]);
        let rank = index.find(&gix_hash::ObjectId::Sha1([9; 20])).expect("there");
        assert_eq!((rank, index.pack(rank), index.offset(rank)), (1, 0, Some(77)));
        assert_eq!((index.pack(0), index.offset(0)), (1, Some(12)));
        assert_eq!(index.find(&gix_hash::ObjectId::Sha1([2; 20])), None);
        assert!(MultiPackIndex::open(sample().into(), gix_hash::Kind::Sha256).is_err());
    }

    #[test]
    fn a_file_that_is_cut_short_is_refused_at_every_length() {
        let whole = sample();
        for len in 0..whole.len() {
            // Cut within the trailer, tables are whole and only the checksum is wrong.
            let cut = MultiPackIndex::open(whole[..len].to_vec().into(), Sha1);
            assert!(cut.is_err() || !cut.is_ok_and(|index| index.is_sound()), "{len}");
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..1300, byte: u8, id: [u8; 20]) {
            let mut file = sample();
            let at = at % file.len();
            prop_assume!(file[at] != byte);
            file[at] = byte;
            if let Ok(index) = MultiPackIndex::open(file.into(), Sha1) {
                prop_assert!(!index.is_sound());
                let _ = index.find(&gix_hash::ObjectId::Sha1(id));
                for rank in 0..index.len() {
                    let _ = (index.pack(rank), index.offset(rank), index.id(rank));
                }
            }
        }
    }
}
