//! Any bytes as a multi-pack index: what it tells must lie within it.
#![no_main]

mod sound;

use libfuzzer_sys::fuzz_target;
use packmule::pack::MultiPackIndex;

fuzz_target!(|data: &[u8]| {
    let file = sound::damage(sound::MULTI_PACK_INDEX, data);
    let Ok(index) = MultiPackIndex::open(file.into(), sound::HASH) else { return };
    assert!(index.is_sound() && index.checksum().len() == sound::HASH.len_in_bytes());
    assert!(index.pack_names().iter().all(|name| !name.contains('/')));
    assert!(index.order().is_none_or(|order| order.len() == index.len() as usize * 4));
    for rank in 0..index.len() {
        let _ = (index.pack(rank), index.offset(rank));
        assert!(index.find(index.id(rank)).is_none_or(|at| index.id(at) == index.id(rank)));
    }
    for id in sound::ids(data) {
        assert!(index.find(&id).is_none_or(|at| index.id(at) == id));
    }
});
