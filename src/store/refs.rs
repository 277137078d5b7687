//! All refs of a repository into one immutable view in order of names.
//!
//! Built for a million refs: `packed-refs` stays as it lies in its file, and what is asked for is found in it by
//! bisection and read straight from there, merged with the loose refs; nothing is allocated per packed ref. Only whoever
//! asks by number (a gate that hides some) pays for numbering them all. Loose files win over `packed-refs` and are read
//! first, so that a ref that is packed meanwhile is seen in one of the two.

use super::packed_refs::{PackedRefs, Record};
use super::ref_files::{self, OwnedTarget};
use super::scan_refs::{Listed, ListedRef, Scan};
use super::stamp::Stamps;
use super::{Error, Repository, journal};
use crate::base::limits;
use bstr::{BStr, BString, ByteSlice};
use gix_hash::ObjectId;
use std::sync::{Arc, OnceLock};

/// What a ref leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// An object.
    Object(ObjectId),
    /// Another ref, by its full name: the end of the chain where there are several, as git shows it.
    Symbolic(&'a BStr),
}

/// What is known of the object behind an annotated tag without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peeled {
    /// The ref's file does not say; open the object.
    Unknown,
    /// It is no tag object.
    Itself,
    /// It is a tag object that finally leads to this.
    To(ObjectId),
}

/// One ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefEntry<'a> {
    /// Full name, such as `refs/heads/main`.
    pub name: &'a BStr,
    /// An object, or the ref that this one stands for.
    pub target: Target<'a>,
    /// The object that it finally leads to; `None` for a symbolic ref to a branch that is not born.
    pub id: Option<ObjectId>,
    /// What lies behind `id`.
    pub peeled: Peeled,
}

/// What HEAD holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Head {
    /// A commit itself.
    Detached(ObjectId),
    /// A ref by its full name (the end of the chain), and its value if it has one.
    Symbolic(bstr::BString, Option<ObjectId>),
    /// There is no usable HEAD.
    Missing,
}

/// All refs of a repository at one moment, sorted by name. HEAD stands beside them, not among them.
///
/// Broken refs (empty files, bad names, loops) are left out with a warning in the log, as git does. Where
/// `packed-refs` itself is damaged, what follows the damage is not seen, and [`Refs::check`] says so.
pub struct Refs {
    packed: Arc<PackedRefs>,
    loose: Vec<Loose>,
    hash: gix_hash::Kind,
    numbers: OnceLock<Vec<Place>>,
    damage: OnceLock<String>,
}

/// A ref with a file of its own.
#[derive(PartialEq)]
pub(super) struct Loose {
    name: BString,
    value: Value,
}

#[derive(PartialEq)]
enum Value {
    Object(ObjectId),
    /// The end of the chain, and what lies there.
    Symbolic(BString, Option<(ObjectId, Peeled)>),
    /// Broken: it is not there, and neither is a packed one of this name.
    Hidden,
}

/// Where a ref stands: a byte of `packed-refs`, or the number of a loose one.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Packed(usize),
    Loose(usize),
}

impl std::fmt::Debug for Refs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Refs({} bytes packed, {} loose)", self.packed.bytes().len(), self.loose.len())
    }
}

impl PartialEq for Refs {
    fn eq(&self, other: &Self) -> bool {
        let same_packed = Arc::ptr_eq(&self.packed, &other.packed) || self.packed.bytes() == other.packed.bytes();
        same_packed && self.loose == other.loose
    }
}

impl Loose {
    fn entry(&self) -> Option<RefEntry<'_>> {
        let name = self.name.as_bstr();
        match &self.value {
            Value::Object(id) => Some(RefEntry { name, target: Target::Object(*id), id: Some(*id), peeled: Peeled::Unknown }),
            Value::Symbolic(target, end) => Some(RefEntry {
                name,
                target: Target::Symbolic(target.as_bstr()),
                id: end.map(|(id, _)| id),
                peeled: end.map_or(Peeled::Unknown, |(_, peeled)| peeled),
            }),
            Value::Hidden => None,
        }
    }
}

impl Refs {
    /// For one request and a short life: `packed-refs` is mapped, and read as far as it is asked for. With the refs comes
    /// where history was cut off at the same moment.
    pub(super) fn open(repository: &Repository) -> Result<(Self, Vec<ObjectId>), Error> {
        let (git_dir, common_dir, hash) = (&repository.git_dir, &repository.common_dir, repository.hash);
        let ((mut loose, packed, mut shallow), overlay) = journal::read_refs(repository, || {
            let loose = ref_files::read_all_loose(git_dir, common_dir, hash, &mut Stamps::off())?;
            Ok((loose, PackedRefs::map(common_dir, hash)?, repository.stored_shallow()?))
        })?;
        overlay.cut(&mut shallow);
        overlay.lay(&mut loose, &packed)?;
        Ok((Self::new(loose, Arc::new(packed), hash), shallow))
    }

    /// Loose refs and packed ones, which were read after them.
    pub(super) fn new(loose: Vec<(BString, OwnedTarget)>, packed: Arc<PackedRefs>, hash: gix_hash::Kind) -> Self {
        let value = |target| match target {
            OwnedTarget::Object(id) => Value::Object(id),
            OwnedTarget::Symbolic(name) => Value::Symbolic(name, None),
            OwnedTarget::Broken => Value::Hidden,
        };
        let mut loose: Vec<_> = loose.into_iter().map(|(name, target)| Loose { name, value: value(target) }).collect();
        loose.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut refs = Self { packed, loose, hash, numbers: OnceLock::new(), damage: OnceLock::new() };
        refs.resolve_symbolic();
        refs
    }

    /// SHA-1 or SHA-256.
    pub(super) fn hash(&self) -> gix_hash::Kind {
        self.hash
    }

    /// The packed refs.
    pub(super) fn packed(&self) -> &Arc<PackedRefs> {
        &self.packed
    }

    /// Follow every symbolic ref to its end; leave out those that never end.
    fn resolve_symbolic(&mut self) {
        let symbolic = self.loose.iter().enumerate().filter_map(|(at, loose)| match &loose.value {
            Value::Symbolic(target, _) => Some((at, self.end_of(target))),
            _ => None,
        });
        for (at, end) in symbolic.collect::<Vec<_>>() {
            if end.is_none() {
                tracing::warn!(name = %self.loose[at].name, "ignoring a symbolic ref that leads in a circle or too far");
            }
            self.loose[at].value = end.map_or(Value::Hidden, |(name, end)| Value::Symbolic(name, end));
        }
    }

    /// The last name of a chain of symbolic refs and what lies there; `None` when the chain is too long or a circle.
    fn end_of(&self, target: &BString) -> Option<(BString, Option<(ObjectId, Peeled)>)> {
        let mut name = target;
        // git reads so many refs, the one at the end among them.
        for _ in 1..limits::SYMREF_DEPTH_MAX {
            match self.find_loose(name.as_bstr()).map(|at| &self.loose[at].value) {
                Some(Value::Symbolic(next, _)) => name = next,
                Some(Value::Object(id)) => return Some((name.clone(), Some((*id, Peeled::Unknown)))),
                Some(Value::Hidden) => return Some((name.clone(), None)),
                None => {
                    let packed = self.find_packed(name.as_bstr());
                    return Some((name.clone(), packed.and_then(|entry| Some((entry.id?, entry.peeled)))));
                }
            }
        }
        None
    }

    fn find_loose(&self, name: &BStr) -> Option<usize> {
        self.loose.binary_search_by(|loose| loose.name.as_bstr().cmp(name)).ok()
    }

    fn find_packed(&self, name: &BStr) -> Option<RefEntry<'_>> {
        let record = self.or_damage(self.packed.lower_bound(name)).flatten().filter(|record| record.name == name)?;
        self.or_damage(self.packed_entry(&record))
    }

    /// What a record says; its name is not judged.
    pub(super) fn packed_entry<'a>(&self, record: &Record<'a>) -> Result<RefEntry<'a>, Error> {
        let read = |hex: &[u8]| ObjectId::from_hex(hex).ok().filter(|id| id.kind() == self.hash);
        let bad = || Error::Corrupt(format!("packed-refs: {} has no id", record.name));
        let id = read(record.id).ok_or_else(bad)?;
        let peeled = match record.peeled() {
            Some(hex) => Peeled::To(read(hex).ok_or_else(bad)?),
            None if self.packed.knows_peeled(record.name) => Peeled::Itself,
            None => Peeled::Unknown,
        };
        Ok(RefEntry { name: record.name, target: Target::Object(id), id: Some(id), peeled })
    }

    /// The value; or nothing, and a note for [`Refs::check`].
    pub(super) fn or_damage<T>(&self, read: Result<T, Error>) -> Option<T> {
        read.map_err(|err| self.damage.get_or_init(|| err.to_string())).ok()
    }

    /// Whether everything that was asked for so far could be read.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: what was seen is not all.
    pub fn check(&self) -> Result<(), Error> {
        self.damage.get().map_or(Ok(()), |damage| Err(Error::Corrupt(damage.clone())))
    }

    /// Memory taken, about.
    pub fn held_bytes(&self) -> usize {
        let loose: usize = self.loose.iter().map(|loose| size_of::<Loose>() + loose.name.len()).sum();
        self.packed.bytes().len() + self.numbers.get().map_or(0, |numbers| numbers.len() * size_of::<Place>()) + loose
    }

    fn numbers(&self) -> &[Place] {
        self.numbers.get_or_init(|| self.scan::<RefEntry<'_>>("".into()).map(|(place, _)| place).collect())
    }

    fn name_at(&self, place: Place) -> &BStr {
        match place {
            Place::Loose(at) => self.loose[at].name.as_bstr(),
            Place::Packed(at) => self.or_damage(self.packed.record(at)).flatten().map_or("".into(), |record| record.name),
        }
    }

    /// How many refs there are, symbolic ones included.
    pub fn len(&self) -> usize {
        self.numbers().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Ref number `at` in order of names; `at` is below [`Refs::len`].
    pub fn get(&self, at: usize) -> RefEntry<'_> {
        let found = match self.numbers()[at] {
            Place::Loose(at) => self.loose[at].entry(),
            Place::Packed(at) => {
                let record = self.or_damage(self.packed.record(at)).flatten();
                record.and_then(|record| self.or_damage(self.packed_entry(&record)))
            }
        };
        found.expect("only what can be read is numbered, and the bytes stay")
    }

    /// The ref with this full name.
    pub fn find(&self, name: &BStr) -> Option<RefEntry<'_>> {
        match self.find_loose(name) {
            Some(at) => self.loose[at].entry(),
            None => self.find_packed(name),
        }
    }

    /// The numbers of all refs whose names begin with `prefix`: they are neighbours.
    pub fn range_with_prefix(&self, prefix: &BStr) -> std::ops::Range<usize> {
        let numbers = self.numbers();
        let start = numbers.partition_point(|place| self.name_at(*place) < prefix);
        let count = numbers[start..].partition_point(|place| self.name_at(*place).starts_with(prefix));
        start..start + count
    }

    /// All refs in order of names.
    pub fn iter(&self) -> impl Iterator<Item = RefEntry<'_>> + '_ {
        self.scan("".into()).map(|(_, entry)| entry)
    }

    /// The refs whose names begin with `prefix`, in order: read from where they stand, without numbering any.
    pub fn with_prefix<'a>(&'a self, prefix: &'a BStr) -> impl Iterator<Item = RefEntry<'a>> + 'a {
        self.scan(prefix).map(|(_, entry)| entry)
    }

    /// The same, those that are packed as text where that says all.
    pub fn listed<'a>(&'a self, prefix: &'a BStr) -> impl Iterator<Item = ListedRef<'a>> + 'a {
        self.scan(prefix).map(|(_, listed)| listed)
    }

    fn scan<'a, T: Listed<'a>>(&'a self, prefix: &'a BStr) -> Scan<'a, T> {
        let start = self.loose.partition_point(|loose| loose.name.as_bstr() < prefix);
        let count = self.loose[start..].partition_point(|loose| loose.name.starts_with(prefix));
        let at = match prefix.is_empty() {
            true => self.packed.start(),
            false => self.or_damage(self.packed.position_of(prefix)).unwrap_or(self.packed.bytes().len()),
        };
        Scan::new(self, prefix, at, start..start + count)
    }

    /// Loose ref number `at`.
    pub(super) fn loose(&self, at: usize) -> (&BStr, Option<RefEntry<'_>>) {
        (self.loose[at].name.as_bstr(), self.loose[at].entry())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, git_command, git_with_input, init};
    use super::super::{ConfigScope, Head, RefText, Repository, Snapshot};
    use super::*;
    use crate::pack::Objects;
    use proptest::prelude::*;
    use std::path::Path;

    /// Loose refs and the text of `packed-refs` into refs, everything checked.
    fn build(loose: Vec<(BString, OwnedTarget)>, packed: &str) -> Result<Refs, Error> {
        let packed = PackedRefs::parse(packed.as_bytes().to_vec().into(), gix_hash::Kind::Sha1)?;
        packed.check()?;
        Ok(Refs::new(loose, Arc::new(packed), gix_hash::Kind::Sha1))
    }

    fn snapshot(git_dir: &Path) -> Snapshot {
        Repository::open(git_dir, ConfigScope::RepositoryOnly).unwrap().snapshot().unwrap()
    }

    /// What `git for-each-ref` says: name, value, target of a symbolic ref.
    fn listed_by_git(git_dir: &Path) -> String {
        git(git_dir, &["for-each-ref", "--format=%(objectname) %(refname) %(symref)"])
    }

    fn listed_by_us(refs: &Refs) -> String {
        let mut text = String::new();
        for entry in refs.iter() {
            let Some(id) = entry.id else { continue };
            let target = if let Target::Symbolic(target) = entry.target { target.to_string() } else { String::new() };
            text.push_str(&format!("{id} {} {target}\n", entry.name));
        }
        text
    }

    /// All refs with what is known to lie behind tags: as text where that says all, or read.
    fn told(refs: &Refs, as_text: bool) -> Vec<String> {
        let read = |entry: RefEntry<'_>| match entry.target {
            Target::Object(id) => format!("{id} {}\n {:?}", entry.name, entry.peeled),
            Target::Symbolic(_) => format!("{entry:?}"),
        };
        let text = |text: RefText<'_>| {
            let id = |hex| ObjectId::from_hex(hex).unwrap();
            format!("{} {:?}", text.line.as_bstr(), text.peeled.map_or(Peeled::Itself, |hex| Peeled::To(id(hex))))
        };
        if !as_text {
            return refs.iter().map(read).collect();
        }
        refs.listed("".into())
            .map(|listed| match listed {
                ListedRef::Text(line) => text(line),
                ListedRef::Entry(entry) => read(entry),
            })
            .collect()
    }

    /// A repository with one commit, a tag object and a tag of that tag, and the ids of all three.
    fn sample(path: &Path, args: &[&str]) -> [String; 3] {
        init(path, args);
        let tree = git_with_input(path, &["mktree"], "");
        let commit = git(path, &["commit-tree", "-m", "c", tree.trim()]).trim().to_owned();
        let tag = |name: &str, kind: &str, to: &str| {
            let text = format!("object {to}\ntype {kind}\ntag {name}\ntagger T <t@e> 1000000000 +0000\n\nt\n");
            git_with_input(path, &["mktag"], &text).trim().to_owned()
        };
        let first = tag("first", "commit", &commit);
        let second = tag("second", "tag", &first);
        [commit, first, second]
    }

    #[test]
    fn packed_loose_symbolic_and_tagged_refs_are_listed_as_git_lists_them() {
        for format in ["sha1", "sha256"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path();
            let [commit, first, second] = sample(path, &["--bare", &format!("--object-format={format}")]);
            for (name, id) in
                [("refs/tags/first", &first), ("refs/tags/second", &second), ("refs/tags/light", &commit), ("refs/heads/main", &commit)]
            {
                git(path, &["update-ref", name, id]);
            }
            git(path, &["update-ref", "refs/heads/moved", &commit]);
            git(path, &["pack-refs", "--all"]);
            let other = git(path, &["commit-tree", "-m", "d", &format!("{commit}^{{tree}}")]);
            git(path, &["update-ref", "refs/heads/moved", other.trim()]);
            git(path, &["update-ref", "refs/heads/a/b/c", &commit]);
            git(path, &["update-ref", "refs/odd/v1.2.3", &second]);
            git(path, &["symbolic-ref", "refs/remotes/origin/HEAD", "refs/tags/second"]);
            git(path, &["symbolic-ref", "refs/heads/unborn-alias", "refs/heads/unborn"]);
            std::fs::write(path.join("refs/heads/x.lock"), "").unwrap();
            std::fs::write(path.join("refs/heads/empty"), "").unwrap();
            std::fs::write(path.join("refs/heads/bad..name"), format!("{commit}\n")).unwrap();
            let snapshot = snapshot(path);
            assert_eq!(listed_by_us(snapshot.refs()), listed_by_git(path));
            assert_eq!(snapshot.hash_kind().to_string(), format);
            let peeled = |name: &str| snapshot.refs().find(name.into()).unwrap().peeled;
            let commit = ObjectId::from_hex(commit.as_bytes()).unwrap();
            assert_eq!(peeled("refs/tags/second"), Peeled::To(commit));
            assert_eq!(peeled("refs/remotes/origin/HEAD"), Peeled::To(commit));
            assert_eq!(peeled("refs/tags/light"), Peeled::Itself);
            assert_eq!(peeled("refs/heads/moved"), Peeled::Unknown);
            assert_eq!(snapshot.refs().find("refs/heads/unborn-alias".into()).unwrap().id, None);
            assert_eq!(*snapshot.head(), Head::Symbolic("refs/heads/main".into(), Some(commit)));
        }
    }

    #[test]
    fn a_symbolic_ref_that_leads_in_a_circle_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let [commit, ..] = sample(path, &["--bare"]);
        for at in 0..7 {
            std::fs::write(path.join(format!("refs/heads/{at}")), format!("ref: refs/heads/{}\n", at + 1)).unwrap();
        }
        std::fs::write(path.join("refs/heads/7"), format!("{commit}\n")).unwrap();
        std::fs::write(path.join("refs/heads/a"), "ref: refs/heads/b\n").unwrap();
        std::fs::write(path.join("refs/heads/b"), "ref: refs/heads/a\n").unwrap();
        std::fs::write(path.join("refs/heads/z"), "ref: refs/heads/7\n").unwrap();
        let refs = snapshot(path);
        assert_eq!(listed_by_us(refs.refs()), listed_by_git(path));
    }

    #[test]
    fn a_linked_worktree_shares_all_refs_but_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("main");
        let [commit, ..] = sample(&main, &[]);
        git(&main, &["update-ref", "refs/heads/main", &commit]);
        git(&main, &["worktree", "add", "-q", "-b", "side", "../linked"]);
        let linked = dir.path().join("linked");
        git(&linked, &["update-ref", "refs/worktree/own", &commit]);
        git(&main, &["update-ref", "refs/worktree/mains", &commit]);
        git(&main, &["pack-refs", "--all"]);
        let snapshot = snapshot(&main.join(".git/worktrees/linked"));
        assert_eq!(listed_by_us(snapshot.refs()), listed_by_git(&linked));
        assert!(matches!(snapshot.head(), Head::Symbolic(name, Some(_)) if name == "refs/heads/side"));
        assert!(snapshot.objects().packs().is_empty());
    }

    #[test]
    fn a_detached_and_an_unborn_head_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let [commit, ..] = sample(path, &["--bare"]);
        assert_eq!(*snapshot(path).head(), Head::Symbolic("refs/heads/main".into(), None));
        std::fs::write(path.join("HEAD"), format!("{commit}\n")).unwrap();
        assert_eq!(*snapshot(path).head(), Head::Detached(ObjectId::from_hex(commit.as_bytes()).unwrap()));
    }

    #[test]
    fn damaged_packed_refs_are_an_error() {
        let id = "1111111111111111111111111111111111111111";
        let header = "# pack-refs with: peeled fully-peeled sorted \n";
        for text in [
            "x\n".to_owned(),
            format!("{id} refs/heads/a"),
            format!("{id}\n"),
            "^11\n".to_owned(),
            format!("{header}{id} refs/heads/a\n^11\n"),
            format!("{header}{id} refs/heads/a\n{id}x refs/heads/b\n"),
            format!("{header}{id} refs/heads/a\n{} refs/heads/b\n", id.replace("11", "1g")),
            format!("{header}{id} refs/heads/b\n{id} refs/heads/a\n"),
        ] {
            assert!(matches!(build(vec![], &text), Err(Error::Corrupt(_))), "{text}");
        }
    }

    #[test]
    fn damage_in_packed_refs_that_are_read_in_part_is_told_when_it_is_met() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let [commit, ..] = sample(path, &["--bare"]);
        let text = format!("# pack-refs with: peeled fully-peeled sorted \n{commit} refs/heads/a\nwhat?\n{commit} refs/heads/z\n");
        std::fs::write(path.join("packed-refs"), text).unwrap();
        let (refs, _) = Refs::open(&Repository::open(path, ConfigScope::RepositoryOnly).unwrap()).unwrap();
        assert_eq!(refs.iter().count(), 1);
        assert!(matches!(refs.check(), Err(Error::Corrupt(_))));
        assert!(Repository::open(path, ConfigScope::RepositoryOnly).unwrap().snapshot().is_err(), "a server reads them whole");
    }

    #[test]
    fn a_broken_loose_ref_hides_a_packed_one_as_in_git() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let [commit, ..] = sample(path, &["--bare"]);
        for name in ["refs/heads/a", "refs/heads/b"] {
            git(path, &["update-ref", name, &commit]);
        }
        git(path, &["pack-refs", "--all"]);
        std::fs::write(path.join("refs/heads/a"), "").unwrap();
        assert_eq!(listed_by_us(snapshot(path).refs()), listed_by_git(path));
        assert!(snapshot(path).refs().find("refs/heads/a".into()).is_none());
    }

    #[test]
    fn no_ref_is_missed_while_stock_git_packs_refs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let [commit, first, _] = sample(path, &["--bare"]);
        let update = |value: &str| (0..50).map(|at| format!("update refs/heads/{at} {value}\n")).collect::<String>();
        git_with_input(path, &["update-ref", "--stdin"], &update(&commit));
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..8 {
                    git(path, &["pack-refs", "--all", "--prune"]);
                    git_with_input(
                        path,
                        &["update-ref", "--stdin"],
                        &update(if round % 2 == 0 { &first } else { &commit }).replace("heads", "tags"),
                    );
                    let next = git(path, &["commit-tree", "-m", &round.to_string(), &format!("{commit}^{{tree}}")]);
                    git_with_input(path, &["update-ref", "--stdin"], &update(next.trim()));
                }
                done.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            let mut reads = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let snapshot = snapshot(path);
                assert_eq!(snapshot.refs().range_with_prefix("refs/heads/".into()).len(), 50);
                for entry in snapshot.refs().iter() {
                    let found = snapshot.objects().locate(&entry.id.unwrap()).unwrap();
                    assert!(found.is_some(), "{}", entry.name);
                }
                reads += 1;
            }
            assert!(reads > 0);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]
        #[test]
        fn random_refs_are_listed_as_git_lists_them(
            steps in proptest::collection::vec(("refs/(heads|tags|x)/[a-c]{1,2}(/[a-c.]z)?", 0usize..5, any::<bool>()), 1..25),
            sha256: bool,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path();
            let ids = sample(path, &["--bare", if sha256 { "--object-format=sha256" } else { "--object-format=sha1" }]);
            for (name, value, pack) in &steps {
                // Some clash as files and folders, some names are refused: then nothing happens.
                let _ = match value {
                    0..=2 => git_command(path, &["update-ref", name, &ids[*value]]).output(),
                    3 => git_command(path, &["update-ref", "-d", name]).output(),
                    _ => git_command(path, &["symbolic-ref", name, "refs/heads/a"]).output(),
                };
                if *pack {
                    git(path, &["pack-refs", "--all"]);
                }
            }
            let snapshot = snapshot(path);
            prop_assert_eq!(listed_by_us(snapshot.refs()), listed_by_git(path));
            prop_assert_eq!(told(snapshot.refs(), true), told(snapshot.refs(), false), "as text and read, the same");
            let dereferenced = git_command(path, &["show-ref", "-d"]).output().unwrap();
            let dereferenced = String::from_utf8(dereferenced.stdout).unwrap();
            for entry in snapshot.refs().iter() {
                let line = |id: ObjectId| dereferenced.lines().any(|line| *line == format!("{id} {}^{{}}", entry.name));
                match entry.peeled {
                    Peeled::To(id) => prop_assert!(line(id)),
                    Peeled::Itself => prop_assert!(!line(ObjectId::from_hex(ids[0].as_bytes()).unwrap())),
                    Peeled::Unknown => {}
                }
            }
        }
    }

    proptest! {
        #[test]
        fn loose_refs_come_in_the_place_of_packed_ones(
            packed in proptest::collection::btree_map("refs/heads/[a-d]{1,3}", 1u32..9, 0..20),
            loose in proptest::collection::btree_map("refs/heads/[a-d]{1,3}", 1u32..9, 0..20),
            shuffled: bool,
        ) {
            let id = |value: &u32| ObjectId::from_hex(format!("{value:040x}").as_bytes()).unwrap();
            let mut lines: Vec<_> = packed.iter().map(|(name, value)| format!("{} {name}\n", id(value))).collect();
            if shuffled {
                lines.reverse();
            }
            let loose_refs = loose.iter().map(|(name, value)| (name.as_str().into(), OwnedTarget::Object(id(value)))).collect();
            let refs = build(loose_refs, &lines.concat()).unwrap();
            let mut wanted = packed;
            wanted.extend(loose);
            let wanted: Vec<_> = wanted.iter().map(|(name, value)| (name.clone(), id(value))).collect();
            let found: Vec<_> = refs.iter().map(|entry| (entry.name.to_string(), entry.id.unwrap())).collect();
            prop_assert_eq!(&found, &wanted);
            for (name, id) in &wanted {
                prop_assert_eq!(refs.find(name.as_str().into()).and_then(|entry| entry.id), Some(*id));
            }
            for prefix in ["", "refs/heads/a", "refs/heads/bb", "refs/z"] {
                let range = refs.range_with_prefix(prefix.into());
                let by_hand = wanted.iter().filter(|(name, _)| name.starts_with(prefix)).count();
                prop_assert_eq!(range.len(), by_hand);
                prop_assert!(range.clone().all(|at| refs.get(at).name.starts_with(prefix.as_bytes())));
                let by_number: Vec<_> = range.map(|at| refs.get(at)).collect();
                prop_assert_eq!(refs.with_prefix(prefix.into()).collect::<Vec<_>>(), by_number);
            }
        }
    }
}
