//! A stream of pack bytes into a checked pack with its `.idx` and `.rev`.
//!
//! Source: gitformat-pack; gitprotocol-pack, "Packfile Data". Two passes, as in git's index-pack:
//!
//! | file | turns what into what |
//! |---|---|
//! | `window` | the peer's bytes into parsed, hashed and written ones, through one buffer |
//! | `receive` | first pass: the stream into a file and a table; whole objects get their ids |
//! | `table` | what is remembered of each entry |
//! | `forest` | links to bases into lists of children |
//! | `source` | entries of the file back into memory |
//! | `permit` | pushes that hold large objects into a queue |
//! | `stored` | ids into stored bases, none larger than allowed |
//! | `resolve` | second pass: deltas into ids, depth first on several threads |
//! | `large` | commits, trees and tags too large to be held meanwhile into what git's fsck says of them |
//! | `thin` | a thin pack into a whole one: missing bases are appended |
//! | `write_idx` | the table into `.idx` and `.rev` |
//! | `landing` | temporary files into synced ones under their names, or into nothing |
//! | `settle` | the whole pack into what can be said only of it: collisions, blobs with a meaning |
//!
//! Memory: 45 bytes for each entry (SHA-1), a window of 256 KiB, and at most [`RESOLVE_BYTES_HELD_MAX`] of objects and
//! deltas. In the whole process one push at a time may hold more: up to three times
//! [`IngestLimits::held_object_bytes_max`], for a base, its delta and the result, or for the deflated bytes of one of them.
//! Every object's bytes pass through `receive` or `resolve` once, and there they are checked ([`Checks`]). A pack with the
//! same object twice is refused, as git's `--strict` does. Once the pack has its place, [`settle`] says the rest.

mod forest;
mod landing;
mod large;
mod permit;
mod receive;
mod resolve;
mod settle;
mod source;
mod stored;
mod table;
mod thin;
mod window;
mod write_idx;

pub use settle::{Incoming, settle};

use super::check::Checks;
use super::{Error, Kind, Objects};
use crate::base::limits::RESOLVE_BYTES_HELD_MAX;
use crate::base::{Cancel, Progress};
use forest::Forest;
use gix_hash::oid;
use landing::Landing;
use receive::Received;
use resolve::Job;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use stored::Stored;
use table::{Ids, Table};

/// Bounds of one ingestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestLimits {
    /// Pack bytes taken from the peer; 0: no limit.
    pub pack_bytes_max: u64,
    /// Objects in one pack.
    pub objects_max: u32,
    /// Bytes of one inflated object.
    pub object_bytes_max: u64,
    /// Bytes of one inflated object or delta that must be held in memory as a whole: a delta, its base, what it makes.
    /// Whole objects on which no delta builds are streamed, and only `object_bytes_max` bounds them.
    pub held_object_bytes_max: u64,
    /// Bytes of all objects inflated, deltas and what they make included; 0: by the size of the pack
    /// ([`INFLATED_BYTES_FREE`](crate::base::limits::INFLATED_BYTES_FREE)).
    pub inflated_bytes_max: u64,
    /// Threads that resolve deltas; 0: one per core.
    pub threads: usize,
}

impl Default for IngestLimits {
    /// As git: whatever fits, on all cores. But objects of deltas end at 2 GiB, where git has no bound of its own and
    /// would run out of memory sometime: by default its clients make no deltas of objects above 512 MiB
    /// (`core.bigFileThreshold`), so only one who has set that to more than four times as much can meet this.
    fn default() -> Self {
        Self {
            pack_bytes_max: 0,
            objects_max: u32::MAX,
            object_bytes_max: u64::MAX,
            held_object_bytes_max: 2 << 30,
            inflated_bytes_max: 0,
            threads: 0,
        }
    }
}

/// A pack that now lies in a folder, complete and synced to disk.
#[derive(Clone, Debug)]
pub struct Ingested {
    /// `pack-…` without ending; `None` when the pack had no objects and nothing was kept.
    pub name: Option<String>,
    /// Objects received, bases added to a thin pack not counted.
    pub objects: u32,
    /// Bytes received.
    pub bytes: u64,
}

/// Read one pack from `input` into `folder` as `pack-<trailer>.pack`, `.rev` and `.idx`, synced to disk.
///
/// `input` is read to the pack's trailer; bytes behind it that come with the same read are refused. Deltas of a thin
/// pack find their bases in `bases`. On an error nothing stays in `folder`. [`Error::BadPack`] and [`Error::Limit`] are
/// the peer's fault, in git's words where it has some.
pub fn ingest(
    input: &mut (dyn Read + Send),
    folder: &Path,
    bases: &dyn Objects,
    limits: &IngestLimits,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Ingested, Error> {
    ingest_checked(input, folder, bases, limits, &Checks::off(), progress, cancel)
}

/// As [`ingest`], and every object is shown to `checks`; [`settle`] then says what they can say only of a whole pack.
///
/// # Errors
/// Those of [`ingest`], and [`Error::BadObject`].
pub fn ingest_checked(
    input: &mut (dyn Read + Send),
    folder: &Path,
    bases: &dyn Objects,
    limits: &IngestLimits,
    checks: &Checks,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Ingested, Error> {
    let bounds = Bounds { limits, held_bytes_max: RESOLVE_BYTES_HELD_MAX, checks };
    ingest_within(input, folder, bases, &bounds, progress, cancel)
}

/// What one ingestion must keep to.
struct Bounds<'a> {
    limits: &'a IngestLimits,
    held_bytes_max: u64,
    checks: &'a Checks,
}

fn ingest_within(
    input: &mut (dyn Read + Send),
    folder: &Path,
    bases: &dyn Objects,
    bounds: &Bounds<'_>,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Ingested, Error> {
    let mut landing = Landing::new(folder);
    let pack = landing.create("pack")?;
    let hash = bases.hash_kind();
    let received = receive::receive(input, &pack, hash, bounds, progress, cancel)?;
    let objects = received.table.len() as u32;
    let bytes = received.end + hash.len_in_bytes() as u64;
    if objects == 0 {
        return Ok(Ingested { name: None, objects, bytes });
    }
    let mut trailer = received.trailer;
    large::check_large(&pack, &received, bounds.checks, bounds.limits, cancel)?;
    let (table, end) = resolve(&pack, received, &mut Stored::new(bases), bounds, progress, cancel)?;
    if table.len() != objects as usize {
        trailer = thin::rewrite_trailer(&pack, hash, table.len() as u32, end, cancel)?;
    }
    cancel.check()?;
    let (rev, idx) = (landing.create("rev")?, landing.create("idx")?);
    write_idx::write_indexes(&table, &trailer, &idx, &rev, cancel)?;
    drop(table);
    let name = landing.keep(&trailer, [(&pack, "pack"), (&rev, "rev"), (&idx, "idx")])?;
    Ok(Ingested { name: Some(name), objects, bytes })
}

/// Give every delta its id, with bases appended to `pack` where it is thin: all entries, and where the last one ends.
fn resolve(
    pack: &File,
    received: Received,
    stored: &mut Stored<'_>,
    bounds: &Bounds<'_>,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<(Table, u64), Error> {
    let Received { mut table, by_base, deltas, trailer, end, inflated_bytes_max, .. } = received;
    let limits = bounds.limits;
    if deltas == 0 {
        return Ok((table, end));
    }
    let hash = trailer.kind();
    let phase = progress.begin("Resolving deltas", deltas);
    let forest = Forest::new(&table, by_base);
    let ids = std::mem::replace(&mut table.ids, Ids::new(hash));
    let job = Job {
        file: pack,
        hash,
        table: &table,
        ids: Mutex::new(ids),
        forest: &forest,
        end,
        limits,
        inflated_bytes_max,
        held_bytes_max: bounds.held_bytes_max,
        checks: bounds.checks,
        phase: &phase,
        cancel,
        resolved: AtomicU64::new(0),
        remade_bytes: AtomicU64::new(0),
        oversize: Mutex::new(()),
    };
    let threads = if limits.threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { limits.threads };
    job.run(threads, deltas)?;
    let (appended, end) =
        if job.resolved.load(Ordering::Relaxed) < deltas { thin::append_bases(&job, stored)? } else { (Table::new(hash), end) };
    let unresolved = deltas - job.resolved.load(Ordering::Relaxed);
    if unresolved != 0 {
        let s = if unresolved == 1 { "" } else { "s" };
        return Err(Error::BadPack(format!("pack has {unresolved} unresolved delta{s}")));
    }
    phase.finish();
    table.ids = job.ids.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    table.append(&appended);
    if table.len() > table::ENTRIES_MAX as usize {
        return Err(Error::Limit { what: "number of objects in the pack", limit: table::ENTRIES_MAX.into() });
    }
    Ok((table, end))
}

/// For a [`resolve::Worker`] that has no others to stop for.
static RUN_ON: AtomicBool = AtomicBool::new(false);

/// The hasher of an object of this type and size, before its first byte.
fn object_hasher(hash: gix_hash::Kind, kind: Kind, size: u64) -> gix_hash::Hasher {
    let mut hasher = gix_hash::hasher(hash);
    hasher.update(&gix_object::encode::loose_header(kind, size));
    hasher
}

/// Refuse what must be held in memory as a whole before it is, by the size that it claims.
fn check_held(size: u64, limits: &IngestLimits) -> Result<(), Error> {
    let limit = limits.held_object_bytes_max;
    if size > limit {
        return Err(Error::Limit { what: "size in bytes of a delta, its base or its result", limit });
    }
    Ok(())
}

fn bad_object(at: u64, what: &str) -> Error {
    Error::BadPack(format!("pack has bad object at offset {at}: {what}"))
}

fn twice(id: &oid) -> Error {
    Error::BadPack(format!("The same object {id} appears twice in the pack"))
}

#[cfg(test)]
mod tests {
    use super::super::{Deflater, Location, NoObjects, PackFile, write_entry_header, write_ofs_distance};
    use super::*;
    use gix_hash::{Kind::Sha1, ObjectId};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// For each object of the pack: which one its delta is against (by its number here), and whether that is named by id.
    type Plan = Vec<Option<(usize, bool)>>;

    /// Object 0 is one kilobyte; each other is its base with its own number behind it, or only its number.
    fn objects(plan: &Plan) -> Vec<Vec<u8>> {
        let mut objects: Vec<Vec<u8>> = vec![];
        for (at, base) in plan.iter().enumerate() {
            let mut object = base.map_or_else(|| vec![b'x'; 1000], |(base, _)| objects[base].clone());
            object.extend_from_slice(&(at as u32).to_be_bytes());
            objects.push(object);
        }
        objects
    }

    fn id(object: &[u8]) -> ObjectId {
        let mut hasher = object_hasher(Sha1, Kind::Blob, object.len() as u64);
        hasher.update(object);
        hasher.try_finalize().expect("no collision")
    }

    fn push_size(mut size: usize, out: &mut Vec<u8>) {
        while size > 0x7f {
            out.push(size as u8 | 0x80);
            size >>= 7;
        }
        out.push(size as u8);
    }

    /// Copies the base whole and adds the last four bytes of `object`.
    fn delta(base: &[u8], object: &[u8]) -> Vec<u8> {
        let mut delta = vec![];
        push_size(base.len(), &mut delta);
        push_size(object.len(), &mut delta);
        delta.extend_from_slice(&[0x80 | 0x30, base.len() as u8, (base.len() >> 8) as u8, 4]);
        delta.extend_from_slice(&object[object.len() - 4..]);
        delta
    }

    /// Deltas that name their base by id come in backward order behind all others: their base is mostly still to come.
    fn pack(plan: &Plan) -> Vec<u8> {
        let objects = objects(plan);
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend_from_slice(&(plan.len() as u32).to_be_bytes());
        let mut offsets = vec![0; plan.len()];
        let by_id = |at: &usize| matches!(plan[*at], Some((_, true)));
        let order: Vec<_> = (0..plan.len()).rev().filter(by_id).chain((0..plan.len()).filter(|at| !by_id(at))).collect();
        for at in order {
            offsets[at] = pack.len();
            let data = match plan[at] {
                None => objects[at].clone(),
                Some((base, _)) => delta(&objects[base], &objects[at]),
            };
            match plan[at] {
                None => write_entry_header(3, data.len() as u64, &mut pack),
                Some((base, named)) if named || offsets[base] == 0 => {
                    write_entry_header(7, data.len() as u64, &mut pack);
                    pack.extend_from_slice(id(&objects[base]).as_slice());
                }
                Some((base, _)) => {
                    write_entry_header(6, data.len() as u64, &mut pack);
                    write_ofs_distance((offsets[at] - offsets[base]) as u64, &mut pack);
                }
            }
            Deflater::new(1).whole(&data, &mut pack).expect("into memory");
        }
        let mut hasher = gix_hash::hasher(Sha1);
        hasher.update(&pack);
        pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
        pack
    }

    fn take(pack: &[u8], threads: usize, inflated_bytes_max: u64, held_bytes_max: u64) -> Result<Vec<ObjectId>, Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = IngestLimits { object_bytes_max: 1 << 20, inflated_bytes_max, threads, ..IngestLimits::default() };
        let (progress, cancel, checks) = (Progress::new(), Cancel::new(), Checks::off());
        let bounds = Bounds { limits: &limits, held_bytes_max, checks: &checks };
        let taken = ingest_within(&mut &*pack, folder.path(), &NoObjects(Sha1), &bounds, &progress, &cancel);
        if taken.is_err() {
            assert_eq!(folder.path().read_dir().expect("a folder").count(), 0, "nothing stays after an error");
        }
        let path = folder.path().join(taken?.name.expect("not empty") + ".idx");
        let index = gix_pack::index::File::at(path, Sha1).expect("an index");
        Ok(index.iter().map(|entry| entry.oid).collect())
    }

    fn plans() -> impl Strategy<Value = Plan> {
        prop::collection::vec((any::<u16>(), 0u8..8), 1..80).prop_map(|choices| {
            let base = |(at, (choice, how)): (usize, &(u16, u8))| match (at, how) {
                (0, _) | (_, 0) => None,
                // Mostly one of the last three, so that chains get long and bushy.
                (_, 1..6) => Some((at - 1 - usize::from(choice % 3).min(at - 1), choice & 0x100 != 0)),
                _ => Some((usize::from(*choice) % at, choice & 0x100 != 0)),
            };
            choices.iter().enumerate().map(base).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_forest_of_deltas_is_resolved_however_little_may_be_held(plan in plans(), threads in 1usize..4) {
            let mut want: Vec<_> = objects(&plan).iter().map(|object| id(object)).collect();
            want.sort_unstable();
            let pack = pack(&plan);
            for held_bytes_max in [0, 2500, 1 << 20] {
                prop_assert_eq!(&take(&pack, threads, 0, held_bytes_max).expect("a good pack"), &want);
            }
        }
    }

    /// A chain on each of whose objects one more delta hangs. Both are named by id, and the chain's comes first.
    fn comb(teeth: usize) -> Plan {
        let mut plan = vec![None];
        for _ in 0..teeth {
            let spine = plan.len() - 1;
            plan.extend([Some((spine, true)), Some((spine, true))]);
        }
        plan
    }

    #[test]
    fn objects_made_anew_again_and_again_end_in_a_refusal() {
        let pack = pack(&comb(300));
        assert_eq!(take(&pack, 1, 0, 0).expect("within bounds").len(), 601);
        let err = take(&pack, 1, 2_000_000, 0).map(|ids| ids.len()).expect_err("too much work");
        assert_eq!(err.to_string(), "size of bases made anew in bytes exceeds the limit of 2000000");
        assert_eq!(take(&pack, 1, 2_000_000, 1 << 20).expect("nothing is dropped").len(), 601);
    }

    /// One pack, as a repository.
    struct One(Vec<Arc<PackFile>>);

    impl Objects for One {
        fn hash_kind(&self) -> gix_hash::Kind {
            Sha1
        }
        fn packs(&self) -> &[Arc<PackFile>] {
            &self.0
        }
        fn locate(&self, id: &oid) -> Result<Option<Location>, Error> {
            Ok(self.0[0].find(id).map(|entry| Location::Packed { pack: 0, entry }))
        }
        fn read_loose(&self, _: &oid, _: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
            Ok(None)
        }
    }

    #[test]
    fn a_stored_base_is_refused_by_the_largest_on_its_chain() {
        // Bases named by id and by offset; the last object is the largest.
        let plan = vec![None, Some((0, false)), Some((1, true)), Some((2, false))];
        let stored = objects(&plan);
        let folder = tempfile::tempdir().expect("a folder");
        let (limits, progress, cancel) = (IngestLimits::default(), Progress::new(), Cancel::new());
        let name = ingest(&mut &pack(&plan)[..], folder.path(), &NoObjects(Sha1), &limits, &progress, &cancel).expect("good").name;
        let name = name.expect("not empty");
        let read = |ending| std::fs::read(folder.path().join(format!("{name}.{ending}"))).expect("it is there").into();
        let file = PackFile::open(name.clone(), read("idx"), Box::new(super::super::LocalBytes(read("pack"))), None, Sha1);
        let one = One(vec![Arc::new(file.expect("a pack"))]);
        for object in &stored {
            let (location, bytes) = Stored::new(&one).locate(&id(object)).expect("whole").expect("it is there");
            assert_eq!(bytes, object.len() as u64);
            assert_eq!(*Stored::new(&one).read(&location, bytes).expect("whole").1, *object);
        }

        let mut thin = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
        // The first object's size is right, what the delta makes is small.
        let delta = [&[0x80 | (stored[3].len() & 0x7f) as u8, (stored[3].len() >> 7) as u8, 2, 0x90, 2][..]].concat();
        write_entry_header(7, delta.len() as u64, &mut thin);
        thin.extend_from_slice(id(&stored[3]).as_slice());
        Deflater::new(1).whole(&delta, &mut thin).expect("into memory");
        let mut hasher = gix_hash::hasher(Sha1);
        hasher.update(&thin);
        thin.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
        let take = |held_object_bytes_max| {
            let folder = tempfile::tempdir().expect("a folder");
            let limits = IngestLimits { held_object_bytes_max, ..limits };
            ingest(&mut &thin[..], folder.path(), &One(one.0.clone()), &limits, &progress, &cancel).map(|taken| taken.objects)
        };
        let size = stored[3].len() as u64;
        assert_eq!(take(size).expect("within bounds"), 1);
        let err = take(size - 1).expect_err("too large");
        assert_eq!(err.to_string(), format!("size in bytes of a delta, its base or its result exceeds the limit of {}", size - 1));
    }

    #[test]
    fn a_base_whose_delta_lies_about_its_size_is_refused_too() {
        let plan = vec![None, Some((0, false))];
        let mut told = pack(&plan);
        let take = |pack: &[u8], held_object_bytes_max| {
            let folder = tempfile::tempdir().expect("a folder");
            let limits = IngestLimits { held_object_bytes_max, ..IngestLimits::default() };
            let taken = ingest(&mut &pack[..], folder.path(), &NoObjects(Sha1), &limits, &Progress::new(), &Cancel::new());
            taken.map(|taken| taken.objects).map_err(|err| err.to_string())
        };
        assert_eq!(take(&told, 1008), Ok(2));
        let refusal = Err("size in bytes of a delta, its base or its result exceeds the limit of 1003".to_owned());
        assert_eq!(take(&told, 1003), refusal);

        told.truncate(12);
        told[11] = 2;
        write_entry_header(3, 1004, &mut told);
        Deflater::new(1).whole(&[b'x'; 1004], &mut told).expect("into memory");
        let distance = told.len() as u64 - 12;
        write_entry_header(6, 4, &mut told);
        write_ofs_distance(distance, &mut told);
        Deflater::new(1).whole(&[9, 1, 0x90, 1], &mut told).expect("into memory");
        let mut hasher = gix_hash::hasher(Sha1);
        hasher.update(&told);
        told.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
        assert_eq!(take(&told, 1003), refusal);
        assert_eq!(
            take(&told, 1004),
            Err("pack has bad object at offset ".to_owned() + &format!("{}: failed to apply delta", 12 + distance))
        );
    }
}
