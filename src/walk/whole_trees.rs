//! Trees into "whole or not", each by itself: who is to blame when something is missing somewhere.
//!
//! Each tree is looked into once, however many lead to it; objects must be of the types that trees take them for.

use super::Error;
use super::tree::for_each_entry;
use crate::base::{Cancel, FastMap};
use crate::pack::{self, Decoder, Kind, Location, Objects};
use gix_hash::ObjectId;

const CACHE_BYTES_MAX: usize = 4 << 20;

/// Whether something is wrong with what a peer sent, and not with us.
pub(super) fn is_blameable(err: &Error) -> bool {
    !matches!(err, Error::Cancelled(_) | Error::Pack(pack::Error::Cancelled(_) | pack::Error::Io(_)))
}

/// What was found so far.
pub(super) struct WholeTrees<'a> {
    objects: &'a dyn Objects,
    decoder: Decoder<'a>,
    known: FastMap<ObjectId, bool>,
    cancel: &'a Cancel,
}

/// A tree on the way down: what it leads to and was not looked at yet.
struct Open {
    id: ObjectId,
    trees: Vec<ObjectId>,
    is_whole: bool,
}

impl<'a> WholeTrees<'a> {
    pub fn new(objects: &'a dyn Objects, cancel: &'a Cancel) -> Self {
        Self { objects, decoder: Decoder::new(objects, CACHE_BYTES_MAX), known: FastMap::default(), cancel }
    }

    /// Whether `tree` and all that it reaches is here.
    pub fn is_whole(&mut self, tree: ObjectId) -> Result<bool, Error> {
        if let Some(known) = self.known.get(&tree) {
            return Ok(*known);
        }
        let mut path = vec![self.open(tree)?];
        while let Some(open) = path.last_mut() {
            match open.trees.pop() {
                Some(below) => match self.known.get(&below) {
                    Some(whole) => open.is_whole &= whole,
                    None => {
                        let below = self.open(below)?;
                        path.push(below);
                    }
                },
                None => {
                    let (id, whole) = (open.id, open.is_whole);
                    self.known.insert(id, whole);
                    path.pop();
                    if let Some(above) = path.last_mut() {
                        above.is_whole &= whole;
                    }
                }
            }
        }
        Ok(self.known[&tree])
    }

    fn open(&mut self, id: ObjectId) -> Result<Open, Error> {
        self.cancel.check()?;
        match self.look_into(id) {
            Ok((trees, is_whole)) => Ok(Open { id, trees, is_whole }),
            Err(err) if is_blameable(&err) => Ok(Open { id, trees: vec![], is_whole: false }),
            Err(err) => Err(err),
        }
    }

    /// Where an object lies; `None`: it is not here, and need not be.
    fn locate(&self, id: &ObjectId) -> Result<Option<Location>, Error> {
        match self.objects.locate(id)? {
            None if !self.objects.is_promised(id, self.cancel)? => Err(Error::missing(*id)),
            found => Ok(found),
        }
    }

    /// The trees that a tree leads to, and whether its blobs are here.
    fn look_into(&mut self, id: ObjectId) -> Result<(Vec<ObjectId>, bool), Error> {
        let Some(location) = self.locate(&id)? else { return Ok((vec![], true)) };
        let (kind, data) = self.decoder.get(&location)?;
        if kind != Kind::Tree {
            return Err(Error::WrongKind { id, wanted: Kind::Tree, found: kind });
        }
        let (mut trees, mut blobs) = (vec![], vec![]);
        let parsed = for_each_entry(&data, id.as_slice().len(), |entry| match entry.kind() {
            Some(Kind::Tree) => trees.push(entry.id()),
            Some(_) => blobs.push(entry.id()),
            None => {}
        });
        parsed.ok_or(Error::Malformed { id, kind: Kind::Tree })?;
        for blob in blobs {
            let Some(location) = self.locate(&blob)? else { continue };
            if self.decoder.kind(&location)? != Kind::Blob {
                return Ok((trees, false));
            }
        }
        Ok((trees, true))
    }
}
