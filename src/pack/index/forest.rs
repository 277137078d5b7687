//! Which deltas build on which entry: the trees that the second pass walks.
//!
//! Children whose base was named by offset are known before anything is resolved; those whose base was named by
//! id are found when an object with that id appears. A base's heaviest child comes last among the former:
//! the walk frees an object before it goes down into the last delta on it, so along a path only those
//! objects are held from which it went down into a lighter child, at most as many as the logarithm of the tree's size.

use super::table::{ByBase, Link, Table};
use super::{Error, twice};
use gix_hash::oid;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) struct Forest {
    /// For each entry where its children begin; one more at the end.
    starts: Vec<u32>,
    children: Vec<u32>,
    by_base: ByBase,
    /// For the first of each range in `by_base`: somebody has resolved it.
    claimed: Vec<AtomicBool>,
}

impl Forest {
    pub(super) fn new(table: &Table, mut by_base: ByBase) -> Self {
        by_base.sort();
        let claimed = (0..by_base.len()).map(|_| AtomicBool::new(false)).collect();
        let (starts, mut children) = children(&table.links);
        let weights = weights(&table.links);
        for pair in starts.windows(2) {
            let siblings = &mut children[pair[0] as usize..pair[1] as usize];
            if let Some(heaviest) = (0..siblings.len()).max_by_key(|&at| weights[siblings[at] as usize]) {
                // Rotating keeps the others in the order of the pack, which is the order of reading.
                siblings[heaviest..].rotate_left(1);
            }
        }
        Self { starts, children, by_base, claimed }
    }

    /// Where the deltas that name `entry` by offset stand; see [`Forest::child`].
    pub(super) fn by_offset(&self, entry: usize) -> Range<u32> {
        self.starts[entry]..self.starts[entry + 1]
    }

    /// The entry at one place of [`Forest::by_offset`].
    pub(super) fn child(&self, at: u32) -> usize {
        self.children[at as usize] as usize
    }

    /// Whether any delta names its base by id.
    pub(super) fn has_ids(&self) -> bool {
        self.by_base.len() != 0
    }

    /// Where the deltas that name the object `id` stand, for [`Forest::child_by_id`]. Whoever asks must resolve them.
    ///
    /// To ask twice means that two entries are the same object, which is an error.
    pub(super) fn claim(&self, id: &oid) -> Result<Range<u32>, Error> {
        let range = self.by_base.find(id);
        if !range.is_empty() && self.claimed[range.start as usize].swap(true, Ordering::Relaxed) {
            return Err(twice(id));
        }
        Ok(range)
    }

    /// The entry at one place of [`Forest::claim`].
    pub(super) fn child_by_id(&self, at: u32) -> usize {
        self.by_base.entry(at as usize)
    }

    /// Each base by id that nobody has claimed, with the first entry that asks for it, in the order of these entries.
    pub(super) fn unclaimed(&self) -> Vec<(usize, gix_hash::ObjectId)> {
        let mut found: Vec<_> = vec![];
        let mut at = 0;
        while at < self.by_base.len() {
            let base = self.by_base.base(at);
            if !self.is_claimed_at(at) {
                found.push((self.by_base.entry(at), base));
            }
            at = self.by_base.find(&base).end as usize;
        }
        found.sort_unstable();
        found
    }

    /// Whether somebody has claimed the deltas on `id`.
    pub(super) fn is_claimed(&self, id: &oid) -> bool {
        let range = self.by_base.find(id);
        !range.is_empty() && self.is_claimed_at(range.start as usize)
    }

    fn is_claimed_at(&self, at: usize) -> bool {
        self.claimed[at].load(Ordering::Relaxed)
    }
}

/// Children of each entry in the order of the pack, as one list with the place where each entry's begin.
fn children(links: &[Link]) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; links.len() + 1];
    for base in links.iter().filter_map(|link| link.base()) {
        starts[base] += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut children = vec![0u32; sum as usize];
    // Filling from the back turns each end into the start it must be.
    for (entry, link) in links.iter().enumerate().rev() {
        if let Some(base) = link.base() {
            starts[base] -= 1;
            children[starts[base] as usize] = entry as u32;
        }
    }
    (starts, children)
}

/// How many entries hang on each, itself included. An offset always points backwards, so one sweep is enough.
fn weights(links: &[Link]) -> Vec<u32> {
    let mut weights = vec![1u32; links.len()];
    for entry in (0..links.len()).rev() {
        if let Some(base) = links[entry].base() {
            weights[base] += weights[entry];
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Kind;
    use gix_hash::Kind::Sha1;

    #[test]
    fn the_heaviest_child_comes_last_and_the_others_in_order() {
        let mut table = Table::new(Sha1);
        let whole = Link::whole(Kind::Blob);
        for (at, link) in [whole, Link::entry(0), Link::entry(1), Link::entry(0), Link::entry(0), whole].into_iter().enumerate() {
            table.push(&Sha1.null(), at as u64, 0, link);
        }
        let forest = Forest::new(&table, ByBase::new(Sha1));
        let of = |entry| forest.by_offset(entry).map(|at| forest.child(at)).collect::<Vec<_>>();
        assert_eq!(of(0), [3, 4, 1]);
        assert_eq!(of(1), [2]);
        assert!(of(5).is_empty());
    }

    #[test]
    fn a_base_claimed_twice_is_an_object_that_came_twice() {
        let mut by_base = ByBase::new(Sha1);
        by_base.push(&Sha1.empty_blob(), 1);
        by_base.push(&Sha1.empty_tree(), 0);
        let mut table = Table::new(Sha1);
        table.push(&Sha1.null(), 12, 0, Link::BY_ID);
        table.push(&Sha1.null(), 30, 0, Link::BY_ID);
        let forest = Forest::new(&table, by_base);
        assert_eq!(forest.unclaimed(), [(0, Sha1.empty_tree()), (1, Sha1.empty_blob())]);
        let range = forest.claim(&Sha1.empty_tree()).expect("first");
        assert_eq!(range.map(|at| forest.child_by_id(at)).collect::<Vec<_>>(), [0]);
        assert_eq!(forest.unclaimed(), [(1, Sha1.empty_blob())]);
        assert!(forest.is_claimed(&Sha1.empty_tree()));
        assert!(forest.claim(&Sha1.empty_tree()).is_err());
        assert!(forest.claim(&Sha1.null()).expect("nobody asks for it").is_empty());
        assert!(forest.claim(&Sha1.null()).is_ok());
    }
}
