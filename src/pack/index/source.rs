//! Entries of the pack file back into memory: positional reads through one small window per thread.

use super::super::entry::HEADER_BYTES_MAX;
use super::super::{Base, EntryHeader, Error, Inflater, Kind, kind_of_code};
use super::bad_object;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The walk mostly asks for neighbours: this much is read ahead.
const AHEAD_BYTES: u64 = 32 << 10;
/// A buffer that had to grow larger is given back.
const KEPT_BYTES: usize = 1 << 20;
/// Bytes behind an entry that let the inflater's fast path run to its end.
const SPARE_BYTES: u64 = 16;

fn changed(range: &Range<u64>) -> Error {
    Error::corrupt(format!("the entry at offset {} has changed since it was received", range.start))
}

pub(super) struct Source<'a> {
    file: &'a File,
    hash: gix_hash::Kind,
    /// How far the file may be read.
    end: u64,
    buffer: Vec<u8>,
    at: u64,
    inflater: Inflater,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a File, hash: gix_hash::Kind, end: u64) -> Self {
        Self { file, hash, end, buffer: vec![], at: 0, inflater: Inflater::new() }
    }

    /// More entries were appended: the file may now be read up to `end`.
    pub(super) fn grow(&mut self, end: u64) {
        self.end = end;
        self.buffer.clear();
    }

    /// The header of the entry that lies at `range`.
    pub(super) fn header(&mut self, range: &Range<u64>) -> Result<EntryHeader, Error> {
        let from = self.load(&(range.start..range.end.min(range.start.saturating_add(HEADER_BYTES_MAX as u64))))?;
        EntryHeader::read(&self.buffer[from..], range.start, self.hash)?.ok_or_else(|| changed(range))
    }

    /// Inflate the entry that lies at `range` and has this `header` into `out`; its type, unless it is a delta.
    pub(super) fn inflate(&mut self, range: &Range<u64>, header: &EntryHeader, out: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
        let from = self.load(range)?;
        let bytes = &self.buffer[from..];
        let size = usize::try_from(header.size).map_err(|_| bad_object(range.start, "object size too large for this platform"))?;
        self.inflater.whole(&bytes[header.len..], size, out).map_err(|err| match err {
            Error::BadPack(_) => changed(range),
            err => err,
        })?;
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
        Ok(match header.base {
            Base::Whole(code) => kind_of_code(code),
            _ => None,
        })
    }

    /// Make sure that the buffer holds `range`; where in the buffer it begins.
    fn load(&mut self, range: &Range<u64>) -> Result<usize, Error> {
        let want = self.end.min(range.end.saturating_add(SPARE_BYTES));
        let held = self.at..self.at + self.buffer.len() as u64;
        if range.start < held.start || want > held.end {
            let until = self.end.min(want.max(range.start.saturating_add(AHEAD_BYTES)));
            let len = usize::try_from(until.saturating_sub(range.start))
                .map_err(|_| bad_object(range.start, "entry too large for this platform"))?;
            if self.buffer.capacity() > 2 * len.max(AHEAD_BYTES as usize) {
                self.buffer = Vec::new();
            }
            self.buffer.resize(len, 0);
            self.at = range.start;
            self.file.read_exact_at(&mut self.buffer, range.start)?;
        }
        Ok((range.start - self.at) as usize)
    }
}
