//! A set of objects into places of its packs, and each stored entry into "can go out as it lies" or not.
//!
//! Each pack is surveyed once. Of one that gives much, the whole order is made, and entries are looked at run by run;
//! of one that gives little, each object is looked up by itself, so that a small request costs no look at the rest.

use crate::base::Cancel;
use crate::pack::entry::{Lean, lean_of};
use crate::pack::{Base, Bits, EntryHeader, Error, Found, Location, Objects, PackFile, Span};

/// What goes out, and on what it may lean.
pub(super) struct Reuse<'a> {
    pub objects: &'a dyn Objects,
    pub found: &'a Found,
    /// Bases may be objects that the client is known to have.
    pub thin: bool,
}

/// What goes out of one pack.
pub(super) struct Survey {
    pub pack: u32,
    pub share: Share,
}

/// How much that is.
pub(super) enum Share {
    /// All entries: so do all their bases.
    All,
    /// Those at these positions in order of offsets, some of which, in rising order, cannot go out as they lie.
    Many { positions: Bits, unusable: Vec<u32> },
    /// These, in order of offsets.
    Few(Vec<Single>),
}

/// One of few entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Single {
    pub entry: u32,
    pub offset: u64,
    pub end: u64,
    /// The base of a delta, in the same pack.
    pub base: Option<u32>,
    pub usable: bool,
}

/// From this share of a pack on, all its positions are looked at rather than each object's looked up.
const LOOK_UP_SHARE: usize = 32;
/// Entries looked at between two looks at the cancel flag.
const BLOCK_ENTRIES: usize = 4096;

impl<'a> Reuse<'a> {
    pub fn new(objects: &'a dyn Objects, found: &'a Found, thin: bool) -> Self {
        Self { objects, found, thin }
    }

    /// Whether the client can have this object as the base of a delta, though it does not go out.
    pub fn is_at_client(&self, location: &Location) -> bool {
        self.thin && self.found.is_known(self.objects, location)
    }

    /// Look at every pack of the set.
    pub fn survey(&self, cancel: &Cancel) -> Result<Vec<Survey>, Error> {
        let mut surveys = vec![];
        for (pack, entries) in self.found.set.packed() {
            cancel.check()?;
            let wanted = entries.count();
            let share = match wanted {
                0 => continue,
                _ if wanted == entries.len() => Share::All,
                _ if wanted * LOOK_UP_SHARE < entries.len() => Share::Few(self.look_up(pack, entries, cancel)?),
                _ => self.go_through(pack, entries, cancel)?,
            };
            surveys.push(Survey { pack, share });
        }
        Ok(surveys)
    }

    fn go_through(&self, pack: u32, entries: &Bits, cancel: &Cancel) -> Result<Share, Error> {
        let file = &self.objects.packs()[pack as usize];
        let order = file.order()?;
        let bit = |position: usize| u64::from(position < entries.len() && entries.get(order.entry(position as u32) as usize));
        let word = |first: usize| (0..64).fold(0, |word, at| word | bit(first + at) << at);
        let positions = Bits::from_words((0..entries.len()).step_by(64).map(word).collect(), entries.len());
        let mut unusable = vec![];
        let mut next = positions.next_set(0);
        while let Some(start) = next {
            let end = positions.next_clear(start);
            next = positions.next_set(end);
            let run_offset = order.offset(start as u32);
            for first in (start..end).step_by(BLOCK_ENTRIES) {
                cancel.check()?;
                let last = end.min(first + BLOCK_ENTRIES);
                let from = order.offset(first as u32);
                let bytes = file.slice(from..order.offset(last as u32))?;
                for position in first as u32..last as u32 {
                    let offset = order.offset(position);
                    let base = match lean_of(&bytes[(offset - from) as usize..], offset) {
                        Lean::Whole(_) => continue,
                        Lean::On(base) if base >= run_offset => continue,
                        Lean::On(base) => order.position_before(position, base).ok_or_else(|| no_base(file, offset))?,
                        Lean::Other => match file.header(offset)?.base {
                            Base::Whole(_) => continue,
                            Base::Offset(base) => order.position_before(position, base).ok_or_else(|| no_base(file, offset))?,
                            Base::Id(id) => match file.find(&id) {
                                Some(base) if self.is_base(pack, file, base)? => continue,
                                _ => {
                                    unusable.push(position);
                                    continue;
                                }
                            },
                        },
                    };
                    if !positions.get(base as usize) && !self.is_base(pack, file, order.entry(base))? {
                        unusable.push(position);
                    }
                }
            }
        }
        Ok(Share::Many { positions, unusable })
    }

    fn look_up(&self, pack: u32, entries: &Bits, cancel: &Cancel) -> Result<Vec<Single>, Error> {
        let file = &self.objects.packs()[pack as usize];
        let (mut headers, mut spans): (Vec<(u32, u64, EntryHeader)>, Vec<Span>) = (vec![], vec![]);
        for (seen, entry) in entries.iter().enumerate() {
            if seen.is_multiple_of(BLOCK_ENTRIES) {
                cancel.check()?;
            }
            let offset = file.offset(entry as u32)?;
            let header = file.header(offset)?;
            spans.push(Span::of_entry(offset, &header));
            if let Base::Offset(base) = header.base {
                spans.push(Span::beginning_at(base));
            }
            headers.push((entry as u32, offset, header));
        }
        let spans = file.find_spans(spans)?;
        let find = |offset: u64| spans.binary_search_by_key(&offset, |span| span.offset).map(|at| &spans[at]).ok();
        headers.sort_unstable_by_key(|(_, offset, _)| *offset);
        let mut singles = Vec::with_capacity(headers.len());
        for (entry, offset, header) in headers {
            let end = find(offset).map(|span| span.end).ok_or_else(|| no_base(file, offset))?;
            let base = match header.base {
                Base::Whole(_) => None,
                Base::Offset(base) => Some(find(base).and_then(|span| span.entry).ok_or_else(|| no_base(file, offset))?),
                Base::Id(id) => file.find(&id),
            };
            let usable = match (header.base, base) {
                (Base::Whole(_), _) => true,
                (_, Some(base)) => self.is_base(pack, file, base)?,
                (_, None) => false,
            };
            singles.push(Single { entry, offset, end, base, usable });
        }
        Ok(singles)
    }

    /// Whether the client can apply a delta that is stored in `pack` against its entry `base`.
    fn is_base(&self, pack: u32, file: &PackFile, base: u32) -> Result<bool, Error> {
        let base_here = Location::Packed { pack, entry: base };
        if self.found.set.contains(&base_here) || self.is_at_client(&base_here) {
            return Ok(true);
        }
        // What lies in the first pack has no other place.
        if pack == 0 {
            return Ok(false);
        }
        Ok(match self.objects.locate(file.id(base))? {
            Some(location @ Location::Packed { pack: other, .. }) if other < pack && self.found.set.contains(&location) => true,
            Some(location) => self.is_at_client(&location),
            None => false,
        })
    }
}

fn no_base(file: &PackFile, offset: u64) -> Error {
    Error::corrupt(format!("{}: the base of the delta at offset {offset} is no entry", file.name()))
}
