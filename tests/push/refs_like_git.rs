//! Odd names and odd repositories: a push is taken or refused ref by ref as stock git's receive-pack does it, and leaves the same refs.

use crate::common::{Sandbox, check, pkt};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A ref, and its old and new value as names for objects; `""`: it is not there.
type Edit<'a> = (&'a [u8], &'a str, &'a str);

/// What is done to a server before the push.
type Setup<'a> = &'a dyn Fn(&Rig, &Path);

struct Rig {
    sandbox: Sandbox,
    base: PathBuf,
    objects: BTreeMap<&'static str, String>,
}

impl Rig {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let client = sandbox.work_tree("client", "sha1");
        let mut objects = BTreeMap::from([("", "0".repeat(40)), ("unknown", "1".repeat(40))]);
        objects.insert("first", sandbox.commit_file(&client, "file", "1"));
        objects.insert("second", sandbox.commit_file(&client, "file", "2"));
        objects.insert("blob", sandbox.git(&client, ["rev-parse", "HEAD:file"]));
        sandbox.git(&client, ["tag", "-a", "-m", "a tag", "annotated"]);
        objects.insert("tag", sandbox.git(&client, ["rev-parse", "annotated"]));
        let base = sandbox.bare("base.git", "sha1");
        sandbox.git(&client, ["push", "-q", "../base.git", "HEAD:refs/heads/main", "annotated:refs/keep/tag"]);
        Self { sandbox, base, objects }
    }

    /// Push to a copy of the base that `setup` has been at; what each ref was told, and what is there then.
    fn outcome(&self, who: pkt::Who, setup: Setup<'_>, edits: &[Edit<'_>], atomic: bool) -> (BTreeMap<String, bool>, String) {
        let _ = std::fs::remove_dir_all(self.sandbox.path("server.git"));
        let server = self.sandbox.copy(&self.base, "server.git");
        setup(self, &server);
        let mut request = vec![];
        for (at, (name, old, new)) in edits.iter().enumerate() {
            let capabilities = if at > 0 {
                ""
            } else if atomic {
                "\0report-status delete-refs atomic"
            } else {
                "\0report-status delete-refs"
            };
            let ids = format!("{} {} ", self.objects[old], self.objects[new]);
            request.extend(pkt::data([ids.as_bytes(), name, capabilities.as_bytes()].concat()));
        }
        request.extend(b"0000");
        if edits.iter().any(|(_, _, new)| !new.is_empty()) {
            let mut pack = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
            pack.extend([
                0x02, 0x9d, 0x08, 0x82, 0x3b, 0xd8, 0xa8, 0xea, 0xb5, 0x10, 0xad, 0x6a, 0xc7, 0x5c, 0x82, 0x3c, 0xfd, 0x3e, 0xd3, 0x1e,
            ]);
            request.extend(pack);
        }
        let output = who.answer(&self.sandbox, 0, "receive-pack", &server, &request);
        let mut told = BTreeMap::new();
        let mut bytes = &output.stdout[..];
        while let Ok(Some(packet)) = pkt::take(&mut bytes) {
            let pkt::Pkt::Data(line) = packet else { continue };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            match line.split_once(' ') {
                Some(("ok", name)) => _ = told.insert(name.to_owned(), true),
                Some(("ng", rest)) => _ = told.insert(rest.split(' ').next().unwrap_or_default().to_owned(), false),
                _ => {}
            }
        }
        if who == pkt::Who::Packmule {
            check::tidy(&server);
        }
        let refs = self.sandbox.git_command(&server, ["for-each-ref", "--format=%(refname) %(objectname)"]).output().expect("git runs");
        (told, String::from_utf8_lossy(&refs.stdout).into_owned())
    }

    #[track_caller]
    fn same(&self, what: &str, setup: Setup<'_>, edits: &[Edit<'_>]) {
        self.same_when(what, setup, edits, &[false, true]);
    }

    #[track_caller]
    fn same_when(&self, what: &str, setup: Setup<'_>, edits: &[Edit<'_>], atomic: &[bool]) {
        for &atomic in atomic {
            let git = self.outcome(pkt::Who::Git, setup, edits, atomic);
            let ours = self.outcome(pkt::Who::Packmule, setup, edits, atomic);
            assert!(!git.0.is_empty(), "{what}: git says nothing");
            assert_eq!(ours, git, "{what}, atomic: {atomic}");
        }
    }

    fn git(&self, server: &Path, args: &[&str]) {
        self.sandbox.git(server, args);
    }
}

fn as_it_is(_: &Rig, _: &Path) {}

#[test]
fn names_are_taken_and_refused_as_git_does() {
    let rig = Rig::new();
    let (long, longer) = (format!("refs/heads/{}", "x".repeat(300)), format!("refs/heads/{}x", "y/".repeat(1500)));
    let names: [&[u8]; 50] = [
        b"refs/heads/x",
        b"refs/heads/../x",
        b"refs/heads/..",
        b"refs/heads/x.lock",
        b"refs/heads/x.lock/y",
        b"refs/heads/@{",
        b"refs/heads/@{0}",
        b"refs/heads/@",
        b"refs/heads//x",
        b"refs/heads/x/",
        b"refs/heads/x.",
        b"refs/heads/.x",
        b"refs/heads/x..y",
        b"refs/heads/a\\b",
        b"refs/heads/a~",
        b"refs/heads/a^",
        b"refs/heads/a:",
        b"refs/heads/a?",
        b"refs/heads/a*",
        b"refs/heads/a[",
        b"refs/heads/\x01",
        b"refs/heads/\x7f",
        b"refs/heads/\xff\xfe",
        "refs/heads/\u{e9}".as_bytes(),
        "refs/heads/e\u{301}".as_bytes(),
        b"refs/heads/-x",
        b"refs/heads/HEAD",
        b"refs/heads/Main",
        b"refs/heads/CON",
        b"refs/heads/aux.txt",
        b"refs/heads/a{b}",
        b"refs/heads/a'b\"c",
        b"HEAD",
        b"FETCH_HEAD",
        b"config",
        b"refs/",
        b"refs",
        b"refs/heads",
        b"refs/x",
        b"refs/tags/x",
        b"refs/notes/x",
        b"refs/replace/x",
        b"refs/bisect/x",
        b"refs/pull/1/head",
        b"main-worktree/refs/heads/x",
        b"worktrees/x/refs/heads/x",
        b"/refs/heads/x",
        b"../refs/heads/x",
        long.as_bytes(),
        longer.as_bytes(),
    ];
    let edits: Vec<Edit<'_>> = names.iter().map(|name| (*name, "", "first")).collect();
    let [git, ours] = [pkt::Who::Git, pkt::Who::Packmule].map(|who| rig.outcome(who, &as_it_is, &edits, false));
    assert_eq!(git.0.len(), names.len(), "git has an answer for each: {:?}", git.0);
    assert!(git.0.values().any(|ok| *ok) && git.0.values().any(|ok| !*ok), "{:?}", git.0);
    assert_eq!(ours, git);
    for name in [&b"refs/x"[..], b"refs/heads/x.lock", b"HEAD", b"refs/heads", b"refs/heads/../heads/main"] {
        rig.same(&format!("delete {}", String::from_utf8_lossy(name)), &as_it_is, &[(name, "second", "")]);
    }
}

#[test]
fn values_are_judged_as_git_does() {
    let rig = Rig::new();
    let cases: [(&str, &[Edit<'_>]); 12] = [
        ("a blob as a branch", &[(b"refs/heads/x", "", "blob")]),
        ("a blob as a tag", &[(b"refs/tags/x", "", "blob")]),
        ("a tag as a branch", &[(b"refs/heads/x", "", "tag")]),
        ("an unknown object", &[(b"refs/heads/x", "", "unknown")]),
        ("another old value", &[(b"refs/heads/main", "first", "second")]),
        ("created although it is there", &[(b"refs/heads/main", "", "first")]),
        ("updated although it is not there", &[(b"refs/heads/x", "first", "second")]),
        ("deleted although it is not there", &[(b"refs/heads/x", "first", "")]),
        ("deleted, and the client knows that it is not there", &[(b"refs/heads/x", "", "")]),
        ("the branch that HEAD names, rewound", &[(b"refs/heads/main", "second", "first")]),
        ("the branch that HEAD names, deleted", &[(b"refs/heads/main", "second", "")]),
        ("one that is fine beside one that is not", &[(b"refs/heads/x", "", "first"), (b"refs/heads/main", "first", "second")]),
    ];
    for (what, edits) in cases {
        rig.same(what, &as_it_is, edits);
    }
}

#[test]
fn folders_and_files_conflict_as_with_git() {
    let rig = Rig::new();
    let set = |rig: &Rig, server: &Path, name: &str| rig.git(server, &["update-ref", name, &rig.objects["first"]]);
    let pack = |rig: &Rig, server: &Path| rig.git(server, &["pack-refs", "--all"]);
    let loose_a = |rig: &Rig, server: &Path| set(rig, server, "refs/heads/a");
    let loose_ab = |rig: &Rig, server: &Path| set(rig, server, "refs/heads/a/b");
    let packed_a = |rig: &Rig, server: &Path| (loose_a(rig, server), pack(rig, server)).1;
    let packed_ab = |rig: &Rig, server: &Path| (loose_ab(rig, server), pack(rig, server)).1;
    let empty = |_: &Rig, server: &Path| std::fs::create_dir_all(server.join("refs/heads/a/b/c")).expect("made");
    let (a, ab): (&[u8], &[u8]) = (b"refs/heads/a", b"refs/heads/a/b");
    let setups: [(&str, Setup<'_>); 5] =
        [("a loose", &loose_a), ("a packed", &packed_a), ("a/b loose", &loose_ab), ("a/b packed", &packed_ab), ("empty folders", &empty)];
    for (what, setup) in setups {
        for (name, edits) in [
            ("create a", &[(a, "", "first")][..]),
            ("create a/b", &[(ab, "", "first")]),
            ("create both", &[(a, "", "first"), (ab, "", "first")]),
            ("delete a, create a/b", &[(a, "first", ""), (ab, "", "second")]),
            ("delete a/b, create a", &[(ab, "first", ""), (a, "", "second")]),
        ] {
            let what = format!("{name} with {what}");
            let frees = |blocker: &str| name.starts_with("delete") && what.ends_with(blocker);
            let is_freed = name.starts_with("delete a,") && (frees("a loose") || frees("a packed"))
                || name.starts_with("delete a/b") && (frees("a/b loose") || frees("a/b packed"));
            if is_freed {
                // Git refuses that where it is to be atomic; here it is one step like any other.
                let (told, _) = rig.outcome(pkt::Who::Packmule, setup, edits, true);
                assert!(told.len() == 2 && told.values().all(|ok| *ok), "{what}: {told:?}");
                rig.same_when(&what, setup, edits, &[false]);
            } else {
                rig.same(&what, setup, edits);
            }
        }
    }
}

#[test]
fn symbolic_broken_and_doubled_refs_are_as_with_git() {
    let rig = Rig::new();
    let symbolic = |rig: &Rig, server: &Path| {
        rig.git(server, &["symbolic-ref", "refs/heads/sym", "refs/heads/target"]);
        rig.git(server, &["update-ref", "refs/heads/target", &rig.objects["first"]]);
    };
    let dangling = |rig: &Rig, server: &Path| rig.git(server, &["symbolic-ref", "refs/heads/sym", "refs/heads/unborn"]);
    let circle = |_: &Rig, server: &Path| {
        std::fs::write(server.join("refs/heads/one"), "ref: refs/heads/two\n").expect("written");
        std::fs::write(server.join("refs/heads/two"), "ref: refs/heads/one\n").expect("written");
    };
    let torn = |rig: &Rig, server: &Path| {
        rig.git(server, &["update-ref", "refs/heads/torn", &rig.objects["first"]]);
        rig.git(server, &["pack-refs", "--all"]);
        std::fs::write(server.join("refs/heads/torn"), "").expect("written");
    };
    let newer = |rig: &Rig, server: &Path| {
        rig.git(server, &["update-ref", "refs/heads/both", &rig.objects["first"]]);
        rig.git(server, &["pack-refs", "--all"]);
        rig.git(server, &["update-ref", "refs/heads/both", &rig.objects["second"]]);
    };
    let (sym, target): (&[u8], &[u8]) = (b"refs/heads/sym", b"refs/heads/target");
    let cases: [(&str, Setup<'_>, &[Edit<'_>]); 11] = [
        ("update through a symbolic ref", &symbolic, &[(sym, "first", "second")]),
        ("delete through a symbolic ref", &symbolic, &[(sym, "first", "")]),
        ("the same through both names", &symbolic, &[(sym, "first", "second"), (target, "first", "second")]),
        ("different things through both names", &symbolic, &[(sym, "first", "second"), (target, "first", "")]),
        ("create through a dangling one", &dangling, &[(sym, "", "first")]),
        ("a circle", &circle, &[(b"refs/heads/one", "", "first")]),
        ("an empty file, created", &torn, &[(b"refs/heads/torn", "", "second")]),
        ("an empty file, updated from what is packed", &torn, &[(b"refs/heads/torn", "first", "second")]),
        ("loose before packed, updated", &newer, &[(b"refs/heads/both", "second", "first")]),
        ("loose before packed, deleted", &newer, &[(b"refs/heads/both", "second", "")]),
        ("packed behind loose, as old value", &newer, &[(b"refs/heads/both", "first", "second")]),
    ];
    for (what, setup, edits) in cases {
        rig.same(what, setup, edits);
    } // Git takes the first of two edits of one ref and calls both refused; here neither happens.
    let twice: [Edit<'_>; 2] = [(b"refs/heads/x", "", "first"), (b"refs/heads/x", "", "second")];
    for atomic in [false, true] {
        let (told, refs) = rig.outcome(pkt::Who::Packmule, &as_it_is, &twice, atomic);
        assert!(!told["refs/heads/x"] && !refs.contains("refs/heads/x"), "{told:?} {refs}");
    }
}

#[test]
fn chains_of_symbolic_refs_are_followed_as_far_as_git_follows_them() {
    let rig = Rig::new();
    for length in [3, 4, 5] {
        for ends_somewhere in [false, true] {
            let setup = |rig: &Rig, server: &Path| {
                for at in 0..length {
                    rig.git(server, &["symbolic-ref", &format!("refs/heads/s{at}"), &format!("refs/heads/s{}", at + 1)]);
                }
                if ends_somewhere {
                    std::fs::write(server.join(format!("refs/heads/s{length}")), rig.objects["first"].clone() + "\n").expect("written");
                }
            };
            let old = if ends_somewhere { "first" } else { "" };
            rig.same(&format!("{length} links, {ends_somewhere}"), &setup, &[(b"refs/heads/s0", old, "second")]);
        }
    }
}

#[test]
fn a_name_ends_with_its_first_nul_and_may_be_as_long_as_a_packet() {
    let rig = Rig::new();
    let long = ["refs/heads/", &"y/".repeat(32_000), "y"].concat().into_bytes();
    for (what, name) in [
        ("words behind a NUL", &b"refs/heads/second\0not a capability"[..]),
        ("a NUL at once", b"refs/heads/\0x"),
        ("nothing but a NUL", b"\0"),
    ] {
        // In a second line, where there are no capabilities.
        let edits = [(&b"refs/heads/x"[..], "", "first"), (name, "", "first")];
        let [git, ours] = [pkt::Who::Git, pkt::Who::Packmule].map(|who| rig.outcome(who, &as_it_is, &edits, false));
        assert_eq!(ours, git, "{what}");
    }
    // No file system holds it: git refuses it alone, and here it is no command.
    let edits = [(&b"refs/heads/x"[..], "", "first"), (&long, "", "first")];
    let [git, ours] = [pkt::Who::Git, pkt::Who::Packmule].map(|who| rig.outcome(who, &as_it_is, &edits, false));
    assert_eq!((git.0.len(), git.0.values().filter(|ok| **ok).count()), (2, 1));
    assert!(ours.0.is_empty() && !ours.1.contains("refs/heads/x"), "{ours:?}");
}

#[test]
fn nothing_outside_a_namespace_can_be_named_in_it() {
    let rig = Rig::new();
    let first = rig.objects["first"].clone();
    for name in ["refs/heads/x", "refs/heads/../../../heads/main", "../heads/main", "refs/namespaces/b/refs/heads/x", "HEAD", "refs/../x"] {
        let outcomes = [pkt::Who::Git, pkt::Who::Packmule].map(|who| {
            let _ = std::fs::remove_dir_all(rig.sandbox.path("server.git"));
            let server = rig.sandbox.copy(&rig.base, "server.git");
            let line = format!("{} {first} {name}\0report-status", rig.objects[""]);
            let empty =
                crate::common::run_with_input(&mut rig.sandbox.git_command(&server, ["pack-objects", "-q", "--stdout"]), b"").stdout;
            let request = [pkt::data(line), b"0000".to_vec(), empty].concat();
            let mut command = who.command(&rig.sandbox, 0, "receive-pack", &[], &server);
            let output = crate::common::run_with_input(command.env("GIT_NAMESPACE", "a"), &request);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let verdict = said.lines().find_map(|line| line.get(4..).filter(|line| line.starts_with("ok ") || line.starts_with("ng ")));
            (verdict.map(|verdict| verdict[..2].to_owned()), check::refs(&rig.sandbox, &server))
        });
        assert_eq!(outcomes[1], outcomes[0], "{name}");
        assert!(outcomes[1].1.contains("refs/namespaces/a/refs/heads/x") == (name == "refs/heads/x"), "{name}: {}", outcomes[1].1);
    }
}
