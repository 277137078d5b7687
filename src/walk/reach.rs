//! Ids and tips into "reachable or not".

use super::Error;
use super::commits::{Commits, Number};
use super::newest::{find_in_newest, newest_trees_max};
use super::peel::peel;
use super::want_have::{FetchSides, Missing, find_objects};
use crate::base::{Cancel, FastSet, Progress};
use crate::pack::{Decoder, Kind, Location, ObjectSet, Objects};
use gix_hash::ObjectId;
use std::collections::{BinaryHeap, HashSet};

/// Those of `ids` that none of `tips` reaches, in order; ids that are not here are among them.
///
/// A commit costs a walk through the newer part of history; any other object a look at the newest trees, and, when it is not
/// found there, the whole closure of the tips.
pub fn find_unreachable(
    objects: &dyn Objects,
    shallow: &[ObjectId],
    ids: &[ObjectId],
    tips: &mut dyn Iterator<Item = ObjectId>,
    cancel: &Cancel,
) -> Result<Vec<ObjectId>, Error> {
    let mut open: Vec<ObjectId> = vec![];
    let (mut all, mut tips_seen) = (vec![], FastSet::default());
    for (count, tip) in tips.enumerate() {
        check_now_and_then(count, cancel)?;
        if tips_seen.insert(tip) {
            all.push(tip);
        }
    }
    let tips = all;
    open.extend(ids.iter().filter(|id| !tips_seen.contains(*id)));
    if open.is_empty() {
        return Ok(open);
    }
    let mut decoder = Decoder::new(objects, 1 << 20);
    let (mut commits, mut others) = (vec![], vec![]);
    // Some are the peer's own invention, so it could choose how they hash.
    let mut unreachable = HashSet::new();
    for (count, id) in open.iter().enumerate() {
        check_now_and_then(count, cancel)?;
        match objects.locate(id)? {
            None => drop(unreachable.insert(*id)),
            Some(location) if decoder.kind(&location)? == Kind::Commit => commits.push(*id),
            Some(location) => others.push((*id, location)),
        }
    }
    if !commits.is_empty() {
        let mut table = Commits::new(objects, shallow);
        let wants: Vec<_> = commits.iter().map(|id| table.intern(*id)).collect();
        let mut haves = vec![];
        for (count, tip) in tips.iter().enumerate() {
            check_now_and_then(count, cancel)?;
            if let Some((id, Kind::Commit)) = peel(table.decoder(), *tip)? {
                haves.push(table.intern(id));
            }
        }
        let phase = Progress::new().begin("Counting objects", 0);
        unreachable.extend(table.paint(&wants, &haves, &phase, cancel)?.into_iter().map(|number| table.id(number)));
    }
    if !others.is_empty() {
        let ids: Vec<ObjectId> = others.iter().map(|(id, _)| *id).collect();
        let newest = find_in_newest(objects, shallow, &ids, &mut tips.iter().copied(), newest_trees_max(objects), cancel)?;
        others.retain(|(id, _)| !newest.found.contains(id));
    }
    if !others.is_empty() {
        let set = ReachableObjects::find(objects, shallow, &tips, cancel)?;
        unreachable.extend(others.iter().filter(|(_, location)| !set.contains(location)).map(|(id, _)| *id));
    }
    open.retain(|id| unreachable.contains(id));
    Ok(open)
}

fn check_now_and_then(count: usize, cancel: &Cancel) -> Result<(), Error> {
    if count.is_multiple_of(1024) {
        cancel.check()?;
    }
    Ok(())
}

/// Commits looked at whatever clocks say: enough for the commit-graph to be asked.
const WALK_MIN: usize = 64;

/// Everything that some tips reach: found once, asked often.
pub struct ReachableObjects(ObjectSet);

impl ReachableObjects {
    /// Walk all that `tips` reach in `objects`.
    ///
    /// # Errors
    /// Something of it is not here.
    pub fn find(objects: &dyn Objects, shallow: &[ObjectId], tips: &[ObjectId], cancel: &Cancel) -> Result<Self, Error> {
        Self::walk(objects, shallow, tips, Missing::Refused, cancel)
    }

    /// The same, less what is not here: promised, or lost.
    pub fn find_what_is_here(objects: &dyn Objects, shallow: &[ObjectId], tips: &[ObjectId], cancel: &Cancel) -> Result<Self, Error> {
        match Self::find(objects, shallow, tips, cancel) {
            Err(Error::Pack(crate::pack::Error::Missing(_))) => Self::walk(objects, shallow, tips, Missing::Passed, cancel),
            other => other,
        }
    }

    fn walk(objects: &dyn Objects, shallow: &[ObjectId], tips: &[ObjectId], missing: Missing, cancel: &Cancel) -> Result<Self, Error> {
        let phase = Progress::new().begin("Counting objects", 0);
        // One ref that leads nowhere is no reason to refuse what others lead to.
        let mut decoder = Decoder::new(objects, 1 << 20);
        let mut whole = vec![];
        for (count, tip) in tips.iter().enumerate() {
            check_now_and_then(count, cancel)?;
            whole.extend(peel(&mut decoder, *tip)?.map(|_| *tip));
        }
        let sides = FetchSides { wants: &whole, haves: &[], shallow, aggressive: false, tags: &[], filter: None, missing };
        Ok(Self(find_objects(objects, &sides, &phase, cancel)?.set))
    }

    /// Whether the object at `location` of the same objects is among them.
    pub fn contains(&self, location: &Location) -> bool {
        self.0.contains(location)
    }

    /// Memory taken, about.
    pub fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }
}

/// What some tips reach, found out as far as it is asked for: each commit is looked at once, however many questions come.
pub struct ReachedCommits<'a> {
    commits: Commits<'a>,
    queue: BinaryHeap<((u64, u64), Number)>,
    by_generation: bool,
    reached: FastSet<Number>,
}

impl<'a> ReachedCommits<'a> {
    /// The commits that `tips` reach.
    pub fn new(
        objects: &'a dyn Objects,
        shallow: &'a [ObjectId],
        tips: &mut dyn Iterator<Item = ObjectId>,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        let commits = Commits::new(objects, shallow);
        let mut found = Self { commits, queue: BinaryHeap::new(), by_generation: false, reached: FastSet::default() };
        found.add(tips, cancel)?;
        Ok(found)
    }

    /// And those that these `tips` reach.
    pub fn add(&mut self, tips: &mut dyn Iterator<Item = ObjectId>, cancel: &Cancel) -> Result<(), Error> {
        for (count, tip) in tips.enumerate() {
            check_now_and_then(count, cancel)?;
            if let Some((id, Kind::Commit)) = peel(self.commits.decoder(), tip)? {
                let number = self.commits.intern(id);
                self.meet(number)?;
            }
        }
        Ok(())
    }

    /// Whether `id` is a commit among them. An old commit whose clock was ahead of its children's may be missed where no
    /// commit-graph knows better.
    pub fn contains(&mut self, id: ObjectId, cancel: &Cancel) -> Result<bool, Error> {
        self.contains_near(id, usize::MAX, cancel)
    }

    /// The same, where no more than about `reached_max` commits need be known for it: beyond, a no proves nothing.
    pub fn contains_near(&mut self, id: ObjectId, reached_max: usize, cancel: &Cancel) -> Result<bool, Error> {
        match self.commits.decoder().objects().locate(&id)? {
            Some(location) if self.commits.decoder().kind(&location)? == Kind::Commit => {}
            _ => return Ok(false),
        }
        let number = self.commits.intern(id);
        self.commits.parse(number)?;
        while !self.reached.contains(&number) {
            if self.reached.len() >= reached_max {
                return Ok(false);
            }
            self.reorder();
            let rank = self.commits.rank(number);
            match self.queue.peek() {
                Some((highest, _)) if *highest >= rank || self.reached.len() < WALK_MIN => {}
                _ => return Ok(false),
            }
            let Some((_, next)) = self.queue.pop() else { return Ok(false) };
            if self.reached.len().is_multiple_of(1024) {
                cancel.check()?;
            }
            for parent in self.commits.parents(next).to_vec() {
                self.meet(parent)?;
            }
        }
        Ok(true)
    }

    /// Parsing commits may have taught their generations.
    fn reorder(&mut self) {
        if self.by_generation != self.commits.has_generations() {
            self.by_generation = !self.by_generation;
            let waiting = std::mem::take(&mut self.queue);
            self.queue = waiting.into_iter().map(|(_, number)| (self.commits.rank(number), number)).collect();
        }
    }

    fn meet(&mut self, number: Number) -> Result<(), Error> {
        if self.reached.insert(number) {
            self.commits.parse(number)?;
            self.queue.push((self.commits.rank(number), number));
        }
        Ok(())
    }
}

/// Whether `tip` reaches `ancestor`, both of which are commits here: moving a ref from the second to the first is a
/// fast-forward.
pub fn is_ancestor(objects: &dyn Objects, shallow: &[ObjectId], ancestor: ObjectId, tip: ObjectId, cancel: &Cancel) -> Result<bool, Error> {
    if ancestor == tip {
        return Ok(true);
    }
    let mut table = Commits::new(objects, shallow);
    let (want, have) = (table.intern(ancestor), table.intern(tip));
    let phase = Progress::new().begin("Counting objects", 0);
    Ok(table.paint(&[want], &[have], &phase, cancel)?.iter().all(|number| *number != want))
}
