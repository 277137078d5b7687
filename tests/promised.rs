//! Serving from a partial clone: what it lacks is refused, unless the client says that it has it from a promisor of ours
//! (gitprotocol-v2, "promisor-remote"). Whose the repository is does not matter for that.

mod common;

use common::pkt::{self, Who};
use common::{HASHES, Sandbox, run_with_input};
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
