//! The seam between packs and whatever keeps them: what any store of objects answers.

use super::{Bitmaps, CommitGraph, Error, Kind, PackFile};
use crate::base::Cancel;
use gix_hash::{ObjectId, oid};
use std::sync::Arc;

/// Where an object lies within one [`Objects`]: cheap to copy, good as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// In a pack: its number in [`Objects::packs`] and the entry's number in that pack's index.
    Packed {
        /// Index into [`Objects::packs`].
        pack: u32,
        /// Rank by id, as in the `.idx`; see [`PackFile`].
        entry: u32,
    },
    /// In a file of its own.
    Loose(ObjectId),
}

impl Location {
    /// The id of the object that lies here, in `objects`.
    pub fn id(&self, objects: &dyn Objects) -> ObjectId {
        match *self {
            Self::Packed { pack, entry } => objects.packs()[pack as usize].id(entry).to_owned(),
            Self::Loose(id) => id,
        }
    }
}

/// Holds nothing: for whoever needs no object.
#[derive(Clone, Copy, Debug)]
pub struct NoObjects(pub gix_hash::Kind);

impl Objects for NoObjects {
    fn hash_kind(&self) -> gix_hash::Kind {
        self.0
    }

    fn packs(&self) -> &[Arc<PackFile>] {
        &[]
    }

    fn locate(&self, _: &oid) -> Result<Option<Location>, Error> {
        Ok(None)
    }

    fn read_loose(&self, _: &oid, _: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
        Ok(None)
    }
}

/// A fixed view of stored objects: for as long as it lives, what was found is found again.
pub trait Objects: Sync {
    /// SHA-1 or SHA-256.
    fn hash_kind(&self) -> gix_hash::Kind;

    /// The packs of this view, in order of lookup; the numbers in [`Location::Packed`] count them.
    fn packs(&self) -> &[Arc<PackFile>];

    /// Where the object with this id lies; `Ok(None)` when it is not here.
    fn locate(&self, id: &oid) -> Result<Option<Location>, Error>;

    /// Tell `found` which of `ids`, which come in order, are here, each by its place among them and where it lies. Objects
    /// that came since this view was opened may be left out, and no location is a key: what is told here is only read.
    fn locate_sorted(
        &self,
        ids: &mut dyn ExactSizeIterator<Item = &oid>,
        found: &mut dyn FnMut(u32, Location) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for (at, id) in ids.enumerate() {
            if let Some(location) = self.locate(id)? {
                found(at as u32, location)?;
            }
        }
        Ok(())
    }

    /// Where a loose object is read from that was packed, and its file removed, after it was located; `Ok(None)` when
    /// it is gone. Never a key: [`Objects::locate`] goes on answering with the loose place, or it would go out twice.
    fn moved(&self, id: &oid) -> Result<Option<Location>, Error> {
        Ok(self.locate(id)?.filter(|location| matches!(location, Location::Packed { .. })))
    }

    /// Inflate a loose object into `out`; `Ok(None)` when it is not here.
    fn read_loose(&self, id: &oid, out: &mut Vec<u8>) -> Result<Option<Kind>, Error>;

    /// Type and size in bytes of a loose object; `Ok(None)` when it is not here.
    fn loose_header(&self, id: &oid) -> Result<Option<(Kind, u64)>, Error> {
        let mut data = vec![];
        Ok(self.read_loose(id, &mut data)?.map(|kind| (kind, data.len() as u64)))
    }

    /// Whether an object that is not here is known to be with somebody who has promised it: then nothing is lost.
    fn is_promised(&self, _: &oid, _: &Cancel) -> Result<bool, Error> {
        Ok(false)
    }

    /// What bitmapped commits reach, where somebody has stored it; opened when first asked for. The places that it names
    /// are those that [`Objects::locate`] gives.
    fn bitmaps(&self) -> Option<&Bitmaps> {
        None
    }

    /// Links and dates of commits, where somebody has stored them; opened when first asked for.
    fn commit_graph(&self) -> Option<&CommitGraph> {
        None
    }
}
