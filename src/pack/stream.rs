//! A plan into pack bytes: copied from the map in long slices, with the distances of ofs-deltas mended where something
//! between a delta and its base was left out, moved or changed its length.
//!
//! Within one stored pack the new offset of an entry is its old one less a shift that changes only at the joints
//! between steps; the shifts so far answer where any earlier entry went. Memory is bounded by the number of joints and by
//! the largest object that is deflated anew, which is held whole: a loose one, or a delta whose base stays behind.
//! A delta whose base went out from another pack, or does not go out at all because the client has it, becomes a
//! ref-delta.

use super::checksum::Checksum;
use super::entry::{Lean, lean_of};
use super::plan::{Lead, LeadBase, LeadForm, Step};
use super::{Base, Decoder, Deflater, Error, Location, Objects, PackFile, PackPlan, type_code, write_entry_header, write_ofs_distance};
use crate::base::{Cancel, FastMap, Phase};
use gix_hash::ObjectId;
use std::io::Write;

/// zlib level for objects that are deflated anew: level 3 makes 1.085 of git's bytes at a quarter of its cost.
const DEFLATE_LEVEL: i32 = 3;
/// Whole objects decoded for [`Step::Whole`] share a chain more often than not.
const CACHE_BYTES_MAX: usize = 16 << 20;
/// Bytes copied between two looks at the cancel flag.
const COPY_BYTES: u64 = 1 << 20;

/// The shift of what does not go out; any real one is less than the length of a pack.
const GONE: i64 = i64::MIN;
/// Shifts before the last one among which a base's is looked for first.
const NEAR_SHIFTS: usize = 8;
/// Entries looked at between two looks at the cancel flag.
const BLOCK_ENTRIES: usize = 4096;

const OFS_DELTA: u8 = 6;
const REF_DELTA: u8 = 7;

/// Write `plan` as one pack to `out`; returns its bytes.
///
/// A missing or damaged object ends in an error before the trailer, so that no client takes the pack for whole.
pub fn write_pack(objects: &dyn Objects, plan: &PackPlan, out: &mut dyn Write, written: &Phase, cancel: &Cancel) -> Result<u64, Error> {
    if plan.ofs_delta
        && let Some(pack) = plan.is_stored_pack(objects)
    {
        let file = &objects.packs()[pack as usize];
        let len = file.end() + file.trailer().len() as u64;
        copy(file, 0, len, cancel, |bytes| out.write_all(bytes))?;
        written.add(u64::from(plan.objects()));
        written.add_bytes(len);
        return Ok(len);
    }
    let mut stream = Stream {
        out,
        trailer: plan.trailer.get().map_or_else(|| Trailer::Hashed(Checksum::new(objects.hash_kind())), |known| Trailer::Known(*known)),
        at: 0,
        shifts: vec![],
        led: FastMap::default(),
        entry: vec![],
        deflater: None,
        ofs_delta: plan.ofs_delta,
        cancel,
    };
    stream.put(b"PACK\0\0\0\x02")?;
    stream.put(&plan.objects().to_be_bytes())?;
    let mut decoder = Decoder::new(objects, CACHE_BYTES_MAX);
    stream.leads(objects, &mut decoder, &plan.leads, written)?;
    let mut pack_at = None;
    for step in &plan.steps {
        cancel.check()?;
        let before = stream.at;
        match *step {
            Step::Copy { pack, .. } | Step::One { pack, .. } | Step::Whole { pack, .. } if pack_at != Some(pack) => {
                pack_at = Some(pack);
                stream.shifts.clear();
            }
            _ => {}
        }
        match *step {
            Step::Copy { pack, from, to } => {
                stream.copy_run(pack, &objects.packs()[pack as usize], from, to)?;
                written.add(u64::from(to - from));
            }
            Step::One { pack, base, offset, end } => {
                stream.copy_one(pack, &objects.packs()[pack as usize], base, offset..end)?;
                written.add(1);
            }
            Step::Whole { pack, entry, offset, end } => {
                stream.shifts.push((offset, offset as i64 - stream.at as i64));
                stream.shifts.push((end, GONE));
                stream.whole(&mut decoder, &Location::Packed { pack, entry })?;
                written.add(1);
            }
            Step::Loose(id) => {
                stream.whole(&mut decoder, &Location::Loose(id))?;
                written.add(1);
            }
        }
        written.add_bytes(stream.at - before);
    }
    let trailer = match std::mem::replace(&mut stream.trailer, Trailer::Written) {
        Trailer::Hashed(sum) => {
            let sum = sum.finish().ok_or_else(|| Error::corrupt("the pack's checksum cannot be made"))?;
            *plan.trailer.get_or_init(|| sum)
        }
        Trailer::Known(known) => known,
        Trailer::Written => return Ok(stream.at),
    };
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

/// The hash of all that is before it.
enum Trailer {
    /// From an earlier run of the same plan.
    Known(ObjectId),
    /// As far as has been written.
    Hashed(Checksum),
    Written,
}

/// What a delta's new header names.
enum NewBase {
    /// The entry that begins at this offset of the stream.
    At(u64),
    /// An object in this pack or, in a thin one, at the client.
    Id(ObjectId),
}

struct Stream<'a> {
    out: &'a mut dyn Write,
    trailer: Trailer,
    at: u64,
    /// From which stored offset on (of the pack in hand) which shift holds: new offset = stored offset - shift.
    /// [`GONE`]: what lies there does not go out, or was led.
    shifts: Vec<(u64, i64)>,
    /// Where the leads begin, by pack and stored offset.
    led: FastMap<(u32, u64), u64>,
    /// Scratch for what is put together here.
    entry: Vec<u8>,
    deflater: Option<Deflater>,
    ofs_delta: bool,
    cancel: &'a Cancel,
}

impl Stream<'_> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if let Trailer::Hashed(sum) = &mut self.trailer {
            sum.update(bytes);
        }
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Put the entry that `make` writes.
    fn put_entry(&mut self, make: impl FnOnce(&mut Self, &mut Vec<u8>) -> Result<(), Error>) -> Result<(), Error> {
        let mut entry = std::mem::take(&mut self.entry);
        entry.clear();
        make(self, &mut entry)?;
        self.put(&entry)?;
        self.entry = entry;
        Ok(())
    }

    fn whole(&mut self, decoder: &mut Decoder<'_>, location: &Location) -> Result<(), Error> {
        let (kind, data) = decoder.get(location)?;
        self.put_entry(|stream, entry| {
            write_entry_header(type_code(kind), data.len() as u64, entry);
            stream.deflater.get_or_insert_with(|| Deflater::new(DEFLATE_LEVEL)).whole(&data, entry)
        })
    }

    /// Write what was searched for, and remember where it went.
    fn leads(&mut self, objects: &dyn Objects, decoder: &mut Decoder<'_>, leads: &[Lead], written: &Phase) -> Result<(), Error> {
        let mut offsets: Vec<u64> = Vec::with_capacity(leads.len());
        for lead in leads {
            self.cancel.check()?;
            let at = self.at;
            if let Location::Packed { pack, entry } = lead.object {
                self.led.insert((pack, objects.packs()[pack as usize].offset(entry)?), at);
            }
            match &lead.form {
                LeadForm::Whole => self.whole(decoder, &lead.object)?,
                LeadForm::Delta { base, size, deflated } => self.put_entry(|stream, entry| {
                    let base = match *base {
                        LeadBase::Lead(number) if stream.ofs_delta => NewBase::At(offsets[number as usize]),
                        LeadBase::Lead(number) => NewBase::Id(leads[number as usize].object.id(objects)),
                        LeadBase::Client(id) => NewBase::Id(id),
                    };
                    stream.delta_header(base, *size, entry);
                    entry.extend_from_slice(deflated);
                    Ok(())
                })?,
            }
            offsets.push(at);
            written.add(1);
            written.add_bytes(self.at - at);
        }
        Ok(())
    }

    fn delta_header(&self, base: NewBase, size: u64, entry: &mut Vec<u8>) {
        match base {
            NewBase::At(base_at) => {
                write_entry_header(OFS_DELTA, size, entry);
                write_ofs_distance(self.at - base_at, entry);
            }
            NewBase::Id(id) => {
                write_entry_header(REF_DELTA, size, entry);
                entry.extend_from_slice(id.as_bytes());
            }
        }
    }

    /// Copy entries at positions `from..to`, mending what leans on entries before the last joint.
    fn copy_run(&mut self, pack: u32, file: &PackFile, from: u32, to: u32) -> Result<(), Error> {
        let order = file.order()?;
        let (start, end) = (order.offset(from), order.offset(to));
        self.shifts.push((start, start as i64 - self.at as i64));
        let mut pending = start; // bytes from here on are not yet written
        // A run from the pack's beginning holds all its bases and moves as a whole.
        if from > 0 || !self.ofs_delta {
            let mut settled = start; // entries from here on have the last shift
            for first in (from..to).step_by(BLOCK_ENTRIES) {
                self.cancel.check()?;
                let last = to.min(first + BLOCK_ENTRIES as u32);
                let block = order.offset(first);
                let bytes = file.slice(block..order.offset(last))?;
                for position in first..last {
                    let offset = order.offset(position);
                    let base = match lean_of(&bytes[(offset - block) as usize..], offset) {
                        Lean::Whole(_) => continue,
                        Lean::On(base) if self.stays(base, settled) => continue,
                        Lean::On(base) => base,
                        Lean::Other => match file.header(offset)?.base {
                            Base::Offset(base) if !self.stays(base, settled) => base,
                            _ => continue,
                        },
                    };
                    self.copy_bytes(file, pending, offset)?;
                    let base_entry = || order.position_before(position, base).map(|position| order.entry(position));
                    let next = order.offset(position + 1);
                    pending = self.mend(pack, file, offset..next, base, base_entry)?;
                    // From the next entry on; this one itself begins where its new header does, one shift back.
                    self.shifts.push((next, pending as i64 - self.at as i64));
                    settled = next;
                }
            }
        }
        self.copy_bytes(file, pending, end)?;
        self.shifts.push((end, GONE));
        Ok(())
    }

    /// Copy the entry in these bytes, a delta on entry `base` if there is one.
    fn copy_one(&mut self, pack: u32, file: &PackFile, base: Option<u32>, bytes: std::ops::Range<u64>) -> Result<(), Error> {
        self.shifts.push((bytes.start, bytes.start as i64 - self.at as i64));
        let rest = match file.header(bytes.start)?.base {
            Base::Offset(stored) if !self.stays(stored, bytes.start) => self.mend(pack, file, bytes.clone(), stored, || base)?,
            _ => bytes.start,
        };
        self.copy_bytes(file, rest, bytes.end)?;
        self.shifts.push((bytes.end, GONE));
        Ok(())
    }

    /// Whether a delta behind the last joint keeps its distance to the entry stored at `base`: it does to all from `settled` on.
    fn stays(&self, base: u64, settled: u64) -> bool {
        self.ofs_delta && (base >= settled || self.shifts.last().is_some_and(|(_, shift)| *shift == self.shift_of(base)))
    }

    fn shift_of(&self, offset: u64) -> i64 {
        let (mut low, mut high, mut step) = (self.shifts.len(), self.shifts.len(), NEAR_SHIFTS);
        while low > 0 {
            low = high.saturating_sub(step);
            if self.shifts[low].0 <= offset {
                break;
            }
            high = low;
            step *= 2;
        }
        let after = low + self.shifts[low..high].partition_point(|(from, _)| *from <= offset);
        after.checked_sub(1).map_or(GONE, |at| self.shifts[at].1)
    }

    /// Write a new header for the ofs-delta in these bytes, against the entry stored at `base`; where its data begin.
    fn mend(
        &mut self,
        pack: u32,
        file: &PackFile,
        bytes: std::ops::Range<u64>,
        base: u64,
        base_entry: impl FnOnce() -> Option<u32>,
    ) -> Result<u64, Error> {
        let header = file.header(bytes.start)?;
        let data = bytes.start + header.len as u64;
        if data > bytes.end {
            return Err(Error::corrupt(format!("{}: entries overlap at offset {data}", file.name())));
        }
        let shift = Some(self.shift_of(base)).filter(|shift| *shift != GONE);
        let moved = self.led.get(&(pack, base)).copied();
        let base = match moved.or_else(|| shift.map(|shift| (base as i64 - shift) as u64)) {
            Some(base_at) if self.ofs_delta => NewBase::At(base_at),
            _ => match base_entry() {
                Some(entry) => NewBase::Id(file.id(entry).to_owned()),
                None => return Err(Error::corrupt(format!("{}: no entry begins at offset {base}", file.name()))),
            },
        };
        self.put_entry(|stream, entry| {
            stream.delta_header(base, header.size, entry);
            Ok(())
        })?;
        Ok(data)
    }

    fn copy_bytes(&mut self, file: &PackFile, from: u64, to: u64) -> Result<(), Error> {
        let cancel = self.cancel;
        copy(file, from, to, cancel, |bytes| self.put(bytes))
    }
}
