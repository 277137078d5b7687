//! Locations into whole objects, with a bounded cache.
//!
//! A delta chain is followed with a stack, never by recursion, and everything met on the way is kept for the
//! neighbours that share it, up to a budget in bytes; the oldest goes first.

use super::{Base, EntryHeader, Error, Inflater, Kind, Location, Objects, PackFile, apply_delta, delta_sizes, kind_of_code};
use crate::base::FastMap;
use gix_hash::oid;
use std::collections::VecDeque;
use std::sync::Arc;

/// An object's type and its bytes.
pub type Object = (Kind, Arc<Vec<u8>>);

/// Whole objects that one decoder has met, for others.
#[derive(Debug, Default)]
pub struct Decoded(FastMap<(u32, u64), Object>);

/// Whole objects for one thread.
pub struct Decoder<'a> {
    objects: &'a dyn Objects,
    given: Option<&'a Decoded>,
    inflater: Inflater,
    cache: FastMap<(u32, u64), Object>,
    oldest: VecDeque<(u32, u64)>,
    held_bytes: usize,
    cache_bytes_max: usize,
    /// How far that bound goes up where objects are large; 0: it stays.
    grows_to: usize,
    delta: Vec<u8>,
}

/// Bytes that one deflated byte can stand for.
const DEFLATE_RATIO_MAX: usize = 1032;
/// Two sizes of 64 bits in pieces of seven.
const DELTA_SIZES_BYTES_MAX: usize = 20;
/// A chain of deltas as git makes them, and what stands beside it.
const CHAIN: usize = 128;
/// Accounted for each cached object besides its bytes.
const CACHE_ENTRY_BYTES: usize = 96;

impl<'a> Decoder<'a> {
    /// A decoder over `objects` whose cache holds at most `cache_bytes_max`.
    pub fn new(objects: &'a dyn Objects, cache_bytes_max: usize) -> Self {
        Self {
            objects,
            given: None,
            inflater: Inflater::new(),
            cache: FastMap::default(),
            oldest: VecDeque::new(),
            held_bytes: 0,
            cache_bytes_max,
            grows_to: 0,
            delta: vec![],
        }
    }

    /// The same, whose cache has room for a chain of the largest objects met, up to `bytes`.
    pub fn growing_to(self, bytes: usize) -> Self {
        Self { grows_to: bytes, ..self }
    }

    /// The same, which looks among what another one of the same objects has `decoded`, too.
    pub fn given(self, decoded: &'a Decoded) -> Self {
        Self { given: Some(decoded), ..self }
    }

    /// What it holds at the end.
    pub fn into_decoded(self) -> Decoded {
        Decoded(self.cache)
    }

    /// What this decoder reads from.
    pub fn objects(&self) -> &'a dyn Objects {
        self.objects
    }

    /// The object with this id; `Ok(None)` when it is not here.
    pub fn find(&mut self, id: &oid) -> Result<Option<Object>, Error> {
        match self.objects.locate(id)? {
            Some(location) => self.get(&location).map(Some),
            None => Ok(None),
        }
    }

    /// The object at `location`.
    pub fn get(&mut self, location: &Location) -> Result<Object, Error> {
        match location {
            Location::Loose(id) => {
                let mut data = vec![];
                if let Some(kind) = self.objects.read_loose(id, &mut data)? {
                    return Ok((kind, Arc::new(data)));
                }
                // It may have been packed meanwhile.
                match self.objects.moved(id)? {
                    Some(Location::Packed { pack, entry }) => self.packed(pack, entry),
                    _ => Err(Error::Missing(*id)),
                }
            }
            Location::Packed { pack, entry } => self.packed(*pack, *entry),
        }
    }

    fn packed(&mut self, pack: u32, entry: u32) -> Result<Object, Error> {
        let offset = self.pack(pack).offset(entry)?;
        self.entry(pack, offset)
    }

    /// Bytes of the object at `location`, of which hardly more is inflated than a delta's first bytes or a loose object's header.
    pub fn size(&mut self, location: &Location) -> Result<u64, Error> {
        let (pack, entry) = match location {
            Location::Packed { pack, entry } => (*pack, *entry),
            Location::Loose(id) => match self.objects.loose_header(id)? {
                Some((_, size)) => return Ok(size),
                None => match self.objects.moved(id)? {
                    Some(Location::Packed { pack, entry }) => (pack, entry),
                    _ => return Err(Error::Missing(*id)),
                },
            },
        };
        let file = self.pack(pack);
        let offset = file.offset(entry)?;
        let header = file.header(offset)?;
        if let Base::Whole(_) = header.base {
            return Ok(header.size);
        }
        let mut start = [0u8; DELTA_SIZES_BYTES_MAX];
        let data = file.data_of(offset, &header)?;
        self.inflater.reset();
        let (mut taken, mut filled) = (0, 0);
        loop {
            let step = self.inflater.step(&data[taken..], &mut start[filled..])?;
            (taken, filled) = (taken + step.consumed, filled + step.written);
            if let Some((_, size)) = delta_sizes(&start[..filled]) {
                return Ok(size);
            }
            if step.ended || step.consumed + step.written == 0 {
                return Err(Error::corrupt(format!("{}: bad delta at offset {offset}", file.name())));
            }
        }
    }

    /// The type of the object at `location`, without inflating more than a loose object's header allows.
    pub fn kind(&mut self, location: &Location) -> Result<Kind, Error> {
        let (pack, entry) = match location {
            Location::Packed { pack, entry } => (pack, entry),
            Location::Loose(id) => {
                return match self.objects.loose_header(id)? {
                    Some((kind, _)) => Ok(kind),
                    None => Ok(self.get(location)?.0),
                };
            }
        };
        let file = self.pack(*pack);
        let mut offset = file.offset(*entry)?;
        for _ in 0..=file.len() {
            if let Some((kind, _)) = self.cache.get(&(*pack, offset)) {
                return Ok(*kind);
            }
            match file.header(offset)?.base {
                Base::Whole(code) => return kind_of(code),
                Base::Offset(base) => offset = base,
                Base::Id(id) => offset = base_of_ref_delta(file, &id)?,
            }
        }
        Err(Error::corrupt(format!("{}: deltas form a circle", file.name())))
    }

    fn pack(&self, pack: u32) -> &'a PackFile {
        &self.objects.packs()[pack as usize]
    }

    fn entry(&mut self, pack: u32, offset: u64) -> Result<Object, Error> {
        let file = self.pack(pack);
        let mut chain = vec![];
        let mut at = offset;
        let (kind, mut object) = loop {
            let given = || self.given?.0.get(&(pack, at));
            if let Some(found) = self.cache.get(&(pack, at)).or_else(given) {
                break found.clone();
            }
            let header = file.header(at)?;
            match header.base {
                Base::Whole(code) => {
                    let mut data = vec![];
                    inflate_entry(&mut self.inflater, file, at, &header, &mut data)?;
                    let found = (kind_of(code)?, Arc::new(data));
                    self.keep((pack, at), &found);
                    break found;
                }
                Base::Offset(base) => {
                    chain.push((at, header));
                    at = base;
                }
                Base::Id(id) => {
                    chain.push((at, header));
                    at = base_of_ref_delta(file, &id)?;
                }
            }
            if chain.len() > file.len() as usize {
                return Err(Error::corrupt(format!("{}: deltas form a circle", file.name())));
            }
        };
        let mut delta = std::mem::take(&mut self.delta);
        for (at, header) in chain.into_iter().rev() {
            inflate_entry(&mut self.inflater, file, at, &header, &mut delta)?;
            let mut data = vec![];
            let fits = delta_sizes(&delta).is_some() && apply_delta(&object, &delta, &mut data).is_some();
            if !fits {
                return Err(Error::corrupt(format!("{}: bad delta at offset {at}", file.name())));
            }
            object = Arc::new(data);
            self.keep((pack, at), &(kind, object.clone()));
        }
        self.delta = delta;
        Ok((kind, object))
    }

    fn keep(&mut self, key: (u32, u64), found: &Object) {
        let bytes = found.1.len() + CACHE_ENTRY_BYTES;
        self.cache_bytes_max = self.cache_bytes_max.max(bytes.saturating_mul(CHAIN).min(self.grows_to));
        if bytes > self.cache_bytes_max / 4 || self.cache.insert(key, found.clone()).is_some() {
            return;
        }
        self.oldest.push_back(key);
        self.held_bytes += bytes;
        while self.held_bytes > self.cache_bytes_max {
            let Some(key) = self.oldest.pop_front() else { break };
            if let Some((_, data)) = self.cache.remove(&key) {
                self.held_bytes -= data.len() + CACHE_ENTRY_BYTES;
            }
        }
    }
}

/// Inflate the data of the entry at `at` with this `header` into `out`: an object, or a delta.
pub fn inflate_entry(inflater: &mut Inflater, file: &PackFile, at: u64, header: &EntryHeader, out: &mut Vec<u8>) -> Result<(), Error> {
    let size = usize::try_from(header.size).map_err(|_| Error::corrupt(format!("{}: entry at {at} is too big", file.name())))?;
    let data = file.data_of(at, header)?;
    // What a damaged header declares is not allocated: deflate makes at most 1,032 bytes of one.
    if size / DEFLATE_RATIO_MAX > data.len() {
        return Err(Error::corrupt(format!("{}: entry at offset {at} declares {size} bytes", file.name())));
    }
    match inflater.whole(data, size, out) {
        Ok(_) => Ok(()),
        // An odd encoder's stream may be longer than any sensible one: look as far as the pack goes.
        Err(_) if data.len() as u64 > header.size => {
            let data = file.slice(at + header.len as u64..file.end())?;
            inflater.whole(data, size, out).map(drop)
        }
        Err(err) => Err(err),
    }
    .map_err(|err| Error::corrupt(format!("{}: entry at offset {at}: {err}", file.name())))
}

/// Packs on disk are never thin: a base lies in the same pack.
fn base_of_ref_delta(file: &PackFile, id: &oid) -> Result<u64, Error> {
    match file.find(id) {
        Some(base) => file.offset(base),
        None => Err(Error::corrupt(format!("{}: a delta's base {id} is not in the pack", file.name()))),
    }
}

fn kind_of(code: u8) -> Result<Kind, Error> {
    kind_of_code(code).ok_or_else(|| Error::corrupt(format!("no object type has number {code}")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::{Cancel, Progress};
    use crate::pack::index::{IngestLimits, ingest};
    use crate::pack::{LocalBytes, PackBytes, write_entry_header};
    use bytes::Bytes;
    use gix_hash::{Kind::Sha1, ObjectId};
    use std::ops::Range;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub(in crate::pack) struct Packs(pub Vec<Arc<PackFile>>);

    impl Objects for Packs {
        fn hash_kind(&self) -> gix_hash::Kind {
            Sha1
        }

        fn packs(&self) -> &[Arc<PackFile>] {
            &self.0
        }

        fn locate(&self, id: &oid) -> Result<Option<Location>, Error> {
            let find = |(pack, file): (usize, &Arc<PackFile>)| Some(Location::Packed { pack: pack as u32, entry: file.find(id)? });
            Ok(self.0.iter().enumerate().find_map(find))
        }

        fn read_loose(&self, _: &oid, _: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
            Ok(None)
        }
    }

    /// A zlib stream of `data` as an odd encoder makes it: `empty` stored blocks without any bytes come first.
    pub(in crate::pack) fn odd_stream(data: &[u8], empty: usize) -> Vec<u8> {
        let mut out = vec![0x78, 0x01];
        out.extend([0, 0, 0, 0xff, 0xff].repeat(empty));
        let len = data.len() as u16;
        out.push(1);
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(data);
        let (a, b) = data.iter().fold((1u32, 0u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        out.extend((b << 16 | a).to_be_bytes());
        out
    }

    pub(in crate::pack) fn pack(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut out = b"PACK\0\0\0\x02".to_vec();
        out.extend((entries.len() as u32).to_be_bytes());
        out.extend(entries.concat());
        let mut hasher = gix_hash::hasher(Sha1);
        hasher.update(&out);
        out.extend(hasher.try_finalize().expect("no collision").as_slice());
        out
    }

    pub(in crate::pack) fn blob(data: &[u8], stream: Vec<u8>) -> Vec<u8> {
        let mut entry = vec![];
        write_entry_header(3, data.len() as u64, &mut entry);
        [entry, stream].concat()
    }

    fn id_of(data: &[u8]) -> ObjectId {
        gix_object::compute_hash(Sha1, Kind::Blob, data).expect("no collision")
    }

    /// The files of `bytes` as ingestion leaves them: pack and index.
    pub(in crate::pack) fn ingested(bytes: &[u8]) -> (String, Vec<u8>, Vec<u8>) {
        let folder = tempfile::tempdir().expect("a folder");
        let (limits, progress) = (IngestLimits::default(), Progress::new());
        let made = ingest(&mut &bytes[..], folder.path(), &Packs(vec![]), &limits, &progress, &Cancel::new()).expect("a good pack");
        let name = made.name.expect("it has objects");
        let read = |end: &str| std::fs::read(folder.path().join(format!("{name}.{end}"))).expect("it was written");
        (name.clone(), read("pack"), read("idx"))
    }

    pub(in crate::pack) fn open(name: &str, data: Box<dyn PackBytes>, idx: Vec<u8>) -> Packs {
        Packs(vec![Arc::new(PackFile::open(name.to_owned(), idx.into(), data, None, Sha1).expect("it fits"))])
    }

    #[test]
    fn a_stream_far_longer_than_its_object_is_read_to_its_end() {
        let (odd, plain) = (b"four hundred bytes less 378", b"plain");
        let bytes = pack(&[blob(odd, odd_stream(odd, 2000)), blob(plain, odd_stream(plain, 0))]);
        let (name, data, idx) = ingested(&bytes);
        let objects = open(&name, Box::new(LocalBytes(data.into())), idx);
        let mut decoder = Decoder::new(&objects, 1 << 20);
        for data in [&odd[..], plain] {
            let (kind, found) = decoder.find(&id_of(data)).expect("readable").expect("here");
            assert_eq!((kind, &found[..]), (Kind::Blob, data));
        }
    }

    #[test]
    fn a_header_that_declares_too_much_costs_no_memory() {
        let small = b"small";
        let (name, mut data, idx) = ingested(&pack(&[blob(small, odd_stream(small, 3))]));
        // Six bytes of header that declare 12 GiB, in place of one byte and five of the stream.
        let mut header = vec![];
        write_entry_header(3, 12 << 30, &mut header);
        data[12..12 + header.len()].copy_from_slice(&header);
        let objects = open(&name, Box::new(LocalBytes(data.into())), idx);
        let refusal = Decoder::new(&objects, 1 << 20).find(&id_of(small)).expect_err("a lie");
        assert!(refusal.to_string().contains("declares 12884901888 bytes"), "{refusal}");
    }

    #[test]
    fn a_base_that_is_not_in_the_pack_is_damage_and_no_journey() {
        let small = b"small and more";
        let (name, mut data, idx) = ingested(&pack(&[blob(small, odd_stream(small, 6))]));
        let mut header = vec![];
        write_entry_header(7, small.len() as u64, &mut header);
        header.extend([7; 20]);
        data[12..12 + header.len()].copy_from_slice(&header);
        let objects = open(&name, Box::new(LocalBytes(data.into())), idx);
        let mut decoder = Decoder::new(&objects, 1 << 20);
        let location = objects.locate(&id_of(small)).expect("readable").expect("here");
        assert!(matches!(decoder.get(&location), Err(Error::Corrupt(_))));
        assert!(matches!(decoder.kind(&location), Err(Error::Corrupt(_))));
    }

    /// Bytes that are somewhere else and cannot be had every `n`th time.
    struct Flaky(Bytes, AtomicUsize, usize);

    impl PackBytes for Flaky {
        fn bytes(&self) -> &Bytes {
            &self.0
        }

        fn ensure(&self, _: &[Range<u64>]) -> std::io::Result<()> {
            match (self.1.fetch_add(1, Ordering::Relaxed) + 1) % self.2 {
                0 => Err(std::io::ErrorKind::TimedOut.into()),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn bytes_that_cannot_be_fetched_are_an_error_wherever_they_are_wanted() {
        let (one, two) = (b"one", b"two");
        let (name, data, idx) = ingested(&pack(&[blob(one, odd_stream(one, 0)), blob(two, odd_stream(two, 0))]));
        for n in 1..8 {
            let flaky = Flaky(data.clone().into(), AtomicUsize::new(0), n);
            let Ok(file) = PackFile::open(name.clone(), idx.clone().into(), Box::new(flaky), None, Sha1) else {
                assert_eq!(n, 1, "opening wants bytes once");
                continue;
            };
            let objects = Packs(vec![Arc::new(file)]);
            let mut decoder = Decoder::new(&objects, 0);
            let outcomes: Vec<_> = (0..8).map(|at| decoder.find(&id_of(if at % 2 == 0 { one } else { two }))).collect();
            let failed = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Io(_)))).count();
            let fine = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Some(_)))).count();
            assert!(failed > 0 && failed + fine == 8, "every {n}th time: {failed} failed, {fine} fine");
        }
    }
}
