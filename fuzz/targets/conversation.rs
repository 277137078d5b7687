//! Any text as one side of a conversation with upload-pack over a small fixed repository: it ends, and nothing panics.
//!
//! The text has the form of `tests/fetch/transcripts`, which are good seeds: of it count the line `protocol: n`, the word `stateless`,
//! and the lines that begin with `> ` (a packet with a line end, or `0000`, `0001`, `0002`), `>= ` (without one) and `>! ` (bytes as
//! they are). `{main~1}` and the like stand for ids. Every conversation is held twice: by git's rules, and by those of `serve`.
#![no_main]

use gix_hash::{Kind as Hash, ObjectId};
use libfuzzer_sys::fuzz_target;
use packmule::base::Cancel;
use packmule::pack::{Deflater, Kind, type_code, write_entry_header};
use packmule::serve::{Defaults, OpenGate, Options, Protocol, Wants, receive_pack, upload_pack};
use packmule::store::{Found, Repositories, Repository, RepositoryName};
use std::sync::OnceLock;

/// The repository, and names for its objects.
struct Fixture {
    repository: Repository,
    names: Vec<(String, ObjectId)>,
    _root: (tempfile::TempDir, Repositories),
}

/// A pack in the making.
#[derive(Default)]
struct Entries {
    bytes: Vec<u8>,
    count: u32,
}

impl Entries {
    fn add(&mut self, kind: Kind, data: &[u8]) -> ObjectId {
        write_entry_header(type_code(kind), data.len() as u64, &mut self.bytes);
        Deflater::new(3).whole(data, &mut self.bytes).expect("memory");
        self.count += 1;
        let mut hasher = gix_hash::hasher(Hash::Sha1);
        hasher.update(format!("{kind} {}\0", data.len()).as_bytes());
        hasher.update(data);
        hasher.try_finalize().expect("no collision")
    }

    fn commit(&mut self, file: (&str, &str), parent: Option<ObjectId>, second: u32) -> [ObjectId; 3] {
        let blob = self.add(Kind::Blob, file.1.as_bytes());
        let tree = self.add(Kind::Tree, &[format!("100644 {}\0", file.0).as_bytes(), blob.as_slice()].concat());
        let parent = parent.map_or_else(String::new, |id| format!("parent {id}\n"));
        let who = format!("A <a@b> {second} +0000");
        let commit = self.add(Kind::Commit, format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\nx\n").as_bytes());
        [commit, tree, blob]
    }

    fn pack(self) -> Vec<u8> {
        let mut pack = [b"PACK\0\0\0\x02".as_slice(), &self.count.to_be_bytes(), &self.bytes].concat();
        let mut hasher = gix_hash::hasher(Hash::Sha1);
        hasher.update(&pack);
        pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
        pack
    }
}

fn pkt(payload: &[u8]) -> Vec<u8> {
    [format!("{:04x}", payload.len() + 4).as_bytes(), payload].concat()
}

fn make() -> Fixture {
    let (mut entries, mut names) = (Entries::default(), vec![]);
    let mut parent = None;
    for (second, name) in ["main~3", "main~2", "main~1", "main"].into_iter().enumerate() {
        let [commit, tree, blob] = entries.commit(("a", &"line\n".repeat(second + 1)), parent, 1_700_000_000 + second as u32);
        names.extend([(name.to_owned(), commit), (format!("{name}:"), tree), (format!("{name}:a"), blob)]);
        parent = Some(commit);
    }
    let id = |names: &[(String, ObjectId)], name: &str| names.iter().find(|known| known.0 == name).expect("it was made").1;
    let (main, fork) = (id(&names, "main"), id(&names, "main~2"));
    let [topic, _, blob] = entries.commit(("t", "topic\n"), Some(fork), 1_700_000_009);
    let tag = entries.add(Kind::Tag, format!("object {fork}\ntype commit\ntag v1\ntagger A <a@b> 1700000001 +0000\n\nx\n").as_bytes());
    let others = [("topic", topic), ("topic~1", fork), ("topic:t", blob), ("v1", tag), ("v1^{}", fork), ("light", fork)];
    names.extend(others.map(|(name, id)| (name.to_owned(), id)));
    let refs = [("heads/main", main), ("heads/topic", topic), ("tags/v1", tag), ("tags/light", fork)];
    let mut input = vec![];
    for (at, (name, id)) in refs.into_iter().enumerate() {
        let words = if at == 0 { "\0report-status" } else { "" };
        input.extend(pkt(format!("{} {id} refs/{name}{words}", ObjectId::null(Hash::Sha1)).as_bytes()));
    }
    input.extend([b"0000".to_vec(), entries.pack()].concat());
    let root = tempfile::tempdir().expect("a folder");
    let repositories = Repositories::open(root.path()).expect("an empty folder");
    let name = RepositoryName::parse("small").expect("a name");
    let staged = repositories.stage(&name, Hash::Sha1).expect("room");
    receive_pack(&staged, &OpenGate, &Options::default(), &input[..], &mut vec![], &Cancel::new()).expect("a good push");
    let Ok(Found::Repository(repository)) = repositories.find(&name) else { panic!("the push made it") };
    Fixture { repository, names, _root: (root, repositories) }
}

/// `{name}` into ids.
fn expand(names: &[(String, ObjectId)], text: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (vec![], 0);
    while at < text.len() {
        let rest = &text[at..];
        let named = names.iter().find(|(name, _)| rest.starts_with(format!("{{{name}}}").as_bytes()));
        match named {
            Some((name, id)) => {
                out.extend(id.to_string().as_bytes());
                at += name.len() + 2;
            }
            None => {
                out.push(rest[0]);
                at += 1;
            }
        }
    }
    out
}

fn has(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

fuzz_target!(|data: &[u8]| {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    let fixture = FIXTURE.get_or_init(make);
    let mut input = vec![];
    for line in data.split(|byte| *byte == b'\n') {
        match line {
            b"> 0000" | b"> 0001" | b"> 0002" => input.extend_from_slice(&line[2..]),
            [b'>', b' ', text @ ..] => input.extend(pkt(&[&expand(&fixture.names, text)[..], b"\n"].concat())),
            [b'>', b'=', b' ', text @ ..] => input.extend(pkt(&expand(&fixture.names, text))),
            [b'>', b'!', b' ', text @ ..] => input.extend(expand(&fixture.names, text)),
            _ => {}
        }
    }
    let protocol = match (has(data, b"protocol: 2"), has(data, b"protocol: 1")) {
        (true, _) => Protocol::V2,
        (false, true) => Protocol::V1,
        (false, false) => Protocol::V0,
    };
    let rules = [(Wants::Git, Defaults::Git), (Wants::ReachableFromVisible, Defaults::Safe { tree_depth_max: 8 })];
    for (wants, defaults) in rules {
        let options = Options { protocol, stateless: has(data, b"stateless"), wants, defaults, ..Options::default() };
        let mut output = vec![];
        // Any outcome will do.
        let _ = upload_pack(&fixture.repository, &OpenGate, &options, &input[..], &mut output, &Cancel::new());
    }
});
