//! Repositories in every layout, and what stock git would send of them: the oracle of exact sets.

use super::{Sandbox, run_with_input};
use gix_hash::ObjectId;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How a repository's objects lie on disk.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// Everything in one pack.
    OnePack,
    /// The same, deltas naming their bases by id.
    RefDeltas,
    /// The same, with bitmaps.
    Bitmaps,
    /// Packs that overlap, and loose objects.
    PacksAndLoose,
}

/// A random history in this layout.
#[track_caller]
pub fn repository(sandbox: &Sandbox, name: &str, hash: &str, seed: u64, layout: Layout) -> PathBuf {
    let (path, mut story) = sandbox.history(name, hash, seed, 60);
    match layout {
        Layout::OnePack => drop(sandbox.git(&path, ["repack", "-adfq", "--depth=20"])),
        Layout::RefDeltas => drop(sandbox.git(&path, ["-c", "repack.useDeltaBaseOffset=false", "repack", "-adfq"])),
        Layout::Bitmaps => drop(sandbox.git(&path, ["repack", "-adbfq", "--depth=20"])),
        Layout::PacksAndLoose => {
            for _ in 0..3 {
                sandbox.git(&path, ["repack", "-dq"]);
                sandbox.import(&path, &story.grow(12));
            }
            // Overlapping packs: what is reachable from main lies twice.
            sandbox.git_with_input(&path, ["pack-objects", "-q", "--revs", "objects/pack/pack"], b"refs/heads/main\n");
            sandbox.import(&path, &story.grow(4));
            let pack = std::fs::read_dir(path.join("objects/pack")).expect("packs");
            let newest = pack.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "pack"));
            let newest = newest.max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).expect("times")).expect("a pack");
            let bytes = std::fs::read(newest.path()).expect("a pack");
            let stem = newest.path().with_extension("");
            for end in ["pack", "idx", "rev"] {
                let _ = std::fs::remove_file(stem.with_extension(end));
            }
            sandbox.git_with_input(&path, ["unpack-objects", "-q"], &bytes);
        }
    }
    path
}

/// The ids that `git ARGS` prints, one in each line.
#[track_caller]
pub fn ids(sandbox: &Sandbox, path: &Path, args: &[&str]) -> Vec<ObjectId> {
    sandbox.git(path, args).lines().map(|line| ObjectId::from_hex(line.as_bytes()).expect("an id")).collect()
}

/// What git would send to a client that wants and has these, and does without what `filter` leaves out.
#[track_caller]
pub fn gits_set(sandbox: &Sandbox, path: &Path, wants: &[ObjectId], haves: &[ObjectId], filter: Option<&str>) -> BTreeSet<ObjectId> {
    let mut revs: String = wants.iter().map(|id| format!("{id}\n")).collect();
    revs.extend(haves.iter().map(|id| format!("^{id}\n")));
    let filter = filter.map(|filter| format!("--filter={filter}"));
    let args = ["rev-list", "--objects", "--no-object-names", "--stdin"].into_iter().chain(filter.as_deref());
    let output = run_with_input(&mut sandbox.git_command(path, args), revs.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("ascii").lines().map(|line| ObjectId::from_hex(line.as_bytes()).expect("an id")).collect()
}
