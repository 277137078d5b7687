//! Any bytes as the bitmap of a pack, as that of a multi-pack index, and as the order of its bits.
#![no_main]

mod sound;

use libfuzzer_sys::fuzz_target;
use packmule::pack::{BitmapOwner, BitmapReader, Bitmaps, Error, Location, MultiPackIndex, PackFile};
use std::sync::{Arc, LazyLock};

static PACKS: LazyLock<[Arc<PackFile>; 2]> = LazyLock::new(|| {
    let first = sound::open_pack(sound::FIRST_INDEX.to_vec(), sound::FIRST_PACK, None);
    let second = sound::open_pack(sound::SECOND_INDEX.to_vec(), sound::SECOND_PACK, None);
    [first, second].map(|pack| Arc::new(pack.expect("stock git made it")))
});

/// The multi-pack index as it was made, with its packs by number: names are sorted, and so are these two.
fn owner(order: Option<Vec<u8>>) -> BitmapOwner {
    let index = MultiPackIndex::open(sound::MULTI_PACK_INDEX.into(), sound::HASH).expect("stock git made it");
    let order = order.map(Into::into).or_else(|| index.order()).expect("it was made with bitmaps");
    BitmapOwner::MultiPack { index: Arc::new(index), order, packs: vec![0, 1] }
}

fn open(file: Vec<u8>, owner: BitmapOwner) -> Result<Bitmaps, Error> {
    Bitmaps::open(file.into(), owner, &*PACKS, sound::HASH)
}

fn ask(bitmaps: &Bitmaps, data: &[u8]) {
    for bit in sound::numbers(bitmaps.len()) {
        let Ok(location) = bitmaps.location(bit) else { continue };
        assert!(bit < bitmaps.len());
        assert_eq!(bitmaps.bit(&location).expect("the packs are sound"), Some(bit));
        assert!(bitmaps.of_kind(bitmaps.kind(bit)).get(bit as usize));
        let _ = (bitmaps.id(bit), bitmaps.name_hash(bit));
    }
    for (number, pack) in PACKS.iter().enumerate() {
        for entry in sound::numbers(pack.len()) {
            let _ = bitmaps.bit(&Location::Packed { pack: number as u32, entry });
        }
    }
    let mut reader = BitmapReader::new(bitmaps);
    for row in 0..bitmaps.rows() as u32 {
        if let Ok(bits) = reader.read(row) {
            assert!(bits.count() <= bitmaps.len() as usize);
        }
    }
    assert!(bitmaps.commits().all(|id| bitmaps.row(id).is_some()));
    for id in sound::ids(data) {
        let _ = bitmaps.row(&id);
    }
}

fuzz_target!(|data: &[u8]| {
    // What stock git made must be usable, or this target would reach nothing.
    static SOUND: LazyLock<()> = LazyLock::new(|| {
        for (file, owner) in [(sound::FIRST_BITMAP, BitmapOwner::Pack(0)), (sound::MULTI_PACK_BITMAP, owner(None))] {
            ask(&open(file.to_vec(), owner).expect("stock git made it"), &[]);
        }
    });
    LazyLock::force(&SOUND);
    if let Ok(bitmaps) = open(sound::damage(sound::FIRST_BITMAP, data), BitmapOwner::Pack(0)) {
        ask(&bitmaps, data);
    }
    if let Ok(bitmaps) = open(sound::damage(sound::MULTI_PACK_BITMAP, data), owner(None)) {
        ask(&bitmaps, data);
    }
    let BitmapOwner::MultiPack { order, .. } = owner(None) else { return };
    let mut order = order.to_vec();
    for edit in data.chunks_exact(2).take(8) {
        order.iter_mut().skip(usize::from(edit[0])).take(1).for_each(|byte| *byte = edit[1]);
    }
    if let Ok(bitmaps) = open(sound::MULTI_PACK_BITMAP.to_vec(), owner(Some(order))) {
        ask(&bitmaps, data);
    }
});
