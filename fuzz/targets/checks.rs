//! Any bytes as a commit, tree, tag, or as a file that trees give a meaning to: what is refused by the usual rules is refused
//! by the strict ones, and nothing is said without bound.
#![no_main]

use gix_hash::Kind as Hash;
use libfuzzer_sys::fuzz_target;
use packmule::pack::check::{Checks, Meant, Rules};
use packmule::pack::{Error, Kind};

/// Messages about one object.
const MESSAGES_MAX: usize = 16;

fn is_refused(rules: Rules, hash: Hash, which: u8, bytes: &[u8]) -> bool {
    let (checks, id) = (Checks::by(rules), hash.null());
    let outcome = match which % 5 {
        0 => checks.object(Kind::Commit, &id, bytes),
        1 => checks.object(Kind::Tag, &id, bytes),
        2 => checks.blob(&id, true, false, Meant::Bytes(bytes)),
        3 => checks.blob(&id, false, true, Meant::Bytes(bytes)),
        _ => checks.object(Kind::Tree, &id, bytes),
    };
    assert!(checks.take_warnings().0.len() <= MESSAGES_MAX);
    if let Err(Error::BadObject { reports, .. }) = &outcome {
        assert!((1..=MESSAGES_MAX).contains(&reports.len()));
    }
    outcome.is_err()
}

fuzz_target!(|data: &[u8]| {
    let Some((&which, bytes)) = data.split_first() else { return };
    for hash in [Hash::Sha1, Hash::Sha256] {
        if is_refused(Rules::usual(), hash, which, bytes) {
            assert!(is_refused(Rules::strict(), hash, which, bytes));
        }
    }
});
