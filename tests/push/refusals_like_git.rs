//! What a pusher is told of a refusal: the words of the report and the lines beside it are stock git's, but where ours say more.

use crate::common::pkt::{self, Who};
use crate::common::{HASHES, Sandbox, check, run, run_with_input, write_program};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A ref, and its old and new value as names for objects; `""`: it is not there.
type Edit<'a> = (&'a str, &'a str, &'a str);

/// Settings of the server, git's keys and values.
type Settings<'a> = &'a [(&'a str, &'a str)];

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    /// Behind `unpack`.
    unpack: String,
    /// Per ref `ok`, or the words behind `ng`.
    refs: BTreeMap<String, String>,
    /// Every other line, from the side-band and from standard error.
    said: BTreeSet<String>,
    /// What the refs are then.
    left: String,
}

/// A server with two branches of which one is checked out where files are, and a client's objects.
struct Rig {
    sandbox: Sandbox,
    base: PathBuf,
    objects: BTreeMap<&'static str, String>,
    empty_pack: Vec<u8>,
}

impl Rig {
    fn new(hash: &str) -> Self {
        let sandbox = Sandbox::new();
        let client = sandbox.work_tree("client", hash);
        let width = if hash == "sha1" { 40 } else { 64 };
        let mut objects = BTreeMap::from([("", "0".repeat(width)), ("unknown", "1".repeat(width))]);
        for (name, text) in [("first", "1"), ("second", "2"), ("third", "3")] {
            objects.insert(name, sandbox.commit_file(&client, "file", text));
        }
        objects.insert("blob", sandbox.git(&client, ["rev-parse", "HEAD:file"]));
        let base = sandbox.bare("base.git", hash);
        sandbox.git(
            &client,
            ["push", "-q", "../base.git", "main~1:refs/heads/main", "main~1:refs/heads/side", "main~1:refs/tags/t", "main:refs/keep/third"],
        );
        let mut packer = sandbox.git_command(&client, ["pack-objects", "-q", "--stdout"]);
        let empty_pack = run_with_input(&mut packer, b"").stdout;
        Self { sandbox, base, objects, empty_pack }
    }

    fn id(&self, name: &str) -> &str {
        &self.objects[name]
    }

    /// The commands of a push.
    fn commands(&self, edits: &[Edit<'_>], words: &str) -> Vec<u8> {
        let format = if self.id("").len() == 40 { "sha1" } else { "sha256" };
        let mut request = vec![];
        for (at, (name, old, new)) in edits.iter().enumerate() {
            let chosen =
                if at == 0 { format!("\0report-status-v2 side-band-64k quiet object-format={format} {words}") } else { String::new() };
            request.extend(pkt::data(format!("{} {} {name}{chosen}", self.id(old), self.id(new))));
        }
        request.extend(b"0000");
        request
    }

    fn request(&self, edits: &[Edit<'_>], words: &str) -> Vec<u8> {
        let mut request = self.commands(edits, words);
        if edits.iter().any(|(_, _, new)| !new.is_empty()) {
            request.extend(&self.empty_pack);
        }
        request
    }

    /// A fresh server for `who`.
    fn server(&self, settings: Settings<'_>, setup: &dyn Fn(&Path)) -> PathBuf {
        let _ = std::fs::remove_dir_all(self.sandbox.path("server.git"));
        let server = self.sandbox.copy(&self.base, "server.git");
        for (key, value) in settings {
            self.sandbox.git(&server, ["config", key, value]);
        }
        setup(&server);
        server
    }

    fn answer(&self, who: Who, settings: Settings<'_>, setup: &dyn Fn(&Path), request: &[u8]) -> Answer {
        let server = self.server(settings, setup);
        let output = who.answer(&self.sandbox, 0, "receive-pack", &server, request);
        let mut answer = read(&output.stdout);
        answer.said.extend(lines(&output.stderr));
        if who == Who::Packmule {
            check::tidy(&server);
        }
        let refs = run(&mut self.sandbox.git_command(&server, ["for-each-ref", "--format=%(refname) %(objectname)"]));
        answer.left = String::from_utf8_lossy(&refs.stdout).into_owned();
        answer
    }

    /// Both servers' answers: git's, ours.
    fn both(&self, settings: Settings<'_>, setup: &dyn Fn(&Path), request: &[u8]) -> [Answer; 2] {
        [Who::Git, Who::Packmule].map(|who| self.answer(who, settings, setup, request))
    }

    /// Both answer the same, in `ng` lines and beside them.
    #[track_caller]
    fn same(&self, what: &str, settings: Settings<'_>, setup: &dyn Fn(&Path), request: &[u8]) -> Answer {
        let [git, ours] = self.both(settings, setup, request);
        assert!(!git.refs.is_empty(), "{what}: git says nothing: {git:?}");
        assert_eq!(ours, git, "{what}, {settings:?}");
        ours
    }
}

fn as_it_is(_: &Path) {}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn read(bytes: &[u8]) -> Answer {
    let mut answer = Answer { unpack: String::new(), refs: BTreeMap::new(), said: BTreeSet::new(), left: String::new() };
    let (mut rest, mut report, mut said) = (bytes, vec![], vec![]);
    while let Ok(Some(packet)) = pkt::take(&mut rest) {
        match packet {
            pkt::Pkt::Data(line) if line[0] == 1 => report.extend(&line[1..]),
            pkt::Pkt::Data(line) if line[0] <= 3 => said.extend(&line[1..]),
            pkt::Pkt::Data(line) if line.starts_with(b"ERR ") => said.extend(&line),
            _ => {}
        }
    }
    answer.said.extend(lines(&said));
    let mut rest = &report[..];
    while let Ok(Some(packet)) = pkt::take(&mut rest) {
        let pkt::Pkt::Data(line) = packet else { continue };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        match line.split_once(' ') {
            Some(("unpack", outcome)) => outcome.clone_into(&mut answer.unpack),
            Some(("ok", name)) => _ = answer.refs.insert(name.to_owned(), "ok".to_owned()),
            Some(("ng", rest)) => {
                let (name, why) = rest.split_once(' ').unwrap_or((rest, ""));
                answer.refs.insert(name.to_owned(), why.to_owned());
            }
            _ => {}
        }
    }
    answer
}

const MAIN: &str = "refs/heads/main";
const SIDE: &str = "refs/heads/side";

/// Alone and beside one that is fine; each by itself and all together.
#[track_caller]
fn same_alone_and_beside(rig: &Rig, what: &str, settings: Settings<'_>, edit: Edit<'_>) {
    let fine = ("refs/heads/fine", "", "first");
    for words in ["", "atomic"] {
        for edits in [&[edit][..], &[fine, edit]] {
            rig.same(&format!("{what} {words}"), settings, &as_it_is, &rig.request(edits, words));
        }
    }
}

#[test]
fn settings_refuse_and_warn_in_gits_words() {
    for hash in HASHES {
        let rig = Rig::new(hash);
        let cases: [(&str, Settings<'_>, Edit<'_>); 5] = [
            ("no branch is deleted", &[("receive.denyDeletes", "true")], (SIDE, "second", "")),
            ("a tag is", &[("receive.denyDeletes", "true")], ("refs/tags/t", "second", "")),
            ("no branch is rewound", &[("receive.denyNonFastForwards", "true")], (SIDE, "second", "first")),
            ("it may go on", &[("receive.denyNonFastForwards", "true")], (SIDE, "second", "third")),
            ("a tag may be", &[("receive.denyNonFastForwards", "true")], ("refs/tags/t", "second", "first")),
        ];
        for (what, settings, edit) in cases {
            same_alone_and_beside(&rig, what, settings, edit);
        }
    }
}

#[test]
fn hidden_refs_stay_as_they_are() {
    let rig = Rig::new("sha1");
    let cases: [(Settings<'_>, Edit<'_>); 3] = [
        (&[("receive.hideRefs", SIDE)], (SIDE, "second", "third")),
        (&[("transfer.hideRefs", "refs/tags")], ("refs/tags/t", "second", "")),
        (&[("receive.hideRefs", "refs/pull")], ("refs/pull/1", "", "third")),
    ];
    for (settings, edit) in cases {
        let both = [("refs/heads/fine", "", "first"), edit];
        rig.same("hidden", settings, &as_it_is, &rig.request(&[edit], ""));
        rig.same("hidden", settings, &as_it_is, &rig.request(&both, ""));
        // git takes the other edit of an atomic push all the same.
        let [git, ours] = rig.both(settings, &as_it_is, &rig.request(&both, "atomic"));
        assert_eq!((&ours.refs[edit.0], &*ours.refs[both[0].0]), (&git.refs[edit.0], "atomic push failure"));
        assert!(!ours.left.contains("refs/heads/fine"), "{ours:?}");
    }
}

#[test]
fn the_current_branch_is_kept_as_git_keeps_it() {
    let rig = Rig::new("sha1");
    let allowed = ("receive.denyCurrentBranch", "ignore");
    for (key, edit, others) in [
        ("receive.denyCurrentBranch", (MAIN, "second", "third"), &[][..]),
        ("receive.denyCurrentBranch", (MAIN, "second", ""), &[("receive.denyDeleteCurrent", "ignore")]),
        ("receive.denyDeleteCurrent", (MAIN, "second", ""), &[allowed]),
    ] {
        for is_bare in ["true", "false"] {
            let kind: Vec<_> = others.iter().copied().chain([("core.bare", is_bare)]).collect();
            for value in ["refuse", "true", "warn", "ignore", "false"] {
                let settings: Vec<_> = kind.iter().copied().chain([(key, value)]).collect();
                rig.same(key, &settings, &as_it_is, &rig.request(&[edit], ""));
            }
            // Where nothing is set both give a hint, each in words of its own.
            let [git, ours] = rig.both(&kind, &as_it_is, &rig.request(&[edit], ""));
            assert_eq!((&ours.refs, &ours.left), (&git.refs, &git.left));
            let first = |answer: &Answer| answer.said.iter().find(|line| line.starts_with("error: refusing to")).cloned();
            assert_eq!((first(&ours), ours.said.len() > 1), (first(&git), git.said.len() > 1), "{git:?}");
            assert!(ours.said.is_empty() || ours.said.iter().any(|line| line.contains(key)), "{ours:?}");
        }
    }
    let settings = [("core.bare", "false"), ("receive.denyCurrentBranch", "updateInstead")];
    let ours = rig.answer(Who::Packmule, &settings, &as_it_is, &rig.request(&[(MAIN, "second", "third")], ""));
    assert!(ours.refs[MAIN].contains("needs a work tree, which this server never touches"), "{ours:?}");
}

#[test]
fn a_branch_that_another_work_tree_has_checked_out_is_kept_too() {
    let rig = Rig::new("sha1");
    let linked = |server: &Path| {
        let to = rig.sandbox.path("linked");
        let _ = std::fs::remove_dir_all(&to);
        rig.sandbox.git(server, ["worktree", "add", "-f", "-q", &to.to_string_lossy(), "side"]);
    };
    let rebasing = |server: &Path| {
        linked(server);
        let folder = server.join("worktrees/linked");
        std::fs::write(folder.join("HEAD"), format!("{}\n", rig.id("second"))).expect("written");
        std::fs::create_dir(folder.join("rebase-merge")).expect("made");
        std::fs::write(folder.join("rebase-merge/head-name"), "refs/heads/side\n").expect("written");
    };
    let bisecting = |server: &Path| {
        linked(server);
        let folder = server.join("worktrees/linked");
        std::fs::write(folder.join("HEAD"), format!("{}\n", rig.id("second"))).expect("written");
        std::fs::write(folder.join("BISECT_LOG"), "").expect("written");
        std::fs::write(folder.join("BISECT_START"), "side\n").expect("written");
    };
    let setups: [&dyn Fn(&Path); 3] = [&linked, &rebasing, &bisecting];
    for setup in setups {
        for (current, deleted) in [("refuse", "ignore"), ("warn", "warn"), ("ignore", "refuse")] {
            let settings = [("receive.denyCurrentBranch", current), ("receive.denyDeleteCurrent", deleted)];
            for edit in [(SIDE, "second", "third"), (SIDE, "second", ""), (MAIN, "second", "third"), (MAIN, "second", "")] {
                rig.same("linked", &settings, setup, &rig.request(&[edit], ""));
            }
        }
    }
}

#[test]
fn names_and_old_values_are_refused_in_gits_words() {
    let rig = Rig::new("sha1");
    for name in ["refs/heads/a..b", "refs/heads/x.lock", "HEAD", "refs/heads/a b", "config"] {
        same_alone_and_beside(&rig, name, &[], (name, "", "first"));
        same_alone_and_beside(&rig, name, &[], (name, "first", ""));
    }
    same_alone_and_beside(&rig, "refs/x", &[], ("refs/x", "", "first"));
    // Versions of git say it in different words, and ours say what to do next.
    let unfit = |refs: &Refs, who: &str| assert!(refs.values().all(|told| told != "ok"), "{who}: {refs:?}");
    type Refs = BTreeMap<String, String>;
    let cases: [(Edit<'_>, &str); 6] = [
        (("refs/heads/new", "first", ""), "failed to update ref: somebody else changed it; fetch first"),
        (("refs/heads/new", "first", "second"), "failed to update ref: somebody else changed it; fetch first"),
        ((SIDE, "", "first"), "failed to update ref: somebody else changed it; fetch first"),
        ((SIDE, "first", "third"), "failed to update ref: somebody else changed it; fetch first"),
        (("refs/heads/side/below", "", "first"), "'refs/heads/side' exists; cannot create this ref beside it"),
        (("refs/heads/new", "", "unknown"), "missing necessary objects"),
    ];
    for (edit, words) in cases {
        for atomic in ["", "atomic"] {
            let [git, ours] = rig.both(&[], &as_it_is, &rig.request(&[edit], atomic));
            unfit(&git.refs, "git");
            assert_eq!(ours.left, git.left, "{edit:?}");
            let is_late = !atomic.is_empty() && edit.2 != "unknown";
            assert_eq!(ours.refs[edit.0], if is_late { format!("atomic transaction failed: {words}") } else { words.to_owned() });
        }
    }
}

#[test]
fn packs_that_are_bad_change_nothing_and_say_why() {
    let rig = Rig::new("sha1");
    let edit = ("refs/heads/new", "", "third");
    let good = rig.empty_pack.clone();
    let flipped: Vec<u8> = good.iter().enumerate().map(|(at, byte)| if at + 1 == good.len() { byte ^ 1 } else { *byte }).collect();
    let packs: [(&str, Vec<u8>); 6] = [
        ("none", vec![]),
        ("cut", good[..good.len() - 5].to_vec()),
        ("another sum", flipped),
        ("no pack", b"KCAP\0\0\0\x02\0\0\0\0aaaaaaaaaaaaaaaaaaaa".to_vec()),
        ("another version", b"PACK\0\0\0\x09\0\0\0\0aaaaaaaaaaaaaaaaaaaa".to_vec()),
        ("fewer than it says", [b"PACK\0\0\0\x02\0\0\0\x05", &good[12..]].concat()),
    ];
    for (what, pack) in packs {
        for limit in ["1", "100"] {
            let request = [rig.commands(&[edit], ""), pack.clone()].concat();
            let [git, ours] = rig.both(&[("receive.unpackLimit", limit)], &as_it_is, &request);
            eprintln!("{what}\ngit {git:?}\nours {ours:?}");
            assert_eq!((&ours.refs, &ours.left), (&git.refs, &git.left), "{what}");
            assert_eq!(ours.refs["refs/heads/new"], "unpacker error", "{what}");
            assert!(git.unpack != "ok" && ours.unpack != "ok" && !ours.unpack.contains("abnormal exit"), "{what}: {ours:?}");
        }
    }
}

/// A commit whose parents are not sent, said to be where history is cut off.
fn cut_history(rig: &Rig) -> (String, Vec<u8>) {
    let other = rig.sandbox.work_tree("other", "sha1");
    ["a", "b"].iter().for_each(|text| drop(rig.sandbox.commit_file(&other, "other", text)));
    let tip = rig.sandbox.git(&other, ["rev-parse", "HEAD"]);
    let objects = rig.sandbox.git(&other, ["rev-list", "--objects", "--no-object-names", "HEAD", "-1"]);
    let pack =
        run_with_input(&mut rig.sandbox.git_command(&other, ["pack-objects", "-q", "--stdout"]), format!("{objects}\n").as_bytes()).stdout;
    (tip, pack)
}

#[test]
fn history_that_is_cut_off_or_incomplete_is_refused_in_gits_words() {
    let mut rig = Rig::new("sha1");
    let (tip, pack) = cut_history(&rig);
    rig.objects.insert("cut", tip.clone());
    for edits in [&[("refs/heads/cut", "", "cut")][..], &[("refs/heads/fine", "", "first"), ("refs/heads/cut", "", "cut")]] {
        for (words, shallow, why) in [
            ("", true, "shallow update not allowed"),
            ("", false, "missing necessary objects"),
            ("atomic", false, "missing necessary objects"),
        ] {
            let line = if shallow { pkt::data(format!("shallow {tip}")) } else { vec![] };
            let request = [line, rig.commands(edits, words), pack.clone()].concat();
            let [git, ours] = rig.both(&[], &as_it_is, &request);
            assert_eq!((&*ours.refs["refs/heads/cut"], &*git.refs["refs/heads/cut"]), (why, why), "{ours:?}");
            if words == "atomic" && edits.len() > 1 {
                // git takes the other edit of an atomic push all the same.
                assert_eq!(ours.refs["refs/heads/fine"], "atomic push failure");
                assert!(!ours.left.contains("refs/heads/fine"), "{ours:?}");
            } else {
                assert_eq!((&ours.refs, &ours.left), (&git.refs, &git.left), "{words} {shallow}");
            }
        }
    }
}

#[test]
fn requests_that_do_not_fit_end_the_push_as_with_git() {
    let rig = Rig::new("sha1");
    let edit = ("refs/heads/new", "", "third");
    let bad = |bytes: Vec<u8>| [pkt::data(bytes), b"0000".to_vec(), rig.empty_pack.clone()].concat();
    let (zero, third) = (rig.id(""), rig.id("third"));
    let with_format = {
        let line = format!("{zero} {third} refs/heads/new\0report-status-v2 side-band-64k object-format=sha256");
        bad(line.into_bytes())
    };
    for (what, request) in [
        ("another object format", with_format),
        ("no ids", bad(b"refs/heads/new\0report-status-v2 side-band-64k".to_vec())),
        ("no name", bad(format!("{zero} {third}\0report-status-v2 side-band-64k").into_bytes())),
        ("a bad shallow line", bad(b"shallow nothing".to_vec())),
    ] {
        let [git, ours] = rig.both(&[], &as_it_is, &request);
        assert!(git.refs.is_empty() && !git.said.is_empty(), "{what}: {git:?}");
        assert!(ours.refs.is_empty() && !ours.said.is_empty(), "{what}: {ours:?}");
        assert_eq!(ours.left, git.left, "{what}");
    }
    // Options that are not asked for are no options: they stand where the pack should.
    let options = [rig.commands(&[edit], "push-options"), pkt::data("an option"), b"0000".to_vec(), rig.empty_pack.clone()].concat();
    let [git, ours] = rig.both(&[("receive.advertisePushOptions", "false")], &as_it_is, &options);
    assert_eq!((&ours.refs, &ours.left), (&git.refs, &git.left));
    assert!([git, ours].iter().all(|answer| answer.unpack.contains("pack signature mismatch")));
}

const NONCE_HOOK: &str =
    "#!/bin/sh\ncat >/dev/null\necho \"nonce: $GIT_PUSH_CERT_NONCE_STATUS, status: $GIT_PUSH_CERT_STATUS\" >&2\nexit 1\n";

#[test]
fn certificates_without_a_nonce_of_ours_are_told_to_hooks_which_may_refuse() {
    let rig = Rig::new("sha1");
    let setup = |server: &Path| write_program(&server.join("hooks/pre-receive"), NONCE_HOOK);
    let (zero, third) = (rig.id(""), rig.id("third"));
    for (nonce, status) in
        [("", "MISSING"), ("nonce nonsense\n", "BAD"), ("nonce 1700000000-0123456789012345678901234567890123456789\n", "BAD")]
    {
        for words in ["", "push-options"] {
            let options = if words.is_empty() { "" } else { "push-option an option\n" };
            let lines = [
                format!("push-cert\0report-status-v2 side-band-64k quiet {words}"),
                "certificate version 0.1\n".to_owned(),
                "pusher A U Thor <author@example.com> 1700000000 +0000\n".to_owned(),
                format!("{nonce}{options}\n"),
                format!("{zero} {third} refs/heads/new\n"),
                "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n".to_owned(),
                "push-cert-end\n".to_owned(),
            ];
            let mut request: Vec<u8> = lines.iter().filter(|line| !line.is_empty()).flat_map(pkt::data).collect();
            request.extend(b"0000");
            if !words.is_empty() {
                // Other ones than those that are signed.
                request.extend([pkt::data("another option"), b"0000".to_vec()].concat());
            }
            request.extend(&rig.empty_pack);
            let settings = [("receive.certNonceSeed", "seed"), ("receive.advertisePushOptions", "true")];
            let [git, ours] = rig.both(&settings, &setup, &request);
            assert_eq!((&ours.refs, &ours.left), (&git.refs, &git.left), "{nonce} {words}");
            let told = |answer: &Answer| answer.said.iter().find(|line| line.starts_with("nonce: ")).cloned();
            assert!(told(&git).is_some_and(|line| line.contains(status)), "{git:?}");
            // A hook that could not trust the options it is given is not asked.
            assert_eq!(told(&ours).is_some_and(|line| line.contains(status)), words.is_empty(), "{ours:?}");
        }
    }
}
