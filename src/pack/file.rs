//! An index and a pack, as bytes, into lookup by id and entries by offset.
//!
//! Source: gitformat-pack, "pack-*.idx files", "pack-*.rev files". Entries are numbered as the index
//! numbers them (by id). Their order by offset is the reverse index's: read from a `.rev` file where
//! there is a sound one, else sorted when first asked for, so that small requests never pay for it.

use super::chunks::{be32, checksum_holds};
use super::entry::HEADER_BYTES_MAX;
use super::idx::PackIndex;
use super::midx::hash_version;
use super::order::REV_HEADER_BYTES;
use super::{EntryHeader, Error, PackOrder};
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

/// Where a pack's files come from when they are first needed.
pub trait PackSource: Send + Sync + 'static {
    /// The `.idx` file.
    fn index(&self) -> std::io::Result<Bytes>;

    /// The `.pack` file.
    fn data(&self) -> std::io::Result<Box<dyn PackBytes>>;

    /// The `.rev` file, where there is one.
    fn rev(&self) -> Option<Bytes>;

    /// Whether what was handed out is still what lies there; no, where that cannot be told.
    fn is_current(&self) -> bool {
        false
    }
}

/// A source whose index and pack were handed over already.
struct AtHand {
    rev: Option<Bytes>,
}

impl PackSource for AtHand {
    fn index(&self) -> std::io::Result<Bytes> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn data(&self) -> std::io::Result<Box<dyn PackBytes>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn rev(&self) -> Option<Bytes> {
        self.rev.clone()
    }
}

/// One pack with its index, each opened when first asked for: of thousands of packs a request needs few.
///
/// An index that cannot be opened knows no object. An object is only found here when the pack could be opened as well;
/// from then on it stays readable, even when somebody removes the files.
pub struct PackFile {
    name: String,
    hash: gix_hash::Kind,
    source: Box<dyn PackSource>,
    index: OnceLock<Option<PackIndex>>,
    data: OnceLock<Option<Data>>,
    rev: OnceLock<Option<Bytes>>,
    order: OnceLock<PackOrder>,
}

/// An opened pack, and where its trailer begins.
struct Data {
    bytes: Box<dyn PackBytes>,
    end: u64,
}

/// Bytes of a pack's header: signature, version, number of objects.
pub const PACK_HEADER_BYTES: u64 = 12;

impl PackFile {
    /// Put together a pack called `name` (`pack-…` without ending) from the bytes of its files.
    ///
    /// Checks what is cheap and keeps later access within bounds: signatures, counts, and that index
    /// and pack name the same trailer. A reverse index that does not fit is left out.
    pub fn open(name: String, index: Bytes, data: Box<dyn PackBytes>, rev: Option<Bytes>, hash: gix_hash::Kind) -> Result<Self, Error> {
        let pack = Self::later(name, Box::new(AtHand { rev }), hash);
        let index = pack.read_index(index)?;
        let data = pack.read_data(data, &index)?;
        let (index, data) = (OnceLock::from(Some(index)), OnceLock::from(Some(data)));
        Ok(Self { index, data, ..pack })
    }

    /// The pack called `name` whose files are opened when they are first needed.
    pub fn later(name: String, source: Box<dyn PackSource>, hash: gix_hash::Kind) -> Self {
        Self { name, hash, source, index: OnceLock::new(), data: OnceLock::new(), rev: OnceLock::new(), order: OnceLock::new() }
    }

    fn read_index(&self, index: Bytes) -> Result<PackIndex, Error> {
        PackIndex::open(index, self.hash).map_err(|why| self.corrupt(&format!("its index cannot be used: {why}")))
    }

    fn read_data(&self, data: Box<dyn PackBytes>, index: &PackIndex) -> Result<Data, Error> {
        let len = data.bytes().len() as u64;
        let trailer = self.hash.len_in_bytes() as u64;
        let end = len.checked_sub(trailer).filter(|end| *end >= PACK_HEADER_BYTES).ok_or_else(|| self.corrupt("pack is too short"))?;
        data.ensure(&[0..PACK_HEADER_BYTES, end..len])?;
        let bytes = data.bytes();
        if &bytes[..4] != b"PACK" || !matches!(be32(bytes, 4), 2 | 3) {
            return Err(self.corrupt("not a pack of version 2 or 3"));
        }
        if be32(bytes, 8) != index.len() {
            return Err(self.corrupt("index and pack disagree on the number of objects"));
        }
        if bytes[end as usize..] != *index.pack_trailer() {
            return Err(self.corrupt("index belongs to another pack"));
        }
        Ok(Data { bytes: data, end })
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::corrupt(format!("{}: {what}", self.name))
    }

    fn index(&self) -> Option<&PackIndex> {
        let open = || self.source.index().map_err(Error::from).and_then(|index| self.read_index(index));
        self.index.get_or_init(|| self.or_left_out(open())).as_ref()
    }

    fn data(&self) -> Option<&Data> {
        let open = || {
            let index = self.index()?;
            self.or_left_out(self.source.data().map_err(Error::from).and_then(|data| self.read_data(data, index)))
        };
        self.data.get_or_init(open).as_ref()
    }

    /// A part that cannot be opened is told of and left out.
    fn or_left_out<T>(&self, opened: Result<T, Error>) -> Option<T> {
        match opened {
            Ok(part) => return Some(part),
            Err(Error::Io(err)) if err.kind() == std::io::ErrorKind::NotFound => {
                tracing::debug!(pack = self.name, "a pack was removed meanwhile")
            }
            Err(err) => tracing::warn!(pack = self.name, error = %err, "ignoring a pack that cannot be opened"),
        }
        None
    }

    /// Whether the pack was tried to be opened and could not.
    pub fn is_left_out(&self) -> bool {
        matches!(self.index.get(), Some(None)) || matches!(self.data.get(), Some(None))
    }

    /// Whether it was opened, and its files are still those that were.
    pub fn is_current(&self) -> bool {
        matches!(self.index.get(), Some(Some(_))) && !self.is_left_out() && self.source.is_current()
    }

    /// Whether index and pack can be opened: opens them.
    pub fn is_usable(&self) -> bool {
        self.index().is_some() && self.data().is_some()
    }

    /// The pack's name without ending: `pack-…`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-1 or SHA-256.
    pub fn hash_kind(&self) -> gix_hash::Kind {
        self.hash
    }

    /// How many entries there are; none when the index cannot be opened.
    pub fn len(&self) -> u32 {
        self.index().map_or(0, PackIndex::len)
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry with this id.
    pub fn find(&self, id: &oid) -> Option<u32> {
        self.index()?.find(id).filter(|_| self.data().is_some())
    }

    /// The id of `entry`, which is below [`PackFile::len`].
    pub fn id(&self, entry: u32) -> &oid {
        self.index().expect("whoever names an entry has found it in the index").id(entry)
    }

    /// Where `entry` begins, in bytes from the start of the pack.
    pub fn offset(&self, entry: u32) -> Result<u64, Error> {
        let offset = self.index().and_then(|index| index.offset(entry)).unwrap_or(0);
        if offset < PACK_HEADER_BYTES || offset >= self.end() {
            return Err(Error::corrupt(format!("{}.idx: entry {entry} lies outside the pack", self.name)));
        }
        Ok(offset)
    }

    /// Where the last entry ends and the trailer begins.
    pub fn end(&self) -> u64 {
        self.data().map_or(0, |data| data.end)
    }

    /// The pack's trailer: the hash of all that is before it; nothing when the pack cannot be opened.
    pub fn trailer(&self) -> &[u8] {
        self.data().map_or(&[], |data| &data.bytes.bytes()[data.end as usize..])
    }

    /// All entries in order of offsets: a table that is made when first asked for, by those who ask for many.
    pub fn order(&self) -> Result<&PackOrder, Error> {
        if let Some(order) = self.order.get() {
            return Ok(order);
        }
        let index = self.index().ok_or_else(|| self.corrupt("the pack cannot be opened"))?;
        let (len, end) = (self.len(), self.end());
        let made = match self.rev() {
            Some(rev) => PackOrder::from_rev(rev.clone(), len, end, |entry| index.offset(entry).unwrap_or(u64::MAX)),
            None => PackOrder::sorted(len, end, |entry| index.offset(entry).unwrap_or(u64::MAX)),
        };
        let order = made.map_err(|what| self.corrupt(what))?;
        Ok(self.order.get_or_init(|| order))
    }

    /// The order, when it is there already or when nothing else tells of positions.
    fn order_at_hand(&self) -> Result<Option<&PackOrder>, Error> {
        match self.order.get() {
            None if self.rev().is_some() => Ok(None),
            _ => self.order().map(Some),
        }
    }

    /// Whether the table of [`PackFile::order`] is made.
    pub(super) fn has_order(&self) -> bool {
        self.order.get().is_some()
    }

    /// Hand the offset of every entry to `each`, by number; unchecked: it may lie outside the pack.
    pub(super) fn each_offset(&self, mut each: impl FnMut(u32, u64)) {
        let Some(index) = self.index() else { return };
        (0..index.len()).for_each(|entry| each(entry, index.offset(entry).unwrap_or(u64::MAX)));
    }

    /// Entry number `position` in order of offsets.
    pub fn entry_at(&self, position: u32) -> Result<u32, Error> {
        let no_entry = || self.corrupt(&format!("no entry {position} among {}", self.len()));
        if position >= self.len() {
            return Err(no_entry());
        }
        match (self.order_at_hand()?, self.rev()) {
            (Some(order), _) => Ok(order.entry(position)),
            (None, Some(rev)) => {
                Some(be32(rev, REV_HEADER_BYTES + position as usize * 4)).filter(|entry| *entry < self.len()).ok_or_else(no_entry)
            }
            (None, None) => Err(no_entry()),
        }
    }

    /// Where the entry at `position` in order of offsets begins; for [`PackFile::len`], where the last one ends.
    pub fn offset_at(&self, position: u32) -> Result<u64, Error> {
        if position == self.len() { Ok(self.end()) } else { self.offset(self.entry_at(position)?) }
    }

    /// The position, in order of offsets, of the entry that begins at `offset`.
    pub fn position_of(&self, offset: u64) -> Result<u32, Error> {
        let nothing_there = || self.corrupt(&format!("no entry begins at offset {offset}"));
        if let Some(order) = self.order_at_hand()? {
            return order.position_of(offset).ok_or_else(nothing_there);
        }
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.offset_at(middle)?.cmp(&offset) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(nothing_there())
    }

    /// The `.rev` file, where there is a sound one.
    fn rev(&self) -> Option<&Bytes> {
        let open = || match self.source.rev() {
            Some(rev) if self.is_sound_rev(&rev) => Some(rev),
            Some(_) => {
                tracing::warn!(pack = self.name, "ignoring a reverse index that is damaged or belongs to another pack");
                None
            }
            None => None,
        };
        self.rev.get_or_init(open).as_ref()
    }

    /// Whether a reverse index is whole and this pack's. Its checksum is looked at, for a wrong number in it would send
    /// wrong bytes: a millisecond for 300,000 objects, and only requests that read packs in order pay it.
    fn is_sound_rev(&self, rev: &Bytes) -> bool {
        let hash_len = self.hash.len_in_bytes();
        let (len, id) = (REV_HEADER_BYTES + self.len() as usize * 4 + 2 * hash_len, u32::from(hash_version(self.hash)));
        rev.len() == len
            && &rev[..4] == b"RIDX"
            && be32(rev, 4) == 1
            && be32(rev, 8) == id
            && rev[len - 2 * hash_len..len - hash_len] == *self.trailer()
            && checksum_holds(rev, self.hash)
    }

    /// The header of the entry that begins at `offset`.
    pub fn header(&self, offset: u64) -> Result<EntryHeader, Error> {
        let end = self.end().min(offset.saturating_add(HEADER_BYTES_MAX as u64));
        let bytes = self.slice(offset..end)?;
        match EntryHeader::read(bytes, offset, self.hash) {
            Ok(Some(header)) => Ok(header),
            Ok(None) => Err(Error::corrupt(format!("{}: entry at {offset} is cut off", self.name))),
            Err(err) => Err(Error::corrupt(format!("{}: {err}", self.name))),
        }
    }

    /// The deflated data of the entry at `offset` with this `header`, and maybe bytes behind it.
    pub fn data_of(&self, offset: u64, header: &EntryHeader) -> Result<&[u8], Error> {
        let start = offset + header.len as u64;
        self.slice(start..self.end().min(start.saturating_add(Self::stream_bytes_max(header.size))))
    }

    /// Bytes of any sensible zlib stream of `size` bytes.
    pub(super) fn stream_bytes_max(size: u64) -> u64 {
        // A zlib stream is at most 0.04 % and a few bytes longer than what it holds; stored blocks of odd encoders a little more.
        size.saturating_add(size / 256).saturating_add(1024)
    }

    /// These bytes of the pack, header and trailer included.
    pub fn slice(&self, range: Range<u64>) -> Result<&[u8], Error> {
        let data = self.data().ok_or_else(|| self.corrupt("the pack cannot be opened"))?;
        data.bytes.ensure(std::slice::from_ref(&range))?;
        data.bytes
            .bytes()
            .get(range.start as usize..range.end as usize)
            .ok_or_else(|| Error::corrupt(format!("{}: bytes {range:?} lie outside the pack", self.name)))
    }
}
