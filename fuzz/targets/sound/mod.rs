//! The files of a small sound repository, made by stock git, into damaged ones whose checksums hold.
//!
//! Readers look at the checksum of a whole file before they believe it; it is put right here, so that what lies behind it
//! is reached. The repository: twelve commits, one with four parents, one whose parent is far newer than itself, a tag;
//! two packs.
#![allow(dead_code, reason = "each target uses some of it")]

use gix_hash::{Kind, ObjectId};
use packmule::pack::{Error, LocalBytes, PackFile};

pub const HASH: Kind = Kind::Sha1;
pub const FIRST_PACK: &[u8] = include_bytes!("../../seeds/first.pack");
pub const FIRST_INDEX: &[u8] = include_bytes!("../../seeds/first.idx");
pub const FIRST_REV: &[u8] = include_bytes!("../../seeds/first.rev");
pub const FIRST_BITMAP: &[u8] = include_bytes!("../../seeds/first.bitmap");
pub const SECOND_PACK: &[u8] = include_bytes!("../../seeds/second.pack");
pub const SECOND_INDEX: &[u8] = include_bytes!("../../seeds/second.idx");
pub const MULTI_PACK_INDEX: &[u8] = include_bytes!("../../seeds/multi-pack-index");
pub const MULTI_PACK_BITMAP: &[u8] = include_bytes!("../../seeds/multi-pack-index.bitmap");
pub const COMMIT_GRAPH: &[u8] = include_bytes!("../../seeds/commit-graph");

/// `sound` with the edits that `data` asks for, or `data` itself; the trailer holds in both.
pub fn damage(sound: &[u8], data: &[u8]) -> Vec<u8> {
    let Some((&choice, data)) = data.split_first() else { return sound.to_vec() };
    let mut body = match choice & 1 {
        0 => sound[..sound.len() - HASH.len_in_bytes()].to_vec(),
        _ => return with_trailer(data.to_vec()),
    };
    for edit in data.chunks_exact(3) {
        // The top bits of the place say how: most edits change a byte, few cut off, insert or take out.
        let place = u16::from_be_bytes([edit[0], edit[1]]);
        let at = usize::from(place & 0x1fff) % (body.len() + 1);
        match place >> 13 {
            7 => body.truncate(at),
            6 => body.insert(at, edit[2]),
            5 => drop(body.drain(at..body.len().min(at + usize::from(edit[2])))),
            _ => body.iter_mut().skip(at).take(1).for_each(|byte| *byte = edit[2]),
        }
    }
    with_trailer(body)
}

fn with_trailer(mut body: Vec<u8>) -> Vec<u8> {
    let mut hasher = gix_hash::hasher(HASH);
    hasher.update(&body);
    let trailer = hasher.try_finalize().expect("no collision");
    body.extend_from_slice(trailer.as_slice());
    body
}

/// A pack of these bytes.
pub fn open_pack(index: Vec<u8>, pack: &'static [u8], rev: Option<Vec<u8>>) -> Result<PackFile, Error> {
    PackFile::open("pack-damaged".into(), index.into(), Box::new(LocalBytes(pack.into())), rev.map(Into::into), HASH)
}

/// Ids to ask for: what the first bytes say, none, all bits.
pub fn ids(data: &[u8]) -> Vec<ObjectId> {
    let mut first = [0; 20];
    first.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
    vec![ObjectId::Sha1(first), HASH.null(), ObjectId::Sha1([0xff; 20]), Kind::Sha256.null()]
}

/// Numbers to ask for where there are `len`: all within, the next ones, the highest.
pub fn numbers(len: u32) -> impl Iterator<Item = u32> {
    (0..len.saturating_add(3).min(4096)).chain([1 << 31, u32::MAX - 1, u32::MAX])
}
