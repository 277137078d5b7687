//! Objects made at random and mutated, through our checks and through stock `git fsck`: the same messages in the same words
//! and severities, both when strict and when not.
//!
//! One run of git looks at hundreds of objects: they are packed by git without a check. What git cannot read as a commit
//! or a tag at all, it says no message about; ours must refuse it all the same.

use crate::common::{HASHES, Sandbox, run, run_with_input};
use gix_hash::{Kind as Hash, ObjectId};
use packmule::base::{Cancel, Progress};
use packmule::pack::check::{Checks, Meant, RuleError, Rules};
use packmule::pack::index::{IngestLimits, ingest_checked};
use packmule::pack::{Deflater, Error, Kind, NoObjects, type_code, write_entry_header, write_ofs_distance};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Objects = BTreeMap<ObjectId, (Kind, Vec<u8>)>;
/// Per object: `error` or `warning`, and the message.
type Said = BTreeMap<ObjectId, BTreeSet<(&'static str, String)>>;

const WHO: &str = "A U Thor <author@example.com> 1112912053 -0700";

fn kind_of(hash: &str) -> Hash {
    if hash == "sha1" { Hash::Sha1 } else { Hash::Sha256 }
}

fn put(objects: &mut Objects, hash: Hash, kind: Kind, bytes: Vec<u8>) -> ObjectId {
    let id = gix_object::compute_hash(hash, kind, &bytes).expect("no collision");
    objects.insert(id, (kind, bytes));
    id
}

fn pack(objects: &Objects, hash: Hash) -> Vec<u8> {
    let mut pack = [&b"PACK\0\0\0\x02"[..], &(objects.len() as u32).to_be_bytes()].concat();
    for (kind, bytes) in objects.values() {
        write_entry_header(type_code(*kind), bytes.len() as u64, &mut pack);
        Deflater::new(1).whole(bytes, &mut pack).expect("into memory");
    }
    let mut hasher = gix_hash::hasher(hash);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
    pack
}

/// What git says of each object, and which it could not read.
fn git_says(objects: &Objects, hash: &str, strict: bool) -> (Said, BTreeSet<ObjectId>) {
    let sandbox = Sandbox::new();
    let repository = sandbox.bare("r.git", hash);
    let mut index = sandbox.git_command(&repository, ["index-pack", "--stdin"]);
    let indexed = run_with_input(&mut index, &pack(objects, kind_of(hash)));
    assert!(indexed.status.success(), "{}", String::from_utf8_lossy(&indexed.stderr));
    let strict: &[&str] = if strict { &["--strict"] } else { &[] };
    let output = run(&mut sandbox.git_command(&repository, [&["fsck", "--no-dangling", "--no-progress"], strict].concat()));
    let (mut said, mut unread) = (Said::new(), BTreeSet::new());
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        let id = |text: &str| ObjectId::from_hex(text.as_bytes()).ok();
        if let Some((severity, rest)) = line.split_once(" in ").filter(|(severity, _)| ["error", "warning"].contains(severity))
            && let Some((object, message)) = rest.split_once(": ")
            && let Some(id) = object.split(' ').nth(1).and_then(id)
        {
            let severity = if severity == "error" { "error" } else { "warning" };
            // What is said of links is not said of objects.
            if message.contains(": ") {
                said.entry(id).or_default().insert((severity, without_quote(message)));
            }
        } else if let Some(rest) = line.strip_prefix("error: ")
            && rest.contains("could not be parsed") | rest.contains("object corrupt or missing")
            && let Some(id) = rest.split(':').next().and_then(id)
        {
            unread.insert(id);
        }
    }
    (said, unread)
}

/// What is quoted from an object may hold line ends and control characters, which git prints as they are.
fn without_quote(message: &str) -> String {
    let quotes = message.starts_with("badTagName") || message.contains("disallowed");
    message.split(": ").take(if quotes { 2 } else { usize::MAX }).collect::<Vec<_>>().join(": ")
}

fn split(report: &str) -> (ObjectId, String) {
    let (object, message) = report.split_once(": ").expect("an object and a message");
    (ObjectId::from_hex(object.strip_prefix("object ").expect("an object").as_bytes()).expect("an id"), without_quote(message))
}

/// What our checks say of each object, and which they could not read.
fn we_say(objects: &Objects, rules: Rules) -> (Said, BTreeSet<ObjectId>) {
    let checks = Checks::by(rules);
    let (mut said, mut unread) = (Said::new(), BTreeSet::new());
    let mut take = |outcome: Result<(), Error>, id: ObjectId| {
        match outcome {
            Ok(()) => {}
            Err(Error::BadObject { reports, .. }) => reports.iter().for_each(|report| {
                let (id, message) = split(report);
                said.entry(id).or_default().insert(("error", message));
            }),
            Err(Error::BadPack(_)) => drop(unread.insert(id)),
            Err(other) => panic!("{other}"),
        }
        for warning in checks.take_warnings().0 {
            let (id, message) = split(&warning);
            said.entry(id).or_default().insert(("warning", message));
        }
    };
    for (id, (kind, bytes)) in objects {
        take(checks.object(*kind, id, bytes), *id);
    }
    for (id, is_modules, is_attributes) in checks.take_meanings() {
        let what = match objects.get(&id) {
            Some((Kind::Blob, bytes)) => Meant::Bytes(bytes),
            Some(_) => Meant::NoBlob,
            None => Meant::Missing,
        };
        take(checks.blob(&id, is_modules, is_attributes, what), id);
    }
    (said, unread)
}

/// `more` is what git would have to say beside what it does.
fn compare(objects: &Objects, hash: &str, more: &dyn Fn(bool) -> Said) {
    for (strict, rules) in [(false, Rules::usual()), (true, Rules::strict())] {
        let (mut git, git_unread) = git_says(objects, hash, strict);
        more(strict).into_iter().filter(|(_, said)| !said.is_empty()).for_each(|(id, said)| git.entry(id).or_default().extend(said));
        let (ours, ours_unread) = we_say(objects, rules);
        for (id, (kind, bytes)) in objects {
            let (git, ours) = (git.get(id), ours.get(id));
            let shown = || format!("strict: {strict}, {kind} {id}\n{}", bytes.escape_ascii());
            if git_unread.contains(id) && *kind == Kind::Blob {
                // An entry takes it for a tree, and git does not look at it any more.
            } else if git_unread.contains(id) {
                let refused = ours_unread.contains(id) || ours.is_some_and(|said| said.iter().any(|(severity, _)| *severity == "error"));
                assert!(refused, "git cannot read it; {}", shown());
            } else {
                assert!(!ours_unread.contains(id), "git can read it; {}", shown());
                assert_eq!(ours, git, "{}", shown());
            }
        }
        let missing =
            |said: &Said| said.iter().filter(|(id, _)| !objects.contains_key(*id)).map(|(id, said)| (*id, said.clone())).collect();
        let (git, ours): (Said, Said) = (missing(&git), missing(&ours));
        assert_eq!(ours, git, "of objects that are not there");
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    /// Put a word in place of some bytes.
    Word(u16, u8, u8),
    /// Put a byte in place of one.
    Byte(u16, u8),
    /// Take bytes out.
    Cut(u16, u8),
    /// Say a line twice.
    Twice(u16),
}

/// What may make a difference in commits and tags.
const WORDS: [&str; 34] = [
    "\n",
    "\n\n",
    "\0",
    " ",
    "\t",
    "<",
    ">",
    "> ",
    " <",
    "tree ",
    "parent ",
    "author ",
    "committer ",
    "object ",
    "type ",
    "tag ",
    "tagger ",
    "blob",
    "commit",
    "0",
    "00",
    "1",
    "9223372036854775808",
    "99999999999999999999999",
    "+0000",
    "-",
    "+00a0",
    " +0100\n",
    "4b825dc642cb6eb9",
    "encoding x\n",
    "a..b",
    "x.lock",
    "~",
    "@{",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<u16>(), 0u8..4, any::<u8>()).prop_map(|(at, len, word)| Mutation::Word(at, len, word)),
        (any::<u16>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        (any::<u16>(), 1u8..20).prop_map(|(at, len)| Mutation::Cut(at, len)),
        any::<u16>().prop_map(Mutation::Twice),
    ]
}

fn mutate(text: &mut Vec<u8>, mutation: &Mutation) {
    let place = |at: u16, text: &Vec<u8>| usize::from(at) % text.len().max(1);
    match *mutation {
        Mutation::Word(at, len, word) => {
            let at = place(at, text).min(text.len());
            let end = text.len().min(at + usize::from(len));
            text.splice(at..end, WORDS[usize::from(word) % WORDS.len()].bytes());
        }
        Mutation::Byte(at, byte) => {
            let at = place(at, text);
            if let Some(there) = text.get_mut(at) {
                *there = byte;
            }
        }
        Mutation::Cut(at, len) => {
            let at = place(at, text);
            let end = text.len().min(at + usize::from(len));
            text.drain(at..end);
        }
        Mutation::Twice(at) => {
            let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            if let Some(line) = lines.get(place(at, text) % lines.len().max(1)) {
                let start = lines.iter().take_while(|other| *other != line).map(Vec::len).sum::<usize>();
                text.splice(start..start, line.clone());
            }
        }
    }
}

/// An id that no other object names: what two take for different types, git cannot read.
fn link(hash: &str, at: usize, which: u32) -> String {
    let width = kind_of(hash).len_in_hex();
    format!("{:0>width$x}", (at as u64 + 1) << 8 | u64::from(which))
}

fn mutations() -> impl Strategy<Value = Vec<Vec<Mutation>>> {
    prop::collection::vec(prop::collection::vec(mutation(), 0..3), 60..150)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::with_cases(6) })]

    #[test]
    fn mutated_commits_are_judged_as_git_judges_them(all in mutations(), hash in prop::sample::select(&HASHES[..])) {
        let mut objects = Objects::new();
        for (at, mutations) in all.iter().enumerate() {
            let (tree, parent) = (link(hash, at, 1), link(hash, at, 2));
            let mut text = format!("tree {tree}\nparent {parent}\nauthor {WHO}\ncommitter {WHO}\nencoding x\n\n{at}\n").into_bytes();
            mutations.iter().for_each(|mutation| mutate(&mut text, mutation));
            put(&mut objects, kind_of(hash), Kind::Commit, text);
        }
        compare(&objects, hash, &|_| Said::new());
    }

    #[test]
    fn mutated_tags_are_judged_as_git_judges_them(all in mutations(), hash in prop::sample::select(&HASHES[..])) {
        let mut objects = Objects::new();
        for (at, mutations) in all.iter().enumerate() {
            let mut text = format!("object {}\ntype tree\ntag v1.{at}\ntagger {WHO}\n\ntext\n", link(hash, at, 1)).into_bytes();
            mutations.iter().for_each(|mutation| mutate(&mut text, mutation));
            put(&mut objects, kind_of(hash), Kind::Tag, text);
        }
        compare(&objects, hash, &|_| Said::new());
    }
}

const MODES: [&str; 14] = [
    "100644", "100644", "100644", "100755", "120000", "120000", "40000", "160000", "040000", "100664", "0100644", "1234567", "777", "40755",
];
const NAMES: [&str; 60] = [
    "a",
    "a.b",
    "a.b.c",
    "a-",
    "a0",
    "ab",
    "b",
    "foo",
    "foo.bar",
    "foo.bar.baz",
    ".",
    "..",
    "...",
    "x/y",
    "/",
    ".git",
    ".GIT",
    "git~1",
    "GIT~1 .",
    ".git ",
    ".git.",
    ".git::$INDEX_ALLOCATION",
    ".git:",
    ".gitx",
    "git~2",
    ".g\u{200c}it",
    "\u{feff}.git",
    ".gi\u{206f}t/x",
    "a\\.git",
    "a\\git~1\\b",
    ".git\\x",
    "\\",
    ".gitmodules",
    ".GITMODULES",
    ".gitmodules ",
    "gitmod~1",
    "GITMOD~4",
    "gitmod~5",
    "gi7eba~1",
    "gi7eb~12",
    "~1000000",
    "~0100000",
    ".gitmod\u{200d}ules",
    "x\\.gitmodules",
    ".gitmodules:$DATA",
    ".gitmodules/x",
    ".gitattributes",
    "gi7d29~1",
    "gitatt~2",
    ".GitAttributes.",
    ".gitignore",
    "gi250a~9",
    "GITIGN~1",
    ".mailmap",
    "maba30~1",
    "mailma~3",
    ".mail\u{200c}map",
    "gi7eba~1x",
    "g",
    "m",
];
/// Lines of `.gitmodules`, good and bad.
const MODULES: [&str; 52] = [
    "[submodule \"a\"]\n",
    "[submodule \"..\"]\n",
    "[submodule \"a/../b\"]\n",
    "[submodule \"a\\\\..\"]\n",
    "[submodule \"\"]\n",
    "[submodule.x]\n",
    "[Submodule \"a.b\"]\n",
    "[submodule]\n",
    "[other \"..\"]\n",
    "[submodule \"a\" ]\n",
    "[submodule\n\"a\"]\n",
    "[submodule \"a]\n",
    "[]\n",
    "[ \"x\"]\n",
    "\tpath = a\n",
    "\tpath = -a\n",
    "path=-\n",
    "\tpath\n",
    "\tpath = \"-q\"\n",
    "\tPath = -a\n",
    "\turl = https://example.com/a\n",
    "\turl = -u\n",
    "\turl = ../a\n",
    "\turl = ../%0aa\n",
    "\turl = ..//h\n",
    "\turl = ./../:x\n",
    "\turl = ../a\\nb\n",
    "\turl = git://h/%0a\n",
    "\turl = ssh://h/%0a\n",
    "\turl = https://h/%0a\n",
    "\turl = https://h/%0A/../x\n",
    "\turl = https:///x\n",
    "\turl = http::x\n",
    "\turl = http::https://h/%0a/a\n",
    "\turl = https://h/../x\n",
    "\turl = https://h:0/\n",
    "\turl = https://h:65536/\n",
    "\turl = https://h:99/%zz\n",
    "\turl = https://u%0a@h/\n",
    "\turl = ftp://[::1]:21/?%0a\n",
    "\turl = .\\\\a%0a\n",
    "\turl = \"a # b\" # c\n",
    "\turl = a \\\n b ; c\n",
    "\turl = a\\x\n",
    "\tupdate = !cmd\n",
    "\tupdate = merge\n",
    "\tupdate = \"!\"\n",
    "# comment [\n",
    "; x\n",
    "\r\n",
    "key\r\n",
    "9 = 1\n",
];

#[derive(Clone, Debug)]
struct Tree {
    entries: Vec<(u8, u8)>,
    is_sorted: bool,
    is_null: bool,
    /// For each blob with a meaning: lines.
    lines: Vec<u8>,
    raw: Vec<(u16, u8)>,
    ending: u8,
}

fn trees() -> impl Strategy<Value = Vec<Tree>> {
    let tree = (
        prop::collection::vec((any::<u8>(), any::<u8>()), 0..7),
        any::<bool>(),
        prop::bool::weighted(0.1),
        prop::collection::vec(any::<u8>(), 0..6),
        prop_oneof![5 => Just(vec![]), 1 => prop::collection::vec((any::<u16>(), any::<u8>()), 1..3)],
        any::<u8>(),
    );
    let tree = tree.prop_map(|(entries, is_sorted, is_null, lines, raw, ending)| Tree { entries, is_sorted, is_null, lines, raw, ending });
    prop::collection::vec(tree, 40..120)
}

/// The tree's bytes; each of its entries leads to a blob of its own, which may be anything. Returns the blobs that git reads
/// otherwise from a file; with `plain`, they say to git in memory what they would in a file.
fn plant(tree: &Tree, at: usize, objects: &mut Objects, hash: Hash, plain: bool) -> Vec<ObjectId> {
    let mut special = vec![];
    let mut entries: Vec<(&str, &str)> = tree
        .entries
        .iter()
        .map(|(mode, name)| (MODES[usize::from(*mode) % MODES.len()], NAMES[usize::from(*name) % NAMES.len()]))
        .collect();
    if tree.is_sorted {
        entries.sort_by_key(|(mode, name)| if *mode == "40000" { format!("{name}/") } else { (*name).to_owned() });
        entries.dedup();
    }
    let mut bytes = vec![];
    for (number, (mode, name)) in entries.iter().enumerate() {
        let mut text: Vec<u8> = tree.lines.iter().flat_map(|line| MODULES[usize::from(*line) % MODULES.len()].bytes()).collect();
        text.extend_from_slice(format!("# {at} {number}").as_bytes());
        match tree.ending {
            0..20 => text.extend_from_slice(format!("\n{}", "l".repeat(2040 + usize::from(tree.ending))).as_bytes()),
            20..30 if !plain => drop(text.splice(..0, *b"\xef\xbb\xbf")),
            30..40 => drop(text.splice(..0, *b"\xef\xbbx")),
            40..50 => text.truncate(text.len() / 2),
            50..55 => text.insert(text.len() / 2, 0),
            55..60 => text.insert(text.len() / 2, if plain { 0xfe } else { 0xff }),
            60..70 => text.splice(..0, [b'n'; 5000]).for_each(drop),
            _ => {}
        }
        let kind = if (70..80).contains(&tree.ending) { Kind::Tag } else { Kind::Blob };
        let id = match tree.ending {
            80..90 => gix_object::compute_hash(hash, Kind::Blob, &text).expect("no collision"),
            _ if tree.is_null => hash.null(),
            _ => put(objects, hash, kind, text),
        };
        if matches!(tree.ending, 20..30 | 55..60) && !tree.is_null {
            special.push(id);
        }
        bytes.extend_from_slice(&[mode.as_bytes(), b" ", name.as_bytes(), &[0], id.as_slice()].concat());
    }
    for (at, byte) in &tree.raw {
        let at = usize::from(*at) % bytes.len().max(1);
        if byte % 3 == 0 {
            bytes.truncate(at);
        } else if let Some(there) = bytes.get_mut(at) {
            *there = *byte;
        }
    }
    put(objects, hash, Kind::Tree, bytes);
    special
}

/// What git says of the plain form of each of `special` beside the name of the other, but for what is said of its syntax.
fn said_of_plain(trees: &[Tree], hash: &str, strict: bool, special: &[ObjectId]) -> Said {
    let mut objects = Objects::new();
    let plant = |(at, tree)| plant(tree, at, &mut objects, kind_of(hash), true);
    let plain: Vec<ObjectId> = trees.iter().enumerate().flat_map(plant).collect();
    assert_eq!(plain.len(), special.len());
    let (mut said, _) = git_says(&objects, hash, strict);
    let mut of = |plain: &ObjectId| {
        said.remove(plain).into_iter().flatten().filter(|(_, message)| !message.starts_with("gitmodulesParse")).collect()
    };
    special.iter().zip(&plain).map(|(id, plain)| (*id, of(plain))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::with_cases(10) })]

    #[test]
    fn trees_and_the_files_that_they_give_a_meaning_to_are_judged_as_git_judges_them(
        trees in trees(),
        hash in prop::sample::select(&HASHES[..]),
    ) {
        let mut objects = Objects::new();
        let plant = |(at, tree)| plant(tree, at, &mut objects, kind_of(hash), false);
        let special: Vec<ObjectId> = trees.iter().enumerate().flat_map(plant).collect();
        compare(&objects, hash, &|strict| said_of_plain(&trees, hash, strict, &special));
    }
}

#[test]
fn every_message_that_git_can_be_told_about_is_known() {
    let sandbox = Sandbox::new();
    let listed = sandbox.git(&sandbox.home(), ["help", "--config"]);
    let ids: Vec<&str> =
        listed.lines().filter_map(|line| line.strip_prefix("receive.fsck.")).filter(|id| !id.contains(['<', '*'])).collect();
    assert!(ids.len() > 50, "{ids:?}");
    for id in ids.iter().filter(|id| **id != "skipList") {
        assert_eq!(Rules::check(id, "warn"), Ok(()), "{id}");
    }
    assert_eq!(Rules::check("noSuchThing", "warn"), Err(RuleError::UnknownMessage("nosuchthing".to_owned())));
}

/// What the ingestion of `pack` says of its objects.
fn taken(pack: &[u8], limits: &IngestLimits) -> Result<(), Error> {
    let (folder, checks) = (tempfile::tempdir().expect("a folder"), Checks::by(Rules::usual()));
    let taken = ingest_checked(&mut &*pack, folder.path(), &NoObjects(Hash::Sha1), limits, &checks, &Progress::new(), &Cancel::new());
    if taken.is_err() {
        assert_eq!(folder.path().read_dir().expect("a folder").count(), 0, "nothing stays");
    }
    taken.map(|_| ())
}

fn said(outcome: Result<(), Error>) -> String {
    outcome.expect_err("refused").to_string()
}

#[test]
fn what_a_delta_makes_is_checked_too() {
    let id = Hash::Sha1.empty_tree();
    let good = format!("tree {id}\nauthor {WHO}\ncommitter {WHO}\n\nx\n").into_bytes();
    let bad = [&good[..46], b"autor", &good[46 + 6..]].concat();
    let sizes = [good.len() as u8 & 0x7f | 0x80, (good.len() >> 7) as u8, bad.len() as u8 & 0x7f | 0x80, (bad.len() >> 7) as u8];
    let delta = [&sizes[..], &[0x90, 46, 5], b"autor", &[0x91, 52, (good.len() - 52) as u8]].concat();
    let mut pack = [&b"PACK\0\0\0\x02"[..], &2u32.to_be_bytes()].concat();
    write_entry_header(1, good.len() as u64, &mut pack);
    Deflater::new(1).whole(&good, &mut pack).expect("into memory");
    let distance = pack.len() as u64 - 12;
    write_entry_header(6, delta.len() as u64, &mut pack);
    write_ofs_distance(distance, &mut pack);
    Deflater::new(1).whole(&delta, &mut pack).expect("into memory");
    let mut hasher = gix_hash::hasher(Hash::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
    let bad = gix_object::compute_hash(Hash::Sha1, Kind::Commit, &bad).expect("no collision");
    let wanted = format!("fsck error in packed object: object {bad}: missingAuthor: invalid format - expected 'author' line");
    assert_eq!(said(taken(&pack, &IngestLimits::default())), wanted);
}

#[test]
fn large_commits_and_trees_are_checked_and_larger_ones_are_refused() {
    let commit = |who: &str, bytes: usize| {
        let mut objects = Objects::new();
        let text = format!("tree {}\nauthor {who}\ncommitter {WHO}\n\n{}\n", Hash::Sha1.empty_tree(), "x".repeat(bytes));
        put(&mut objects, Hash::Sha1, Kind::Commit, text.into_bytes());
        pack(&objects, Hash::Sha1)
    };
    let limits = IngestLimits { held_object_bytes_max: 7 << 20, ..IngestLimits::default() };
    for bytes in [1, 300 << 10, 5 << 20] {
        taken(&commit(WHO, bytes), &limits).expect("a good commit");
        assert!(said(taken(&commit("A U Thor", bytes), &limits)).contains("missingEmail"), "{bytes}");
    }
    let limit = "size in bytes of a commit, tree or tag exceeds the limit of 7340032";
    assert_eq!(said(taken(&commit(WHO, 8 << 20), &limits)), limit);
    let names: Vec<u8> = (0..200_000).flat_map(|at| [format!("100644 f{at:06}").as_bytes(), &[0], &[7; 20]].concat()).collect();
    for (bytes, wanted) in [(names.clone(), None), ([&names[..], &names[names.len() - 35..]].concat(), Some("duplicateEntries"))] {
        let mut objects = Objects::new();
        put(&mut objects, Hash::Sha1, Kind::Tree, bytes);
        let outcome = taken(&pack(&objects, Hash::Sha1), &limits);
        match wanted {
            None => outcome.expect("a good tree"),
            Some(wanted) => assert!(said(outcome).contains(wanted)),
        }
    }
}
