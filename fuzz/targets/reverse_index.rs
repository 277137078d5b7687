//! Any bytes as the reverse index of a pack, and as the index itself. Places that it tells lie within the pack.
#![no_main]

mod sound;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let rev = sound::damage(sound::FIRST_REV, data);
    let index = sound::damage(sound::FIRST_INDEX, data);
    for (index, rev) in [(sound::FIRST_INDEX.to_vec(), Some(rev)), (index.clone(), Some(sound::FIRST_REV.to_vec())), (index, None)] {
        let Ok(pack) = sound::open_pack(index, sound::FIRST_PACK, rev) else { continue };
        for number in sound::numbers(pack.len()) {
            if let Ok(entry) = pack.entry_at(number) {
                assert!(number < pack.len() && entry < pack.len());
            }
            if let Ok(offset) = pack.offset(number) {
                assert!((12..pack.end()).contains(&offset));
                let _ = pack.find(pack.id(number));
                if let Ok(header) = pack.header(offset) {
                    let _ = pack.data_of(offset, &header);
                }
            }
            assert!(pack.offset_at(number).is_ok_and(|offset| offset <= pack.end()) || pack.offset_at(number).is_err());
            assert!(pack.position_of(u64::from(number)).is_ok_and(|at| at < pack.len()) || pack.position_of(u64::from(number)).is_err());
        }
        for id in sound::ids(data) {
            assert!(pack.find(&id).is_none_or(|entry| pack.id(entry) == id));
        }
    }
});
