//! A snapshot kept from one request to the next: looked over before it is used again, and read anew only where something has changed.
//!
//! What is looked at, in the order in which it is read: the journal, every folder and file beneath `refs`, `packed-refs`, `shallow`, `HEAD`,
//! the settings, and of each object directory the folder of packs, the alternates and what lies in `info`.
//! A push of ours and whatever stock git does beside show alike, at once; see [`super::stamp`].

use super::companions::Companions;
use super::packed_refs::PackedRefs;
use super::ref_files::OwnedTarget;
use super::stamp::Stamps;
use super::{Error, ObjectStore, Refs, Repository, Snapshot, alternates, config, journal, ref_files};
use crate::pack::Objects as _;
use bstr::BString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a pack that is held open counts for beside its memory: its maps are bounded by the system.
const PACK_BYTES: usize = 16 << 10;

type LooseRefs = Vec<(BString, OwnedTarget)>;

/// A number that no other state of any repository in this process has.
pub(super) fn new_state() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A snapshot and what tells whether it is still true.
pub struct HeldSnapshot {
    snapshot: Snapshot,
    loose: Stamps,
    packed: Stamps,
    objects: Stamps,
}

impl HeldSnapshot {
    /// The view.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Memory taken, about; packs count for more than that, so that a bound on it bounds their number.
    pub fn held_bytes(&self) -> usize {
        let packs = self.snapshot.objects.packs().len();
        self.snapshot.refs.held_bytes() + self.loose.held_bytes() + self.objects.held_bytes() + packs * PACK_BYTES
    }

    /// Whether nothing of it has changed on disk, as far as its files tell.
    pub fn is_current(&self) -> bool {
        self.loose.hold() && self.packed.hold() && self.objects.hold()
    }

    /// The view alone.
    pub(super) fn into_snapshot(self) -> Snapshot {
        self.snapshot
    }
}

impl Repository {
    /// As [`Repository::snapshot`], reusing of `before`, an earlier snapshot of this repository, all that has not
    /// changed. Where nothing has, [`Snapshot::state`] is the same.
    pub fn snapshot_again(&self, before: Option<&HeldSnapshot>) -> Result<HeldSnapshot, Error> {
        // Loose refs before packed ones, and all refs before objects: what is packed or comes meanwhile is seen.
        let read = || Ok((self.loose_again(before)?, self.packed_again(before)?, self.stored_shallow()?));
        let (((loose, loose_stamps), (packed, packed_stamps), mut shallow), overlay) = journal::read_refs(self, read)?;
        overlay.cut(self, &mut shallow);
        let refs = match (loose, before) {
            (None, Some(before)) if Arc::ptr_eq(before.snapshot.refs.packed(), &packed) => before.snapshot.refs.clone(),
            (None, _) => return self.snapshot_again(None), // loose refs are kept within the view only
            (Some(mut loose), _) => {
                overlay.lay(&mut loose, &packed)?;
                let refs = Refs::new(loose, packed, self.hash);
                // The same refs in files that were written anew, or too lately to be sure, are the same state.
                let same = before.filter(|before| *before.snapshot.refs == refs).map(|before| before.snapshot.refs.clone());
                same.unwrap_or_else(|| Arc::new(refs))
            }
        };
        let head = ref_files::read_head(&self.git_dir, &refs, self.hash)?;
        let companions = self.companions(&shallow);
        let same = |before: &&HeldSnapshot| before.snapshot.objects.companions() == companions && before.objects.hold();
        let (objects, objects_stamps) = match before.filter(same) {
            Some(before) => (before.snapshot.objects.clone(), before.objects.clone()),
            None => self.open_objects(companions, before)?,
        };
        let mut snapshot =
            Snapshot { state: 0, refs, head, objects, settings: self.settings.clone(), shallow: Arc::new(shallow), hash: self.hash };
        snapshot.state = match before.filter(|before| before.snapshot.is_same(&snapshot)) {
            Some(before) => before.snapshot.state,
            None => new_state(),
        };
        Ok(HeldSnapshot { snapshot, loose: loose_stamps, packed: packed_stamps, objects: objects_stamps })
    }

    /// `None`: as before.
    fn loose_again(&self, before: Option<&HeldSnapshot>) -> Result<(Option<LooseRefs>, Stamps), Error> {
        if let Some(before) = before.filter(|before| before.loose.hold()) {
            return Ok((None, before.loose.clone()));
        }
        let mut stamps = Stamps::new();
        stamps.note(&self.common_dir.join(journal::JOURNAL_FILE));
        let loose = ref_files::read_all_loose(&self.git_dir, &self.common_dir, self.hash, &mut stamps)?;
        Ok((Some(loose), stamps))
    }

    fn packed_again(&self, before: Option<&HeldSnapshot>) -> Result<(Arc<PackedRefs>, Stamps), Error> {
        if let Some(before) = before.filter(|before| before.packed.hold()) {
            return Ok((before.snapshot.refs.packed().clone(), before.packed.clone()));
        }
        let mut stamps = Stamps::new();
        stamps.note(&self.common_dir.join("packed-refs"));
        let packed = PackedRefs::read(&self.common_dir, self.hash)?;
        packed.check()?;
        Ok((Arc::new(packed), stamps))
    }

    fn open_objects(&self, companions: Companions, before: Option<&HeldSnapshot>) -> Result<(Arc<ObjectStore>, Stamps), Error> {
        let mut stamps = Stamps::new();
        let dirs = alternates::object_dirs(&self.objects_dir(), self.alternates_env());
        for dir in &dirs {
            for name in ["pack", "info", "info/alternates", "info/commit-graphs"] {
                stamps.note(&dir.join(name));
            }
        }
        let objects = self.object_store(companions, before.map(|before| &*before.snapshot.objects));
        if objects.alternates() != &dirs[1..] {
            stamps.give_up(); // the list changed meanwhile: these stamps say nothing of what was opened
        }
        Ok((Arc::new(objects), stamps))
    }

    pub(super) fn object_store(&self, companions: Companions, before: Option<&ObjectStore>) -> ObjectStore {
        ObjectStore::open(&self.objects_dir(), self.hash, companions, self.alternates_env(), before)
    }

    fn alternates_env(&self) -> Option<config::Env<'static>> {
        (self.scope == super::ConfigScope::Git).then_some(&config::process_env)
    }
}

impl Snapshot {
    /// Whether `other` shows the same: what is shared between them need not be compared.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.refs, &other.refs)
            && Arc::ptr_eq(&self.objects, &other.objects)
            && self.head == other.head
            && self.shallow == other.shallow
            && self.settings == other.settings
            && self.hash == other.hash
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, git_with_input, init};
    use super::*;
    use crate::pack::{Location, PackFile};
    use crate::store::ConfigScope;
    use gix_hash::ObjectId;
    use std::path::{Path, PathBuf};

    /// Let the ref `name` lead to a commit that says `message`.
    fn commit(path: &Path, name: &str, message: &str) {
        let tree = git_with_input(path, &["mktree"], "");
        let id = git(path, &["commit-tree", "-m", message, tree.trim()]);
        git(path, &["update-ref", name, id.trim()]);
    }

    fn settle() {
        std::thread::sleep(std::time::Duration::from_millis(60));
    }

    fn repository(path: &Path) -> Repository {
        Repository::open(path, ConfigScope::RepositoryOnly).unwrap()
    }

    #[test]
    fn a_view_stays_the_same_until_something_changes_and_shows_the_change_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("r.git");
        init(&path, &["--bare"]);
        for name in ["refs/heads/main", "refs/heads/a/b", "refs/tags/t"] {
            commit(&path, name, name);
        }
        git(&path, &["pack-refs", "--all"]);
        git(&path, &["repack", "-adq"]);
        init(&dir.path().join("lender.git"), &["--bare"]);
        let lender = dir.path().join("lender.git/objects");
        let main = git(&path, &["rev-parse", "main"]);
        let changes: [(&str, &dyn Fn()); 11] = [
            ("a new ref", &|| commit(&path, "refs/heads/new", "1")),
            ("a ref moves", &|| commit(&path, "refs/heads/new", "2")),
            ("a ref in a new folder", &|| commit(&path, "refs/x/y/z", "3")),
            ("a ref's file is written in place", &|| std::fs::write(path.join("refs/heads/new"), &main).unwrap()),
            ("a ref goes", &|| drop(git(&path, &["update-ref", "-d", "refs/heads/new"]))),
            ("a packed ref goes", &|| drop(git(&path, &["update-ref", "-d", "refs/tags/t"]))),
            ("HEAD moves", &|| drop(git(&path, &["symbolic-ref", "HEAD", "refs/heads/a/b"]))),
            ("a pack comes", &|| drop(git(&path, &["repack", "-dq"]))),
            ("it borrows", &|| std::fs::write(path.join("objects/info/alternates"), format!("{}\n", lender.display())).unwrap()),
            ("it becomes shallow", &|| std::fs::write(path.join("shallow"), &main).unwrap()),
            ("a setting", &|| drop(git(&path, &["config", "transfer.hideRefs", "refs/x"]))),
        ];
        for (what, change) in changes {
            settle();
            let before = repository(&path).snapshot_again(None).unwrap();
            let again = repository(&path).snapshot_again(Some(&before)).unwrap();
            assert_eq!(before.snapshot().state(), again.snapshot().state(), "before: {what}");
            assert!(Arc::ptr_eq(before.snapshot().objects(), again.snapshot().objects()), "packs stay open: {what}");
            change();
            let now = repository(&path).snapshot_again(Some(&again)).unwrap();
            assert_ne!(now.snapshot().state(), again.snapshot().state(), "{what}");
            let fresh = repository(&path).snapshot().unwrap();
            let listed = |snapshot: &Snapshot| snapshot.refs().iter().map(|entry| format!("{entry:?}")).collect::<Vec<_>>();
            assert_eq!(listed(now.snapshot()), listed(&fresh), "{what}");
            assert_eq!((now.snapshot().head(), now.snapshot().shallow()), (fresh.head(), fresh.shallow()), "{what}");
            assert_eq!(now.snapshot().objects().alternates(), fresh.objects().alternates(), "{what}");
        }
    }

    #[test]
    fn every_one_of_many_changes_in_quick_succession_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["--bare"]);
        commit(dir.path(), "refs/heads/main", "1");
        let file = dir.path().join("refs/heads/main");
        let mut held = repository(dir.path()).snapshot_again(None).unwrap();
        for number in 1..400u32 {
            let id = format!("{number:040x}");
            if number % 2 == 0 {
                std::fs::write(&file, &id).unwrap();
            } else {
                std::fs::write(dir.path().join("new"), &id).unwrap();
                std::fs::rename(dir.path().join("new"), &file).unwrap();
            }
            held = repository(dir.path()).snapshot_again(Some(&held)).unwrap();
            let seen = held.snapshot().refs().find("refs/heads/main".into()).unwrap().id.unwrap();
            assert_eq!(seen.to_string(), id);
        }
    }

    #[test]
    fn packs_that_are_open_and_still_there_stay_open_when_others_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["--bare"]);
        let packs = dir.path().join("objects/pack");
        let mut tips = vec![];
        for name in ["refs/heads/a", "refs/heads/b", "refs/heads/c"] {
            commit(dir.path(), name, name);
            git(dir.path(), &["repack", "-dq"]);
            tips.push(ObjectId::from_hex(git(dir.path(), &["rev-parse", name]).trim().as_bytes()).unwrap());
        }
        settle();
        let pack_of = |view: &HeldSnapshot, tip: usize| match view.snapshot().objects().locate(&tips[tip]).unwrap() {
            Some(Location::Packed { pack, .. }) => view.snapshot().objects().packs()[pack as usize].clone(),
            other => panic!("{other:?}"),
        };
        let before = repository(dir.path()).snapshot_again(None).unwrap();
        let opened: Vec<_> = (0..3).map(|tip| pack_of(&before, tip)).collect();
        assert!(opened.iter().all(|pack| pack.is_usable() && pack.is_current()));
        // The second is put back as another file of that name, the third goes, a fourth comes.
        let at = |pack: &PackFile, ending: &str| packs.join(format!("{}.{ending}", pack.name()));
        let bytes = std::fs::read(at(&opened[1], "pack")).unwrap();
        std::fs::remove_file(at(&opened[1], "pack")).unwrap();
        std::fs::write(at(&opened[1], "pack"), bytes).unwrap();
        git(dir.path(), &["update-ref", "-d", "refs/heads/c"]);
        for ending in ["pack", "idx", "rev"] {
            let _ = std::fs::remove_file(at(&opened[2], ending));
        }
        commit(dir.path(), "refs/heads/d", "refs/heads/d");
        git(dir.path(), &["repack", "-dq"]);
        let now = repository(dir.path()).snapshot_again(Some(&before)).unwrap();
        assert_eq!(now.snapshot().objects().packs().len(), 3);
        assert!(Arc::ptr_eq(&opened[0], &pack_of(&now, 0)), "nothing has happened to it");
        assert!(!opened[1].is_current() && !Arc::ptr_eq(&opened[1], &pack_of(&now, 1)), "these are other files");
        assert_eq!(now.snapshot().objects().locate(&tips[2]).unwrap(), None);
    }

    #[test]
    fn files_written_anew_with_the_same_refs_are_the_same_state() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["--bare"]);
        commit(dir.path(), "refs/heads/main", "1");
        git(dir.path(), &["repack", "-adq"]);
        settle();
        let before = repository(dir.path()).snapshot_again(None).unwrap();
        let value = std::fs::read(dir.path().join("refs/heads/main")).unwrap();
        std::fs::write(dir.path().join("refs/heads/main"), value).unwrap();
        let after = repository(dir.path()).snapshot_again(Some(&before)).unwrap();
        assert!(!before.is_current());
        assert_eq!(before.snapshot().state(), after.snapshot().state());
    }
}
