//! First pass: the stream of a pack into a file and a [`Table`] of its entries; whole objects get their ids here.
//!
//! Source: gitformat-pack, "pack-*.pack files have the following format". An object is hashed while it
//! is inflated and never held beyond [`CHUNK_BYTES`], or [`CHECKED_BYTES`] where its bytes are to be checked; deltas are
//! inflated to find their end and to learn early what they claim to make.

use super::super::check::Checker;
use super::super::zlib::SPARE_BYTES;
use super::super::{Base, EntryHeader, Error, Inflater, Kind, delta_sizes, kind_of_code};
use super::table::{ByBase, ENTRIES_MAX, Link, Table};
use super::window::Window;
use super::{Bounds, IngestLimits, bad_object, check_held, object_hasher};
use crate::base::{Cancel, Progress, limits as bounds};
use gix_hash::ObjectId;
use std::fs::File;
use std::io::Read;

/// Objects up to this size are inflated in one go, larger ones in pieces of it.
const CHUNK_BYTES: usize = 256 << 10;
const HEADER_BYTES: usize = 12;
/// Commits, trees and tags up to this size are checked as they come, larger ones when the whole pack is there.
const CHECKED_BYTES: u64 = 4 << 20;

/// What the first pass leaves.
pub(super) struct Received {
    pub(super) table: Table,
    /// The deltas whose base is named by id, in no useful order yet.
    pub(super) by_base: ByBase,
    pub(super) deltas: u64,
    pub(super) trailer: ObjectId,
    /// Where the last entry ends and the trailer begins.
    pub(super) end: u64,
    /// Bytes that all entries together may inflate to.
    pub(super) inflated_bytes_max: u64,
    /// Whole objects that are still to be checked.
    pub(super) unchecked: Vec<u32>,
}

/// Read one pack from `input` to its trailer and write it to `file`.
pub(super) fn receive(
    input: &mut (dyn Read + Send),
    file: &File,
    hash: gix_hash::Kind,
    bounds: &Bounds<'_>,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Received, Error> {
    let limits = bounds.limits;
    let mut window = Window::new(input, file, hash, limits.pack_bytes_max, cancel);
    let count = read_header(&mut window)?;
    if count > limits.objects_max.min(ENTRIES_MAX) {
        return Err(Error::Limit { what: "number of objects in the pack", limit: limits.objects_max.min(ENTRIES_MAX).into() });
    }
    let phase = progress.begin("Receiving objects", count.into());
    window.count_bytes(&phase);
    let mut receiver = Receiver {
        window,
        hash,
        limits,
        inflater: Inflater::new(),
        chunk: vec![],
        table: Table::new(hash),
        by_base: ByBase::new(hash),
        deltas: 0,
        inflated_bytes: 0,
        checker: Checker::new(bounds.checks),
        unchecked: vec![],
    };
    for _ in 0..count {
        cancel.check()?;
        receiver.entry()?;
        phase.add(1);
    }
    let end = receiver.window.offset();
    let inflated_bytes_max = receiver.inflated_bytes_max();
    let Receiver { window, table, by_base, deltas, unchecked, .. } = receiver;
    let trailer = window.finish(hash)?;
    phase.finish();
    Ok(Received { table, by_base, deltas, trailer, end, inflated_bytes_max, unchecked })
}

/// Signature and version, then the number of entries to come.
fn read_header(window: &mut Window<'_>) -> Result<u32, Error> {
    while window.bytes().len() < HEADER_BYTES {
        window.fill()?;
    }
    let bytes = window.bytes();
    let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (version, count) = (number(4), number(8));
    if &bytes[..4] != b"PACK" {
        return Err(Error::BadPack("pack signature mismatch".into()));
    }
    if !matches!(version, 2 | 3) {
        return Err(Error::BadPack(format!("pack version {version} unsupported")));
    }
    window.consume(HEADER_BYTES);
    Ok(count)
}

struct Receiver<'a> {
    window: Window<'a>,
    hash: gix_hash::Kind,
    limits: &'a IngestLimits,
    inflater: Inflater,
    chunk: Vec<u8>,
    table: Table,
    by_base: ByBase,
    deltas: u64,
    inflated_bytes: u64,
    checker: Checker<'a>,
    unchecked: Vec<u32>,
}

impl Receiver<'_> {
    fn entry(&mut self) -> Result<(), Error> {
        let at = self.window.offset();
        self.window.begin_crc();
        let header = loop {
            match EntryHeader::read(self.window.bytes(), at, self.hash)? {
                Some(header) => break header,
                None => self.window.fill()?,
            }
        };
        self.window.consume(header.len);
        self.charge(header.size)?;
        let (id, link) = match header.base {
            Base::Whole(code) => {
                let kind = kind_of_code(code).ok_or_else(|| bad_object(at, &format!("unknown object type {code}")))?;
                (self.whole(at, kind, header.size)?, Link::whole(kind))
            }
            Base::Offset(base) => {
                self.delta(at, header.size)?;
                (self.hash.null(), self.table.find(base).map_or(Link::NOWHERE, Link::entry))
            }
            Base::Id(base) => {
                self.delta(at, header.size)?;
                self.by_base.push(&base, self.table.len());
                (self.hash.null(), Link::BY_ID)
            }
        };
        let crc = self.window.crc();
        self.table.push(&id, at, crc, link);
        Ok(())
    }

    /// The id of a whole object.
    fn whole(&mut self, at: u64, kind: Kind, size: u64) -> Result<ObjectId, Error> {
        let wanted = self.checker.wants(kind);
        let is_held = wanted && size > CHUNK_BYTES as u64 && size <= CHECKED_BYTES;
        let (mut hasher, mut held) = (object_hasher(self.hash, kind, size), vec![]);
        self.inflate(at, size, |bytes| {
            hasher.update(bytes);
            if is_held {
                held.extend_from_slice(bytes);
            }
        })?;
        let id = hasher.try_finalize().map_err(|err| bad_object(at, &err.to_string()))?;
        match (wanted, usize::try_from(size)) {
            (false, _) => {}
            (true, Ok(size)) if size <= CHUNK_BYTES => self.checker.object(kind, &id, &self.chunk[..size])?,
            (true, _) if is_held => self.checker.object(kind, &id, &held)?,
            (true, _) => self.unchecked.push(self.table.len() as u32),
        }
        Ok(id)
    }

    fn delta(&mut self, at: u64, size: u64) -> Result<(), Error> {
        self.deltas += 1;
        check_held(size, self.limits)?;
        let mut sizes = None;
        self.inflate(at, size, |bytes| {
            // The first piece holds both sizes whole: they take at most twenty bytes.
            if sizes.is_none() {
                sizes = Some(delta_sizes(bytes));
            }
        })?;
        let (base_size, result_size) = sizes.flatten().ok_or_else(|| bad_object(at, "failed to apply delta"))?;
        check_held(base_size.max(result_size), self.limits)?;
        self.charge(result_size)
    }

    /// Check the size that an entry claims, and that all of them together stay within bounds.
    fn charge(&mut self, size: u64) -> Result<(), Error> {
        if size > self.limits.object_bytes_max {
            return Err(Error::Limit { what: "size of one object in bytes", limit: self.limits.object_bytes_max });
        }
        self.inflated_bytes = self.inflated_bytes.saturating_add(size);
        let limit = self.inflated_bytes_max();
        if self.inflated_bytes > limit {
            return Err(Error::Limit { what: "inflated size of all objects in bytes", limit });
        }
        Ok(())
    }

    fn inflated_bytes_max(&self) -> u64 {
        match self.limits.inflated_bytes_max {
            0 => {
                bounds::INFLATED_BYTES_FREE.saturating_add(self.window.received().saturating_mul(bounds::INFLATED_BYTES_PER_PACK_BYTE_MAX))
            }
            limit => limit,
        }
    }

    /// Inflate the stream that comes next, which must hold exactly `size` bytes, and show them to `sink` piece by piece.
    fn inflate(&mut self, at: u64, size: u64, mut sink: impl FnMut(&[u8])) -> Result<(), Error> {
        let chunk_bytes = CHUNK_BYTES.min(usize::try_from(size).unwrap_or(CHUNK_BYTES));
        if self.chunk.len() < chunk_bytes + SPARE_BYTES {
            self.chunk.resize(chunk_bytes + SPARE_BYTES, 0);
        }
        self.inflater.reset();
        let (mut total, mut held) = (0u64, 0);
        loop {
            let room = &mut self.chunk[held..chunk_bytes + SPARE_BYTES];
            let step = self.inflater.step(self.window.bytes(), room).map_err(|err| bad_object(at, &err.to_string()))?;
            self.window.consume(step.consumed);
            held += step.written;
            total += step.written as u64;
            if total > size {
                return Err(bad_object(at, &format!("inflate: more than the declared {size} bytes")));
            }
            if step.ended {
                break;
            }
            if held >= chunk_bytes && size > CHUNK_BYTES as u64 {
                sink(&self.chunk[..held]);
                held = 0;
            } else if self.window.bytes().is_empty() {
                self.window.fill()?;
            } else if step.consumed == 0 && step.written == 0 {
                return Err(bad_object(at, "inflate: data stream error"));
            }
        }
        if total < size {
            return Err(bad_object(at, &format!("inflate: {total} bytes instead of the declared {size}")));
        }
        sink(&self.chunk[..held]);
        Ok(())
    }
}
