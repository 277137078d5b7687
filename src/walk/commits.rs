//! Ids into a table of commits, and wants and haves into painted history.
//!
//! The walk goes from new to old by committer time with a priority queue, as `limit_list` of git's `revision.c`
//! does: what a have reaches is uninteresting, and when only uninteresting commits are left in the queue the walk
//! goes on a little, because clocks go wrong.

use super::Error;
use super::commit::parse_commit;
use crate::base::{Cancel, FastMap, FastSet, Phase};
use crate::pack::{Decoder, Kind, Location};
use gix_hash::ObjectId;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Number of a commit in its table.
pub(super) type Number = u32;

/// Seen by a walk from a want.
const WANTED: u8 = 1;
/// Reached from a have.
const HAD: u8 = 2;
/// Is or was in the queue.
const MET: u8 = 4;
/// Is in the queue.
const WAITING: u8 = 8;
/// Links are known.
const PARSED: u8 = 16;

/// Commits looked at after only uninteresting ones are left in the queue; git takes 5.
const SLOP: usize = 64;

struct Node {
    id: ObjectId,
    tree: ObjectId,
    date: u64,
    parents: Range<u32>,
    flags: u8,
}

/// Commits met so far, each once.
pub(super) struct Commits<'a> {
    decoder: Decoder<'a>,
    shallow: &'a [ObjectId],
    numbers: FastMap<ObjectId, Number>,
    nodes: Vec<Node>,
    parents: Vec<Number>,
}

/// Commit objects are small and mostly stored whole.
const CACHE_BYTES_MAX: usize = 4 << 20;

impl<'a> Commits<'a> {
    /// An empty table; the parents of `shallow` commits (sorted) do not count.
    pub fn new(objects: &'a dyn crate::pack::Objects, shallow: &'a [ObjectId]) -> Self {
        Self { decoder: Decoder::new(objects, CACHE_BYTES_MAX), shallow, numbers: FastMap::default(), nodes: vec![], parents: vec![] }
    }

    pub fn decoder(&mut self) -> &mut Decoder<'a> {
        &mut self.decoder
    }

    /// The number of the commit `id`, without looking at it.
    pub fn intern(&mut self, id: ObjectId) -> Number {
        let next = self.nodes.len() as Number;
        *self.numbers.entry(id).or_insert_with(|| {
            self.nodes.push(Node { id, tree: id, date: 0, parents: 0..0, flags: 0 });
            next
        })
    }

    pub fn id(&self, number: Number) -> ObjectId {
        self.nodes[number as usize].id
    }

    /// The tree of a parsed commit.
    pub fn tree(&self, number: Number) -> ObjectId {
        self.nodes[number as usize].tree
    }

    /// Committer time of a parsed commit.
    pub fn date(&self, number: Number) -> u64 {
        self.nodes[number as usize].date
    }

    /// The parents of a parsed commit.
    pub fn parents(&self, number: Number) -> &[Number] {
        let range = &self.nodes[number as usize].parents;
        &self.parents[range.start as usize..range.end as usize]
    }

    /// Whether a have reaches this commit, as far as the walk went.
    pub fn is_had(&self, number: Number) -> bool {
        self.nodes[number as usize].flags & HAD != 0
    }

    /// Where the commit is stored.
    pub fn locate(&self, number: Number) -> Result<Location, Error> {
        let id = self.id(number);
        self.decoder.objects().locate(&id)?.ok_or_else(|| Error::missing(id))
    }

    /// Read the commit's links, once.
    pub fn parse(&mut self, number: Number) -> Result<(), Error> {
        if self.nodes[number as usize].flags & PARSED != 0 {
            return Ok(());
        }
        let id = self.id(number);
        let (kind, data) = self.decoder.find(&id)?.ok_or_else(|| Error::missing(id))?;
        if kind != Kind::Commit {
            return Err(Error::WrongKind { id, wanted: Kind::Commit, found: kind });
        }
        let links = parse_commit(&data, self.decoder.objects().hash_kind()).ok_or(Error::Malformed { id, kind })?;
        let start = self.parents.len() as u32;
        if self.shallow.binary_search(&id).is_err() {
            for parent in links.parents() {
                let parent = self.intern(parent);
                self.parents.push(parent);
            }
        }
        let node = &mut self.nodes[number as usize];
        node.tree = links.tree;
        node.date = links.date;
        node.parents = start..self.parents.len() as u32;
        node.flags |= PARSED;
        Ok(())
    }

    /// Commits that `wants` reach and `haves` do not, newest first. `phase` counts them as they are met.
    ///
    /// May be called once per table. A have whose history is not whole here counts as far as it goes: what a client
    /// has need not be whole on this side.
    pub fn paint(&mut self, wants: &[Number], haves: &[Number], phase: &Phase, cancel: &Cancel) -> Result<Vec<Number>, Error> {
        self.paint_since(wants, haves, 0, phase, cancel)
    }

    /// Likewise, where commits older than `since` (seconds since 1970) count as had with all that they reach.
    pub fn paint_since(
        &mut self,
        wants: &[Number],
        haves: &[Number],
        since: u64,
        phase: &Phase,
        cancel: &Cancel,
    ) -> Result<Vec<Number>, Error> {
        let mut queue = Queue::default();
        for (numbers, flag) in [(wants, WANTED), (haves, HAD)] {
            for &number in numbers {
                self.parse(number)?;
                self.meet(number, flag, &mut queue);
            }
        }
        let (mut found, mut slop, mut steps) = (vec![], SLOP, 0usize);
        let mut oldest_found = u64::MAX;
        while let Some((date, std::cmp::Reverse(number))) = queue.heap.pop() {
            steps += 1;
            if steps.is_multiple_of(1024) {
                cancel.check()?;
            }
            self.nodes[number as usize].flags &= !WAITING;
            let mut had = self.is_had(number);
            queue.wanted -= usize::from(!had);
            if date < since {
                self.nodes[number as usize].flags |= HAD;
                had = true;
            }
            if !had {
                found.push(number);
                oldest_found = oldest_found.min(date);
                phase.add(1);
            }
            for at in self.nodes[number as usize].parents.clone() {
                let parent = self.parents[at as usize];
                match self.parse(parent) {
                    Err(Error::Pack(crate::pack::Error::Missing(_))) if had => continue,
                    other => other?,
                }
                self.meet(parent, if had { HAD } else { WANTED }, &mut queue);
            }
            if queue.wanted == 0 && date < oldest_found {
                if slop == 0 {
                    break;
                }
                slop -= 1;
            }
        }
        found.retain(|number| !self.is_had(*number));
        Ok(found)
    }

    /// Commits that `starts` reach without passing a tip, newest first, if all of them are new and they end at tips or roots;
    /// `None` when the walk meets an old commit that is no tip, whose place in history is then not known.
    pub fn newer_than_tips(
        &mut self,
        starts: &[Number],
        is_tip: &dyn Fn(&ObjectId) -> bool,
        is_new: &dyn Fn(&Location) -> bool,
        cancel: &Cancel,
    ) -> Result<Option<Vec<Number>>, Error> {
        let (mut found, mut tips) = (vec![], vec![]);
        let mut seen = FastSet::default();
        let mut stack = starts.to_vec();
        while let Some(number) = stack.pop() {
            if !seen.insert(number) {
                continue;
            }
            if is_tip(&self.id(number)) {
                tips.push(number);
                continue;
            }
            if !is_new(&self.locate(number)?) {
                return Ok(None);
            }
            self.parse(number)?;
            found.push(number);
            if found.len().is_multiple_of(1024) {
                cancel.check()?;
            }
            stack.extend_from_slice(self.parents(number));
        }
        for tip in tips {
            self.parse(tip)?;
            self.nodes[tip as usize].flags |= HAD;
        }
        found.sort_by_key(|number| std::cmp::Reverse(self.date(*number)));
        Ok(Some(found))
    }

    /// Add `flag` to a commit and queue it the first time; one that turns out to be had takes along what it reaches.
    fn meet(&mut self, number: Number, flag: u8, queue: &mut Queue) {
        let node = &mut self.nodes[number as usize];
        let before = node.flags;
        if before & MET == 0 {
            node.flags |= flag | MET | WAITING;
            queue.heap.push((node.date, std::cmp::Reverse(number)));
            queue.wanted += usize::from(flag == WANTED);
            return;
        }
        if flag == WANTED || before & HAD != 0 {
            return;
        }
        let mut stack = vec![number];
        while let Some(number) = stack.pop() {
            let node = &mut self.nodes[number as usize];
            if node.flags & MET == 0 || node.flags & HAD != 0 {
                continue;
            }
            node.flags |= HAD;
            queue.wanted -= usize::from(node.flags & WAITING != 0);
            let parents = node.parents.clone();
            stack.extend(&self.parents[parents.start as usize..parents.end as usize]);
        }
    }
}

/// Commits to look at, newest first, and how many of them no have reaches.
#[derive(Default)]
struct Queue {
    heap: BinaryHeap<(u64, std::cmp::Reverse<Number>)>,
    wanted: usize,
}
