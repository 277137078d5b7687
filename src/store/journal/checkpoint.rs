//! A journal whose commits have all been applied into files that are durable by themselves, and an empty journal.
//!
//! One `syncfs` brings packs, refs, folders and reflogs to the disk, however many pushes made them. Where nobody waits for
//! it, one is done before the repository's lock is taken, so that the one under it has little to do and holds up nobody.

use super::super::Error;
use super::super::owner::{self, Places, RepositoryLock};
use super::file::{Found, JournalFile, boot, now_s};
use super::frame::Header;
use super::{CHECKPOINT_AGE_S, CHECKPOINT_BYTES};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A journal that is longer than this takes nothing more before a checkpoint.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// How long that is waited for, and how long between two looks, in milliseconds.
const ROOM_TIMEOUT_MS: u64 = 30_000;
const ROOM_PAUSE_MS: u64 = 5;

/// Repositories that this process has pushed into since their last checkpoint, and when.
static TOUCHED: LazyLock<Mutex<HashMap<PathBuf, (Places, Instant)>>> = LazyLock::new(Mutex::default);

/// Something has been written into this one's journal.
pub(super) fn note(places: &Places) {
    let mut touched = TOUCHED.lock().unwrap_or_else(PoisonError::into_inner);
    touched.insert(places.common_dir.clone(), (places.clone(), Instant::now()));
}

/// Bring the journals of all repositories to an end that this process has pushed into, but not for at least `idle`.
///
/// A server calls this now and then, and with no time at all when it ends. Returns how many there were.
pub fn checkpoint_idle(idle: Duration) -> usize {
    let due: Vec<Places> = {
        let touched = TOUCHED.lock().unwrap_or_else(PoisonError::into_inner);
        touched.values().filter(|(_, when)| when.elapsed() >= idle).map(|(places, _)| places.clone()).collect()
    };
    due.iter().filter(|places| owner::sync_file_system(&places.common_dir).is_ok() && checkpoint_or_warn(places)).count()
}

/// The same for one repository, after a push that made its journal long or found it old.
pub(in super::super) fn checkpoint_if_due(places: &Places) {
    let is_due = || -> Result<bool, Error> {
        let Some(journal) = JournalFile::open(&places.common_dir, false)? else { return Ok(false) };
        let Some(header) = journal.header()? else { return Ok(false) };
        let bytes = journal.file.metadata().map_err(journal.failed("looking at"))?.len();
        Ok(bytes > CHECKPOINT_BYTES || header.since_s + CHECKPOINT_AGE_S < now_s())
    };
    match is_due() {
        Ok(true) => _ = checkpoint_or_warn(places),
        Ok(false) => {}
        Err(err) => tracing::warn!(repository = %places.common_dir.display(), %err, "cannot look at the journal"),
    }
}

/// Wait until the journal has room for another push. While it has none nobody begins to write, so those under way come to
/// their end and all of it can be brought to the disk.
pub(in super::super) fn make_room(places: &Places) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_millis(ROOM_TIMEOUT_MS);
    loop {
        let Some(journal) = JournalFile::open(&places.common_dir, false)? else { return Ok(()) };
        let bytes = journal.file.metadata().map_err(journal.failed("looking at"))?.len();
        if bytes <= JOURNAL_BYTES_MAX || checkpoint(places)? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::InTheWay("too many pushes into this repository are under way; try again later".into()));
        }
        std::thread::sleep(Duration::from_millis(ROOM_PAUSE_MS));
    }
}

fn checkpoint_or_warn(places: &Places) -> bool {
    match checkpoint(places) {
        Ok(done) => done,
        Err(err) => {
            tracing::error!(repository = %places.common_dir.display(), %err, "the journal cannot be brought to an end");
            false
        }
    }
}

/// Bring everything to the disk and begin the next generation; `false` while pushes are under way.
pub(super) fn checkpoint(places: &Places) -> Result<bool, Error> {
    let Some(journal) = JournalFile::open(&places.common_dir, true)? else {
        forget(places);
        return Ok(false);
    };
    let lock = RepositoryLock::acquire(places)?;
    let Some(tail) = journal.unsettled()?.filter(|tail| tail.header.boot == boot() && !tail.header.failed) else { return Ok(false) };
    let pending: Vec<&Found> = tail.found.iter().filter(|found| found.applied.is_none()).collect();
    if pending.iter().any(|found| !owner_is_dead(places, found)) {
        return Ok(false);
    }
    if let Err(err) = owner::sync_file_system(&places.common_dir) {
        journal.set_header(&lock, &Header { failed: true, ..tail.header })?;
        return Err(journal.failed("syncing what is named in")(err));
    }
    finish(&lock, &journal, &tail.header, &pending)?;
    forget(places);
    Ok(true)
}

/// Begin the next generation with what has not been applied.
pub(super) fn finish(lock: &RepositoryLock, journal: &JournalFile, header: &Header, pending: &[&Found]) -> Result<(), Error> {
    let generation = header.generation.wrapping_add(1);
    let kept: Vec<_> = pending.iter().filter(|found| found.durable).map(|found| &found.commit).collect();
    if kept.is_empty() { journal.begin_anew(lock, generation) } else { journal.replace(lock, generation, &kept) }
}

/// This repository is no concern of this process any more.
pub(in super::super) fn forget(places: &Places) {
    TOUCHED.lock().unwrap_or_else(PoisonError::into_inner).remove(&places.common_dir);
}

/// Whether whoever wrote this commit is gone, or cannot be told to be there.
pub(super) fn owner_is_dead(places: &Places, found: &Found) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = places.objects_dir.join(std::ffi::OsStr::from_bytes(&found.commit.owner));
    owner::is_dead(&dir).unwrap_or(false)
}
