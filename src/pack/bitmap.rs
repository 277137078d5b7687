//! A bitmap file into what its commits reach, as sets over a pack or over a multi-pack index.
//!
//! Source: git's bitmap format (version 1). A bit's number is the object's place in the pack by offset, or in the
//! pseudo-pack that the multi-pack index strings together ("multi-pack-index reverse indexes" in gitformat-pack).
//! The lookup table is used where there is one; pseudo-merges are known and passed over; a file with flags that nobody
//! has defined yet is not used at all.
//!
//! A bit that turned over would give a wrong set without a sign, so the checksum is looked at when a file is opened
//! (a millisecond per megabyte), which only requests do that are about to use it. Places are looked up in the packs'
//! own indexes. The name-hash cache of a multi-pack bitmap may be all zeros.

use super::chunks::{be32, be64, checksum_holds};
use super::ewah::Ewah;
use super::{Bits, Error, Kind, Location, MultiPackIndex, PackFile};
use crate::base::{FastMap, FastSet};
use bytes::Bytes;
use gix_hash::oid;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of the header before the checksum: signature, version, flags, count.
const HEADER_BYTES: usize = 12;
/// Bytes before a commit's bitmap: its position, what it is combined with, flags.
const ROW_HEADER_BYTES: usize = 6;
/// Bytes of one row of the lookup table: position, offset, row that it is combined with.
const TRIPLET_BYTES: usize = 16;
/// How many rows back a bitmap may be combined with.
const XOR_OFFSET_MAX: usize = 160;
/// A lookup table's word for "combined with nothing".
const NO_ROW: u32 = u32::MAX;

const FULL_DAG: u16 = 0x1;
const HASH_CACHE: u16 = 0x4;
const LOOKUP_TABLE: u16 = 0x10;
const PSEUDO_MERGES: u16 = 0x20;

/// What the numbers of bits refer to.
pub enum BitmapOwner {
    /// The pack with this number in [`super::Objects::packs`].
    Pack(u32),
    /// A multi-pack index.
    MultiPack {
        /// The index.
        index: Arc<MultiPackIndex>,
        /// Its ranks in pseudo-pack order, as numbers of four bytes.
        order: Bytes,
        /// For each of its packs the number in [`super::Objects::packs`].
        packs: Vec<u32>,
    },
}

/// Neighbouring bits whose objects lie in one pack, in the order of that pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The pack's number in [`super::Objects::packs`].
    pub pack: u32,
    /// The numbers of the bits.
    pub bits: Range<u32>,
    /// Whether every object of the pack is among them: then a bit's number less `bits.start` is the place in the pack.
    pub is_whole: bool,
}

/// One stored bitmap.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Rank by id of its commit in the pack or multi-pack index.
    commit: u32,
    /// Where its EWAH words begin.
    at: usize,
    /// The row that it is combined with, or [`NO_ROW`].
    xor: u32,
}

/// An opened bitmap file.
pub struct Bitmaps {
    data: Bytes,
    owner: BitmapOwner,
    packs: Vec<Arc<PackFile>>,
    segments: Vec<Segment>,
    /// Numbers of segments by those of their packs.
    by_pack: FastMap<u32, usize>,
    /// For a multi-pack index the entry of each bit in its pack.
    entries: Vec<u32>,
    kinds: [Bits; 4],
    rows: Vec<Row>,
    /// Numbers of rows by the rank of their commits.
    by_commit: Vec<u32>,
    name_hashes: Option<usize>,
}

const KINDS: [Kind; 4] = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag];

impl Bitmaps {
    /// Read the bitmap file `data` of `owner`; `packs` are all of [`super::Objects::packs`].
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file is damaged, stale, or speaks of packs that are not there any more.
    pub fn open(data: Bytes, owner: BitmapOwner, packs: &[Arc<PackFile>], hash: gix_hash::Kind) -> Result<Self, Error> {
        let corrupt = |what: &str| Error::corrupt(what);
        let begin = HEADER_BYTES + hash.len_in_bytes();
        let end = data.len().checked_sub(hash.len_in_bytes()).filter(|end| *end >= begin).ok_or_else(|| corrupt("it is too short"))?;
        let flags = be32(&data, 4) as u16;
        if &data[..6] != b"BITM\x00\x01" || flags & !(HASH_CACHE | LOOKUP_TABLE | PSEUDO_MERGES) != FULL_DAG {
            return Err(corrupt("it is no bitmap of version 1 with known flags"));
        }
        let whose = match &owner {
            BitmapOwner::Pack(pack) => packs[*pack as usize].trailer(),
            BitmapOwner::MultiPack { index, .. } => index.checksum(),
        };
        if data[HEADER_BYTES..begin] != *whose {
            return Err(corrupt("it belongs to another pack or multi-pack index"));
        }
        if !checksum_holds(&data, hash) {
            return Err(corrupt("its checksum is wrong"));
        }
        let (segments, entries) = match &owner {
            BitmapOwner::Pack(pack) => (vec![Segment { pack: *pack, bits: 0..packs[*pack as usize].len(), is_whole: true }], vec![]),
            BitmapOwner::MultiPack { index, order, packs: numbers } => order_of(index, order, numbers, packs)?,
        };
        let mut bitmaps = Self {
            data,
            owner,
            packs: packs.to_vec(),
            by_pack: segments.iter().enumerate().map(|(number, segment)| (segment.pack, number)).collect(),
            segments,
            entries,
            kinds: Default::default(),
            rows: vec![],
            by_commit: vec![],
            name_hashes: None,
        };
        bitmaps.read_tables(flags, begin, end).ok_or_else(|| corrupt("its tables are damaged"))?;
        Ok(bitmaps)
    }

    /// The parts of the file from front and back: type bitmaps and rows, then hash cache, lookup table, pseudo-merges.
    fn read_tables(&mut self, flags: u16, begin: usize, mut end: usize) -> Option<()> {
        let len = self.len() as usize;
        let count = be32(&self.data, 8) as usize;
        let mut back = |bytes: usize| {
            end = end.checked_sub(bytes).filter(|end| *end >= begin)?;
            Some(end)
        };
        self.name_hashes = if flags & HASH_CACHE != 0 { Some(back(len * 4)?) } else { None };
        let table = if flags & LOOKUP_TABLE != 0 { Some(back(count * TRIPLET_BYTES)?) } else { None };
        if flags & PSEUDO_MERGES != 0 {
            let size_at = back(8)?;
            back(usize::try_from(be64(&self.data, size_at)).ok()?.checked_sub(8)?)?;
        }
        let at = self.read_kinds(begin, end)?;
        self.rows = match table {
            Some(table) => self.read_lookup_table(table, count, at..end)?,
            None => self.read_rows(count, at, end)?,
        };
        self.by_commit = (0..self.rows.len() as u32).collect();
        self.by_commit.sort_unstable_by_key(|row| self.rows[*row as usize].commit);
        let differ = self.by_commit.windows(2).all(|two| self.rows[two[0] as usize].commit != self.rows[two[1] as usize].commit);
        (differ && self.rows.iter().all(|row| (row.commit as usize) < len)).then_some(())
    }

    /// The four type bitmaps, which must put each object into exactly one; where they end.
    fn read_kinds(&mut self, mut at: usize, end: usize) -> Option<usize> {
        let len = self.len() as usize;
        let (mut all, mut sum) = (Bits::new(len), 0);
        for kind in &mut self.kinds {
            let (ewah, next) = Ewah::read(&self.data[..end], at)?;
            *kind = Bits::new(len);
            ewah.xor_into(kind)?;
            all.or(kind);
            sum += kind.count();
            at = next;
        }
        (sum == len && all.count() == len).then_some(at)
    }

    /// Rows one behind the other.
    fn read_rows(&self, count: usize, mut at: usize, end: usize) -> Option<Vec<Row>> {
        let mut rows = vec![];
        for number in 0..count {
            let header = self.data[..end].get(at..at + ROW_HEADER_BYTES)?;
            let back = usize::from(header[4]);
            if back > XOR_OFFSET_MAX || back > number {
                return None;
            }
            let xor = if back == 0 { NO_ROW } else { (number - back) as u32 };
            rows.push(Row { commit: be32(header, 0), at: at + ROW_HEADER_BYTES, xor });
            (_, at) = Ewah::read(&self.data[..end], at + ROW_HEADER_BYTES)?;
        }
        Some(rows)
    }

    /// The lookup table at `table`; the rows that it speaks of lie within `bounds`.
    fn read_lookup_table(&self, table: usize, count: usize, bounds: Range<usize>) -> Option<Vec<Row>> {
        let row = |triplet: &[u8]| {
            let at = usize::try_from(be64(triplet, 4)).ok()?.checked_add(ROW_HEADER_BYTES)?;
            let row = Row { commit: be32(triplet, 0), at, xor: be32(triplet, 12) };
            (bounds.contains(&at) && (row.xor == NO_ROW || (row.xor as usize) < count)).then_some(row)
        };
        self.data[table..table + count * TRIPLET_BYTES].chunks_exact(TRIPLET_BYTES).map(row).collect()
    }

    /// How many bits, that is objects, there are.
    pub fn len(&self) -> u32 {
        self.segments.last().map_or(0, |segment| segment.bits.end)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All objects of one type.
    pub fn of_kind(&self, kind: Kind) -> &Bits {
        let number = KINDS.iter().position(|known| *known == kind).expect("there are four");
        &self.kinds[number]
    }

    /// The type of the object `bit`.
    pub fn kind(&self, bit: u32) -> Kind {
        let number = self.kinds.iter().position(|bits| bits.get(bit as usize)).expect("checked when opened: each has one");
        KINDS[number]
    }

    /// Bits by pack, in rising order; together they are all bits.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Where the object `bit` lies.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there is no such bit.
    pub fn location(&self, bit: u32) -> Result<Location, Error> {
        let no_bit = || Error::corrupt(format!("no bit {bit} among {}", self.len()));
        let at = self.segments.partition_point(|segment| segment.bits.end <= bit);
        let segment = self.segments.get(at).ok_or_else(no_bit)?;
        let entry = match self.entries.get(bit as usize) {
            Some(entry) => *entry,
            None => self.packs[segment.pack as usize].entry_at(bit)?,
        };
        Ok(Location::Packed { pack: segment.pack, entry })
    }

    /// The id of the object `bit`.
    pub fn id(&self, bit: u32) -> Result<&oid, Error> {
        match self.location(bit)? {
            Location::Packed { pack, entry } => Ok(self.packs[pack as usize].id(entry)),
            Location::Loose(_) => Err(Error::corrupt("a bit stands for a packed object")),
        }
    }

    /// The bit of the object at `location`; `None` when it is not among them.
    pub fn bit(&self, location: &Location) -> Result<Option<u32>, Error> {
        let Location::Packed { pack, entry } = *location else { return Ok(None) };
        let Some(segment) = self.by_pack.get(&pack).map(|number| &self.segments[*number]) else { return Ok(None) };
        let file = &self.packs[pack as usize];
        let offset = file.offset(entry)?;
        if segment.is_whole {
            return Ok(Some(segment.bits.start + file.position_of(offset)?));
        }
        let entries = &self.entries[segment.bits.start as usize..segment.bits.end as usize];
        let (mut low, mut high) = (0, entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if file.offset(entries[middle])? < offset { low = middle + 1 } else { high = middle }
        }
        Ok((entries.get(low) == Some(&entry)).then_some(segment.bits.start + low as u32))
    }

    /// The hash of a path at which the object `bit` was once found; 0 means that nothing is known.
    pub fn name_hash(&self, bit: u32) -> Result<u32, Error> {
        match self.name_hashes {
            Some(at) => Ok(be32(&self.data, at + self.rank(bit)? as usize * 4)),
            None => Ok(0),
        }
    }

    /// The rank by id of a bit in the pack or multi-pack index.
    fn rank(&self, bit: u32) -> Result<u32, Error> {
        match (&self.owner, self.location(bit)?) {
            (BitmapOwner::Pack(_), Location::Packed { entry, .. }) => Ok(entry),
            (BitmapOwner::MultiPack { order, .. }, _) => Ok(be32(order, bit as usize * 4)),
            (_, Location::Loose(_)) => Err(Error::corrupt("a bit stands for a packed object")),
        }
    }

    /// How many commits have a bitmap.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The ids of all commits that have a bitmap.
    pub fn commits(&self) -> impl Iterator<Item = &oid> {
        self.rows.iter().map(|row| match &self.owner {
            BitmapOwner::Pack(pack) => self.packs[*pack as usize].id(row.commit),
            BitmapOwner::MultiPack { index, .. } => index.id(row.commit),
        })
    }

    /// The number of the row that says what the commit `id` reaches; `None` when it has none.
    pub fn row(&self, id: &oid) -> Option<u32> {
        let rank = match &self.owner {
            BitmapOwner::Pack(pack) => self.packs[*pack as usize].find(id),
            BitmapOwner::MultiPack { index, .. } => index.find(id),
        }?;
        let found = self.by_commit.binary_search_by_key(&rank, |row| self.rows[*row as usize].commit);
        found.ok().map(|at| self.by_commit[at])
    }
}

/// Segments of a multi-pack index, and each bit's entry in its pack. Everything that the index says is compared with
/// the packs.
fn order_of(index: &MultiPackIndex, order: &[u8], numbers: &[u32], packs: &[Arc<PackFile>]) -> Result<(Vec<Segment>, Vec<u32>), Error> {
    if !index.is_sound() || order.len() != index.len() as usize * 4 {
        return Err(Error::corrupt("the multi-pack index or its reverse index is damaged"));
    }
    let misfit = || Error::corrupt("the multi-pack index does not fit its packs");
    let entry_of_rank = entries_by_rank(index, numbers, packs)?.ok_or_else(misfit)?;
    let mut segments: Vec<Segment> = vec![];
    let mut seen = FastSet::default();
    let mut entries = Vec::with_capacity(order.len() / 4);
    let mut last = None;
    for (bit, rank) in (0u32..).zip(order.chunks_exact(4).map(|bytes| be32(bytes, 0))) {
        let entry = *entry_of_rank.get(rank as usize).ok_or_else(misfit)?;
        let (pack, offset) = (numbers[index.pack(rank) as usize], index.offset(rank).ok_or_else(misfit)?);
        match last {
            Some((before, at)) if before == pack => {
                if offset <= at {
                    return Err(misfit());
                }
            }
            _ => {
                if !seen.insert(pack) {
                    return Err(misfit());
                }
                segments.push(Segment { pack, bits: bit..bit, is_whole: false });
            }
        }
        last = Some((pack, offset));
        segments.last_mut().expect("the first bit begins one").bits.end = bit + 1;
        entries.push(entry);
    }
    for segment in &mut segments {
        segment.is_whole = segment.bits.len() == packs[segment.pack as usize].len() as usize;
    }
    Ok((segments, entries))
}

/// For each rank of the multi-pack index the entry in its pack; `None` when the two do not fit.
fn entries_by_rank(index: &MultiPackIndex, numbers: &[u32], packs: &[Arc<PackFile>]) -> Result<Option<Vec<u32>>, Error> {
    // Ids rise in the packs as in the index: one way through all of them.
    let mut cursors = vec![0u32; numbers.len()];
    let mut entries = Vec::with_capacity(index.len() as usize);
    for rank in 0..index.len() {
        let number = index.pack(rank) as usize;
        let (Some(pack), Some(cursor)) = (numbers.get(number), cursors.get_mut(number)) else { return Ok(None) };
        let (pack, id) = (&packs[*pack as usize], index.id(rank));
        while *cursor < pack.len() && pack.id(*cursor) < id {
            *cursor += 1;
        }
        let fits = *cursor < pack.len() && pack.id(*cursor) == id && Some(pack.offset(*cursor)?) == index.offset(rank);
        if !fits {
            return Ok(None);
        }
        entries.push(*cursor);
    }
    Ok(Some(entries))
}

/// Bytes of sets that a reader keeps, because others are stored as differences from them.
const CACHE_BYTES_MAX: usize = 8 << 20;
/// On a long chain of differences every so many-th set is kept.
const KEEP_EVERY: usize = 16;

/// Rows into sets, with a bounded memory of those read last.
pub struct BitmapReader<'a> {
    bitmaps: &'a Bitmaps,
    kept: FastMap<u32, Rc<Bits>>,
    oldest: VecDeque<u32>,
    kept_max: usize,
}

impl<'a> BitmapReader<'a> {
    /// A reader that has read nothing yet.
    pub fn new(bitmaps: &'a Bitmaps) -> Self {
        let set_bytes = bitmaps.len() as usize / 8 + 64;
        Self { bitmaps, kept: FastMap::default(), oldest: VecDeque::new(), kept_max: (CACHE_BYTES_MAX / set_bytes).max(2) }
    }

    /// What the commit of [`Bitmaps::row`] number `row` reaches, itself included.
    pub fn read(&mut self, row: u32) -> Result<Rc<Bits>, Error> {
        let mut chain = vec![];
        let mut at = row;
        let mut bits = loop {
            if let Some(kept) = self.kept.get(&at) {
                if chain.is_empty() {
                    return Ok(kept.clone());
                }
                break Bits::clone(kept);
            }
            if chain.len() > self.bitmaps.rows.len() {
                return Err(Error::corrupt("bitmaps form a circle"));
            }
            chain.push(at);
            at = self.bitmaps.rows[at as usize].xor;
            if at == NO_ROW {
                break Bits::new(self.bitmaps.len() as usize);
            }
        };
        for (left, &at) in chain.iter().enumerate().rev() {
            let data = &self.bitmaps.data;
            let read = Ewah::read(data, self.bitmaps.rows[at as usize].at).and_then(|(ewah, _)| ewah.xor_into(&mut bits));
            read.ok_or_else(|| Error::corrupt("a bitmap is damaged"))?;
            if left > 0 && left.is_multiple_of(KEEP_EVERY) {
                self.keep(at, Rc::new(bits.clone()));
            }
        }
        let bits = Rc::new(bits);
        self.keep(row, bits.clone());
        Ok(bits)
    }

    fn keep(&mut self, row: u32, bits: Rc<Bits>) {
        if self.kept.insert(row, bits).is_none() {
            self.oldest.push_back(row);
        }
        if self.oldest.len() > self.kept_max
            && let Some(row) = self.oldest.pop_front()
        {
            self.kept.remove(&row);
        }
    }
}
