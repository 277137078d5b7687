//! Object directories and their alternates into one view that implements [`Objects`].

use crate::pack::{Error, Kind, Location, Objects, PackFile};
use gix_hash::oid;
use std::sync::Arc;

/// Packs and loose objects of one repository and its alternates, with the quarantine of a push on top where there is one.
pub struct ObjectStore {}

impl Objects for ObjectStore {
    fn hash_kind(&self) -> gix_hash::Kind {
        todo!()
    }

    fn packs(&self) -> &[Arc<PackFile>] {
        todo!()
    }

    fn locate(&self, id: &oid) -> Result<Option<Location>, Error> {
        let _ = id;
        todo!()
    }

    fn read_loose(&self, id: &oid, out: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
        let _ = (id, out);
        todo!()
    }
}
