//! Locked refs into refs with new values on disk; a fault half-way through an atomic transaction takes all of it back.

use super::super::loose_ref::{self, Loose, ref_path};
use super::super::ref_lock::{REF_LOCK_TIMEOUT_MS, Taken};
use super::super::reflog::Reflog;
use super::super::{CommitMode, Error, RefRefusal};
use super::{Progress, RefTransaction, State, io_refusal};
use bstr::{BStr, ByteSlice as _};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::time::{Duration, Instant};

impl RefTransaction<'_> {
    /// Do it. One result per edit, in the caller's order; `done` hears them while the locks are still held.
    pub(in super::super) fn commit(mut self, identity: &BStr, done: impl FnOnce(&[Result<(), RefRefusal>])) -> Vec<Result<(), RefRefusal>> {
        self.committed = true;
        self.delete_refs();
        self.lock_freed_names();
        self.write_refs();
        self.log(identity);
        done(&self.results());
        self.release();
        self.enter(State::Committed); // who is told may want the refs for himself
        for slot in self.slots.iter().filter(|slot| slot.is_deletion() && slot.progress == Progress::Done) {
            loose_ref::prune_parents(&self.ground.places.common_dir, slot.name.as_bstr());
        }
        self.results()
    }

    fn delete_refs(&mut self) {
        let common_dir = self.ground.places.common_dir.clone();
        if let Err(err) = self.unpack_deleted() {
            tracing::error!(%err, "rewriting packed-refs failed");
            let why = RefRefusal::Io("packed-refs cannot be rewritten".into());
            self.slots.iter_mut().filter(|slot| slot.is_ready() && slot.is_deletion()).for_each(|slot| slot.refuse(why.clone()));
        }
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if !slot.is_ready() || !slot.is_deletion() {
                continue;
            }
            let path = ref_path(&common_dir, slot.name.as_bstr());
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory) => {}
                Err(err) => {
                    let why = io_refusal("deleting a ref", slot.name.as_bstr(), &err);
                    slot.refuse(why);
                    continue;
                }
            }
            self.slots[at].progress = Progress::Done;
        }
        self.undo_if_atomic();
    }

    /// Write `packed-refs` without the refs that are deleted, if it holds any of them.
    fn unpack_deleted(&mut self) -> Result<(), Error> {
        let Some(packed) = &self.packed else { return Ok(()) };
        let mut going = BTreeSet::new();
        for slot in self.slots.iter().filter(|slot| slot.is_ready() && slot.is_deletion()) {
            if packed.find(slot.name.as_bstr())?.is_some() {
                going.insert(slot.name.clone());
            }
        }
        if going.is_empty() {
            return Ok(());
        }
        let common_dir = &self.ground.places.common_dir;
        let (from, to) = (self.ground.quarantine.join("packed-refs"), common_dir.join("packed-refs"));
        let writing = || format!("writing {}", to.display());
        if to.is_symlink() {
            return Err(Error::InTheWay("packed-refs is a symbolic link, which a rename would replace".into()));
        }
        let mut out = BufWriter::new(File::create(&from).map_err(Error::io(writing()))?);
        packed.write_without(&going, &mut out)?;
        let file = out.into_inner().map_err(|err| Error::io(writing())(err.into_error()))?;
        // Other refs than ours stand in it.
        file.sync_all().and_then(|()| fs::rename(&from, &to)).map_err(Error::io(writing()))
    }

    /// Take the locks that had to wait for a deletion in this transaction.
    fn lock_freed_names(&mut self) {
        for at in 0..self.slots.len() {
            let Progress::After(blocker) = &self.slots[at].progress else { continue };
            let freed = self.slots.iter().any(|slot| slot.name == *blocker && slot.progress == Progress::Done);
            let blocker = blocker.clone();
            let deadline = Instant::now() + Duration::from_millis(REF_LOCK_TIMEOUT_MS);
            let slot = &mut self.slots[at];
            let verdict = match slot.lock.take(deadline, &mut self.made) {
                _ if !freed => Err(RefRefusal::Conflict(blocker)),
                Ok(Taken::Held) => Ok(()),
                Ok(Taken::ByAnother) => Err(RefRefusal::Locked(format!("{}.lock", slot.name))),
                Ok(Taken::FileInTheWay) => Err(RefRefusal::Conflict(blocker)),
                Err(err) => Err(io_refusal("locking a ref", slot.name.as_bstr(), &err)),
            };
            let verdict = verdict.and_then(|()| match self.loose(self.slots[at].name.as_bstr())? {
                Loose::Missing => Ok(()),
                _ => Err(RefRefusal::Stale),
            });
            match verdict {
                Ok(()) => self.slots[at].progress = Progress::Ready,
                Err(why) => self.slots[at].refuse(why),
            }
        }
        self.undo_if_atomic();
    }

    fn write_refs(&mut self) {
        for at in 0..self.slots.len() {
            if !self.slots[at].is_ready() || self.slots[at].is_deletion() {
                continue;
            }
            if self.slots[at].changes_nothing() {
                self.slots[at].progress = Progress::Done;
                continue;
            }
            match self.write_ref(at) {
                Ok(()) => self.slots[at].progress = Progress::Done,
                Err(err) => {
                    let why = io_refusal("writing a ref", self.slots[at].name.as_bstr(), &err);
                    self.slots[at].refuse(why);
                    self.undo_if_atomic();
                }
            }
        }
    }

    /// Give the ref its new value; the lock stays, as another link to the same file.
    fn write_ref(&mut self, at: usize) -> io::Result<()> {
        let slot = &self.slots[at];
        let path = ref_path(&self.ground.places.common_dir, slot.name.as_bstr());
        let spare = self.ground.quarantine.join(format!("new-{}", slot.edits[0]));
        fs::hard_link(slot.lock.staged(), &spare)?;
        match fs::rename(&spare, &path) {
            Err(err) if matches!(err.kind(), ErrorKind::IsADirectory | ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                self.clear_folder(at)?;
                fs::rename(&spare, &path)
            }
            other => other,
        }
    }

    /// Remove the empty folder that stands where this slot's ref shall be, and the locks of finished slots in it.
    fn clear_folder(&mut self, at: usize) -> io::Result<()> {
        let name = self.slots[at].name.clone();
        for other in &mut self.slots {
            if is_beneath(other.name.as_bstr(), name.as_bstr()) && other.is_deletion() && other.progress == Progress::Done {
                other.lock.release();
            }
        }
        loose_ref::remove_empty_folders(&ref_path(&self.ground.places.common_dir, name.as_bstr()))
    }

    /// After a fault half-way: everything back, what was written first, so that names are free for what was deleted.
    fn undo_if_atomic(&mut self) {
        if self.mode != CommitMode::Atomic || !self.slots.iter().any(|slot| matches!(slot.progress, Progress::Refused(_))) {
            return;
        }
        self.slots.iter_mut().filter(|slot| slot.is_ready()).for_each(|slot| slot.refuse(RefRefusal::Atomic));
        for deletions in [false, true] {
            for at in 0..self.slots.len() {
                if self.slots[at].progress != Progress::Done || self.slots[at].is_deletion() != deletions {
                    continue;
                }
                if let Err(err) = self.undo(at) {
                    tracing::error!(name = %self.slots[at].name, %err, "an atomic push failed half-way and this ref could not be taken back");
                }
                self.slots[at].refuse(RefRefusal::Atomic);
            }
        }
        self.settle();
    }

    fn undo(&mut self, at: usize) -> io::Result<()> {
        let slot = &self.slots[at];
        let path = ref_path(&self.ground.places.common_dir, slot.name.as_bstr());
        if slot.changes_nothing() || slot.old == slot.new {
            return Ok(());
        }
        if slot.is_creation() {
            return fs::remove_file(&path);
        }
        if slot.is_deletion() {
            // Exclusive: should somebody have made the ref anew where its lock had to go early, theirs stays.
            self.clear_folder(at)?;
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            return fs::hard_link(self.slots[at].lock.staged(), &path);
        }
        let spare = self.ground.quarantine.join(format!("undo-{}", slot.edits[0]));
        let mut file = File::create(&spare)?;
        file.write_all(format!("{}\n", slot.old).as_bytes())?;
        fs::rename(&spare, &path)
    }

    fn log(&self, identity: &BStr) {
        let time_s = self.ground.redo.as_ref().map(|redo| redo.time_s);
        let common = Reflog::new(&self.ground.places.common_dir, self.ground.log_refs, identity, time_s);
        let own = Reflog::new(&self.ground.places.git_dir, self.ground.log_refs, identity, time_s);
        let head = match loose_ref::read_loose(&self.ground.places.git_dir, "HEAD".into(), self.ground.hash) {
            Ok(Loose::Symbolic(head)) => Some(head),
            _ => None,
        };
        for slot in self.slots.iter().filter(|slot| slot.progress == Progress::Done && slot.old != slot.new) {
            let message = slot.message.as_bstr();
            if slot.is_deletion() {
                common.remove(slot.name.as_bstr());
            } else {
                common.append(slot.name.as_bstr(), &slot.old, &slot.new, message);
            }
            for name in &slot.through {
                common.append(name.as_bstr(), &slot.old, &slot.new, message);
            }
            if head.as_ref().is_some_and(|head| *head == slot.name || slot.through.contains(head)) {
                own.append("HEAD".into(), &slot.old, &slot.new, message);
            }
        }
    }
}

fn is_beneath(name: &BStr, folder: &BStr) -> bool {
    name.strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}
