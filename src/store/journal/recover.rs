//! What dead pushes committed, and what a power cut took, into packs and refs in their places.
//!
//! See [the journal](super), "After a crash". All of it happens under the repository's lock. Refs are edited by an ordinary
//! transaction, which here may take over the locks of the dead: so nobody comes between, and all refs of one push go
//! together. A lock that is nobody's of ours stays, and the commit waits until it is gone; until then readers have the
//! overlay, and a push to that ref is told of the lock. Nobody waits here for the lock of `shallow`: whoever has it may wait
//! for the repository's.
//!
//! When files are dated later than a commit, another program may have changed them since: see [`LATER_S`], [`SETTLED_S`].

use super::super::loose_ref::{self, Loose, ref_path};
use super::super::owner::{self, Places, RepositoryLock};
use super::super::packed_refs::PackedRefs;
use super::super::ref_transaction::{Ground, NoObserver, Redo, RefTransaction};
use super::super::shallow_file::ShallowEdit;
use super::super::{CommitMode, Error, Mapped, RefEdit, RefRefusal, Repository};
use super::checkpoint::{finish, owner_is_dead};
use super::cuts::{needed, that_reach};
use super::file::{Found, JournalFile, Tail, boot};
use super::frame::{Commit, NamedPack};
use super::mark_applied;
use super::overlay::{Became, Overlay};
use crate::base::{Cancel, Progress};
use crate::pack::index::{self, IngestLimits};
use crate::pack::{NoObjects, Objects as _, checksum_holds};
use bstr::{BStr, BString, ByteSlice as _};
use gix_hash::ObjectId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// A ref's file with an older value that is dated so many seconds behind the commit was written by another program.
const LATER_S: u64 = 2;
/// After so many seconds every system has written what it held: what is missing in a folder that changed later than that
/// behind the commit was removed.
const SETTLED_S: u64 = 120;

/// The owners of commits that are not applied: what these left is not to be swept away yet.
pub(in super::super) fn owners_of_pending(common_dir: &Path) -> Result<Vec<BString>, Error> {
    let Some(journal) = JournalFile::open(common_dir, false)? else { return Ok(vec![]) };
    let Some(tail) = journal.unsettled()? else { return Ok(vec![]) };
    Ok(tail.found.into_iter().filter(Found::is_pending).map(|found| found.commit.owner).collect())
}

/// Whether there is anything to recover.
fn is_to_be_recovered(places: &Places) -> Result<bool, Error> {
    let Some(journal) = JournalFile::open(&places.common_dir, false)? else { return Ok(false) };
    let Some(tail) = journal.unsettled()? else { return Ok(false) };
    let is_left = |found: &Found| found.applied.is_none() && owner_is_dead(places, found);
    Ok(tail.header.boot != boot() || tail.found.iter().any(is_left))
}

/// Bring to its end what dead pushes into `repository` committed. Every push begins with this, and so does a server.
///
/// # Errors
/// What was committed is safe, but not everything could be put in its place.
pub(in super::super) fn recover(repository: &Repository) -> Result<(), Error> {
    let places = Places::of(repository);
    if repository.is_staged() || !is_to_be_recovered(&places)? {
        return Ok(());
    }
    let lock = RepositoryLock::acquire(&places)?;
    let Some(journal) = JournalFile::open(&places.common_dir, true)? else { return Ok(()) };
    let Some(tail) = journal.unsettled()? else { return Ok(()) };
    journal.remove_half_made();
    if tail.header.boot == boot() {
        Recovery { repository, places: &places, lock: &lock, after_power_cut: false }.after_a_kill(&journal, &tail)
    } else {
        let Some(tail) = journal.whole()? else { return Ok(()) };
        Recovery { repository, places: &places, lock: &lock, after_power_cut: true }.after_a_power_cut(&journal, &tail)
    }
}

struct Recovery<'a> {
    repository: &'a Repository,
    places: &'a Places,
    lock: &'a RepositoryLock,
    after_power_cut: bool,
}

impl Recovery<'_> {
    fn after_a_kill(&self, journal: &JournalFile, tail: &Tail) -> Result<(), Error> {
        let mut todo = vec![];
        for found in tail.found.iter().filter(|found| found.applied.is_none() && owner_is_dead(self.places, found)) {
            if found.durable {
                todo.push(found);
            } else {
                tracing::info!(owner = %found.commit.owner, "a push that died before it was on disk will not happen");
                let all: Vec<u32> = (0..found.commit.edits.len() as u32).collect();
                mark_applied(self.lock, journal, found.at, &all)?;
            }
        }
        let waiting = self.redo(&todo)?;
        for (number, found) in todo.iter().enumerate().filter(|(number, _)| !waiting.contains(number)) {
            tracing::info!(owner = %found.commit.owner, number, "a push whose process died was brought to its end");
            mark_applied(self.lock, journal, found.at, &[])?;
        }
        Ok(())
    }

    fn after_a_power_cut(&self, journal: &JournalFile, tail: &Tail) -> Result<(), Error> {
        if tail.found.iter().any(|found| found.applied.is_none() && !owner_is_dead(self.places, found)) {
            return Err(Error::InTheWay("a process of what seems another boot is pushing; try again later".into()));
        }
        let todo: Vec<&Found> = tail.found.iter().collect();
        let named = todo.iter().flat_map(|found| &found.commit.packs).map(|pack| pack.name.as_str()).collect();
        let is_whole = |path: &Path| is_whole(path, self.repository.hash_kind());
        owner::withdraw_unnamed(self.lock, self.places, &named, &is_whole).map_err(Error::io("taking back packs of dead pushes"))?;
        let waiting = self.redo(&todo)?;
        if !todo.is_empty() {
            tracing::info!(repository = %self.places.common_dir.display(), pushes = todo.len(), "the machine was down: looked over what was pushed last");
            owner::sync_file_system(&self.places.common_dir).map_err(journal.failed("syncing what is named in"))?;
        }
        let mut kept: Vec<Found> = vec![];
        for found in waiting.into_iter().map(|number| todo[number]) {
            kept.push(Found { commit: found.commit.without(found.but()), durable: true, applied: None, ..*found });
        }
        finish(self.lock, journal, &tail.header, &kept.iter().collect::<Vec<_>>())
    }

    /// Put packs and refs in their places; the numbers of those that a foreign lock keeps waiting.
    fn redo(&self, todo: &[&Found]) -> Result<BTreeSet<usize>, Error> {
        let mut happen = BTreeMap::new();
        for (number, found) in todo.iter().enumerate() {
            found.commit.packs.iter().try_for_each(|pack| self.restore_pack(pack))?;
            if self.after_power_cut && found.applied.is_none() && !self.has_tips(&found.commit)? {
                tracing::error!(owner = %found.commit.owner, "a push that nobody was told of lacks its objects and will not happen");
                continue;
            }
            happen.insert(number, *found);
        }
        let dead_locks = owner::dead_locks(self.lock, self.places).map_err(Error::io("reading the records of dead pushes"))?;
        let mut waiting = self.cut_history(&happen, &dead_locks)?;
        happen.retain(|number, _| !waiting.contains(number));
        let mut overlay = Overlay::default();
        happen.iter().for_each(|(number, found)| overlay.add(*number, &found.commit, found.but()));
        // All edits of a push in one transaction; what a later push has changed again is the later one's.
        for (number, found) in happen {
            let edits = self.edits_left(&overlay, number, &found.commit, &dead_locks)?;
            let results = self.edit(&found.commit, &edits, &dead_locks)?;
            for (edit, result) in edits.iter().zip(results) {
                match result {
                    Ok(()) => {}
                    Err(RefRefusal::Stale | RefRefusal::Conflict(_)) => {
                        tracing::warn!(name = %edit.name, new = %edit.new, "another program has changed this ref since it was pushed to; it stays as it is");
                    }
                    Err(why) => {
                        tracing::warn!(name = %edit.name, %why, "a ref that was pushed to waits for its new value");
                        waiting.insert(number);
                    }
                }
            }
        }
        Ok(waiting)
    }

    /// Add the lines to the file `shallow` that these commits need. Where somebody else holds its lock: the numbers of those
    /// that have to wait, for stock git would find history broken.
    fn cut_history(&self, happen: &BTreeMap<usize, &Found>, dead_locks: &BTreeMap<PathBuf, PathBuf>) -> Result<BTreeSet<usize>, Error> {
        let needed = || -> Result<Vec<ObjectId>, Error> {
            let stored = self.repository.stored_shallow()?;
            needed(self.repository, &stored, happen.values().flat_map(|found| found.commit.cuts_but(found.but())).copied())
        };
        let missing = needed()?;
        if missing.is_empty() {
            return Ok(BTreeSet::new());
        }
        let path = self.places.common_dir.join("shallow.lock");
        if let Some(staged) = dead_locks.get(&path) {
            owner::remove_if_same(staged, &path).map_err(Error::io(format!("removing {}", path.display())))?;
        }
        let is_cut = self.in_folder(|folder| {
            let Some(edit) = ShallowEdit::lock(self.places, folder, Duration::ZERO)? else { return Ok(false) };
            edit.stage(&needed()?)?; // somebody may have had the lock since
            edit.commit().map(|()| true)
        })?;
        if is_cut {
            return Ok(BTreeSet::new());
        }
        tracing::warn!(lock = %path.display(), "pushes wait that cut history off, for somebody holds this lock");
        self.that_wait(happen, &missing)
    }

    /// The commits that need one of these cuts, which are sorted, and those that touch the same refs.
    fn that_wait(&self, happen: &BTreeMap<usize, &Found>, missing: &[ObjectId]) -> Result<BTreeSet<usize>, Error> {
        let objects = self.repository.object_store(self.repository.companions(&[]), None);
        let tips = |found: &&Found| found.commit.edits.iter().map(|edit| edit.new).filter(|id| !id.is_null()).collect();
        let lists: Vec<Vec<ObjectId>> = happen.values().map(tips).collect();
        let is_cut = |found: &Found| found.commit.cuts_but(found.but()).iter().any(|id| missing.binary_search(id).is_ok());
        let reach = happen.iter().zip(that_reach(&objects, missing, &lists));
        let mut waiting: BTreeSet<usize> =
            reach.filter(|((_, found), reaches)| *reaches || is_cut(found)).map(|((at, _), _)| *at).collect();
        let mut names: BTreeSet<&BString> = BTreeSet::new();
        loop {
            names.extend(waiting.iter().flat_map(|at| &happen[at].commit.edits).map(|edit| &edit.name));
            let before = waiting.len();
            waiting.extend(
                happen.iter().filter(|(_, found)| found.commit.edits.iter().any(|edit| names.contains(&edit.name))).map(|(at, _)| *at),
            );
            if waiting.len() == before {
                return Ok(waiting);
            }
        }
    }

    /// The edits that are this commit's to make, with the values that refs have now as old ones.
    fn edits_left(
        &self,
        overlay: &Overlay,
        number: usize,
        commit: &Commit,
        dead_locks: &BTreeMap<PathBuf, PathBuf>,
    ) -> Result<Vec<RefEdit>, Error> {
        let packed = PackedRefs::read(&self.places.common_dir, self.repository.hash_kind())?;
        let mut edits = vec![];
        for (name, became) in overlay.refs().filter(|(_, became)| became.by.0 == number) {
            match self.value_to_replace(name, became, &packed)? {
                Some(old) => {
                    let message = commit.edits[became.by.1].message.clone();
                    edits.push(RefEdit { name: name.to_owned(), old, new: became.now, message });
                }
                None => {
                    // Its lock would keep its folder from becoming another ref's file.
                    let path = lock_path(&self.places.common_dir, name);
                    if let Some(staged) = dead_locks.get(&path) {
                        owner::remove_if_same(staged, &path).map_err(Error::io(format!("removing {}", path.display())))?;
                    }
                }
            }
        }
        Ok(edits)
    }

    /// What the ref has instead of its new value; `None`: it has that, or what another program gave it.
    fn value_to_replace(&self, name: &BStr, became: &Became, packed: &PackedRefs) -> Result<Option<ObjectId>, Error> {
        let (common_dir, null) = (&self.places.common_dir, self.repository.hash_kind().null());
        let path = ref_path(common_dir, name);
        let reading = || Error::io(format!("reading {}", path.display()));
        let time_s = became.by.2;
        let known = |id: &ObjectId| became.values.contains(id);
        let (old, changed_later) = match loose_ref::read_loose(common_dir, name, self.repository.hash_kind()).map_err(reading())? {
            Loose::Object(id) if id == became.now => return Ok(None),
            Loose::Object(id) if known(&id) => (id, is_later(&path, time_s + LATER_S).map_err(reading())?),
            Loose::Broken => return Ok(Some(null)),
            Loose::Object(_) | Loose::Symbolic(_) => (null, true),
            Loose::Missing => match packed.find(name)? {
                Some(id) if id == became.now => return Ok(None),
                Some(id) if known(&id) => (id, is_later(&common_dir.join("packed-refs"), time_s + SETTLED_S).map_err(reading())?),
                Some(_) => (null, true),
                None if became.now.is_null() => return Ok(None),
                None if self.after_power_cut => (null, is_later(path.parent().unwrap_or(&path), time_s + SETTLED_S).map_err(reading())?),
                None => (null, !known(&null)),
            },
        };
        if changed_later && (self.after_power_cut || !known(&old)) {
            tracing::warn!(%name, new = %became.now, "another program has changed this ref since it was pushed to; it stays as it is");
            return Ok(None);
        }
        Ok(Some(old))
    }

    fn edit(
        &self,
        commit: &Commit,
        edits: &[RefEdit],
        dead_locks: &BTreeMap<PathBuf, PathBuf>,
    ) -> Result<Vec<Result<(), RefRefusal>>, Error> {
        if edits.is_empty() {
            return Ok(vec![]);
        }
        self.in_folder(|folder| {
            let ground = Ground {
                places: self.places,
                quarantine: folder,
                hash: self.repository.hash_kind(),
                log_refs: self.repository.settings().log_refs,
                redo: Some(Redo { dead_locks, time_s: commit.time_s }),
            };
            let mut observer = NoObserver;
            let transaction = RefTransaction::prepare(ground, edits, CommitMode::PerRef, &mut observer)?;
            Ok(if transaction.has_work() { transaction.commit(commit.identity.as_bstr(), |_| {}) } else { transaction.give_up() })
        })
    }

    /// Do something in a quarantine of our own, which is gone afterwards.
    fn in_folder<T>(&self, work: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
        let claim = owner::claim_under(self.lock, self.places)?;
        let result = work(&claim.dir);
        if let Err(err) = owner::dissolve(self.lock, &claim.dir, self.places) {
            tracing::warn!(quarantine = %claim.dir.display(), %err, "a quarantine of ours stays");
        }
        result
    }

    /// Make sure that a pack is there as it was.
    fn restore_pack(&self, pack: &NamedPack) -> Result<(), Error> {
        let file = |ending: &str| self.places.objects_dir.join("pack").join(format!("{}.{ending}", pack.name));
        let hash = self.repository.hash_kind();
        match &pack.bytes {
            // The pack itself is on disk; where it is not, gc has put its objects elsewhere.
            None if !self.after_power_cut || !file("pack").exists() => Ok(()),
            None if is_whole(&file("idx"), hash) => {
                let rev = file("rev");
                let torn = rev.exists() && !is_whole(&rev, hash);
                if torn { fs::remove_file(&rev).map_err(Error::io(format!("removing {}", rev.display()))) } else { Ok(()) }
            }
            None => {
                let input = File::open(file("pack")).map_err(Error::io(format!("opening {}", file("pack").display())))?;
                self.put_pack(&pack.name, &mut BufReader::new(input), &owner::PACK_ENDINGS[1..])
            }
            Some(_) if !self.after_power_cut && file("idx").exists() => Ok(()),
            Some(bytes) => self.put_pack(&pack.name, &mut bytes.as_slice(), &owner::PACK_ENDINGS),
        }
    }

    /// Index the pack again that `input` has, and put what is made of it, as far as `endings` say, where it differs.
    fn put_pack(&self, name: &str, input: &mut (dyn Read + Send), endings: &[&str]) -> Result<(), Error> {
        let visible = self.places.objects_dir.join("pack");
        self.in_folder(|folder| {
            let ours = folder.join("pack");
            // A pack in the journal builds on nothing outside of it.
            let none = NoObjects(self.repository.hash_kind());
            let ingested = index::ingest(input, &ours, &none, &IngestLimits::default(), &Progress::new(), &Cancel::new())?;
            if ingested.name.as_deref() != Some(name) {
                return Err(Error::Corrupt(format!("what the journal knows as {name} is another pack")));
            }
            let put = || -> io::Result<()> {
                fs::create_dir_all(&visible)?;
                for ending in endings {
                    let (new, old) = (ours.join(format!("{name}.{ending}")), visible.join(format!("{name}.{ending}")));
                    if !is_same_content(&new, &old)? {
                        fs::rename(&new, &old)?;
                    }
                }
                Ok(())
            };
            put().map_err(Error::io(format!("writing {name} in {}", visible.display())))
        })
    }

    /// Whether everything that its refs name is here.
    fn has_tips(&self, commit: &Commit) -> Result<bool, Error> {
        let objects = self.repository.object_store(self.repository.companions(&[]), None);
        for edit in commit.edits.iter().filter(|edit| !edit.new.is_null()) {
            if objects.locate(&edit.new)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn lock_path(common_dir: &Path, name: &BStr) -> PathBuf {
    let mut path = ref_path(common_dir, name).into_os_string();
    path.push(".lock");
    path.into()
}

/// Whether something changed there after `time_s`; nothing did in a place that is not there.
fn is_later(path: &Path, time_s: u64) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(meta) => Ok(meta.modified()?.duration_since(UNIX_EPOCH).is_ok_and(|at| at.as_secs() > time_s)),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(err) => Err(err),
    }
}

fn is_same_content(one: &Path, other: &Path) -> io::Result<bool> {
    match fs::read(other) {
        Ok(bytes) => Ok(bytes == fs::read(one)?),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(false),
        Err(err) => Err(err),
    }
}

/// Whether a file that ends in its own checksum has the right one.
fn is_whole(path: &Path, hash: gix_hash::Kind) -> bool {
    Mapped::open(path).is_ok_and(|bytes| checksum_holds(&bytes, hash))
}
