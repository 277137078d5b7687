//! Deltas that blow up are refused or take turns. Alone in its file, because it looks at its process's peak.

use gix_hash::Kind as Hash;
use packmule::base::{Cancel, Progress};
use packmule::pack::index::{IngestLimits, ingest};
use packmule::pack::{Deflater, Error, NoObjects, write_entry_header, write_ofs_distance};
use std::fs;

const BASE_BYTES: usize = 16 << 20;
const COPY_BYTES: usize = (1 << 24) - 1;
const HELD_OBJECT_BYTES_MAX: u64 = 512 << 20;
const SMALL_BYTES: u64 = 16 << 20;

fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it is told");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
}

fn push_size(mut size: usize, out: &mut Vec<u8>) {
    while size > 0x7f {
        out.push(size as u8 | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
}

/// Zeros, and a delta that copies almost all of them again and again.
fn blow_up(copies: usize) -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x02".to_vec();
    write_entry_header(3, BASE_BYTES as u64, &mut pack);
    Deflater::new(9).whole(&vec![0; BASE_BYTES], &mut pack).expect("into memory");
    let mut delta = vec![];
    push_size(BASE_BYTES, &mut delta);
    push_size(COPY_BYTES * copies, &mut delta);
    for _ in 0..copies {
        delta.extend_from_slice(&[0x80 | 0x70, 0xff, 0xff, 0xff]);
    }
    let base_distance = pack.len() - 12;
    write_entry_header(6, delta.len() as u64, &mut pack);
    write_ofs_distance(base_distance as u64, &mut pack);
    Deflater::new(9).whole(&delta, &mut pack).expect("into memory");
    let mut hasher = gix_hash::hasher(Hash::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
    pack
}

fn take(mut pack: &[u8], object_bytes_max: u64) -> Result<u32, Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = IngestLimits { object_bytes_max, held_object_bytes_max: HELD_OBJECT_BYTES_MAX, ..IngestLimits::default() };
    ingest(&mut pack, folder.path(), &NoObjects(Hash::Sha1), &limits, &Progress::new(), &Cancel::new()).map(|taken| taken.objects)
}

/// One test, so that nothing else runs beside it.
#[test]
fn deltas_that_blow_up_do_not_take_the_memory() {
    let (too_much, much) = (blow_up(128), blow_up(24));
    assert!(too_much.len() < 20_000, "it is small on the wire: {} bytes", too_much.len());
    let before = peak_bytes();
    let err = take(&too_much, 4 << 30).expect_err("2 GiB");
    assert_eq!(err.to_string(), "size in bytes of a delta, its base or its result exceeds the limit of 536870912");
    let used = peak_bytes() - before;
    assert!(used < SMALL_BYTES, "refused before anything of that size is held: {used} bytes");

    let one = (COPY_BYTES * 24) as u64;
    let before = peak_bytes();
    std::thread::scope(|scope| {
        let pushes: Vec<_> = (0..4).map(|_| scope.spawn(|| take(&much, 4 << 30))).collect();
        for push in pushes {
            assert_eq!(push.join().expect("no panic").expect("within bounds"), 2);
        }
    });
    let used = peak_bytes() - before;
    let small = 4 * BASE_BYTES as u64 * 2 + SMALL_BYTES;
    assert!(used < one + small, "one push at a time holds so much: {used} bytes");
}
