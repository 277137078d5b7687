//! A pack that came in beside stores that hold other bytes, or the same, under the ids of its objects.

use gix_hash::{Kind as Hash, ObjectId, oid};
use packmule::base::{Cancel, Progress};
use packmule::pack::check::Checks;
use packmule::pack::index::{Incoming, IngestLimits, ingest, settle};
use packmule::pack::{Deflater, Error, Kind, LocalBytes, Location, Objects, PackFile, type_code, write_entry_header};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Loose objects of any bytes, and packs.
#[derive(Default)]
struct Store {
    loose: HashMap<ObjectId, (Kind, Vec<u8>)>,
    packs: Vec<Arc<PackFile>>,
    reads: AtomicUsize,
}

impl Objects for Store {
    fn hash_kind(&self) -> Hash {
        Hash::Sha1
    }
    fn packs(&self) -> &[Arc<PackFile>] {
        &self.packs
    }
    fn locate(&self, id: &oid) -> Result<Option<Location>, Error> {
        if self.loose.contains_key(id) {
            return Ok(Some(Location::Loose(id.to_owned())));
        }
        let find = |(pack, file): (usize, &Arc<PackFile>)| Some(Location::Packed { pack: pack as u32, entry: file.find(id)? });
        Ok(self.packs.iter().enumerate().find_map(find))
    }
    fn read_loose(&self, id: &oid, out: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.loose.get(id).map(|(kind, data)| {
            out.clone_from(data);
            *kind
        }))
    }
}

fn id(kind: Kind, data: &[u8]) -> ObjectId {
    gix_object::compute_hash(Hash::Sha1, kind, data).expect("no collision")
}

fn sealed(count: u32, entries: &[u8]) -> Vec<u8> {
    let mut pack = [&b"PACK\0\0\0\x02"[..], &count.to_be_bytes(), entries].concat();
    let mut hasher = gix_hash::hasher(Hash::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
    pack
}

fn entry(kind: Kind, data: &[u8]) -> Vec<u8> {
    let mut entry = vec![];
    write_entry_header(type_code(kind), data.len() as u64, &mut entry);
    Deflater::new(1).whole(data, &mut entry).expect("into memory");
    entry
}

/// Take `pack` beside `before` and settle it.
fn take(pack: &[u8], before: &Store) -> Result<(), Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let (limits, cancel) = (IngestLimits::default(), Cancel::new());
    let ingested = ingest(&mut &pack[..], folder.path(), before, &limits, &Progress::new(), &cancel)?;
    let name = ingested.name.clone().expect("it has objects");
    let read = |ending: &str| std::fs::read(folder.path().join(format!("{name}.{ending}"))).expect("it was written");
    let data = Box::new(LocalBytes(read("pack").into()));
    let file = PackFile::open(name.clone(), read("idx").into(), data, None, Hash::Sha1).expect("a pack");
    let view = Store { loose: before.loose.clone(), packs: [before.packs.clone(), vec![Arc::new(file)]].concat(), ..Store::default() };
    before.reads.store(0, Ordering::Relaxed);
    let incoming = Incoming { before, view: &view, pack: before.packs.len() as u32, ingested: &ingested };
    settle(&incoming, &Checks::off(), &limits, &cancel)
}

fn verdict(data: &[u8], stored: (Kind, Vec<u8>)) -> Result<(), String> {
    let before = Store { loose: HashMap::from([(id(Kind::Blob, data), stored)]), ..Store::default() };
    let pack = sealed(2, &[entry(Kind::Blob, b"unknown"), entry(Kind::Blob, data)].concat());
    take(&pack, &before).map_err(|err| err.to_string())
}

#[test]
fn other_bytes_under_the_same_id_are_a_collision() {
    let collision = Err(format!("SHA1 COLLISION FOUND WITH {} !", id(Kind::Blob, b"data")));
    assert_eq!(verdict(b"data", (Kind::Blob, b"data".to_vec())), Ok(()));
    for stored in [(Kind::Blob, b"dato".to_vec()), (Kind::Blob, b"data!".to_vec()), (Kind::Tag, b"data".to_vec()), (Kind::Blob, vec![])] {
        assert_eq!(verdict(b"data", stored), collision);
    }
}

#[test]
fn large_objects_are_compared_too() {
    let data: Vec<u8> = (0..20 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut other = data.clone();
    other[19 << 20] ^= 1;
    assert_eq!(verdict(&data, (Kind::Blob, data.clone())), Ok(()));
    let said = verdict(&data, (Kind::Blob, other)).expect_err("one bit differs");
    assert!(said.starts_with("SHA1 COLLISION FOUND WITH "), "{said}");
}

#[test]
fn bases_that_complete_a_thin_pack_are_not_compared_with_themselves() {
    let base = [b'b'; 1000];
    let before = Store { loose: HashMap::from([(id(Kind::Blob, &base), (Kind::Blob, base.to_vec()))]), ..Store::default() };
    // Copy all of the base, add one byte.
    let delta = [0xe8, 7, 0xe9, 7, 0xb0, 0xe8, 3, 1, b'x'];
    let mut data = vec![];
    write_entry_header(7, delta.len() as u64, &mut data);
    data.extend_from_slice(id(Kind::Blob, &base).as_slice());
    Deflater::new(1).whole(&delta, &mut data).expect("into memory");
    take(&sealed(1, &data), &before).expect("a good pack");
    assert_eq!(before.reads.load(Ordering::Relaxed), 0);
}

#[test]
fn what_an_earlier_pack_holds_is_compared_in_its_pack() {
    let pack = sealed(2, &[entry(Kind::Blob, b"one"), entry(Kind::Tree, b"")].concat());
    let folder = tempfile::tempdir().expect("a folder");
    let (limits, progress, cancel) = (IngestLimits::default(), Progress::new(), Cancel::new());
    let name = ingest(&mut &pack[..], folder.path(), &Store::default(), &limits, &progress, &cancel).expect("good").name.expect("objects");
    let read = |ending: &str| std::fs::read(folder.path().join(format!("{name}.{ending}"))).expect("it was written");
    let open = |data: Vec<u8>| {
        let file = PackFile::open(name.clone(), read("idx").into(), Box::new(LocalBytes(data.into())), None, Hash::Sha1).expect("a pack");
        Store { packs: vec![Arc::new(file)], ..Store::default() }
    };
    let again = sealed(2, &[entry(Kind::Blob, b"one"), entry(Kind::Blob, b"two")].concat());
    take(&again, &open(read("pack"))).expect("the same bytes");
    let mut bad = read("pack");
    let changed = entry(Kind::Blob, b"eno");
    bad[12..12 + changed.len()].copy_from_slice(&changed);
    let said = take(&again, &open(bad)).expect_err("other bytes").to_string();
    assert_eq!(said, format!("SHA1 COLLISION FOUND WITH {} !", id(Kind::Blob, b"one")));
}

/// The first blocks of the files of <https://shattered.io> collide: whatever stands behind them, two texts have one name.
const SHATTERED: &str = "\
    255044462d312e330a25e2e3cfd30a0a0a312030206f626a0a3c3c2f57696474682032203020522f4865696768742033203020522f547970652034203020522f\
    537562747970652035203020522f46696c7465722036203020522f436f6c6f7253706163652037203020522f4c656e6774682038203020522f42697473506572\
    436f6d706f6e656e7420383e3e0a73747265616d0affd8fffe00245348412d3120697320646561642121212121852fec092339759c39b1a1c63c4c97e1fffe01\
    7346dc9166b67e118f029ab621b2560ff9ca67cca8c7f85ba84c79030c2b3de218f86db3a90901d5df45c14f26fedfb3dc38e96ac22fe7bd728f0e45bce046d2\
    3c570feb141398bb552ef5a0a82be331fea48037b8b5d71f0e332edf93ac3500eb4ddc0decc1a864790c782c76215660dd309791d06bd0af3f98cda4bc4629b1";

#[test]
fn bytes_made_to_collide_have_no_name() {
    let bytes: Vec<u8> = (0..SHATTERED.len()).step_by(2).map(|at| u8::from_str_radix(&SHATTERED[at..at + 2], 16).expect("hex")).collect();
    // The hasher that names what comes in: behind an object's header the blocks do no harm, at the beginning they are found.
    let name = |head: &[u8]| {
        let mut hasher = gix_hash::hasher(Hash::Sha1);
        hasher.update(head);
        hasher.update(&bytes);
        hasher.try_finalize()
    };
    assert!(name(b"").is_err());
    assert_eq!(name(b"blob 320\0").expect("no collision"), id(Kind::Blob, &bytes));
    assert_eq!(verdict(&bytes, (Kind::Blob, bytes.clone())), Ok(()));
}
