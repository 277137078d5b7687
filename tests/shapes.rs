//! Every shape that git gives a repository on disk into a clone and a fetch that are as if it had any other.

mod common;

use common::fixture::Story;
use common::remote::Remote;
use common::{Case, PACKMULE, Sandbox, check, report, run, run_with_input};
use packmule::pack::Objects;
use packmule::store::{ConfigScope, Repository};
use std::path::Path;

const CASE: Case = Case { hash: "sha1", protocol: 2 };

/// Files beneath `path` whose names end so.
fn ending(path: &Path, end: &str) -> Vec<std::path::PathBuf> {
    check::files(path).into_iter().filter(|name| name.ends_with(end)).map(|name| path.join(name)).collect()
}

/// Give a repository its shape, clone it, fetch from it into an older clone: as with stock git.
#[track_caller]
fn serves_as_git_does(case: Case, what: &str, shape: impl Fn(&Sandbox, &Path, &mut Story)) {
    eprintln!("-- {what}");
    let sandbox = Sandbox::new();
    let remote = Remote::stdio(&sandbox, case);
    let (path, mut story) = remote.history("r", 70, 50);
    let old = sandbox.copy(&path, "old.git");
    sandbox.import(&path, &story.grow(10));
    shape(&sandbox, &path, &mut story);
    let clone = remote.clone("r", "clone.git", &["--mirror"]);
    check::same_objects(&sandbox, &path, &clone);
    check::sound(&sandbox, &clone);
    let sent = check::sends_no_more_than_git(&remote, "r", &old, &["refs/heads/main"]);
    remote.fetch(&old, &[&remote.url("r"), "refs/*:refs/*"]);
    check::same_objects(&sandbox, &path, &old);
    assert!(sent < check::reachable(&sandbox, &path).len(), "{what}: a fetch is no clone");
}

/// Three packs, the last of which overlaps the first.
fn packs(sandbox: &Sandbox, path: &Path, story: &mut Story) {
    sandbox.git(path, ["repack", "-adq"]);
    sandbox.import(path, &story.grow(10));
    sandbox.git(path, ["repack", "-dq"]);
    sandbox.git_with_input(path, ["pack-objects", "-q", "--revs", "objects/pack/pack"], b"refs/heads/main\n");
}

fn loose(sandbox: &Sandbox, path: &Path) {
    for pack in ending(path, ".pack") {
        let bytes = std::fs::read(&pack).expect("a pack");
        for end in ["pack", "idx", "rev"] {
            let _ = std::fs::remove_file(pack.with_extension(end));
        }
        sandbox.git_with_input(path, ["unpack-objects", "-q"], &bytes);
    }
}

#[test]
fn loose_objects_kept_packs_and_promised_ones_are_served() {
    serves_as_git_does(CASE, "loose", |sandbox, path, _| loose(sandbox, path));
    for end in ["keep", "promisor", "mtimes"] {
        serves_as_git_does(CASE, end, |sandbox, path, story| {
            packs(sandbox, path, story);
            for pack in ending(path, ".pack") {
                std::fs::write(pack.with_extension(end), "").expect("writable");
            }
        });
    }
}

#[test]
fn what_a_cruft_pack_holds_is_served_once_it_is_wanted_again() {
    serves_as_git_does(CASE, "cruft", |sandbox, path, story| {
        let main = check::ref_value(sandbox, path, "refs/heads/main");
        sandbox.import(path, &story.grow(6));
        let later = check::ref_value(sandbox, path, "refs/heads/main");
        sandbox.git(path, ["update-ref", "refs/heads/main", &main]);
        sandbox.git(path, ["repack", "--cruft", "-dq"]);
        assert_eq!(ending(path, ".mtimes").len(), 1);
        sandbox.git(path, ["update-ref", "refs/heads/main", &later]);
    });
}

#[test]
fn a_chain_of_alternates_is_served() {
    serves_as_git_does(CASE, "alternates", |sandbox, path, _| {
        for (name, lender) in [("a.git", "b.git"), ("b.git", "c.git")] {
            let (borrower, lender) = (sandbox.bare(name, "sha1"), sandbox.path(lender).join("objects"));
            std::fs::write(borrower.join("objects/info/alternates"), format!("{}\n", lender.display())).expect("writable");
        }
        sandbox.bare("c.git", "sha1");
        sandbox.git(path, ["repack", "-adq"]);
        let pack = path.join("objects/pack");
        for file in std::fs::read_dir(&pack).expect("packs").flatten() {
            std::fs::rename(file.path(), sandbox.path("c.git/objects/pack").join(file.file_name())).expect("movable");
        }
        let first = sandbox.path("a.git/objects");
        std::fs::write(path.join("objects/info/alternates"), format!("{}\n", first.display())).expect("writable");
    });
}

#[test]
fn multi_pack_indexes_are_served_sound_stale_and_damaged() {
    let write = |sandbox: &Sandbox, path: &Path, args: &[&str]| drop(sandbox.git(path, [&["multi-pack-index", "write"], args].concat()));
    for case in [CASE, Case { hash: "sha256", protocol: 0 }] {
        serves_as_git_does(case, "with a bitmap", |sandbox, path, story| {
            packs(sandbox, path, story);
            write(sandbox, path, &["--bitmap"]);
            sandbox.import(path, &story.grow(3));
            sandbox.git(path, ["repack", "-dq"]);
        });
    }
    serves_as_git_does(CASE, "a chain", |sandbox, path, story| {
        packs(sandbox, path, story);
        write(sandbox, path, &["--incremental"]);
        sandbox.import(path, &story.grow(3));
        sandbox.git(path, ["repack", "-dq"]);
        write(sandbox, path, &["--incremental"]);
        assert_eq!(ending(path, ".midx").len(), 2);
    });
    serves_as_git_does(CASE, "of packs that are gone", |sandbox, path, story| {
        packs(sandbox, path, story);
        write(sandbox, path, &["--bitmap"]);
        let kept: Vec<_> =
            ending(&path.join("objects/pack"), "").into_iter().filter(|file| file.to_string_lossy().contains("multi-pack-index")).collect();
        let bytes: Vec<_> = kept.iter().map(|file| std::fs::read(file).expect("readable")).collect();
        sandbox.git(path, ["repack", "-adfq"]);
        for (file, bytes) in kept.iter().zip(bytes) {
            std::fs::write(file, bytes).expect("writable");
        }
    });
    serves_as_git_does(CASE, "damaged", |sandbox, path, story| {
        packs(sandbox, path, story);
        std::fs::write(path.join("objects/pack/multi-pack-index"), "no index").expect("writable");
        std::fs::write(path.join("objects/info/commit-graph"), "no graph").expect("writable");
        for pack in ending(path, ".pack") {
            std::fs::write(pack.with_extension("bitmap"), "no bitmap").expect("writable");
        }
    });
}

#[test]
fn bitmaps_and_commit_graphs_that_history_has_outgrown_are_served() {
    for case in [CASE, Case { hash: "sha256", protocol: 0 }] {
        serves_as_git_does(case, "bitmaps and a graph", |sandbox, path, story| {
            sandbox.git(path, ["-c", "pack.writeBitmapLookupTable=true", "repack", "-adbq"]);
            sandbox.git(path, ["commit-graph", "write", "--reachable"]);
            sandbox.import(path, &story.grow(5));
        });
    }
    serves_as_git_does(CASE, "a chain of graphs", |sandbox, path, story| {
        for _ in 0..3 {
            sandbox.git(path, ["commit-graph", "write", "--reachable", "--split=no-merge"]);
            sandbox.import(path, &story.grow(5));
        }
        assert_eq!(ending(path, ".graph").len(), 3);
    });
}

#[test]
fn two_thousand_packs_take_few_files_and_few_maps() {
    let sandbox = Sandbox::new();
    let remote = Remote::stdio(&sandbox, CASE);
    let path = remote.bare("r");
    let mut stream = String::new();
    for number in 1..=2000 {
        let date = 1_600_000_000 + number;
        stream += &format!(
            "commit refs/heads/main\ncommitter C <c@example.com> {date} +0000\ndata 0\nM 100644 inline f\ndata 5\n{number:05}\ncheckpoint\n\n"
        );
    }
    stream += "done\n";
    sandbox.git_with_input(&path, ["-c", "fastimport.unpackLimit=0", "fast-import", "--quiet", "--done"], stream.as_bytes());
    assert!(ending(&path, ".pack").len() >= 2000);
    for indexed in [false, true] {
        if indexed {
            sandbox.git(&path, ["multi-pack-index", "write", "--bitmap"]);
            let snapshot = Repository::open(&path, ConfigScope::RepositoryOnly).expect("a repository").snapshot().expect("readable");
            let tip = snapshot.refs().iter().next().expect("a branch").id.expect("a value");
            assert!(snapshot.objects().locate(&tip).expect("readable").is_some());
            let maps = std::fs::read_to_string("/proc/self/maps").expect("a list of maps");
            let ours = maps.lines().filter(|line| line.contains("served/r.git")).count();
            assert!((1..8).contains(&ours), "{ours} files mapped to look at one object");
        }
        let clone = format!("clone{indexed}");
        let mut command = sandbox.git_command(&sandbox.path(""), ["clone", "-q", "--bare"]);
        command.arg(format!("--upload-pack=ulimit -n 64; exec {PACKMULE} upload-pack")).arg(&path).arg(&clone);
        let output = run(&mut command);
        assert!(output.status.success(), "{}", report(&command, &output));
        check::same_objects(&sandbox, &path, &sandbox.path(&clone));
        let (_, said) = remote.git(&sandbox.path(&clone), "fetch", [path.as_os_str().to_owned(), "main".into()]);
        assert!(!said.contains("Receiving"), "nothing is new: {said}");
    }
}

/// A built tree of git's newest source: named in `PACKMULE_GIT_BUILD`, or where the check with git's own tests puts it.
fn newest_git() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("PACKMULE_GIT_BUILD").map(std::path::PathBuf::from);
    let build = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/git-source/git"));
    let found = build.join("git").exists().then_some(build);
    if found.is_none() {
        common::skipped("no newest git: PACKMULE_GIT_BUILD names none");
    }
    found
}

/// `git ARGS` of that build.
#[track_caller]
fn newest(sandbox: &Sandbox, build: &Path, path: &Path, args: &[&str], input: &[u8]) {
    let mut command = sandbox.command(build.join("git"));
    command.env("GIT_EXEC_PATH", build).env("GIT_TEMPLATE_DIR", build.join("templates/blt")).current_dir(path).args(args);
    let output = run_with_input(&mut command, input);
    assert!(output.status.success(), "{}", report(&command, &output));
}

/// As [`serves_as_git_does`], where stock git, the oracle, is too old to read what it finds: it looks at a copy without that.
#[track_caller]
fn serves_as_if_it_were_not_there(case: Case, what: &str, shape: impl Fn(&Sandbox, &Path, &mut Story)) {
    eprintln!("-- {what}");
    let sandbox = Sandbox::new();
    let remote = Remote::stdio(&sandbox, case);
    let (path, mut story) = remote.history("r", 71, 50);
    let old = sandbox.copy(&path, "old.git");
    sandbox.import(&path, &story.grow(10));
    shape(&sandbox, &path, &mut story);
    let oracle = sandbox.copy(&path, "oracle.git");
    let pack = oracle.join("objects/pack");
    let _ = std::fs::remove_dir_all(pack.join("multi-pack-index.d"));
    for file in ending(&pack, "").iter().filter(|file| file.to_string_lossy().contains("multi-pack-index")) {
        std::fs::remove_file(file).expect("ours");
    }
    let clone = remote.clone("r", "clone.git", &["--mirror"]);
    check::same_objects(&sandbox, &oracle, &clone);
    check::sound(&sandbox, &clone);
    remote.fetch(&old, &[&remote.url("r"), "refs/*:refs/*"]);
    check::same_objects(&sandbox, &oracle, &old);
}

/// Whether bitmaps are used when those of single packs are gone.
fn has_multi_pack_bitmaps(path: &Path) -> bool {
    for file in ending(path, ".bitmap").iter().filter(|file| !file.to_string_lossy().contains("multi-pack-index")) {
        std::fs::remove_file(file).expect("ours");
    }
    let repository = Repository::open(path, ConfigScope::RepositoryOnly).expect("a repository");
    repository.snapshot().expect("readable").objects().bitmaps().is_some()
}

#[test]
fn what_only_the_newest_git_writes_is_used_or_passed_over() {
    let Some(build) = newest_git() else { return };
    let git = |sandbox: &Sandbox, path: &Path, args: &[&str]| newest(sandbox, &build, path, args, b"");
    for case in [CASE, Case { hash: "sha256", protocol: 0 }] {
        serves_as_if_it_were_not_there(case, "a multi-pack index of version 2", |sandbox, path, story| {
            packs(sandbox, path, story);
            git(sandbox, path, &["-c", "midx.version=2", "multi-pack-index", "write", "--bitmap"]);
            let index = std::fs::read(path.join("objects/pack/multi-pack-index")).expect("an index");
            assert_eq!((&index[..4], index[4]), (&b"MIDX"[..], 2));
            assert!(has_multi_pack_bitmaps(path));
        });
    }
    serves_as_git_does(CASE, "a chain with bitmaps", |sandbox, path, story| {
        packs(sandbox, path, story);
        git(sandbox, path, &["multi-pack-index", "write", "--incremental", "--bitmap"]);
        for _ in 0..2 {
            sandbox.import(path, &story.grow(3));
            git(sandbox, path, &["repack", "-dq", "--no-write-bitmap-index"]);
            git(sandbox, path, &["multi-pack-index", "write", "--incremental", "--bitmap"]);
        }
        let layers = ending(path, ".bitmap").iter().filter(|file| file.to_string_lossy().contains("multi-pack-index.d")).count();
        assert_eq!((layers, ending(path, ".midx").len()), (3, 3));
        assert!(!has_multi_pack_bitmaps(path), "a chain of bitmaps is passed over");
    });
    serves_as_if_it_were_not_there(CASE, "a chain of version 2 that was compacted", |sandbox, path, story| {
        packs(sandbox, path, story);
        let write = ["-c", "midx.version=2", "multi-pack-index", "write", "--incremental"];
        git(sandbox, path, &write);
        for _ in 0..2 {
            newest(sandbox, &build, path, &["fast-import", "--quiet", "--done", "--force"], &story.grow(3));
            git(sandbox, path, &["repack", "-dq", "--no-write-bitmap-index"]);
            git(sandbox, path, &write);
        }
        let chain = std::fs::read_to_string(path.join("objects/pack/multi-pack-index.d/multi-pack-index-chain")).expect("a chain");
        let layers: Vec<&str> = chain.lines().collect();
        assert_eq!(layers.len(), 3);
        git(sandbox, path, &["-c", "midx.version=2", "multi-pack-index", "compact", "--incremental", layers[1], layers[2]]);
    });
    serves_as_git_does(CASE, "pseudo-merges over many packs", |sandbox, path, story| {
        sandbox.import(path, &story.grow(250));
        packs(sandbox, path, story);
        for (key, value) in [("pattern", "refs/tags/"), ("maxMerges", "4"), ("stableThreshold", "never")] {
            sandbox.git(path, ["config", &format!("bitmapPseudoMerge.all.{key}"), value]);
        }
        let listed = sandbox.git(path, ["rev-list", "--all"]);
        let tags: String = listed.lines().map(|id| format!("create refs/tags/{id} {id}\n")).collect();
        sandbox.git_with_input(path, ["update-ref", "--stdin"], tags.as_bytes());
        git(sandbox, path, &["-c", "pack.writeBitmapLookupTable=true", "multi-pack-index", "write", "--bitmap"]);
        let bitmap = ending(path, ".bitmap").into_iter().find(|file| file.to_string_lossy().contains("multi-pack-index-"));
        let flags = std::fs::read(bitmap.expect("a bitmap")).expect("readable")[7];
        assert_eq!(flags & 0x30, 0x30, "a lookup table and pseudo-merges");
        assert!(has_multi_pack_bitmaps(path));
    });
}
