//! Rules about what a push changes: paths, limits and conditions, with real pushes; and what is found out for them beside git's own answer.

use super::rules::{House, write_config};
use crate::common::Sandbox;
use crate::common::exact::gits_set;
use crate::common::server::has_ssh;
use gix_hash::ObjectId;
use packmule::base::Cancel;
use packmule::pack::Objects;
use packmule::store::{ConfigScope, Repository};
use packmule::walk::{changed_paths, find_new_objects};
use std::collections::BTreeSet;

const RULES: &str = r#"
[[rule]]  # 1
users = ["bob"]
repositories = ["plans"]
paths = ["secret/mine-<user>"]
allow = ["write"]

[[rule]]  # 2
users = ["bob"]
repositories = ["plans"]
refs = ["checked/*"]
paths = ["secret/*", "/.*\\.exe/"]
deny = ["write", "rewind"]

[[rule]]  # 3
users = ["bob"]
repositories = ["plans"]
refs = ["frozen"]
when = "!options.exists(option, option == 'thaw')"
deny = ["create", "update"]

[[rule]]  # 4
users = ["*"]
repositories = ["*"]
when = "source_in('127.0.0.0/8') && transport == 'ssh'"
allow = ["read", "write", "rewind", "delete"]

[[limit]]  # 1
users = ["bob"]
repositories = ["plans"]
refs = ["small/*"]
paths_max = 2
new_paths_max = 1

[[limit]]  # 2
users = ["bob"]
repositories = ["plans"]
refs = ["lean"]
file_bytes_max = 1000

[[limit]]  # 3
users = ["bob"]
repositories = ["plans"]
refs = ["text"]
new_binary_bytes_max = 100

[[limit]]  # 4
users = ["bob"]
repositories = ["plans"]
refs = ["linear"]
merges = false

[[limit]]  # 5
users = ["bob"]
repositories = ["plans"]
refs = ["own"]
author_emails = ["<user>@example.com"]
"#;

/// A house under these rules, and bob's clone.
fn house() -> (House, std::path::PathBuf) {
    let house = House::start();
    write_config(&house.sandbox, RULES);
    house.server.signal("HUP");
    house.server.wait_for("rules read again");
    let (success, said) = house.git("bob", &house.sandbox.path(""), &["clone", "-q", &house.server.url("plans"), "bob"]);
    assert!(success, "{said}");
    let bob = house.sandbox.path("bob");
    (house, bob)
}

#[test]
fn a_path_goes_down_the_rules_about_paths() {
    if !has_ssh() {
        return;
    }
    let (house, bob) = house();
    let push = |who: &str, refspec: &str| house.git(who, &bob, &["push", "origin", refspec]);
    house.sandbox.commit_file(&bob, "docs", "docs");
    assert!(push("bob", "HEAD:refs/heads/checked/a").0);
    std::fs::create_dir(bob.join("secret")).expect("a folder");
    house.sandbox.commit_file(&bob, "secret/mine-bob", "mine");
    let (success, said) = push("bob", "HEAD:refs/heads/checked/a");
    assert!(success, "an earlier rule lets him: {said}");
    house.sandbox.commit_file(&bob, "secret/plan", "plan");
    let (success, said) = push("bob", "HEAD:refs/heads/checked/a");
    assert!(!success && said.contains("you may not change 'secret/plan': rule 2 (config.toml:"), "{said}");
    assert!(push("bob", "HEAD:refs/heads/other").0 && push("ann", "HEAD:refs/heads/checked/b").0, "the rule is about neither");
    house.sandbox.git(&bob, ["rm", "-q", "secret/plan"]);
    house.sandbox.git(&bob, ["commit", "-qm", "gone"]);
    assert!(push("bob", "HEAD:refs/heads/checked/a").0, "what differs between old and new value counts");
    house.sandbox.commit_file(&bob, "x.exe", "x");
    let (success, said) = push("bob", "+HEAD:refs/heads/checked/c");
    assert!(!success && said.contains("'x.exe'"), "a ref that is made changes everything in it: {said}");
    house.sandbox.git(&house.served(), ["fsck", "--strict"]);
}

#[test]
fn what_a_push_brings_has_limits() {
    if !has_ssh() {
        return;
    }
    let (house, bob) = house();
    let push = |refspec: &str, more: &[&str]| house.git("bob", &bob, &[&["push"], more, &["origin", refspec]].concat());
    let refused = |name: &str, says: &str| {
        let (success, said) = push(&format!("HEAD:refs/heads/{name}"), &[]);
        assert!(!success && said.contains(says), "{name}: {said}");
        assert!(house.git("ann", &bob, &["push", "-q", "origin", &format!("HEAD:refs/heads/free/{name}")]).0, "ann has no limits");
        house.git("ann", &bob, &["push", "-q", "origin", &format!(":refs/heads/free/{name}")]);
    };
    assert!(push("HEAD:refs/heads/small/none", &[]).0, "nothing of it is new");
    house.sandbox.commit_file(&bob, "one", "one");
    assert!(push("HEAD:refs/heads/small/one", &[]).0);
    for name in ["two", "three"] {
        house.sandbox.commit_file(&bob, name, name);
    }
    refused("small/two", "it changes 2 new paths, 1 at most may be: limit 1 (config.toml:");
    house.sandbox.commit_file(&bob, "large", "x".repeat(2_000));
    refused("lean", "has 2000 bytes, 1000 at most may be: limit 2");
    // Text may be as large as it likes.
    assert!(push("HEAD:refs/heads/text", &[]).0);
    house.sandbox.commit_file(&bob, "binary", [0; 200]);
    refused("text", "the new binary file 'binary' has 200 bytes, 100 at most may be: limit 3");
    refused("own", "was written by");
    house.sandbox.git(&bob, ["checkout", "-q", "-b", "mine", "origin/main"]);
    house.sandbox.git(&bob, ["commit", "-q", "--allow-empty", "--author=Bob <bob@example.com>", "-m", "mine"]);
    let (success, said) = push("HEAD:refs/heads/own", &[]);
    assert!(success, "{said}");
    house.sandbox.git(&bob, ["merge", "-q", "--no-ff", "-m", "merge", "origin/release"]);
    refused("linear", "is a merge: limit 4");
    let (success, said) = push("HEAD:refs/heads/frozen", &[]);
    assert!(!success && said.contains("you may not create it: rule 3"), "{said}");
    let (success, said) = push("HEAD:refs/heads/frozen", &["-o", "thaw"]);
    assert!(success, "{said}");
    house.sandbox.git(&house.served(), ["fsck", "--strict"]);
}

/// Paths as `-z` prints them.
fn names(said: &str) -> impl Iterator<Item = String> + '_ {
    said.split('\0').filter(|name| !name.is_empty()).map(str::to_owned)
}

#[test]
fn what_differs_and_what_is_new_is_what_git_says() {
    for (hash, seed) in [("sha1", 41), ("sha256", 42)] {
        let sandbox = Sandbox::new();
        let (path, _) = sandbox.history("history.git", hash, seed, 60);
        sandbox.git(&path, ["repack", "-adq"]);
        let repository = Repository::open(&path, ConfigScope::RepositoryOnly).expect("a repository");
        let view = repository.snapshot().expect("a view");
        let objects: &dyn Objects = &**view.objects();
        let all: Vec<String> = sandbox.git(&path, ["rev-list", "--all", "--date-order"]).lines().map(str::to_owned).collect();
        let id = |text: &str| ObjectId::from_hex(text.as_bytes()).expect("an id");
        let empty = sandbox.git_with_input(&path, ["mktree"], b"");
        for step in [1, 7, 23] {
            for pair in all.chunks(step).map(|chunk| [&chunk[0], chunk.last().expect("one")]) {
                let [new, old] = pair;
                let said = sandbox.git(&path, ["diff", "--name-only", "-z", "--no-renames", old, new]);
                let found = changed_paths(objects, Some(id(old)), Some(id(new)), &Cancel::new()).expect("whole");
                let paths: Vec<String> = found.iter().map(|changed| changed.path.to_string()).collect();
                let mut expected: Vec<String> = names(&said).collect();
                expected.sort();
                assert_eq!(paths, expected, "{old} {new}");
                let said = sandbox.git(&path, ["diff", "--name-only", "-z", "--no-renames", "--diff-filter=A", old, new]);
                let added: BTreeSet<String> = found.iter().filter(|of| of.old.is_none()).map(|of| of.path.to_string()).collect();
                assert_eq!(added, names(&said).collect(), "{old} {new}");
            }
            let (new, had) = (&all[0], [id(&all[step])]);
            let found = find_new_objects(objects, &[], id(new), &had, &Cancel::new()).expect("whole");
            let kind = |of: &ObjectId| sandbox.git(&path, ["cat-file", "-t", &of.to_string()]);
            let of_kind =
                |ids: &BTreeSet<ObjectId>, wanted: &str| ids.iter().filter(|of| kind(of) == wanted).copied().collect::<BTreeSet<_>>();
            let (theirs, all_had) = (gits_set(&sandbox, &path, &[id(new)], &had, None), gits_set(&sandbox, &path, &had, &[], None));
            let commits: BTreeSet<ObjectId> = found.commits.iter().map(|commit| commit.id).collect();
            assert_eq!(commits, of_kind(&theirs, "commit"), "{new}");
            let blobs: BTreeSet<ObjectId> = found.blobs.iter().map(|blob| blob.0).collect();
            assert!(of_kind(&theirs, "blob").is_subset(&blobs), "{new}");
            assert!(blobs.difference(&theirs).all(|moved| all_had.contains(moved)), "what is more has only moved: {new}");
            for (blob, bytes) in &found.blobs {
                assert_eq!(sandbox.git(&path, ["cat-file", "-s", &blob.to_string()]), bytes.to_string());
            }
        }
        let whole = sandbox.git(&path, ["diff", "--name-only", "--no-renames", &empty, &all[0]]).lines().count();
        assert_eq!(changed_paths(objects, None, Some(id(&all[0])), &Cancel::new()).expect("whole").len(), whole);
        assert_eq!(changed_paths(objects, Some(id(&all[0])), None, &Cancel::new()).expect("whole").len(), whole);
    }
}
