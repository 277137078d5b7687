//! Locations into whole objects, with a bounded cache.
//!
//! A delta chain is followed with a stack, never by recursion, and everything met on the way is kept for the
//! neighbours that share it, up to a budget in bytes; the oldest goes first.

use super::{Base, Error, Inflater, Kind, Location, Objects, PackFile, apply_delta, delta_sizes, kind_of_code};
use crate::base::FastMap;
use gix_hash::oid;
use std::collections::VecDeque;
use std::rc::Rc;

/// An object's type and its bytes.
pub type Object = (Kind, Rc<Vec<u8>>);

/// Whole objects for one thread.
pub struct Decoder<'a> {
    objects: &'a dyn Objects,
    inflater: Inflater,
    cache: FastMap<(u32, u64), Object>,
    oldest: VecDeque<(u32, u64)>,
    held_bytes: usize,
    cache_bytes_max: usize,
    delta: Vec<u8>,
}

/// Accounted for each cached object besides its bytes.
const CACHE_ENTRY_BYTES: usize = 96;

impl<'a> Decoder<'a> {
    /// A decoder over `objects` whose cache holds at most `cache_bytes_max`.
    pub fn new(objects: &'a dyn Objects, cache_bytes_max: usize) -> Self {
        Self {
            objects,
            inflater: Inflater::new(),
            cache: FastMap::default(),
            oldest: VecDeque::new(),
            held_bytes: 0,
            cache_bytes_max,
            delta: vec![],
        }
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
                    return Ok((kind, Rc::new(data)));
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

    /// The type of the object at `location`, without inflating more than a loose object's header allows.
    pub fn kind(&mut self, location: &Location) -> Result<Kind, Error> {
        let Location::Packed { pack, entry } = location else { return Ok(self.get(location)?.0) };
        let file = self.pack(*pack);
        let mut offset = file.offset(*entry)?;
        for _ in 0..=file.len() {
            if let Some((kind, _)) = self.cache.get(&(*pack, offset)) {
                return Ok(*kind);
            }
            match file.header(offset)?.base {
                Base::Whole(code) => return kind_of(code),
                Base::Offset(base) => offset = base,
                Base::Id(id) => match file.find(&id) {
                    Some(base) => offset = file.offset(base)?,
                    None => {
                        let base = self.objects.locate(&id)?.ok_or(Error::Missing(id))?;
                        return self.kind(&base);
                    }
                },
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
            if let Some(found) = self.cache.get(&(pack, at)) {
                break found.clone();
            }
            let header = file.header(at)?;
            match header.base {
                Base::Whole(code) => {
                    let mut data = vec![];
                    self.inflate(file, at, &header, &mut data)?;
                    let found = (kind_of(code)?, Rc::new(data));
                    self.keep((pack, at), &found);
                    break found;
                }
                Base::Offset(base) => {
                    chain.push((at, header));
                    at = base;
                }
                Base::Id(id) => {
                    chain.push((at, header));
                    match file.find(&id) {
                        Some(base) => at = file.offset(base)?,
                        None => break self.find(&id)?.ok_or(Error::Missing(id))?,
                    }
                }
            }
            if chain.len() > file.len() as usize {
                return Err(Error::corrupt(format!("{}: deltas form a circle", file.name())));
            }
        };
        let mut delta = std::mem::take(&mut self.delta);
        for (at, header) in chain.into_iter().rev() {
            self.inflate(file, at, &header, &mut delta)?;
            let mut data = vec![];
            let fits = delta_sizes(&delta).is_some() && apply_delta(&object, &delta, &mut data).is_some();
            if !fits {
                return Err(Error::corrupt(format!("{}: bad delta at offset {at}", file.name())));
            }
            object = Rc::new(data);
            self.keep((pack, at), &(kind, object.clone()));
        }
        self.delta = delta;
        Ok((kind, object))
    }

    fn inflate(&mut self, file: &PackFile, at: u64, header: &super::EntryHeader, out: &mut Vec<u8>) -> Result<(), Error> {
        let size = usize::try_from(header.size).map_err(|_| Error::corrupt(format!("{}: entry at {at} is too big", file.name())))?;
        let data = file.data_of(at, header)?;
        self.inflater.whole(data, size, out).map_err(|err| Error::corrupt(format!("{}: entry at offset {at}: {err}", file.name())))?;
        Ok(())
    }

    fn keep(&mut self, key: (u32, u64), found: &Object) {
        let bytes = found.1.len() + CACHE_ENTRY_BYTES;
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

fn kind_of(code: u8) -> Result<Kind, Error> {
    kind_of_code(code).ok_or_else(|| Error::corrupt(format!("no object type has number {code}")))
}
