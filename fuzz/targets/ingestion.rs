//! Any bytes as the pack of a push into an empty repository: refused or taken, within its bounds, and never half taken.
//!
//! The trailer is put right, so that what lies behind it is reached.
#![no_main]

use gix_hash::{Kind as Hash, ObjectId, oid};
use libfuzzer_sys::fuzz_target;
use packmule::base::{Cancel, Progress};
use packmule::pack::index::{IngestLimits, ingest};
use packmule::pack::{Error, Kind, Location, Objects, PackFile};
use std::sync::Arc;

/// A repository without objects.
struct Nothing;

impl Objects for Nothing {
    fn hash_kind(&self) -> Hash {
        Hash::Sha1
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

fuzz_target!(|data: &[u8]| {
    let mut hasher = gix_hash::hasher(Hash::Sha1);
    hasher.update(data);
    let Ok(trailer) = hasher.try_finalize() else { return };
    let pack = [data, ObjectId::as_slice(&trailer)].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let limits = IngestLimits {
        pack_bytes_max: 1 << 20,
        objects_max: 10_000,
        object_bytes_max: 1 << 20,
        held_object_bytes_max: 1 << 20,
        inflated_bytes_max: 1 << 24,
        threads: 1,
    };
    let taken = ingest(&mut &pack[..], folder.path(), &Nothing, &limits, &Progress::new(), &Cancel::new());
    let files = std::fs::read_dir(folder.path()).expect("a folder").count();
    match taken {
        Ok(taken) if taken.name.is_some() => assert_eq!(files, 3),
        _ => assert_eq!(files, 0),
    }
});
