//! A tree, and one that is covered already, into the objects between them.
//!
//! "Covered" means: the tree and all that it reaches are in one of two sets, what goes out or what the client has.
//! Trees of commits are covered from old to new, each against its first parent's, so that of a new tree only the
//! entries that differ are looked up. A tree is compared only with one at the same path of a commit that is covered
//! as a whole; a seen tree is therefore always a covered one, reverts and moved folders included.
//!
//! A filter by kind or depth leaves out what it leaves out, and nothing of that is looked up. "Covered" then means what the
//! filter lets through; a tree met again nearer to a commit is looked into again, as in git (`filter_trees_depth`).

use super::filter::{KindFilter, ObjectFilter};
use super::tree::{TreeEntry, for_each_entry, for_each_new_entry};
use super::{Error, Missing};
use crate::base::{Cancel, FastMap, FastSet, Phase};
use crate::pack::{Decoded, Decoder, DeltaHints, Found, Kind, Location, ObjectSet, Objects, name_hash};
use gix_hash::ObjectId;
use std::sync::Arc;

/// Trees are decoded along their delta chains; what the newest ones share is worth keeping.
const CACHE_BYTES_MAX: usize = 24 << 20;
/// Where it begins while a push is checked, which is to take no more memory than the rest of it: trees of most are small.
const CHECK_CACHE_BYTES: usize = 4 << 20;

/// Blobs known by id alone: about 10 MB.
const BY_ID_MAX: usize = 1 << 18;

/// A tree to look into, and a covered one to compare it with.
struct Pending {
    id: ObjectId,
    location: Location,
    base: Option<ObjectId>,
    /// That of its entries.
    depth: u64,
}

/// Two growing sets of objects.
pub(super) struct Cover<'a> {
    pub objects: &'a dyn Objects,
    pub decoder: Decoder<'a>,
    /// What the client has: never goes out.
    pub theirs: ObjectSet,
    /// More of that: blobs by id, of which nobody has asked yet where they lie.
    theirs_by_id: FastSet<ObjectId>,
    /// That part of it which a client with the same filter has before it; `None`: all.
    known: Option<ObjectSet>,
    /// What goes out.
    pub ours: ObjectSet,
    /// Kept when the client has something: what stood before at the path of what goes out.
    pub hints: Option<DeltaHints>,
    /// Which kinds go out.
    pub kinds: KindFilter,
    /// Trees and blobs at smaller depths than this go out.
    depth: u64,
    /// Where depths count: the smallest at which each tree was met.
    shallowest: FastMap<Location, u64>,
    /// Trees looked into that do not go out.
    pub passed: ObjectSet,
    /// Trees and blobs wanted by their own ids that were not yet met beneath a tree: no filter holds them back.
    pub given: FastSet<ObjectId>,
    /// Every entry met must be of the type that its tree takes it for. Of what is stored that is so; of what somebody
    /// sends, an object that was met as what it is could else pass for what it is not.
    are_kinds_checked: bool,
    /// What becomes of trees and blobs that are not here.
    pub missing: Missing,
    phase: &'a Phase,
    cancel: &'a Cancel,
    steps: usize,
}

impl<'a> Cover<'a> {
    /// Nothing yet; `filter` leaves out what it leaves out, unless it is one about places.
    pub fn new(objects: &'a dyn Objects, filter: Option<&ObjectFilter>, phase: &'a Phase, cancel: &'a Cancel) -> Self {
        let (kinds, depth) = match filter {
            None => (KindFilter::ALL, u64::MAX),
            Some(ObjectFilter::Kinds(kinds)) => (*kinds, u64::MAX),
            Some(ObjectFilter::Depth(depth)) => (KindFilter::ALL, *depth),
            Some(ObjectFilter::Places(places)) => (places.kinds, places.depth),
        };
        Self {
            objects,
            decoder: Decoder::new(objects, CACHE_BYTES_MAX),
            theirs: ObjectSet::new(),
            theirs_by_id: FastSet::default(),
            known: filter.map(|_| ObjectSet::new()),
            ours: ObjectSet::new(),
            hints: None,
            kinds,
            depth,
            shallowest: FastMap::default(),
            passed: ObjectSet::new(),
            given: FastSet::default(),
            are_kinds_checked: false,
            missing: Missing::Refused,
            phase,
            cancel,
            steps: 0,
        }
    }

    /// For what somebody sent: entries must be of the types that trees take them for.
    pub fn checking_kinds(mut self) -> Self {
        self.are_kinds_checked = true;
        self.decoder = Decoder::new(self.objects, CHECK_CACHE_BYTES).growing_to(CACHE_BYTES_MAX);
        self
    }

    /// What was covered so far.
    pub fn into_found(self) -> Found {
        // Without hints nothing is searched.
        let decoded = if self.hints.is_some() { self.decoder.into_decoded() } else { Decoded::default() };
        let (known, known_ids) = match self.known {
            Some(known) => (known, FastSet::default()),
            None => (self.theirs, self.theirs_by_id),
        };
        Found { set: self.ours, known, known_ids, hints: self.hints.unwrap_or_default(), decoded }
    }

    /// Where an object lies that a tree names; `None`: it is not here and need not be.
    pub fn find(&self, id: ObjectId) -> Result<Option<Location>, Error> {
        match self.objects.locate(&id)? {
            None if !self.passes(&id)? => Err(Error::missing(id)),
            found => Ok(found),
        }
    }

    /// Whether an object that is not here need not be.
    pub fn passes(&self, id: &ObjectId) -> Result<bool, Error> {
        match self.missing {
            Missing::Refused => Ok(false),
            Missing::Promised => Ok(self.objects.is_promised(id, self.cancel)?),
            Missing::Passed => Ok(true),
        }
    }

    /// Put one object, and nothing that it reaches, into what goes out; whether it is new there.
    pub fn add(&mut self, location: &Location) -> bool {
        let new = !self.theirs.contains(location) && self.ours.insert(self.objects, location);
        self.phase.add(u64::from(new));
        new
    }

    /// What the client has: this object, and nothing that it reaches.
    pub fn exclude(&mut self, location: &Location) {
        self.theirs.insert(self.objects, location);
        if let Some(known) = &mut self.known {
            known.insert(self.objects, location);
        }
    }

    /// What the client has: the blob `id`, which is a name in one of its trees. To look where it lies would cost more than
    /// all else that is done with it, and hardly ever is it asked for.
    pub fn exclude_blob(&mut self, id: ObjectId) -> Result<(), Error> {
        if self.theirs_by_id.len() < BY_ID_MAX {
            self.theirs_by_id.insert(id);
        } else if let Some(location) = self.objects.locate(&id)? {
            self.theirs.insert(self.objects, &location);
        }
        Ok(())
    }

    /// What the client has: `tree` and all that it reaches. Objects that are not here are passed over.
    pub fn exclude_tree(&mut self, tree: ObjectId) -> Result<(), Error> {
        self.exclude_tree_and_blobs(tree, false)
    }

    /// As [`Cover::exclude_tree`], with its blobs as [`Cover::exclude_blob`] has them, unless there is a filter.
    pub fn exclude_tree_by_id(&mut self, tree: ObjectId) -> Result<(), Error> {
        self.exclude_tree_and_blobs(tree, self.known.is_none())
    }

    fn exclude_tree_and_blobs(&mut self, tree: ObjectId, by_id: bool) -> Result<(), Error> {
        if self.kinds.is_shallowest() && self.given.is_empty() {
            return Ok(());
        }
        let with_blobs = self.kinds.blobs_below_bytes > 0 || !self.given.is_empty();
        let (mut stack, mut blobs) = (vec![(tree, 0)], vec![]);
        while let Some((id, depth)) = stack.pop() {
            let Some(location) = self.objects.locate(&id)? else { continue };
            if !self.theirs.insert(self.objects, &location) {
                continue;
            }
            self.know(&location, depth, None)?;
            self.step()?;
            let data = tree_data(&mut self.decoder, id, &location)?;
            let parsed = for_each_entry(&data, id.as_slice().len(), |entry| match entry.kind() {
                Some(Kind::Tree) => stack.push((entry.id(), depth + 1)),
                Some(_) if with_blobs => blobs.push(entry.id()),
                _ => {}
            });
            parsed.ok_or(Error::Malformed { id, kind: Kind::Tree })?;
            for id in blobs.drain(..) {
                if by_id {
                    self.exclude_blob(id)?;
                } else if let Some(location) = self.objects.locate(&id)?
                    && self.theirs.insert(self.objects, &location)
                {
                    self.know(&location, depth + 1, Some(self.kinds.blobs_below_bytes))?;
                }
            }
        }
        Ok(())
    }

    /// Under a filter the client has of its own history what the filter let through; a blob, when it has fewer bytes than that.
    fn know(&mut self, location: &Location, depth: u64, below_bytes: Option<u64>) -> Result<(), Error> {
        let Some(known) = &mut self.known else { return Ok(()) };
        let passes = depth < self.depth
            && match below_bytes {
                None => self.kinds.trees,
                Some(u64::MAX) => true,
                Some(below) => below > 0 && self.decoder.size(location)? < below,
            };
        if passes {
            known.insert(self.objects, location);
        }
        Ok(())
    }

    /// Put `tree` and all that it reaches into what goes out, less what the client has. `base`: a covered tree to compare with.
    pub fn add_tree(&mut self, tree: ObjectId, base: Option<ObjectId>) -> Result<(), Error> {
        let mut stack = vec![];
        self.push_tree(tree, base, 0, 0, &mut stack)?;
        self.look_into(stack)
    }

    /// As [`Cover::add_tree`], a tree that is wanted by its own id: it goes out, and its entries are at depth 0.
    pub fn add_given_tree(&mut self, id: ObjectId) -> Result<(), Error> {
        if !self.given.contains(&id) {
            return self.add_tree(id, None);
        }
        let location = self.objects.locate(&id)?.ok_or_else(|| Error::missing(id))?;
        self.shallowest.insert(location, 0);
        if !self.add(&location) {
            return Ok(());
        }
        self.look_into(vec![Pending { id, location, base: None, depth: 0 }])
    }

    /// A blob that is wanted by its own id.
    pub fn add_given_blob(&mut self, id: ObjectId) -> Result<(), Error> {
        if self.given.contains(&id) {
            let location = self.objects.locate(&id)?.ok_or_else(|| Error::missing(id))?;
            self.add(&location);
            return Ok(());
        }
        self.add_blob(id, None, 0, 0)
    }

    fn look_into(&mut self, mut stack: Vec<Pending>) -> Result<(), Error> {
        let mut todo = vec![];
        while let Some(Pending { id, location, base, depth }) = stack.pop() {
            self.step()?;
            let data = tree_data(&mut self.decoder, id, &location)?;
            let (id_len, hinted) = (id.as_slice().len(), self.hints.is_some());
            let mut each = |entry: TreeEntry<'_>, before: Option<TreeEntry<'_>>| {
                let before = before.filter(|before| before.kind() == entry.kind()).map(|before| before.id());
                todo.push((entry.kind(), entry.id(), before, if hinted { name_hash(entry.name()) } else { 0 }));
            };
            let base = match base.filter(|base| *base != id) {
                Some(base) => self.find(base)?.map(|at| (base, at)),
                None => None,
            };
            let parsed = match base {
                Some((base, at)) => for_each_new_entry(&data, &tree_data(&mut self.decoder, base, &at)?, id_len, each),
                None => for_each_entry(&data, id_len, |entry| each(entry, None)),
            };
            parsed.ok_or(Error::Malformed { id, kind: Kind::Tree })?;
            for (kind, id, before, name) in todo.drain(..) {
                if !self.given.is_empty() {
                    self.given.remove(&id);
                }
                match kind {
                    Some(Kind::Tree) => self.push_tree(id, before, name, depth, &mut stack)?,
                    Some(_) => self.add_blob(id, before, name, depth)?,
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn add_blob(&mut self, id: ObjectId, before: Option<ObjectId>, name: u32, depth: u64) -> Result<(), Error> {
        let below = self.kinds.blobs_below_bytes;
        if below == 0 || depth >= self.depth || self.theirs_by_id.contains(&id) {
            return Ok(());
        }
        let Some(location) = self.find(id)? else { return Ok(()) };
        self.check_kind(id, &location, Kind::Blob)?;
        let settled = self.ours.contains(&location) || self.theirs.contains(&location);
        if settled || below < u64::MAX && self.decoder.size(&location)? >= below {
            return Ok(());
        }
        if self.add(&location) {
            self.hint(&location, before, name)?;
        }
        Ok(())
    }

    /// A tree at `depth`, at whose path `base` stood before.
    fn push_tree(&mut self, id: ObjectId, base: Option<ObjectId>, name: u32, depth: u64, stack: &mut Vec<Pending>) -> Result<(), Error> {
        if depth >= self.depth || self.kinds.is_shallowest() {
            return Ok(());
        }
        let Some(location) = self.find(id)? else { return Ok(()) };
        self.check_kind(id, &location, Kind::Tree)?;
        if self.theirs.contains(&location) {
            return Ok(());
        }
        let new = if self.kinds.trees { self.add(&location) } else { self.passed.insert(self.objects, &location) };
        let nearer = self.depth < u64::MAX && self.is_nearer(&location, depth);
        if new {
            self.hint(&location, base, name)?;
        }
        if new || nearer {
            stack.push(Pending { id, location, base, depth: depth + 1 });
        }
        Ok(())
    }

    fn check_kind(&mut self, id: ObjectId, location: &Location, wanted: Kind) -> Result<(), Error> {
        if !self.are_kinds_checked {
            return Ok(());
        }
        let found = self.decoder.kind(location)?;
        if found == wanted { Ok(()) } else { Err(Error::WrongKind { id, wanted, found }) }
    }

    /// Whether the tree at `location` was not met yet at this depth or a smaller one.
    fn is_nearer(&mut self, location: &Location, depth: u64) -> bool {
        let nearest = self.shallowest.entry(*location).or_insert(u64::MAX);
        let nearer = depth < *nearest;
        *nearest = depth.min(*nearest);
        nearer
    }

    /// `before`: what stood at the path of the new object at `location`, in a tree that is covered.
    fn hint(&mut self, location: &Location, before: Option<ObjectId>, name: u32) -> Result<(), Error> {
        let Some(hints) = &mut self.hints else { return Ok(()) };
        let found = before.map_or(Ok(None), |id| self.objects.locate(&id))?;
        let is_theirs = |at: &Location| self.theirs.contains(at) || before.is_some_and(|id| self.theirs_by_id.contains(&id));
        hints.insert(location, name, found.as_ref().map(|at| (at, is_theirs(at))));
        Ok(())
    }

    /// Counts a tree looked into, and looks at the flag now and then.
    pub fn step(&mut self) -> Result<(), Error> {
        self.steps += 1;
        if self.steps.is_multiple_of(1024) {
            self.cancel.check()?;
        }
        Ok(())
    }
}

/// The bytes of the tree `id`, which lies at `location`.
pub(super) fn tree_data(decoder: &mut Decoder<'_>, id: ObjectId, location: &Location) -> Result<Arc<Vec<u8>>, Error> {
    match decoder.get(location)? {
        (Kind::Tree, data) => Ok(data),
        (found, _) => Err(Error::WrongKind { id, wanted: Kind::Tree, found }),
    }
}
