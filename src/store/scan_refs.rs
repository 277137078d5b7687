//! Packed and loose refs into one sequence in order of names: read into values, or, for whoever only tells them on, as the
//! text that they stand in.

use super::packed_refs::Record;
use super::ref_files::is_ref_name;
use super::refs::Place;
use super::{Error, RefEntry, Refs};
use bstr::BStr;
use std::cmp::Ordering;
use std::ops::Range;

/// A packed ref as text: its id is sound, its name is a ref's, and what is behind it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefText<'a> {
    /// The id in lower-case hexadecimal, a space, the full name, a newline.
    pub line: &'a [u8],
    /// What an annotated tag finally leads to, in lower-case hexadecimal; `None`: it is no tag object.
    pub peeled: Option<&'a [u8]>,
}

/// One ref on its way to somebody who wants to hear of it.
#[derive(Clone, Copy, Debug)]
pub enum ListedRef<'a> {
    /// It can be told as it stands.
    Text(RefText<'a>),
    /// It needs a look.
    Entry(RefEntry<'a>),
}

/// What a scan makes of each ref.
pub(super) trait Listed<'a>: Copy {
    /// Of a packed one; `None` where it is broken.
    fn from_packed(refs: &'a Refs, record: &Record<'a>) -> Result<Option<Self>, Error>;
    /// Of a loose one.
    fn from_loose(entry: RefEntry<'a>) -> Self;
}

impl<'a> Listed<'a> for RefEntry<'a> {
    fn from_packed(refs: &'a Refs, record: &Record<'a>) -> Result<Option<Self>, Error> {
        let entry = refs.packed_entry(record)?;
        Ok(Some(entry).filter(|entry| is_ref_name(entry.name) && entry.id.is_some_and(|id| !id.is_null())))
    }

    fn from_loose(entry: RefEntry<'a>) -> Self {
        entry
    }
}

impl<'a> Listed<'a> for ListedRef<'a> {
    #[inline]
    fn from_packed(refs: &'a Refs, record: &Record<'a>) -> Result<Option<Self>, Error> {
        let peeled = record.peeled();
        let is_known = peeled.map_or_else(|| refs.packed().knows_peeled(record.name), is_hex_id);
        if is_known && is_hex_id(record.id) && is_ref_name(record.name) {
            return Ok(Some(Self::Text(RefText { line: record.line(), peeled })));
        }
        Ok(RefEntry::from_packed(refs, record)?.map(Self::Entry))
    }

    fn from_loose(entry: RefEntry<'a>) -> Self {
        Self::Entry(entry)
    }
}

/// Whether this is an id as git writes it, and not that of nothing. A repository may have a million.
#[inline]
fn is_hex_id(hex: &[u8]) -> bool {
    // Of fixed length and without a branch, so that many bytes are looked at in one step.
    fn is_id<const N: usize>(hex: &[u8; N]) -> bool {
        let (mut is_hex, mut differs) = (true, 0);
        for byte in hex {
            is_hex &= byte.wrapping_sub(b'0') < 10 || byte.wrapping_sub(b'a') < 6;
            differs |= byte ^ b'0';
        }
        is_hex && differs != 0
    }
    match hex.len() {
        40 => hex.try_into().is_ok_and(is_id::<40>),
        64 => hex.try_into().is_ok_and(is_id::<64>),
        _ => false,
    }
}

/// Goes through the refs whose names begin with a prefix.
pub(super) struct Scan<'a, T> {
    refs: &'a Refs,
    prefix: &'a BStr,
    /// Where the next packed record begins.
    at: usize,
    /// A packed ref that was read to be compared.
    ahead: Option<Found<'a, T>>,
    loose: Range<usize>,
}

#[derive(Clone, Copy)]
struct Found<'a, T> {
    place: Place,
    name: &'a BStr,
    listed: T,
}

/// A record's name, and what was made of it unless it is broken.
type Read<'a, T> = (&'a BStr, Option<Found<'a, T>>);

impl<'a, T: Listed<'a>> Scan<'a, T> {
    /// From the packed record at `at` on, and the `loose` refs of these numbers.
    pub(super) fn new(refs: &'a Refs, prefix: &'a BStr, at: usize, loose: Range<usize>) -> Self {
        Self { refs, prefix, at, ahead: None, loose }
    }

    fn next_packed(&mut self) -> Option<Found<'a, T>> {
        if let Some(ahead) = self.ahead.take() {
            return Some(ahead);
        }
        loop {
            match self.read_packed() {
                Ok(Some((_, Some(found)))) => return Some(found),
                Ok(Some((name, None))) => tracing::warn!(%name, "ignoring a broken ref in packed-refs"),
                end => {
                    self.refs.or_damage(end);
                    self.at = self.refs.packed().bytes().len();
                    return None;
                }
            }
        }
    }

    /// The next record; `None` at the end.
    #[inline]
    fn read_packed(&mut self) -> Result<Option<Read<'a, T>>, Error> {
        let place = Place::Packed(self.at);
        let record = self.refs.packed().record(self.at)?;
        let Some(record) = record.filter(|record| record.name.starts_with(self.prefix)) else { return Ok(None) };
        self.at = record.end;
        let listed = T::from_packed(self.refs, &record)?;
        Ok(Some((record.name, listed.map(|listed| Found { place, name: record.name, listed }))))
    }

    fn next_loose(&mut self) -> Option<(Place, T)> {
        let at = self.loose.next()?;
        self.refs.loose(at).1.map(|entry| (Place::Loose(at), T::from_loose(entry)))
    }
}

impl<'a, T: Listed<'a>> Iterator for Scan<'a, T> {
    type Item = (Place, T);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.loose.is_empty() {
            let name = self.refs.loose(self.loose.start).0;
            if let Some(packed) = self.next_packed() {
                match packed.name.cmp(name) {
                    Ordering::Less => return Some((packed.place, packed.listed)),
                    Ordering::Equal => {}
                    Ordering::Greater => self.ahead = Some(packed),
                }
            }
            // A broken one stands for nothing, and so does a packed one behind it.
            if let Some(found) = self.next_loose() {
                return Some(found);
            }
        }
        self.next_packed().map(|packed| (packed.place, packed.listed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hex_id_is_one_that_can_be_read_and_is_not_null(hex in "[0-9a-f]{39}[0-9a-gF]|0{40}|[0-9a-f]{64}|[0-9a-f]{38,42}|[ -~]{40}") {
            let is_id = gix_hash::ObjectId::from_hex(hex.as_bytes()).is_ok_and(|id| !id.is_null()) && !hex.contains(|c: char| c.is_ascii_uppercase());
            prop_assert_eq!(is_hex_id(hex.as_bytes()), is_id);
        }
    }
}
