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

/// What git packs for a client that wants and has these, bitmaps aside: `gits_set`, and what was moved from places at
/// which nothing is new (`pack.useSparse`).
#[track_caller]
pub fn gits_pack(sandbox: &Sandbox, path: &Path, wants: &[ObjectId], haves: &[ObjectId]) -> BTreeSet<ObjectId> {
    let mut revs: String = wants.iter().map(|id| format!("{id}\n")).collect();
    revs.extend(haves.iter().map(|id| format!("^{id}\n")));
    let folder = sandbox.path("gits-pack");
    std::fs::create_dir_all(&folder).expect("a folder of ours");
    let stem = folder.join("pack");
    let args = ["pack-objects", "-q", "--revs", "--window=0", "--no-use-bitmap-index", &stem.to_string_lossy()].map(str::to_owned);
    let output = run_with_input(&mut sandbox.git_command(path, args.iter().map(String::as_str)), revs.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let name = String::from_utf8(output.stdout).expect("ascii");
    let idx = std::fs::read(folder.join(format!("pack-{}.idx", name.trim()))).expect("an index");
    let format = sandbox.git(path, ["rev-parse", "--show-object-format"]);
    let listed = sandbox.git_with_input(path, ["show-index", &format!("--object-format={}", format.trim())], &idx);
    std::fs::remove_dir_all(folder).expect("a folder of ours");
    listed.lines().map(|line| ObjectId::from_hex(line.split(' ').nth(1).expect("an id").as_bytes()).expect("an id")).collect()
}
