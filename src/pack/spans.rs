//! Offsets within a pack into the entries that begin there and where these end, for a few of them.
//!
//! With the order of the pack at hand, each is looked up in it. Without any, one pass over the offsets of the index
//! answers all: sorting them takes twenty times as long for a pack of 700,000. An offset is only compared where it may
//! matter: a bit for each small piece of the pack tells whether an entry that is asked for may end there.

use super::{Bits, EntryHeader, Error, PackFile};

/// What is asked of one offset, and the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub offset: u64,
    /// Bytes within which it must end; 0: nobody asks.
    reach: u64,
    /// The entry that begins there.
    pub entry: Option<u32>,
    /// Where the next entry, or the trailer, begins; nothing sensible when nobody asked.
    pub end: u64,
}

/// Pieces of a pack that have a bit each, as a power of two.
const PIECES_LOG: u32 = 16;

impl Span {
    /// Ask which entry begins at `offset`, where `header` is its header, and where it ends.
    pub fn of_entry(offset: u64, header: &EntryHeader) -> Self {
        Self { offset, reach: PackFile::stream_bytes_max(header.size).saturating_add(header.len as u64), entry: None, end: 0 }
    }

    /// Ask which entry begins at `offset`.
    pub fn beginning_at(offset: u64) -> Self {
        Self { offset, reach: 0, entry: None, end: 0 }
    }
}

impl PackFile {
    /// Answer `spans`, which come back in order of offsets, each once; an offset at which no entry begins is an error.
    pub fn find_spans(&self, mut spans: Vec<Span>) -> Result<Vec<Span>, Error> {
        spans.sort_unstable_by_key(|span| (span.offset, std::cmp::Reverse(span.reach)));
        spans.dedup_by_key(|span| span.offset);
        if !self.has_order() && self.pass_over(&mut spans) {
            return Ok(spans);
        }
        let order = self.order()?;
        for span in &mut spans {
            let position = order.position_of(span.offset);
            let position = position.ok_or_else(|| Error::corrupt(format!("{}: no entry begins at offset {}", self.name(), span.offset)))?;
            (span.entry, span.end) = (Some(order.entry(position)), order.offset(position + 1));
        }
        Ok(spans)
    }

    /// Answer sorted `spans` from the index alone; false when that cannot be trusted.
    fn pass_over(&self, spans: &mut [Span]) -> bool {
        let end = self.end();
        let shift = (u64::BITS - end.leading_zeros()).saturating_sub(PIECES_LOG);
        let mut pieces = Bits::new((end >> shift) as usize + 1);
        let mut marked = 0;
        for span in &mut *spans {
            let last = span.offset.saturating_add(span.reach).min(end) >> shift;
            for piece in marked.max(span.offset >> shift)..=last {
                pieces.insert(piece as usize);
            }
            marked = marked.max(last);
            span.end = u64::MAX;
        }
        let mut sound = true;
        self.each_offset(|entry, offset| {
            if offset >= end {
                sound = false;
            } else if pieces.get((offset >> shift) as usize) {
                let after = spans.partition_point(|span| span.offset <= offset);
                match after.checked_sub(1).map(|at| &mut spans[at]) {
                    Some(span) if span.offset == offset => sound &= span.entry.replace(entry).is_none(),
                    Some(span) => span.end = span.end.min(offset),
                    None => {}
                }
            }
        });
        for at in 0..spans.len() {
            let next = spans.get(at + 1).map_or(end, |next| next.offset);
            let span = &mut spans[at];
            span.end = span.end.min(next);
            // Where its own limit says that an entry cannot end, others may begin that were not looked at.
            sound &= span.entry.is_some() && (span.reach == 0 || span.end - span.offset <= span.reach);
        }
        sound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::LocalBytes;
    use crate::pack::decode::tests::{blob, ingested, odd_stream, open, pack};
    use proptest::prelude::*;

    /// A pack of blobs of these sizes, whose zlib streams begin with as many empty blocks, and no reverse index.
    fn packed(blobs: &[(usize, usize)]) -> std::sync::Arc<PackFile> {
        let entry = |(number, (size, empty)): (usize, &(usize, usize))| {
            let data: Vec<u8> = (0..*size + 8).map(|at| ((number >> (at % 2 * 8)) ^ (at / 2)) as u8).collect();
            blob(&data, odd_stream(&data, *empty))
        };
        let entries: Vec<_> = blobs.iter().enumerate().map(entry).collect();
        let (name, data, idx) = ingested(&pack(&entries));
        open(&name, Box::new(LocalBytes(data.into())), idx).0.remove(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn one_pass_over_the_index_finds_what_the_order_tells(
            blobs in prop::collection::vec((0usize..3000, prop_oneof![9 => Just(0usize), 1 => 0usize..2000]), 1..40),
            asked in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..60),
        ) {
            let file = packed(&blobs);
            let spans: Vec<Span> = asked
                .iter()
                .map(|(entry, ends)| {
                    let offset = file.offset(entry.index(blobs.len()) as u32).expect("sound");
                    let header = file.header(offset).expect("sound");
                    if *ends { Span::of_entry(offset, &header) } else { Span::beginning_at(offset) }
                })
                .collect();
            let found = file.find_spans(spans).expect("all are entries");
            let order = file.order().expect("sound");
            for span in &found {
                let position = order.position_of(span.offset).expect("an entry");
                prop_assert_eq!(span.entry, Some(order.entry(position)));
                prop_assert!(span.reach == 0 || span.end == order.offset(position + 1));
            }
            let mut offsets: Vec<u64> = asked.iter().map(|(entry, _)| file.offset(entry.index(blobs.len()) as u32).expect("sound")).collect();
            offsets.sort();
            offsets.dedup();
            prop_assert_eq!(found.iter().map(|span| span.offset).collect::<Vec<_>>(), offsets);
        }
    }

    #[test]
    fn where_no_entry_begins_is_told() {
        let file = packed(&[(100, 0), (100, 0)]);
        let found = file.find_spans(vec![Span::beginning_at(12)]).expect("the first entry");
        assert_eq!(found.iter().map(|span| span.offset).collect::<Vec<_>>(), [12]);
        assert!(file.find_spans(vec![Span::beginning_at(13)]).is_err());
        assert!(file.find_spans(vec![Span::beginning_at(u64::MAX)]).is_err());
    }

    #[test]
    fn an_entry_that_is_longer_than_it_may_be_needs_the_whole_order() {
        let file = packed(&[(100, 3000), (100, 0), (100, 0)]);
        let long = (0..3).map(|entry| file.offset(entry).expect("sound")).min().expect("three");
        let header = file.header(long).expect("sound");
        assert!(!file.has_order());
        let found = file.find_spans(vec![Span::of_entry(long, &header)]).expect("it is one");
        assert!(file.has_order(), "one pass was not enough");
        assert_eq!(found[0].end, file.offset_at(1).expect("sound"));
    }
}
