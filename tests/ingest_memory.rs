//! Large objects go through `ingest` in little memory. Alone in its file, because it looks at its process's peak.

use gix_hash::{Kind as Hash, ObjectId};
use packmule::base::{Cancel, Progress};
use packmule::pack::index::{IngestLimits, ingest};
use packmule::pack::{Deflater, NoObjects, write_entry_header};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};

const BLOB_BYTES: u64 = 100 << 20;
const BLOB_MEMORY_BYTES_MAX: u64 = 16 << 20;
/// What may be held of all objects, and a base and its result beside it.
const COMB_MEMORY_BYTES_MAX: u64 = (256 + 24) << 20;

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

/// A base of 4 MB with a chain of deltas, on each of whose objects one more delta hangs; all name their base by id, so
/// nobody can know beforehand which child is the light one. Held along the chain they would take 400 MB.
fn comb() -> Vec<u8> {
    const LEVELS: u32 = 100;
    const SIZE: usize = 4 << 20;
    let mut pack = [&b"PACK\0\0\0\x02"[..], &(1 + 2 * LEVELS).to_be_bytes()].concat();
    let id = |object: &[u8]| {
        let mut hasher = gix_hash::hasher(Hash::Sha1);
        hasher.update(format!("blob {SIZE}\0").as_bytes());
        hasher.update(object);
        hasher.try_finalize().expect("no collision")
    };
    let mut object = vec![0; SIZE];
    write_entry_header(3, SIZE as u64, &mut pack);
    Deflater::new(1).whole(&object, &mut pack).expect("into memory");
    for level in 1..=LEVELS {
        let base = id(&object);
        for number in [level, level + LEVELS] {
            // Both sizes, four literal bytes, and the rest of the base from offset 4.
            let size = [0x80, 0x80, 0x80, 0x02];
            let rest = (SIZE - 4) as u32;
            let copy = [0x80 | 0x01 | 0x70, 4, rest as u8, (rest >> 8) as u8, (rest >> 16) as u8];
            let delta = [&size[..], &size, &[4], &number.to_be_bytes(), &copy].concat();
            write_entry_header(7, delta.len() as u64, &mut pack);
            pack.extend_from_slice(base.as_slice());
            Deflater::new(1).whole(&delta, &mut pack).expect("into memory");
        }
        object[..4].copy_from_slice(&level.to_be_bytes());
    }
    let mut hasher = gix_hash::hasher(Hash::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
    pack
}

fn take(input: &mut (dyn Read + Send)) -> (tempfile::TempDir, std::path::PathBuf) {
    let packs = tempfile::tempdir().expect("a folder");
    let limits = IngestLimits {
        pack_bytes_max: 0,
        objects_max: u32::MAX,
        object_bytes_max: u64::MAX,
        held_object_bytes_max: u64::MAX,
        inflated_bytes_max: 0,
        threads: 0,
    };
    let name = ingest(input, packs.path(), &NoObjects(Hash::Sha1), &limits, &Progress::new(), &Cancel::new()).expect("a good pack").name;
    let idx = packs.path().join(name.expect("not empty") + ".idx");
    (packs, idx)
}

/// One test, so that nothing else runs beside it.
#[test]
fn memory_is_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("input");
    let id = write_pack(&path);
    let before = peak_bytes();
    let (_packs, idx) = take(&mut BufReader::new(File::open(&path).expect("it is there")));
    let used = peak_bytes() - before;
    assert!(used < BLOB_MEMORY_BYTES_MAX, "a large blob is never held: {used} bytes");
    let index = gix_pack::index::File::at(idx, Hash::Sha1).expect("an index");
    assert_eq!(index.oid_at_index(0), id);

    let pack = comb();
    let before = peak_bytes();
    let (_packs, idx) = take(&mut &pack[..]);
    let used = peak_bytes() - before;
    assert!(used < COMB_MEMORY_BYTES_MAX, "a comb is held in part: {used} bytes");
    assert_eq!(gix_pack::index::File::at(idx, Hash::Sha1).expect("an index").num_objects(), 201);
}
