//! Ids of trees and blobs into those that stand in the newest trees of some tips.
//!
//! What is fetched lazily is nearly always what some tip's tree names: to look there first, newest commits first and each tree
//! against the one looked into before it, tells of thousands of blobs for the price of the trees of one checkout, where
//! the closure of all tips tells of everything for the price of a clone. What is not found may still be reachable.

use super::Error;
use super::commits::{Commits, Number};
use super::cover::tree_data;
use super::peel::peel;
use super::tree::{TreeEntry, for_each_entry, for_each_new_entry};
use crate::base::{Cancel, FastSet};
use crate::pack::{Decoder, Kind, Objects};
use gix_hash::ObjectId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Trees read whatever they are a share of.
const TREES_MIN: usize = 4_096;
/// One tree may be read for so many objects in packs: a sixth of what the closure of everything costs.
const PACKED_PER_TREE: usize = 32;
/// Tips looked at; which these are of more does not matter much.
const TIPS_MAX: usize = 4_096;
/// Decoded trees that are kept.
const CACHE_BYTES_MAX: usize = 8 << 20;

/// What was found, and at what cost.
#[derive(Debug, Default)]
pub struct InNewest {
    /// Those that stand there.
    pub found: FastSet<ObjectId>,
    /// Trees that were read.
    pub trees: usize,
}

/// How many trees of `objects` it pays to read in search of something before the closure of everything is found.
pub fn newest_trees_max(objects: &dyn Objects) -> usize {
    let packed: usize = objects.packs().iter().map(|file| file.len() as usize).sum();
    TREES_MIN + packed / PACKED_PER_TREE
}

/// Those of the trees and blobs `ids` that stand in trees of commits that `tips` reach, as far as reading `trees_max` trees
/// tells. Parents of `shallow` commits (sorted) do not count. The first tip is looked at before the others.
pub fn find_in_newest(
    objects: &dyn Objects,
    shallow: &[ObjectId],
    ids: &[ObjectId],
    tips: &mut dyn Iterator<Item = ObjectId>,
    trees_max: usize,
    cancel: &Cancel,
) -> Result<InNewest, Error> {
    let mut search = Search {
        decoder: Decoder::new(objects, CACHE_BYTES_MAX),
        open: ids.iter().copied().collect(),
        found: FastSet::default(),
        covered: FastSet::default(),
        last: None,
        trees: 0,
        trees_max,
        cancel,
    };
    let mut commits = Commits::new(objects, shallow);
    let (mut met, mut queue) = (FastSet::default(), BinaryHeap::new());
    for (count, tip) in tips.take(TIPS_MAX).enumerate() {
        if count.is_multiple_of(256) {
            cancel.check()?;
        }
        match peel(commits.decoder(), tip)? {
            Some((id, Kind::Commit)) => {
                let number = commits.intern(id);
                meet(&mut commits, number, &mut met, &mut queue)?;
            }
            Some((id, Kind::Tree)) => search.look_into(id)?,
            _ => {}
        }
        if count == 0
            && let Some((_, Reverse(head))) = queue.peek()
        {
            search.look_into(commits.tree(*head))?;
        }
        if search.is_over() {
            break;
        }
    }
    while let Some((_, Reverse(number))) = queue.pop().filter(|_| !search.is_over()) {
        search.look_into(commits.tree(number))?;
        for parent in commits.parents(number).to_vec() {
            meet(&mut commits, parent, &mut met, &mut queue)?;
        }
    }
    Ok(InNewest { found: search.found, trees: search.trees })
}

/// Queue a commit the first time.
fn meet(
    commits: &mut Commits<'_>,
    number: Number,
    met: &mut FastSet<Number>,
    queue: &mut BinaryHeap<(u64, Reverse<Number>)>,
) -> Result<(), Error> {
    if met.insert(number) {
        commits.parse(number)?;
        queue.push((commits.date(number), Reverse(number)));
    }
    Ok(())
}

struct Search<'a> {
    decoder: Decoder<'a>,
    open: FastSet<ObjectId>,
    found: FastSet<ObjectId>,
    /// Trees looked into, or about to be, with all that they reach.
    covered: FastSet<ObjectId>,
    /// The root tree that was looked into last, with all that it reaches.
    last: Option<ObjectId>,
    trees: usize,
    trees_max: usize,
    cancel: &'a Cancel,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.open.is_empty() || self.trees >= self.trees_max
    }

    /// Look into `root` and all that it reaches, less what stood at the same place in the one before it.
    fn look_into(&mut self, root: ObjectId) -> Result<(), Error> {
        self.meet(root);
        let (mut stack, mut trees) = (vec![], vec![]);
        if self.covered.insert(root) {
            stack.push((root, self.last));
        }
        while let Some((id, base)) = stack.pop().filter(|_| !self.is_over()) {
            self.trees += 1;
            if self.trees.is_multiple_of(256) {
                self.cancel.check()?;
            }
            // What is missing is for the closure to complain of.
            let Some(data) = self.read(id)? else { continue };
            let base = base.map_or(Ok(None), |base| self.read(base))?;
            let each = |entry: TreeEntry<'_>, before: Option<TreeEntry<'_>>| match entry.kind() {
                Some(Kind::Tree) => {
                    let before = before.filter(|before| before.kind() == Some(Kind::Tree)).map(|before| before.id());
                    trees.push((entry.id(), before));
                }
                Some(_) => self.meet(entry.id()),
                None => {}
            };
            let id_len = id.as_slice().len();
            let parsed = match &base {
                Some(base) => for_each_new_entry(&data, base, id_len, each),
                None => {
                    let mut each = each;
                    for_each_entry(&data, id_len, |entry| each(entry, None))
                }
            };
            parsed.ok_or(Error::Malformed { id, kind: Kind::Tree })?;
            for (id, before) in trees.drain(..) {
                self.meet(id);
                if self.covered.insert(id) {
                    stack.push((id, before));
                }
            }
        }
        self.last = Some(root);
        Ok(())
    }

    fn meet(&mut self, id: ObjectId) {
        if self.open.remove(&id) {
            self.found.insert(id);
        }
    }

    fn read(&mut self, id: ObjectId) -> Result<Option<Arc<Vec<u8>>>, Error> {
        match self.decoder.objects().locate(&id)? {
            Some(location) => tree_data(&mut self.decoder, id, &location).map(Some),
            None => Ok(None),
        }
    }
}
