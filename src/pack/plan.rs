//! A set of objects into the cheapest honest form of each: stored bytes where they can go out as they lie, a whole
//! object where its stored delta has a base that stays behind.
//!
//! Neighbouring entries that all go out are one step: their bytes are copied without looking at single entries
//! again. A delta may lean on a base in the same pack, or in a pack with a smaller number: so no circle can arise
//! although one object may be stored in several packs against different bases. Delta search, and deltas against
//! what the client has, will add steps of their own.

use super::{Base, Bits, Error, Found, Location, ObjectSet, Objects, PackFile};
use crate::base::Cancel;
use gix_hash::ObjectId;

/// One piece of the pack to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The entries at positions `from..to` of this pack, in order of offsets, as they are stored.
    Copy {
        /// Number of the pack.
        pack: u32,
        /// First position.
        from: u32,
        /// Behind the last position.
        to: u32,
    },
    /// This packed object, inflated and deflated anew.
    Whole {
        /// Number of the pack.
        pack: u32,
        /// Position in order of offsets.
        position: u32,
    },
    /// This loose object.
    Loose(ObjectId),
}

/// What to send, in order.
#[derive(Debug, Default)]
pub struct PackPlan {
    pub(super) steps: Vec<Step>,
    objects: u32,
    copied: u32,
}

impl PackPlan {
    /// Plan what was `found`, whose places are those of `objects`.
    pub fn new(objects: &dyn Objects, found: &Found, cancel: &Cancel) -> Result<Self, Error> {
        let set = &found.set;
        let count = u32::try_from(set.len()).map_err(|_| Error::Limit { what: "objects in one pack", limit: u64::from(u32::MAX) })?;
        let mut plan = Self { steps: vec![], objects: count, copied: 0 };
        for (pack, bits) in set.packed() {
            cancel.check()?;
            plan.add_pack(objects, set, pack, bits, cancel)?;
        }
        plan.steps.extend(set.loose().iter().map(|id| Step::Loose(*id)));
        Ok(plan)
    }

    /// How many objects the pack will have.
    pub fn objects(&self) -> u32 {
        self.objects
    }

    /// Memory taken, about: everything that grows with the number of objects or with their bytes counts.
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.steps.capacity() * size_of::<Step>()
    }

    /// How many of them go out as they are stored.
    pub fn copied(&self) -> u32 {
        self.copied
    }

    /// The number of the stored pack that is this plan, whole and as it lies.
    pub fn is_stored_pack(&self, objects: &dyn Objects) -> Option<u32> {
        match self.steps[..] {
            [Step::Copy { pack, from: 0, to }] if to == objects.packs()[pack as usize].len() => Some(pack),
            _ => None,
        }
    }

    fn add_pack(&mut self, objects: &dyn Objects, set: &ObjectSet, pack: u32, bits: &Bits, cancel: &Cancel) -> Result<(), Error> {
        let file = &objects.packs()[pack as usize];
        let count = bits.count() as u32;
        if count == file.len() {
            self.steps.push(Step::Copy { pack, from: 0, to: count });
            self.copied += count;
            return Ok(());
        }
        let (mut open, mut open_offset) = (None, 0);
        let close = |steps: &mut Vec<Step>, open: &mut Option<u32>, to| {
            if let Some(from) = open.take() {
                steps.push(Step::Copy { pack, from, to });
            }
        };
        let (mut left, mut before) = (count, 0);
        for position in 0..file.len() {
            if left == 0 {
                close(&mut self.steps, &mut open, position);
                break;
            }
            let entry = file.entry_at(position)?;
            if !bits.get(entry as usize) {
                close(&mut self.steps, &mut open, position);
                continue;
            }
            left -= 1;
            if left.is_multiple_of(4096) {
                cancel.check()?;
            }
            let offset = file.offset(entry)?;
            if offset <= before {
                return Err(Error::corrupt(format!("{}.rev: entries are not in order", file.name())));
            }
            before = offset;
            let run_offset = if open.is_some() { open_offset } else { offset };
            if base_goes_out(objects, set, pack, bits, file, offset, run_offset)? {
                self.copied += 1;
                if open.is_none() {
                    (open, open_offset) = (Some(position), offset);
                }
            } else {
                close(&mut self.steps, &mut open, position);
                self.steps.push(Step::Whole { pack, position });
            }
        }
        close(&mut self.steps, &mut open, file.len());
        Ok(())
    }
}

/// Whether the entry at `offset` can be applied by whoever gets `set`; all entries from `run_offset` on go out.
fn base_goes_out(
    objects: &dyn Objects,
    set: &ObjectSet,
    pack: u32,
    bits: &Bits,
    file: &PackFile,
    offset: u64,
    run_offset: u64,
) -> Result<bool, Error> {
    let base = match file.header(offset)?.base {
        Base::Whole(_) => return Ok(true),
        Base::Offset(base) if base >= run_offset => return Ok(true),
        Base::Offset(base) => file.entry_at(file.position_of(base)?)?,
        Base::Id(id) => match file.find(&id) {
            Some(entry) => entry,
            None => return Ok(false),
        },
    };
    if bits.get(base as usize) {
        return Ok(true);
    }
    Ok(match objects.locate(file.id(base))? {
        Some(location @ Location::Packed { pack: other, .. }) => other < pack && set.contains(&location),
        _ => false,
    })
}
