//! Packed and loose refs into one sequence in order of names.

use super::ref_files::is_ref_name;
use super::refs::Place;
use super::{RefEntry, Refs};
use bstr::BStr;
use std::cmp::Ordering;
use std::ops::Range;

/// Goes through the refs whose names begin with a prefix.
pub(super) struct Scan<'a> {
    refs: &'a Refs,
    prefix: &'a BStr,
    /// Where the next packed record begins.
    at: usize,
    /// A packed ref that was read to be compared.
    ahead: Option<(Place, RefEntry<'a>)>,
    loose: Range<usize>,
}

impl<'a> Scan<'a> {
    /// From the packed record at `at` on, and the `loose` refs of these numbers.
    pub(super) fn new(refs: &'a Refs, prefix: &'a BStr, at: usize, loose: Range<usize>) -> Self {
        Self { refs, prefix, at, ahead: None, loose }
    }

    fn next_packed(&mut self) -> Option<(Place, RefEntry<'a>)> {
        if let Some(ahead) = self.ahead.take() {
            return Some(ahead);
        }
        let packed = self.refs.packed();
        loop {
            let at = self.at;
            let record = self.refs.or_damage(packed.record(at)).flatten().filter(|record| record.name.starts_with(self.prefix));
            let entry = record.and_then(|record| {
                self.at = record.end;
                self.refs.or_damage(self.refs.packed_entry(&record))
            });
            let Some(entry) = entry else {
                self.at = packed.bytes().len();
                return None;
            };
            if is_ref_name(entry.name) && entry.id.is_some_and(|id| !id.is_null()) {
                return Some((Place::Packed(at), entry));
            }
            tracing::warn!(name = %entry.name, "ignoring a broken ref in packed-refs");
        }
    }

    fn next_loose(&mut self) -> Option<(Place, RefEntry<'a>)> {
        let at = self.loose.next()?;
        self.refs.loose(at).1.map(|entry| (Place::Loose(at), entry))
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = (Place, RefEntry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.loose.is_empty() {
            let name = self.refs.loose(self.loose.start).0;
            if let Some(packed) = self.next_packed() {
                match packed.1.name.cmp(name) {
                    Ordering::Less => return Some(packed),
                    Ordering::Equal => {}
                    Ordering::Greater => self.ahead = Some(packed),
                }
            }
            // A broken one stands for nothing, and so does a packed one behind it.
            if let Some(found) = self.next_loose() {
                return Some(found);
            }
        }
        self.next_packed()
    }
}
