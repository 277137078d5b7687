//! Edits of refs into files: locked, old values compared under lock, renamed, synced.
//!
//! Source: `refs/files-backend.c`, `refs/packed-backend.c`. [`RefTransaction::prepare`] takes every lock, in order of
//! names, and compares every old value with what lies on disk then; nothing has changed yet. [`RefTransaction::commit`]
//! deletes, then writes, then brings folders to disk, then lets the locks go: all locks are held until all refs stand,
//! so that an atomic transaction that meets a fault half-way is taken back under its own locks.
//!
//! - Deletions go first, so that a push may delete `a` and create `a/b`. A ref leaves `packed-refs` before its file goes,
//!   lest an old packed value shows; `packed-refs.lock` is held whenever something is deleted, lest `git pack-refs`
//!   packs it meanwhile.
//! - An edit of a symbolic ref edits the ref that it finally names.
//! - Loose files are read before `packed-refs`, so that a ref which is being packed is seen in one of them.
//!
//! Limits: not atomic for readers, nor across a crash between two renames. Refs of linked work trees are not told apart.

use super::loose_ref::{self, Loose, ref_path};
use super::owner::{self, LOCKS_FILE, Places};
use super::packed_refs::PackedRefs;
use super::ref_lock::{PACKED_REFS_LOCK_TIMEOUT_MS, REF_LOCK_TIMEOUT_MS, RefLock, Taken};
use super::reflog::Reflog;
use super::{CommitMode, Error, LogRefs, RefEdit, RefRefusal};
use crate::base::limits::{REF_NAME_BYTES_MAX, SYMREF_DEPTH_MAX};
use bstr::{BStr, BString, ByteSlice as _};
use gix_hash::ObjectId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Up to so many staged files are synced one by one, more of them with one `syncfs`.
const SYNC_EACH_MAX: usize = 16;
/// Waiting for all locks together ends after this, in milliseconds, however many are held by others.
const ALL_LOCKS_TIMEOUT_MS: u64 = 10_000;

/// Where a transaction has come to (githooks, "reference-transaction").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
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
pub(super) trait TransactionObserver {
    /// The transaction, with the edits that still stand, is in `state`; an error refuses all of them.
    fn entered(&mut self, state: State, edits: &[(&BStr, ObjectId, ObjectId)]) -> Result<(), String> {
        let _ = (state, edits);
        Ok(())
    }
}

/// Lets everything happen.
pub(super) struct NoObserver;

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

    /// Edits into slots: names judged, symbolic refs followed, edits that meet at one ref joined.
    fn resolve(&mut self, edits: &[RefEdit]) {
        let mut slots: BTreeMap<BString, Slot> = BTreeMap::new();
        for (at, edit) in edits.iter().enumerate() {
            let (name, through) = match self.follow(edit) {
                Ok(followed) => followed,
                Err(why) => {
                    self.refused.insert(at, why);
                    continue;
                }
            };
            if let Some(slot) = slots.get_mut(&name) {
                if (slot.old, slot.new) == (edit.old, edit.new) {
                    slot.edits.push(at);
                    slot.through.extend(through);
                } else {
                    self.refused.insert(at, RefRefusal::Aliased);
                }
                continue;
            }
            let mut path = ref_path(&self.ground.places.common_dir, name.as_bstr()).into_os_string();
            path.push(".lock");
            let lock = RefLock::new(self.ground.quarantine.join(format!("lock-{at}")), path.into());
            let (old, new, message) = (edit.old, edit.new, edit.message.clone());
            let slot = Slot { edits: vec![at], name: name.clone(), through, old, new, message, lock, progress: Progress::Ready };
            slots.insert(name, slot);
        }
        self.slots = slots.into_values().collect();
    }

    fn follow(&self, edit: &RefEdit) -> Result<(BString, Vec<BString>), RefRefusal> {
        let is_fine = if edit.new.is_null() { loose_ref::is_deletable_name } else { loose_ref::is_valid_name };
        if edit.name.len() > REF_NAME_BYTES_MAX || !is_fine(edit.name.as_bstr()) {
            return Err(RefRefusal::BadName);
        }
        let mut name = edit.name.clone();
        let mut through = vec![];
        while let Loose::Symbolic(target) = self.loose(name.as_bstr())? {
            if through.len() == SYMREF_DEPTH_MAX {
                return Err(RefRefusal::Loop);
            }
            through.push(std::mem::replace(&mut name, target));
        }
        Ok((name, through))
    }

    fn loose(&self, name: &BStr) -> Result<Loose, RefRefusal> {
        loose_ref::read_loose(&self.ground.places.common_dir, name, self.ground.hash).map_err(|err| io_refusal("reading a ref", name, &err))
    }

    /// Write what each lock will be linked from, and the record of their paths, durably, before the first is taken.
    fn stage(&mut self) -> io::Result<()> {
        let mut record = Vec::new();
        let mut files = vec![];
        let live = self.slots.iter().filter(|slot| slot.is_ready());
        for slot in live {
            // A deletion's lock holds the old value: linked back, it undoes the deletion.
            let value = if slot.is_deletion() { slot.old } else { slot.new };
            let text = if value.is_null() { String::new() } else { format!("{value}\n") };
            let mut file = File::create_new(slot.lock.staged())?;
            file.write_all(text.as_bytes())?;
            files.push(file);
            let staged = slot.lock.staged().file_name().expect("is made with a name").as_encoded_bytes();
            record.extend_from_slice(&[staged, b" ", &slot.name, b".lock\n"].concat());
        }
        if self.slots.iter().any(|slot| slot.is_ready() && slot.is_deletion()) {
            let staged = self.ground.quarantine.join("lock-packed-refs");
            files.push(File::create_new(&staged)?);
            record.extend_from_slice(b"lock-packed-refs packed-refs.lock\n");
            self.packed_lock = Some(RefLock::new(staged, self.ground.places.common_dir.join("packed-refs.lock")));
        }
        let mut file = File::create_new(self.ground.quarantine.join(LOCKS_FILE))?;
        file.write_all(&record)?;
        files.push(file);
        if files.len() > SYNC_EACH_MAX {
            return Ok(rustix::fs::syncfs(File::open(self.ground.quarantine)?)?);
        }
        files.iter().try_for_each(File::sync_all)?;
        owner::sync_folder(self.ground.quarantine)
    }

    fn take_locks(&mut self) {
        let all_end = Instant::now() + Duration::from_millis(ALL_LOCKS_TIMEOUT_MS);
        let deadline = |timeout_ms| all_end.min(Instant::now() + Duration::from_millis(timeout_ms));
        let going = self.going();
        for slot in self.slots.iter_mut().filter(|slot| slot.is_ready()) {
            match slot.lock.take(deadline(REF_LOCK_TIMEOUT_MS), &mut self.made) {
                Ok(Taken::Held) => {}
                Ok(Taken::ByAnother) => slot.refuse(RefRefusal::Locked(format!("{}.lock", slot.name))),
                Ok(Taken::FileInTheWay) => {
                    let dir = &self.ground.places.common_dir;
                    let blocker = loose_ref::prefixes(slot.name.as_bstr()).find(|prefix| !ref_path(dir, prefix).is_dir());
                    match blocker.map(BStr::to_owned) {
                        Some(blocker) if slot.is_creation() && going.contains(&blocker) => slot.progress = Progress::After(blocker),
                        // A ref beneath a ref cannot exist: there is nothing to delete, and nothing to update.
                        _ if slot.is_deletion() && slot.old.is_null() => slot.progress = Progress::Done,
                        _ if !slot.is_creation() => slot.refuse(RefRefusal::Stale),
                        Some(blocker) => slot.refuse(RefRefusal::Conflict(blocker)),
                        None => slot.refuse(RefRefusal::Locked(format!("{}.lock", slot.name))), // gone again this moment
                    }
                }
                Err(err) => {
                    let why = io_refusal("locking a ref", slot.name.as_bstr(), &err);
                    slot.refuse(why);
                }
            }
        }
        self.take_packed_lock(deadline(PACKED_REFS_LOCK_TIMEOUT_MS));
    }

    fn take_packed_lock(&mut self, deadline: Instant) {
        let Some(lock) = &mut self.packed_lock else { return };
        let why = match lock.take(deadline, &mut self.made) {
            Ok(Taken::Held) => return,
            Ok(_) => RefRefusal::Locked("packed-refs.lock".into()),
            Err(err) => io_refusal("locking packed-refs", "packed-refs".into(), &err),
        };
        self.slots.iter_mut().filter(|slot| slot.is_ready() && slot.is_deletion()).for_each(|slot| slot.refuse(why.clone()));
    }

    /// Compare values and names with what is there now that the locks are held.
    fn compare(&mut self) -> Result<(), Error> {
        let loose: Vec<_> = self.slots.iter().map(|slot| slot.is_ready().then(|| self.loose(slot.name.as_bstr()))).collect();
        let beneath: Vec<_> = self.slots.iter().map(|slot| self.loose_beneath(slot)).collect();
        let packed = PackedRefs::read(&self.ground.places.common_dir, self.ground.hash)?;
        for (slot, loose) in self.slots.iter_mut().zip(loose) {
            let Some(loose) = loose else { continue };
            let verdict = match loose {
                Ok(Loose::Object(id)) => is_expected(slot.old == id),
                Ok(Loose::Missing) => is_expected(packed.find(slot.name.as_bstr())?.unwrap_or(self.ground.hash.null()) == slot.old),
                Ok(Loose::Broken) => is_expected(slot.is_deletion()),
                Ok(Loose::Symbolic(_)) => Err(RefRefusal::Stale), // it was none a moment ago
                Err(why) => Err(why),
            };
            if let Err(why) = verdict {
                slot.refuse(why);
            }
        }
        self.check_names(&packed, beneath)?;
        self.packed = Some(packed);
        Ok(())
    }

    fn loose_beneath(&self, slot: &Slot) -> Result<Vec<BString>, RefRefusal> {
        if !slot.is_ready() || !slot.is_creation() {
            return Ok(vec![]);
        }
        let name = slot.name.as_bstr();
        loose_ref::all_beneath(&self.ground.places.common_dir, name).map_err(|err| io_refusal("looking for refs", name, &err))
    }

    /// The refs that go away if nothing else comes between.
    fn going(&self) -> BTreeSet<BString> {
        self.slots.iter().filter(|slot| slot.is_ready() && slot.is_deletion()).map(|slot| slot.name.clone()).collect()
    }

    /// Refuse creations beside whose names other refs stand as folder or file: on disk, packed, or in this transaction.
    fn check_names(&mut self, packed: &PackedRefs, beneath: Vec<Result<Vec<BString>, RefRefusal>>) -> Result<(), Error> {
        let going = self.going();
        let mut coming: BTreeSet<BString> = BTreeSet::new();
        for (at, beneath) in beneath.into_iter().enumerate() {
            let slot = &self.slots[at];
            if !slot.is_creation() || matches!(slot.progress, Progress::Refused(_)) {
                continue;
            }
            let name = slot.name.as_bstr();
            let mut conflict = match &slot.progress {
                Progress::After(blocker) if !going.contains(blocker) => Some(blocker.clone()),
                Progress::After(_) if packed.find(name)?.is_some() => Some(slot.name.clone()),
                _ => None,
            };
            for prefix in loose_ref::prefixes(name) {
                if coming.contains(prefix) || (packed.find(prefix)?.is_some() && !going.contains(prefix)) {
                    conflict = Some(prefix.to_owned());
                }
            }
            let conflict = match (conflict, beneath) {
                (Some(other), _) => Some(RefRefusal::Conflict(other)),
                (None, Err(why)) => Some(why),
                (None, Ok(found)) => match found.into_iter().find(|other| !going.contains(other)) {
                    Some(other) => Some(RefRefusal::Conflict(other)),
                    None => packed.find_beneath(name, &going)?.map(RefRefusal::Conflict),
                },
            };
            match conflict {
                Some(why) => self.slots[at].refuse(why),
                None => _ = coming.insert(self.slots[at].name.clone()),
            }
        }
        Ok(())
    }

    /// Do it, durably. One result per edit, in the caller's order.
    pub(super) fn commit(mut self, identity: &BStr) -> Vec<Result<(), RefRefusal>> {
        self.committed = true;
        let mut folders = BTreeMap::new();
        self.delete_refs(&mut folders);
        self.lock_freed_names();
        self.write_refs(&mut folders);
        self.sync(folders);
        self.log(identity);
        self.enter(State::Committed);
        self.release();
        for slot in self.slots.iter().filter(|slot| slot.is_deletion() && slot.progress == Progress::Done) {
            loose_ref::prune_parents(&self.ground.places.common_dir, slot.name.as_bstr());
        }
        self.results()
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

    /// `folders` gathers what has to reach the disk, and for which slots.
    fn delete_refs(&mut self, folders: &mut BTreeMap<PathBuf, Vec<usize>>) {
        let common_dir = self.ground.places.common_dir.clone();
        if let Err(err) = self.unpack_deleted(folders) {
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
                Ok(()) => folders.entry(path.parent().unwrap_or(&common_dir).to_owned()).or_default().push(at),
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
    fn unpack_deleted(&mut self, folders: &mut BTreeMap<PathBuf, Vec<usize>>) -> Result<(), Error> {
        let Some(packed) = &self.packed else { return Ok(()) };
        let mut going = BTreeSet::new();
        let mut slots = vec![];
        for (at, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.is_ready() && slot.is_deletion()) {
            if packed.find(slot.name.as_bstr())?.is_some() {
                going.insert(slot.name.clone());
                slots.push(at);
            }
        }
        if going.is_empty() {
            return Ok(());
        }
        let common_dir = &self.ground.places.common_dir;
        let (from, to) = (self.ground.quarantine.join("packed-refs"), common_dir.join("packed-refs"));
        let writing = || format!("writing {}", to.display());
        if to.is_symlink() {
            return Err(Error::InTheWay(format!("{} is a symbolic link, which a rename would replace", to.display())));
        }
        let mut out = BufWriter::new(File::create(&from).map_err(Error::io(writing()))?);
        packed.write_without(&going, &mut out)?;
        let file = out.into_inner().map_err(|err| Error::io(writing())(err.into_error()))?;
        file.sync_all().and_then(|()| fs::rename(&from, &to)).map_err(Error::io(writing()))?;
        folders.entry(common_dir.clone()).or_default().extend(slots);
        Ok(())
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

    fn write_refs(&mut self, folders: &mut BTreeMap<PathBuf, Vec<usize>>) {
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
                    continue;
                }
            }
            // The folders above may be as new as the ref, whoever made them.
            let common_dir = &self.ground.places.common_dir;
            for folder in loose_ref::prefixes(self.slots[at].name.as_bstr()) {
                folders.entry(ref_path(common_dir, folder)).or_default().push(at);
            }
        }
        for made in &self.made {
            folders.entry(made.parent().unwrap_or(made).to_owned()).or_default();
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
        file.sync_all()?;
        fs::rename(&spare, &path)
    }

    /// One sync per folder. What cannot be synced is not acknowledged, whatever readers see.
    fn sync(&mut self, folders: BTreeMap<PathBuf, Vec<usize>>) {
        if !self.slots.iter().any(|slot| slot.progress == Progress::Done) {
            return;
        }
        for (folder, slots) in folders {
            match owner::sync_folder(&folder) {
                Err(err) if !matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    for at in slots {
                        let why = io_refusal("syncing a folder of refs", self.slots[at].name.as_bstr(), &err);
                        self.slots[at].refuse(why);
                    }
                }
                _ => {} // a folder that is gone was removed empty, and its parent is synced as well
            }
        }
    }

    fn log(&self, identity: &BStr) {
        let common = Reflog::new(&self.ground.places.common_dir, self.ground.log_refs, identity);
        let own = Reflog::new(&self.ground.places.git_dir, self.ground.log_refs, identity);
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

fn is_expected(is: bool) -> Result<(), RefRefusal> {
    if is { Ok(()) } else { Err(RefRefusal::Stale) }
}

fn is_beneath(name: &BStr, folder: &BStr) -> bool {
    name.strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests;
