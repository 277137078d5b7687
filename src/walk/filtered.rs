//! Trees, met in git's order, into what passes a filter about places: `sparse:oid`, and `tree:<n>` combined with others.
//!
//! Source: `list-objects.c`: `process_tree`; `list-objects-filter.c`: `filter_sparse`, `filter_combine`. Commits come from new to
//! old, entries as they stand. One `sparse:oid` judges an object at every path where it stands; a tree is looked into
//! once for each path. Combined filters judge it only where it is met first, so each tree is looked into once. (In git
//! some combinations give it a second chance, if none of them has let it pass before: those send less here.)

use super::Error;
use super::commits::{Commits, Number};
use super::cover::{Cover, tree_data};
use super::filter::Places;
use super::tree::TreeEntry;
use crate::base::{FastMap, FastSet};
use crate::pack::{self, Kind, Location};
use bstr::{BString, ByteSlice};
use gix_hash::ObjectId;
use std::sync::Arc;

/// As in git (`core.maxTreeDepth`).
const TREE_DEPTH_MAX: usize = 2048;
/// Pairs of a path and a tree that stands there, over all of history.
const PLACES_MAX: usize = 8 << 20;

/// Number of a path.
type Path = u32;

/// One bit for each list of patterns: what it says of a folder, and so of what stands in it unless it says otherwise.
type Chosen = u32;

/// A tree that is being looked into.
struct Frame {
    data: Arc<Vec<u8>>,
    id: ObjectId,
    /// Where the next entry begins.
    at: usize,
    /// Length of the path of the tree, with the slash behind it.
    path_len: usize,
    path: Path,
    chosen: Chosen,
    /// That of the entries.
    depth: u64,
}

struct Walk<'w, 'a> {
    cover: &'w mut Cover<'a>,
    places: &'w Places,
    path: BString,
    paths: FastMap<(Path, BString), Path>,
    met: FastSet<(Path, Location)>,
}

const ROOT: Path = 0;

/// Add what `places` lets through of `others`, which are wanted themselves, and of the trees of `new` commits, newest first.
pub(super) fn add_by_place(
    commits: &mut Commits<'_>,
    cover: &mut Cover<'_>,
    places: &Places,
    others: &[(ObjectId, Kind)],
    new: &[Number],
) -> Result<(), Error> {
    let mut walk = Walk { cover, places, path: BString::default(), paths: FastMap::default(), met: FastSet::default() };
    for (id, kind) in others {
        walk.add_wanted(*id, *kind)?;
    }
    for number in new {
        if walk.cover.kinds.commits {
            let location = commits.locate(*number)?;
            walk.cover.add(&location);
        }
        walk.add_tree(commits.tree(*number))?;
    }
    Ok(())
}

impl Walk<'_, '_> {
    fn add_wanted(&mut self, id: ObjectId, kind: Kind) -> Result<(), Error> {
        let location = self.cover.objects.locate(&id)?.ok_or_else(|| Error::missing(id))?;
        let given = self.cover.given.contains(&id);
        match kind {
            Kind::Tree if given => {
                // Never judged, whatever paths it stands at: neither here nor later.
                self.cover.passed.insert(self.cover.objects, &location);
                if self.cover.add(&location) {
                    let data = tree_data(&mut self.cover.decoder, id, &location)?;
                    self.look_into(Frame { data, id, at: 0, path_len: 0, path: ROOT, chosen: 0, depth: 0 })?;
                }
            }
            Kind::Tree => self.add_tree(id)?,
            _ if given => drop(self.cover.add(&location)),
            _ => self.meet_blob(id, 0, 0, 0)?,
        }
        Ok(())
    }

    fn add_tree(&mut self, id: ObjectId) -> Result<(), Error> {
        self.path.clear();
        match self.meet_tree(id, ROOT, 0, 0, 0)? {
            Some(frame) => self.look_into(frame),
            None => Ok(()),
        }
    }

    fn look_into(&mut self, frame: Frame) -> Result<(), Error> {
        let mut stack = vec![frame];
        while let Some(frame) = stack.last_mut() {
            if frame.at == frame.data.len() {
                stack.pop();
                continue;
            }
            let (id, id_len) = (frame.id, frame.id.as_slice().len());
            let entry = TreeEntry::read(&frame.data[frame.at..], id_len).ok_or(Error::Malformed { id, kind: Kind::Tree })?;
            frame.at += entry.len();
            let (name_at, chosen, depth) = (frame.path_len, frame.chosen, frame.depth);
            self.path.truncate(name_at);
            self.path.extend_from_slice(entry.name());
            let id = entry.id();
            self.cover.given.remove(&id);
            match entry.kind() {
                Some(Kind::Tree) => {
                    let path = self.path_number(frame.path, name_at);
                    if let Some(next) = self.meet_tree(id, path, name_at, chosen, depth)? {
                        if stack.len() >= TREE_DEPTH_MAX {
                            return Err(pack::Error::Limit { what: "trees within trees", limit: TREE_DEPTH_MAX as u64 }.into());
                        }
                        stack.push(next);
                    }
                }
                Some(_) => self.meet_blob(id, name_at, chosen, depth)?,
                None => {}
            }
        }
        Ok(())
    }

    /// The number of the path that ends with the name at `name_at`; all are one where only the first place counts.
    fn path_number(&mut self, parent: Path, name_at: usize) -> Path {
        if !self.places.every_path {
            return ROOT;
        }
        let next = self.paths.len() as Path + 1;
        *self.paths.entry((parent, self.path[name_at..].into())).or_insert(next)
    }

    /// What the lists of patterns say of the path at hand, whose folder they said `chosen` of.
    fn choose(&self, name_at: usize, is_folder: bool, chosen: Chosen) -> Chosen {
        self.places.patterns.iter().enumerate().fold(chosen, |chosen, (at, patterns)| {
            match patterns.chooses(self.path.as_bstr(), name_at, is_folder) {
                Some(true) => chosen | 1 << at,
                Some(false) => chosen & !(1 << at),
                None => chosen,
            }
        })
    }

    /// The tree at the path at hand: judged, and to be looked into unless it was met before.
    fn meet_tree(&mut self, id: ObjectId, path: Path, name_at: usize, chosen: Chosen, depth: u64) -> Result<Option<Frame>, Error> {
        let Some(location) = self.cover.find(id)? else { return Ok(None) };
        if self.cover.theirs.contains(&location) || self.cover.passed.contains(&location) {
            return Ok(None);
        }
        if !self.places.every_path {
            self.cover.passed.insert(self.cover.objects, &location);
        } else if !self.met.insert((path, location)) {
            return Ok(None);
        } else if self.met.len() > PLACES_MAX {
            return Err(pack::Error::Limit { what: "paths of trees under a filter", limit: PLACES_MAX as u64 }.into());
        }
        if self.cover.kinds.trees && depth < self.places.depth {
            self.cover.add(&location);
        }
        self.cover.step()?;
        let chosen = self.choose(name_at, true, chosen);
        let data = tree_data(&mut self.cover.decoder, id, &location)?;
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        Ok(Some(Frame { data, id, at: 0, path_len: self.path.len(), path, chosen, depth: depth + 1 }))
    }

    fn meet_blob(&mut self, id: ObjectId, name_at: usize, chosen: Chosen, depth: u64) -> Result<(), Error> {
        let first_only = !self.places.every_path;
        let below = self.cover.kinds.blobs_below_bytes;
        if below == 0 {
            return Ok(());
        }
        let all = (1u64 << self.places.patterns.len()) - 1;
        let passes = |walk: &Self| depth < walk.places.depth && u64::from(walk.choose(name_at, false, chosen)) == all;
        self.cover.step()?;
        if !first_only && !passes(self) {
            return Ok(());
        }
        let Some(location) = self.cover.find(id)? else { return Ok(()) };
        if self.cover.theirs.contains(&location) || self.cover.ours.contains(&location) {
            return Ok(());
        }
        if first_only && !(self.cover.passed.insert(self.cover.objects, &location) && passes(self)) {
            return Ok(());
        }
        if below == u64::MAX || self.cover.decoder.size(&location)? < below {
            self.cover.add(&location);
        }
        Ok(())
    }
}
