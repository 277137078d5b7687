//! `git archive --remote` against packmule and against stock git: the same tar bytes, the same zip entries, the same refusals.

use crate::common::fixture::Random;
use crate::common::server::{Server, has_ssh};
use crate::common::{HASHES, PACKMULE, Sandbox, report, run, run_with_input};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `git archive --remote=REPOSITORY WORDS`, served by packmule.
fn ours(sandbox: &Sandbox, repository: &Path, words: &[&str]) -> Command {
    let mut command = sandbox.git_command(&sandbox.path(""), ["archive"]);
    command.arg(format!("--remote={}", repository.display())).arg(format!("--exec={PACKMULE} upload-archive")).args(words);
    command
}

/// Likewise, served by stock git.
fn stock(sandbox: &Sandbox, repository: &Path, words: &[&str]) -> Command {
    let mut command = sandbox.git_command(&sandbox.path(""), ["archive"]);
    command.arg(format!("--remote={}", repository.display())).args(words);
    command
}

#[track_caller]
fn must(mut command: Command) -> Vec<u8> {
    let output = run(&mut command);
    assert!(output.status.success(), "{}", report(&command, &output));
    output.stdout
}

/// Both make the same bytes.
#[track_caller]
fn same(sandbox: &Sandbox, repository: &Path, words: &[&str]) -> Vec<u8> {
    let (wanted, found) = (must(stock(sandbox, repository, words)), must(ours(sandbox, repository, words)));
    if found != wanted {
        let at = found.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
        let near = |bytes: &[u8]| bytes[at.saturating_sub(60)..(at + 100).min(bytes.len())].escape_ascii().to_string();
        panic!("{words:?}: {} and {} bytes, different from {at}:\n{}\n{}", found.len(), wanted.len(), near(&found), near(&wanted));
    }
    found
}

/// Both refuse; what packmule says.
#[track_caller]
fn refused(sandbox: &Sandbox, repository: &Path, words: &[&str]) -> String {
    let theirs = run(&mut stock(sandbox, repository, words));
    assert!(!theirs.status.success(), "{words:?}: git takes it");
    let mut command = ours(sandbox, repository, words);
    let output: Output = run(&mut command);
    assert!(!output.status.success(), "{}", report(&command, &output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A repository with branches, tags of every kind, and one of everything that a tree can hold.
fn repository(sandbox: &Sandbox, hash: &str) -> PathBuf {
    let work = sandbox.work_tree("work", hash);
    let write = |name: &str, content: &[u8]| {
        let path = work.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, content).expect("written");
    };
    write("plain.txt", b"plain\n");
    write("empty", b"");
    write("big", &Random(1).bytes(100_000));
    write("zeros", &vec![0; 3_000_000]);
    write("d/e/f/deep.c", b"int main;\n");
    write("d/skipped/only.o", b"object\n");
    write("sp ace \u{fc}", b"name\n");
    let long = format!("{}/{}", "l".repeat(90), "m".repeat(90));
    write(&format!("{long}/file"), b"fits in two\n");
    write(&format!("{}/{}", "n".repeat(120), "o".repeat(120)), b"fits nowhere\n");
    write("run.sh", b"#!/bin/sh\n");
    std::os::unix::fs::symlink("plain.txt", work.join("link")).expect("a link");
    std::os::unix::fs::symlink("t".repeat(150), work.join("longlink")).expect("a link");
    sandbox.git(&work, ["add", "."]);
    sandbox.git(&work, ["update-index", "--chmod=+x", "run.sh"]);
    let oid = "1".repeat(if hash == "sha1" { 40 } else { 64 });
    sandbox.git(&work, ["update-index", "--add", "--cacheinfo", &format!("160000,{oid},vendor/sub")]);
    sandbox.git(&work, ["commit", "-qm", "first"]);
    sandbox.git(&work, ["tag", "light"]);
    sandbox.git(&work, ["tag", "-am", "annotated", "v1"]);
    sandbox.git(&work, ["tag", "-am", "nested", "v1-again", "v1"]);
    sandbox.git(&work, ["tag", "tree", "HEAD^{tree}"]);
    sandbox.git(&work, ["branch", "topic/x"]);
    sandbox.commit_file(&work, "plain.txt", "newer\n");
    let mut late = sandbox.git_command(&work, ["commit", "-q", "--allow-empty", "-m", "past what eleven octal digits hold"]);
    must({
        late.env("GIT_COMMITTER_DATE", "@99999999999 +0000");
        late
    });
    sandbox.git(&work, ["tag", "late"]);
    sandbox.git(&work, ["reset", "-q", "--hard", "HEAD^"]);
    sandbox.git(&work, ["tag", "-am", "a file", "blob", "HEAD:plain.txt"]);
    let bare = sandbox.path("served/r.git");
    sandbox.git(&sandbox.path(""), ["clone", "-q", "--mirror", "--no-local", &work.to_string_lossy(), &bare.to_string_lossy()]);
    bare
}

#[test]
fn a_tar_file_is_byte_for_byte_gits() {
    for hash in HASHES {
        let sandbox = Sandbox::new();
        let bare = repository(&sandbox, hash);
        for words in [
            &["HEAD"][..],
            &["--format=tar", "main"],
            &["refs/heads/main"],
            &["topic/x"],
            &["light"],
            &["late"],
            &["v1"],
            &["v1-again"],
            &["tags/v1"],
            &["--prefix=pre/", "v1"],
            &["--prefix=pre/fix-", "v1"],
            &["--prefix=a/b///", "v1"],
            &["v1", "d"],
            &["v1", "d/", "plain.txt"],
            &["v1", "*.c"],
            &["v1", "d/e/*", "link"],
            &["v1", "vendor"],
            &["--mtime=@1234567890", "v1:d"],
            &["--mtime=2020-02-02T02:02:02Z", "tree"],
            &["v1", "--prefix", "x/", "-v"],
        ] {
            same(&sandbox, &bare, words);
        }
        let tar = same(&sandbox, &bare, &["v1"]);
        let id = run_with_input(&mut sandbox.git_command(&bare, ["get-tar-commit-id"]), &tar);
        assert_eq!(String::from_utf8_lossy(&id.stdout).trim(), sandbox.git(&bare, ["rev-parse", "v1^{commit}"]));
        sandbox.git(&bare, ["config", "tar.umask", "0077"]);
        same(&sandbox, &bare, &["v1"]);
        sandbox.git(&bare, ["config", "tar.umask", "user"]);
        same(&sandbox, &bare, &["v1"]);
    }
}

#[test]
fn random_trees_are_archived_as_git_does() {
    let sandbox = Sandbox::new();
    for (seed, hash) in [(11, "sha1"), (12, "sha256"), (13, "sha1")] {
        let (bare, _) = sandbox.history(&format!("served/{seed}.git"), hash, seed, 150);
        sandbox.git(&bare, ["repack", "-adq"]);
        for name in sandbox.git(&bare, ["for-each-ref", "--format=%(refname)"]).lines().take(12) {
            same(&sandbox, &bare, &[name]);
            same(&sandbox, &bare, &["--prefix=p/", name, "*[0-7]*"]);
        }
    }
}

#[test]
fn attributes_leave_out_and_replace_as_git_does() {
    let sandbox = Sandbox::new();
    let work = sandbox.work_tree("work", "sha1");
    let files: &[(&str, &str)] = &[
        (
            ".gitattributes",
            "*.o export-ignore\nignored/ export-ignore\n*.sub export-subst\n*.dos eol=crlf\n*.auto text=auto eol=crlf\nid ident\n",
        ),
        ("d/.gitattributes", "*.o -export-ignore\n/here export-ignore\n[attr]nothing export-ignore\nx nothing\n"),
        ("a.o", "object\n"),
        ("d/a.o", "object\n"),
        ("d/here", "left out\n"),
        ("d/e/here", "stays\n"),
        ("d/x", "macros count in the root only\n"),
        ("ignored/x", "gone\n"),
        ("only/gone.o", "its folder goes too\n"),
        (
            "f.sub",
            "$Format:%H|%h|%T|%t|%P|%p|%an|%ae|%al|%at|%ad|%aD|%ai|%aI|%as|%cn|%ce|%ct|%cd|%ci|%cI|%cs|%s|%f|%b|%B|%d|%D|%n|%%|%x41|%e|%Zq$ and $Format:no end\n",
        ),
        ("plain", "$Format:%H$\n"),
        ("a.dos", "one\ntwo\r\n"),
        ("a.auto", "one\ntwo\n"),
        ("b.auto", "one\r\ntwo\n"),
        ("id", "$Id$ $Id: old $ $Id: by someone else $\n"),
    ];
    for (name, content) in files {
        let path = work.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    sandbox.git(&work, ["add", "-f", "."]);
    sandbox.git(&work, ["-c", "core.autocrlf=false", "commit", "-qm", "The subject,\nof two lines... \n\nBody\n\nmore\n"]);
    sandbox.git(&work, ["tag", "-am", "one", "v1"]);
    sandbox.git(&work, ["branch", "other"]);
    sandbox.commit_file(&work, "later", "x\n");
    let bare = sandbox.path("served/r.git");
    sandbox.git(&sandbox.path(""), ["clone", "-q", "--mirror", "--no-local", &work.to_string_lossy(), &bare.to_string_lossy()]);
    let tar = same(&sandbox, &bare, &["v1"]);
    assert!(!String::from_utf8_lossy(&tar).contains("object\n") || String::from_utf8_lossy(&tar).contains("d/a.o"));
    for words in [
        &["main"][..],
        &["--prefix=p/", "other"],
        &["--mtime=@1234567890", "v1:d"],
        &["v1", "d", "*.sub"],
        &["--worktree-attributes", "v1"],
    ] {
        same(&sandbox, &bare, words);
    }
    std::fs::create_dir_all(bare.join("info")).expect("made");
    std::fs::write(bare.join("info/attributes"), "plain export-subst\nd/e export-ignore\n*.sub -export-subst\n").expect("written");
    same(&sandbox, &bare, &["v1"]);
}

/// What python's zipfile finds: names, sizes, modes, contents, comment; it checks every checksum.
const LIST_ZIP: &str = "
import sys, zipfile, hashlib
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
print(z.comment.decode())
for i in z.infolist():
    print(repr(i.filename), i.file_size, oct(i.external_attr), i.internal_attr, i.create_system, i.date_time, i.extra.hex(), i.flag_bits & 0x800,
          hashlib.sha1(z.read(i)).hexdigest())
";

fn list_zip(sandbox: &Sandbox, zip: &[u8]) -> Option<String> {
    let path = sandbox.path("some.zip");
    std::fs::write(&path, zip).expect("written");
    let mut command = sandbox.command("python3");
    let output = command.args(["-c", LIST_ZIP]).arg(&path).output().ok()?;
    assert!(output.status.success(), "{}", report(&command, &output));
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn a_zip_file_has_gits_entries() {
    for hash in HASHES {
        let sandbox = Sandbox::new();
        let bare = repository(&sandbox, hash);
        for words in [
            &["--format=zip", "v1"][..],
            &["--format=zip", "-0", "--prefix=p/", "v1"],
            &["--format=zip", "-9", "--mtime=@1000000000", "v1:d"],
        ] {
            let (wanted, found) = (must(stock(&sandbox, &bare, words)), must(ours(&sandbox, &bare, words)));
            let Some(wanted) = list_zip(&sandbox, &wanted) else { return crate::common::skipped("no python3 here") };
            assert_eq!(list_zip(&sandbox, &found).expect("python3 was there"), wanted, "{words:?}");
        }
        // What is stored and not deflated is the same to the last byte.
        same(&sandbox, &bare, &["--format=zip", "-0", "v1"]);
    }
}

#[test]
fn a_big_blob_goes_in_pieces_and_arrives_whole() {
    let sandbox = Sandbox::new();
    let work = sandbox.work_tree("work", "sha1");
    let content = Random(7).bytes(12 << 20);
    sandbox.commit_file(&work, "big", &content);
    sandbox.git(&work, ["tag", "v1"]);
    sandbox.git(&work, ["repack", "-adq"]);
    same(&sandbox, &work.join(".git"), &["v1"]);
    let zip = must(ours(&sandbox, &work.join(".git"), &["--format=zip", "v1"]));
    if let Some(listed) = list_zip(&sandbox, &zip) {
        assert!(listed.contains(&format!("'big' {}", content.len())), "{listed}");
        std::fs::write(sandbox.path("x.zip"), &zip).expect("written");
        let code = "import sys,zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read('big'))";
        assert!(
            must({
                let mut c = sandbox.command("python3");
                c.args(["-c", code]).arg(sandbox.path("x.zip"));
                c
            }) == content
        );
    }
    let stored = must(ours(&sandbox, &work.join(".git"), &["--format=zip", "-0", "v1"]));
    assert!(list_zip(&sandbox, &stored).is_none_or(|listed| listed.contains("'big'")));
}

#[test]
fn gzip_holds_the_tar_file() {
    let sandbox = Sandbox::new();
    let bare = repository(&sandbox, "sha1");
    let tar = must(stock(&sandbox, &bare, &["v1"]));
    for words in
        [&["--format=tar.gz", "v1"][..], &["--format=tgz", "-1", "v1"], &["--format=tar.gz", "-0", "v1"], &["--format=tgz", "-9", "v1"]]
    {
        let packed = must(ours(&sandbox, &bare, words));
        let theirs = must(stock(&sandbox, &bare, words));
        assert_eq!(packed[..10], theirs[..10], "{words:?}: header");
        let plain = run_with_input(sandbox.command("gzip").arg("-dc"), &packed);
        assert!(plain.status.success() && plain.stdout == tar, "{words:?}");
    }
}

#[test]
fn formats_are_listed_and_turned_off_as_git_does() {
    let sandbox = Sandbox::new();
    let bare = repository(&sandbox, "sha1");
    assert_eq!(same(&sandbox, &bare, &["--list"]), b"tar\ntgz\ntar.gz\nzip\n");
    sandbox.git(&bare, ["config", "tar.tar.gz.remote", "false"]);
    sandbox.git(&bare, ["config", "tar.foo.command", "tr ab ba"]);
    assert_eq!(same(&sandbox, &bare, &["-l"]), b"tar\ntgz\nzip\n");
    assert!(refused(&sandbox, &bare, &["--format=tar.gz", "v1"]).contains("unknown archive format 'tar.gz'"));
    sandbox.git(&bare, ["config", "tar.foo.remote", "true"]);
    let mut command = ours(&sandbox, &bare, &["--format=foo", "v1"]);
    let output = run(&mut command);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("unknown archive format 'foo'"));
}

#[test]
fn what_no_ref_names_is_refused_unless_allowed() {
    let sandbox = Sandbox::new();
    let bare = repository(&sandbox, "sha1");
    let id = sandbox.git(&bare, ["rev-parse", "main~1"]);
    let names = [id.as_str(), "main~1", "main^", "v1^{tree}", "main^{commit}", &format!("{id}:d"), "v1^0", "main^{tree}:d"];
    for name in names {
        let said = refused(&sandbox, &bare, &[name]);
        assert!(said.contains("remote error: no such ref: "), "{said}");
    }
    for (name, says) in [
        ("nothing", "no such ref: nothing"),
        ("v1:nothing", "not a tree object"),
        ("v1:plain.txt", "not a tree object"),
        ("blob", "not a tree object"),
    ] {
        assert!(refused(&sandbox, &bare, &[name]).contains(says), "{name}");
    }
    assert!(refused(&sandbox, &bare, &["v1", "nothing"]).contains("pathspec 'nothing' did not match any files"));
    assert!(refused(&sandbox, &bare, &["v1", "../../etc"]).contains("outside"));
    sandbox.git(&bare, ["config", "uploadarchive.allowUnreachable", "true"]);
    for name in names {
        same(&sandbox, &bare, &["--mtime=@1234567890", name]);
    }
    assert!(refused(&sandbox, &bare, &["main~7"]).contains("not a valid object name"));
}

#[test]
fn options_that_reach_into_the_server_are_refused() {
    let sandbox = Sandbox::new();
    let bare = repository(&sandbox, "sha1");
    // A client that sends what git's own never would.
    let ask = |words: &[&str]| {
        let mut input: Vec<u8> = words.iter().flat_map(|word| format!("{:04x}argument {word}\n", word.len() + 14).into_bytes()).collect();
        input.extend(b"0000");
        let mut command = sandbox.command(PACKMULE);
        command.arg("upload-archive").arg(&bare);
        let output = run_with_input(&mut command, &input);
        assert_eq!(output.status.code(), Some(128), "{}", report(&command, &output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let many: Vec<String> = (0..65).map(|n| format!("p{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let stolen = sandbox.path("stolen");
    let output = format!("--output={}", stolen.display());
    for (words, says) in [
        (&[output.as_str(), "HEAD"][..], "unexpected option '--output'"),
        (&["--exec=touch stolen", "HEAD"], "unexpected option '--exec'"),
        (&["--remote=/", "HEAD"], "unexpected option '--remote'"),
        (&["--add-file=/etc/passwd", "HEAD"], "cannot be used together"),
        (&["--add-virtual-file=x:y", "HEAD"], "cannot be used together"),
        (&["--prefix=../../", "HEAD"], "leads out"),
        (&["--prefix=/etc/", "HEAD"], "leads out"),
        (&["--format=tar;id", "HEAD"], "unknown archive format"),
        (&["--mtime=never ever", "HEAD"], "is no time"),
        (&["HEAD", ":(attr:x)"], "pathspec magic"),
        (&many, "too many options"),
    ] {
        let said = ask(words);
        assert!(said.contains("ERR ") && said.contains(says), "{words:?}: {said}");
    }
    assert!(!stolen.exists());
    let mut command = sandbox.command(PACKMULE);
    command.arg("upload-archive").arg(&bare);
    for input in [&b"0011argument HEAD"[..], b"0009want\n", b"zzzz", b""] {
        let output = run_with_input(&mut command, input);
        assert_eq!(output.status.code(), Some(128), "{}", report(&command, &output));
    }
}

#[test]
fn a_tree_that_would_escape_when_unpacked_is_not_archived() {
    let sandbox = Sandbox::new();
    let bare = sandbox.bare("served/r.git", "sha1");
    let blob = sandbox.git_with_input(&bare, ["hash-object", "-w", "--stdin"], b"evil\n");
    for name in ["..", ".git", "."] {
        let inner = sandbox.git_with_input(&bare, ["mktree"], format!("100644 blob {blob}\t{name}\n").as_bytes());
        let commit = sandbox.git(&bare, ["commit-tree", "-m", "evil", &inner]);
        sandbox.git(&bare, ["update-ref", "refs/heads/main", &commit]);
        let mut command = ours(&sandbox, &bare, &["main"]);
        let output = run(&mut command);
        assert!(
            !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("invalid path"),
            "{}",
            report(&command, &output)
        );
    }
}

#[test]
fn an_archive_comes_over_ssh_of_visible_refs() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox);
    let bare = repository(&sandbox, "sha1");
    let over_ssh = |words: &[&str]| {
        let mut command = sandbox.git_command(&sandbox.path(""), ["archive", &format!("--remote={}", server.url("r"))]);
        command.env("GIT_SSH_COMMAND", server.ssh_command()).env("GIT_SSH_VARIANT", "ssh").args(words);
        command
    };
    assert!(must(over_ssh(&["v1"])) == must(stock(&sandbox, &bare, &["v1"])));
    assert!(must(over_ssh(&["--prefix=p/", "main", "d"])) == must(stock(&sandbox, &bare, &["--prefix=p/", "main", "d"])));
    sandbox.git(&bare, ["config", "uploadarchive.allowUnreachable", "true"]);
    sandbox.git(&bare, ["config", "transfer.hideRefs", "refs/heads/topic"]);
    for name in ["topic/x", "main~1", "refs/heads/topic/x"] {
        let mut command = over_ssh(&[name]);
        let output = run(&mut command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("remote error: no such ref"), "{name}: {said}");
    }
    let mut nowhere = sandbox.git_command(&sandbox.path(""), ["archive", &format!("--remote={}", server.url("none")), "HEAD"]);
    nowhere.env("GIT_SSH_COMMAND", server.ssh_command()).env("GIT_SSH_VARIANT", "ssh");
    let output = run(&mut nowhere);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no repository"), "{}", report(&nowhere, &output));
}
