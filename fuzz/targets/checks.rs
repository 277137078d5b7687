//! Any bytes as a commit, tree, tag, or as a file that trees give a meaning to: what is refused by the usual rules is refused
//! by the strict ones, and nothing is said without bound.
//!
//! With `PACKMULE_FUZZ_GIT=1` stock git judges commits, trees and tags as well: what it refuses is refused, and what is refused
//! for a fault with a name is refused by it for the same first fault. (For a whole corpus at once: `-runs=0`.)
#![no_main]

mod stock;

use gix_hash::Kind as Hash;
use libfuzzer_sys::fuzz_target;
use packmule::pack::check::{Checks, Meant, Rules};
use packmule::pack::{Error, Kind};

/// Messages about one object.
const MESSAGES_MAX: usize = 16;

/// What `git hash-object` refuses too, though for git's fsck it is of the severity INFO: told, and never refused (`fsck.h`).
const ONLY_TOLD: [&str; 7] =
    ["badFilemode", "badTagName", "gitattributesSymlink", "gitignoreSymlink", "gitmodulesParse", "mailmapSymlink", "missingTaggerEntry"];

/// The message that comes first; none for what cannot be read at all.
fn first_fault(outcome: &Result<(), Error>) -> Option<&str> {
    let Err(Error::BadObject { reports, .. }) = outcome else { return None };
    reports[0].split(": ").nth(1)
}

/// Hold our verdict with that of git, which looks at what it hashes as its fsck does when strict.
fn compare(which: u8, bytes: &[u8], ours: &Result<(), Error>) {
    let kind = match which % 5 {
        0 => "commit",
        1 => "tag",
        4 => "tree",
        _ => return,
    };
    match stock::git(&std::env::temp_dir(), &["hash-object", "--stdin", "-t", kind], bytes) {
        Ok(_) => assert_eq!(first_fault(ours), None),
        Err(said) => {
            let mut named = said.split("fails fsck: ").skip(1).filter_map(|rest| rest.split(": ").next()).peekable();
            let has_names = named.peek().is_some();
            let first = named.find(|id| !ONLY_TOLD.contains(id));
            if has_names && first.is_none() {
                return;
            }
            assert!(ours.is_err(), "{said}");
            if let (Some(ours), Some(first)) = (first_fault(ours), first) {
                assert_eq!(ours, first, "{said}");
            }
        }
    }
}

fn is_refused(rules: Rules, hash: Hash, which: u8, bytes: &[u8]) -> bool {
    let is_strict = rules.is_strict();
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
    if is_strict && hash == Hash::Sha1 && stock::is_wanted() {
        compare(which, bytes, &outcome);
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
