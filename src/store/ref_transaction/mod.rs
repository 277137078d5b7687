//! Edits of refs into files: locked, old values compared under lock, renamed.
//!
//! Source: `refs/files-backend.c`, `refs/packed-backend.c`. [`RefTransaction::prepare`] takes every lock, in order of
//! names, and compares every old value with what lies on disk then; nothing has changed yet. [`RefTransaction::commit`]
//! deletes, then writes, then lets the locks go: all locks are held until all refs stand, so that an atomic transaction
//! that meets a fault half-way is taken back under its own locks. Between the two the journal makes it durable, and one step
//! for readers; nothing is synced here but `packed-refs`, which holds refs of others.
//!
//! - Deletions go first, so that a push may delete `a` and create `a/b`. A ref leaves `packed-refs` before its file goes,
//!   lest an old packed value shows; `packed-refs.lock` is held whenever something is deleted, lest `git pack-refs`
//!   packs it meanwhile.
//! - An edit of a symbolic ref edits the ref that it finally names.
//! - Loose files are read before `packed-refs`, so that a ref which is being packed is seen in one of them.
//!
//! Limits: refs of linked work trees are not told apart.

mod commit;
mod prepare;
#[cfg(test)]
mod tests;

use super::owner::Places;
use super::packed_refs::PackedRefs;
use super::ref_lock::RefLock;
use super::{CommitMode, Error, LogRefs, RefEdit, RefRefusal};
use bstr::{BStr, BString, ByteSlice as _};
use gix_hash::ObjectId;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where a transaction has come to (githooks, "reference-transaction").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is locked yet.
    Preparing,
    /// All is locked and compared; nothing has changed.
    Prepared,
    /// All that could be done is done.
    Committed,
    /// Nothing was changed.
    Aborted,
}

/// Is told of every state of a transaction, and may veto the first two.
pub trait TransactionObserver {
    /// The transaction, with the edits that still stand, is in `state`; an error refuses all of them.
    fn entered(&mut self, state: State, edits: &[(&BStr, ObjectId, ObjectId)]) -> Result<(), String> {
        let _ = (state, edits);
        Ok(())
    }
}

/// Lets everything happen.
pub struct NoObserver;

impl TransactionObserver for NoObserver {}

/// What the transaction works on.
pub(super) struct Ground<'a> {
    /// The repository's folders.
    pub places: &'a Places,
    /// Where locks are staged and recorded.
    pub quarantine: &'a Path,
    /// SHA-1 or SHA-256.
    pub hash: gix_hash::Kind,
    /// Which changes are logged.
    pub log_refs: LogRefs,
    /// It was committed before, and is done again.
    pub redo: Option<Redo<'a>>,
}

/// A transaction whose first process died.
pub(super) struct Redo<'a> {
    /// Locks of dead processes: what each is linked from.
    pub dead_locks: &'a BTreeMap<PathBuf, PathBuf>,
    /// When it was committed, in seconds since 1970.
    pub time_s: u64,
}

/// How far one ref's edit has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing stands against it.
    Ready,
    /// This ref's file must be deleted before there can be a lock.
    After(BString),
    /// It has happened.
    Done,
    /// It will not happen.
    Refused(RefRefusal),
}

/// One ref that is edited.
struct Slot {
    /// The caller's edits that come to this: more than one where several names lead to one ref.
    edits: Vec<usize>,
    name: BString,
    /// Symbolic refs that the edit came through.
    through: Vec<BString>,
    old: ObjectId,
    new: ObjectId,
    message: BString,
    lock: RefLock,
    progress: Progress,
}

impl Slot {
    fn is_deletion(&self) -> bool {
        self.new.is_null()
    }

    fn is_creation(&self) -> bool {
        self.old.is_null() && !self.new.is_null()
    }

    /// Only the comparison matters.
    fn changes_nothing(&self) -> bool {
        self.old == self.new && !self.new.is_null()
    }

    fn is_ready(&self) -> bool {
        self.progress == Progress::Ready
    }

    fn refuse(&mut self, why: RefRefusal) {
        self.lock.release();
        self.progress = Progress::Refused(why);
    }
}

fn io_refusal(doing: &str, name: &BStr, err: &io::Error) -> RefRefusal {
    tracing::error!(%name, %err, "{doing} failed");
    RefRefusal::Io(err.to_string())
}

/// Edits under lock. Dropped without commit, it lets go of every lock and changes nothing.
pub(super) struct RefTransaction<'a> {
    ground: Ground<'a>,
    mode: CommitMode,
    observer: &'a mut dyn TransactionObserver,
    /// Sorted by name.
    slots: Vec<Slot>,
    /// Edits that never became a slot.
    refused: BTreeMap<usize, RefRefusal>,
    edits: usize,
    packed: Option<PackedRefs>,
    packed_lock: Option<RefLock>,
    /// Folders made on the way to locks, outermost first.
    made: Vec<PathBuf>,
    committed: bool,
}

impl<'a> RefTransaction<'a> {
    /// Lock every ref and compare its value with the one that its edit expects.
    ///
    /// # Errors
    /// Faults that concern no single ref: the quarantine cannot be written, `packed-refs` is damaged.
    pub(super) fn prepare(
        ground: Ground<'a>,
        edits: &[RefEdit],
        mode: CommitMode,
        observer: &'a mut dyn TransactionObserver,
    ) -> Result<Self, Error> {
        let mut this = Self {
            ground,
            mode,
            observer,
            slots: vec![],
            refused: BTreeMap::new(),
            edits: edits.len(),
            packed: None,
            packed_lock: None,
            made: vec![],
            committed: false,
        };
        this.resolve(edits);
        this.enter(State::Preparing);
        if this.may_go_on() {
            this.stage().map_err(Error::io(format!("staging locks in {}", this.ground.quarantine.display())))?;
            this.take_locks();
            this.compare()?;
            this.settle();
            this.enter(State::Prepared);
        }
        Ok(this)
    }

    /// The edits that would change something, by the names of the refs that change; and the caller's number of each.
    pub(super) fn changes(&self) -> (Vec<RefEdit>, Vec<usize>) {
        let standing = self.slots.iter().filter(|slot| matches!(slot.progress, Progress::Ready | Progress::After(_)));
        let edit = |slot: &Slot| {
            let (name, old, new, message) = (slot.name.clone(), slot.old, slot.new, slot.message.clone());
            (RefEdit { name, old, new, message }, slot.edits[0])
        };
        standing.filter(|slot| slot.old != slot.new).map(edit).unzip()
    }

    /// Whether any edit would happen.
    pub(super) fn has_work(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot.progress, Progress::Ready | Progress::After(_)))
    }

    /// Whether all, or in [`CommitMode::PerRef`] any, edits still stand; in an atomic one the others are refused with the first.
    fn may_go_on(&mut self) -> bool {
        self.settle();
        self.has_work()
    }

    /// One refusal refuses all, if all stand or fall together.
    fn settle(&mut self) {
        let is_refused = |slot: &Slot| matches!(slot.progress, Progress::Refused(_));
        if self.mode == CommitMode::Atomic && (!self.refused.is_empty() || self.slots.iter().any(is_refused)) {
            self.slots.iter_mut().filter(|slot| !is_refused(slot)).for_each(|slot| slot.refuse(RefRefusal::Atomic));
        }
    }

    fn enter(&mut self, state: State) {
        let standing: Vec<_> = self
            .slots
            .iter()
            .filter(|slot| !matches!(slot.progress, Progress::Refused(_)))
            .map(|slot| (slot.name.as_bstr(), slot.old, slot.new))
            .collect();
        if let Err(why) = self.observer.entered(state, &standing) {
            for slot in self.slots.iter_mut().filter(|slot| matches!(slot.progress, Progress::Ready | Progress::After(_))) {
                slot.refuse(RefRefusal::Vetoed(why.clone()));
            }
        }
    }

    /// Do nothing. One result per edit, in the caller's order.
    pub(super) fn give_up(self) -> Vec<Result<(), RefRefusal>> {
        self.results()
    }

    fn results(&self) -> Vec<Result<(), RefRefusal>> {
        let mut results = vec![Err(RefRefusal::Atomic); self.edits];
        for (at, why) in &self.refused {
            results[*at] = Err(why.clone());
        }
        for slot in &self.slots {
            let result = match &slot.progress {
                Progress::Done => Ok(()),
                Progress::Refused(why) => Err(why.clone()),
                Progress::Ready | Progress::After(_) => Err(RefRefusal::Atomic), // prepared and given up
            };
            slot.edits.iter().for_each(|at| results[*at] = result.clone());
        }
        results
    }

    fn release(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.lock.release());
        if let Some(lock) = &mut self.packed_lock {
            lock.release();
        }
        for folder in self.made.drain(..).rev() {
            let _ = fs::remove_dir(folder); // fails where something stands in it, as it should
        }
    }
}

impl Drop for RefTransaction<'_> {
    fn drop(&mut self) {
        self.release();
        if !self.committed {
            self.enter(State::Aborted);
        }
    }
}
