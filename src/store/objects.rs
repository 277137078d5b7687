//! Object directories and their alternates into one view that implements [`Objects`].
//!
//! Source: gitrepository-layout, "objects". Packs are looked in before loose objects, always in the same order: the
//! pack whose bitmap is used, multi-pack indexes, packs that none of them names, our own before those of alternates, big
//! ones before small ones. A pack is opened when it is first needed; one that cannot be opened is left out with a warning.
//! Stock `git gc` may run beside: packs that it removes stay readable once they are open (they are mapped), and when an
//! object is found nowhere and the folder of packs has changed, the packs that came are added behind the others.
//! What was located keeps its place for as long as the view lives: a loose object that is packed meanwhile stays
//! loose by name, although it is then read from its pack.

use super::companions::{BitmapFile, Companions, IndexedPacks, open_commit_graph};
use super::config::Env;
use super::pack_dir::{Numbers, PackDir, PackFiles};
use super::promised::{Promised, promisor_packs};
use super::stamp::COARSE_CLOCK_STEP;
use super::{alternates, loose};
use crate::base::{Cancel, FastSet};
use crate::pack::{Bitmaps, CommitGraph, Error, Kind, Location, Objects, PackFile};
use gix_hash::{ObjectId, oid};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, SystemTime};

/// How often one view may take in packs that came later.
const GENERATIONS_MAX: usize = 16;

/// A folder changed within this time before it was listed may change again without its time of change moving.
const CLOCK_STEP: Duration = Duration::from_millis(20);

/// Packs and loose objects of one repository and its alternates, with the quarantine of a push on top where there is one.
pub struct ObjectStore {
    listed: Arc<Listed>,
    /// Each holds all packs of the one before it, in their order, and then new ones; so that slices stay valid.
    generations: [OnceLock<Vec<Arc<PackFile>>>; GENERATIONS_MAX],
    newest: AtomicUsize,
    /// Per folder, when it was changed last before it was listed; `None` when that does not tell enough.
    changed: Mutex<Vec<Option<SystemTime>>>,
    /// What was located as loose, in case that it turns up in a pack of a later generation.
    loose: Mutex<FastSet<ObjectId>>,
    /// For somebody who may not see everything.
    seen: Option<Seen>,
    /// Read when something is missing for the first time.
    promised: Arc<OnceLock<Promised>>,
    /// Held by whoever reads the packs for it.
    promised_turn: Arc<Mutex<()>>,
}

/// Whether the object at this place may be seen.
pub type MaySee = dyn Fn(&Location) -> bool + Send + Sync;

/// What there is for somebody who may not see everything.
#[derive(Clone)]
struct Seen {
    may_see: Arc<MaySee>,
    /// Packs of their own.
    own: Vec<u32>,
}

/// Packs that are open already, by name.
type Open<'a> = HashMap<&'a str, &'a Arc<PackFile>>;

/// What the folders held when the view was opened.
struct Listed {
    hash: gix_hash::Kind,
    /// Our own, then those of alternates.
    dirs: Vec<PathBuf>,
    /// How many packs there were.
    packs: u32,
    /// Multi-pack indexes in the order in which they are asked.
    indexes: Vec<IndexedPacks>,
    /// Packs that none of them names.
    unindexed: Vec<u32>,
    /// The bitmap that is used: its pack, or else its multi-pack index, which is the first one, is asked first.
    bitmap: Option<BitmapFile>,
    bitmaps: OnceLock<Option<Bitmaps>>,
    companions: Companions,
    graph: OnceLock<Option<CommitGraph>>,
}

impl ObjectStore {
    /// The view of `objects_dir` and its alternates, with those that `env` names. Packs that `before` has open stay open,
    /// where they are still there.
    pub(super) fn open(
        objects_dir: &Path,
        hash: gix_hash::Kind,
        companions: Companions,
        env: Option<Env<'_>>,
        before: Option<&Self>,
    ) -> Self {
        let open = before.map_or(&[][..], |before| before.packs());
        let open: Open = open.iter().map(|pack| (pack.name(), pack)).collect();
        Self::open_dirs(alternates::object_dirs(objects_dir, env), hash, companions, &open)
    }

    /// Whether some objects may be missing because a remote promised them: packs that came under a filter lie here
    /// (gitrepository-layout: `.promisor`). Which, tells [`Objects::is_promised`].
    pub fn is_promised_some(&self) -> bool {
        !promisor_packs(&self.listed.dirs).is_empty()
    }

    fn open_dirs(dirs: Vec<PathBuf>, hash: gix_hash::Kind, companions: Companions, open: &Open<'_>) -> Self {
        let (mut changes, mut packs) = (vec![], vec![]);
        let mut listed = Listed {
            hash,
            dirs,
            packs: 0,
            indexes: vec![],
            unindexed: vec![],
            bitmap: None,
            bitmaps: OnceLock::new(),
            companions,
            graph: OnceLock::new(),
        };
        let mut numbers = Numbers::new();
        for dir in listed.dirs.clone() {
            let path = dir.join("pack");
            changes.push(changed(&path));
            listed.take_in(&path, open, &mut numbers, &mut packs);
        }
        listed.packs = packs.len() as u32;
        Self::from_parts(Arc::new(listed), packs, changes)
    }

    fn from_parts(listed: Arc<Listed>, packs: Vec<Arc<PackFile>>, changes: Vec<Option<SystemTime>>) -> Self {
        let mut generations = [const { OnceLock::new() }; GENERATIONS_MAX];
        generations[0] = OnceLock::from(packs);
        let (newest, changed, loose) = (AtomicUsize::new(0), Mutex::new(changes), Mutex::default());
        Self { listed, generations, newest, changed, loose, seen: None, promised: Arc::default(), promised_turn: Arc::default() }
    }

    /// The same view, which remembers nothing of what others looked for in it.
    pub(super) fn afresh(&self) -> Self {
        let changes = self.changed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { seen: self.seen.clone(), ..Self::from_parts(self.listed.clone(), self.packs().to_vec(), changes) }
    }

    /// The same view for somebody to whom only what `may_see` says is there, and what is laid on top from now on. What could tell
    /// of other objects by the way (bitmaps, commit-graph) is left aside.
    pub(super) fn seen_through(&self, may_see: Arc<MaySee>) -> Self {
        Self { seen: Some(Seen { may_see, own: vec![] }), ..self.afresh() }
    }

    /// The same view with `pack` behind the others, whose numbers stay.
    pub(super) fn with_pack(&self, pack: Arc<PackFile>) -> Self {
        let mut packs = self.packs().to_vec();
        packs.push(pack);
        let changes = self.changed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut seen = self.seen.clone();
        if let Some(seen) = &mut seen {
            seen.own.push(packs.len() as u32 - 1);
        }
        Self { seen, promised: self.promised.clone(), ..Self::from_parts(self.listed.clone(), packs, changes) }
    }

    /// The object folders that this repository borrows from.
    pub fn alternates(&self) -> &[PathBuf] {
        &self.listed.dirs[1..]
    }

    /// Which companion files may be used.
    pub(super) fn companions(&self) -> Companions {
        self.listed.companions
    }

    fn locate_packed(&self, id: &oid) -> Option<Location> {
        // Always in this order: an object that lies in several packs must have one place, or it would go out twice.
        let packs = self.packs();
        let find = |pack: u32| Some(Location::Packed { pack, entry: packs[pack as usize].find(id)? });
        if let Some(BitmapFile::Pack { pack, .. }) = self.listed.bitmap
            && let Some(found) = find(pack)
        {
            return Some(found);
        }
        let mut is_indexed = false;
        for IndexedPacks { index, numbers } in &self.listed.indexes {
            let Some(rank) = index.find(id) else { continue };
            is_indexed = true;
            if let Some(found) = numbers.get(index.pack(rank) as usize).copied().flatten().and_then(find) {
                return Some(found);
            }
        }
        let found = self.listed.unindexed.iter().copied().find_map(find);
        // A pack that an index names may be gone, and another one that it names have the object too.
        let found = found.or_else(|| if is_indexed { (0..self.listed.packs).find_map(find) } else { None });
        found.or_else(|| (self.listed.packs..packs.len() as u32).find_map(find))
    }

    /// Where the object lies, whoever asks.
    fn locate_any(&self, id: &oid) -> Result<Option<Location>, Error> {
        loop {
            let generation = self.newest.load(Ordering::Acquire);
            let packed = self.locate_packed(id);
            if packed.is_some_and(|location| self.is_first(&location)) {
                return Ok(packed);
            }
            if generation > 0 && self.was_loose(id) {
                return Ok(Some(Location::Loose(id.to_owned())));
            }
            if packed.is_some() {
                return Ok(packed);
            }
            if self.has_loose(id) {
                if self.keep_loose(id, generation) {
                    return Ok(Some(Location::Loose(id.to_owned())));
                }
            } else if !self.take_in_new_packs() && self.newest.load(Ordering::Acquire) == generation {
                if !self.is_built_in(id) {
                    return Ok(None);
                }
                if self.keep_loose(id, generation) {
                    return Ok(Some(Location::Loose(id.to_owned())));
                }
            }
        }
    }

    /// The empty tree is everywhere, as in git (`object-file.c`: `find_cached_object`): `git commit-tree` names it without writing it.
    fn is_built_in(&self, id: &oid) -> bool {
        *id == *ObjectId::empty_tree(self.listed.hash)
    }

    /// Whether `location` has been there since the view was opened.
    fn is_first(&self, location: &Location) -> bool {
        let first = self.generations[0].get().map_or(0, Vec::len);
        matches!(location, Location::Packed { pack, .. } if (*pack as usize) < first)
    }

    fn was_loose(&self, id: &oid) -> bool {
        self.loose.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Name `id` loose from now on, unless packs came since `generation`: some other thread may have found it in them.
    fn keep_loose(&self, id: &oid, generation: usize) -> bool {
        let mut loose = self.loose.lock().unwrap_or_else(PoisonError::into_inner);
        let is_newest = self.newest.load(Ordering::Acquire) == generation;
        if is_newest {
            loose.insert(id.to_owned());
        }
        is_newest
    }

    fn has_loose(&self, id: &oid) -> bool {
        self.listed.dirs.iter().any(|dir| loose::path(dir, id).symlink_metadata().is_ok())
    }

    /// Take in packs that came since the folders were listed; whether there are any.
    fn take_in_new_packs(&self) -> bool {
        let mut changes = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.newest.load(Ordering::Acquire);
        if newest + 1 == GENERATIONS_MAX {
            return false;
        }
        let mut packs: Option<Vec<Arc<PackFile>>> = None;
        for (dir, listed) in self.listed.dirs.iter().zip(changes.iter_mut()) {
            let path = dir.join("pack");
            let now = changed(&path);
            if now.is_some() && now == *listed {
                continue;
            }
            *listed = now;
            let packs = packs.get_or_insert_with(|| self.packs().to_vec());
            // One that was removed before it was opened, and is there again, counts as new.
            let known: HashSet<&str> = packs.iter().filter(|pack| !pack.is_left_out()).map(|pack| pack.name()).collect();
            let new = PackDir::list(&path).names_by_size(&|name| !known.contains(name));
            let new: Vec<_> = new.iter().map(|name| Arc::new(open_pack(&path, name, self.listed.hash))).collect();
            packs.extend(new.into_iter().filter(|pack| pack.is_usable()));
        }
        let Some(packs) = packs.filter(|packs| packs.len() > self.packs().len()) else { return false };
        // The lock is held, so nobody else fills this place.
        let filled = self.generations[newest + 1].set(packs).is_ok();
        self.newest.store(newest + usize::from(filled), Ordering::Release);
        filled
    }
}

impl Listed {
    /// Add what lies in the folder of packs at `path`.
    fn take_in(&mut self, path: &Path, open: &Open<'_>, numbers: &mut Numbers, packs: &mut Vec<Arc<PackFile>>) {
        let (dir, hash, companions) = (PackDir::list(path), self.hash, self.companions);
        let indexes = if companions.multi_pack_index { dir.multi_pack_indexes(hash) } else { vec![] };
        let is_single = indexes.len() == 1;
        let pack = |name: &str| match open.get(name).filter(|pack| pack.is_current()) {
            Some(pack) => (*pack).clone(),
            None => Arc::new(open_pack(path, name, hash)),
        };
        let mut add = |name: &str| {
            *numbers.entry(name.to_owned()).or_insert_with(|| {
                packs.push(pack(name));
                packs.len() as u32 - 1
            })
        };
        let there = dir.names();
        for index in indexes {
            let number = |name: &String| there.contains(name.as_str()).then(|| add(name));
            let numbers = index.pack_names().iter().map(number).collect();
            // A bitmap over a chain of indexes is not read.
            let bitmap = dir.multi_pack_bitmap(&index).filter(|_| companions.bitmaps && is_single);
            let indexed = IndexedPacks { index, numbers };
            match bitmap {
                Some((path, order)) if !matches!(self.bitmap, Some(BitmapFile::MultiPack { .. })) => {
                    self.bitmap = Some(BitmapFile::MultiPack { path, order });
                    self.indexes.insert(0, indexed);
                }
                _ => self.indexes.push(indexed),
            }
        }
        for name in dir.names_by_size(&|name| !numbers.contains_key(name)) {
            packs.push(pack(&name));
            let number = packs.len() as u32 - 1;
            self.unindexed.push(number);
            numbers.insert(name, number);
        }
        if self.bitmap.is_none() && companions.bitmaps {
            let with_bitmap = packs.iter().enumerate().find_map(|(pack, file)| Some((pack as u32, dir.bitmap(file.name())?)));
            self.bitmap = with_bitmap.map(|(pack, path)| BitmapFile::Pack { path, pack });
        }
    }
}

/// When a folder was changed last, if that was long enough ago to notice the next change by it.
fn changed(dir: &Path) -> Option<SystemTime> {
    let Ok(meta) = dir.metadata() else { return Some(SystemTime::UNIX_EPOCH) };
    let changed = meta.modified().ok()?;
    let whole_seconds = changed.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since.subsec_nanos() == 0);
    let step = if whole_seconds { COARSE_CLOCK_STEP } else { CLOCK_STEP };
    SystemTime::now().duration_since(changed).is_ok_and(|age| age > step).then_some(changed)
}

/// The pack called `name` (`pack-…` without ending) in the folder `dir`, to be opened when it is first needed.
fn open_pack(dir: &Path, name: &str, hash: gix_hash::Kind) -> PackFile {
    PackFile::later(name.to_owned(), Box::new(PackFiles::new(dir, name)), hash)
}

impl Objects for ObjectStore {
    fn hash_kind(&self) -> gix_hash::Kind {
        self.listed.hash
    }

    fn packs(&self) -> &[Arc<PackFile>] {
        self.generations[self.newest.load(Ordering::Acquire)].get().map_or(&[], |packs| packs.as_slice())
    }

    fn locate(&self, id: &oid) -> Result<Option<Location>, Error> {
        let Some(seen) = &self.seen else { return self.locate_any(id) };
        let own = seen.own.iter().find_map(|pack| Some(Location::Packed { pack: *pack, entry: self.packs()[*pack as usize].find(id)? }));
        if own.is_some() || self.is_built_in(id) {
            return own.map_or_else(|| self.locate_any(id), |own| Ok(Some(own)));
        }
        // It may have been packed since it was found out what may be seen.
        let may_see = |location: &Location| (seen.may_see)(location) || (seen.may_see)(&Location::Loose(id.to_owned()));
        Ok(self.locate_any(id)?.filter(may_see))
    }

    fn locate_sorted(
        &self,
        ids: &mut dyn ExactSizeIterator<Item = &oid>,
        found: &mut dyn FnMut(u32, Location) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.seen.is_some() {
            for (at, id) in ids.enumerate() {
                if let Some(location) = self.locate(id)? {
                    found(at as u32, location)?;
                }
            }
            return Ok(());
        }
        let mut loose = loose::Names::new(&self.listed.dirs, ids.len());
        for (at, id) in ids.enumerate() {
            let location = self.locate_packed(id).or_else(|| loose.has(id).then(|| Location::Loose(id.to_owned())));
            if let Some(location) = location {
                found(at as u32, location)?;
            }
        }
        Ok(())
    }

    fn moved(&self, id: &oid) -> Result<Option<Location>, Error> {
        if let Some(found) = self.locate_packed(id) {
            return Ok(Some(found));
        }
        self.take_in_new_packs();
        Ok(self.locate_packed(id))
    }

    fn read_loose(&self, id: &oid, out: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
        for dir in &self.listed.dirs {
            if let Some(kind) = loose::read(&loose::path(dir, id), out)? {
                return Ok(Some(kind));
            }
        }
        Ok(self.is_built_in(id).then(|| {
            out.clear();
            Kind::Tree
        }))
    }

    fn loose_header(&self, id: &oid) -> Result<Option<(Kind, u64)>, Error> {
        for dir in &self.listed.dirs {
            if let Some(found) = loose::read_header(&loose::path(dir, id))? {
                return Ok(Some(found));
            }
        }
        Ok(self.is_built_in(id).then_some((Kind::Tree, 0)))
    }

    fn is_promised(&self, id: &oid, cancel: &Cancel) -> Result<bool, Error> {
        // Another request may be reading all these packs.
        let _reading = loop {
            if let Some(promised) = self.promised.get() {
                return Ok(promised.contains(id));
            }
            match self.promised_turn.try_lock() {
                Ok(turn) => break turn,
                Err(TryLockError::Poisoned(turn)) => break turn.into_inner(),
                Err(TryLockError::WouldBlock) => cancel.check()?,
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        if let Some(promised) = self.promised.get() {
            return Ok(promised.contains(id));
        }
        let may_see = |location: &Location| self.seen.as_ref().is_none_or(|seen| (seen.may_see)(location));
        // What somebody may not see is not missing.
        let is_here = |id: &oid| Ok(self.locate_any(id)?.is_some());
        let read = Promised::read(self, &self.listed.dirs, &may_see, &is_here, cancel)?;
        Ok(self.promised.get_or_init(|| read).contains(id))
    }

    fn bitmaps(&self) -> Option<&Bitmaps> {
        if self.seen.is_some() {
            return None;
        }
        let listed = &self.listed;
        let packs = &self.packs()[..listed.packs as usize];
        let open = || listed.bitmap.as_ref()?.open(listed.indexes.first(), packs, listed.hash);
        listed.bitmaps.get_or_init(open).as_ref()
    }

    fn commit_graph(&self) -> Option<&CommitGraph> {
        if self.seen.is_some() {
            return None;
        }
        let listed = &self.listed;
        let open = || if listed.companions.commit_graph { open_commit_graph(&listed.dirs, listed.hash) } else { None };
        listed.graph.get_or_init(open).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, git_with_input, init};
    use super::*;
    use crate::pack::Decoder;
    use gix_hash::Kind::Sha1;

    fn open(git_dir: &Path) -> ObjectStore {
        ObjectStore::open(&git_dir.join("objects"), Sha1, Companions::ALL, None, None)
    }

    fn blob(git_dir: &Path, text: &str) -> ObjectId {
        ObjectId::from_hex(git_with_input(git_dir, &["hash-object", "-w", "--stdin"], text).trim().as_bytes()).unwrap()
    }

    /// Pack what is loose.
    fn pack(git_dir: &Path, ids: &[ObjectId]) {
        let list: String = ids.iter().map(|id| format!("{id}\n")).collect();
        git_with_input(git_dir, &["pack-objects", "-q", "objects/pack/pack"], &list);
        git(git_dir, &["prune-packed"]);
    }

    #[test]
    fn objects_are_found_loose_packed_and_through_chains_of_alternates() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut ids = Vec::new();
        for name in ["a.git", "b.git", "c.git"] {
            init(&at(name), &["--bare"]);
            ids.push(blob(&at(name), &format!("loose in {name}")));
            let packed = blob(&at(name), &format!("packed in {name}"));
            pack(&at(name), &[packed]);
            ids.push(packed);
        }
        std::fs::write(at("a.git/objects/info/alternates"), "# first\n../../b.git/objects\n").unwrap();
        std::fs::write(at("b.git/objects/info/alternates"), format!("{}\n/not/there\n", at("c.git/objects").display())).unwrap();
        std::fs::write(at("c.git/objects/info/alternates"), "../../a.git/objects\n").unwrap();
        let objects = open(&at("a.git"));
        assert_eq!((objects.packs().len(), objects.alternates().len()), (3, 2));
        for (number, id) in ids.iter().enumerate() {
            let found = objects.locate(id).unwrap().unwrap();
            assert_eq!(matches!(found, Location::Loose(_)), number % 2 == 0, "{id}");
            if let Location::Packed { pack, entry } = found {
                assert_eq!(objects.packs()[pack as usize].id(entry), id.as_ref() as &oid);
            }
        }
        assert_eq!(objects.locate(&Sha1.null()).unwrap(), None);
        let env = |name: &str| (name == "GIT_ALTERNATE_OBJECT_DIRECTORIES").then(|| at("b.git/objects").into());
        let from_env = ObjectStore::open(&at("c.git/objects"), Sha1, Companions::ALL, Some(&env), None);
        assert_eq!(from_env.alternates(), [at("b.git/objects"), at("a.git/objects")].map(|path| path.canonicalize().unwrap()));
    }

    #[test]
    fn a_loose_object_reads_as_git_reads_it_however_big() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["--bare"]);
        let mut out = Vec::new();
        let big: String = (0..200_000u32).map(|number| format!("{}\n", number.wrapping_mul(2_654_435_761))).collect();
        for text in ["", "short", &"x".repeat(1_000_000), &big] {
            let id = blob(dir.path(), text);
            assert_eq!(open(dir.path()).read_loose(&id, &mut out).unwrap(), Some(Kind::Blob));
            assert!(out == text.as_bytes(), "{} bytes", text.len());
            assert_eq!(open(dir.path()).loose_header(&id).unwrap(), Some((Kind::Blob, text.len() as u64)));
        }
        let tree = git_with_input(dir.path(), &["mktree"], "");
        let tree = ObjectId::from_hex(tree.trim().as_bytes()).unwrap();
        assert_eq!(open(dir.path()).read_loose(&tree, &mut out).unwrap(), Some(Kind::Tree));
        assert_eq!(open(dir.path()).read_loose(&Sha1.null(), &mut out).unwrap(), None);
        assert_eq!(open(dir.path()).loose_header(&Sha1.null()).unwrap(), None);
    }

    #[test]
    fn the_empty_tree_is_there_without_being_written() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &["--bare"]);
        let id = ObjectId::empty_tree(Sha1);
        let commit = git(folder.path(), &["commit-tree", "-m", "x", &id.to_string()]);
        let objects = open(folder.path());
        assert!(!objects.has_loose(&id), "git does not write it either");
        let mut decoder = Decoder::new(&objects, 1 << 20);
        let (kind, data) = decoder.find(&id).unwrap().unwrap();
        assert_eq!((kind, data.len()), (Kind::Tree, 0));
        let location = objects.locate(&id).unwrap().unwrap();
        assert_eq!((decoder.kind(&location).unwrap(), decoder.size(&location).unwrap()), (Kind::Tree, 0));
        assert!(decoder.find(&ObjectId::from_hex(commit.trim().as_bytes()).unwrap()).unwrap().is_some());
    }

    #[test]
    fn a_damaged_loose_object_is_an_error_at_every_length() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["--bare"]);
        let id = blob(dir.path(), "some text that is stored");
        let path = loose::path(&dir.path().join("objects"), &id);
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut out = Vec::new();
        let mut longer = whole.clone();
        longer.push(0);
        let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
        for bytes in cut.chain([longer, b"not zlib at all".to_vec()]) {
            std::fs::write(&path, &bytes).unwrap();
            let read = open(dir.path()).read_loose(&id, &mut out);
            assert!(matches!(read, Err(Error::Corrupt(_))), "{} bytes: {read:?}", bytes.len());
        }
    }

    #[test]
    fn a_pack_that_comes_later_is_taken_in_and_old_numbers_stay() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["--bare"]);
        let first = blob(dir.path(), "first");
        pack(dir.path(), &[first]);
        let objects = open(dir.path());
        let before = objects.locate(&first).unwrap();
        let held = objects.packs();
        for round in 0..GENERATIONS_MAX - 1 {
            let later = blob(dir.path(), &format!("later {round}"));
            pack(dir.path(), &[later]);
            assert!(matches!(objects.locate(&later).unwrap(), Some(Location::Packed { .. })), "{round}");
        }
        git(dir.path(), &["repack", "-adq"]);
        assert_eq!(objects.locate(&first).unwrap(), before);
        assert_eq!((held.len(), objects.packs().len()), (1, GENERATIONS_MAX));
    }

    #[test]
    fn a_loose_object_that_is_packed_meanwhile_keeps_its_place_and_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["--bare"]);
        let (located, other) = (blob(dir.path(), "located"), blob(dir.path(), "other"));
        let objects = open(dir.path());
        let before = objects.locate(&located).unwrap().unwrap();
        assert_eq!(before, Location::Loose(located));
        pack(dir.path(), &[located, other]);
        assert!(!objects.has_loose(&located));
        let mut decoder = Decoder::new(&objects, 1 << 20);
        assert_eq!(decoder.get(&before).unwrap().1.as_slice(), b"located");
        assert_eq!(objects.locate(&located).unwrap(), Some(before), "one object must not have two places");
        assert!(matches!(objects.locate(&other).unwrap(), Some(Location::Packed { .. })));
        assert_eq!(decoder.find(&located).unwrap().unwrap().1.as_slice(), b"located");
        assert!(matches!(open(dir.path()).locate(&located).unwrap(), Some(Location::Packed { .. })), "another view");
    }

    #[test]
    fn threads_that_look_while_objects_are_packed_agree_on_their_places() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["--bare"]);
        for round in 0..GENERATIONS_MAX - 2 {
            let ids: Vec<_> = (0..20).map(|number| blob(dir.path(), &format!("{round} {number}"))).collect();
            let objects = open(dir.path());
            let look = || ids.iter().map(|id| (*id, objects.locate(id).unwrap().unwrap())).collect::<Vec<_>>();
            let found: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..50).flat_map(|_| look()).collect::<Vec<_>>())).collect();
                pack(dir.path(), &ids);
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            let places: std::collections::HashSet<_> = found.into_iter().chain(look()).collect();
            assert_eq!(places.len(), ids.len());
        }
    }

    #[test]
    fn a_damaged_pack_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["--bare"]);
        let (good, lost) = (blob(dir.path(), "good"), blob(dir.path(), "lost"));
        pack(dir.path(), &[good]);
        let pack_dir = dir.path().join("objects/pack");
        std::fs::write(pack_dir.join("pack-1.idx"), "no index").unwrap();
        std::fs::write(pack_dir.join("pack-1.pack"), "no pack").unwrap();
        std::fs::write(pack_dir.join("pack-2.idx"), "").unwrap();
        let objects = open(dir.path());
        let place = objects.locate(&good).unwrap().unwrap();
        let Location::Packed { pack, .. } = place else { panic!("{place:?}") };
        let found = objects.with_pack(objects.packs()[pack as usize].clone());
        assert_eq!(found.packs().len(), objects.packs().len() + 1);
        assert_eq!(found.locate(&good).unwrap(), Some(place));
        assert_eq!(found.locate(&lost).unwrap(), Some(Location::Loose(lost)));
        let left_out: Vec<&str> = objects.packs().iter().filter(|pack| pack.is_left_out()).map(|pack| pack.name()).collect();
        assert_eq!(left_out, ["pack-1"]);
    }
    #[test]
    fn a_folder_whose_time_has_no_parts_of_a_second_is_listed_again_for_longer() {
        let dir = tempfile::tempdir().unwrap();
        let folder = std::fs::File::open(dir.path()).unwrap();
        let ago = |age: Duration, nanos: u32| {
            let then = (SystemTime::now() - age).duration_since(SystemTime::UNIX_EPOCH).unwrap();
            folder.set_modified(SystemTime::UNIX_EPOCH + Duration::new(then.as_secs(), nanos)).unwrap();
            changed(dir.path()).is_some()
        };
        assert!(!ago(Duration::from_secs(1), 0));
        assert!(ago(COARSE_CLOCK_STEP + Duration::from_secs(2), 0));
        assert!(ago(Duration::from_secs(2), 1));
    }
}
