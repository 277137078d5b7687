//! A tree, and one that is covered already, into the objects between them.
//!
//! "Covered" means: the tree and all that it reaches are in one of two sets, what goes out or what the client has.
//! Trees of commits are covered from old to new, each against its first parent's, so that of a new tree only the
//! entries that differ are looked up. A tree is compared only with one at the same path of a commit that is covered
//! as a whole; a seen tree is therefore always a covered one, reverts and moved folders included.

use super::Error;
use super::tree::{TreeEntry, for_each_entry, for_each_new_entry};
use crate::base::{Cancel, Phase};
use crate::pack::{Decoder, Kind, Location, ObjectSet, Objects};
use gix_hash::ObjectId;

/// Trees are decoded along their delta chains; what the newest ones share is worth keeping.
const CACHE_BYTES_MAX: usize = 24 << 20;

/// Two growing sets of objects.
pub(super) struct Cover<'a> {
    objects: &'a dyn Objects,
    decoder: Decoder<'a>,
    /// What the client has: never goes out.
    pub theirs: ObjectSet,
    /// What goes out.
    pub ours: ObjectSet,
    phase: &'a Phase,
    cancel: &'a Cancel,
    stack: Vec<(ObjectId, Location, Option<ObjectId>)>,
    steps: usize,
}

impl<'a> Cover<'a> {
    pub fn new(objects: &'a dyn Objects, phase: &'a Phase, cancel: &'a Cancel) -> Self {
        let decoder = Decoder::new(objects, CACHE_BYTES_MAX);
        Self { objects, decoder, theirs: ObjectSet::new(), ours: ObjectSet::new(), phase, cancel, stack: vec![], steps: 0 }
    }

    /// The objects covered so far that go out.
    pub fn into_ours(self) -> ObjectSet {
        self.ours
    }

    /// Put one object, and nothing that it reaches, into what goes out.
    pub fn add(&mut self, location: &Location) {
        if !self.theirs.contains(location) && self.ours.insert(self.objects, location) {
            self.phase.add(1);
        }
    }

    /// What the client has: `tree` and all that it reaches. Objects that are not here are passed over.
    pub fn exclude_tree(&mut self, tree: ObjectId) -> Result<(), Error> {
        let mut stack = vec![tree];
        while let Some(id) = stack.pop() {
            let Some(location) = self.objects.locate(&id)? else { continue };
            if !self.theirs.insert(self.objects, &location) {
                continue;
            }
            self.step()?;
            let data = tree_data(&mut self.decoder, id, &location)?;
            let (objects, theirs) = (self.objects, &mut self.theirs);
            let mut fault = Ok(());
            let parsed = for_each_entry(&data, id.as_slice().len(), |entry| match entry.kind() {
                Some(Kind::Tree) => stack.push(entry.id()),
                Some(_) if fault.is_ok() => match objects.locate(&entry.id()) {
                    Ok(Some(location)) => drop(theirs.insert(objects, &location)),
                    Ok(None) => {}
                    Err(err) => fault = Err(err),
                },
                _ => {}
            });
            fault?;
            parsed.ok_or(Error::Malformed { id, kind: Kind::Tree })?;
        }
        Ok(())
    }

    /// Put `tree` and all that it reaches into what goes out, less what the client has. `base`: a covered tree to compare with.
    pub fn add_tree(&mut self, tree: ObjectId, base: Option<ObjectId>) -> Result<(), Error> {
        self.push_tree(tree, base)?;
        while let Some((id, location, base)) = self.stack.pop() {
            self.step()?;
            let data = tree_data(&mut self.decoder, id, &location)?;
            let id_len = id.as_slice().len();
            let mut todo = vec![];
            let parsed = match base.filter(|base| *base != id) {
                Some(base) => {
                    let base_location = self.objects.locate(&base)?.ok_or_else(|| Error::missing(base))?;
                    let base_data = tree_data(&mut self.decoder, base, &base_location)?;
                    let mut each = |entry: TreeEntry<'_>, other| todo.push((entry.kind(), entry.id(), other));
                    for_each_new_entry(&data, &base_data, id_len, &mut each)
                }
                None => for_each_entry(&data, id_len, |entry| todo.push((entry.kind(), entry.id(), None))),
            };
            parsed.ok_or(Error::Malformed { id, kind: Kind::Tree })?;
            for (kind, id, other) in todo {
                match kind {
                    Some(Kind::Tree) => self.push_tree(id, other)?,
                    Some(_) => {
                        let location = self.objects.locate(&id)?.ok_or_else(|| Error::missing(id))?;
                        self.add(&location);
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn push_tree(&mut self, id: ObjectId, base: Option<ObjectId>) -> Result<(), Error> {
        let location = self.objects.locate(&id)?.ok_or_else(|| Error::missing(id))?;
        if !self.theirs.contains(&location) && self.ours.insert(self.objects, &location) {
            self.phase.add(1);
            self.stack.push((id, location, base));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Error> {
        self.steps += 1;
        if self.steps.is_multiple_of(1024) {
            self.cancel.check()?;
        }
        Ok(())
    }
}

fn tree_data(decoder: &mut Decoder<'_>, id: ObjectId, location: &Location) -> Result<std::rc::Rc<Vec<u8>>, Error> {
    match decoder.get(location)? {
        (Kind::Tree, data) => Ok(data),
        (found, _) => Err(Error::WrongKind { id, wanted: Kind::Tree, found }),
    }
}
