//! Pushes of objects that break no rule of their form, and are out of all proportion: what git takes is taken and can be
//! fetched, in bounded memory; what is too much is refused with a sentence, and nothing of it stays.

use crate::common::pkt::{self, Who};
use crate::common::zlib::deflated_run;
use crate::common::{PACKMULE, Sandbox, check, run, run_with_input};
use gix_hash::{Kind as Hash, ObjectId};
use packmule::pack::{Deflater, Kind, type_code, write_entry_header};
use std::path::Path;

const WHO: &str = "A U Thor <author@example.com> 1112912053 -0700";
/// Address space of the program, stacks and maps included, in KiB.
const MEMORY_KIB: u64 = 3 << 20;
/// Where one object of a hundred megabytes is pushed: it is held once.
const MESSAGE_MEMORY_KIB: u64 = 640 << 10;
/// Where one of a gigabyte is.
const HEADER_MEMORY_KIB: u64 = 1600 << 10;

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

    /// An object of so many times 258 letters behind `head`, which ends with one; its id.
    fn put_run(&mut self, kind: Kind, head: &[u8], times: u64) -> ObjectId {
        let size = self.put_run_unnamed(kind, head, times);
        let mut hasher = gix_hash::hasher(Hash::Sha1);
        hasher.update(format!("{kind} {size}\0").as_bytes());
        hasher.update(head);
        (0..times / 1000).for_each(|_| hasher.update(&[b'k'; 258_000]));
        hasher.update(&vec![b'k'; (times % 1000) as usize * 258]);
        hasher.try_finalize().expect("no collision")
    }

    /// The same; its size.
    fn put_run_unnamed(&mut self, kind: Kind, head: &[u8], times: u64) -> u64 {
        self.count += 1;
        let size = head.len() as u64 + 258 * times;
        write_entry_header(type_code(kind), size, &mut self.entries);
        deflated_run(head, times, &mut self.entries);
        size
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
    receive_within(sandbox, MEMORY_KIB, server, request)
}

fn receive_within(sandbox: &Sandbox, memory_kib: u64, server: &Path, request: &[u8]) -> String {
    let mut command = sandbox.command("sh");
    command.args(["-c", &format!("ulimit -v {memory_kib}; exec timeout 300 \"$@\""), "sh", PACKMULE, "receive-pack"]).arg(server);
    let output = run_with_input(&mut command, request);
    assert!(output.status.code().is_some_and(|code| code < 100 || code == 128), "{output:?}");
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

/// What stands before the message of a commit of the empty tree.
fn headers() -> String {
    format!("tree {}\nauthor {WHO}\ncommitter {WHO}\n", Hash::Sha1.empty_tree())
}

#[test]
fn a_message_of_100_megabytes_is_held_once_and_fetched() {
    let mut made = Made::default();
    made.put(Kind::Tree, b"");
    let tip = made.put_run(Kind::Commit, format!("{}\nk", headers()).as_bytes(), (100 << 20) / 258);
    let sandbox = Sandbox::new();
    let server = sandbox.bare("ours.git", "sha1");
    let said = receive_within(&sandbox, MESSAGE_MEMORY_KIB, &server, &made.request("refs/heads/x", tip));
    assert!(said.contains("ok refs/heads/x\n"), "{said}");
    let clone = sandbox.bare("clone.git", "sha1");
    let upload_pack = format!("--upload-pack=sh -c 'ulimit -v {MESSAGE_MEMORY_KIB}; exec \"$@\"' sh {PACKMULE} upload-pack");
    sandbox.git(&clone, ["fetch", "-q", &upload_pack, &server.to_string_lossy(), "x:x"]);
    assert_eq!(sandbox.git(&clone, ["cat-file", "-s", "x"]), sandbox.git(&server, ["cat-file", "-s", "x"]));
}

#[test]
fn a_header_without_an_end_is_judged_as_git_judges_it() {
    let key = "k".repeat(1 << 20);
    for (what, text) in [
        ("no line ends", key.clone()),
        ("no end behind the others", headers() + &key),
        ("a value without an end", format!("{}key {key}", headers())),
        ("a line of its own, no end of headers", format!("{}{key}\n", headers())),
        ("a line of its own", format!("{}{key} x\n\nmessage\n", headers())),
    ] {
        for checked in ["false", "true"] {
            let mut made = Made::default();
            made.put(Kind::Tree, b"");
            let tip = made.put(Kind::Commit, text.as_bytes());
            let request = made.request("refs/heads/x", tip);
            let sandbox = Sandbox::new();
            let [ours, gits] = [Who::Packmule, Who::Git].map(|who| {
                let server = sandbox.bare(format!("{who:?}.git"), "sha1");
                sandbox.git(&server, ["config", "receive.fsckObjects", checked]);
                let output = who.answer(&sandbox, 0, "receive-pack", &server, &request);
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let verdict = said.split("refs/heads/x").next().and_then(|before| before.get(before.len() - 3..));
                (verdict.expect("a verdict").to_owned(), sandbox.git(&server, ["for-each-ref"]))
            });
            assert_eq!(ours, gits, "{what}, checked: {checked}");
        }
    }
}

#[test]
fn heavy_a_header_of_a_gigabyte_without_an_end_is_held_once_and_refused_where_it_is_checked() {
    let mut made = Made::default();
    made.put(Kind::Tree, b"");
    made.put_run_unnamed(Kind::Commit, format!("{}k", headers()).as_bytes(), (1 << 30) / 258);
    let tip = Hash::Sha1.empty_tree(); // never looked at
    let sandbox = Sandbox::new();
    let server = sandbox.bare("ours.git", "sha1");
    sandbox.git(&server, ["config", "receive.fsckObjects", "true"]);
    let said = receive_within(&sandbox, HEADER_MEMORY_KIB, &server, &made.request("refs/heads/x", tip));
    assert!(said.contains("unpack fsck error in packed object\n") && said.contains("ng refs/heads/x unpacker error"), "{said}");
    assert_eq!(std::fs::read_dir(server.join("objects/pack")).expect("a folder").count(), 0);
    check::sound(&sandbox, &server);
}
