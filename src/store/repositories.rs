//! Names beneath a root into repositories: find, list, make; `relocate` renames them, `trash` deletes them and takes them back.
//!
//! No link beneath the root is followed, and nothing is found or made inside a repository. Our own files lie
//! in `.packmule`, whose lock one process at a time holds.

use super::discover::is_git_dir;
use super::flock::Flock;
use super::in_use::InUse;
use super::listing::Listing;
use super::{ConfigScope, Error, Repository, staging};
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Longest name of a repository, in bytes.
const NAME_BYTES_MAX: usize = 4096;
/// Longest component of a name, in bytes, with `.git` behind it: what file systems take.
const COMPONENT_BYTES_MAX: usize = 255;

/// A repository's name: path components joined by `/`, without leading slash and without `.git`.
///
/// `x`, `/x`, `x.git` and `/x.git/` are the same name. A component that begins with a dot, is empty, holds a
/// control character, a backslash or a colon, or is longer than 255 bytes is refused, as is a name of more than
/// 4,096 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// Normalise a path as a client sends it.
    pub fn parse(path: &str) -> Result<Self, Error> {
        let refuse = |why| Err(Error::BadName { name: path.chars().take(200).collect(), why });
        if path.len() > NAME_BYTES_MAX {
            return refuse("it is longer than 4096 bytes");
        }
        let name = path.strip_prefix('/').unwrap_or(path);
        let mut name = name.strip_suffix('/').unwrap_or(name);
        // All of them: `x.git.git` must not be another name for what lies in `x.git`.
        while let Some(shorter) = name.strip_suffix(".git") {
            name = shorter;
        }
        for component in name.split('/') {
            if component.is_empty() {
                return refuse("a part of it is empty");
            } else if component.starts_with('.') {
                return refuse("a part of it begins with a dot");
            } else if component.len() + ".git".len() > COMPONENT_BYTES_MAX {
                return refuse("a part of it is longer than 251 bytes");
            } else if component.chars().any(|letter| letter.is_control() || matches!(letter, '\\' | ':')) {
                return refuse("it holds a control character, a backslash or a colon");
            }
        }
        Ok(Self(name.to_owned()))
    }

    /// `group/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders above, from the outermost, and the last component.
    fn split(&self) -> (impl Iterator<Item = &str>, &str) {
        let (folders, last) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        (folders.split('/').filter(|folder| !folder.is_empty()), last)
    }
}

/// What lies at a name.
#[derive(Clone, Debug)]
pub enum Found {
    /// A repository.
    Repository(Repository),
    /// Nothing: one could be made.
    Nothing,
}

/// All repositories beneath one root.
#[derive(Debug)]
pub struct Repositories {
    root: PathBuf,
    pub(super) in_use: Arc<InUse>,
    pub(super) listing: Arc<Listing>,
    /// Held while the trash is changed.
    pub(super) trash: Mutex<()>,
    /// Held for as long as this value lives.
    _lock: Flock<File>,
}

impl Repositories {
    /// Take the folder `root` for serving: make it if it is not there, hold its lock (`.packmule/lock`), and sweep
    /// away repositories that a crash left half made.
    ///
    /// # Errors
    /// [`Error::InTheWay`] when another server holds the root.
    pub fn open(root: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(root).map_err(Error::io(format!("make {}", root.display())))?;
        let root = root.canonicalize().map_err(Error::io(format!("find {}", root.display())))?;
        let state = root.join(".packmule");
        match std::fs::DirBuilder::new().mode(0o700).create(&state) {
            Err(err) if err.kind() != std::io::ErrorKind::AlreadyExists => return Err(Error::io(format!("make {}", state.display()))(err)),
            _ => {}
        }
        let path = state.join("lock");
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(format!("open {}", path.display())))?;
        let Some(lock) = Flock::try_take(file).map_err(Error::io(format!("lock {}", path.display())))? else {
            return Err(Error::InTheWay(format!("another packmule serves {} already; stop it or choose another folder", root.display())));
        };
        staging::sweep(&state);
        Ok(Self { root, in_use: Arc::default(), listing: Arc::default(), trash: Mutex::default(), _lock: lock })
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Files of our own: host key, lock, repositories being made.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join(".packmule")
    }

    /// The repository called `name`, on disk `name.git` or `name` (a bare one, or one with a work tree).
    ///
    /// Resolved without following links out of the root. A component that is itself a repository ends the path:
    /// nothing is found beneath it. `name` and `name.git` side by side are [`Error::InTheWay`].
    pub fn find(&self, name: &RepositoryName) -> Result<Found, Error> {
        let used = self.in_use.enter(name.as_str())?;
        let Some(git_dir) = Self::find_beneath(&self.root, name)? else { return Ok(Found::Nothing) };
        let mut repository = Repository::open(&git_dir, ConfigScope::RepositoryOnly)?;
        repository.in_use = Some(Arc::new(used));
        Ok(Found::Repository(repository))
    }

    /// The git directory of the repository called `name` beneath `root`, as [`Repositories::find`] resolves it, for whoever does
    /// not hold the root.
    pub fn find_beneath(root: &Path, name: &RepositoryName) -> Result<Option<PathBuf>, Error> {
        let (folders, last) = name.split();
        let mut folder = root.to_owned();
        for component in folders {
            folder.push(component);
            if !is_folder(&folder)? || git_dir_in(&folder)?.is_some() {
                return Ok(None);
            }
        }
        let (with, without) = (folder.join(format!("{last}.git")), folder.join(last));
        match (git_dir_in(&with)?, git_dir_in(&without)?) {
            (Some(_), Some(_)) => {
                let name = name.as_str();
                Err(Error::InTheWay(format!("both '{name}.git' and '{name}' are there; the administrator must rename one of them")))
            }
            (found, None) | (None, found) => Ok(found),
        }
    }

    /// Begin to make the repository `name`: it lies aside until a push into it commits, and vanishes if none does.
    ///
    /// # Errors
    /// [`Error::BadName`] when it would lie inside another repository or in a folder that is called like one;
    /// [`Error::InTheWay`] when something lies there already.
    pub fn stage(&self, name: &RepositoryName, hash: gix_hash::Kind) -> Result<Repository, Error> {
        let used = self.in_use.enter(name.as_str())?;
        let place = self.free_place(name)?;
        let mut repository = staging::stage(&self.state_dir(), &self.root, &place, hash, self.listing.clone())?;
        repository.in_use = Some(Arc::new(used));
        Ok(repository)
    }

    /// Make the repository `name`, empty, after `prepare` has done its work in the folder that it is made of.
    ///
    /// # Errors
    /// As for [`Repositories::stage`], and those of `prepare`; then nothing is made.
    pub fn create(
        &self,
        name: &RepositoryName,
        hash: gix_hash::Kind,
        prepare: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let staged = self.stage(name, hash)?;
        prepare(staged.git_dir())?;
        staged.publish(None).map(drop)
    }

    /// Where a new repository `name` would lie.
    ///
    /// # Errors
    /// As for [`Repositories::stage`].
    pub(super) fn free_place(&self, name: &RepositoryName) -> Result<PathBuf, Error> {
        let refuse = |why| Err(Error::BadName { name: name.as_str().to_owned(), why });
        let (folders, last) = name.split();
        let mut folder = self.root.clone();
        for component in folders {
            folder.push(component);
            if component.ends_with(".git") {
                return refuse("a folder's name must not end in .git");
            } else if git_dir_in(&folder)?.is_some() {
                return refuse("it would lie inside another repository");
            } else if !is_folder(&folder)? && folder.symlink_metadata().is_ok() {
                return refuse("what its folder should be is no folder");
            }
        }
        let (with, without) = (folder.join(format!("{last}.git")), folder.join(last));
        if with.symlink_metadata().is_ok() || git_dir_in(&without)?.is_some() {
            return Err(Error::InTheWay(format!("'{}' is there already", name.as_str())));
        }
        Ok(with)
    }

    /// The names of all repositories, sorted, as they were a moment ago at the most; for many that ask at once.
    pub fn names(&self) -> Result<Arc<[RepositoryName]>, Error> {
        self.listing.get(|| self.list())
    }

    /// The names of all repositories, sorted.
    pub fn list(&self) -> Result<Vec<RepositoryName>, Error> {
        let mut names = Vec::new();
        // One folder is open at a time, however deep they lie.
        let mut folders = vec![(self.root.clone(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            list_folder(&folder, &prefix, &mut names, &mut folders)?;
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// Whether `path` is a folder and no link.
fn is_folder(path: &Path) -> Result<bool, Error> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match path.symlink_metadata() {
        Ok(meta) => Ok(meta.is_dir()),
        Err(err) if matches!(err.kind(), NotFound | NotADirectory) => Ok(false),
        Err(err) => Err(Error::io(format!("look at {}", path.display()))(err)),
    }
}

/// The git directory of the repository at `path`: the folder itself, or its `.git`; links count for nothing.
pub(super) fn git_dir_in(path: &Path) -> Result<Option<PathBuf>, Error> {
    if !is_folder(path)? {
        return Ok(None);
    }
    let inner = path.join(".git");
    if is_folder(&inner)? && is_git_dir(&inner) {
        return Ok(Some(inner));
    }
    Ok(is_git_dir(path).then(|| path.to_owned()))
}

/// Add the repositories in `folder`, whose name with a slash behind it is `prefix`, to `names`, and other folders to `folders`.
fn list_folder(folder: &Path, prefix: &str, names: &mut Vec<RepositoryName>, folders: &mut Vec<(PathBuf, String)>) -> Result<(), Error> {
    let failed = || Error::io(format!("list {}", folder.display()));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(err) if err.kind() == std::io::ErrorKind::PermissionDenied && !prefix.is_empty() => {
            tracing::warn!(folder = %folder.display(), "leaving out a folder that may not be read");
            return Ok(());
        }
        Err(err) if err.kind() == std::io::ErrorKind::NotFound && !prefix.is_empty() => return Ok(()),
        Err(err) => return Err(failed()(err)),
    };
    for entry in entries {
        let entry = entry.map_err(failed())?;
        let file_name = entry.file_name();
        let Some(file_name) = file_name.to_str() else { continue };
        let path = entry.path();
        if file_name.starts_with('.') || !entry.file_type().map_err(failed())?.is_dir() {
            continue;
        }
        if git_dir_in(&path)?.is_none() {
            folders.push((path, format!("{prefix}{file_name}/")));
        } else if let Ok(name) = RepositoryName::parse(&format!("{prefix}{file_name}"))
            // What another name stands for cannot be asked for by this one.
            && name.as_str().len() + ".git".len() >= prefix.len() + file_name.len()
        {
            names.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, init};
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    #[test]
    fn one_repository_has_one_name() {
        for text in ["x", "/x", "x.git", "/x.git/", "x/", "x.git.git"] {
            assert_eq!(name(text).as_str(), "x", "{text}");
        }
        assert_eq!(name("/a/b c/d.git").as_str(), "a/b c/d");
    }

    #[test]
    fn names_that_break_a_rule_are_refused_with_it() {
        for (text, why) in [
            ("", "empty"),
            ("/", "empty"),
            (".git", "empty"),
            ("//x", "empty"),
            ("a//b", "empty"),
            ("x//", "empty"),
            ("a/.git", "empty"),
            (".", "dot"),
            ("..", "dot"),
            ("../x", "dot"),
            ("a/../b", "dot"),
            ("a/..", "dot"),
            (".packmule/new", "dot"),
            ("a\\b", "backslash"),
            ("c:x", "colon"),
            ("a\nb", "control"),
            ("a\0b", "control"),
            (&"x".repeat(252), "251 bytes"),
            (&"x/".repeat(3000), "4096 bytes"),
        ] {
            let err = RepositoryName::parse(text).unwrap_err().to_string();
            assert!(err.contains(why), "{text}: {err}");
        }
    }

    #[test]
    fn repositories_are_found_bare_and_with_a_work_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for (path, args) in [("a.git", &["--bare"][..]), ("b", &["--bare"]), ("c", &[]), ("g/h/d.git", &["--bare"]), ("g.git", &["--bare"])]
        {
            init(&root.join(path), args);
        }
        init(&root.join("c/nested.git"), &["--bare"]);
        init(&root.join("a.git/inside.git"), &["--bare"]);
        std::os::unix::fs::symlink(root.join("a.git"), root.join("link.git")).unwrap();
        std::os::unix::fs::symlink(root.join("g"), root.join("folder-link")).unwrap();
        std::fs::create_dir(root.join("plain")).unwrap();
        let repositories = Repositories::open(&root).unwrap();
        for (asked, found) in [
            ("a", Some("a.git")),
            ("b", Some("b")),
            ("b.git", Some("b")),
            ("c", Some("c/.git")),
            ("g/h/d", Some("g/h/d.git")),
            ("g", Some("g.git")),
            ("c/nested", None),
            ("a.git/inside", None),
            ("link", None),
            ("folder-link/h/d", None),
            ("plain", None),
            ("a/b/c", None),
        ] {
            let git_dir = match repositories.find(&name(asked)).unwrap() {
                Found::Repository(repository) => Some(repository.git_dir().to_owned()),
                Found::Nothing => None,
            };
            assert_eq!(git_dir, found.map(|found| root.join(found)), "{asked}");
        }
        let listed: Vec<_> = repositories.list().unwrap().into_iter().map(|name| name.0).collect();
        assert_eq!(listed, ["a", "b", "c", "g", "g/h/d"]);
    }

    #[test]
    fn two_repositories_of_one_name_are_named_both() {
        let dir = tempfile::tempdir().unwrap();
        init(&dir.path().join("x.git"), &["--bare"]);
        init(&dir.path().join("x"), &[]);
        let repositories = Repositories::open(dir.path()).unwrap();
        let err = repositories.find(&name("x")).unwrap_err();
        let text = err.to_string();
        assert!(matches!(err, Error::InTheWay(_)) && text.contains("both 'x.git' and 'x' are there"), "{text}");
        assert_eq!(repositories.list().unwrap(), [name("x")]);
    }

    #[test]
    fn a_second_server_on_one_root_is_refused_and_the_next_one_sweeps() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("not/there/yet");
        let first = Repositories::open(&root).unwrap();
        let err = Repositories::open(&root).unwrap_err();
        assert!(matches!(&err, Error::InTheWay(what) if what.contains("another packmule serves")), "{err}");
        assert_eq!(first.state_dir().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let left = first.state_dir().join("new/0123456789abcdef");
        std::fs::create_dir_all(&left).unwrap();
        std::fs::write(left.join("HEAD"), "x").unwrap();
        drop(first);
        Repositories::open(&root).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn a_repository_that_nobody_pushes_to_vanishes() {
        let dir = tempfile::tempdir().unwrap();
        let repositories = Repositories::open(dir.path()).unwrap();
        let staged = repositories.stage(&name("g/new"), gix_hash::Kind::Sha1).unwrap();
        assert!(staged.is_staged() && staged.git_dir().is_dir());
        let path = staged.git_dir().to_owned();
        let other_handle = staged.clone();
        drop(staged);
        assert!(path.exists(), "another handle holds it");
        drop(other_handle);
        assert!(!path.exists());
        assert!(!repositories.root().join("g").exists());
        assert!(matches!(repositories.find(&name("g/new")).unwrap(), Found::Nothing));
    }

    #[test]
    fn a_published_repository_is_one_for_stock_git() {
        for hash in [gix_hash::Kind::Sha1, gix_hash::Kind::Sha256] {
            let dir = tempfile::tempdir().unwrap();
            let repositories = Repositories::open(dir.path()).unwrap();
            let staged = repositories.stage(&name("g/h/new"), hash).unwrap();
            let published = staged.publish(Some("refs/heads/trunk".into())).unwrap();
            drop(staged);
            assert_eq!(published, repositories.root().join("g/h/new.git"));
            git(&published, &["fsck", "--strict"]);
            assert_eq!(git(&published, &["symbolic-ref", "HEAD"]), "refs/heads/trunk\n");
            assert_eq!(git(&published, &["rev-parse", "--show-object-format"]).trim(), hash.to_string());
            assert_eq!(git(&published, &["rev-parse", "--is-bare-repository"]).trim(), "true");
            git(dir.path(), &["clone", "-q", "g/h/new.git", "clone"]);
            git(&dir.path().join("clone"), &["commit", "-q", "--allow-empty", "-m", "c"]);
            git(&dir.path().join("clone"), &["push", "-q", "origin", "trunk"]);
            let Found::Repository(found) = repositories.find(&name("g/h/new")).unwrap() else { panic!("not found") };
            assert_eq!((found.hash_kind(), found.snapshot().unwrap().refs().len()), (hash, 1));
            assert_eq!(std::fs::read_dir(repositories.state_dir().join("new")).unwrap().count(), 0);
        }
    }

    #[test]
    fn of_several_that_make_one_repository_at_once_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let repositories = Repositories::open(dir.path()).unwrap();
        let staged: Vec<_> = (0..8).map(|_| repositories.stage(&name("g/x"), gix_hash::Kind::Sha1).unwrap()).collect();
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = staged.into_iter().map(|staged| scope.spawn(move || staged.publish(None))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        for err in results.into_iter().filter_map(Result::err) {
            assert_eq!(err.to_string(), "'g/x' was created by somebody else meanwhile; push again");
            assert!(matches!(err, Error::AlreadyCreated { .. }));
        }
        assert_eq!(std::fs::read_dir(repositories.state_dir().join("new")).unwrap().count(), 0);
        assert!(matches!(repositories.find(&name("g/x")).unwrap(), Found::Repository(_)));
    }

    #[test]
    fn nothing_is_made_inside_a_repository_or_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        init(&dir.path().join("a"), &["--bare"]);
        init(&dir.path().join("w"), &[]);
        std::os::unix::fs::symlink("/tmp", dir.path().join("link")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let repositories = Repositories::open(dir.path()).unwrap();
        for (asked, why) in [
            ("a/b", "inside another"),
            ("w/src/b", "inside another"),
            ("n.git/b", "end in .git"),
            ("link/b", "no folder"),
            ("file/b", "no folder"),
            ("a", "there already"),
            ("w", "there already"),
        ] {
            let err = repositories.stage(&name(asked), gix_hash::Kind::Sha1).unwrap_err().to_string();
            assert!(err.contains(why), "{asked}: {err}");
        }
        // Staged before the folder above became a repository.
        let staged = repositories.stage(&name("later/b"), gix_hash::Kind::Sha1).unwrap();
        init(&dir.path().join("later"), &["--bare"]);
        assert!(matches!(staged.publish(None), Err(Error::AlreadyCreated { name }) if name == "later"));
        // Made by somebody else meanwhile, under the other spelling.
        let staged = repositories.stage(&name("p/q/b"), gix_hash::Kind::Sha1).unwrap();
        init(&dir.path().join("p/q/b"), &["--bare"]);
        assert!(matches!(staged.publish(None), Err(Error::AlreadyCreated { name }) if name == "p/q/b"));
    }

    proptest! {
        #[test]
        fn a_name_that_is_taken_stays_beneath_the_root_and_is_its_own_name(text in "[/.a-cg-it\\\\:\u{1}é]{0,12}|(/?[a-c.]{1,3}){1,4}(\\.git)?/?") {
            if let Ok(name) = RepositoryName::parse(&text) {
                for component in Path::new(name.as_str()).components() {
                    prop_assert!(matches!(component, std::path::Component::Normal(part) if !part.to_str().unwrap().starts_with('.')));
                }
                prop_assert!(!name.as_str().ends_with(".git"));
                prop_assert_eq!(RepositoryName::parse(name.as_str()).unwrap(), name.clone());
                prop_assert_eq!(RepositoryName::parse(&format!("/{}.git/", name.as_str())).unwrap(), name);
            }
        }
    }
}
