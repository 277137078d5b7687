//! A thin pack into a whole one: bases that are not in it are appended from what is stored, and what hangs on them is resolved.
//!
//! Source: gitprotocol-pack, "thin-pack"; gitformat-pack. Bases come in the order of the deltas that ask for
//! them, so the same push makes the same pack, and each delta is looked at once. A base is asked for only
//! when nothing before it in the pack has turned out to be it.

use super::super::{Deflater, Error, Kind, type_code, write_entry_header};
use super::resolve::{Job, Worker};
use super::stored::Stored;
use super::table::{Link, Table};
use super::{RUN_ON, check_held, object_hasher};
use crate::base::Cancel;
use gix_hash::ObjectId;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bases are read again rarely: the fastest level.
const LEVEL: i32 = 1;
const COUNT_AT: u64 = 8;
const HASHED_AT_ONCE_BYTES: usize = 256 << 10;

/// Append every missing base that is `stored` to the pack file, whose entries end at `job.end`; what was appended, and where it ends.
pub(super) fn append_bases(job: &Job<'_>, stored: &mut Stored<'_>) -> Result<(Table, u64), Error> {
    let mut appended = Table::new(job.hash);
    let mut end = job.end;
    let mut worker = Worker::new(job, 1, &RUN_ON);
    let mut deflater = Deflater::new(LEVEL);
    for (_, id) in job.forest.unclaimed() {
        job.cancel.check()?;
        if job.forest.is_claimed(&id) {
            continue;
        }
        let Some((location, largest)) = stored.locate(&id)? else { continue };
        check_held(largest, job.limits)?;
        // To read it takes a base, a delta and a result, and to write it fewer.
        worker.ask_for(largest.saturating_mul(3))?;
        let (kind, object) = stored.read(&location, largest)?;
        check_held(object.len() as u64, job.limits)?;
        worker.ask_for((object.len() as u64).saturating_mul(2))?;
        // A few bytes may name a base of any size.
        worker.charge_remade(object.len() as u64)?;
        check_base(&id, kind, &object)?;
        let mut entry = vec![];
        write_entry_header(type_code(kind), object.len() as u64, &mut entry);
        deflater.whole(&object, &mut entry)?;
        drop(object);
        job.file.write_all_at(&entry, end)?;
        appended.push(&id, end, crc32fast::hash(&entry), Link::whole(kind));
        let range = end..end + entry.len() as u64;
        drop(entry);
        end = range.end;
        worker.source.grow(end);
        worker.tree(range, job.forest.claim(&id)?, 0..0)?;
    }
    worker.hand_in();
    Ok((appended, end))
}

/// A damaged base would make wrong objects under right-looking ids.
fn check_base(id: &ObjectId, kind: Kind, object: &[u8]) -> Result<(), Error> {
    let mut hasher = object_hasher(id.kind(), kind, object.len() as u64);
    hasher.update(object);
    match hasher.try_finalize() {
        Ok(found) if found == *id => Ok(()),
        _ => Err(Error::corrupt(format!("local object {id} is corrupt"))),
    }
}

/// Write the new number of entries into the header and the new trailer behind the last entry, at `end`.
///
/// The count stands before everything that the trailer sums up, so the file is read once more.
pub(super) fn rewrite_trailer(file: &File, hash: gix_hash::Kind, entries: u32, end: u64, cancel: &Cancel) -> Result<ObjectId, Error> {
    file.write_all_at(&entries.to_be_bytes(), COUNT_AT)?;
    let mut hasher = gix_hash::hasher(hash);
    let mut buffer = vec![0; HASHED_AT_ONCE_BYTES];
    let mut at = 0;
    while at < end {
        cancel.check()?;
        let len = (end - at).min(HASHED_AT_ONCE_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..len], at)?;
        hasher.update(&buffer[..len]);
        at += len as u64;
    }
    let trailer = hasher.try_finalize().map_err(|err| Error::BadPack(err.to_string()))?;
    file.write_all_at(trailer.as_slice(), end)?;
    Ok(trailer)
}
