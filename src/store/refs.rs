//! All refs of a repository into one sorted, immutable view.
//!
//! Built for a million refs: names lie in one arena, ids in another, an entry takes 16 bytes, and nothing is
//! allocated per ref that stands in `packed-refs` (100,000 of them in about 10 ms). The files themselves are
//! read by `ref_files`. Limit: names and ids of one repository stay below 4 GiB each.

use super::ref_files::OwnedTarget;
use super::stamp::Stamps;
use super::{Error, ref_files};
use crate::base::limits;
use bstr::{BStr, BString, ByteSlice};
use gix_hash::{ObjectId, oid};
use std::cmp::Ordering;
use std::path::Path;

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
/// Broken refs (empty files, bad names, loops) are left out with a warning in the log, as git does.
#[derive(Default, PartialEq)]
pub struct Refs {
    /// Names of refs and targets of symbolic ones, one after another.
    names: Vec<u8>,
    /// Ids, each as long as the repository's hash.
    ids: Vec<u8>,
    id_bytes: usize,
    symbolic: Vec<Symbolic>,
    entries: Vec<Entry>,
}

/// One ref: where its name and its ids lie.
#[derive(Clone, Copy, PartialEq)]
struct Entry {
    name: u32,
    name_bytes: u16,
    form: Form,
    /// Of the id, counted in ids; for symbolic refs the number in `symbolic`.
    value: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// An object of which nothing more is known.
    Plain,
    /// An object that is no tag.
    Itself,
    /// A tag whose peeled id is stored behind its own.
    Tag,
    Symbolic,
}

/// A symbolic ref's target, and the entry that it finally leads to.
#[derive(Clone, Copy, PartialEq)]
struct Symbolic {
    name: u32,
    name_bytes: u16,
    leads_to: Option<u32>,
}

impl std::fmt::Debug for Refs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Refs({})", self.len())
    }
}

impl Refs {
    /// Read all refs: loose files first, then `packed-refs`.
    pub(super) fn read(git_dir: &Path, common_dir: &Path, hash: gix_hash::Kind, stamps: &mut Stamps) -> Result<Self, Error> {
        let loose = ref_files::read_all_loose(git_dir, common_dir, hash, stamps)?;
        let packed = ref_files::read_packed(common_dir, stamps)?;
        Self::build(loose, packed.as_deref().unwrap_or_default(), hash)
    }

    fn build(mut loose: Vec<(BString, OwnedTarget)>, packed: &[u8], hash: gix_hash::Kind) -> Result<Self, Error> {
        let mut refs = Self { id_bytes: hash.len_in_bytes(), ..Self::default() };
        refs.add_packed(packed, hash)?;
        loose.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        refs.merge(&loose)?;
        refs.resolve_symbolic();
        Ok(refs)
    }

    fn add_packed(&mut self, bytes: &[u8], hash: gix_hash::Kind) -> Result<(), Error> {
        let (traits, header) = ref_files::packed_header(bytes);
        let mut rest = &bytes[header..];
        // A line is its name, its id in hex and two more bytes.
        let expected = rest.len() / (hash.len_in_hex() + 24);
        self.entries.reserve(expected);
        self.ids.reserve(expected * self.id_bytes);
        self.names.reserve(rest.len().saturating_sub(expected * (hash.len_in_hex() + 2)));
        let mut sorted = true;
        while !rest.is_empty() {
            let (line, after) = ref_files::parse_packed_line(rest, hash)?;
            rest = after;
            if !ref_files::is_ref_name(line.name) || line.id.is_null() {
                tracing::warn!(name = %line.name.as_bstr(), "ignoring a broken ref in packed-refs");
                continue;
            }
            let form = match line.peeled {
                Some(_) => Form::Tag,
                None if traits.fully_peeled || traits.peeled && line.name.starts_with(b"refs/tags/") => Form::Itself,
                None => Form::Plain,
            };
            sorted &= self.entries.last().is_none_or(|last| self.name(last) < line.name);
            let (name, name_bytes) = self.add_name(line.name)?;
            let value = self.add_id(&line.id)?;
            if let Some(peeled) = &line.peeled {
                self.add_id(peeled)?;
            }
            self.entries.push(Entry { name, name_bytes, form, value });
        }
        if !sorted {
            let mut entries = std::mem::take(&mut self.entries);
            entries.sort_by(|a, b| self.name(a).cmp(self.name(b)));
            entries.dedup_by(|a, b| self.name(a) == self.name(b));
            self.entries = entries;
        }
        Ok(())
    }

    /// Put sorted loose refs among the sorted packed ones, in whose place they come.
    fn merge(&mut self, loose: &[(BString, OwnedTarget)]) -> Result<(), Error> {
        if loose.is_empty() {
            return Ok(());
        }
        let packed = std::mem::take(&mut self.entries);
        let mut merged = Vec::with_capacity(packed.len() + loose.len());
        let mut packed = packed.into_iter().peekable();
        for (name, value) in loose {
            while let Some(entry) = packed.peek() {
                match self.name(entry).cmp(name.as_slice()) {
                    Ordering::Less => merged.push(*entry),
                    Ordering::Equal => {}
                    Ordering::Greater => break,
                }
                packed.next();
            }
            let (at, name_bytes) = self.add_name(name)?;
            let (form, value) = match value {
                OwnedTarget::Object(id) => (Form::Plain, self.add_id(id)?),
                OwnedTarget::Symbolic(target) => {
                    let (name, name_bytes) = self.add_name(target)?;
                    self.symbolic.push(Symbolic { name, name_bytes, leads_to: None });
                    (Form::Symbolic, self.symbolic.len() as u32 - 1)
                }
            };
            merged.push(Entry { name: at, name_bytes, form, value });
        }
        merged.extend(packed);
        self.entries = merged;
        Ok(())
    }

    /// Follow every symbolic ref to its end; leave out those that never end.
    fn resolve_symbolic(&mut self) {
        if self.symbolic.is_empty() {
            return;
        }
        let mut loops = Vec::new();
        let mut ends = self.symbolic.clone();
        for (at, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.form == Form::Symbolic) {
            match self.end_of(entry) {
                Some(end) => ends[entry.value as usize] = end,
                None => loops.push(at),
            }
        }
        // What is left out stands before what follows it: numbers move down by the loops below them.
        let moved = |end: u32| end - loops.partition_point(|at| *at < end as usize) as u32;
        self.symbolic = ends.into_iter().map(|end| Symbolic { leads_to: end.leads_to.map(moved), ..end }).collect();
        for at in loops.into_iter().rev() {
            tracing::warn!(name = %self.name(&self.entries[at]).as_bstr(), "ignoring a symbolic ref that leads in a circle or too far");
            self.entries.remove(at);
        }
    }

    /// The last name of a chain of symbolic refs and what lies there; `None` when the chain is too long or a circle.
    fn end_of(&self, entry: &Entry) -> Option<Symbolic> {
        let mut next = entry;
        // git reads so many refs, the one at the end among them.
        for _ in 1..limits::SYMREF_DEPTH_MAX {
            let symbolic = self.symbolic[next.value as usize];
            match self.position(self.text(symbolic.name, symbolic.name_bytes)) {
                Ok(found) if self.entries[found].form == Form::Symbolic => next = &self.entries[found],
                found => return Some(Symbolic { leads_to: found.ok().map(|at| at as u32), ..symbolic }),
            }
        }
        None
    }

    fn add_name(&mut self, name: &[u8]) -> Result<(u32, u16), Error> {
        let at = u32::try_from(self.names.len()).map_err(|_| Error::Corrupt("the names of all refs take 4 GiB or more".into()))?;
        self.names.extend_from_slice(name);
        let bytes = u16::try_from(name.len()).map_err(|_| Error::Corrupt(format!("a ref's name of {} bytes", name.len())))?;
        Ok((at, bytes))
    }

    fn add_id(&mut self, id: &oid) -> Result<u32, Error> {
        let at = u32::try_from(self.ids.len() / self.id_bytes).map_err(|_| Error::Corrupt("more refs than can be counted".into()))?;
        self.ids.extend_from_slice(id.as_bytes());
        Ok(at)
    }

    fn text(&self, at: u32, bytes: u16) -> &[u8] {
        &self.names[at as usize..][..usize::from(bytes)]
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        self.text(entry.name, entry.name_bytes)
    }

    fn id(&self, at: u32) -> ObjectId {
        ObjectId::from_bytes_or_panic(&self.ids[at as usize * self.id_bytes..][..self.id_bytes])
    }

    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| self.name(entry).cmp(name))
    }

    /// Memory taken, about.
    pub(super) fn held_bytes(&self) -> usize {
        self.names.capacity() + self.ids.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// How many refs there are, symbolic ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ref number `at` in order of names; `at` is below [`Refs::len`].
    pub fn get(&self, at: usize) -> RefEntry<'_> {
        let entry = &self.entries[at];
        let name = self.name(entry).as_bstr();
        if entry.form != Form::Symbolic {
            let (id, peeled) = self.object(entry);
            return RefEntry { name, target: Target::Object(id), id: Some(id), peeled };
        }
        let symbolic = &self.symbolic[entry.value as usize];
        let target = Target::Symbolic(self.text(symbolic.name, symbolic.name_bytes).as_bstr());
        let end = symbolic.leads_to.map(|end| self.object(&self.entries[end as usize]));
        RefEntry { name, target, id: end.map(|(id, _)| id), peeled: end.map_or(Peeled::Unknown, |(_, peeled)| peeled) }
    }

    /// The id of an entry that is not symbolic, and what is known behind it.
    fn object(&self, entry: &Entry) -> (ObjectId, Peeled) {
        let peeled = match entry.form {
            Form::Plain | Form::Symbolic => Peeled::Unknown,
            Form::Itself => Peeled::Itself,
            Form::Tag => Peeled::To(self.id(entry.value + 1)),
        };
        (self.id(entry.value), peeled)
    }

    /// The ref with this full name.
    pub fn find(&self, name: &BStr) -> Option<RefEntry<'_>> {
        self.position(name).ok().map(|at| self.get(at))
    }

    /// The numbers of all refs whose names begin with `prefix`: they are neighbours.
    pub fn range_with_prefix(&self, prefix: &BStr) -> std::ops::Range<usize> {
        let start = self.entries.partition_point(|entry| self.name(entry) < prefix.as_bytes());
        let count = self.entries[start..].partition_point(|entry| self.name(entry).starts_with(prefix));
        start..start + count
    }

    /// All refs in order of names.
    pub fn iter(&self) -> impl Iterator<Item = RefEntry<'_>> + '_ {
        (0..self.len()).map(|at| self.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, git_command, git_with_input, init};
    use super::super::{ConfigScope, Head, Repository, Snapshot};
    use super::*;
    use crate::pack::Objects;
    use proptest::prelude::*;

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
        for text in ["x\n", "1111111111111111111111111111111111111111 refs/heads/a", "1111111111111111111111111111111111111111\n", "^11\n"]
        {
            assert!(matches!(Refs::build(vec![], text.as_bytes(), gix_hash::Kind::Sha1), Err(Error::Corrupt(_))), "{text}");
        }
    }

    /// Measures; run by hand with `--ignored --nocapture`.
    #[test]
    #[ignore = "measures"]
    fn a_hundred_thousand_packed_refs_are_read_fast() {
        let mut text = String::from("# pack-refs with: peeled fully-peeled sorted \n");
        for at in 0..100_000 {
            text.push_str(&format!("{:040x} refs/tags/v1.2.{at:06}\n", at + 1));
        }
        let start = std::time::Instant::now();
        let refs = Refs::build(vec![], text.as_bytes(), gix_hash::Kind::Sha1).unwrap();
        eprintln!("{} refs in {:?}", refs.len(), start.elapsed());
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
            let refs = Refs::build(loose_refs, lines.concat().as_bytes(), gix_hash::Kind::Sha1).unwrap();
            let mut wanted = packed;
            wanted.extend(loose);
            let wanted: Vec<_> = wanted.iter().map(|(name, value)| (name.clone(), id(value))).collect();
            let found: Vec<_> = refs.iter().map(|entry| (entry.name.to_string(), entry.id.unwrap())).collect();
            prop_assert_eq!(&found, &wanted);
            for prefix in ["", "refs/heads/a", "refs/heads/bb", "refs/z"] {
                let range = refs.range_with_prefix(prefix.into());
                let by_hand = wanted.iter().filter(|(name, _)| name.starts_with(prefix)).count();
                prop_assert_eq!(range.len(), by_hand);
                prop_assert!(range.clone().all(|at| refs.get(at).name.starts_with(prefix.as_bytes())));
            }
        }
    }
}
