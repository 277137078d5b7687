//! Any bytes as a pack entry's header, and as a base with a delta. What a delta makes has the size that it declares.
#![no_main]

use gix_hash::Kind;
use libfuzzer_sys::fuzz_target;
use packmule::pack::{EntryHeader, apply_delta, delta_sizes};

/// The biggest result that is made here, in bytes.
const RESULT_BYTES_MAX: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    for hash in [Kind::Sha1, Kind::Sha256] {
        for at in [0, 12, u64::from(u32::MAX) + 7] {
            let _ = EntryHeader::read(data, at, hash);
        }
    }
    let Some((&split, data)) = data.split_first() else { return };
    let (base, delta) = data.split_at(usize::from(split).min(data.len()));
    let Some((base_size, size)) = delta_sizes(delta).filter(|(_, size)| *size <= RESULT_BYTES_MAX) else { return };
    let mut out = vec![];
    if apply_delta(base, delta, &mut out).is_some() {
        assert_eq!((base.len() as u64, out.len() as u64), (base_size, size));
    }
});
