//! Second pass: deltas into the ids of what they make, depth first from each whole object, on several threads.
//!
//! A thread holds the objects along one path only and needs no cache of bases. What the paths of all threads
//! hold stays below a limit: beyond it the oldest objects are dropped and made anew when the
//! walk comes back to them. Half of the limit is shared out; the other half belongs to the one thread at a time for
//! which its share is too little, and where that half is too little, too, the [`Permit`] of the whole process is needed.
//! Making anew counts against the pack's limit of inflated bytes, so a comb of large objects ends in a refusal.

use super::super::check::{Checker, Checks};
use super::super::{EntryHeader, Error, Kind, apply_delta, delta_sizes};
use super::forest::Forest;
use super::permit::Permit;
use super::source::Source;
use super::table::{Ids, Table};
use super::{IngestLimits, bad_object, check_held, object_hasher};
use crate::base::{Cancel, Cancelled, Phase};
use gix_hash::ObjectId;
use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries that a thread takes from the common counter at a time.
const SHARE_ENTRIES: usize = 256;
/// Ids are handed in this many at a time.
const BATCH_IDS: usize = 256;
/// Below this many deltas one thread is done before another has started.
const ONE_THREAD_DELTAS: u64 = 512;
/// Between two looks at the cancel flag.
const HASHED_AT_ONCE_BYTES: usize = 16 << 20;
/// Buffers up to this size are kept for the next object.
const SPARE_BUFFER_BYTES: usize = 256 << 10;
const SPARE_BUFFERS: usize = 16;
/// The deflated form of anything may be this large.
const DEFLATED_BYTES_FREE: u64 = 64 << 10;

/// How many deflated bytes of something may be held of which `limit` plain ones may: deflating may add a little to what
/// cannot be deflated, and a stream of empty blocks goes on for ever.
pub(super) fn deflated_bytes_max(limit: u64) -> u64 {
    limit.saturating_add(limit / 8).saturating_add(DEFLATED_BYTES_FREE)
}

/// What all threads share.
pub(super) struct Job<'a> {
    pub(super) file: &'a File,
    pub(super) hash: gix_hash::Kind,
    pub(super) table: &'a Table,
    /// The ids of all entries; those of deltas come in as they are resolved.
    pub(super) ids: Mutex<Ids>,
    pub(super) forest: &'a Forest,
    /// Where the last entry of the table ends.
    pub(super) end: u64,
    pub(super) limits: &'a IngestLimits,
    pub(super) inflated_bytes_max: u64,
    /// Bytes of objects and deltas that all threads together may hold without the [`Permit`].
    pub(super) held_bytes_max: u64,
    pub(super) checks: &'a Checks,
    pub(super) phase: &'a Phase,
    pub(super) cancel: &'a Cancel,
    /// Deltas resolved.
    pub(super) resolved: AtomicU64,
    /// Bytes made anew after they were dropped.
    pub(super) remade_bytes: AtomicU64,
    /// Held by the one thread that may hold more than its share.
    pub(super) oversize: Mutex<()>,
}

impl Job<'_> {
    /// Resolve all that hangs on whole objects of the pack itself.
    pub(super) fn run(&self, threads: usize, deltas: u64) -> Result<(), Error> {
        let threads = if deltas < ONE_THREAD_DELTAS { 1 } else { threads.max(1) };
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            let outcome = Worker::new(self, threads, &stop).share(&next);
            stop.fetch_or(outcome.is_err(), Ordering::Relaxed);
            outcome
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut outcome = work();
            for other in others {
                let theirs = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                outcome = match (outcome, theirs) {
                    // Threads that wait are cancelled when another one fails.
                    (Err(Error::Cancelled(_)), Err(theirs)) => Err(theirs),
                    (ours, theirs) => ours.and(theirs),
                };
            }
            outcome
        })
    }

    fn range(&self, entry: usize) -> Range<u64> {
        self.table.offsets[entry]..self.table.offsets.get(entry + 1).copied().unwrap_or(self.end)
    }

    /// The deltas that name the whole object `entry` by its id.
    fn claim(&self, entry: usize) -> Result<Range<u32>, Error> {
        let id = self.lock_ids().get(entry).to_owned();
        self.forest.claim(&id)
    }

    fn lock_ids(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One object on the path from a whole object down to the one at hand.
struct Frame {
    /// The delta that made it; for the first frame nothing.
    entry: usize,
    /// Its bytes; empty when they were dropped or are of no more use.
    object: Vec<u8>,
    held: bool,
    by_id: Range<u32>,
    by_offset: Range<u32>,
}

impl Frame {
    fn is_done(&self) -> bool {
        self.by_id.is_empty() && self.by_offset.is_empty()
    }
}

/// One thread's state.
pub(super) struct Worker<'a> {
    job: &'a Job<'a>,
    pub(super) source: Source<'a>,
    delta: Vec<u8>,
    path: Vec<Frame>,
    root: Range<u64>,
    kind: Kind,
    spare: Vec<Vec<u8>>,
    held_bytes: u64,
    held_bytes_max: u64,
    /// No frame before this one is held.
    oldest: usize,
    stop: &'a AtomicBool,
    oversize: Option<MutexGuard<'a, ()>>,
    permit: Option<Permit>,
    batch: Vec<(usize, ObjectId)>,
    checker: Checker<'a>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(job: &'a Job<'a>, threads: usize, stop: &'a AtomicBool) -> Self {
        Self {
            job,
            source: Source::new(job.file, job.hash, job.end),
            delta: vec![],
            path: vec![],
            root: 0..0,
            kind: Kind::Blob,
            spare: vec![],
            held_bytes: 0,
            held_bytes_max: job.held_bytes_max / 2 / threads as u64,
            oldest: 0,
            stop,
            oversize: None,
            permit: None,
            batch: vec![],
            checker: Checker::new(job.checks),
        }
    }

    /// Take shares of the entries until none is left, and resolve what hangs on the whole objects among them.
    fn share(mut self, next: &AtomicUsize) -> Result<(), Error> {
        let table = self.job.table;
        loop {
            let from = next.fetch_add(SHARE_ENTRIES, Ordering::Relaxed);
            if from >= table.len() || self.stop.load(Ordering::Relaxed) {
                self.hand_in();
                return Ok(());
            }
            for entry in from..table.len().min(from + SHARE_ENTRIES) {
                if table.links[entry].kind().is_none() {
                    continue;
                }
                let by_offset = self.job.forest.by_offset(entry);
                let by_id = if self.job.forest.has_ids() { self.job.claim(entry)? } else { 0..0 };
                if !by_id.is_empty() || !by_offset.is_empty() {
                    self.tree(self.job.range(entry), by_id, by_offset)?;
                }
            }
        }
    }

    /// Resolve what hangs on the whole object whose entry lies at `root`: the deltas in these two ranges, and theirs.
    pub(super) fn tree(&mut self, root: Range<u64>, by_id: Range<u32>, by_offset: Range<u32>) -> Result<(), Error> {
        self.root = root;
        self.oldest = 0;
        let object = self.inflate_root()?;
        self.held_bytes = object.len() as u64;
        self.path.push(Frame { entry: usize::MAX, object, held: true, by_id, by_offset });
        while let Some(top) = self.path.last_mut() {
            if self.held_bytes <= self.held_bytes_max {
                (self.permit, self.oversize) = (None, None);
            }
            if self.stop.load(Ordering::Relaxed) {
                self.path.clear();
                break;
            }
            let child = if let Some(at) = top.by_id.next() {
                self.job.forest.child_by_id(at)
            } else if let Some(at) = top.by_offset.next() {
                self.job.forest.child(at)
            } else {
                self.pop();
                continue;
            };
            self.child(child)?;
        }
        (self.permit, self.oversize) = (None, None);
        Ok(())
    }

    fn pop(&mut self) {
        if let Some(frame) = self.path.pop() {
            self.held_bytes -= frame.object.len() as u64;
            self.recycle(frame.object);
            self.oldest = self.oldest.min(self.path.len());
        }
    }

    /// Apply the delta `entry` to the top of the path, and step down to what it makes if more hangs on that.
    fn child(&mut self, entry: usize) -> Result<(), Error> {
        self.job.cancel.check()?;
        let level = self.path.len() - 1;
        if !self.path[level].held {
            self.restore(level)?;
        }
        let range = self.job.range(entry);
        let at = range.start;
        let header = self.header(&range)?;
        self.make_room(header.size.saturating_add(range.end - range.start), level)?;
        let size = self.read_delta(&range, &header)?;
        self.make_room(header.size.saturating_add(size), level)?;
        let mut object = self.spare.pop().unwrap_or_default();
        self.apply(at, &self.path[level].object, size, &mut object)?;
        self.forget_delta();
        let mut hasher = object_hasher(self.job.hash, self.kind, object.len() as u64);
        for piece in object.chunks(HASHED_AT_ONCE_BYTES) {
            self.job.cancel.check()?;
            hasher.update(piece);
        }
        let id = hasher.try_finalize().map_err(|err| bad_object(at, &err.to_string()))?;
        if self.checker.wants(self.kind) {
            self.checker.object(self.kind, &id, &object)?;
        }
        if self.path[level].is_done() {
            self.release(level);
        }
        let by_id = if self.job.forest.has_ids() { self.job.forest.claim(&id)? } else { 0..0 };
        let by_offset = self.job.forest.by_offset(entry);
        self.batch.push((entry, id));
        if self.batch.len() >= BATCH_IDS {
            self.hand_in();
        }
        if by_id.is_empty() && by_offset.is_empty() {
            self.recycle(object);
        } else {
            self.held_bytes += object.len() as u64;
            self.path.push(Frame { entry, object, held: true, by_id, by_offset });
        }
        Ok(())
    }

    /// Hand in the ids found so far.
    pub(super) fn hand_in(&mut self) {
        let mut ids = self.job.lock_ids();
        for (entry, id) in &self.batch {
            ids.set(*entry, id);
        }
        drop(ids);
        self.job.phase.add(self.batch.len() as u64);
        self.job.resolved.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
        self.batch.clear();
    }

    fn inflate_root(&mut self) -> Result<Vec<u8>, Error> {
        let root = self.root.clone();
        let header = self.header(&root)?;
        self.ask_for(header.size.saturating_add(root.end - root.start))?;
        let mut object = self.spare.pop().unwrap_or_default();
        let kind = self.source.inflate(&root, &header, &mut object)?;
        self.kind = kind.ok_or_else(|| Error::corrupt(format!("the entry at offset {} has changed since it was received", root.start)))?;
        Ok(object)
    }

    /// The header of the entry at `range`, which is not too large to be held.
    fn header(&mut self, range: &Range<u64>) -> Result<EntryHeader, Error> {
        let header = self.source.header(range)?;
        check_held(header.size, self.job.limits)?;
        let limit = self.job.limits.held_object_bytes_max;
        if range.end - range.start > deflated_bytes_max(limit) {
            return Err(Error::Limit { what: "deflated size in bytes of a delta or its base", limit });
        }
        Ok(header)
    }

    /// Inflate the delta at `range` into `self.delta`; the size of what it will make.
    fn read_delta(&mut self, range: &Range<u64>, header: &EntryHeader) -> Result<u64, Error> {
        self.source.inflate(range, header, &mut self.delta)?;
        let (_, size) = delta_sizes(&self.delta).ok_or_else(|| bad_object(range.start, "failed to apply delta"))?;
        check_held(size, self.job.limits)?;
        Ok(size)
    }

    fn forget_delta(&mut self) {
        if self.delta.capacity() > SPARE_BUFFER_BYTES {
            self.delta = vec![];
        }
    }

    fn apply(&self, at: u64, base: &[u8], size: u64, object: &mut Vec<u8>) -> Result<(), Error> {
        let room = usize::try_from(size).unwrap_or(usize::MAX);
        object.clear();
        object.try_reserve_exact(room).map_err(|_| Error::Limit { what: "memory for one object (bytes)", limit: size })?;
        apply_delta(base, &self.delta, object).ok_or_else(|| bad_object(at, "failed to apply delta"))
    }

    /// Before `size` more bytes are held: drop the oldest objects above `level`, or wait to be the one that may hold more.
    fn make_room(&mut self, size: u64, level: usize) -> Result<(), Error> {
        while self.held_bytes.saturating_add(size) > self.held_bytes_max && self.oldest < level {
            self.release(self.oldest);
            self.oldest += 1;
        }
        self.ask_for(size)
    }

    /// Before `size` more bytes are held: wait to be the one that may hold them, if that is more than the share of this thread.
    pub(super) fn ask_for(&mut self, size: u64) -> Result<(), Error> {
        let bytes = self.held_bytes.saturating_add(size);
        if bytes > self.held_bytes_max {
            self.wait_for_oversize();
        }
        if bytes > self.job.held_bytes_max / 2 && self.permit.is_none() {
            let (cancel, stop) = (self.job.cancel, self.stop);
            let check = || if stop.load(Ordering::Relaxed) { Err(Cancelled) } else { cancel.check() };
            self.permit = Some(Permit::wait(check)?);
        }
        Ok(())
    }

    /// Whoever has this lock may wait for the permit, and ends when the push is cancelled.
    fn wait_for_oversize(&mut self) {
        if self.oversize.is_none() {
            self.oversize = Some(self.job.oversize.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn release(&mut self, level: usize) {
        let frame = &mut self.path[level];
        frame.held = false;
        let object = std::mem::take(&mut frame.object);
        self.held_bytes -= object.len() as u64;
        self.recycle(object);
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= SPARE_BUFFER_BYTES && self.spare.len() < SPARE_BUFFERS {
            self.spare.push(buffer);
        }
    }

    /// Make the object of the frame at `level` anew, from the nearest one above it that is still held or from the root.
    fn restore(&mut self, level: usize) -> Result<(), Error> {
        self.wait_for_oversize();
        let held = (0..level).rev().find(|&at| self.path[at].held);
        let mut object = match held {
            Some(_) => vec![],
            None => self.inflate_root()?,
        };
        self.charge_remade(object.len() as u64)?;
        for step in held.unwrap_or(0) + 1..=level {
            self.job.cancel.check()?;
            let range = self.job.range(self.path[step].entry);
            let at = range.start;
            let header = self.header(&range)?;
            let beside = (object.len() as u64).saturating_add(header.size);
            self.ask_for(beside.saturating_add(range.end - range.start))?;
            let size = self.read_delta(&range, &header)?;
            self.charge_remade(size)?;
            self.ask_for(beside.saturating_add(size))?;
            let mut made = self.spare.pop().unwrap_or_default();
            let base = match held {
                Some(held) if step == held + 1 => &self.path[held].object,
                _ => &object,
            };
            self.apply(at, base, size, &mut made)?;
            self.forget_delta();
            let used = std::mem::replace(&mut object, made);
            self.recycle(used);
        }
        self.held_bytes += object.len() as u64;
        self.path[level].object = object;
        self.path[level].held = true;
        self.oldest = self.oldest.min(level);
        Ok(())
    }

    /// Count `size` bytes of a base that had to be made beyond what the pack itself declares.
    pub(super) fn charge_remade(&self, size: u64) -> Result<(), Error> {
        let limit = self.job.inflated_bytes_max;
        let before = self.job.remade_bytes.fetch_add(size, Ordering::Relaxed);
        if before.saturating_add(size) > limit {
            return Err(Error::Limit { what: "size of bases made anew in bytes", limit });
        }
        Ok(())
    }
}
