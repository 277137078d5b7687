//! An index and a pack, as bytes, into lookup by id and entries by offset.
//!
//! Source: gitformat-pack, "pack-*.idx files", "pack-*.rev files". Entries are numbered as the index
//! numbers them (by id). Their order by offset is the reverse index's: read from a `.rev` file where
//! there is one, else sorted when first asked for, so that small requests never pay for it.

use super::entry::HEADER_BYTES_MAX;
use super::{EntryHeader, Error};
use bytes::Bytes;
use gix_hash::oid;
use std::ops::Range;
use std::sync::OnceLock;

/// A pack's bytes, wherever they lie: the seam for packs that are not on the local disk.
pub trait PackBytes: Send + Sync + 'static {
    /// All bytes of the pack as one slice; only those that [`PackBytes::ensure`] was asked for may be touched.
    fn bytes(&self) -> &Bytes;

    /// "I am about to touch these": fetch whatever of the `ranges` (bytes, may reach past the end) is not at hand.
    fn ensure(&self, ranges: &[Range<u64>]) -> std::io::Result<()>;
}

/// A pack whose bytes are all at hand: on the local disk or in memory.
#[derive(Clone, Debug)]
pub struct LocalBytes(pub Bytes);

impl PackBytes for LocalBytes {
    fn bytes(&self) -> &Bytes {
        &self.0
    }

    fn ensure(&self, _: &[Range<u64>]) -> std::io::Result<()> {
        Ok(())
    }
}

/// One pack with its index.
pub struct PackFile {
    name: String,
    index: gix_pack::index::File<Bytes>,
    data: Box<dyn PackBytes>,
    rev: Option<Bytes>,
    sorted: OnceLock<Vec<u32>>,
    hash: gix_hash::Kind,
    end: u64,
}

/// Bytes of a pack's header: signature, version, number of objects.
pub const PACK_HEADER_BYTES: u64 = 12;
const REV_HEADER_BYTES: usize = 12;

impl PackFile {
    /// Put together a pack called `name` (`pack-…` without ending) from the bytes of its files.
    ///
    /// Checks what is cheap and keeps later access within bounds: signatures, counts, and that index
    /// and pack name the same trailer. A reverse index that does not fit is left out.
    pub fn open(name: String, index: Bytes, data: Box<dyn PackBytes>, rev: Option<Bytes>, hash: gix_hash::Kind) -> Result<Self, Error> {
        let corrupt = |what: &str| Error::corrupt(format!("{name}: {what}"));
        let index = gix_pack::index::File::from_data(index, format!("{name}.idx").into(), hash).map_err(|err| corrupt(&err.to_string()))?;
        let len = data.bytes().len() as u64;
        let trailer = hash.len_in_bytes() as u64;
        let end = len.checked_sub(trailer).filter(|end| *end >= PACK_HEADER_BYTES).ok_or_else(|| corrupt("pack is too short"))?;
        data.ensure(&[0..PACK_HEADER_BYTES, end..len])?;
        let bytes = data.bytes();
        let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if &bytes[..4] != b"PACK" || !matches!(number(4), 2 | 3) {
            return Err(corrupt("not a pack of version 2 or 3"));
        }
        if number(8) != index.num_objects() {
            return Err(corrupt("index and pack disagree on the number of objects"));
        }
        if bytes[end as usize..] != *index.pack_checksum().as_slice() {
            return Err(corrupt("index belongs to another pack"));
        }
        let rev_len = REV_HEADER_BYTES + index.num_objects() as usize * 4 + 2 * hash.len_in_bytes();
        let rev = rev.filter(|rev| rev.len() == rev_len && &rev[..4] == b"RIDX");
        Ok(Self { name, index, data, rev, sorted: OnceLock::new(), hash, end })
    }

    /// The pack's name without ending: `pack-…`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-1 or SHA-256.
    pub fn hash_kind(&self) -> gix_hash::Kind {
        self.hash
    }

    /// How many entries there are.
    pub fn len(&self) -> u32 {
        self.index.num_objects()
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry with this id.
    pub fn find(&self, id: &oid) -> Option<u32> {
        self.index.lookup(id)
    }

    /// The id of `entry`, which is below [`PackFile::len`].
    pub fn id(&self, entry: u32) -> &oid {
        self.index.oid_at_index(entry)
    }

    /// Where `entry` begins, in bytes from the start of the pack.
    pub fn offset(&self, entry: u32) -> Result<u64, Error> {
        let offset = self.index.pack_offset_at_index(entry);
        if offset < PACK_HEADER_BYTES || offset >= self.end {
            return Err(Error::corrupt(format!("{}.idx: entry {entry} lies outside the pack", self.name)));
        }
        Ok(offset)
    }

    /// Where the last entry ends and the trailer begins.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The pack's trailer: the hash of all that is before it.
    pub fn trailer(&self) -> &[u8] {
        &self.data.bytes()[self.end as usize..]
    }

    /// Entry number `position` in order of offsets.
    pub fn entry_at(&self, position: u32) -> Result<u32, Error> {
        let entry = match &self.rev {
            Some(rev) => {
                let at = REV_HEADER_BYTES + position as usize * 4;
                u32::from_be_bytes([rev[at], rev[at + 1], rev[at + 2], rev[at + 3]])
            }
            None => self.sorted()[position as usize],
        };
        if entry >= self.len() {
            return Err(Error::corrupt(format!("{}.rev: names entry {entry} of {}", self.name, self.len())));
        }
        Ok(entry)
    }

    /// Where the entry at `position` in order of offsets begins; for [`PackFile::len`], where the last one ends.
    pub fn offset_at(&self, position: u32) -> Result<u64, Error> {
        if position == self.len() { Ok(self.end) } else { self.offset(self.entry_at(position)?) }
    }

    /// The position, in order of offsets, of the entry that begins at `offset`.
    pub fn position_of(&self, offset: u64) -> Result<u32, Error> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.offset_at(middle)?.cmp(&offset) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(Error::corrupt(format!("{}: no entry begins at offset {offset}", self.name)))
    }

    fn sorted(&self) -> &[u32] {
        self.sorted.get_or_init(|| {
            let mut order: Vec<(u64, u32)> = (0..self.len()).map(|entry| (self.index.pack_offset_at_index(entry), entry)).collect();
            order.sort_unstable();
            order.into_iter().map(|(_, entry)| entry).collect()
        })
    }

    /// The header of the entry that begins at `offset`.
    pub fn header(&self, offset: u64) -> Result<EntryHeader, Error> {
        let end = self.end.min(offset.saturating_add(HEADER_BYTES_MAX as u64));
        let bytes = self.slice(offset..end)?;
        match EntryHeader::read(bytes, offset, self.hash) {
            Ok(Some(header)) => Ok(header),
            Ok(None) => Err(Error::corrupt(format!("{}: entry at {offset} is cut off", self.name))),
            Err(err) => Err(Error::corrupt(format!("{}: {err}", self.name))),
        }
    }

    /// The deflated data of the entry at `offset` with this `header`, and maybe bytes behind it.
    pub fn data_of(&self, offset: u64, header: &EntryHeader) -> Result<&[u8], Error> {
        // A zlib stream is at most 0.04 % and a few bytes longer than what it holds; stored blocks of odd encoders a little more.
        let bound = header.size.saturating_add(header.size / 256).saturating_add(1024);
        let start = offset + header.len as u64;
        self.slice(start..self.end.min(start.saturating_add(bound)))
    }

    /// These bytes of the pack, header and trailer included.
    pub fn slice(&self, range: Range<u64>) -> Result<&[u8], Error> {
        self.data.ensure(std::slice::from_ref(&range))?;
        self.data
            .bytes()
            .get(range.start as usize..range.end as usize)
            .ok_or_else(|| Error::corrupt(format!("{}: bytes {range:?} lie outside the pack", self.name)))
    }
}
