//! Links between trees and their delta bases into families that can be gone through depth first.
//!
//! Trees are ranked by number. A base's heaviest delta comes last: by then nothing else needs the base, so of a
//! path down a family only those trees are held from which it went into a lighter delta, at most as many as the
//! logarithm of the family's size.

use super::super::Error;
use super::headers::Headers;
use crate::base::Cancel;
use crate::pack::{Bits, Location, Objects};

/// No tree.
pub(super) const NONE: u32 = u32::MAX;
/// A base that counts at a place of which nothing is known.
pub(super) const ELSEWHERE: u32 = u32::MAX - 1;

/// Trees and what is stored as a delta of which.
pub(super) struct Families {
    trees: Bits,
    /// How many trees there are before each word of `trees`.
    before: Vec<u32>,
    numbers: Vec<u32>,
    /// The rank of the delta base, where it is looked up: of an object in several packs, at the one place that counts.
    bases: Vec<u32>,
    deltas: Deltas,
}

/// Which trees are stored as deltas of which. Given up once all are read.
#[derive(Default)]
struct Deltas {
    /// Whether a tree is one.
    is_delta: Bits,
    /// For each tree the first of its deltas but the heaviest.
    first: Vec<u32>,
    /// For each delta the next one of the same base.
    next: Vec<u32>,
    heaviest: Vec<u32>,
}

impl Families {
    pub fn new(objects: &dyn Objects, headers: &mut Headers, cancel: &Cancel) -> Result<Self, Error> {
        let trees = std::mem::take(&mut headers.trees);
        let mut before = Vec::with_capacity(trees.words().len());
        let mut count = 0;
        for word in trees.words() {
            before.push(count);
            count += word.count_ones();
        }
        let numbers = trees.iter().map(|number| number as u32).collect();
        let mut families = Self { trees, before, numbers, bases: vec![NONE; count as usize], deltas: Deltas::default() };
        let mut links = std::mem::take(&mut headers.links);
        for link in &mut links {
            *link = (families.rank(link.0), families.rank(link.1));
        }
        cancel.check()?;
        families.deltas = Deltas::new(count as usize, &links);
        for (delta, base) in links {
            families.bases[delta as usize] = base;
        }
        if headers.packs() > 1 {
            families.look_up_bases(objects, headers, cancel)?;
        }
        Ok(families)
    }

    /// How many trees there are.
    pub fn len(&self) -> u32 {
        self.numbers.len() as u32
    }

    /// The numbers that are trees'.
    pub fn trees(&self) -> &Bits {
        &self.trees
    }

    /// Whether the object with this number is a tree.
    #[inline]
    pub fn is_tree(&self, number: u32) -> bool {
        self.trees.get(number as usize)
    }

    /// The rank of the tree with this number.
    #[inline]
    pub fn rank(&self, number: u32) -> u32 {
        let word = number as usize / 64;
        self.before[word] + (self.trees.words()[word] & ((1 << (number % 64)) - 1)).count_ones()
    }

    /// The number of the tree with this rank.
    #[inline]
    pub fn number(&self, rank: u32) -> u32 {
        self.numbers[rank as usize]
    }

    /// The base that a tree's list leans on; [`NONE`] when it is whole, or [`ELSEWHERE`].
    #[inline]
    pub fn base(&self, rank: u32) -> u32 {
        self.bases[rank as usize]
    }

    /// Whether the tree is stored as a delta of another one.
    pub fn is_delta(&self, rank: u32) -> bool {
        self.deltas.is_delta.get(rank as usize)
    }

    /// The deltas of a tree: the first but the heaviest, and the heaviest; each may be [`NONE`].
    pub fn deltas_of(&self, rank: u32) -> (u32, u32) {
        (self.deltas.first[rank as usize], self.deltas.heaviest[rank as usize])
    }

    /// The delta of the same base behind this one.
    pub fn next_delta(&self, rank: u32) -> u32 {
        self.deltas.next[rank as usize]
    }

    /// Forget who is whose delta; bases stay known.
    pub fn forget_deltas(&mut self) {
        self.deltas = Deltas::default();
    }

    /// An object in several packs counts at one place only; a list that leans on another copy of it leans on that one.
    fn look_up_bases(&mut self, objects: &dyn Objects, headers: &Headers, cancel: &Cancel) -> Result<(), Error> {
        let mut is_base = Bits::new(self.numbers.len());
        self.bases.iter().filter(|base| **base != NONE).for_each(|base| {
            is_base.insert(*base as usize);
        });
        let mut moved = crate::base::FastMap::default();
        for (count, base) in is_base.iter().enumerate() {
            if count.is_multiple_of(1024) {
                cancel.check()?;
            }
            let number = self.number(base as u32);
            let (pack, entry) = headers.place(number);
            let at: Option<Location> = objects.locate(objects.packs()[pack].id(entry))?;
            let found = at.and_then(|location| headers.number(&location));
            if found != Some(number) {
                // Only towards packs with smaller numbers, or two copies could lean on each other.
                let found = found.filter(|number| self.is_tree(*number) && headers.place(*number).0 < pack);
                let rank = found.map_or(ELSEWHERE, |number| self.rank(number));
                moved.insert(base as u32, rank);
            }
        }
        if !moved.is_empty() {
            for base in &mut self.bases {
                *base = moved.get(base).copied().unwrap_or(*base);
            }
        }
        Ok(())
    }
}

impl Deltas {
    /// `links`: delta and base, the link of a base that is a delta itself before.
    fn new(trees: usize, links: &[(u32, u32)]) -> Self {
        let (mut weights, mut heaviest) = (vec![1u32; trees], vec![NONE; trees]);
        for &(delta, base) in links.iter().rev() {
            let weight = weights[delta as usize];
            weights[base as usize] = weights[base as usize].saturating_add(weight);
            let best = &mut heaviest[base as usize];
            if *best == NONE || weights[*best as usize] <= weight {
                *best = delta;
            }
        }
        drop(weights);
        let (mut first, mut next, mut is_delta) = (vec![NONE; trees], vec![NONE; trees], Bits::new(trees));
        for &(delta, base) in links.iter().rev() {
            is_delta.insert(delta as usize);
            if heaviest[base as usize] != delta {
                next[delta as usize] = first[base as usize];
                first[base as usize] = delta;
            }
        }
        Self { is_delta, first, next, heaviest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_delta_comes_last_and_the_others_in_order() {
        let deltas = Deltas::new(7, &[(3, 0), (1, 0), (2, 1), (4, 0), (5, 2)]);
        assert_eq!((deltas.first[0], deltas.heaviest[0]), (3, 1));
        assert_eq!((deltas.next[3], deltas.next[4]), (4, NONE));
        assert_eq!((deltas.first[1], deltas.heaviest[1]), (NONE, 2));
        assert_eq!((deltas.first[6], deltas.heaviest[6]), (NONE, NONE));
        assert_eq!((0..7).map(|rank| deltas.is_delta.get(rank)).collect::<Vec<_>>(), [false, true, true, true, true, true, false]);
    }
}
