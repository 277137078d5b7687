//! One push from its first pack byte to its last ref: ingest, look, commit; nothing left behind when it is dropped.

use super::journal::{self, Commit, Ticket};
use super::owner::{Places, RepositoryLock};
use super::quarantine::Quarantine;
use super::ref_transaction::{Ground, NoObserver, RefTransaction, TransactionObserver};
use super::shallow_file::{SHALLOW_LOCK_TIMEOUT, ShallowEdit};
use super::{Error, Mapped, MaySee, ObjectStore, Repository, Snapshot, Spares};
use crate::base::{Cancel, Progress};
use crate::pack::check::Checks;
use crate::pack::index::{self, Incoming, IngestLimits, Ingested};
use crate::pack::{Kind, LocalBytes, NoObjects, Objects, PackFile, pack_of_one};
use bstr::{BStr, BString, ByteSlice as _};
use gix_hash::ObjectId;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One change of one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefEdit {
    /// Full name.
    pub name: BString,
    /// The value that must be there when the edit happens; null: the ref must not exist.
    pub old: ObjectId,
    /// The value to set; null: delete the ref.
    pub new: ObjectId,
    /// The reflog's message.
    pub message: BString,
}

/// All edits or none, or each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitMode {
    /// One refusal refuses all.
    Atomic,
    /// Each edit stands or falls alone.
    PerRef,
}

/// Why one edit did not happen; `Display` is what the pusher sees behind `ng`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefRefusal {
    /// The ref has another value than the edit expects (or exists, or is gone).
    #[error("failed to update ref: somebody else changed it; fetch first")]
    Stale,
    /// A lock that is not ours is held; by path relative to the repository.
    #[error("failed to lock: {0} is held by another process; try again")]
    Locked(String),
    /// A directory/file conflict with this other ref.
    #[error("'{0}' exists; cannot create this ref beside it")]
    Conflict(BString),
    /// The ref's name is not valid.
    #[error("funny refname")]
    BadName,
    /// Symbolic refs lead in a circle, or too far.
    #[error("too many symbolic refs in a row")]
    Loop,
    /// Another edit of this push changes the same ref in another way.
    #[error("inconsistent aliased update")]
    Aliased,
    /// Whoever watches transactions said no.
    #[error("{0}")]
    Vetoed(String),
    /// Another edit of an atomic push was refused.
    #[error("atomic transaction failed")]
    Atomic,
    /// Writing failed; the log has more.
    #[error("failed to update ref: {0}")]
    Io(String),
}

/// What a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Per edit, in order.
    pub results: Vec<Result<(), RefRefusal>>,
    /// The repository came into being with this push.
    pub created: bool,
}

/// A push under way. Dropped without commit, it leaves nothing behind.
pub struct Push {
    // Dropped first: a staged repository vanishes, quarantine and all, with the last handle to it.
    quarantine: Quarantine,
    view: Snapshot,
    base: Arc<ObjectStore>,
    base_packs: u32,
    packs: Vec<String>,
    /// Commits that will have no parents, since this push cuts them off.
    cuts: Vec<ObjectId>,
    rejects_thin: bool,
    has_hooks: bool,
    repository: Repository,
}

impl Push {
    /// Begin: bring to its end what dead owners committed, remove what else they left, become an owner, pin the base view.
    pub fn begin(repository: &Repository) -> Result<Self, Error> {
        Self::begin_with(repository, None, || repository.snapshot())
    }

    /// As [`Push::begin`], one of many in a process that lives long; the base view is what `look` gives, which must show the
    /// repository as it is then.
    pub fn begin_with(
        repository: &Repository,
        spares: Option<Arc<Spares>>,
        look: impl FnOnce() -> Result<Snapshot, Error>,
    ) -> Result<Self, Error> {
        journal::recover(repository)?;
        let quarantine = Quarantine::begin(Places::of(repository), spares.filter(|_| !repository.is_staged()))?;
        let mut view = look()?;
        // Loose objects that somebody else found a while ago may be gone.
        view.objects = Arc::new(view.objects.afresh());
        let base_packs = view.objects().packs().len() as u32;
        let base = view.objects().clone();
        let (packs, cuts, repository) = (vec![], vec![], repository.clone());
        Ok(Self { quarantine, view, base, base_packs, packs, cuts, rejects_thin: false, has_hooks: false, repository })
    }

    /// Read one pack from `input` into the quarantine: hashed, indexed, thin ones completed, its objects shown to
    /// `checks` and compared with those of the same ids that are stored. `input` is read to the pack's trailer and not beyond.
    pub fn ingest(
        &mut self,
        input: &mut (dyn Read + Send),
        limits: &IngestLimits,
        checks: &Checks,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<Ingested, Error> {
        let folder = self.quarantine.pack_dir();
        let before = self.view.objects().clone();
        let none = NoObjects(self.repository.hash_kind());
        let bases: &dyn Objects = if self.rejects_thin { &none } else { &*before };
        let ingested = index::ingest_checked(input, &folder, bases, limits, checks, progress, cancel)?;
        if let Some(name) = &ingested.name {
            let pack = open_pack(&folder, name, self.repository.hash_kind())?;
            self.view.objects = Arc::new(self.view.objects.with_pack(Arc::new(pack)));
            let view = &**self.view.objects();
            let pack = view.packs().len() as u32 - 1;
            let incoming = Incoming { before: &*self.base, view, pack, ingested: &ingested };
            index::settle(&incoming, checks, limits, cancel)?;
            self.view.state = super::held::new_state();
            self.packs.push(name.clone());
        }
        Ok(ingested)
    }

    /// From now on only objects at places that `may_see` knows are there for this push, and its own: for a pusher who may not see
    /// all refs, and must not learn or take over what only the others reach.
    pub fn see_only(&mut self, may_see: Arc<MaySee>) {
        self.view.objects = Arc::new(self.view.objects.seen_through(may_see));
    }

    /// From now on deltas of a pack that is ingested must find their bases in it.
    pub fn reject_thin_packs(&mut self) {
        self.rejects_thin = true;
    }

    /// Put one blob of ours beside what was received; its id.
    pub fn add_blob(&mut self, data: &[u8], cancel: &Cancel) -> Result<ObjectId, Error> {
        let (id, pack) = pack_of_one(Kind::Blob, data, self.repository.hash_kind())?;
        let (limits, progress) = (IngestLimits::default(), Progress::new());
        self.ingest(&mut pack.as_slice(), &limits, &Checks::off(), &progress, cancel)?;
        Ok(id)
    }

    /// Commits that will have no parents here once the push commits: they go into the file `shallow` before any ref changes.
    pub fn cut_history(&mut self, commits: Vec<ObjectId>) {
        self.cuts.extend(commits);
    }

    /// The repository as it was when the push began, the quarantine on top.
    pub fn view(&self) -> &Snapshot {
        &self.view
    }

    /// The objects as they were when the push began.
    pub fn base(&self) -> &ObjectStore {
        &self.base
    }

    /// How many packs of [`Push::view`] were there before: those with greater numbers are this push's.
    pub fn base_packs(&self) -> u32 {
        self.base_packs
    }

    /// The folder that holds the objects of this push until it commits, as git lays out an object directory.
    pub fn quarantine_dir(&self) -> &Path {
        self.quarantine.dir()
    }

    /// Hooks run in the quarantine: what they write there becomes permanent with the push.
    pub fn expect_objects_of_hooks(&mut self) {
        self.has_hooks = true;
        self.quarantine.keep_for_nobody();
    }

    /// Write a file such as `shallow`, with `commits` beside those of the view, for git within hooks; it goes with the
    /// quarantine.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_shallow_file(&self, commits: &[ObjectId]) -> Result<PathBuf, Error> {
        let path = self.quarantine.dir().join("shallow");
        let lines: BTreeSet<&ObjectId> = self.view.shallow().iter().chain(commits).collect();
        let text: String = lines.into_iter().map(|id| format!("{id}\n")).collect();
        fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
        Ok(path)
    }

    /// Make the objects permanent before any ref changes, for a hook that sets refs to them itself. They stay, whatever
    /// becomes of the push.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn publish_objects(&mut self) -> Result<(), Error> {
        self.publish_what_hooks_wrote()?;
        self.quarantine.publish(&self.packs)
    }

    /// Make the objects permanent and edit the refs, in one durable step; then publish a staged repository.
    ///
    /// Every edit requires its old value under lock. When this returns, what the results call done is on disk.
    /// With no edit that could succeed, nothing of the push stays. See the `journal` module.
    ///
    /// # Errors
    /// Faults that concern no single ref; no ref has changed then, unless it was publishing that failed.
    pub fn commit(self, edits: &[RefEdit], mode: CommitMode, identity: &BString) -> Result<Committed, Error> {
        self.commit_observed(edits, mode, identity, &mut NoObserver)
    }

    /// As [`Push::commit`], and `observer` is told of every state of the transaction and may veto.
    ///
    /// # Errors
    /// As for [`Push::commit`].
    pub fn commit_observed(
        mut self,
        edits: &[RefEdit],
        mode: CommitMode,
        identity: &BString,
        observer: &mut dyn TransactionObserver,
    ) -> Result<Committed, Error> {
        let places = Places::of(&self.repository);
        let ground = Ground {
            places: &places,
            quarantine: self.quarantine.dir(),
            hash: self.repository.hash_kind(),
            log_refs: self.repository.settings().log_refs,
            redo: None,
        };
        let transaction = RefTransaction::prepare(ground, edits, mode, observer)?;
        if !transaction.has_work() {
            return Ok(Committed { results: transaction.give_up(), created: false });
        }
        self.publish_what_hooks_wrote()?;
        let (changes, numbers) = transaction.changes();
        if !self.repository.is_staged() && !changes.is_empty() {
            journal::make_room(&places)?; // before anything is held that others wait for
        }
        let (shallow, cuts) = self.lock_shallow(&places, &changes)?;
        let ticket = self.make_durable(&places, changes, cuts, identity)?;
        if let Some(Err(err)) = shallow.map(ShallowEdit::commit) {
            // As for refs that cannot be written: it stands in the journal, and must not come again.
            if let Some(Err(err)) = ticket.map(|ticket| ticket.applied(&(0..numbers.len() as u32).collect::<Vec<_>>())) {
                tracing::error!(%err, "a push was refused, and the journal could not be told so");
            }
            return Err(err);
        }
        let mut is_journal_told = true;
        let results = transaction.commit(identity.as_bstr(), |results| {
            let Some(ticket) = ticket else { return };
            let failed = numbers.iter().zip(0u32..).filter(|(number, _)| results[**number].is_err());
            let failed: Vec<u32> = failed.map(|(_, at)| at).collect();
            if let Err(err) = ticket.applied(&failed) {
                tracing::error!(%err, ?failed, "a push is on disk, and the journal could not be told how it ended");
                is_journal_told = false;
            }
        });
        if !is_journal_told {
            // Whoever comes next finds its owner gone, and brings it to its end before doing anything else.
            self.quarantine.keep_for_nobody();
        }
        self.quarantine.finish(&self.packs);
        if !self.repository.is_staged() {
            journal::checkpoint_if_due(&places);
        }
        let mut created = false;
        if self.repository.is_staged() && results.iter().any(Result::is_ok) {
            self.repository.publish(head_branch(edits, &results))?;
            created = true;
        }
        Ok(Committed { results, created })
    }
}

impl Push {
    /// Lock and stage the file `shallow` where this push needs lines in it; with those.
    ///
    /// What another push cuts off that is on disk and not yet applied counts for this one too, whose refs may stand in
    /// their files first. Which these are is told under the lock: nobody is then about to replace the file.
    fn lock_shallow(&self, places: &Places, edits: &[RefEdit]) -> Result<(Option<ShallowEdit>, Vec<ObjectId>), Error> {
        let of_others = || match self.view.shallow() {
            [] => Ok(vec![]),
            shallow => journal::pending_cuts(&self.repository, shallow),
        };
        let others = of_others()?;
        if edits.is_empty() || self.cuts.is_empty() && others.is_empty() {
            return Ok((None, vec![]));
        }
        let lock = |timeout| ShallowEdit::lock(places, self.quarantine.dir(), timeout);
        let mut edit = None;
        if self.cuts.is_empty() {
            edit = lock(SHALLOW_LOCK_TIMEOUT / 10)?;
            let tips = edits.iter().map(|edit| edit.new).filter(|id| !id.is_null()).collect();
            // Whatever keeps the lock from that other push is to hold up those only that build on it.
            if edit.is_none() && journal::that_reach(self.view.objects(), &others, &[tips]) == [false] {
                return Ok((None, vec![]));
            }
        }
        let Some(edit) = edit.map_or_else(|| lock(SHALLOW_LOCK_TIMEOUT), |edit| Ok(Some(edit)))? else {
            return Err(Error::InTheWay("shallow.lock is held by another process; try again".to_owned()));
        };
        let cuts = [of_others()?, self.cuts.clone()].concat();
        if cuts.is_empty() {
            return Ok((None, cuts));
        }
        edit.stage(&cuts)?;
        Ok((Some(edit), cuts))
    }

    fn publish_what_hooks_wrote(&self) -> Result<(), Error> {
        if self.has_hooks { self.quarantine.publish_what_hooks_wrote(self.repository.hash_kind(), &self.packs) } else { Ok(()) }
    }

    /// Make the packs visible, and all that the push changes durable. `None` where that has to wait for the whole
    /// repository, or nothing changes.
    fn make_durable(&self, places: &Places, edits: Vec<RefEdit>, cuts: Vec<ObjectId>, identity: &BString) -> Result<Option<Ticket>, Error> {
        if self.repository.is_staged() {
            self.quarantine.link_packs(&RepositoryLock::acquire(places)?, &self.packs)?;
            return Ok(None);
        } else if edits.is_empty() {
            self.quarantine.publish(&self.packs)?;
            return Ok(None);
        }
        let packs = self.quarantine.name_packs(&self.packs)?;
        let is_big = packs.iter().any(|pack| pack.bytes.is_none());
        let commit = Commit { owner: self.quarantine.name(), time_s: journal::now_s(), identity: identity.clone(), edits, packs, cuts };
        let lock = RepositoryLock::acquire(places)?;
        let ticket = journal::append(&lock, places, &commit)?;
        let is_new = match self.quarantine.link_packs(&lock, &self.packs) {
            Ok(is_new) => is_new,
            Err(err) => {
                ticket.retract(&lock);
                return Err(err);
            }
        };
        // Under the lock: whoever has seen this pack and builds on it writes into the journal behind us.
        let synced = if is_big { self.quarantine.sync_names(is_new).inspect_err(|_| ticket.fail(&lock)) } else { Ok(()) };
        drop(lock);
        match synced.and_then(|()| ticket.sync()) {
            Ok(()) => Ok(Some(ticket)),
            Err(err) => {
                ticket.void();
                Err(err)
            }
        }
    }
}

fn open_pack(folder: &Path, name: &str, hash: gix_hash::Kind) -> Result<PackFile, Error> {
    let map = |ending: &str| {
        let path = folder.join(format!("{name}.{ending}"));
        Mapped::open(&path).map_err(Error::io(format!("mapping {}", path.display())))
    };
    let rev = folder.join(format!("{name}.rev")).exists().then(|| map("rev")).transpose()?;
    Ok(PackFile::open(name.to_owned(), map("idx")?, Box::new(LocalBytes(map("pack")?)), rev, hash)?)
}

/// The branch that HEAD of a new repository names: `main` if it is among those created, else the first one pushed.
fn head_branch<'a>(edits: &'a [RefEdit], results: &[Result<(), RefRefusal>]) -> Option<&'a BStr> {
    let created = || {
        let done = edits.iter().zip(results).filter(|(edit, result)| result.is_ok() && !edit.new.is_null());
        done.map(|(edit, _)| edit.name.as_bstr()).filter(|name| name.starts_with(b"refs/heads/"))
    };
    created().find(|name| *name == "refs/heads/main").or_else(|| created().next())
}

#[cfg(test)]
mod tests;
