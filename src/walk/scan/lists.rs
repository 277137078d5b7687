//! Families of trees into lists: for each tree the objects that it names and its delta base does not.
//!
//! Each tree is inflated once. Entries that lie as a whole within bytes copied from the base are inherited: neither
//! read nor looked up again; only where they begin is carried along. A tree that cannot be listed (damaged, or naming
//! what is not among the numbered objects) has no list, and whoever reaches it reads it as a whole.

use super::super::Error;
use super::super::tree::TreeEntry;
use super::families::{Families, NONE};
use super::headers::Headers;
use crate::base::{Cancel, Phase};
use crate::pack::{Delta, DeltaOp, Inflater, Kind, Objects, inflate_entry};
use gix_hash::ObjectId;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// On every item of a list that is the rank of a tree; others are numbers of blobs.
pub(super) const TREE: u32 = 1 << 31;
/// Place of the list of a tree that has none.
const UNLISTED: u32 = u32::MAX;
/// Place of the list of a tree that names nothing but what its base does.
const NOTHING: u32 = u32::MAX - 1;
/// Threads that read trees: more would need more memory for their paths.
const THREADS: usize = 2;
/// Below this many trees one thread is done before another has started.
const ONE_THREAD_TREES: u32 = 4096;
/// Families that a thread takes at a time.
const SHARE_TREES: u32 = 512;
/// Bytes of trees held on one thread's path; what lies beyond is left unlisted.
const HELD_BYTES_MAX: usize = 96 << 20;
/// Items in all lists for each object: histories have 4 to 8.
const ITEMS_PER_OBJECT_MAX: usize = 32;
/// Items that there may be in any case.
const ITEMS_FREE: usize = 1 << 20;
/// Trees beyond this size are left unlisted.
const TREE_BYTES_MAX: u64 = 64 << 20;
/// Buffers above this size are not kept for the next tree.
const SPARE_BYTES_MAX: usize = 1 << 20;
/// Between two looks at the cancel flag.
const BYTES_AT_ONCE: usize = 1 << 20;

/// All lists.
pub(super) struct Lists {
    /// For each tree where its list stands: the thread that wrote it in the top bit, then the place.
    places: Vec<AtomicU32>,
    /// Each thread's lists one behind the other: a length, then so many items.
    items: Vec<Vec<u32>>,
}

impl Lists {
    /// The list of a tree; `None` when it has none.
    pub fn get(&self, rank: u32) -> Option<&[u32]> {
        match self.places[rank as usize].load(Ordering::Relaxed) {
            UNLISTED => None,
            NOTHING => Some(&[]),
            place => {
                let (items, at) = (&self.items[(place >> 31) as usize], (place & !TREE) as usize);
                Some(&items[at + 1..at + 1 + items[at] as usize])
            }
        }
    }
}

/// What all threads read from.
pub(super) struct Job<'a> {
    pub objects: &'a dyn Objects,
    pub headers: &'a Headers,
    pub families: &'a Families,
    /// Whether blobs are listed.
    pub blobs: bool,
    pub phase: &'a Phase,
    pub cancel: &'a Cancel,
}

impl Job<'_> {
    /// Read all trees.
    pub fn run(&self) -> Result<Lists, Error> {
        let trees = self.families.len();
        let places: Vec<AtomicU32> = (0..trees).map(|_| AtomicU32::new(UNLISTED)).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if trees < ONE_THREAD_TREES { 1 } else { THREADS.min(cores) };
        let items_max = (self.headers.end() as usize * ITEMS_PER_OBJECT_MAX).max(ITEMS_FREE) / threads;
        let (next, stop) = (AtomicU32::new(0), AtomicBool::new(false));
        let work = |thread: usize| {
            let mut worker = Worker::new(self, &places, thread as u32, items_max.min(TREE as usize - 2));
            let outcome = worker.share(&next, &stop);
            stop.fetch_or(outcome.is_err(), Ordering::Relaxed);
            outcome.map(|()| worker.items)
        };
        let items = std::thread::scope(|scope| {
            let work = &work;
            let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || work(thread))).collect();
            let mut items = vec![work(0)];
            for other in others {
                items.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            items.into_iter().collect::<Result<Vec<_>, Error>>()
        })?;
        Ok(Lists { places, items })
    }

    /// What an entry names, as an item of a list.
    #[inline]
    fn item(&self, kind: Kind, id: &ObjectId) -> Result<Option<u32>, Error> {
        let packs = self.objects.packs();
        let number = match packs {
            [file] if self.headers.packs() == 1 => file.find(id),
            _ => self.objects.locate(id)?.and_then(|location| self.headers.number(&location)),
        };
        Ok(number.and_then(|number| match kind {
            Kind::Tree => self.families.is_tree(number).then(|| self.families.rank(number) | TREE),
            _ => self.headers.blobs.get(number as usize).then_some(number),
        }))
    }
}

/// One tree on the way down a family.
#[derive(Default)]
struct Level {
    bytes: Vec<u8>,
    /// Where each entry begins, and last where they end.
    starts: Vec<u32>,
    /// The next delta to go down into; [`NONE`] when only the heaviest is left.
    next: u32,
    /// The heaviest, or [`NONE`] when there is none.
    last: u32,
}

/// One thread's state.
struct Worker<'a> {
    job: &'a Job<'a>,
    places: &'a [AtomicU32],
    thread: u32,
    inflater: Inflater,
    delta: Vec<u8>,
    path: Vec<Level>,
    held_bytes: usize,
    spare: Vec<Level>,
    items: Vec<u32>,
    items_max: usize,
    /// The tree at hand names something that has no number.
    odd: bool,
    /// Trees and their bytes that were read since the phase was told.
    read: u64,
    read_bytes: usize,
}

impl<'a> Worker<'a> {
    fn new(job: &'a Job<'a>, places: &'a [AtomicU32], thread: u32, items_max: usize) -> Self {
        Self {
            job,
            places,
            thread,
            inflater: Inflater::new(),
            delta: vec![],
            path: vec![],
            held_bytes: 0,
            spare: vec![],
            items: vec![],
            items_max,
            odd: false,
            read: 0,
            read_bytes: 0,
        }
    }

    fn share(&mut self, next: &AtomicU32, stop: &AtomicBool) -> Result<(), Error> {
        let trees = self.job.families.len();
        loop {
            let from = next.fetch_add(SHARE_TREES, Ordering::Relaxed).min(trees);
            if from == trees || stop.load(Ordering::Relaxed) {
                self.job.phase.add(self.read);
                return Ok(());
            }
            for rank in from..trees.min(from + SHARE_TREES) {
                if !self.job.families.is_delta(rank) {
                    self.family(rank)?;
                }
            }
        }
    }

    /// List one whole tree and all its deltas.
    fn family(&mut self, root: u32) -> Result<(), Error> {
        self.go_into(root)?;
        while let Some(top) = self.path.last_mut() {
            let delta = if top.next != NONE {
                let delta = top.next;
                top.next = self.job.families.next_delta(delta);
                delta
            } else {
                std::mem::replace(&mut top.last, NONE)
            };
            if delta != NONE {
                self.go_into(delta)?;
            } else {
                self.leave();
            }
        }
        Ok(())
    }

    /// List the tree and, if it has deltas, put it onto the path.
    fn go_into(&mut self, rank: u32) -> Result<(), Error> {
        if self.read_bytes >= BYTES_AT_ONCE {
            self.job.cancel.check()?;
            self.job.phase.add(std::mem::take(&mut self.read));
            self.read_bytes = 0;
        }
        let mut level = self.spare.pop().unwrap_or_default();
        let list_at = self.items.len();
        self.items.push(0);
        self.odd = false;
        let readable = self.read_tree(rank, &mut level)?;
        self.read += 1;
        self.read_bytes += level.bytes.len() + 1024;
        // A base from which the last delta was made is of no more use.
        if self.path.last().is_some_and(|base| base.next == NONE && base.last == NONE) {
            self.leave();
        }
        self.close_list(rank, list_at, readable);
        (level.next, level.last) = self.job.families.deltas_of(rank);
        let has_deltas = level.next != NONE || level.last != NONE;
        if readable && has_deltas && self.held_bytes + level.held_bytes() <= HELD_BYTES_MAX {
            self.held_bytes += level.held_bytes();
            self.path.push(level);
        } else {
            self.keep(level);
        }
        Ok(())
    }

    /// Take the last tree off the path.
    fn leave(&mut self) {
        if let Some(level) = self.path.pop() {
            self.held_bytes -= level.held_bytes();
            self.keep(level);
        }
    }

    fn keep(&mut self, level: Level) {
        if level.held_bytes() <= SPARE_BYTES_MAX {
            self.spare.push(level);
        }
    }

    fn close_list(&mut self, rank: u32, list_at: usize, readable: bool) {
        let len = self.items.len() - list_at - 1;
        let place = if !readable || self.odd || self.items.len() > self.items_max {
            UNLISTED
        } else if len == 0 {
            NOTHING
        } else {
            self.items[list_at] = len as u32;
            list_at as u32 | self.thread << 31
        };
        if matches!(place, UNLISTED | NOTHING) {
            self.items.truncate(list_at);
        }
        self.places[rank as usize].store(place, Ordering::Relaxed);
    }

    /// Read a tree, whole or as a delta of the last on the path; false when it is damaged.
    fn read_tree(&mut self, rank: u32, level: &mut Level) -> Result<bool, Error> {
        let (pack, entry) = self.job.headers.place(self.job.families.number(rank));
        let file = &self.job.objects.packs()[pack];
        let offset = file.offset(entry)?;
        let header = file.header(offset)?;
        if header.size > TREE_BYTES_MAX {
            return Ok(false);
        }
        let is_delta = self.job.families.is_delta(rank);
        let out = if is_delta { &mut self.delta } else { &mut level.bytes };
        match inflate_entry(&mut self.inflater, file, offset, &header, out) {
            Ok(()) => {}
            Err(crate::pack::Error::Corrupt(_)) => return Ok(false),
            Err(err) => return Err(err.into()),
        }
        level.starts.clear();
        if !is_delta {
            let end = self.read_entries(level, 0)?;
            level.starts.push(end as u32);
            return Ok(end == level.bytes.len());
        }
        let delta = std::mem::take(&mut self.delta);
        let base = self.path.pop();
        let made = match &base {
            Some(base) => self.make(base, &delta, level),
            None => Ok(None),
        };
        self.path.extend(base);
        self.delta = delta;
        Ok(made?.is_some())
    }

    /// Apply `delta` to `base`; `None` when it does not fit or makes no tree.
    fn make(&mut self, base: &Level, delta: &[u8], level: &mut Level) -> Result<Option<()>, Error> {
        let Some(mut delta) = Delta::read(delta) else { return Ok(None) };
        if delta.base_size != base.bytes.len() as u64 || delta.size > TREE_BYTES_MAX {
            return Ok(None);
        }
        let size = delta.size as usize;
        level.bytes.clear();
        let mut at = 0;
        while !delta.is_done() {
            match delta.next_op() {
                Some(DeltaOp::Copy { from, len }) => {
                    let Some(bytes) = from.checked_add(len).and_then(|to| base.bytes.get(from..to)) else { return Ok(None) };
                    level.bytes.extend_from_slice(bytes);
                    at = self.inherit(base, level, at, from, len)?;
                }
                Some(DeltaOp::Insert(bytes)) => {
                    level.bytes.extend_from_slice(bytes);
                    at = self.read_entries(level, at)?;
                }
                None => return Ok(None),
            }
            if level.bytes.len() > size {
                return Ok(None);
            }
        }
        level.starts.push(at as u32);
        Ok((at == size && level.bytes.len() == size).then_some(()))
    }

    /// The last `len` bytes of `level` were copied from `from` in `base`; the entry in progress begins at `at`. Inherit
    /// the entries that lie within them, read those that begin before; where the next entry begins.
    fn inherit(&mut self, base: &Level, level: &mut Level, mut at: usize, from: usize, len: usize) -> Result<usize, Error> {
        let copied_at = level.bytes.len() - len;
        loop {
            if at >= copied_at
                && let Ok(first) = base.starts.binary_search(&((from + at - copied_at) as u32))
            {
                let behind = base.starts[first..].partition_point(|start| *start as usize <= from + len);
                let whole = &base.starts[first..first + behind - 1];
                let shift = (at as u32).wrapping_sub(base.starts[first]);
                level.starts.extend(whole.iter().map(|start| start.wrapping_add(shift)));
                // Behind them an entry may begin whose rest is yet to come.
                return Ok(base.starts[first + behind - 1].wrapping_add(shift) as usize);
            }
            match self.read_entry(level, at)? {
                Some(next) => at = next,
                None => return Ok(at),
            }
        }
    }

    /// Read all entries from `at` on that are whole; where the next one begins.
    fn read_entries(&mut self, level: &mut Level, mut at: usize) -> Result<usize, Error> {
        while let Some(next) = self.read_entry(level, at)? {
            at = next;
        }
        Ok(at)
    }

    /// Read the entry at `at` if it is whole, and list what it names; where the next one begins.
    #[inline]
    fn read_entry(&mut self, level: &mut Level, at: usize) -> Result<Option<usize>, Error> {
        let Some(entry) = TreeEntry::read(&level.bytes[at..], self.job.objects.hash_kind().len_in_bytes()) else { return Ok(None) };
        level.starts.push(at as u32);
        let next = at + entry.len();
        let Some(kind) = entry.kind().filter(|kind| self.job.blobs || *kind == Kind::Tree) else { return Ok(Some(next)) };
        match self.job.item(kind, &entry.id())? {
            Some(item) => self.items.push(item),
            None => self.odd = true,
        }
        Ok(Some(next))
    }
}

impl Level {
    fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.starts.capacity() * 4
    }
}
