//! Pack data and its companions: bytes, values and the trait [`Objects`], never a repository.
//!
//! | file | turns what into what |
//! |---|---|
//! | `entry` | the header of one stored entry into a value and back |
//! | `delta` | a base and a delta into an object, and a base and an object into a delta: [`BlockIndex`] |
//! | `zlib` | deflated bytes into plain ones and back; the one file that names a zlib crate |
//! | `checksum` | the bytes of a file into the sum at its end |
//! | `chunks` | the table of contents of a companion file into ranges; sorted ids into lookup |
//! | `midx` | a multi-pack index into lookup by id over many packs: [`MultiPackIndex`] |
//! | `ewah`, `bitmap` | a bitmap file into what its commits reach: [`Bitmaps`] |
//! | `commit_graph` | commit-graph files into links and dates of commits: [`CommitGraph`] |
//! | `idx` | a pack's index file into lookup by id and offsets |
//! | `file` | an index and a pack as bytes into [`PackFile`]: lookup by id, entries by position |
//! | `order` | the entries of a pack by offset: [`PackOrder`] |
//! | `spans` | a few offsets into the entries that begin there: [`Span`] |
//! | `objects` | the seam: [`Objects`], what any store of objects answers |
//! | `decode` | locations into whole objects, with a bounded cache: [`Decoder`] |
//! | `object_set`, `found` | which objects go out: [`ObjectSet`]; with what the client has, and hints for deltas: [`Found`] |
//! | `plan`, `stream` | a set into a [`PackPlan`], and that into pack bytes |
//! | `check` | an object's bytes into what git's fsck says of it |
//! | `index` | a stream of pack bytes into a checked pack with its `.idx` and `.rev` |

mod bitmap;
mod bits;
pub mod check;
mod checksum;
mod chunks;
mod commit_graph;
mod decode;
mod delta;
pub(crate) mod entry;
mod error;
mod ewah;
mod file;
mod found;
mod idx;
pub mod index;
mod midx;
mod object_set;
mod objects;
mod order;
mod pieces;
mod plan;
mod spans;
mod stream;
mod zlib;

pub use bitmap::{BitmapOwner, BitmapReader, Bitmaps, Segment};
pub use bits::Bits;
pub(crate) use chunks::checksum_holds;
pub use commit_graph::{CommitGraph, GraphCommit};
pub use decode::{Decoded, Decoder, Object, inflate_entry};
pub use delta::{BlockIndex, Delta, DeltaOp, apply_delta, delta_sizes};
pub use entry::{Base, EntryHeader, write_entry_header, write_ofs_distance};
pub use error::Error;
pub use file::{LocalBytes, PackBytes, PackFile, PackSource};
pub use found::{DeltaHint, DeltaHints, Found, name_hash};
pub use midx::MultiPackIndex;
pub use object_set::ObjectSet;
pub use objects::{Location, NoObjects, Objects};
pub use order::PackOrder;
pub use pieces::WholeEntry;
pub use plan::{DeltaSearch, PackOptions, PackPlan};
pub use spans::Span;
pub use stream::write_pack;
pub use zlib::{Deflater, Inflated, Inflater, RawDeflater};

pub use gix_object::Kind;

/// The number that stands for an object's type in a pack entry (gitformat-pack: "Object types").
pub fn type_code(kind: Kind) -> u8 {
    match kind {
        Kind::Commit => 1,
        Kind::Tree => 2,
        Kind::Blob => 3,
        Kind::Tag => 4,
    }
}

/// A pack that holds one object, and the object's id.
///
/// # Errors
/// As [`Deflater::whole`]; an id that only a collision attack can give.
pub fn pack_of_one(kind: Kind, data: &[u8], hash: gix_hash::Kind) -> Result<(gix_hash::ObjectId, Vec<u8>), Error> {
    let id = gix_object::compute_hash(hash, kind, data).map_err(|err| Error::BadPack(err.to_string()))?;
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
    entry::write_entry_header(type_code(kind), data.len() as u64, &mut pack);
    Deflater::new(1).whole(data, &mut pack)?;
    let mut hasher = gix_hash::hasher(hash);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().map_err(|err| Error::BadPack(err.to_string()))?.as_slice());
    Ok((id, pack))
}

/// The object type that a pack entry's number stands for; deltas and unknown numbers have none.
pub fn kind_of_code(code: u8) -> Option<Kind> {
    match code {
        1 => Some(Kind::Commit),
        2 => Some(Kind::Tree),
        3 => Some(Kind::Blob),
        4 => Some(Kind::Tag),
        _ => None,
    }
}
