//! Objects without a good stored form into deltas: against what the client has at the same path, or against one
//! another.
//!
//! Searched are: objects whose stored form cannot be used, because its base stays behind or because they lie loose;
//! and, where the client has an object at the same path, big stored forms (fetches get the newest version, which is
//! the one that packs store whole). Objects with one base form a group and are searched in order, so a delta leans on
//! the client's object or on an earlier one of its group: never in a circle. Objects without a base are sorted by the
//! end of their names and by size, as git does. Groups are searched on several threads; as long as memory for deltas lasts,
//! the result does not depend on how many.
//!
//! Not searched: commits and tags; objects above a size; and packed objects whose base stays behind, when they are
//! many and the client has nothing: that is a shallow clone or a lazy fetch, where every object stands alone.

use super::reuse::{Reuse, Share, Survey};
use super::{Lead, LeadBase, LeadForm};
use crate::base::{Cancel, Phase, Progress};
use crate::pack::{BlockIndex, Decoder, Deflater, Error, Kind, Location, Object};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Where deltas are searched, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaSearch {
    /// Earlier objects that one is tried against (`pack.window`); 0: no search at all.
    pub window: usize,
    /// Searched deltas in a row (`pack.depth`); stored deltas that lean on the last one come on top.
    pub depth: u32,
    /// Threads (`pack.threads`); 0: as many as there are processors, up to four.
    pub threads: usize,
    /// Bytes of a stored form above which it is searched against what the client has.
    pub stored_bytes_min: u64,
    /// Objects above this many bytes are not searched.
    pub object_bytes_max: u64,
}

impl Default for DeltaSearch {
    fn default() -> Self {
        Self { window: 10, depth: 50, threads: 0, stored_bytes_min: 512, object_bytes_max: 8 << 20 }
    }
}

/// Threads that search for one request.
pub const THREADS_MAX: usize = 4;
/// Objects for which another thread is worth its start.
const OBJECTS_PER_THREAD: usize = 64;
/// Objects without a base that are searched one after another on one thread.
const SEGMENT_OBJECTS: usize = 256;
/// A stored form that takes one byte for so many is good enough: to search for a better one brought a fetch of 1,000 commits
/// 3 % of its bytes for a quarter of its time.
const STORED_GOOD_ONE_IN: u64 = 32;
/// Objects below this many bytes are not worth a base.
const OBJECT_BYTES_MIN: usize = 50;
/// Where the client has an object at the same path, this share of the window is enough beside it.
const WINDOW_SHARE: usize = 3;
/// Where nothing but sizes says which objects are alike, hardly any are: to try ten in place of one took a clone of 42,000
/// objects a third of its time and saved 0.2 % of its bytes.
const WINDOW_NAMELESS: usize = 1;
/// Bytes of objects and indexes in the window of one thread.
const WINDOW_BYTES_MAX: usize = 8 << 20;
/// Bytes of decoded objects kept by one thread.
const CACHE_BYTES_MAX: usize = 6 << 20;
/// Bytes of found deltas kept for one request; when they are reached, the rest goes out as it is stored, or whole.
const DELTA_BYTES_HELD_MAX: u64 = 24 << 20;
/// zlib level of deltas: half literals, half binary, so a higher level hardly costs.
const DEFLATE_LEVEL: i32 = 6;
/// Header of a ref-delta and its base's id, less the header that the stored form has.
const REF_DELTA_BYTES: u64 = 22;

/// An object to search for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    object: Location,
    /// Bytes of its stored form where that can go out; 0: it cannot.
    stored_bytes: u64,
    /// The client's object at its path.
    base: Option<Location>,
    /// What it is sorted by among those without a base.
    rank: (u8, u32, std::cmp::Reverse<u64>),
}

/// Search what should be searched of all that goes out.
pub(super) fn find_leads(
    reuse: &Reuse<'_>,
    surveys: &[Survey],
    search: &DeltaSearch,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Vec<Lead>, Error> {
    if search.window == 0 || search.depth == 0 {
        return Ok(vec![]);
    }
    let mut wanted = collect(reuse, surveys, search, cancel)?;
    if wanted.is_empty() {
        return Ok(vec![]);
    }
    wanted.sort_by_key(|one| (one.base, one.rank, one.object));
    let groups = groups(&wanted);
    let phase = progress.begin("Compressing objects", wanted.len() as u64);
    let forms = search_groups(reuse, search, &wanted, &groups, &phase, cancel)?;
    phase.finish();
    let mut numbers = vec![0; wanted.len()];
    let mut leads: Vec<Lead> = vec![];
    for (at, form) in forms.into_iter().enumerate() {
        numbers[at] = leads.len() as u32;
        let form = match form {
            Form::AsStored => continue,
            Form::Whole => LeadForm::Whole,
            Form::Delta { base: Source::Client(base), size, deflated } => {
                LeadForm::Delta { base: LeadBase::Client(base.id(reuse.objects)), size, deflated }
            }
            Form::Delta { base: Source::Wanted(base), size, deflated } => {
                LeadForm::Delta { base: LeadBase::Lead(numbers[base]), size, deflated }
            }
        };
        leads.push(Lead { object: wanted[at].object, form });
    }
    Ok(leads)
}

/// What is to be searched, in the order of the set.
fn collect(reuse: &Reuse<'_>, surveys: &[Survey], search: &DeltaSearch, cancel: &Cancel) -> Result<Vec<Wanted>, Error> {
    let (found, mut decoder) = (reuse.found, Decoder::new(reuse.objects, CACHE_BYTES_MAX));
    let mut wanted = vec![];
    let mut unusable = vec![];
    let mut stored = |object: Location, stored_bytes: u64| {
        let base = found.hints.get(&object).and_then(|hint| hint.base).filter(|base| reuse.is_at_client(base));
        if base.is_some() && stored_bytes > search.stored_bytes_min {
            wanted.push(Wanted { object, stored_bytes, base, rank: Default::default() });
        }
    };
    for Survey { pack, share } in surveys {
        let (pack, file) = (*pack, &reuse.objects.packs()[*pack as usize]);
        match share {
            // All bases go out too; with nothing left behind the client has nothing either.
            Share::All => {}
            Share::Few(singles) => {
                for one in singles {
                    let object = Location::Packed { pack, entry: one.entry };
                    if one.usable { stored(object, one.end - one.offset) } else { unusable.push(object) }
                }
            }
            Share::Many { positions, unusable: unusable_here } => {
                let order = file.order()?;
                let object = |position: u32| Location::Packed { pack, entry: order.entry(position) };
                unusable.extend(unusable_here.iter().map(|position| object(*position)));
                if found.hints.is_empty() {
                    continue;
                }
                for (seen, position) in positions.iter().map(|position| position as u32).enumerate() {
                    if seen.is_multiple_of(4096) {
                        cancel.check()?;
                    }
                    if unusable_here.binary_search(&position).is_err() {
                        stored(object(position), order.offset(position + 1) - order.offset(position));
                    }
                }
            }
        }
    }
    if found.hints.is_empty() && unusable.len() > found.set.len() / 4 {
        unusable.clear();
    }
    for object in unusable.into_iter().chain(found.set.loose().iter().map(|id| Location::Loose(*id))) {
        cancel.check()?;
        let hint = found.hints.get(&object);
        let base = hint.and_then(|hint| hint.base).filter(|base| reuse.is_at_client(base));
        let rank = match decoder.kind(&object)? {
            Kind::Commit | Kind::Tag => continue,
            _ if base.is_some() => Default::default(),
            kind => (kind as u8, hint.map_or(0, |hint| hint.name), std::cmp::Reverse(decoder.size(&object)?)),
        };
        wanted.push(Wanted { object, stored_bytes: 0, base, rank });
    }
    Ok(wanted)
}

/// Ranges of what is searched together: one base, or a segment of those without.
fn groups(wanted: &[Wanted]) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = vec![];
    for (at, one) in wanted.iter().enumerate() {
        match groups.last_mut() {
            Some(last) if wanted[last.start].base == one.base && (one.base.is_some() || last.len() < SEGMENT_OBJECTS) => last.end = at + 1,
            _ => groups.push(at..at + 1),
        }
    }
    groups
}

/// The form of each of `wanted`, in order.
fn search_groups(
    reuse: &Reuse<'_>,
    search: &DeltaSearch,
    wanted: &[Wanted],
    groups: &[Range<usize>],
    phase: &Phase,
    cancel: &Cancel,
) -> Result<Vec<Form>, Error> {
    let (next, held) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        let mut searcher = Searcher::new(reuse, search, &held, cancel);
        let mut forms = vec![];
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            searcher.group(wanted, group.clone(), &mut forms)?;
            phase.add(group.len() as u64);
        }
        Ok::<_, Error>(forms)
    };
    let threads = match search.threads {
        0 => std::thread::available_parallelism().map_or(1, |threads| threads.get().min(THREADS_MAX)),
        threads => threads,
    };
    let threads = threads.min(groups.len()).min(wanted.len() / OBJECTS_PER_THREAD + 1);
    let parts = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut parts = vec![work()];
        for helper in helpers {
            parts.push(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        parts
    });
    let mut all: Vec<Form> = wanted.iter().map(|_| Form::AsStored).collect();
    for part in parts {
        for (at, form) in part? {
            all[at] = form;
        }
    }
    Ok(all)
}

/// What became of one object.
enum Form {
    AsStored,
    Whole,
    Delta { base: Source, size: u64, deflated: Box<[u8]> },
}

/// A base of a delta: an object of the client, or one of `wanted` by number.
#[derive(Clone, Copy)]
enum Source {
    Client(Location),
    Wanted(usize),
}

/// A base to try.
struct Candidate {
    source: Source,
    object: Object,
    index: BlockIndex,
    depth: u32,
}

impl Candidate {
    fn new(source: Source, object: Object, depth: u32) -> Self {
        Self { source, index: BlockIndex::new(&object.1), object, depth }
    }

    fn memory_bytes(&self) -> usize {
        self.object.1.len() + BlockIndex::memory_bytes(self.object.1.len())
    }
}

/// One thread's tools.
struct Searcher<'a> {
    search: &'a DeltaSearch,
    decoder: Decoder<'a>,
    deflater: Deflater,
    held: &'a AtomicU64,
    cancel: &'a Cancel,
}

impl<'a> Searcher<'a> {
    fn new(reuse: &'a Reuse<'a>, search: &'a DeltaSearch, held: &'a AtomicU64, cancel: &'a Cancel) -> Self {
        let decoder = Decoder::new(reuse.objects, CACHE_BYTES_MAX).given(&reuse.found.decoded);
        Self { search, decoder, deflater: Deflater::new(DEFLATE_LEVEL), held, cancel }
    }

    /// Search one group in order.
    fn group(&mut self, wanted: &[Wanted], group: Range<usize>, forms: &mut Vec<(usize, Form)>) -> Result<(), Error> {
        let mut todo = vec![];
        for at in group.clone() {
            self.cancel.check()?;
            let one = &wanted[at];
            if one.stored_bytes == 0 || self.decoder.size(&one.object)? < one.stored_bytes.saturating_mul(STORED_GOOD_ONE_IN) {
                todo.push(at);
            }
        }
        let Some(&last) = todo.last() else { return Ok(()) };
        let client = match wanted[group.start].base {
            Some(base) => {
                let object = self.decoder.get(&base)?;
                let fits = object.1.len() as u64 <= self.search.object_bytes_max;
                fits.then(|| Candidate::new(Source::Client(base), object, 0))
            }
            None => None,
        };
        let window_len = match (&client, wanted[last].rank.1) {
            (Some(_), _) => self.search.window.div_ceil(WINDOW_SHARE),
            (None, 0) => self.search.window.min(WINDOW_NAMELESS),
            (None, _) => self.search.window,
        };
        let mut window: VecDeque<Candidate> = VecDeque::new();
        let mut window_bytes = 0;
        for at in todo {
            self.cancel.check()?;
            let one = &wanted[at];
            let object = self.decoder.get(&one.object)?;
            let size = object.1.len();
            let searchable = size >= OBJECT_BYTES_MIN && size as u64 <= self.search.object_bytes_max;
            if !searchable || self.held.load(Ordering::Relaxed) > DELTA_BYTES_HELD_MAX {
                continue;
            }
            let candidates = client.iter().chain(window.iter().rev());
            let (form, depth) = match self.best(candidates, &object, one.stored_bytes)? {
                Some(found) => found,
                None if one.stored_bytes > 0 => continue,
                None => (Form::Whole, 0),
            };
            forms.push((at, form));
            if at == last || depth >= self.search.depth {
                continue;
            }
            let candidate = Candidate::new(Source::Wanted(at), object, depth);
            window_bytes += candidate.memory_bytes();
            window.push_back(candidate);
            while window.len() > window_len || window_bytes > WINDOW_BYTES_MAX {
                let Some(oldest) = window.pop_front() else { break };
                window_bytes -= oldest.memory_bytes();
            }
        }
        Ok(())
    }

    /// The shortest delta to `object` from any of the `candidates`, if it is shorter than `stored_bytes`, where that is
    /// not 0, and than half the object; and how many deltas are then in a row.
    fn best<'c>(
        &mut self,
        candidates: impl Iterator<Item = &'c Candidate>,
        object: &Object,
        stored_bytes: u64,
    ) -> Result<Option<(Form, u32)>, Error> {
        let size = object.1.len();
        let mut bytes_max = (size / 2).saturating_sub(20);
        if stored_bytes > 0 {
            bytes_max = bytes_max.min(stored_bytes as usize * 2 + 64);
        }
        let mut best: Option<(Vec<u8>, &Candidate)> = None;
        for candidate in candidates {
            let base = &candidate.object;
            // A base of which hardly anything can remain costs more than it brings, as in git.
            if base.0 != object.0 || candidate.depth >= self.search.depth || size < base.1.len() / 32 {
                continue;
            }
            if let Some(delta) = candidate.index.delta(&base.1, &object.1, bytes_max) {
                bytes_max = delta.len().saturating_sub(1);
                best = Some((delta, candidate));
            } else if stored_bytes > 0 && matches!(candidate.source, Source::Client(_)) {
                // Where not even that helps, what came after it hardly does.
                break;
            }
        }
        let Some((delta, candidate)) = best else { return Ok(None) };
        let mut deflated = vec![];
        self.deflater.whole(&delta, &mut deflated)?;
        if stored_bytes > 0 && deflated.len() as u64 + REF_DELTA_BYTES >= stored_bytes {
            return Ok(None);
        }
        self.held.fetch_add(deflated.len() as u64, Ordering::Relaxed);
        let form = Form::Delta { base: candidate.source, size: delta.len() as u64, deflated: deflated.into() };
        Ok(Some((form, candidate.depth + 1)))
    }
}
