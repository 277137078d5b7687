//! Companion files that git wrote into what they say, with stock git as the oracle: bitmaps, multi-pack indexes,
//! commit-graphs; and damaged ones into the right answer all the same, or a clear error.

mod common;

use common::Sandbox;
use common::fixture::Story;
use gix_hash::ObjectId;
use packmule::pack::{BitmapReader, Kind, Objects};
use packmule::store::{ConfigScope, Repository, Snapshot};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn open(path: &Path) -> Snapshot {
    Repository::open(path, ConfigScope::RepositoryOnly).expect("a repository").snapshot().expect("readable")
}

fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.trim().as_bytes()).expect("an id")
}

/// A history in one pack, or in several of which some objects lie in two.
fn history(sandbox: &Sandbox, hash: &str, seed: u64, packs: usize) -> (PathBuf, Story) {
    let (path, mut story) = sandbox.history("repository", hash, seed, 40);
    sandbox.git(&path, ["repack", "-adfq", "--depth=20"]);
    for round in 1..packs {
        if round == 2 {
            sandbox.git_with_input(&path, ["pack-objects", "-q", "--revs", "objects/pack/pack"], b"refs/heads/main\n");
        } else {
            sandbox.import(&path, &story.grow(12));
            sandbox.git(&path, ["repack", "-dq"]);
        }
    }
    (path, story)
}

/// Every bitmapped commit reaches what `git rev-list --objects` lists, types are right, and places are those of `locate`.
fn check_bitmaps(sandbox: &Sandbox, path: &Path, rows_min: usize) {
    let snapshot = open(path);
    let objects = &**snapshot.objects();
    let bitmaps = objects.bitmaps().expect("a bitmap that is used");
    assert!(bitmaps.rows() >= rows_min, "{} rows", bitmaps.rows());
    assert_eq!(bitmaps.segments().iter().map(|segment| segment.bits.len()).sum::<usize>(), bitmaps.len() as usize);
    for bit in 0..bitmaps.len() {
        let id = bitmaps.id(bit).expect("an object").to_owned();
        let place = bitmaps.location(bit).expect("a place");
        assert_eq!(objects.locate(&id).expect("readable"), Some(place), "{id}");
        assert_eq!(bitmaps.bit(&place).expect("readable"), Some(bit));
        let _ = bitmaps.name_hash(bit).expect("within the file");
    }
    let kinds = sandbox.git(path, ["cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)"]);
    for (hex, kind) in kinds.lines().filter_map(|line| line.split_once(' ')) {
        let place = objects.locate(&id(hex)).expect("readable").expect("there");
        let kind = Kind::from_bytes(kind.as_bytes()).expect("a type");
        if let Some(bit) = bitmaps.bit(&place).expect("readable") {
            assert_eq!(bitmaps.kind(bit), kind, "{hex}");
            assert!(bitmaps.of_kind(kind).get(bit as usize));
        }
    }
    let mut reader = BitmapReader::new(bitmaps);
    for commit in bitmaps.commits() {
        let row = bitmaps.row(commit).expect("a commit with a bitmap");
        let bits = reader.read(row).expect("sound");
        let ours: BTreeSet<String> = bits.iter().map(|bit| bitmaps.id(bit as u32).expect("an object").to_string()).collect();
        let listed = sandbox.git(path, ["rev-list", "--objects", "--no-object-names", &commit.to_string()]);
        let gits: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
        assert_eq!(ours, gits, "{commit}");
    }
}

#[test]
fn bitmaps_of_one_pack_say_what_rev_list_says() {
    for (hash, options) in
        [("sha1", &[][..]), ("sha1", &["-c", "pack.writeBitmapLookupTable=true"]), ("sha256", &["-c", "pack.writeBitmapHashCache=false"])]
    {
        let sandbox = Sandbox::new();
        let (path, _) = history(&sandbox, hash, 60, 1);
        sandbox.git(&path, [options, &["repack", "-adbq"]].concat());
        check_bitmaps(&sandbox, &path, 5);
    }
}

#[test]
fn bitmaps_over_many_packs_say_what_rev_list_says() {
    for (hash, rev, table) in [("sha1", false, false), ("sha1", true, true), ("sha256", false, true)] {
        let sandbox = Sandbox::new();
        let (path, _) = history(&sandbox, hash, 61, 4);
        let mut command =
            sandbox.git_command(&path, ["-c", &format!("pack.writeBitmapLookupTable={table}"), "multi-pack-index", "write", "--bitmap"]);
        if rev {
            command.env("GIT_TEST_MIDX_WRITE_REV", "1");
            command.env("GIT_TEST_MIDX_READ_RIDX", "0");
        }
        let output = common::run(&mut command);
        assert!(output.status.success(), "{}", common::report(&command, &output));
        let revs = common::check::files(&path).iter().filter(|name| name.contains("multi-pack-index-") && name.ends_with(".rev")).count();
        assert_eq!(revs, usize::from(rev));
        check_bitmaps(&sandbox, &path, 5);
        assert!(open(&path).objects().bitmaps().expect("used").segments().len() > 2);
    }
}

#[test]
fn pseudo_merges_are_passed_over() {
    let sandbox = Sandbox::new();
    let (path, _) = sandbox.history("repository", "sha1", 62, 300);
    let listed = sandbox.git(&path, ["rev-list", "--all"]);
    let tags: String = listed.lines().map(|id| format!("create refs/tags/{id} {id}\n")).collect();
    sandbox.git_with_input(&path, ["update-ref", "--stdin"], tags.as_bytes());
    for (key, value) in [("pattern", "refs/tags/"), ("maxMerges", "4"), ("stableThreshold", "never")] {
        sandbox.git(&path, ["config", &format!("bitmapPseudoMerge.all.{key}"), value]);
    }
    sandbox.git(&path, ["-c", "pack.writeBitmapLookupTable=true", "repack", "-adbq"]);
    let bitmap = common::check::files(&path).into_iter().find(|name| name.ends_with(".bitmap")).expect("a bitmap");
    let flags = std::fs::read(path.join(bitmap)).expect("readable")[7];
    assert_eq!(flags & 0x20, 0x20, "git wrote pseudo-merges");
    check_bitmaps(&sandbox, &path, 5);
}
