//! Ids into stored objects that deltas of a thin pack build upon, with a look at their size before anything is inflated.

use super::super::{Base, Decoder, EntryHeader, Error, Inflater, Location, Object, Objects, PackFile, delta_sizes};
use gix_hash::oid;

/// Bases of a thin pack are near each other: older and newer states of the same files.
const CACHE_BYTES: usize = 16 << 20;
/// Both sizes of a delta take at most ten bytes each.
const DELTA_SIZES_BYTES: usize = 20;

/// Stored objects for one ingestion.
pub(super) struct Stored<'a> {
    objects: &'a dyn Objects,
    decoder: Decoder<'a>,
    inflater: Inflater,
}

impl<'a> Stored<'a> {
    pub(super) fn new(objects: &'a dyn Objects) -> Self {
        Self { objects, decoder: Decoder::new(objects, CACHE_BYTES), inflater: Inflater::new() }
    }

    /// Where the object `id` lies, and the bytes of the largest thing that must be held to read it: itself, or a
    /// delta or base along its chain. A loose object counts 0, because its size is not known before it is read.
    pub(super) fn locate(&mut self, id: &oid) -> Result<Option<(Location, u64)>, Error> {
        let Some(location) = self.objects.locate(id)? else { return Ok(None) };
        let bytes = self.largest(&location)?;
        Ok(Some((location, bytes)))
    }

    /// The object at `location`, of which nothing larger than `bytes` must be held to read it.
    pub(super) fn read(&mut self, location: &Location, bytes: u64) -> Result<Object, Error> {
        if bytes > CACHE_BYTES as u64 {
            // Its cache would not keep it, but its buffer for deltas would.
            return Decoder::new(self.objects, 0).get(location);
        }
        self.decoder.get(location)
    }

    fn largest(&mut self, location: &Location) -> Result<u64, Error> {
        let mut largest = 0;
        let mut location = *location;
        // A chain crosses into another pack at most once for each of them, or it is a circle.
        for _ in 0..=self.objects.packs().len() {
            let Location::Packed { pack, entry } = location else { return Ok(largest) };
            let file = &self.objects.packs()[pack as usize];
            match self.largest_in(file, file.offset(entry)?, &mut largest)? {
                Some(next) => location = next,
                None => return Ok(largest),
            }
        }
        Err(Error::corrupt("deltas form a circle"))
    }

    /// Follow a chain to its end in `file`; where it goes on.
    fn largest_in(&mut self, file: &PackFile, mut at: u64, largest: &mut u64) -> Result<Option<Location>, Error> {
        for _ in 0..=file.len() {
            let header = file.header(at)?;
            *largest = header.size.max(*largest);
            let base = match header.base {
                Base::Whole(_) => return Ok(None),
                Base::Offset(base) => base,
                Base::Id(id) => match file.find(&id) {
                    Some(base) => file.offset(base)?,
                    None => {
                        *largest = self.result_bytes(file, at, &header)?.max(*largest);
                        return self.objects.locate(&id)?.ok_or(Error::Missing(id)).map(Some);
                    }
                },
            };
            *largest = self.result_bytes(file, at, &header)?.max(*largest);
            at = base;
        }
        Err(Error::corrupt(format!("{}: deltas form a circle", file.name())))
    }

    /// What the delta at `at` says that it makes.
    fn result_bytes(&mut self, file: &PackFile, at: u64, header: &EntryHeader) -> Result<u64, Error> {
        let bad = || Error::corrupt(format!("{}: bad delta at offset {at}", file.name()));
        let mut start = [0; DELTA_SIZES_BYTES];
        self.inflater.reset();
        let step = self.inflater.step(file.data_of(at, header)?, &mut start).map_err(|_| bad())?;
        delta_sizes(&start[..step.written]).map(|(_, result)| result).ok_or_else(bad)
    }
}
