//! Bytes of a fuzzer into a pack whose entries have the right form, so that what lies behind form is reached.
//!
//! Each entry is asked for by a byte: what kind it is, and whether something about it shall be a lie. Deltas are mostly
//! made to fit their bases: objects of the same pack, before or behind them, or objects that the receiver has.

use gix_hash::{Kind as Hash, ObjectId};
use packmule::pack::{Deflater, Kind, type_code, write_entry_header, write_ofs_distance};

const KINDS: [Kind; 4] = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag];
const ENTRIES_MAX: usize = 64;
/// Bytes of one object that a delta makes.
const MADE_BYTES_MAX: usize = 1 << 14;

/// An object: its type and its bytes.
pub type Made = (Kind, Vec<u8>);

/// A pack as `data` asks for it, with a right trailer. `known` is what the receiver has.
pub fn pack(data: &[u8], known: &[Made]) -> Vec<u8> {
    let mut input = Input(data);
    let lie = input.byte();
    let (mut body, mut entries): (Vec<u8>, Vec<Entry>) = (vec![], vec![]);
    while !input.0.is_empty() && entries.len() < ENTRIES_MAX {
        let at = body.len();
        let made = write_entry(&mut input, known, &entries, &mut body);
        entries.push(Entry { at, made });
    }
    let count = if lie & 0xf0 == 0xf0 { u32::from(lie & 15) } else { entries.len() as u32 };
    with_trailer([&b"PACK\0\0\0\x02"[..], &count.to_be_bytes(), &body].concat())
}

/// `body` and its hash; where that is a collision, `body`.
pub fn with_trailer(body: Vec<u8>) -> Vec<u8> {
    let sum = hash(&[&body]);
    [&body[..], sum.as_ref().map_or(&[], ObjectId::as_slice)].concat()
}

/// The object's id; none for a collision.
pub fn id(kind: Kind, bytes: &[u8]) -> Option<ObjectId> {
    hash(&[format!("{kind} {}\0", bytes.len()).as_bytes(), bytes])
}

fn hash(parts: &[&[u8]]) -> Option<ObjectId> {
    let mut hasher = gix_hash::hasher(Hash::Sha1);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.try_finalize().ok()
}

/// What stands in the pack already.
struct Entry {
    at: usize,
    made: Option<Made>,
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn some(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte()).min(self.0.len());
        self.0.split_off(..count).unwrap_or_default()
    }
}

/// One entry at the end of `body`; what it makes, where that is known.
fn write_entry(input: &mut Input<'_>, known: &[Made], entries: &[Entry], body: &mut Vec<u8>) -> Option<Made> {
    let (asked, at) = (input.byte(), body.len());
    let lie = asked & 0xe0 == 0xe0;
    if asked & 7 < 4 {
        let (kind, bytes) = (KINDS[usize::from(asked & 3)], input.some());
        let size = if lie { u64::from(input.byte()) << (input.byte() & 31) } else { bytes.len() as u64 };
        write_entry_header(type_code(kind), size, body);
        deflate(bytes, body);
        return (!lie).then(|| (kind, bytes.to_vec()));
    } else if asked & 7 == 7 {
        body.extend_from_slice(input.some());
        return None;
    }
    let to = usize::from(input.byte());
    let inside = entries.get(to % (entries.len() + 1));
    let base = match asked & 7 {
        4 | 6 => inside.and_then(|entry| entry.made.clone()),
        _ => known.get(to % (known.len() + 1)).cloned(),
    };
    let (delta, made) = delta(input, base.as_ref().map_or(&[], |(_, bytes)| bytes), lie);
    write_entry_header(if asked & 7 == 4 { 6 } else { 7 }, delta.len() as u64, body);
    if asked & 7 == 4 {
        write_ofs_distance(inside.map_or(to as u64, |entry| (at - entry.at) as u64).max(1), body);
    } else {
        let id = base.as_ref().and_then(|(kind, bytes)| id(*kind, bytes));
        body.extend_from_slice(id.unwrap_or(Hash::Sha1.null()).as_slice());
    }
    deflate(&delta, body);
    Some((base?.0, made?))
}

/// A delta against `base`, and what it makes if it is none of lies.
fn delta(input: &mut Input<'_>, base: &[u8], lie: bool) -> (Vec<u8>, Option<Vec<u8>>) {
    if lie {
        return (input.some().to_vec(), None);
    }
    let (mut ops, mut made) = (vec![], vec![]);
    for _ in 0..input.byte() & 15 {
        let (from, count) = (usize::from(input.byte()) * 3, usize::from(input.byte()));
        let copied = base.get(from..(from + count).min(base.len())).unwrap_or_default();
        if count & 1 == 1 && !copied.is_empty() && made.len() < MADE_BYTES_MAX {
            // gitformat-pack, "Deltified representation": two bytes of offset, one or two of size.
            ops.extend([0x80 | 0x13, from as u8, (from >> 8) as u8, copied.len() as u8]);
            made.extend_from_slice(copied);
        } else if let Some(inserted) = Some(input.some()).map(|bytes| &bytes[..bytes.len().min(127)]).filter(|bytes| !bytes.is_empty()) {
            ops.push(inserted.len() as u8);
            ops.extend_from_slice(inserted);
            made.extend_from_slice(inserted);
        }
    }
    let mut delta = vec![];
    write_size(base.len(), &mut delta);
    write_size(made.len(), &mut delta);
    delta.extend(ops);
    (delta, Some(made))
}

fn write_size(mut size: usize, out: &mut Vec<u8>) {
    while size >= 0x80 {
        out.push(size as u8 | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
}

fn deflate(bytes: &[u8], out: &mut Vec<u8>) {
    Deflater::new(1).whole(bytes, out).expect("into memory");
}
