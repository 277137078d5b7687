//! The peer's bytes through one buffer: to be parsed, hashed for the trailer, summed per entry and written to the file.
//!
//! Bytes that were consumed go to hash and file together, a buffer full at a time. A read takes what is
//! there and is made only when a byte is missing that the pack must have, so a live connection never blocks us needlessly.

use super::super::Error;
use crate::base::{Cancel, Phase};
use gix_hash::{Hasher, ObjectId};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};

/// Large enough that a write costs nothing beside hashing; larger ones leave the second-level cache.
const WINDOW_BYTES: usize = 256 << 10;

pub(super) struct Window<'a> {
    input: &'a mut (dyn Read + Send),
    file: &'a File,
    cancel: &'a Cancel,
    bytes_max: u64,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the pack of the buffer's first byte.
    at: u64,
    trailer: Hasher,
    crc: crc32fast::Hasher,
    /// From here to `start` the bytes are not yet in `crc`.
    unsummed: usize,
    phase: Option<&'a Phase>,
}

impl<'a> Window<'a> {
    /// Reads at most `bytes_max` from `input` (0: no limit) and writes to `file`.
    pub(super) fn new(input: &'a mut (dyn Read + Send), file: &'a File, hash: gix_hash::Kind, bytes_max: u64, cancel: &'a Cancel) -> Self {
        Self {
            input,
            file,
            cancel,
            bytes_max: if bytes_max == 0 { u64::MAX } else { bytes_max },
            buffer: vec![0; WINDOW_BYTES],
            start: 0,
            end: 0,
            at: 0,
            trailer: gix_hash::hasher(hash),
            crc: crc32fast::Hasher::new(),
            unsummed: 0,
            phase: None,
        }
    }

    /// Count the bytes from here on.
    pub(super) fn count_bytes(&mut self, phase: &'a Phase) {
        phase.add_bytes(self.received());
        self.phase = Some(phase);
    }

    /// What is there and not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Offset in the pack of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.at + self.start as u64
    }

    /// Bytes taken from the input so far.
    pub(super) fn received(&self) -> u64 {
        self.at + self.end as u64
    }

    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
    }

    /// Sum what is consumed from here on; [`Window::crc`] gives the sum.
    pub(super) fn begin_crc(&mut self) {
        self.crc = crc32fast::Hasher::new();
        self.unsummed = self.start;
    }

    pub(super) fn crc(&mut self) -> u32 {
        self.sum();
        self.crc.clone().finalize()
    }

    fn sum(&mut self) {
        self.crc.update(&self.buffer[self.unsummed..self.start]);
        self.unsummed = self.start;
    }

    /// Wait for at least one more byte.
    pub(super) fn fill(&mut self) -> Result<(), Error> {
        self.flush()?;
        loop {
            self.cancel.check()?;
            let read = match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(Error::BadPack("early EOF".into())),
                Ok(read) => read,
                Err(err) if err.kind() == ErrorKind::Interrupted => continue,
                Err(err) => return Err(err.into()),
            };
            self.end += read;
            if self.received() > self.bytes_max {
                return Err(Error::Limit { what: "size of the pack in bytes", limit: self.bytes_max });
            }
            if let Some(phase) = self.phase {
                phase.add_bytes(read as u64);
            }
            return Ok(());
        }
    }

    /// Hash and write what was consumed, and move the rest to the front.
    fn flush(&mut self) -> Result<(), Error> {
        self.sum();
        let done = &self.buffer[..self.start];
        self.trailer.update(done);
        self.file.write_all(done)?;
        self.buffer.copy_within(self.start..self.end, 0);
        self.at += self.start as u64;
        self.end -= self.start;
        (self.start, self.unsummed) = (0, 0);
        Ok(())
    }

    /// The last entry was consumed: compare the trailer that follows with what was hashed, and write it.
    pub(super) fn finish(mut self, hash: gix_hash::Kind) -> Result<ObjectId, Error> {
        self.flush()?;
        let hasher = std::mem::replace(&mut self.trailer, gix_hash::hasher(hash));
        let trailer = hasher.try_finalize().map_err(|err| Error::BadPack(err.to_string()))?;
        while self.end < trailer.as_slice().len() {
            self.fill()?;
        }
        if self.bytes()[..trailer.as_slice().len()] != *trailer.as_slice() {
            return Err(Error::BadPack(format!("pack is corrupted ({} mismatch)", hash.to_string().to_uppercase())));
        }
        self.consume(trailer.as_slice().len());
        if !self.bytes().is_empty() {
            return Err(Error::BadPack("pack has junk at the end".into()));
        }
        self.flush()?;
        Ok(trailer)
    }
}
