//! The new tips of a push into "whole or not", and "cut off or not": everything that they reach is here, or ends where the
//! client's own history ends.
//!
//! What a ref reaches is taken for whole, as git does (`connected.c`: `rev-list --objects --not --all
//! --alternate-refs`), and what a client's shallow commit hides is not asked for (`shallow.c`:
//! `assign_shallow_commits_to_refs`). The cost grows with what is new: the walk ends at old commits, which are looked for
//! first among the tips next to the push, then among all; only one that is no tip itself costs a walk from tips, the
//! near ones first. When something is missing, each tip is told by itself, from one walk over all of them.

use super::commit::parse_tag;
use super::commits::{Commits, Number};
use super::cover::Cover;
use super::peel::peel;
use super::want_have::cover_commits;
use super::whole_trees::{WholeTrees, is_blameable};
use super::{Error, Missing};
use crate::base::{Cancel, FastMap, FastSet, Phase};
use crate::pack::{self, Kind, Location, Objects};
use gix_hash::ObjectId;

/// Calls back for every object of some.
pub type EachObject<'a> = dyn Fn(&mut dyn FnMut(ObjectId)) + Sync + 'a;

/// What refs lead to, taken for whole.
pub struct Known<'a> {
    /// What the push most likely builds on.
    pub near: &'a [ObjectId],
    /// Calls back for each and every one; asked only when the near ones do not do.
    pub each: &'a EachObject<'a>,
}

/// A push that is to be checked.
pub struct Pushed<'a> {
    /// What was here, and the push's own.
    pub objects: &'a dyn Objects,
    /// The repository's shallow commits, sorted.
    pub shallow: &'a [ObjectId],
    /// The client's.
    pub offered: &'a [ObjectId],
    /// What is whole already.
    pub known: Known<'a>,
    /// Whether it was here before the push; what was may have come again.
    pub was_here: &'a (dyn Fn(&ObjectId) -> Result<bool, pack::Error> + Sync),
    /// Whether the push brought it.
    pub is_new: &'a (dyn Fn(&Location) -> bool + Sync),
}

/// What is to be said of one tip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connected {
    /// Something that it reaches is not here, or not what it is taken for.
    pub is_broken: bool,
    /// It reaches a shallow commit of the client that is none of the repository.
    pub is_cut: bool,
}

/// What is to be said of all tips.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Per tip.
    pub tips: Vec<Connected>,
    /// The client's shallow commits that they reach and refs do not: here they would have no parents either.
    pub cuts: Vec<ObjectId>,
}

/// What a tip comes to.
#[derive(Clone, Copy)]
enum Start {
    Broken,
    Commit(Number),
    Tree(ObjectId),
    Blob,
}

/// Check what `tips` reach.
///
/// # Errors
/// Only such as are no fault of the push: cancellation, reading fails.
pub fn check_connected(pushed: &Pushed<'_>, tips: &[ObjectId], phase: &Phase, cancel: &Cancel) -> Result<Connections, Error> {
    let offered = pushed.cuts_that_are_here(cancel)?;
    let ids: Vec<ObjectId> = offered.keys().copied().collect();
    let mut cut = [pushed.shallow, &ids].concat();
    cut.sort_unstable();
    let mut walk = Walk { pushed, commits: Commits::new(pushed.objects, &cut).forgive(cancel), met: FastMap::default(), phase, cancel };
    let starts = tips.iter().map(|tip| walk.start(*tip)).collect::<Result<Vec<_>, _>>()?;
    let commits: Vec<Number> =
        starts.iter().filter_map(|start| if let Start::Commit(number) = start { Some(*number) } else { None }).collect();
    let (mut found, old) =
        walk.commits.split_new(&commits, &|id, location| (pushed.is_new)(location) && offered.get(id) != Some(&true), cancel)?;
    found.extend(walk.find_unknown(&old)?);
    found.sort_by_key(|number| std::cmp::Reverse(walk.commits.date(*number)));
    let cuts = walk.find_cuts(&offered, &found)?;
    let trees: Vec<ObjectId> = starts.iter().filter_map(|start| if let Start::Tree(id) = start { Some(*id) } else { None }).collect();
    let mut marks: FastMap<Number, Connected> = found.iter().map(|number| (*number, Connected::default())).collect();
    for number in &found {
        let is_cut = cuts.contains(&walk.commits.id(*number));
        marks.insert(*number, Connected { is_broken: walk.commits.is_broken(*number), is_cut });
    }
    let mut broken_trees = FastSet::default();
    if !walk.are_trees_whole(&found, &trees)? {
        let mut whole = WholeTrees::new(pushed.objects, cancel);
        for number in found.iter().filter(|number| !walk.commits.is_broken(**number)) {
            let is_whole = whole.is_whole(walk.commits.tree(*number))?;
            marks.entry(*number).or_default().is_broken |= !is_whole;
        }
        for tree in trees {
            if !whole.is_whole(tree)? {
                broken_trees.insert(tree);
            }
        }
    }
    walk.carry_up(&commits, &mut marks);
    let verdict = |start: &Start| match start {
        Start::Broken => Connected { is_broken: true, is_cut: false },
        Start::Commit(number) => marks.get(number).copied().unwrap_or_default(),
        Start::Tree(id) => Connected { is_broken: broken_trees.contains(id), is_cut: false },
        Start::Blob => Connected::default(),
    };
    Ok(Connections { tips: starts.iter().map(verdict).collect(), cuts: cuts.into_iter().collect() })
}

impl Pushed<'_> {
    /// The client's shallow commits that are here and none of ours (`shallow.c`: `prepare_shallow_info`), and whether each was
    /// before.
    fn cuts_that_are_here(&self, cancel: &Cancel) -> Result<FastMap<ObjectId, bool>, Error> {
        let mut here = FastMap::default();
        for id in self.offered.iter().filter(|id| self.shallow.binary_search(id).is_err()) {
            cancel.check()?;
            if self.objects.locate(id)?.is_some() {
                here.insert(*id, (self.was_here)(id)?);
            }
        }
        Ok(here)
    }
}

struct Walk<'a> {
    pushed: &'a Pushed<'a>,
    commits: Commits<'a>,
    /// Tips and tags on the way, and what they came to.
    met: FastMap<ObjectId, Start>,
    phase: &'a Phase,
    cancel: &'a Cancel,
}

impl Walk<'_> {
    /// Follow tags from `tip`.
    fn start(&mut self, tip: ObjectId) -> Result<Start, Error> {
        let mut way = vec![];
        let start = match self.follow(tip, &mut way) {
            Err(err) if is_blameable(&err) => Start::Broken,
            other => other?,
        };
        self.met.extend(way.into_iter().map(|id| (id, start)));
        Ok(start)
    }

    fn follow(&mut self, tip: ObjectId, way: &mut Vec<ObjectId>) -> Result<Start, Error> {
        let objects = self.pushed.objects;
        // What a tag takes the object that it names for.
        let (mut at, mut wanted) = (tip, None);
        loop {
            self.cancel.check()?;
            let location = match objects.locate(&at)? {
                Some(location) => location,
                None if at != tip && objects.is_promised(&at, self.cancel)? => return Ok(Start::Blob),
                None => return Err(Error::missing(at)),
            };
            let kind = self.commits.decoder().kind(&location)?;
            if wanted.is_some_and(|wanted| wanted != kind) {
                return Ok(Start::Broken);
            }
            if let Some(start) = self.met.get(&at) {
                return Ok(*start);
            }
            way.push(at);
            match kind {
                Kind::Commit => return Ok(Start::Commit(self.commits.intern(at))),
                Kind::Tree => return Ok(Start::Tree(at)),
                Kind::Blob => return Ok(Start::Blob),
                Kind::Tag => {
                    let (kind, data) = self.commits.decoder().get(&location)?;
                    let (target, kind) = parse_tag(&data, objects.hash_kind()).ok_or(Error::Malformed { id: at, kind })?;
                    (at, wanted) = (target, Some(kind));
                }
            }
        }
    }

    /// The `old` commits that no ref reaches, and what of their history none does; all others count as had from now on.
    fn find_unknown(&mut self, old: &[Number]) -> Result<Vec<Number>, Error> {
        let known = &self.pushed.known;
        let near: FastSet<ObjectId> = known.near.iter().copied().collect();
        let mut unknown: FastSet<ObjectId> = old.iter().map(|number| self.commits.id(*number)).filter(|id| !near.contains(id)).collect();
        if !unknown.is_empty() {
            (known.each)(&mut |id| {
                unknown.remove(&id);
            });
        }
        if !unknown.is_empty() && !near.is_empty() {
            let mut probe = Commits::new(self.pushed.objects, self.pushed.shallow).forgive(self.cancel);
            let asked: Vec<Number> = unknown.iter().map(|id| probe.intern(*id)).collect();
            let haves = commits_among(&mut probe, known.near, self.cancel)?;
            probe.paint(&asked, &haves, self.phase, self.cancel)?;
            unknown.retain(|id| !probe.is_had_id(id));
        }
        let lost = if unknown.is_empty() {
            vec![]
        } else {
            let haves = all_commits(&mut self.commits, known, self.cancel)?;
            let asked: Vec<Number> = unknown.iter().map(|id| self.commits.intern(*id)).collect();
            self.commits.paint(&asked, &haves, self.phase, self.cancel)?
        };
        let is_lost: FastSet<Number> = lost.iter().copied().collect();
        let mut lost = lost;
        for number in old.iter().filter(|number| !is_lost.contains(number)) {
            self.commits.take_for_had(*number)?;
            if self.commits.is_broken(*number) {
                lost.push(*number); // a ref may lead to it, but it is no commit
            }
        }
        Ok(lost)
    }

    /// Those of the client's shallow commits that are among what refs do not reach.
    fn find_cuts(&mut self, offered: &FastMap<ObjectId, bool>, found: &[Number]) -> Result<FastSet<ObjectId>, Error> {
        let ids = found.iter().filter(|number| !self.commits.is_broken(**number)).map(|number| self.commits.id(*number));
        let mut cuts: FastSet<ObjectId> = ids.filter(|id| offered.contains_key(id)).collect();
        let old: Vec<ObjectId> = cuts.iter().copied().filter(|id| offered[id]).collect();
        if !old.is_empty() {
            // Here the client's word did not count for the history of refs: what they do reach stays as it is.
            let mut probe = Commits::new(self.pushed.objects, self.pushed.shallow).forgive(self.cancel);
            let asked: Vec<Number> = old.iter().map(|id| probe.intern(*id)).collect();
            let haves = all_commits(&mut probe, &self.pushed.known, self.cancel)?;
            probe.paint(&asked, &haves, self.phase, self.cancel)?;
            cuts.retain(|id| !probe.is_had_id(id));
        }
        Ok(cuts)
    }

    /// Whether all trees of commits, and those that stand alone, are whole.
    fn are_trees_whole(&mut self, found: &[Number], trees: &[ObjectId]) -> Result<bool, Error> {
        let mut cover = Cover::new(self.pushed.objects, None, self.phase, self.cancel).checking_kinds();
        cover.missing = Missing::Promised;
        let here: Vec<Number> = found.iter().copied().filter(|number| !self.commits.is_broken(*number)).collect();
        let covered =
            cover_commits(&mut self.commits, &mut cover, &here).and_then(|()| trees.iter().try_for_each(|id| cover.add_tree(*id, None)));
        match covered {
            Ok(()) => Ok(true),
            Err(err) if is_blameable(&err) => {
                tracing::warn!(%err, "a push is not connected");
                Ok(false)
            }
            Err(err) => Err(err),
        }
    }

    /// What is to be said of a commit is to be said of those that reach it.
    fn carry_up(&self, starts: &[Number], marks: &mut FastMap<Number, Connected>) {
        let mut done = FastSet::default();
        for start in starts.iter().filter(|number| marks.contains_key(number)).copied().collect::<Vec<_>>() {
            if !done.insert(start) {
                continue;
            }
            let mut path = vec![(start, 0)];
            while let Some((number, at)) = path.last_mut() {
                let below = self.commits.parents(*number).get(*at).copied();
                *at += 1;
                let number = *number;
                match below {
                    Some(parent) if marks.contains_key(&parent) && done.insert(parent) => path.push((parent, 0)),
                    Some(_) => {}
                    None => {
                        let parents = self.commits.parents(number).iter().filter_map(|parent| marks.get(parent));
                        let Connected { is_broken, is_cut } = parents.fold(marks[&number], |all, of| Connected {
                            is_broken: all.is_broken || of.is_broken,
                            is_cut: all.is_cut || of.is_cut,
                        });
                        marks.insert(number, Connected { is_broken, is_cut });
                        path.pop();
                    }
                }
            }
        }
    }
}

fn commits_among(commits: &mut Commits<'_>, ids: &[ObjectId], cancel: &Cancel) -> Result<Vec<Number>, Error> {
    let mut numbers = vec![];
    for id in ids {
        cancel.check()?;
        if let Some((id, Kind::Commit)) = peel(commits.decoder(), *id)? {
            numbers.push(commits.intern(id));
        }
    }
    Ok(numbers)
}

/// The commits that all tips lead to.
fn all_commits(commits: &mut Commits<'_>, known: &Known<'_>, cancel: &Cancel) -> Result<Vec<Number>, Error> {
    let mut ids = vec![];
    (known.each)(&mut |id| ids.push(id));
    commits_among(commits, &ids, cancel)
}
