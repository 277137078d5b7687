//! A repository's name into another one, and what has to hold before a repository may move at all.
//!
//! `rename(2)` is the one moment at which it moves; the folders above on both sides are synced after it. Nobody in this process uses it
//! then ([`super::in_use`]), nor does a push of another process of ours; one whose path was opened before finds nothing any more and
//! fails. What a crash may leave is an empty folder.

use super::owner::{self, Places, RepositoryLock};
use super::staging::{put_in_place, sync, sync_names};
use super::{ConfigScope, Error, Repositories, Repository, RepositoryName, alternates, journal};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long commands under way are waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A repository about to move: nobody uses its name.
pub(super) struct Departure {
    /// What will move: the git directory, or the folder with the work tree that it lies in.
    pub(super) folder: PathBuf,
    git_dir: PathBuf,
    /// `None` for what cannot be opened: nobody pushes there either.
    held: Option<(RepositoryLock, Places)>,
}

impl Repositories {
    /// Give the repository `from` the name `to`; `false` where there is none. Folders that it leaves empty go. Once nobody uses it, `alone` is
    /// told its git directory, to let go of what is kept of it, and may say `false`: it stays then, as if there were none.
    ///
    /// # Errors
    /// [`Error::InTheWay`] where it is in use, borrows or lends objects by its place, or where something lies at `to`;
    /// [`Error::BadName`] where nothing may.
    pub fn rename(
        &self,
        from: &RepositoryName,
        to: &RepositoryName,
        alone: impl FnOnce(&Path) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        if from == to {
            return Err(Error::InTheWay(format!("'{}' is its name already", from.as_str())));
        }
        let _moving = self.in_use.take(&[from.as_str(), to.as_str()], PATIENCE)?;
        let Some(departure) = self.depart(from, alone)? else { return Ok(false) };
        let mut place = self.free_place(to)?;
        if departure.has_work_tree() {
            place.set_extension(""); // a folder `NAME.git` is bare to everybody's eyes
            if place.symlink_metadata().is_ok() {
                return Err(Error::InTheWay(format!("'{}' is there already", to.as_str())));
            }
        }
        if place.parent() != departure.folder.parent() && alternates::has_relative(&departure.git_dir.join("objects")) {
            return Err(Error::InTheWay(format!("'{}' borrows objects by a relative path, which would lead elsewhere", from.as_str())));
        }
        self.arrive(departure, &place, to)?;
        Ok(true)
    }

    /// Where `name` lies, once nothing speaks against moving it. The caller has its name alone.
    pub(super) fn depart(
        &self,
        name: &RepositoryName,
        alone: impl FnOnce(&Path) -> Result<bool, Error>,
    ) -> Result<Option<Departure>, Error> {
        let Some(git_dir) = Self::find_beneath(self.root(), name)? else { return Ok(None) };
        if !alone(&git_dir)? {
            return Ok(None);
        }
        let is_inside = git_dir.file_name().is_some_and(|name| name == ".git");
        let folder = if is_inside { git_dir.parent().map_or_else(|| git_dir.clone(), Path::to_owned) } else { git_dir.clone() };
        if let Some(borrower) = self.borrower_from(&git_dir, name)? {
            let name = name.as_str();
            // Whoever may move this one need not know of the other.
            tracing::warn!(repository = name, borrower, "not moved: another repository borrows objects from it");
            return Err(Error::InTheWay(format!(
                "another repository borrows objects from '{name}', and would be broken without it there; the server's log names it"
            )));
        }
        let held = match Repository::open(&git_dir, ConfigScope::RepositoryOnly) {
            Ok(repository) => Some((owner::stand_still(&repository)?, Places::of(&repository))),
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(repository = name.as_str(), %error, "it cannot be opened, and is moved as it is");
                None
            }
        };
        Ok(Some(Departure { folder, git_dir, held }))
    }

    /// Move it to `place`, where the repository `name` belongs.
    pub(super) fn arrive(&self, departure: Departure, place: &Path, name: &RepositoryName) -> Result<(), Error> {
        let made = put_in_place(&departure.folder, self.root(), place).map_err(|err| match err {
            Error::AlreadyCreated { .. } => Error::InTheWay(format!("'{}' is there already", name.as_str())),
            other => other,
        })?;
        // Where it came to first: on a file system without a journal it must not be nowhere.
        let synced = sync_names(&made, place);
        self.departed(&departure)?;
        synced
    }

    /// It is gone from where it was.
    pub(super) fn departed(&self, departure: &Departure) -> Result<(), Error> {
        self.listing.change();
        if let Some((_, places)) = &departure.held {
            journal::forget(places);
        }
        self.remove_empty_folders_above(&departure.folder)
    }

    /// Remove the folders above `place` that are empty, and bring to the disk that what lay there is gone.
    fn remove_empty_folders_above(&self, place: &Path) -> Result<(), Error> {
        for folder in place.ancestors().skip(1) {
            if folder == self.root() || std::fs::remove_dir(folder).is_err() {
                // Somebody else may have been faster to remove it, and all in it with it.
                return match sync(folder) {
                    Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
                    other => other,
                };
            }
        }
        Ok(())
    }

    /// A repository, here or in the trash, that would miss objects if the one at `git_dir` were elsewhere.
    fn borrower_from(&self, git_dir: &Path, name: &RepositoryName) -> Result<Option<String>, Error> {
        let objects = git_dir.join("objects");
        let lender = match objects.canonicalize() {
            Ok(lender) => lender,
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(Error::io(format!("find {}", objects.display()))(err)),
        };
        let borrows = |git_dir: PathBuf| {
            let objects = git_dir.join("objects");
            objects.join("info/alternates").exists() && alternates::object_dirs(&objects, None)[1..].contains(&lender)
        };
        for other in self.list()?.into_iter().filter(|other| other != name) {
            let found = match Self::find_beneath(self.root(), &other) {
                Ok(found) => found,
                // Two of one name: neither is served.
                Err(Error::InTheWay(_)) => None,
                Err(error) => return Err(error),
            };
            if found.is_some_and(borrows) {
                return Ok(Some(other.as_str().to_owned()));
            }
        }
        let mut trash = self.trash_git_dirs()?.into_iter();
        Ok(trash.find(|(_, git_dir)| borrows(git_dir.clone())).map(|(other, _)| format!("{} (in the trash)", other.as_str())))
    }
}

impl Departure {
    fn has_work_tree(&self) -> bool {
        self.folder != self.git_dir
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, init};
    use super::super::{Found, Push};
    use super::*;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    fn served() -> (tempfile::TempDir, Repositories) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for (path, args) in [("g/h/x.git", &["--bare"][..]), ("bare", &["--bare"]), ("tree", &[]), ("y.git", &["--bare"])] {
            init(&root.join(path), args);
        }
        (dir, Repositories::open(&root).unwrap())
    }

    fn listed(repositories: &Repositories) -> Vec<String> {
        repositories.names().unwrap().iter().map(|name| name.as_str().to_owned()).collect()
    }

    #[test]
    fn a_repository_goes_to_its_new_name_and_leaves_no_empty_folder() {
        let (_dir, repositories) = served();
        let root = repositories.root();
        assert_eq!(listed(&repositories), ["bare", "g/h/x", "tree", "y"]);
        for (from, to, place) in [
            ("g/h/x", "new/deep/z", "new/deep/z.git"),
            ("bare", "other", "other.git"),
            ("tree", "tree2", "tree2"),
            ("new/deep/z", "new/z", "new/z.git"),
            ("y", "bare", "bare.git"),
        ] {
            assert!(repositories.rename(&name(from), &name(to), |_| Ok(true)).unwrap(), "{from}");
            git(&root.join(place), &["fsck", "--strict"]);
            assert!(matches!(repositories.find(&name(to)).unwrap(), Found::Repository(_)), "{to}");
            assert!(!listed(&repositories).contains(&from.to_owned()), "what is kept of a list is forgotten");
        }
        assert!(!root.join("g").exists() && !root.join("new/deep").exists());
        assert!(!repositories.rename(&name("absent"), &name("z"), |_| Ok(true)).unwrap());
        assert_eq!(listed(&repositories), ["bare", "new/z", "other", "tree2"]);
    }

    #[test]
    fn nothing_goes_where_something_is_or_nothing_may_be() {
        let (_dir, repositories) = served();
        std::fs::write(repositories.root().join("file"), "").unwrap();
        std::fs::write(repositories.root().join("z.git"), "").unwrap();
        std::os::unix::fs::symlink("/tmp", repositories.root().join("link")).unwrap();
        for (to, why) in [
            ("y", "is its name already"),
            ("bare", "there already"),
            ("tree", "there already"),
            ("z", "there already"),
            ("bare/in", "inside another"),
            ("tree/src/in", "inside another"),
            ("link/in", "no folder"),
            ("file/in", "no folder"),
            ("n.git/in", "end in .git"),
        ] {
            let err = repositories.rename(&name("y"), &name(to), |_| Ok(true)).unwrap_err().to_string();
            assert!(err.contains(why), "{to}: {err}");
        }
        let err = repositories.rename(&name("tree"), &name("g"), |_| Ok(true)).unwrap_err().to_string();
        assert!(err.contains("there already"), "a folder of other repositories: {err}");
        assert_eq!(listed(&repositories), ["bare", "g/h/x", "tree", "y"]);
        // Two of one name: nobody can tell which is meant.
        init(&repositories.root().join("y"), &["--bare"]);
        let err = repositories.rename(&name("y"), &name("new"), |_| Ok(true)).unwrap_err().to_string();
        assert!(err.contains("both 'y.git' and 'y' are there"), "{err}");
    }

    #[test]
    fn what_lends_or_borrows_by_its_place_stays() {
        let (_dir, repositories) = served();
        let lender = repositories.root().join("y.git/objects");
        let alternates = repositories.root().join("g/h/x.git/objects/info/alternates");
        std::fs::write(&alternates, format!("{}\n", lender.display())).unwrap();
        let err = repositories.rename(&name("y"), &name("new"), |_| Ok(true)).unwrap_err().to_string();
        assert!(err.contains("another repository borrows objects from 'y'") && !err.contains("g/h/x"), "{err}");
        // One that can come back counts, too.
        repositories.delete(&name("g/h/x"), "ann", |_| Ok(true)).unwrap().unwrap();
        let err = repositories.delete(&name("y"), "ann", |_| Ok(true)).unwrap_err().to_string();
        assert!(err.contains("another repository borrows objects from 'y'"), "{err}");
        repositories.restore(&name("g/h/x"), |_| Ok(true)).unwrap().unwrap();
        assert!(repositories.rename(&name("g/h/x"), &name("borrower"), |_| Ok(true)).unwrap(), "its own place does not matter");
        let alternates = repositories.root().join("borrower.git/objects/info/alternates");
        std::fs::write(&alternates, "../../y.git/objects\n").unwrap();
        let err = repositories.rename(&name("borrower"), &name("a/b"), |_| Ok(true)).unwrap_err().to_string();
        assert!(err.contains("by a relative path"), "{err}");
        assert!(repositories.rename(&name("borrower"), &name("still"), |_| Ok(true)).unwrap());
        git(&repositories.root().join("still.git"), &["fsck", "--strict"]);
    }

    #[test]
    fn a_push_of_another_process_is_not_moved_away_from_under_it() {
        let (_dir, repositories) = served();
        // As a drop-in has it: not known to who serves the root.
        let elsewhere = Repository::open(&repositories.root().join("y.git"), ConfigScope::Git).unwrap();
        let push = Push::begin(&elsewhere).unwrap();
        let err = repositories.rename(&name("y"), &name("new"), |_| Ok(true)).unwrap_err().to_string();
        assert!(err.contains("another process pushes"), "{err}");
        drop(push);
        assert!(repositories.rename(&name("y"), &name("new"), |_| Ok(true)).unwrap());
    }

    #[test]
    fn what_was_opened_before_holds_it_in_its_place() {
        let (_dir, repositories) = served();
        let Found::Repository(open) = repositories.find(&name("y")).unwrap() else { panic!("not found") };
        let push = open.push().unwrap();
        drop(open);
        let moving = repositories.in_use.take(&["y"], Duration::ZERO);
        assert!(moving.unwrap_err().to_string().contains("one command is under way in 'y'"));
        drop(push);
        repositories.in_use.take(&["y"], Duration::ZERO).unwrap();
    }
}
