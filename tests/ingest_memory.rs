//! A large blob goes through `ingest` without being held. Alone in its file, because it looks at its process's peak memory.

use gix_hash::{Kind as Hash, ObjectId, oid};
use packmule::base::{Cancel, Progress};
use packmule::pack::index::{IngestLimits, ingest};
use packmule::pack::{Error, Kind, Location, Objects, PackFile, write_entry_header};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::Arc;

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

const BLOB_BYTES: u64 = 100 << 20;
const MEMORY_BYTES_MAX: u64 = 16 << 20;

fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it is told");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
}

/// A pack with one blob of bytes that do not deflate, and the blob's id.
fn write_pack(path: &std::path::Path) -> ObjectId {
    let mut header = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
    write_entry_header(3, BLOB_BYTES, &mut header);
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    file.write_all(&header).expect("room");
    let mut id = gix_hash::hasher(Hash::Sha1);
    id.update(format!("blob {BLOB_BYTES}\0").as_bytes());
    let mut deflate = gix_zlib::stream::deflate::Write::new(file, gix_zlib::Compression::BEST_SPEED);
    let (mut chunk, mut state) = (vec![0u8; 64 << 10], 1u64);
    for _ in 0..BLOB_BYTES / chunk.len() as u64 {
        for word in chunk.chunks_exact_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.copy_from_slice(&(state ^ (state >> 29)).to_le_bytes());
        }
        id.update(&chunk);
        deflate.write_all(&chunk).expect("room");
    }
    deflate.flush().expect("room");
    drop(deflate.into_inner().into_inner().expect("room"));
    let (mut hasher, mut input) = (gix_hash::hasher(Hash::Sha1), File::open(path).expect("it is there"));
    while let Ok(read @ 1..) = input.read(&mut chunk) {
        hasher.update(&chunk[..read]);
    }
    let mut file = File::options().append(true).open(path).expect("it is there");
    file.write_all(hasher.try_finalize().expect("no collision").as_slice()).expect("room");
    id.try_finalize().expect("no collision")
}

#[test]
fn a_blob_of_100_mb_is_never_held() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("input");
    let id = write_pack(&path);
    let packs = tempfile::tempdir().expect("a folder");
    let limits = IngestLimits { pack_bytes_max: 0, objects_max: u32::MAX, object_bytes_max: u64::MAX, inflated_bytes_max: 0, threads: 0 };
    let before = peak_bytes();
    let mut input = BufReader::new(File::open(&path).expect("it is there"));
    let name = ingest(&mut input, packs.path(), &Nothing, &limits, &Progress::new(), &Cancel::new()).expect("a good pack").name;
    let used = peak_bytes() - before;
    assert!(used < MEMORY_BYTES_MAX, "{used} bytes");
    let index = gix_pack::index::File::at(packs.path().join(name.expect("not empty") + ".idx"), Hash::Sha1).expect("an index");
    assert_eq!(index.oid_at_index(0), id);
}
