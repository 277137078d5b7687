//! Partial clones on the server. Serving from one: what it lacks is refused, unless the client says that it has it from a
//! promisor of ours (gitprotocol-v2, "promisor-remote"); whose the repository is does not matter for that. Pushing to one: what
//! a promisor pack names may be missing. What no such pack names is lost in both.

use crate::common::pkt::{self, Who};
use crate::common::{HASHES, Sandbox, run_with_input};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A repository with a big and a small file in a folder, and a bare partial clone of it without big ones; the newest commit.
fn partial_clone(sandbox: &Sandbox, hash: &str) -> (PathBuf, PathBuf, String) {
    let source = sandbox.work_tree("source", hash);
    std::fs::create_dir(source.join("folder")).expect("a folder");
    sandbox.commit_file(&source, "patterns", "/folder/\n");
    for text in ["one", "two"] {
        sandbox.commit_file(&source, "folder/small", text);
        sandbox.commit_file(&source, "folder/big", text.repeat(3000));
    }
    sandbox.git(&source, ["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", source.display());
    sandbox.git(&sandbox.path(""), ["clone", "-q", "--bare", "--filter=blob:limit=1k", &url, "server.git"]);
    let tip = sandbox.git(&source, ["rev-parse", "HEAD"]);
    let server = sandbox.path("server.git");
    sandbox.git(&server, ["config", "promisor.advertise", "true"]);
    sandbox.git(&server, ["config", "uploadpack.allowFilter", "true"]);
    (source, server, tip)
}

/// What a client of version 2 that accepts `promisors` is answered when it asks for `tip` and has `haves`.
fn fetch(sandbox: &Sandbox, server: &Path, promisors: &str, lines: &[String]) -> (Vec<u8>, String) {
    let format = sandbox.git(server, ["rev-parse", "--show-object-format"]);
    let head = |command: &str| [pkt::data(format!("command={command}\n")), pkt::data(format!("object-format={format}\n"))].concat();
    let mut request = vec![];
    if !promisors.is_empty() {
        // As git's clients do, with the first request of all.
        request.extend([head("ls-refs"), pkt::data(format!("promisor-remote={promisors}\n")), b"0000".to_vec()].concat());
    }
    request.extend([head("fetch"), b"0001".to_vec()].concat());
    request.extend(lines.iter().flat_map(|line| pkt::data(format!("{line}\n"))));
    request.extend([pkt::data("done\n"), b"0000".to_vec()].concat());
    let output = Who::Packmule.answer(sandbox, 2, "upload-pack", server, &request);
    let (mut pack, mut said, mut rest) = (vec![], String::from_utf8_lossy(&output.stderr).into_owned(), &output.stdout[..]);
    while let Ok(Some(packet)) = pkt::take(&mut rest) {
        match packet {
            pkt::Pkt::Data(line) if line[0] == 1 => pack.extend(&line[1..]),
            pkt::Pkt::Data(line) => said += &String::from_utf8_lossy(&line),
            _ => {}
        }
    }
    (pack, said)
}

/// The objects of a pack that stands by itself.
fn objects(sandbox: &Sandbox, pack: &[u8], hash: &str) -> BTreeSet<String> {
    let _ = std::fs::remove_dir_all(sandbox.path("taken.git"));
    let taken = sandbox.bare("taken.git", hash);
    let indexed = run_with_input(&mut sandbox.git_command(&taken, ["index-pack", "--stdin"]), pack);
    assert!(indexed.status.success(), "{}", String::from_utf8_lossy(&indexed.stderr));
    let listed = sandbox.git(&taken, ["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn a_client_that_accepts_our_promisor_gets_what_is_here() {
    for hash in HASHES {
        let sandbox = Sandbox::new();
        let (source, server, tip) = partial_clone(&sandbox, hash);
        let before = sandbox.git(&source, ["rev-parse", "HEAD~2"]);
        let patterns = sandbox.git(&source, ["rev-parse", "HEAD:patterns"]);
        let had = ids(&sandbox, &source, &[&before]);
        for filter in ["", "blob:limit=2000", "tree:3", &format!("sparse:oid={patterns}")] {
            let mut args = vec!["--missing=allow-any".to_owned()];
            let mut lines = vec![format!("want {tip}")];
            if !filter.is_empty() {
                args.push(format!("--filter={filter}"));
                lines.push(format!("filter {filter}"));
            }
            args.push(tip.clone());
            let expected = ids(&sandbox, &server, &args);
            assert!(expected.len() > 8, "{expected:?}");
            for stranger in ["", "nobody", "nobody;orig"] {
                let (pack, said) = fetch(&sandbox, &server, stranger, &lines);
                assert!(pack.is_empty() && said.contains("is a partial clone and lacks object"), "{filter}: {said}");
            }
            for accepted in ["origin", "nobody;%6frigin"] {
                let (pack, said) = fetch(&sandbox, &server, accepted, &lines);
                assert_eq!(objects(&sandbox, &pack, hash), expected, "{filter}: {said}");
            }
            lines.push(format!("have {before}"));
            let (pack, said) = fetch(&sandbox, &server, "origin", &lines);
            assert_eq!(objects(&sandbox, &pack, hash), expected.difference(&had).cloned().collect(), "{filter}: {said}");
        }
    }
}

fn ids(sandbox: &Sandbox, repository: &Path, args: &[impl AsRef<str>]) -> BTreeSet<String> {
    let args = ["rev-list", "--objects", "--no-object-names"].into_iter().chain(args.iter().map(AsRef::as_ref));
    sandbox.git(repository, args).lines().map(str::to_owned).collect()
}

#[test]
fn what_is_missing_though_nobody_promised_it_is_missed() {
    let sandbox = Sandbox::new();
    let (source, server, tip) = partial_clone(&sandbox, "sha1");
    for entry in std::fs::read_dir(server.join("objects/pack")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "promisor") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    let (pack, said) = fetch(&sandbox, &server, "origin", &[format!("want {tip}")]);
    let big = sandbox.git(&source, ["rev-parse", "HEAD:folder/big"]);
    assert!(pack.is_empty() && said.contains("the repository lacks object") && said.len() > big.len(), "{said}");
}

#[test]
fn a_repository_of_somebody_else_is_fetched_from_and_not_pushed_to() {
    let sandbox = Sandbox::new();
    let server = sandbox.bare("server.git", "sha1");
    for (service, is_open) in [("upload-pack", true), ("receive-pack", false), ("upload-archive", false)] {
        let mut command = Who::Packmule.command(&sandbox, 0, service, &[], &server);
        command.env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "true");
        let output = run_with_input(&mut command, b"0000");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.contains("detected dubious ownership"), !is_open, "{service}: {said}");
        assert_eq!(output.status.success(), is_open, "{service}: {said}");
    }
}

#[test]
fn what_is_lost_beside_what_is_promised_is_missed_when_fetched() {
    let sandbox = Sandbox::new();
    let (_, server, tip) = partial_clone(&sandbox, "sha1");
    let lost = sandbox.git_with_input(&server, ["hash-object", "-w", "--stdin"], b"to be lost");
    let tree = sandbox.git_with_input(&server, ["mktree"], format!("100644 blob {lost}\tfile\n").as_bytes());
    let commit = sandbox.git(&server, ["commit-tree", "-p", &tip, "-m", "ours", &tree]);
    sandbox.git(&server, ["update-ref", "refs/heads/ours", &commit]);
    let gits_verdict = |wanted: &str| {
        let mut command = sandbox.git_command(&server, ["pack-objects", "--revs", "--stdout", "--missing=allow-promisor", "-q"]);
        run_with_input(command.env("GIT_NO_LAZY_FETCH", "1"), format!("{wanted}\n").as_bytes()).status.success()
    };
    let want = [format!("want {commit}")];
    assert!(gits_verdict(&commit));
    assert!(!fetch(&sandbox, &server, "origin", &want).0.is_empty());
    std::fs::remove_file(server.join("objects").join(&lost[..2]).join(&lost[2..])).expect("removed");
    assert!(!gits_verdict(&commit));
    let (pack, said) = fetch(&sandbox, &server, "origin", &want);
    assert!(pack.is_empty() && said.contains(&lost), "{said}");
    assert!(gits_verdict(&tip));
    assert!(!fetch(&sandbox, &server, "origin", &[format!("want {tip}")]).0.is_empty(), "what it has not lost goes out");
}

/// The lines of the report for a push of `tips` with the objects `ids` of `from`, and no others.
fn push(sandbox: &Sandbox, who: Who, to: &Path, from: &Path, tips: &[(&str, &str)], ids: &[&str]) -> Vec<String> {
    let mut pack = sandbox.git_command(from, ["pack-objects", "--stdout", "-q"]);
    let pack = run_with_input(&mut pack, ids.iter().map(|id| format!("{id}\n")).collect::<String>().as_bytes());
    assert!(pack.status.success(), "{}", String::from_utf8_lossy(&pack.stderr));
    let (mut request, none) = (vec![], "0".repeat(tips[0].1.len()));
    for (number, (name, tip)) in tips.iter().enumerate() {
        let format = if none.len() == 64 { "sha256" } else { "sha1" };
        let capabilities = if number == 0 { format!("\0report-status object-format={format}") } else { String::new() };
        request.extend(pkt::data(format!("{none} {tip} {name}{capabilities}")));
    }
    request.extend([b"0000".to_vec(), pack.stdout].concat());
    let mut command = who.command(sandbox, 0, "receive-pack", &[], to);
    let output = run_with_input(command.env("GIT_NO_LAZY_FETCH", "1"), &request);
    let (mut rest, mut told, mut flushes) = (&output.stdout[..], vec![], 0);
    while let Ok(Some(packet)) = pkt::take(&mut rest) {
        match packet {
            pkt::Pkt::Data(_) if flushes == 0 => {}
            pkt::Pkt::Data(line) => told.push(String::from_utf8_lossy(&line).trim_end().to_owned()),
            _ => flushes += 1,
        }
    }
    assert!(!told.is_empty(), "{who:?} {}", crate::common::report(&command, &output));
    told
}

/// The report of both for the same push into copies of `to`, which must be the same.
fn push_to_both(sandbox: &Sandbox, to: &Path, from: &Path, tips: &[(&str, &str)], ids: &[&str]) -> Vec<String> {
    let [ours, theirs] = [(Who::Packmule, "ours.git"), (Who::Git, "theirs.git")].map(|(who, name)| {
        let _ = std::fs::remove_dir_all(sandbox.path(name));
        push(sandbox, who, &sandbox.copy(to, name), from, tips, ids)
    });
    assert_eq!(ours, theirs);
    ours
}

#[test]
fn a_push_may_lead_to_what_a_promisor_pack_names_and_to_nothing_else_that_is_missing() {
    for hash in HASHES {
        let sandbox = Sandbox::new();
        let (source, server, _) = partial_clone(&sandbox, hash);
        let promised = sandbox.git(&source, ["rev-parse", "HEAD:folder/big"]);
        let lost = sandbox.git_with_input(&source, ["hash-object", "-w", "--stdin"], b"nobody has sent this");
        let tree = |text: String| sandbox.git_with_input(&source, ["mktree", "--missing"], text.as_bytes());
        // Without a parent, whose objects git takes for granted, here or not.
        let commit = |tree: &str| sandbox.git(&source, ["commit-tree", "-m", "x", tree]);
        let good_tree = tree(format!("100644 blob {promised}\tmoved\n"));
        let bad_tree = tree(format!("100644 blob {promised}\tmoved\n100644 blob {lost}\tnew\n"));
        let above_bad_tree = tree(format!("040000 tree {bad_tree}\tbelow\n040000 tree {good_tree}\tgood\n"));
        let (good, bad, above_bad) = (commit(&good_tree), commit(&bad_tree), commit(&above_bad_tree));
        let tag_of = |id: &str| {
            let text = format!("object {id}\ntype blob\ntag t\ntagger A <a@x> 1 +0000\n\nt\n");
            sandbox.git_with_input(&source, ["hash-object", "-t", "tag", "-w", "--stdin"], text.as_bytes())
        };
        let (good_tag, bad_tag) = (tag_of(&promised), tag_of(&lost));
        let all = [
            ("refs/heads/good", &*good),
            ("refs/heads/bad", &bad),
            ("refs/heads/above-bad", &above_bad),
            ("refs/tags/good", &good_tag),
            ("refs/tags/bad", &bad_tag),
        ];
        let ids = [&*good, &bad, &above_bad, &good_tag, &bad_tag, &good_tree, &bad_tree, &above_bad_tree];
        assert_eq!(push_to_both(&sandbox, &server, &source, &all[..1], &[&good, &good_tree]), ["unpack ok", "ok refs/heads/good"]);
        let missing = |name: &str| format!("ng refs/{name} missing necessary objects");
        let told = push_to_both(&sandbox, &server, &source, &all, &ids);
        let expected = [
            "unpack ok".to_owned(),
            "ok refs/heads/good".to_owned(),
            missing("heads/bad"),
            missing("heads/above-bad"),
            "ok refs/tags/good".to_owned(),
            missing("tags/bad"),
        ];
        assert_eq!(told, expected);
        for entry in std::fs::read_dir(server.join("objects/pack")).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|end| end == "promisor") {
                std::fs::remove_file(path).expect("removed");
            }
        }
        let told = push_to_both(&sandbox, &server, &source, &all[..1], &[&good, &good_tree]);
        assert_eq!(told, ["unpack ok".to_owned(), missing("heads/good")], "without a promise it is lost");
    }
}

#[test]
fn a_promised_parent_ends_history() {
    let sandbox = Sandbox::new();
    let (source, _, tip) = partial_clone(&sandbox, "sha1");
    let server = sandbox.bare("top.git", "sha1");
    sandbox.git(&server, ["config", "remote.origin.promisor", "true"]);
    sandbox.git(&server, ["config", "remote.origin.url", &format!("file://{}", source.display())]);
    sandbox.git(&server, ["config", "core.repositoryFormatVersion", "1"]);
    sandbox.git(&server, ["config", "extensions.partialClone", "origin"]);
    let ids = sandbox.git(&source, ["rev-list", "--objects", "--no-object-names", "-1", &tip]);
    let mut pack = sandbox.git_command(&source, ["pack-objects", "--stdout", "-q"]);
    let pack = run_with_input(&mut pack, format!("{ids}\n").as_bytes()).stdout;
    sandbox.git_with_input(&server, ["index-pack", "--promisor", "--stdin"], &pack);
    sandbox.git(&server, ["update-ref", "refs/heads/main", &tip]);
    let tree = sandbox.git(&source, ["rev-parse", &format!("{tip}^{{tree}}")]);
    let above = |parent: &str| sandbox.git(&source, ["commit-tree", "-p", parent, "-m", "x", &tree]);
    let [parent, before] = ["~1", "~2"].map(|back| sandbox.git(&source, ["rev-parse", &format!("{tip}{back}")]));
    let (good, bad) = (above(&parent), above(&before));
    let tips = [("refs/heads/good", &*good), ("refs/heads/bad", &*bad)];
    let told = push_to_both(&sandbox, &server, &source, &tips, &[&good, &bad]);
    assert_eq!(told, ["unpack ok", "ok refs/heads/good", "ng refs/heads/bad missing necessary objects"]);
    // Where history is cut off at the commit that names it, it is no parent and nobody has promised it.
    std::fs::write(server.join("shallow"), format!("{tip}\n")).expect("written");
    let told = push_to_both(&sandbox, &server, &source, &tips[..1], &[&good]);
    assert_eq!(told, ["unpack ok", "ng refs/heads/good missing necessary objects"]);
}
