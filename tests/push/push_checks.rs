//! Pushes of objects that git's fsck speaks against: refused or told as stock git's receive-pack does, and as settings say.

use crate::common::remote::Remote;
use crate::common::server::{Server, has_ssh};
use crate::common::{Case, PACKMULE, Sandbox, check, few_cases};
use std::path::{Path, PathBuf};

const WHO: &str = "A U Thor <author@example.com> 1112912053 -0700";

/// A work repository in which objects of any content are made.
struct Forge<'a> {
    sandbox: &'a Sandbox,
    folder: PathBuf,
}

impl<'a> Forge<'a> {
    fn new(remote: &Remote<'a>) -> Self {
        Self { sandbox: remote.sandbox, folder: remote.sandbox.bare("forge.git", remote.case.hash) }
    }

    fn object(&self, kind: &str, bytes: &[u8]) -> String {
        self.sandbox.git_with_input(&self.folder, ["hash-object", "-t", kind, "-w", "--stdin", "--literally"], bytes)
    }

    fn tree(&self, entries: &[(&str, &str, &str)]) -> String {
        let raw = |id: &str| gix_hash::ObjectId::from_hex(id.as_bytes()).expect("an id").as_slice().to_vec();
        let bytes: Vec<u8> =
            entries.iter().flat_map(|(mode, name, id)| [mode.as_bytes(), b" ", name.as_bytes(), &[0], &raw(id)].concat()).collect();
        self.object("tree", &bytes)
    }

    /// A branch `name` of one commit with this tree.
    fn branch(&self, name: &str, tree: &str) -> String {
        let commit = self.object("commit", format!("tree {tree}\nauthor {WHO}\ncommitter {WHO}\n\n{name}\n").as_bytes());
        self.sandbox.git(&self.folder, ["update-ref", &format!("refs/heads/{name}"), &commit]);
        commit
    }

    /// Branches of which each breaks one rule, its name being the message's id, in small letters.
    fn sinners(&self) -> Vec<&'static str> {
        let blob = self.object("blob", b"text\n");
        let file = |mode: &str, name: &str| self.tree(&[(mode, name, &blob)]);
        let modules = |text: &str| self.tree(&[("100644", ".gitmodules", &self.object("blob", text.as_bytes()))]);
        let attributes = format!("* x={}\n", "y".repeat(2100));
        for (name, tree) in [
            ("hasDotgit", file("100644", ".git")),
            ("hasDotdot", file("100644", "..")),
            ("fullPathname", file("100644", "a/b")),
            ("zeroPaddedFilemode", file("0100644", "a")),
            ("badFilemode", file("123456", "a")),
            ("gitmodulesSymlink", file("120000", ".gitmodules")),
            ("duplicateEntries", self.tree(&[("100644", "a", &blob), ("100755", "a", &blob)])),
            ("treeNotSorted", self.tree(&[("100644", "b", &blob), ("100644", "a", &blob)])),
            ("gitmodulesUrl", modules("[submodule \"a\"]\n\turl = -u./payload\n")),
            ("gitmodulesName", modules("[submodule \"a/../../b\"]\n\turl = a\n")),
            ("gitmodulesPath", modules("[submodule \"a\"]\n\tpath = --upload-pack\n")),
            ("gitmodulesUpdate", modules("[submodule \"a\"]\n\tupdate = !run\n")),
            ("gitmodulesParse", modules("[broken\n")),
            ("gitattributesLineLength", self.tree(&[("100644", ".gitattributes", &self.object("blob", attributes.as_bytes()))])),
        ] {
            self.branch(name, &tree);
        }
        let good = file("100644", "a");
        let commit = |name: &str, text: String| {
            let commit = self.object("commit", text.as_bytes());
            self.sandbox.git(&self.folder, ["update-ref", &format!("refs/heads/{name}"), &commit]);
        };
        commit("missingEmail", format!("tree {good}\nauthor A U Thor 1 +0000\ncommitter {WHO}\n\nx\n"));
        commit("nulInCommit", format!("tree {good}\nauthor {WHO}\ncommitter {WHO}\n\nx\0y\n"));
        commit("multipleAuthors", format!("tree {good}\nauthor {WHO}\nauthor {WHO}\ncommitter {WHO}\n\nx\n"));
        vec![
            "hasDotgit",
            "hasDotdot",
            "fullPathname",
            "zeroPaddedFilemode",
            "badFilemode",
            "gitmodulesSymlink",
            "duplicateEntries",
            "treeNotSorted",
            "gitmodulesUrl",
            "gitmodulesName",
            "gitmodulesPath",
            "gitmodulesUpdate",
            "gitmodulesParse",
            "gitattributesLineLength",
            "missingEmail",
            "nulInCommit",
            "multipleAuthors",
        ]
    }

    fn push(&self, remote: &Remote<'_>, to: &str, branch: &str) -> (bool, String) {
        let refspec = format!("refs/heads/{branch}");
        let mut command = remote.command(&self.folder, "push", [remote.url(to), refspec]);
        let output = crate::common::run(&mut command);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn config(remote: &Remote<'_>, to: &Path, key: &str, value: &str) {
    remote.sandbox.git(to, ["config", key, value]);
}

#[test]
fn what_stock_git_refuses_or_tells_we_refuse_and_tell() {
    few_cases(|case| {
        let sandbox = Sandbox::new();
        let remote = Remote::stdio(&sandbox, case);
        let forge = Forge::new(&remote);
        let sinners = forge.sinners();
        for (place, key) in [("ours", "receive.fsckObjects"), ("theirs", "transfer.fsckObjects"), ("unchecked", "receive.denyDeletes")] {
            config(&remote, &remote.bare(place), key, "true");
        }
        for name in sinners {
            let (ours_taken, ours) = forge.push(&remote, "ours", name);
            let (theirs_taken, theirs) = forge.push(&remote.stock(), "theirs", name);
            assert_eq!(ours_taken, theirs_taken, "{name}\n{ours}\n{theirs}");
            let line = theirs.lines().find(|line| line.contains(&format!(": {name}: "))).unwrap_or_else(|| panic!("{name}: {theirs}"));
            assert!(ours.contains(line.trim_start_matches("remote: ")), "{name}\n{ours}\n{theirs}");
            if !ours_taken {
                assert!(ours.contains("remote: fatal: fsck error in pack"), "{ours}");
                assert!(ours.contains("(unpacker error)"), "{ours}");
            }
            let (taken, said) = forge.push(&remote, "unchecked", name);
            assert!(taken && !said.contains(&format!("{name}:")), "{name}: {said}");
        }
        check::tidy(&remote.path("ours"));
    });
}

#[test]
fn settings_of_messages_and_objects_count_as_in_git() {
    let sandbox = Sandbox::new();
    let remote = Remote::stdio(&sandbox, Case { hash: "sha1", protocol: 2 });
    let forge = Forge::new(&remote);
    forge.sinners();
    let to = remote.bare("r");
    config(&remote, &to, "transfer.fsckObjects", "true");
    let refused = |words: &str| {
        let (taken, said) = forge.push(&remote, "r", "missingEmail");
        assert!(!taken && said.contains(words), "{words}: {said}");
    };
    refused("missingEmail: invalid author/committer line - missing email");
    config(&remote, &to, "fsck.missingEmail", "ignore");
    refused("missingEmail");
    config(&remote, &to, "receive.fsck.whatEver", "error");
    refused("skipping unknown msg id 'whatever'");
    config(&remote, &to, "receive.fsck.skipList", "does-not-exist");
    refused("could not open object name list: does-not-exist");
    config(&remote, &to, "receive.fsck.skipList", "config");
    refused("invalid object name: [core]");
    config(&remote, &to, "receive.fsck.skipList", "/dev/null");
    config(&remote, &to, "receive.fsck.unterminatedHeader", "warn");
    refused("Cannot demote unterminatedheader to warn");
    config(&remote, &to, "receive.fsck.unterminatedHeader", "error");
    config(&remote, &to, "receive.fsck.missingEmail", "warn");
    let (taken, said) = forge.push(&remote, "r", "missingEmail");
    assert!(taken && said.contains("remote: warning: object ") && said.contains("missingEmail"), "{said}");
    sandbox.git(&to, ["update-ref", "-d", "refs/heads/missingEmail"]);
    config(&remote, &to, "receive.fsck.missingEmail", "error");
    std::fs::write(to.join("SKIP"), sandbox.git(&forge.folder, ["rev-parse", "missingEmail"]) + " # it is old\n").expect("written");
    config(&remote, &to, "receive.fsck.skipList", "SKIP");
    let (taken, said) = forge.push(&remote, "r", "missingEmail");
    assert!(taken && !said.contains("missingEmail:"), "{said}");
    config(&remote, &to, "receive.fsckObjects", "false");
    assert!(forge.push(&remote, "r", "hasDotgit").0, "the setting of receive wins");
}

#[test]
fn links_that_lead_nowhere_are_the_unpackers_to_say_where_checks_are_as_strict_as_gits() {
    let sandbox = Sandbox::new();
    let remote = Remote::stdio(&sandbox, Case { hash: "sha1", protocol: 2 });
    let forge = Forge::new(&remote);
    let missing = forge.sandbox.git_with_input(&forge.folder, ["hash-object", "--stdin"], b"not stored\n");
    let commit = forge.branch("main", &forge.tree(&[("100644", "a", &missing)]));
    for (name, key, words) in [("strict", "true", "unpack did not receive all objects"), ("lax", "false", "missing necessary objects")] {
        let to = remote.bare(name);
        config(&remote, &to, "receive.fsckObjects", key);
        let tree = sandbox.git(&forge.folder, ["rev-parse", &format!("{commit}^{{tree}}")]);
        let mut pack = sandbox.git_command(&forge.folder, ["pack-objects", "-q", "--stdout"]);
        let pack = crate::common::run_with_input(&mut pack, format!("{commit}\n{tree}\n").as_bytes()).stdout;
        let command = format!("{} {commit} refs/heads/main\0report-status\n", "0".repeat(40));
        let request = [format!("{:04x}{command}0000", command.len() + 4).into_bytes(), pack].concat();
        let mut served = sandbox.command(PACKMULE);
        let output = crate::common::run_with_input(served.arg("receive-pack").arg(&to), &request);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(words), "{name}: {said}");
        assert_eq!(sandbox.git(&to, ["for-each-ref"]), "");
        check::tidy(&to);
    }
}

#[test]
fn a_server_refuses_errors_and_tells_warnings_unless_it_is_told_otherwise() {
    if !has_ssh() {
        return;
    }
    for (mode, takes_warnings, takes_errors) in [("", true, false), ("strict", false, false), ("off", true, true)] {
        let sandbox = Sandbox::new();
        let file = sandbox.path("config.toml");
        let text = if mode.is_empty() { String::new() } else { format!("[push]\ncheck_objects = \"{mode}\"\n") };
        std::fs::write(&file, text).expect("written");
        std::fs::create_dir_all(sandbox.path("served")).expect("a folder");
        let server = Server::start_with(&sandbox, &[std::ffi::OsStr::new("--config"), file.as_os_str()]);
        let remote = Remote::ssh(&sandbox, Case { hash: "sha1", protocol: 2 }, &server);
        let forge = Forge::new(&remote);
        forge.sinners();
        remote.bare("r");
        let (taken, said) = forge.push(&remote, "r", "zeroPaddedFilemode");
        assert_eq!(taken, takes_warnings, "{mode}: {said}");
        let word = if taken { "remote: warning: object" } else { "remote: error: object" };
        assert_eq!(
            said.contains(word) && said.contains("zeroPaddedFilemode: contains zero-padded file modes"),
            mode != "off",
            "{mode}: {said}"
        );
        let (taken, said) = forge.push(&remote, "r", "treeNotSorted");
        assert_eq!(taken, takes_errors, "{mode}: {said}");
        assert_eq!(said.contains("treeNotSorted: not properly sorted"), mode != "off", "{mode}: {said}");
    }
}

#[test]
fn of_many_warnings_some_are_told_and_the_rest_counted() {
    let sandbox = Sandbox::new();
    let remote = Remote::stdio(&sandbox, Case { hash: "sha1", protocol: 2 });
    let forge = Forge::new(&remote);
    let blob = forge.object("blob", b"text\n");
    let trees: Vec<String> = (0..150).map(|at| forge.tree(&[("123456", &format!("f{at}"), &blob)])).collect();
    let mut entries: Vec<(String, &String)> = trees.iter().enumerate().map(|(at, tree)| (format!("d{at}"), tree)).collect();
    entries.sort();
    let entries: Vec<(&str, &str, &str)> = entries.iter().map(|(name, tree)| ("40000", name.as_str(), tree.as_str())).collect();
    forge.branch("main", &forge.tree(&entries));
    config(&remote, &remote.bare("r"), "receive.fsckObjects", "true");
    let (taken, said) = forge.push(&remote, "r", "main");
    assert!(taken, "{said}");
    assert_eq!(said.matches("badFilemode").count(), 100, "{said}");
    assert!(said.contains("remote: warning: 50 more warnings about objects"), "{said}");
}

#[test]
fn what_is_stored_already_with_other_bytes_is_refused() {
    // Few objects are looked for one by one, many by listing folders.
    for count in [3, 2500] {
        let sandbox = Sandbox::new();
        let remote = Remote::stdio(&sandbox, Case { hash: "sha1", protocol: 2 });
        let forge = Forge::new(&remote);
        let stream = (0..count).map(|at| format!("M 100644 inline f{at}\ndata 6\n{at:06}\n")).collect::<String>();
        let stream = format!("commit refs/heads/main\ncommitter {WHO}\ndata 1\nx\n{stream}");
        sandbox.git_with_input(&forge.folder, ["fast-import", "--quiet"], stream.as_bytes());
        let to = remote.bare("r");
        let loose = |id: &str| to.join("objects").join(&id[..2]).join(&id[2..]);
        let id = sandbox.git(&forge.folder, ["rev-parse", "main:f1"]);
        let same = sandbox.git_with_input(&to, ["hash-object", "-w", "--stdin"], b"000001");
        assert_eq!(id, same);
        let refspec = ["refs/heads/main:refs/heads/one"];
        remote.push(&forge.folder, "r", &refspec);
        sandbox.git(&to, ["update-ref", "-d", "refs/heads/one"]);
        for pack in check::files(&to).iter().filter(|name| name.starts_with("objects/pack/")) {
            std::fs::remove_file(to.join(pack)).expect("removed");
        }
        let other = sandbox.git_with_input(&to, ["hash-object", "-w", "--stdin"], b"other!");
        std::fs::rename(loose(&other), loose(&id)).expect("in its place");
        // What stock git unpacks into loose objects it does not compare.
        config(&remote, &to, "receive.unpackLimit", "1");
        for remote in [remote, remote.stock()] {
            let said = remote.push_fails(&forge.folder, "r", &refspec);
            assert!(said.contains(&format!("fatal: SHA1 COLLISION FOUND WITH {id} !")), "{said}");
        }
        check::tidy(&to);
    }
}

#[test]
fn links_to_objects_of_another_type_meet_gits_verdict() {
    let sandbox = Sandbox::new();
    let remote = Remote::stdio(&sandbox, Case { hash: "sha1", protocol: 2 });
    let forge = Forge::new(&remote);
    let blob = forge.object("blob", b"text\n");
    let good = forge.tree(&[("100644", "a", &blob)]);
    let parent = forge.branch("good", &good);
    let commit = |tree: &str, parent: &str| {
        forge.object("commit", format!("tree {tree}\nparent {parent}\nauthor {WHO}\ncommitter {WHO}\n\nx\n").as_bytes())
    };
    let tag = |id: &str, kind: &str| forge.object("tag", format!("object {id}\ntype {kind}\ntag t\ntagger {WHO}\n\nx\n").as_bytes());
    let tree_as_file = forge.tree(&[("100644", "a", &good)]);
    let file_as_tree = forge.tree(&[("40000", "a", &blob)]);
    let inner = tag(&parent, "commit");
    // Each with what leads to it.
    let pushes: [(&str, String, Vec<&str>); 8] = [
        ("tree as file", commit(&tree_as_file, &parent), vec![&tree_as_file]),
        ("file as tree", commit(&file_as_tree, &parent), vec![&file_as_tree]),
        ("tree of a commit", commit(&blob, &parent), vec![]),
        ("parent of a commit", commit(&good, &good), vec![]),
        ("parent that is a tag", commit(&good, &inner), vec![&inner]),
        ("tag", tag(&good, "commit"), vec![]),
        ("tag of a tag", tag(&inner, "commit"), vec![&inner]),
        ("nothing wrong", tag(&inner, "tag"), vec![&inner]),
    ];
    for (name, tip, more) in &pushes {
        let mut pack = sandbox.git_command(&forge.folder, ["pack-objects", "-q", "--stdout"]);
        let list: String =
            [tip, &parent, &good, &blob].into_iter().map(String::as_str).chain(more.iter().copied()).map(|id| format!("{id}\n")).collect();
        let pack = crate::common::run_with_input(&mut pack, list.as_bytes()).stdout;
        let line = format!("{} {tip} refs/x/y\0report-status\n", "0".repeat(40));
        let request = [format!("{:04x}{line}0000", line.len() + 4).into_bytes(), pack].concat();
        for strict in ["true", "false"] {
            let serve = |program: &[&str]| {
                let to = sandbox.bare(format!("to-{}-{strict}-{name}.git", program.len()), "sha1");
                config(&remote, &to, "receive.fsckObjects", strict);
                config(&remote, &to, "receive.unpackLimit", "1");
                let mut command = sandbox.command(program[0]);
                let output = crate::common::run_with_input(command.args(&program[1..]).arg("receive-pack").arg(&to), &request);
                let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
                (!sandbox.git(&to, ["for-each-ref"]).is_empty(), said)
            };
            let ((ours, we_said), (theirs, they_said)) = (serve(&[PACKMULE]), serve(&["git", "-c", "gc.auto=0"]));
            assert_eq!(ours, theirs, "{name}, strict: {strict}\n{we_said}\n{they_said}");
        }
    }
}
