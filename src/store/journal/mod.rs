//! Pushes into one durable, atomic step each: a journal per repository, `packmule-journal` beside `packed-refs`.
//!
//! # What it is for
//!
//! A push changes many files: a pack and its index, refs, their folders. To bring each to the disk in the right order takes
//! ten syncs, and still several refs do not change at one moment, neither for readers nor across a crash. Here a push is
//! one [frame](frame) of a file that only grows: every edit with its old and new value, where history is cut off for them, and
//! the pack's bytes where they are few.
//! Once that frame is on disk, with one `fdatasync`, the push has happened, whatever happens then. Pushes that wait for
//! that at one moment share it.
//!
//! # One push
//!
//! 1. The refs are locked, as git locks them, and their old values compared: `ref_transaction`. A push that cuts history off
//!    locks the file `shallow` as well, and brings its next content to the disk: other lines than its own stand in it.
//! 2. Under the repository's lock the commit is appended and the pack made visible. A pack above
//!    [`EMBEDDED_BYTES_MAX`] is synced by itself, with its folder; its index can be made again.
//! 3. `fdatasync`; a mark says up to where the file is durable. From here on readers see the push: all of it
//!    ([`overlay`]).
//! 4. `shallow` is replaced, then every ref gets its new value in its ordinary file (renames, not synced), so that stock git
//!    sees it and its gc keeps the objects; a mark says that the commit has been applied. The locks go, and the push is reported.
//!
//! Later a [checkpoint](checkpoint) brings all to the disk with one `syncfs` and begins the next generation: when the
//! journal has grown beyond [`CHECKPOINT_BYTES`], when it is a minute old, when a server has been idle or ends. Where pushes
//! without pause leave no moment for that, new ones wait until it has been done.
//!
//! # After a crash
//!
//! [`recover`]: a process that died leaves commits without marks. One that is not marked durable was not acknowledged and
//! never will be; one that is and is not marked applied is applied now, under the dead process's own locks. Where the
//! machine was down (another boot id), nothing that was not synced is relied on: packs are written anew from the
//! journal, refs get the values that it names. Before any ref, `shallow` gets back the lines that are missing where history
//! still ends there ([`cuts`]); where somebody else holds its lock, the commits wait that need them, and those that touch the
//! same refs or build on them. In both cases a ref is changed only where it still has a value that the journal
//! knows, or its file is torn; otherwise another program has changed it since, and it keeps what it has, with a
//! line in the log.
//!
//! # When the disk fails
//!
//! After a failed sync nothing that the system says about those bytes can be relied on (a second sync may succeed without
//! them). The push is refused, and so is every other until the next boot, when what the disk really has is looked at.
//!
//! # Limits
//!
//! - Stock git sees refs change one by one, and after a power cut it sees what the disk has until packmule has
//!   opened the repository again: `serve` does that at its start, a drop-in with its next command.
//! - The file system must keep its changes of folders in their order across a power cut (ext4, XFS and Btrfs do), and
//!   `syncfs` must reach the disk (through FUSE it may not).
//! - A change by another program back to exactly an older value is told from a torn one by the times of files.
//! - Stock git's `prune` drops lines of `shallow` that no ref reached when it began: a push meanwhile may lose its lines, as
//!   one of git's own may.
//! - Reflogs are not synced, as git does not sync them.
//! - Which boot this is stands in `/proc`. Where that is not mounted, every process counts as a boot of its own: then each
//!   looks over what the one before it left, and two that push at one moment may be told to try again.
//! - While a commit is under way it is held in memory by whoever reads the journal: about 150 bytes for each of its refs.

mod checkpoint;
mod cuts;
mod file;
mod frame;
mod overlay;
mod recover;
#[cfg(test)]
mod tests;

pub use checkpoint::checkpoint_idle;

pub(super) use checkpoint::{checkpoint_if_due, forget, make_room};
pub(super) use cuts::{pending_cuts, that_reach};
pub(super) use file::JOURNAL_FILE;
pub(super) use frame::{Commit, NamedPack};
pub(super) use overlay::read_refs;
pub(super) use recover::{owners_of_pending, recover};

use self::file::{JournalFile, boot};
use self::frame::HEADER_BYTES;
use super::Error;
use super::flock::Flock;
use super::owner::{self, Places, RepositoryLock};
use super::turns::Turns;
use std::time::{Duration, Instant};

/// Packs up to so many bytes stand in the journal; it takes less time to write them twice than to wait for three more syncs.
pub(super) const EMBEDDED_BYTES_MAX: u64 = 512 << 10;
/// A journal that is longer than this is brought to an end by the push that made it so.
const CHECKPOINT_BYTES: u64 = 8 << 20;
/// A journal that is older than this likewise, in seconds.
const CHECKPOINT_AGE_S: u64 = 60;
/// A sync that takes longer is not waited for to be shared, in milliseconds.
const SHARE_TIMEOUT_MS: u64 = 30_000;

/// What a pusher is told once bringing data to the disk has failed.
const DISK_FAILED: &str =
    "the server's disk has failed to store data, so it takes no more pushes into this repository; tell its administrator";

/// Seconds since 1970.
pub(super) fn now_s() -> u64 {
    file::now_s()
}

/// One commit in the journal, from when it is written until it is applied.
pub(super) struct Ticket {
    journal: JournalFile,
    places: Places,
    at: u64,
    end: u64,
    edits: usize,
}

/// Write a commit behind those that are there. It counts for nothing before [`Ticket::sync`].
pub(super) fn append(lock: &RepositoryLock, places: &Places, commit: &Commit) -> Result<Ticket, Error> {
    let journal = JournalFile::open_or_create(lock, places)?;
    let tail = journal.unsettled()?.ok_or_else(|| Error::Corrupt("the journal has no header".into()))?;
    if tail.header.boot != boot() {
        // Somebody carried the repository elsewhere while the push went on, or recovering it failed.
        return Err(Error::InTheWay("the repository is still being recovered after a crash; try again later".into()));
    }
    if tail.header.failed {
        return Err(Error::InTheWay(DISK_FAILED.into()));
    }
    if tail.end == HEADER_BYTES as u64 {
        journal.begin_to_age(lock, &tail.header)?;
    } else if journal.is_of_an_earlier_version()? {
        // Before the frame, and synced with it: a program of that version is to find no frame that it takes for a torn one.
        journal.set_header(lock, &tail.header)?;
    }
    let mut bytes = vec![];
    frame::encode_commit(tail.header.generation, commit, &mut bytes);
    journal.append(lock, &tail, &bytes)?;
    checkpoint::note(places);
    let (at, end) = (tail.end, tail.end + bytes.len() as u64);
    Ok(Ticket { journal, places: places.clone(), at, end, edits: commit.edits.len() })
}

impl Ticket {
    /// Take it back, under the lock that it was written under. It stays as one that will not happen: somebody may be syncing
    /// up to its end, and must not vouch for another that stands there then.
    pub(super) fn retract(self, lock: &RepositoryLock) {
        let all: Vec<u32> = (0..self.edits as u32).collect();
        if let Err(err) = mark_applied(lock, &self.journal, self.at, &all) {
            tracing::warn!(%err, "a commit that came to nothing is cut off the journal");
            if let Err(err) = self.journal.file.set_len(self.at) {
                tracing::error!(%err, "and could not be: its owner's death will void it");
            }
        }
    }

    /// Bring it to the disk, together with whatever others have written by now.
    ///
    /// # Errors
    /// It is not there, and will not be: nothing may be acknowledged.
    pub(super) fn sync(&self) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_millis(SHARE_TIMEOUT_MS);
        // Whoever waits here wakes up to a journal that somebody else has synced. Without a turn it goes on as well.
        let _turn = Turns::of(&self.places.common_dir.join(JOURNAL_FILE)).wait(deadline);
        let shared = Flock::take_until(&self.journal.file, deadline).map_err(self.journal.failed("locking"))?;
        let result = self.sync_in_turn();
        drop(shared);
        result
    }

    fn sync_in_turn(&self) -> Result<(), Error> {
        let no_header = || Error::Corrupt("the journal's header is gone".into());
        let tail = self.journal.unsettled()?.ok_or_else(no_header)?;
        if tail.is_durable(self.end) {
            return Ok(());
        }
        if tail.header.failed {
            return Err(Error::InTheWay(DISK_FAILED.into()));
        }
        let synced = self.journal.file.sync_data();
        let lock = RepositoryLock::acquire(&self.places)?;
        let now = self.journal.unsettled()?.ok_or_else(no_header)?;
        if let Err(err) = synced {
            self.fail(&lock);
            return Err(self.journal.failed("syncing")(err));
        }
        self.journal.append(&lock, &now, &frame::encode_durable(now.header.generation, tail.end))
    }

    /// A sync has failed: take no more pushes before the next boot.
    pub(super) fn fail(&self, lock: &RepositoryLock) {
        tracing::error!(repository = %self.places.common_dir.display(), "a sync failed: no more pushes before the next boot");
        let header = self.journal.header().map(|header| header.map(|header| frame::Header { failed: true, ..header }));
        let noted = header.and_then(|header| header.map_or(Ok(()), |header| self.journal.set_header(lock, &header)));
        if let Err(err) = noted {
            tracing::error!(%err, "and the journal could not be told so");
        }
    }

    /// Say that every ref stands in its file, but for the edits of these numbers, which will never be.
    pub(super) fn applied(self, but: &[u32]) -> Result<(), Error> {
        let lock = RepositoryLock::acquire(&self.places)?;
        mark_applied(&lock, &self.journal, self.at, but)?;
        if !but.is_empty() {
            // What was taken back must not come again after a power cut.
            owner::sync_file_system(&self.places.common_dir).map_err(self.journal.failed("syncing what lies beside"))?;
        }
        Ok(())
    }

    /// It has failed before it was durable for its owner.
    pub(super) fn void(self) {
        let all: Vec<u32> = (0..self.edits as u32).collect();
        let lock = RepositoryLock::acquire(&self.places);
        if let Err(err) = lock.and_then(|lock| mark_applied(&lock, &self.journal, self.at, &all)) {
            tracing::error!(%err, "a push was refused, and the journal could not be told so");
        }
    }
}

fn mark_applied(lock: &RepositoryLock, journal: &JournalFile, at: u64, but: &[u32]) -> Result<(), Error> {
    let Some(mut tail) = journal.unsettled()? else { return Ok(()) };
    let mark = frame::encode_applied(tail.header.generation, at, but);
    journal.append(lock, &tail, &mark)?;
    if let Some(found) = tail.found.iter_mut().find(|found| found.at == at) {
        found.applied = Some(vec![]);
    }
    let end = tail.end + mark.len() as u64;
    let settled = tail.found.iter().find(|found| found.applied.is_none()).map_or(end, |found| found.at);
    journal.set_header(lock, &frame::Header { settled, ..tail.header })
}
