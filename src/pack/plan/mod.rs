//! What a walk found into the cheapest honest form of each object: stored bytes where they can go out as they lie, a
//! delta that is searched for where that pays, and else the whole object, deflated anew.
//!
//! Neighbouring entries that all go out are one step: their bytes are copied without looking at single entries
//! again. A stored delta may lean on a base in the same pack, or in a pack with a smaller number: so no circle can
//! arise although one object may be stored in several packs against different bases. A searched delta leans only on
//! what the client has or on an object searched before it; those go out first. In a thin pack a base may also be an
//! object that the client is known to have.
//!
//! | file | turns what into what |
//! |---|---|
//! | `reuse` | the set into places of packs, and stored entries into usable or not |
//! | `search` | objects without a good stored form into deltas |

mod reuse;
mod search;

use super::{Bits, Error, Found, Location, ObjectSet, Objects};
use crate::base::{Cancel, FastSet, Progress};
use gix_hash::ObjectId;
use reuse::{Reuse, Share, Survey};
pub use search::DeltaSearch;
use std::sync::OnceLock;

/// What the client understands, and what may be spent on it.
#[derive(Clone, Debug, Default)]
pub struct PackOptions {
    /// It understands ofs-deltas.
    pub ofs_delta: bool,
    /// It completes thin packs.
    pub thin: bool,
    /// Where deltas are searched.
    pub search: DeltaSearch,
    /// Shows the search, where there is one.
    pub progress: Progress,
}

/// One piece of the pack to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The entries at positions `from..to` of this pack, in order of offsets, as they are stored.
    Copy { pack: u32, from: u32, to: u32 },
    /// The entry in these bytes of this pack, as it is stored; of a delta, the number of its base in this pack.
    One { pack: u32, base: Option<u32>, offset: u64, end: u64 },
    /// The object of this entry, which lies in these bytes of this pack, inflated and deflated anew.
    Whole { pack: u32, entry: u32, offset: u64, end: u64 },
    /// This loose object.
    Loose(ObjectId),
}

/// One object that was searched for; it goes out before all steps.
#[derive(Debug)]
pub(super) struct Lead {
    pub object: Location,
    pub form: LeadForm,
}

/// How it goes out.
#[derive(Debug)]
pub(super) enum LeadForm {
    /// Deflated anew.
    Whole,
    /// As a delta of `size` bytes, deflated already.
    Delta { base: LeadBase, size: u64, deflated: Box<[u8]> },
}

/// What a searched delta leans on.
#[derive(Clone, Copy, Debug)]
pub(super) enum LeadBase {
    /// A lead before it, by number.
    Lead(u32),
    /// An object that the client has.
    Client(ObjectId),
}

/// What to send, in order.
#[derive(Debug, Default)]
pub struct PackPlan {
    pub(super) leads: Vec<Lead>,
    pub(super) steps: Vec<Step>,
    /// The trailer of the pack that this plan makes, once it was made: the same plan makes the same bytes.
    pub(super) trailer: OnceLock<ObjectId>,
    pub(super) ofs_delta: bool,
    objects: u32,
    copied: u32,
    deltas: u32,
    left_out: Vec<ObjectId>,
}

impl PackPlan {
    /// Plan what was `found`, whose places are those of `objects`.
    pub fn new(objects: &dyn Objects, found: &Found, options: &PackOptions, cancel: &Cancel) -> Result<Self, Error> {
        let count = found.set.len();
        let count = u32::try_from(count).map_err(|_| Error::Limit { what: "objects in one pack", limit: u64::from(u32::MAX) })?;
        let mut plan = Self { objects: count, ofs_delta: options.ofs_delta, ..Self::default() };
        let reuse = Reuse::new(objects, found, options.thin);
        let mut surveys = reuse.survey(cancel)?;
        plan.leads = search::find_leads(&reuse, &surveys, &options.search, &options.progress, cancel)?;
        plan.deltas = plan.leads.iter().filter(|lead| matches!(lead.form, LeadForm::Delta { .. })).count() as u32;
        let mut led = ObjectSet::new();
        for lead in &plan.leads {
            led.insert(objects, &lead.object);
        }
        for survey in &mut surveys {
            cancel.check()?;
            plan.add_pack(objects, survey, &led)?;
        }
        let loose = found.set.loose().iter().filter(|id| !led.contains(&Location::Loose(**id)));
        plan.steps.extend(loose.map(|id| Step::Loose(*id)));
        // Plans are kept for those who ask for the same.
        plan.steps.shrink_to_fit();
        plan.leads.shrink_to_fit();
        Ok(plan)
    }

    /// How many objects the pack will have.
    pub fn objects(&self) -> u32 {
        self.objects
    }

    /// How many of them go out as they are stored.
    pub fn copied(&self) -> u32 {
        self.copied
    }

    /// With objects that the client gets elsewhere.
    pub fn leaving_out(self, left_out: Vec<ObjectId>) -> Self {
        Self { left_out, ..self }
    }

    /// Objects that are not in the pack because the client gets them elsewhere.
    pub fn left_out(&self) -> &[ObjectId] {
        &self.left_out
    }

    /// From how many packs.
    pub fn packs_copied(&self) -> usize {
        let packs = self.steps.iter().filter_map(|step| match step {
            Step::Copy { pack, .. } | Step::One { pack, .. } => Some(*pack),
            Step::Whole { .. } | Step::Loose(_) => None,
        });
        packs.collect::<FastSet<_>>().len()
    }

    /// Memory taken, about: everything that grows with the number of objects or with their bytes counts.
    pub fn held_bytes(&self) -> usize {
        let deflated = |lead: &Lead| match &lead.form {
            LeadForm::Delta { deflated, .. } => deflated.len(),
            LeadForm::Whole => 0,
        };
        let leads: usize = self.leads.iter().map(deflated).sum();
        size_of::<Self>() + self.steps.capacity() * size_of::<Step>() + self.leads.capacity() * size_of::<Lead>() + leads
    }

    /// How many go out as deltas that were searched for.
    pub fn deltas(&self) -> u32 {
        self.deltas
    }

    /// The number of the stored pack that is this plan, whole and as it lies.
    pub(super) fn is_stored_pack(&self, objects: &dyn Objects) -> Option<u32> {
        match self.steps[..] {
            [Step::Copy { pack, from: 0, to }] if self.leads.is_empty() && to == objects.packs()[pack as usize].len() => Some(pack),
            _ => None,
        }
    }

    /// Add what goes out of one pack, less what was `led`.
    fn add_pack(&mut self, objects: &dyn Objects, survey: &mut Survey, led: &ObjectSet) -> Result<(), Error> {
        let pack = survey.pack;
        let file = &objects.packs()[pack as usize];
        match &mut survey.share {
            Share::All => self.copy(pack, 0, file.len()),
            Share::Few(singles) => {
                for one in singles.iter().filter(|one| !led.contains(&Location::Packed { pack, entry: one.entry })) {
                    let (base, offset, end) = (one.base, one.offset, one.end);
                    self.copied += u32::from(one.usable);
                    let whole = Step::Whole { pack, entry: one.entry, offset, end };
                    self.steps.push(if one.usable { Step::One { pack, base, offset, end } } else { whole });
                }
            }
            Share::Many { positions, unusable } => {
                let order = file.order()?;
                for entry in led.of_pack(pack).into_iter().flat_map(Bits::iter) {
                    if let Some(position) = order.position_of(file.offset(entry as u32)?) {
                        positions.remove(position as usize);
                    }
                }
                let mut unusable = unusable.iter().copied().filter(|position| positions.get(*position as usize)).peekable();
                let mut next = positions.next_set(0);
                while let Some(start) = next {
                    let end = positions.next_clear(start);
                    next = positions.next_set(end);
                    let mut open = start as u32;
                    while let Some(position) = unusable.next_if(|position| (*position as usize) < end) {
                        self.copy(pack, open, position);
                        let (offset, end) = (order.offset(position), order.offset(position + 1));
                        self.steps.push(Step::Whole { pack, entry: order.entry(position), offset, end });
                        open = position + 1;
                    }
                    self.copy(pack, open, end as u32);
                }
            }
        }
        Ok(())
    }

    fn copy(&mut self, pack: u32, from: u32, to: u32) {
        if from < to {
            self.steps.push(Step::Copy { pack, from, to });
            self.copied += to - from;
        }
    }
}
