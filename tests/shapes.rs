//! Every shape that git gives a repository on disk into a clone and a fetch that are as if it had any other.

mod common;

use common::fixture::Story;
use common::remote::Remote;
use common::{Case, PACKMULE, Sandbox, check, report, run};
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
