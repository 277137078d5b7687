//! Any bytes as the pack of a push into an empty repository: refused or taken, within its bounds, and never half taken.
//!
//! The trailer is put right, so that what lies behind it is reached.
#![no_main]

use gix_hash::{Kind as Hash, ObjectId};
use libfuzzer_sys::fuzz_target;
use packmule::base::{Cancel, Progress};
use packmule::pack::index::{IngestLimits, ingest};
use packmule::pack::NoObjects;

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
    let taken = ingest(&mut &pack[..], folder.path(), &NoObjects(Hash::Sha1), &limits, &Progress::new(), &Cancel::new());
    let files = std::fs::read_dir(folder.path()).expect("a folder").count();
    match taken {
        Ok(taken) if taken.name.is_some() => assert_eq!(files, 3),
        _ => assert_eq!(files, 0),
    }
});
