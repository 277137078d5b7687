//! Packs of the right form, with deltas against each other and against objects that the receiver has: refused or taken. What
//! is taken is whole: it can be taken once more by somebody who has nothing, and gives the same files.
//!
//! With `PACKMULE_FUZZ_GIT=1` stock git judges each pack as well: what we take, it takes, under the same name where nothing is appended. (For a whole
//! corpus at once: `-runs=0`.)
#![no_main]

mod shaped;
mod stock;

use gix_hash::{Kind as Hash, ObjectId, oid};
use libfuzzer_sys::fuzz_target;
use packmule::base::{Cancel, Progress};
use packmule::pack::index::{IngestLimits, ingest};
use packmule::pack::{Error, Kind, Location, NoObjects, Objects, PackFile};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

/// What the receiver has, each in a file of its own.
struct Has(BTreeMap<ObjectId, shaped::Made>);

impl Objects for Has {
    fn hash_kind(&self) -> Hash {
        Hash::Sha1
    }

    fn packs(&self) -> &[Arc<PackFile>] {
        &[]
    }

    fn locate(&self, id: &oid) -> Result<Option<Location>, Error> {
        Ok(self.0.get_key_value(id).map(|(id, _)| Location::Loose(*id)))
    }

    fn read_loose(&self, id: &oid, out: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
        let Some((kind, bytes)) = self.0.get(id) else { return Ok(None) };
        out.clear();
        out.extend_from_slice(bytes);
        Ok(Some(*kind))
    }
}

static KNOWN: LazyLock<Vec<shaped::Made>> = LazyLock::new(|| {
    let lines: String = (0..60).map(|n| format!("line {n} of a file\n")).collect();
    let commit = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nwords\n";
    vec![(Kind::Blob, lines.into_bytes()), (Kind::Commit, commit.into()), (Kind::Tree, vec![]), (Kind::Blob, vec![])]
});
static HAS: LazyLock<Has> =
    LazyLock::new(|| Has(KNOWN.iter().map(|made| (shaped::id(made.0, &made.1).expect("no collision"), made.clone())).collect()));

/// A repository of stock git with the same objects.
static STOCK: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    stock::is_wanted().then(|| {
        let path = tempfile::tempdir().expect("a folder").keep();
        stock::git(&path, &["init", "-q", "--bare", "."], &[]).expect("made");
        for (kind, bytes) in KNOWN.iter() {
            stock::git(&path, &["hash-object", "-w", "--stdin", "-t", &kind.to_string()], bytes).expect("kept");
        }
        path
    })
});

const LIMITS: IngestLimits = IngestLimits {
    pack_bytes_max: 1 << 20,
    objects_max: 10_000,
    object_bytes_max: 1 << 20,
    held_object_bytes_max: 1 << 20,
    inflated_bytes_max: 1 << 24,
    threads: 1,
};

/// The name and the index of what was taken, and the whole pack.
fn take(mut pack: &[u8], bases: &dyn Objects) -> Option<(String, Vec<u8>, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = ingest(&mut pack, folder.path(), bases, &LIMITS, &Progress::new(), &Cancel::new());
    let files = std::fs::read_dir(folder.path()).expect("a folder").count();
    let Some(name) = taken.ok().and_then(|taken| taken.name) else {
        assert_eq!(files, 0);
        return None;
    };
    assert_eq!(files, 3);
    let read = |ending| std::fs::read(folder.path().join(format!("{name}.{ending}"))).expect("is there");
    let (index, pack) = (read("idx"), read("pack"));
    Some((name, index, pack))
}

fuzz_target!(|data: &[u8]| {
    let pack = shaped::pack(data, &KNOWN);
    let taken = take(&pack, &*HAS);
    if let Some((name, index, whole)) = &taken {
        let again = take(whole, &NoObjects(Hash::Sha1)).expect("it is whole");
        assert_eq!((name, index, whole), (&again.0, &again.1, &again.2));
    }
    if let (Some(stock), Some((name, _, whole))) = (&*STOCK, &taken) {
        let said = stock::git(stock, &["index-pack", "--stdin", "--fix-thin"], &pack).expect("git takes it as well");
        // Bases that were appended are deflated by another zlib.
        if *whole == pack {
            assert_eq!(said.split_whitespace().last(), name.strip_prefix("pack-"));
        }
        let packs = stock.join("objects/pack");
        std::fs::remove_dir_all(&packs).and_then(|()| std::fs::create_dir(&packs)).expect("the next pack finds none");
    }
});
