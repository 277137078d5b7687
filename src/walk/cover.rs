//! A tree, and one that is covered already, into the objects between them.
//!
//! "Covered" means: the tree and all that it reaches are in one of two sets, what goes out or what the client has.
//! Trees of commits are covered from old to new, each against its first parent's, so that of a new tree only the
//! entries that differ are looked up. A tree is compared only with one at the same path of a commit that is covered
//! as a whole; a seen tree is therefore always a covered one, reverts and moved folders included.

use super::Error;
use super::tree::{TreeEntry, for_each_entry, for_each_new_entry};
use crate::base::{Cancel, Phase};
use crate::pack::{Decoder, DeltaHints, Found, Kind, Location, ObjectSet, Objects, name_hash};
use gix_hash::ObjectId;

/// Trees are decoded along their delta chains; what the newest ones share is worth keeping.
const CACHE_BYTES_MAX: usize = 24 << 20;

/// A tree to look into, and a covered one to compare it with.
type Pending = (ObjectId, Location, Option<ObjectId>);

/// Two growing sets of objects.
pub(super) struct Cover<'a> {
    pub objects: &'a dyn Objects,
    decoder: Decoder<'a>,
    /// What the client has: never goes out.
    pub theirs: ObjectSet,
    /// What goes out.
    pub ours: ObjectSet,
    /// Kept when the client has something: what stood before at the path of what goes out.
    pub hints: Option<DeltaHints>,
    phase: &'a Phase,
    cancel: &'a Cancel,
    steps: usize,
}

impl<'a> Cover<'a> {
    pub fn new(objects: &'a dyn Objects, phase: &'a Phase, cancel: &'a Cancel) -> Self {
        let decoder = Decoder::new(objects, CACHE_BYTES_MAX);
        Self { objects, decoder, theirs: ObjectSet::new(), ours: ObjectSet::new(), hints: None, phase, cancel, steps: 0 }
    }

    /// What was covered so far.
    pub fn into_found(self) -> Found {
        Found { set: self.ours, known: self.theirs, hints: self.hints.unwrap_or_default() }
    }

    /// Put one object, and nothing that it reaches, into what goes out; whether it is new there.
    pub fn add(&mut self, location: &Location) -> bool {
        let new = !self.theirs.contains(location) && self.ours.insert(self.objects, location);
        self.phase.add(u64::from(new));
        new
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
        let (mut stack, mut todo) = (vec![], vec![]);
        self.push_tree(tree, base, 0, &mut stack)?;
        while let Some((id, location, base)) = stack.pop() {
            self.step()?;
            let data = tree_data(&mut self.decoder, id, &location)?;
            let (id_len, hinted) = (id.as_slice().len(), self.hints.is_some());
            let mut each = |entry: TreeEntry<'_>, before: Option<TreeEntry<'_>>| {
                let before = before.filter(|before| before.kind() == entry.kind()).map(|before| before.id());
                todo.push((entry.kind(), entry.id(), before, if hinted { name_hash(entry.name()) } else { 0 }));
            };
            let parsed = match base.filter(|base| *base != id) {
                Some(base) => {
                    let base_location = self.objects.locate(&base)?.ok_or_else(|| Error::missing(base))?;
                    let base_data = tree_data(&mut self.decoder, base, &base_location)?;
                    for_each_new_entry(&data, &base_data, id_len, each)
                }
                None => for_each_entry(&data, id_len, |entry| each(entry, None)),
            };
            parsed.ok_or(Error::Malformed { id, kind: Kind::Tree })?;
            for (kind, id, before, name) in todo.drain(..) {
                match kind {
                    Some(Kind::Tree) => self.push_tree(id, before, name, &mut stack)?,
                    Some(_) => {
                        let location = self.objects.locate(&id)?.ok_or_else(|| Error::missing(id))?;
                        if self.add(&location) {
                            self.hint(&location, before, name)?;
                        }
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn push_tree(&mut self, id: ObjectId, base: Option<ObjectId>, name: u32, stack: &mut Vec<Pending>) -> Result<(), Error> {
        let location = self.objects.locate(&id)?.ok_or_else(|| Error::missing(id))?;
        if self.add(&location) {
            self.hint(&location, base, name)?;
            stack.push((id, location, base));
        }
        Ok(())
    }

    /// `before`: what stood at the path of the new object at `location`, in a tree that is covered.
    fn hint(&mut self, location: &Location, before: Option<ObjectId>, name: u32) -> Result<(), Error> {
        let Some(hints) = &mut self.hints else { return Ok(()) };
        let before = match before {
            Some(id) => self.objects.locate(&id)?,
            None => None,
        };
        hints.insert(location, name, before.as_ref(), &self.theirs);
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

/// The bytes of the tree `id`, which lies at `location`.
pub(super) fn tree_data(decoder: &mut Decoder<'_>, id: ObjectId, location: &Location) -> Result<std::rc::Rc<Vec<u8>>, Error> {
    match decoder.get(location)? {
        (Kind::Tree, data) => Ok(data),
        (found, _) => Err(Error::WrongKind { id, wanted: Kind::Tree, found }),
    }
}
