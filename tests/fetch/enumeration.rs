//! Bitmaps and the delta-order scan beside tree differences: over random histories, layouts and requests they give one
//! set, and what is damaged or missing counts only where the request reaches it.

use crate::common::Sandbox;
use crate::common::exact::ids;
use crate::common::fixture::Random;
use gix_hash::ObjectId;
use packmule::base::{Cancel, Progress};
use packmule::pack::{Kind, Location, ObjectSet, Objects, PackFile};
use packmule::store::{ConfigScope, ObjectStore, Repository};
use packmule::walk::{Enumeration, Error, FetchSides, Missing, ReachableObjects, find_objects_by};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

fn open(path: &Path) -> Arc<ObjectStore> {
    Repository::open(path, ConfigScope::RepositoryOnly).expect("a repository").snapshot().expect("readable").objects().clone()
}

/// What is in a set, by id.
fn members(objects: &dyn Objects, set: &ObjectSet) -> BTreeSet<ObjectId> {
    let packed = set.packed().flat_map(|(pack, entries)| {
        let file = &objects.packs()[pack as usize];
        entries.iter().map(|entry| file.id(entry as u32).to_owned()).collect::<Vec<_>>()
    });
    let members: Vec<ObjectId> = packed.chain(set.loose().iter().copied()).collect();
    assert_eq!(members.len(), set.len());
    let distinct: BTreeSet<ObjectId> = members.iter().copied().collect();
    assert_eq!(distinct.len(), members.len(), "an object stands in the set twice");
    distinct
}

/// What goes out, and what the client is known to have.
fn enumerate(
    how: Enumeration,
    objects: &dyn Objects,
    wants: &[ObjectId],
    haves: &[ObjectId],
) -> Result<(BTreeSet<ObjectId>, BTreeSet<ObjectId>), Error> {
    let phase = Progress::new().begin("Enumerating objects", 0);
    let sides = FetchSides { wants, haves, shallow: &[], aggressive: false, tags: &[], filter: None, missing: Missing::Refused };
    let found = find_objects_by(how, objects, &sides, &phase, &Cancel::new())?;
    let known_ids = found.known_ids.iter().copied().filter(|id| objects.locate(id).expect("readable").is_some());
    Ok((members(objects, &found.set), members(objects, &found.known).into_iter().chain(known_ids).collect()))
}

/// Layouts by number: one pack; ref-deltas; several overlapping packs; these and loose objects.
fn lay_out(sandbox: &Sandbox, hash: &str, seed: u64, layout: u64) -> std::path::PathBuf {
    let (path, mut story) = sandbox.history("repository", hash, seed, 50);
    match layout {
        0 => drop(sandbox.git(&path, ["repack", "-adfq", "--depth=30"])),
        1 => drop(sandbox.git(&path, ["-c", "repack.useDeltaBaseOffset=false", "repack", "-adfq"])),
        _ => {
            sandbox.git(&path, ["repack", "-adfq"]);
            sandbox.import(&path, &story.grow(15));
            // Whatever main reaches lies twice, in another order of deltas.
            sandbox.git_with_input(&path, ["pack-objects", "-q", "--revs", "--window=50", "objects/pack/pack"], b"refs/heads/main\n");
            sandbox.git_command(&path, ["config", "fastimport.unpackLimit", "100000"]).status().expect("git");
            sandbox.import(&path, &story.grow(if layout == 2 { 0 } else { 9 }));
        }
    }
    path
}

#[test]
fn the_scan_and_tree_differences_give_one_set_but_for_what_the_client_has() {
    for seed in 0..8u64 {
        let sandbox = Sandbox::new();
        let path = lay_out(&sandbox, if seed == 3 { "sha256" } else { "sha1" }, seed, seed % 4);
        let objects = open(&path);
        let commits = ids(&sandbox, &path, &["rev-list", "--all"]);
        let tags = ids(&sandbox, &path, &["for-each-ref", "--format=%(objectname)", "refs/tags"]);
        let trees = ids(&sandbox, &path, &["log", "--all", "--format=%T"]);
        let mut random = Random(seed);
        for round in 0..25 {
            let mut some = |from: &[ObjectId], most: usize| -> Vec<ObjectId> {
                let count = random.below(most + 1).min(from.len() * most);
                (0..count).map(|_| from[random.below(from.len())]).collect()
            };
            let wants = [some(&commits, 4), some(&tags, 1), some(&trees, 1)].concat();
            let haves = [some(&commits, 3), some(&tags, 1), some(&trees, 1)].concat();
            let context = format!("seed {seed} round {round}: want {wants:?} have {haves:?}");
            let by_scan = enumerate(Enumeration::Scan, &*objects, &wants, &haves).expect("whole");
            let by_trees = enumerate(Enumeration::TreeDifferences, &*objects, &wants, &haves).expect("whole");
            // Beside an update only those trees of the client's are looked into where something new stands, as git does.
            let (scanned, differences) = (&by_scan.0, &by_trees.0);
            assert!(scanned.is_subset(differences) && by_trees.1.is_subset(&by_scan.1), "{context}");
            assert!(differences.difference(scanned).all(|id| by_scan.1.contains(id)), "{context}");
            assert!(!haves.is_empty() || by_scan == by_trees, "{context}");
        }
        let all = ids(&sandbox, &path, &["rev-list", "--objects", "--no-object-names", "--all"]).into_iter().collect();
        let tips = ids(&sandbox, &path, &["for-each-ref", "--format=%(objectname)"]);
        assert_eq!(enumerate(Enumeration::Scan, &*objects, &tips, &[]).expect("whole").0, all, "seed {seed}");
    }
}

/// Layouts with bitmaps by number: of one pack; of a multi-pack index; each with nothing, a pack, loose objects after it.
fn lay_out_with_bitmaps(sandbox: &Sandbox, hash: &str, seed: u64, layout: u64) -> std::path::PathBuf {
    let (path, mut story) = sandbox.history("repository", hash, seed, 60);
    if layout.is_multiple_of(2) {
        sandbox.git(&path, ["repack", "-adbfq"]);
    } else {
        sandbox.git(&path, ["repack", "-dq"]);
        sandbox.git_with_input(&path, ["pack-objects", "-q", "--revs", "objects/pack/pack"], b"refs/heads/main\n");
        sandbox.git(&path, ["multi-pack-index", "write", "--bitmap"]);
    }
    let bitmaps = std::fs::read_dir(path.join("objects/pack")).expect("a folder").flatten();
    let bitmaps = bitmaps.filter(|file| file.path().extension().is_some_and(|end| end == "bitmap")).count();
    assert_eq!(bitmaps, 1);
    if layout / 2 > 0 {
        sandbox.import(&path, &story.grow(10));
    }
    if layout / 2 > 1 {
        let pack = story.grow(5);
        sandbox.git_with_input(&path, ["-c", "fastimport.unpackLimit=100000", "fast-import", "--quiet", "--done"], &pack);
    }
    path
}

#[test]
fn bitmaps_and_tree_differences_give_one_set() {
    for seed in 0..7u64 {
        let sandbox = Sandbox::new();
        let path = lay_out_with_bitmaps(&sandbox, if seed == 6 { "sha256" } else { "sha1" }, 100 + seed, seed % 6);
        let objects = open(&path);
        assert!(objects.bitmaps().is_some(), "seed {seed}");
        let commits = ids(&sandbox, &path, &["rev-list", "--all"]);
        let others = ids(&sandbox, &path, &["for-each-ref", "--format=%(objectname)", "refs/tags"]);
        let others = [others, ids(&sandbox, &path, &["log", "--all", "--format=%T"])].concat();
        let mut random = Random(seed);
        for round in 0..20 {
            let mut wants: Vec<ObjectId> = (0..1 + random.below(4)).map(|_| commits[random.below(commits.len())]).collect();
            if random.one_in(3) {
                wants.push(others[random.below(others.len())]);
            }
            let context = format!("seed {seed} round {round}: want {wants:?}");
            let by_bitmaps = enumerate(Enumeration::BySize, &*objects, &wants, &[]).expect("whole");
            let by_trees = enumerate(Enumeration::TreeDifferences, &*objects, &wants, &[]).expect("whole");
            assert_eq!(by_bitmaps, by_trees, "{context}");
            let reached = ReachableObjects::find(&*objects, &[], &wants, &Cancel::new()).expect("whole");
            for id in commits.iter().chain(&others) {
                let location = objects.locate(id).expect("readable").expect("here");
                assert_eq!(reached.contains(&location), by_trees.0.contains(id), "{id} {context}");
            }
        }
    }
}

/// A view in which one object is not there.
struct Without<'a>(&'a dyn Objects, ObjectId);

impl Objects for Without<'_> {
    fn hash_kind(&self) -> gix_hash::Kind {
        self.0.hash_kind()
    }

    fn packs(&self) -> &[Arc<PackFile>] {
        self.0.packs()
    }

    fn locate(&self, id: &gix_hash::oid) -> Result<Option<Location>, packmule::pack::Error> {
        if *id == *self.1 { Ok(None) } else { self.0.locate(id) }
    }

    fn read_loose(&self, id: &gix_hash::oid, out: &mut Vec<u8>) -> Result<Option<Kind>, packmule::pack::Error> {
        self.0.read_loose(id, out)
    }
}

#[test]
fn a_missing_object_is_named_where_the_request_reaches_it_and_nowhere_else() {
    let sandbox = Sandbox::new();
    // Several packs: with one alone the index is the whole truth and nobody asks the view.
    let path = lay_out(&sandbox, "sha1", 70, 3);
    let objects = open(&path);
    assert!(objects.packs().len() > 1);
    let tip = ids(&sandbox, &path, &["rev-parse", "main"]);
    let reached: BTreeSet<ObjectId> = ids(&sandbox, &path, &["rev-list", "--objects", "--no-object-names", "main"]).into_iter().collect();
    let (mut refused, mut served) = (0, 0);
    for missing in ids(&sandbox, &path, &["rev-list", "--objects", "--no-object-names", "--all"]) {
        match enumerate(Enumeration::Scan, &Without(&*objects, missing), &tip, &[]) {
            Err(err) => {
                assert!(reached.contains(&missing), "{missing} is not wanted: {err}");
                assert!(err.to_string().contains(&missing.to_string()), "{err}");
                refused += 1;
            }
            Ok((set, _)) => {
                assert_eq!(set, reached, "without {missing}");
                served += 1;
            }
        }
    }
    assert_eq!(refused, reached.len());
    assert!(served > 20, "{served}");
}

#[test]
fn damage_anywhere_in_a_pack_gives_the_right_set_or_an_error() {
    let sandbox = Sandbox::new();
    let path = lay_out(&sandbox, "sha1", 80, 0);
    let objects = open(&path);
    let tips = ids(&sandbox, &path, &["for-each-ref", "--format=%(objectname)"]);
    let right = enumerate(Enumeration::Scan, &*objects, &tips, &[]).expect("whole").0;
    let folder = path.join("objects/pack");
    let pack = std::fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.path());
    let pack = pack.into_iter().find(|path| path.extension().is_some_and(|end| end == "pack")).expect("a pack");
    let whole = std::fs::read(&pack).expect("a pack");
    std::fs::remove_file(&pack).expect("ours");
    let mut random = Random(80);
    let mut refused = 0;
    for _ in 0..200 {
        let mut bytes = whole.clone();
        let at = 12 + random.below(bytes.len() - 32);
        bytes[at] ^= 1 << random.below(8);
        std::fs::write(&pack, &bytes).expect("ours");
        match enumerate(Enumeration::Scan, &*open(&path), &tips, &[]) {
            // A blob is not read.
            Ok((set, _)) => assert_eq!(set, right, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn a_scan_that_is_given_up_ends() {
    let sandbox = Sandbox::new();
    let path = lay_out(&sandbox, "sha1", 90, 0);
    let objects = open(&path);
    let tips = ids(&sandbox, &path, &["for-each-ref", "--format=%(objectname)"]);
    let cancel = Cancel::new();
    cancel.set();
    let phase = Progress::new().begin("Enumerating objects", 0);
    let sides =
        FetchSides { wants: &tips, haves: &[], shallow: &[], aggressive: false, tags: &[], filter: None, missing: Missing::Refused };
    let outcome = find_objects_by(Enumeration::Scan, &*objects, &sides, &phase, &cancel);
    assert!(matches!(outcome, Err(Error::Cancelled(_)) | Err(Error::Pack(packmule::pack::Error::Cancelled(_)))), "{outcome:?}");
}
