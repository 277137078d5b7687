//! Packs into the type of every entry, and which trees are stored as deltas of which.
//!
//! Only the headers of entries are read, in the order of the pack. Objects are numbered pack by pack, in each as its
//! index numbers them; a pack's first number is a multiple of 64, so that bits of numbers are words of [`Bits`].
//! An entry whose header is damaged has no type here: whoever needs the object will meet the fault there.

use super::super::Error;
use crate::base::{Cancel, FastMap};
use crate::pack::entry::{Lean, lean_of};
use crate::pack::{Base, Bits, Kind, Location, Objects, PackFile, PackOrder, kind_of_code};

/// No type, or none yet.
const UNKNOWN: u8 = 0;
/// A delta whose base comes later in the pack.
const LATER: u8 = 255;

/// What the headers tell.
pub(super) struct Headers {
    /// The first number of each pack, and behind the last one the first that no object has.
    firsts: Vec<u32>,
    pub trees: Bits,
    pub blobs: Bits,
    /// Trees that are deltas, with their bases; the link of a base that is a delta itself stands before.
    pub links: Vec<(u32, u32)>,
}

impl Headers {
    /// Read all packs that `objects` has now; `None` when there are too many objects to number.
    pub fn read(objects: &dyn Objects, cancel: &Cancel) -> Result<Option<Self>, Error> {
        let packs = objects.packs();
        let mut firsts = vec![0u32];
        for file in packs {
            let end = firsts[firsts.len() - 1].checked_add(file.len()).and_then(|end| end.checked_next_multiple_of(64));
            match end.filter(|end| *end < 1 << 31) {
                Some(end) => firsts.push(end),
                None => return Ok(None),
            }
        }
        let end = firsts[packs.len()] as usize;
        let mut headers = Self { firsts, trees: Bits::new(end), blobs: Bits::new(end), links: vec![] };
        for (pack, file) in packs.iter().enumerate() {
            headers.read_pack(file, headers.firsts[pack], cancel)?;
        }
        Ok(Some(headers))
    }

    /// How many numbers there are.
    pub fn end(&self) -> u32 {
        self.firsts[self.packs()]
    }

    /// How many packs were read.
    pub fn packs(&self) -> usize {
        self.firsts.len() - 1
    }

    /// The number of the object at `location`, if it lies in a pack that was read.
    #[inline]
    pub fn number(&self, location: &Location) -> Option<u32> {
        match *location {
            Location::Packed { pack, entry } if (pack as usize) < self.packs() => Some(self.firsts[pack as usize] + entry),
            _ => None,
        }
    }

    /// The pack that holds the object with this number, and which entry it is there.
    pub fn place(&self, number: u32) -> (usize, u32) {
        let pack = if self.packs() == 1 { 0 } else { self.firsts.partition_point(|first| *first <= number) - 1 };
        (pack, number - self.firsts[pack])
    }

    /// The words of a set of numbers that belong to `pack`.
    pub fn words<'b>(&self, bits: &'b Bits, pack: usize) -> &'b [u64] {
        &bits.words()[self.firsts[pack] as usize / 64..self.firsts[pack + 1] as usize / 64]
    }

    fn read_pack(&mut self, file: &PackFile, first: u32, cancel: &Cancel) -> Result<(), Error> {
        if file.is_empty() {
            return Ok(());
        }
        let order = file.order()?;
        let mut codes: Vec<u8> = Vec::with_capacity(file.len() as usize);
        let mut later = vec![];
        for position in 0..file.len() {
            if position.is_multiple_of(4096) {
                cancel.check()?;
            }
            let (entry, offset) = (order.entry(position), order.offset(position));
            let base = match lean_of(file.slice(offset..order.offset(position + 1))?, offset) {
                Lean::Whole(code) => Err(code),
                Lean::On(base) => Ok(base),
                Lean::Other => match file.header(offset).map(|header| header.base) {
                    Ok(Base::Whole(code)) => Err(code),
                    Ok(Base::Offset(base)) => Ok(base),
                    Ok(Base::Id(id)) => match file.find(&id) {
                        Some(base) => Ok(file.offset(base)?),
                        None => Err(UNKNOWN),
                    },
                    Err(crate::pack::Error::Io(err)) => return Err(crate::pack::Error::Io(err).into()),
                    Err(_) => Err(UNKNOWN),
                },
            };
            let code = match base {
                Err(code) => code,
                Ok(base) => match order.position_before(position, base) {
                    Some(base) => {
                        let code = codes[base as usize];
                        if kind_of_code(code) == Some(Kind::Tree) {
                            self.links.push((first + entry, first + order.entry(base)));
                        }
                        code
                    }
                    None if base > offset => LATER,
                    None => UNKNOWN,
                },
            };
            if code == LATER {
                later.push((position, base.unwrap_or(0)));
            }
            self.note(first + entry, code);
            codes.push(code);
        }
        self.resolve(order, first, &mut codes, &later)
    }

    /// Deltas whose bases came behind them.
    fn resolve(&mut self, order: &PackOrder, first: u32, codes: &mut [u8], later: &[(u32, u64)]) -> Result<(), Error> {
        let bases: FastMap<u32, u32> = later.iter().filter_map(|(position, base)| Some((*position, order.position_of(*base)?))).collect();
        let mut chain = vec![];
        for (position, _) in later {
            let mut at = *position;
            while codes[at as usize] == LATER && chain.len() <= later.len() {
                chain.push(at);
                match bases.get(&at) {
                    Some(base) => at = *base,
                    None => codes[at as usize] = UNKNOWN,
                }
            }
            // Whatever still waits for its base now stands in a circle.
            let code = if codes[at as usize] == LATER { UNKNOWN } else { codes[at as usize] };
            for at in chain.drain(..).rev() {
                codes[at as usize] = code;
                let number = first + order.entry(at);
                self.note(number, code);
                if kind_of_code(code) == Some(Kind::Tree)
                    && let Some(base) = bases.get(&at)
                {
                    self.links.push((number, first + order.entry(*base)));
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, number: u32, code: u8) {
        match kind_of_code(code) {
            Some(Kind::Tree) => drop(self.trees.insert(number as usize)),
            Some(Kind::Blob) => drop(self.blobs.insert(number as usize)),
            _ => {}
        }
    }
}
