//! Edits into locked refs whose values are those that the edits expect; nothing has changed yet.

use super::super::loose_ref::{self, Loose, ref_path};
use super::super::owner::{LOCKS_END, OWNER_FILE};
use super::super::packed_refs::PackedRefs;
use super::super::ref_lock::{PACKED_REFS_LOCK_TIMEOUT_MS, REF_LOCK_TIMEOUT_MS, RefLock, Taken};
use super::super::{Error, RefEdit, RefRefusal};
use super::{Ground, Progress, RefTransaction, Slot, io_refusal};
use crate::base::limits::{REF_NAME_BYTES_MAX, SYMREF_DEPTH_MAX};
use bstr::{BStr, BString, ByteSlice as _};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

/// Waiting for all locks together ends after this, in milliseconds, however many are held by others.
const ALL_LOCKS_TIMEOUT_MS: u64 = 10_000;

impl RefTransaction<'_> {
    /// Edits into slots: names judged, symbolic refs followed, edits that meet at one ref joined.
    pub(super) fn resolve(&mut self, edits: &[RefEdit]) {
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
            // git reads so many refs, the one at the end among them.
            if through.len() + 1 == SYMREF_DEPTH_MAX {
                return Err(RefRefusal::Loop);
            }
            through.push(std::mem::replace(&mut name, target));
        }
        Ok((name, through))
    }

    pub(super) fn loose(&self, name: &BStr) -> Result<Loose, RefRefusal> {
        loose_ref::read_loose(&self.ground.places.common_dir, name, self.ground.hash).map_err(|err| io_refusal("reading a ref", name, &err))
    }

    /// Write what each lock will be linked from, and the record of their paths, before the first is taken.
    pub(super) fn stage(&mut self) -> io::Result<()> {
        let mut record = Vec::new();
        let live = self.slots.iter().filter(|slot| slot.is_ready());
        for slot in live {
            // A deletion's lock holds the old value: linked back, it undoes the deletion.
            let value = if slot.is_deletion() { slot.old } else { slot.new };
            let text = if value.is_null() { String::new() } else { format!("{value}\n") };
            File::create_new(slot.lock.staged())?.write_all(text.as_bytes())?;
            let staged = slot.lock.staged().file_name().expect("is made with a name").as_encoded_bytes();
            record.extend_from_slice(&[staged, b" ", &slot.name, b".lock\n"].concat());
        }
        if self.slots.iter().any(|slot| slot.is_ready() && slot.is_deletion()) {
            let staged = self.ground.quarantine.join("lock-packed-refs");
            File::create_new(&staged)?;
            record.extend_from_slice(b"lock-packed-refs packed-refs.lock\n");
            self.packed_lock = Some(RefLock::new(staged, self.ground.places.common_dir.join("packed-refs.lock")));
        }
        record.extend_from_slice(LOCKS_END);
        File::create(self.ground.quarantine.join(OWNER_FILE))?.write_all(&record)
    }

    pub(super) fn take_locks(&mut self) {
        let all_end = Instant::now() + Duration::from_millis(ALL_LOCKS_TIMEOUT_MS);
        let deadline = |timeout_ms| all_end.min(Instant::now() + Duration::from_millis(timeout_ms));
        let going = self.going();
        for slot in self.slots.iter_mut().filter(|slot| slot.is_ready()) {
            if inherit(&self.ground, &mut slot.lock) {
                continue;
            }
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
        if inherit(&self.ground, lock) {
            return;
        }
        let why = match lock.take(deadline, &mut self.made) {
            Ok(Taken::Held) => return,
            Ok(_) => RefRefusal::Locked("packed-refs.lock".into()),
            Err(err) => io_refusal("locking packed-refs", "packed-refs".into(), &err),
        };
        self.slots.iter_mut().filter(|slot| slot.is_ready() && slot.is_deletion()).for_each(|slot| slot.refuse(why.clone()));
    }

    /// Compare values and names with what is there now that the locks are held.
    pub(super) fn compare(&mut self) -> Result<(), Error> {
        let loose: Vec<_> = self.slots.iter().map(|slot| slot.is_ready().then(|| self.loose(slot.name.as_bstr()))).collect();
        let beneath: Vec<_> = self.slots.iter().map(|slot| self.loose_beneath(slot)).collect();
        let packed = PackedRefs::read(&self.ground.places.common_dir, self.ground.hash)?;
        for (slot, loose) in self.slots.iter_mut().zip(loose) {
            let Some(loose) = loose else { continue };
            let verdict = match loose {
                Ok(Loose::Object(id)) => is_expected(slot.old == id),
                Ok(Loose::Missing) => is_expected(packed.find(slot.name.as_bstr())?.unwrap_or(self.ground.hash.null()) == slot.old),
                Ok(Loose::Broken) => is_expected(slot.is_deletion() || self.ground.redo.is_some()),
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
}

/// Whether this lock was a dead process's, and is ours now.
fn inherit(ground: &Ground<'_>, lock: &mut RefLock) -> bool {
    let dead = ground.redo.as_ref().and_then(|redo| redo.dead_locks.get(lock.path()));
    // Whatever goes wrong: the ordinary way to take it will say so.
    dead.is_some_and(|dead| lock.inherit(dead).unwrap_or(false))
}

fn is_expected(is: bool) -> Result<(), RefRefusal> {
    if is { Ok(()) } else { Err(RefRefusal::Stale) }
}
