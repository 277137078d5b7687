//! The header of one entry of a pack: its type, inflated size and, for a delta, its base.
//!
//! Source: gitformat-pack, "pack-*.pack files have the following format". A size is a little-endian
//! base-128 number whose first byte holds four bits of it beside the type; the distance of an
//! ofs-delta is big-endian base-128 with one added at each continuation.

use super::Error;
use gix_hash::ObjectId;

/// What an entry's bytes are to be applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing: the entry is a whole object of this type code (1 to 4).
    Whole(u8),
    /// The entry that begins at this offset of the same pack (an ofs-delta).
    Offset(u64),
    /// The object with this id, in this pack or, in a thin one, elsewhere (a ref-delta).
    Id(ObjectId),
}

/// One entry's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// Whole or a delta, and against what.
    pub base: Base,
    /// Bytes of the entry's data once inflated: the object's, or the delta's.
    pub size: u64,
    /// Bytes of the header itself.
    pub len: usize,
}

const OFS_DELTA: u8 = 6;
const REF_DELTA: u8 = 7;
/// Longest size of 64 bits, and longest distance that surely has room in as many.
const SIZE_BYTES_MAX: usize = 10;
const DISTANCE_BYTES_MAX: usize = 8;
/// Longest header: ten bytes of size and a 32-byte id.
pub const HEADER_BYTES_MAX: usize = 10 + 32;

impl EntryHeader {
    /// Read the header of the entry that begins at pack offset `at`, whose bytes begin `bytes`.
    ///
    /// `Ok(None)` when `bytes` end within the header.
    pub fn read(bytes: &[u8], at: u64, hash: gix_hash::Kind) -> Result<Option<Self>, Error> {
        let mut used = 0;
        let mut next = || {
            let byte = bytes.get(used).copied();
            used += 1;
            byte
        };
        let Some(first) = next() else { return Ok(None) };
        let code = (first >> 4) & 7;
        let mut size = u64::from(first & 15);
        let (mut shift, mut byte) = (4u32, first);
        while byte & 0x80 != 0 {
            let Some(more) = next() else { return Ok(None) };
            byte = more;
            let bits = u64::from(byte & 0x7f);
            if shift >= 64 || (bits << shift) >> shift != bits {
                return Err(Error::BadPack(format!("pack has bad object at offset {at}: size overflow")));
            }
            size |= bits << shift;
            shift += 7;
        }
        let base = match code {
            1..=4 => Base::Whole(code),
            OFS_DELTA => {
                let Some(mut byte) = next() else { return Ok(None) };
                let mut distance = u64::from(byte & 0x7f);
                while byte & 0x80 != 0 {
                    let Some(more) = next() else { return Ok(None) };
                    byte = more;
                    distance = distance
                        .checked_add(1)
                        .filter(|d| d.leading_zeros() >= 7)
                        .map(|d| (d << 7) | u64::from(byte & 0x7f))
                        .ok_or_else(|| bad(at, "offset value overflow for delta base object"))?;
                }
                match at.checked_sub(distance) {
                    Some(base) if distance != 0 && base != 0 => Base::Offset(base),
                    _ => return Err(bad(at, "delta base offset is out of bound")),
                }
            }
            REF_DELTA => {
                let Some(id) = bytes.get(used..used + hash.len_in_bytes()) else { return Ok(None) };
                used += id.len();
                Base::Id(ObjectId::from_bytes_or_panic(id))
            }
            code => return Err(bad(at, &format!("unknown object type {code}"))),
        };
        Ok(Some(Self { base, size, len: used }))
    }
}

/// What the first bytes of an entry tell of its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lean {
    /// It is a whole object of this type code (1 to 4).
    Whole(u8),
    /// It is an ofs-delta against the entry that begins at this offset of the pack.
    On(u64),
    /// Neither, or damaged: [`EntryHeader::read`] tells.
    Other,
}

/// What the entry that begins at pack offset `at`, whose bytes begin `bytes`, leans on: all that those need who copy
/// many entries as they lie, in a third of the time of a whole header.
#[inline]
pub(crate) fn lean_of(bytes: &[u8], at: u64) -> Lean {
    let Some(first) = bytes.first() else { return Lean::Other };
    match (first >> 4) & 7 {
        code @ 1..=4 => return Lean::Whole(code),
        OFS_DELTA => {}
        _ => return Lean::Other,
    }
    let Some(size_bytes) = bytes.iter().take(SIZE_BYTES_MAX).position(|byte| byte & 0x80 == 0) else { return Lean::Other };
    let mut rest = bytes[size_bytes + 1..].iter().take(DISTANCE_BYTES_MAX);
    let mut distance = 0u64;
    for byte in &mut rest {
        distance |= u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return match at.checked_sub(distance) {
                Some(base) if distance != 0 && base != 0 => Lean::On(base),
                _ => Lean::Other,
            };
        }
        distance = (distance + 1) << 7;
    }
    Lean::Other
}

fn bad(at: u64, what: &str) -> Error {
    Error::BadPack(format!("pack has bad object at offset {at}: {what}"))
}

/// Append the header of an entry with this type `code` (1 to 4 whole, 6 ofs-delta, 7 ref-delta) and inflated `size`.
pub fn write_entry_header(code: u8, mut size: u64, out: &mut Vec<u8>) {
    let mut byte = (code << 4) | (size & 15) as u8;
    size >>= 4;
    while size != 0 {
        out.push(byte | 0x80);
        byte = (size & 0x7f) as u8;
        size >>= 7;
    }
    out.push(byte);
}

/// Append the `distance` in bytes between an ofs-delta and its base.
pub fn write_ofs_distance(mut distance: u64, out: &mut Vec<u8>) {
    let mut bytes = [0u8; 10];
    let mut at = bytes.len() - 1;
    bytes[at] = (distance & 0x7f) as u8;
    distance >>= 7;
    while distance != 0 {
        distance -= 1;
        at -= 1;
        bytes[at] = 0x80 | (distance & 0x7f) as u8;
        distance >>= 7;
    }
    out.extend_from_slice(&bytes[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use gix_hash::Kind::Sha1;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(code in 1u8..=4, size: u64, at in 1u64 << 40.., distance in 1u64..1 << 39) {
            let mut bytes = vec![];
            write_entry_header(code, size, &mut bytes);
            let whole = EntryHeader::read(&bytes, at, Sha1).expect("valid").expect("whole");
            prop_assert_eq!(whole, EntryHeader { base: Base::Whole(code), size, len: bytes.len() });
            bytes.clear();
            write_entry_header(OFS_DELTA, size, &mut bytes);
            write_ofs_distance(distance, &mut bytes);
            let delta = EntryHeader::read(&bytes, at, Sha1).expect("valid").expect("whole");
            prop_assert_eq!(delta, EntryHeader { base: Base::Offset(at - distance), size, len: bytes.len() });
            for cut in 0..bytes.len() {
                prop_assert_eq!(EntryHeader::read(&bytes[..cut], at, Sha1).expect("valid so far"), None);
            }
        }

        #[test]
        fn what_it_leans_on_is_what_the_header_says(mut bytes in prop::collection::vec(any::<u8>(), 0..40), code in 0u8..8, at in 1u64..1 << 50) {
            if let Some(first) = bytes.first_mut() {
                *first = *first & 0x8f | code << 4;
            }
            let lean = lean_of(&bytes, at);
            match EntryHeader::read(&bytes, at, Sha1) {
                Ok(Some(EntryHeader { base: Base::Offset(base), .. })) => prop_assert!([Lean::On(base), Lean::Other].contains(&lean)),
                Ok(Some(EntryHeader { base: Base::Whole(code), .. })) => prop_assert_eq!(lean, Lean::Whole(code)),
                Ok(Some(EntryHeader { base: Base::Id(_), .. })) => prop_assert_eq!(lean, Lean::Other),
                // The size of a whole entry is not looked at.
                Ok(None) | Err(_) if (1..=4).contains(&code) => {}
                // Nor is whether that of a delta has room in 64 bits.
                Ok(None) => prop_assert_eq!(lean, Lean::Other),
                Err(_) => prop_assert!(lean == Lean::Other || bytes.iter().take_while(|byte| **byte & 0x80 != 0).count() >= 9),
            }
        }

        #[test]
        fn a_near_base_is_told_at_once(size: u64, at in 1u64 << 40.., distance in 1u64..1 << 39) {
            let mut bytes = vec![];
            write_entry_header(OFS_DELTA, size, &mut bytes);
            write_ofs_distance(distance, &mut bytes);
            prop_assert_eq!(lean_of(&bytes, at), Lean::On(at - distance));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at: u64) {
            let _ = (EntryHeader::read(&bytes, at, Sha1), lean_of(&bytes, at));
        }
    }

    #[test]
    fn a_base_outside_the_pack_is_refused() {
        let mut zero = vec![];
        write_entry_header(OFS_DELTA, 5, &mut zero);
        write_ofs_distance(0, &mut zero);
        assert!(EntryHeader::read(&zero, 100, Sha1).is_err());
        let mut before = vec![];
        write_entry_header(OFS_DELTA, 5, &mut before);
        write_ofs_distance(101, &mut before);
        assert!(EntryHeader::read(&before, 100, Sha1).is_err());
        assert!(EntryHeader::read(&[0x50], 100, Sha1).is_err(), "type 5 is reserved");
    }
}
