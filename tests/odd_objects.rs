//! Pushes of objects that break no rule of their form, and are out of all proportion: what git takes is taken and can be
//! fetched, in bounded memory; what is too much is refused with a sentence, and nothing of it stays.

mod common;

use common::pkt::{self, Who};
use common::{PACKMULE, Sandbox, check, run, run_with_input};
use gix_hash::{Kind as Hash, ObjectId};
use packmule::pack::{Deflater, Kind, type_code, write_entry_header};
use std::path::Path;

const WHO: &str = "A U Thor <author@example.com> 1112912053 -0700";
/// Address space of the program, stacks and maps included, in KiB.
const MEMORY_KIB: u64 = 3 << 20;

/// Objects one after the other, as a pack has them.
#[derive(Default)]
struct Made {
    count: u32,
    entries: Vec<u8>,
}

impl Made {
    fn put(&mut self, kind: Kind, bytes: &[u8]) -> ObjectId {
        self.count += 1;
        write_entry_header(type_code(kind), bytes.len() as u64, &mut self.entries);
        Deflater::new(1).whole(bytes, &mut self.entries).expect("into memory");
        gix_object::compute_hash(Hash::Sha1, kind, bytes).expect("no collision")
    }

    fn commit(&mut self, tree: ObjectId, headers: &str, message: &str) -> ObjectId {
        self.put(Kind::Commit, format!("tree {tree}\n{headers}author {WHO}\ncommitter {WHO}\n\n{message}").as_bytes())
    }

    /// A commit of an empty tree.
    fn plain(&mut self) -> ObjectId {
        let tree = self.put(Kind::Tree, b"");
        self.commit(tree, "", "plain\n")
    }

    /// What a client sends that makes `name` of `tip`.
    fn request(self, name: &str, tip: ObjectId) -> Vec<u8> {
        let mut pack = [&b"PACK\0\0\0\x02"[..], &self.count.to_be_bytes(), &self.entries].concat();
        let mut hasher = gix_hash::hasher(Hash::Sha1);
        hasher.update(&pack);
        pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
        [pkt::data(format!("{} {tip} {name}\0report-status", Hash::Sha1.null())), b"0000".to_vec(), pack].concat()
    }
}

/// What packmule says of the push, within its memory; no signal ends it.
fn receive(sandbox: &Sandbox, server: &Path, request: &[u8]) -> String {
    let mut command = sandbox.command("sh");
    command.args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec timeout 300 \"$@\""), "sh", PACKMULE, "receive-pack"]).arg(server);
    let output = run_with_input(&mut command, request);
    assert!(output.status.code().is_some_and(|code| code < 100), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both take it, and what ours has can be fetched as a whole.
fn is_taken(made: Made, name: &str, tip: ObjectId) {
    let sandbox = Sandbox::new();
    let [ours, gits] = ["ours.git", "gits.git"].map(|name| sandbox.bare(name, "sha1"));
    let request = made.request(name, tip);
    let said = receive(&sandbox, &ours, &request);
    assert!(said.contains("unpack ok") && said.contains(&format!("ok {name}\n")), "{}", &said[..said.len().min(2000)]);
    let git = Who::Git.answer(&sandbox, 0, "receive-pack", &gits, &request);
    assert!(String::from_utf8_lossy(&git.stdout).contains(&format!("ok {name}\n")), "git takes it: {git:?}");
    check::sound(&sandbox, &ours);
    let clone = sandbox.bare("clone.git", "sha1");
    let upload_pack = format!("--upload-pack={PACKMULE} upload-pack");
    let mut fetch =
        sandbox.git_command(&clone, ["fetch", "-q", "--no-tags", &upload_pack, &ours.to_string_lossy(), &format!("{name}:{name}")]);
    let fetched = run(&mut fetch);
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert_eq!(check::ref_value(&sandbox, &clone, name), tip.to_string());
    check::sound(&sandbox, &clone);
}

/// It is refused with this word, and nothing of it stays.
fn is_refused(made: Made, name: &str, tip: ObjectId, word: &str) {
    let sandbox = Sandbox::new();
    let server = sandbox.bare("ours.git", "sha1");
    let said = receive(&sandbox, &server, &made.request(name, tip));
    assert!(said.contains(&format!("ng {name}")) && said.contains(word), "{}", &said[..said.len().min(2000)]);
    assert_eq!(std::fs::read_dir(server.join("objects/pack")).expect("a folder").count(), 0);
    check::sound(&sandbox, &server);
}

fn nested_trees(made: &mut Made, depth: usize) -> ObjectId {
    let mut tree = made.put(Kind::Tree, b"");
    for _ in 0..depth {
        tree = made.put(Kind::Tree, &[b"40000 a\0", tree.as_slice()].concat());
    }
    tree
}

#[test]
fn trees_as_deep_as_git_goes_are_taken_and_a_hundred_thousand_do_not_overflow_a_stack() {
    let mut made = Made::default();
    let tree = nested_trees(&mut made, 2_000);
    let tip = made.commit(tree, "", "deep\n");
    is_taken(made, "refs/heads/deep", tip);

    let mut made = Made::default();
    let tree = nested_trees(&mut made, 100_000);
    let tip = made.commit(tree, "", "deeper\n");
    let sandbox = Sandbox::new();
    let server = sandbox.bare("ours.git", "sha1");
    let said = receive(&sandbox, &server, &made.request("refs/heads/deeper", tip));
    assert!(said.contains("unpack "), "{said}");
    // Whatever became of it, the next one asks for nothing of it but a list of refs.
    let offered = Who::Packmule.answer(&sandbox, 0, "upload-pack", &server, b"0000");
    assert!(offered.status.success(), "{offered:?}");
}

#[test]
fn ten_thousand_tags_of_tags_are_taken_and_fetched() {
    let mut made = Made::default();
    let (mut tip, mut kind) = (made.plain(), "commit");
    for at in 0..10_000 {
        let text = format!("object {tip}\ntype {kind}\ntag t{at}\ntagger {WHO}\n\nx\n");
        (tip, kind) = (made.put(Kind::Tag, text.as_bytes()), "tag");
    }
    is_taken(made, "refs/tags/deep", tip);
}

#[test]
fn a_commit_with_many_parents_is_taken_and_fetched() {
    let mut made = Made::default();
    let tree = made.put(Kind::Tree, b"");
    let parents: String = (0..25_000).map(|at| format!("parent {}\n", made.commit(tree, "", &format!("{at}\n")))).collect();
    let tip = made.commit(tree, &parents, "octopus\n");
    is_taken(made, "refs/heads/octopus", tip);
}

#[test]
fn a_commit_with_a_million_parents_costs_no_more_than_its_bytes() {
    let mut made = Made::default();
    let parent = made.plain();
    let tip = made.commit(Hash::Sha1.empty_tree(), &format!("parent {parent}\n").repeat(1_000_000), "octopus\n");
    is_taken(made, "refs/heads/octopus", tip);
}

#[test]
fn a_tag_to_what_is_not_there_is_refused() {
    let mut made = Made::default();
    let text = format!("object {}\ntype commit\ntag t\ntagger {WHO}\n\nx\n", "1".repeat(40));
    let tip = made.put(Kind::Tag, text.as_bytes());
    is_refused(made, "refs/tags/t", tip, "missing necessary objects");
}
