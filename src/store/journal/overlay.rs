//! Refs as their files have them, and commits whose refs may stand in those files or not yet, into refs that show every
//! commit as a whole.
//!
//! A commit counts from the moment when it is on disk; its refs get their new values one by one after that. So a reader
//! looks into the journal before it reads refs, to see which commits were applied by then, and again afterwards: of every
//! other commit that is durable then, each ref takes the new value wherever its file still has an older one. What
//! commits later than that has touched no ref that was read. A ref whose file has a value that no commit knows
//! was changed by another program since, and keeps it. Where these commits cut history off is added to what the file
//! `shallow` says, which changes before any ref does: read between the same two looks, it shows a push with its refs or
//! not at all. Objects are looked at after that: where all of a commit's history has come, it is no longer cut off.

use super::super::packed_refs::PackedRefs;
use super::super::ref_files::OwnedTarget;
use super::super::{Error, Repository};
use super::cuts::needed;
use super::file::{JournalFile, Tail, boot};
use super::frame::{Commit, HEADER_BYTES, Header};
use super::recover;
use bstr::{BStr, BString, ByteSlice as _};
use gix_hash::ObjectId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How often refs are read again because a checkpoint came between.
const TRIES_MAX: usize = 100;

/// What commits have made of refs.
#[derive(Debug, Default)]
pub(in super::super) struct Overlay {
    refs: BTreeMap<BString, Became>,
    cuts: BTreeSet<ObjectId>,
}

/// What one ref has become.
#[derive(Debug)]
pub(super) struct Became {
    /// Every value that it had on the way; null: it was not there.
    pub values: Vec<ObjectId>,
    /// The last one.
    pub now: ObjectId,
    /// Which commit brought that about: its number, its edit's, and its time in seconds.
    pub by: (usize, usize, u64),
}

impl Overlay {
    /// Add a commit, which is newer than those before, but for some of its edits.
    pub(super) fn add(&mut self, number: usize, commit: &Commit, but: &[u32]) {
        for (at, edit) in commit.edits.iter().enumerate().filter(|(at, _)| !but.contains(&(*at as u32))) {
            let by = (number, at, commit.time_s);
            let became = self.refs.entry(edit.name.clone()).or_insert_with(|| Became { values: vec![], now: edit.new, by });
            became.values.extend([edit.old, edit.new]);
            (became.now, became.by) = (edit.new, by);
        }
        self.cuts.extend(commit.cuts_but(but));
    }

    /// Add where history is cut off, as far as it still is, to `shallow`, which is sorted and stays so.
    pub(in super::super) fn cut(&self, repository: &Repository, shallow: &mut Vec<ObjectId>) {
        let cuts = needed(repository, shallow, self.cuts.iter().copied()).unwrap_or_else(|err| {
            tracing::warn!(%err, "history counts as cut off wherever a push said so, for objects cannot be looked at");
            self.cuts.iter().copied().filter(|id| shallow.binary_search(id).is_err()).collect()
        });
        if !cuts.is_empty() {
            shallow.extend(cuts);
            shallow.sort_unstable();
        }
    }

    /// All of them, in order of names.
    pub(super) fn refs(&self) -> impl Iterator<Item = (&BStr, &Became)> {
        self.refs.iter().map(|(name, became)| (name.as_bstr(), became))
    }

    /// Put the refs in `loose` right; `packed` are those that count where there is no loose one.
    pub(in super::super) fn lay(mut self, loose: &mut Vec<(BString, OwnedTarget)>, packed: &PackedRefs) -> Result<(), Error> {
        if self.refs.is_empty() {
            return Ok(());
        }
        for (name, value) in loose.iter_mut() {
            let Some(became) = self.refs.remove(name) else { continue };
            let known = match value {
                OwnedTarget::Object(id) => became.values.contains(id),
                OwnedTarget::Symbolic(_) => false,
                OwnedTarget::Broken => true, // torn before it was on disk
            };
            if known {
                *value = shown(became.now);
            }
        }
        for (name, became) in self.refs {
            let null = became.now.kind().null();
            if became.values.contains(&packed.find(name.as_bstr())?.unwrap_or(null)) {
                loose.push((name, shown(became.now)));
            }
        }
        Ok(())
    }
}

/// A deleted ref hides a packed one.
fn shown(now: ObjectId) -> OwnedTarget {
    if now.is_null() { OwnedTarget::Broken } else { OwnedTarget::Object(now) }
}

fn is_denied(err: &Error) -> bool {
    matches!(err, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
}

/// What the journal said before refs were read.
enum Before {
    Absent,
    /// Whoever reads may not read it: then refs are read as git reads them.
    Denied,
    Seen {
        journal: JournalFile,
        header: Header,
        end: u64,
        /// Commits behind `settled` that had been applied.
        applied: Vec<u64>,
    },
}

impl Before {
    fn look(common_dir: &Path) -> Result<Self, Error> {
        let journal = match JournalFile::open(common_dir, false) {
            Ok(Some(journal)) => journal,
            Ok(None) => return Ok(Self::Absent),
            Err(err) if is_denied(&err) => {
                tracing::warn!(%err, "reading refs as their files have them, for the journal may not be read");
                return Ok(Self::Denied);
            }
            Err(err) => return Err(err),
        };
        let Some(tail) = journal.unsettled()? else { return Ok(Self::Absent) };
        let applied = tail.found.iter().filter(|found| found.applied.is_some()).map(|found| found.at).collect();
        Ok(Self::Seen { journal, header: tail.header, end: tail.end, applied })
    }

    fn is_of_another_boot(&self) -> bool {
        matches!(self, Self::Seen { header, end, .. } if header.boot != boot() && *end > HEADER_BYTES as u64)
    }

    /// Everything that the journal says, if another boot wrote it.
    fn all_of_another_boot(&self) -> Result<Option<Overlay>, Error> {
        let Self::Seen { journal, .. } = self else { return Ok(None) };
        if !self.is_of_another_boot() {
            return Ok(None);
        }
        let mut overlay = Overlay::default();
        for (number, found) in journal.whole()?.iter().flat_map(|tail| tail.found.iter().enumerate()) {
            overlay.add(number, &found.commit, found.but());
        }
        Ok(Some(overlay))
    }

    /// What has to be laid over what was read since; `None`: it has to be read again.
    fn look_again(self, common_dir: &Path) -> Result<Option<Overlay>, Error> {
        if matches!(self, Self::Denied) {
            return Ok(Some(Overlay::default()));
        }
        let Self::Seen { journal, header, end, applied } = self else {
            let made = JournalFile::open(common_dir, false)?.map(|journal| journal.header()).transpose()?.flatten();
            return Ok(made.is_none().then(Overlay::default));
        };
        let same = |tail: &Tail| tail.header.generation == header.generation && tail.end >= end;
        let Some(tail) = journal.tail(|_| header.settled)?.filter(same) else { return Ok(None) };
        // A checkpoint between the reading of the header and that of the rest would show as nothing at all.
        if journal.header()?.is_none_or(|now| now.generation != header.generation) {
            return Ok(None);
        }
        let mut overlay = Overlay::default();
        for (number, found) in tail.found.iter().enumerate().filter(|(_, found)| found.durable && !applied.contains(&found.at)) {
            overlay.add(number, &found.commit, found.but());
        }
        Ok(Some(overlay))
    }
}

/// Read refs, and where history is cut off, with `read`; with what it returned comes what is to be laid over that.
///
/// Where the machine has been down since the journal was written, what it names is brought to an end first. Where that
/// cannot be done (by somebody who may only read), all that it says is laid over.
pub(in super::super) fn read_refs<T>(repository: &Repository, mut read: impl FnMut() -> Result<T, Error>) -> Result<(T, Overlay), Error> {
    let common_dir = repository.common_dir();
    for _ in 0..TRIES_MAX {
        let mut before = Before::look(common_dir)?;
        if before.is_of_another_boot() {
            if let Err(err) = recover(repository) {
                tracing::warn!(repository = %common_dir.display(), %err, "this repository cannot be recovered after a crash, so it is shown as it would be");
            }
            before = Before::look(common_dir)?;
            if let Some(overlay) = before.all_of_another_boot()? {
                return Ok((read()?, overlay));
            }
        }
        let value = read()?;
        if let Some(overlay) = before.look_again(common_dir)? {
            return Ok((value, overlay));
        }
    }
    Err(Error::InTheWay("refs of this repository change faster than they can be read; try again".into()))
}
