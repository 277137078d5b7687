//! A plan into pack bytes: copied from the map in long slices, with the distances of ofs-deltas mended where something
//! between a delta and its base was left out or changed its length.
//!
//! Within one stored pack the new offset of an entry is its old one less a shift that changes only at the joints
//! between steps; the shifts so far answer where any earlier entry went. Memory is bounded by the number of joints.
//! A delta whose base went out from another pack becomes a ref-delta.

use super::file::PACK_HEADER_BYTES;
use super::plan::Step;
use super::{Base, Decoder, Deflater, EntryHeader, Error, Objects, PackFile, PackPlan, type_code, write_entry_header, write_ofs_distance};
use crate::base::{Cancel, Phase};
use gix_hash::ObjectId;
use std::io::Write;

/// zlib level for objects that are deflated anew: level 3 makes 1.085 of git's bytes at a quarter of its cost.
const DEFLATE_LEVEL: i32 = 3;
/// Whole objects decoded for [`Step::Whole`] share a chain more often than not.
const CACHE_BYTES_MAX: usize = 16 << 20;
/// Bytes copied between two looks at the cancel flag.
const COPY_BYTES: u64 = 1 << 20;

const OFS_DELTA: u8 = 6;
const REF_DELTA: u8 = 7;

/// Write `plan` as one pack to `out`; returns its bytes. `ofs_delta`: the client understands ofs-deltas.
///
/// A missing or damaged object ends in an error before the trailer, so that no client takes the pack for whole.
pub fn write_pack(
    objects: &dyn Objects,
    plan: &PackPlan,
    ofs_delta: bool,
    out: &mut dyn Write,
    written: &Phase,
    cancel: &Cancel,
) -> Result<u64, Error> {
    if ofs_delta && let Some(pack) = plan.is_stored_pack(objects) {
        let file = &objects.packs()[pack as usize];
        let len = file.end() + file.trailer().len() as u64;
        copy(file, 0, len, cancel, |bytes| out.write_all(bytes))?;
        written.add(u64::from(plan.objects()));
        written.add_bytes(len);
        return Ok(len);
    }
    let hasher = gix_hash::hasher(objects.hash_kind());
    let mut stream = Stream { out, hasher, at: 0, shifts: vec![], header: vec![], ofs_delta, cancel };
    stream.put(b"PACK\0\0\0\x02")?;
    stream.put(&plan.objects().to_be_bytes())?;
    let mut decoder = Decoder::new(objects, CACHE_BYTES_MAX);
    let mut pack_at = None;
    for step in &plan.steps {
        cancel.check()?;
        let before = stream.at;
        match *step {
            Step::Copy { pack, .. } | Step::Whole { pack, .. } if pack_at != Some(pack) => {
                pack_at = Some(pack);
                stream.shifts.clear();
            }
            _ => {}
        }
        match *step {
            Step::Copy { pack, from, to } => {
                stream.copy_run(&objects.packs()[pack as usize], from, to)?;
                written.add(u64::from(to - from));
            }
            Step::Whole { pack, position } => {
                let file = &objects.packs()[pack as usize];
                let (entry, offset) = (file.entry_at(position)?, file.offset_at(position)?);
                stream.shifts.push((offset, Some(offset as i64 - stream.at as i64)));
                stream.shifts.push((file.offset_at(position + 1)?, None));
                let (kind, data) = decoder.get(&super::Location::Packed { pack, entry })?;
                stream.whole(kind, &data)?;
                written.add(1);
            }
            Step::Loose(id) => {
                let (kind, data) = decoder.get(&super::Location::Loose(id))?;
                stream.whole(kind, &data)?;
                written.add(1);
            }
        }
        written.add_bytes(stream.at - before);
    }
    let trailer: ObjectId = stream.hasher.clone().try_finalize().map_err(|err| Error::corrupt(err.to_string()))?;
    stream.put(trailer.as_slice())?;
    Ok(stream.at)
}

fn copy(file: &PackFile, from: u64, to: u64, cancel: &Cancel, mut put: impl FnMut(&[u8]) -> std::io::Result<()>) -> Result<(), Error> {
    let mut at = from;
    while at < to {
        cancel.check()?;
        let next = to.min(at + COPY_BYTES);
        put(file.slice(at..next)?)?;
        at = next;
    }
    Ok(())
}

struct Stream<'a> {
    out: &'a mut dyn Write,
    hasher: gix_hash::Hasher,
    at: u64,
    /// From which stored offset on (of the pack in hand) which shift holds: new offset = stored offset - shift.
    /// `None`: what lies there does not go out.
    shifts: Vec<(u64, Option<i64>)>,
    header: Vec<u8>,
    ofs_delta: bool,
    cancel: &'a Cancel,
}

impl Stream<'_> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn whole(&mut self, kind: super::Kind, data: &[u8]) -> Result<(), Error> {
        let mut entry = vec![];
        write_entry_header(type_code(kind), data.len() as u64, &mut entry);
        Deflater::new(DEFLATE_LEVEL).whole(data, &mut entry)?;
        Ok(self.put(&entry)?)
    }

    /// Copy entries at positions `from..to`, mending what leans on entries before the last joint.
    fn copy_run(&mut self, file: &PackFile, from: u32, to: u32) -> Result<(), Error> {
        let (start, end) = (file.offset_at(from)?, file.offset_at(to)?);
        if end <= start || (from == 0 && start != PACK_HEADER_BYTES) {
            return Err(Error::corrupt(format!("{}.rev: entries are not in order", file.name())));
        }
        self.shifts.push((start, Some(start as i64 - self.at as i64)));
        let mut pending = start; // bytes from here on are not yet written
        // A run from the pack's beginning holds all its bases and moves as a whole.
        if from > 0 || !self.ofs_delta {
            let mut settled = start; // entries from here on have the last shift
            let mut offset = start;
            for position in from..to {
                let next = file.offset_at(position + 1)?;
                let header = file.header(offset)?;
                if next < offset + header.len as u64 {
                    return Err(Error::corrupt(format!("{}.rev: entries are not in order", file.name())));
                }
                if let Base::Offset(base) = header.base
                    && (!self.ofs_delta || (base < settled && self.shift_of(base) != self.last_shift()))
                {
                    self.copy_bytes(file, pending, offset)?;
                    self.mend(file, base, &header)?;
                    pending = offset + header.len as u64;
                    // From the next entry on; this one itself begins where its new header does, one shift back.
                    let at = self.at + (next - pending);
                    self.shifts.push((next, Some(next as i64 - at as i64)));
                    settled = next;
                }
                offset = next;
            }
        }
        self.copy_bytes(file, pending, end)?;
        self.shifts.push((end, None));
        Ok(())
    }

    fn last_shift(&self) -> Option<i64> {
        self.shifts.last().and_then(|(_, shift)| *shift)
    }

    fn shift_of(&self, offset: u64) -> Option<i64> {
        let after = self.shifts.partition_point(|(from, _)| *from <= offset);
        self.shifts[..after].last().and_then(|(_, shift)| *shift)
    }

    /// Write a new header for an ofs-delta against the entry stored at `base`.
    fn mend(&mut self, file: &PackFile, base: u64, header: &EntryHeader) -> Result<(), Error> {
        let mut bytes = std::mem::take(&mut self.header);
        bytes.clear();
        match self.shift_of(base) {
            Some(shift) if self.ofs_delta => {
                let new_base = (base as i64 - shift) as u64;
                write_entry_header(OFS_DELTA, header.size, &mut bytes);
                write_ofs_distance(self.at - new_base, &mut bytes);
            }
            _ => {
                write_entry_header(REF_DELTA, header.size, &mut bytes);
                bytes.extend_from_slice(file.id(file.entry_at(file.position_of(base)?)?).as_bytes());
            }
        }
        self.put(&bytes)?;
        self.header = bytes;
        Ok(())
    }

    fn copy_bytes(&mut self, file: &PackFile, from: u64, to: u64) -> Result<(), Error> {
        let cancel = self.cancel;
        copy(file, from, to, cancel, |bytes| self.put(bytes))
    }
}
