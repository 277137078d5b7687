//! A deleted repository into a folder of the trash, and back, or away for good after a while.
//!
//! `.packmule/trash/<time>-<random>/` holds the repository, as `repository`, and beside it the file `deleted`, one line each: where it
//! lay beneath the root, who deleted it, when (seconds since 1970). That file is on disk before the repository is moved, by one `rename(2)`; a folder
//! without repository is what a crash left before that moment, or after one that took it back, and counts for nothing.

use super::relocate::{Departure, PATIENCE};
use super::repositories::git_dir_in;
use super::staging::{put_in_place, remove_all, sync, sync_names};
use super::{Error, Repositories, RepositoryName, journal};
use crate::base::Moment;
use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// In each folder of the trash.
const REPOSITORY: &str = "repository";
const RECORD: &str = "deleted";

/// A repository in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trashed {
    /// What it was called.
    pub name: RepositoryName,
    /// Who deleted it.
    pub by: String,
    /// When, in seconds since 1970.
    pub deleted_s: u64,
    folder: PathBuf,
    /// Beneath the root.
    place: PathBuf,
}

impl Repositories {
    fn trash_dir(&self) -> PathBuf {
        self.state_dir().join("trash")
    }

    fn trash_held(&self) -> MutexGuard<'_, ()> {
        self.trash.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Move the repository `name` to the trash, in the name of `by`; `None` where there is none. `alone`: as for
    /// [`Repositories::rename`].
    ///
    /// # Errors
    /// [`Error::InTheWay`] where it is in use, or others borrow objects from it.
    pub fn delete(
        &self,
        name: &RepositoryName,
        by: &str,
        alone: impl FnOnce(&Path) -> Result<bool, Error>,
    ) -> Result<Option<Trashed>, Error> {
        let _moving = self.in_use.take(&[name.as_str()], PATIENCE)?;
        let Some(departure) = self.depart(name, alone)? else { return Ok(None) };
        let _held = self.trash_held();
        let trashed = self.make_entry(name, &departure, by)?;
        let place = trashed.folder.join(REPOSITORY);
        if let Err(err) = std::fs::rename(&departure.folder, &place) {
            let _ = remove_all(&trashed.folder);
            if err.kind() == ErrorKind::CrossesDevices {
                return Err(Error::InTheWay(format!("'{}' lies on another file system than the trash of the server", name.as_str())));
            }
            return Err(Error::io(format!("move {} to {}", departure.folder.display(), place.display()))(err));
        }
        let synced = sync(&trashed.folder);
        self.departed(&departure)?;
        synced?;
        Ok(Some(trashed))
    }

    /// A folder of the trash that waits for what it speaks of, on disk.
    fn make_entry(&self, name: &RepositoryName, departure: &Departure, by: &str) -> Result<Trashed, Error> {
        let trash = self.trash_dir();
        DirBuilder::new().recursive(true).mode(0o700).create(&trash).map_err(Error::io(format!("make {}", trash.display())))?;
        let random = getrandom::u64().map_err(|err| Error::io("get random bytes")(std::io::Error::other(err.to_string())))?;
        let deleted_s = journal::now_s();
        let folder = trash.join(format!("{}-{random:016x}", Moment::at(deleted_s).to_string().replace(':', "")));
        let place = departure.folder.strip_prefix(self.root()).unwrap_or(&departure.folder).to_owned();
        let by: String = by.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let text = format!("{}\n{by}\n{deleted_s}\n", place.display());
        let made = std::fs::create_dir(&folder).and_then(|()| {
            let mut record = File::create_new(folder.join(RECORD))?;
            record.write_all(text.as_bytes()).and_then(|()| record.sync_all())
        });
        let made = made.map_err(Error::io(format!("make {}", folder.display())));
        made.and_then(|()| sync(&folder)).and_then(|()| sync(&trash)).and_then(|()| sync(&self.state_dir())).inspect_err(|_| {
            let _ = remove_all(&folder);
        })?;
        Ok(Trashed { name: name.clone(), by, deleted_s, folder, place })
    }

    /// What is in the trash, the oldest first.
    ///
    /// # Errors
    /// The trash cannot be read.
    pub fn trash(&self) -> Result<Vec<Trashed>, Error> {
        let mut all: Vec<_> = self.entries()?.into_iter().filter_map(|folder| read_entry(&folder)).collect();
        all.sort_by(|one, other| (one.deleted_s, &one.folder).cmp(&(other.deleted_s, &other.folder)));
        Ok(all)
    }

    /// The git directory of what [`Repositories::restore`] would take back.
    ///
    /// # Errors
    /// The trash cannot be read.
    pub fn find_in_trash(&self, name: &RepositoryName) -> Result<Option<PathBuf>, Error> {
        let last = self.trash()?.into_iter().rfind(|trashed| trashed.name == *name);
        last.map_or(Ok(None), |trashed| git_dir_in(&trashed.folder.join(REPOSITORY)))
    }

    /// The git directory of each repository in the trash, with its name.
    pub(super) fn trash_git_dirs(&self) -> Result<Vec<(RepositoryName, PathBuf)>, Error> {
        let found = |trashed: Trashed| Ok(git_dir_in(&trashed.folder.join(REPOSITORY))?.map(|git_dir| (trashed.name, git_dir)));
        self.trash()?.into_iter().filter_map(|trashed| found(trashed).transpose()).collect()
    }

    fn entries(&self) -> Result<Vec<PathBuf>, Error> {
        let trash = self.trash_dir();
        let reading = || Error::io(format!("read {}", trash.display()));
        match std::fs::read_dir(&trash) {
            Ok(entries) => entries.map(|entry| Ok(entry.map_err(reading())?.path())).collect(),
            Err(err) if err.kind() == ErrorKind::NotFound => Ok(vec![]),
            Err(err) => Err(reading()(err)),
        }
    }

    /// Take back what was deleted last of the name `name`; `None` where the trash has none, or `may`, which is told its git directory, says no.
    ///
    /// # Errors
    /// [`Error::InTheWay`] where something lies in its place by now.
    pub fn restore(&self, name: &RepositoryName, may: impl FnOnce(&Path) -> Result<bool, Error>) -> Result<Option<Trashed>, Error> {
        let _moving = self.in_use.take(&[name.as_str()], PATIENCE)?;
        let _held = self.trash_held();
        let Some(trashed) = self.trash()?.into_iter().rfind(|trashed| trashed.name == *name) else { return Ok(None) };
        let Some(git_dir) = git_dir_in(&trashed.folder.join(REPOSITORY))? else { return Ok(None) };
        if !may(&git_dir)? {
            return Ok(None);
        }
        self.free_place(name)?;
        let place = self.root().join(&trashed.place);
        let made = put_in_place(&trashed.folder.join(REPOSITORY), self.root(), &place).map_err(|err| match err {
            Error::AlreadyCreated { name } => Error::InTheWay(format!("'{name}' is there already")),
            other => other,
        })?;
        self.listing.change();
        sync_names(&made, &place).and_then(|()| sync(&trashed.folder))?;
        if let Err(err) = remove_all(&trashed.folder) {
            tracing::warn!(folder = %trashed.folder.display(), %err, "an empty folder of the trash stays");
        }
        Ok(Some(trashed))
    }

    /// Remove for good what was deleted `keep` or longer before `now_s`, and what a crash left half done; returns what went.
    ///
    /// # Errors
    /// The trash cannot be read. What cannot be removed is left, and the log says so.
    pub fn empty_trash(&self, keep: Duration, now_s: u64) -> Result<Vec<Trashed>, Error> {
        let new = self.state_dir().join("new");
        let mut gone = vec![];
        for folder in self.entries()? {
            // Where the next start sweeps, should this be broken off: what is gone half-way must not come back.
            let aside = new.join(folder.file_name().unwrap_or_default());
            let removed = self.set_aside(&folder, &aside, keep, now_s).and_then(|trashed| match trashed {
                Some(trashed) => remove_all(&aside).map(|()| trashed),
                None => Ok(None),
            });
            match removed {
                Ok(trashed) => gone.extend(trashed),
                Err(err) => tracing::warn!(folder = %folder.display(), %err, "what was deleted cannot be removed"),
            }
        }
        Ok(gone)
    }

    /// Move a folder of the trash to `aside` if it is to go; what was in it then, if anything was. Nobody deletes or takes back meanwhile; to
    /// remove it may take long, and nobody has to wait for that.
    #[expect(clippy::option_option, reason = "it may go although no repository is in it")]
    fn set_aside(&self, folder: &Path, aside: &Path, keep: Duration, now_s: u64) -> std::io::Result<Option<Option<Trashed>>> {
        let _held = self.trash_held();
        let trashed = read_entry(folder);
        let is_due = match &trashed {
            Some(trashed) => now_s.saturating_sub(trashed.deleted_s) >= keep.as_secs(),
            // What nobody can tell the age of stays, for an administrator to look at.
            None => is_absent(&folder.join(REPOSITORY)),
        };
        if !is_due || folder.is_symlink() || !folder.is_dir() {
            return Ok(None);
        }
        if let Some(new) = aside.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(new)?;
        }
        std::fs::rename(folder, aside)?;
        Ok(Some(trashed))
    }
}

fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|err| err.kind() == ErrorKind::NotFound)
}

/// What a folder of the trash holds; `None` where no repository is in it, or nothing says which.
fn read_entry(folder: &Path) -> Option<Trashed> {
    if !folder.join(REPOSITORY).symlink_metadata().ok()?.is_dir() {
        return None;
    }
    let text = std::fs::read_to_string(folder.join(RECORD)).ok()?;
    let [place, by, deleted_s] = text.lines().collect::<Vec<_>>()[..] else { return None };
    let name = RepositoryName::parse(place).ok()?;
    Some(Trashed { name, by: by.to_owned(), deleted_s: deleted_s.parse().ok()?, folder: folder.to_owned(), place: place.into() })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, init};
    use super::super::{ConfigScope, Found, Repository};
    use super::*;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    fn served(places: &[(&str, &[&str])]) -> (tempfile::TempDir, Repositories) {
        let dir = tempfile::tempdir().unwrap();
        places.iter().for_each(|(place, args)| init(&dir.path().join(place), args));
        let repositories = Repositories::open(dir.path()).unwrap();
        (dir, repositories)
    }

    fn in_trash(repositories: &Repositories) -> Vec<String> {
        repositories.trash().unwrap().iter().map(|trashed| trashed.name.as_str().to_owned()).collect()
    }

    #[test]
    fn what_is_deleted_comes_back_as_it_was() {
        let (_dir, repositories) = served(&[("g/x.git", &["--bare"]), ("tree", &[]), ("bare", &["--bare"])]);
        let root = repositories.root().to_owned();
        git(&root.join("tree"), &["commit", "-q", "--allow-empty", "-m", "1"]);
        git(&root.join("tree"), &["push", "-q", &root.join("g/x.git").to_string_lossy(), "main"]);
        let tip = git(&root.join("tree"), &["rev-parse", "HEAD"]);
        for (asked, place) in [("g/x", "g/x.git"), ("tree", "tree"), ("bare", "bare")] {
            let trashed = repositories.delete(&name(asked), "ann\nx", |_| Ok(true)).unwrap().unwrap();
            assert_eq!((trashed.name.as_str(), trashed.by.as_str()), (asked, "ann x"));
            assert!(!root.join(place).exists() && matches!(repositories.find(&name(asked)).unwrap(), Found::Nothing), "{asked}");
            assert_eq!(repositories.delete(&name(asked), "ann", |_| Ok(true)).unwrap(), None);
        }
        assert!(!root.join("g").exists(), "a folder that it leaves empty goes");
        assert_eq!(in_trash(&repositories).len(), 3);
        for (asked, place) in [("g/x", "g/x.git"), ("tree", "tree"), ("bare", "bare")] {
            assert_eq!(repositories.restore(&name(asked), |_| Ok(true)).unwrap().unwrap().name, name(asked));
            git(&root.join(place), &["fsck", "--strict"]);
            assert_eq!(repositories.restore(&name(asked), |_| Ok(true)).unwrap(), None);
        }
        assert_eq!(git(&root.join("g/x.git"), &["rev-parse", "main"]), tip);
        assert_eq!(std::fs::read_dir(root.join(".packmule/trash")).unwrap().count(), 0);
    }

    #[test]
    fn of_several_of_one_name_the_last_comes_back_and_none_into_what_is_there() {
        let (_dir, repositories) = served(&[("x.git", &["--bare"])]);
        let root = repositories.root().to_owned();
        for number in ["1", "2"] {
            std::fs::write(root.join("x.git/description"), number).unwrap();
            let mut deleted = repositories.delete(&name("x"), "ann", |_| Ok(true)).unwrap().unwrap();
            // A second apart, without waiting for it.
            deleted.deleted_s -= 2 - number.parse::<u64>().unwrap();
            std::fs::write(deleted.folder.join(RECORD), format!("x.git\nann\n{}\n", deleted.deleted_s)).unwrap();
            repositories.create(&name("x"), gix_hash::Kind::Sha1, |_| Ok(())).unwrap();
        }
        let err = repositories.restore(&name("x"), |_| Ok(true)).unwrap_err().to_string();
        assert!(err.contains("'x' is there already"), "{err}");
        repositories.rename(&name("x"), &name("y"), |_| Ok(true)).unwrap();
        repositories.restore(&name("x"), |_| Ok(true)).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(root.join("x.git/description")).unwrap(), "2");
        assert_eq!(in_trash(&repositories), ["x"]);
        // The other spelling of the name counts as well.
        std::fs::rename(root.join("x.git"), root.join("x")).unwrap();
        assert!(repositories.restore(&name("x"), |_| Ok(true)).unwrap_err().to_string().contains("there already"));
    }

    #[test]
    fn what_a_crash_left_half_done_counts_for_nothing_and_goes() {
        let (_dir, repositories) = served(&[("x.git", &["--bare"])]);
        let trash = repositories.root().join(".packmule/trash");
        // Before the moment of deletion, and after that of taking back; and what is none of ours.
        for entry in ["before", "after"] {
            std::fs::create_dir_all(trash.join(entry)).unwrap();
            std::fs::write(trash.join(entry).join(RECORD), "x.git\nann\n7\n").unwrap();
        }
        std::fs::create_dir_all(trash.join("odd/repository")).unwrap();
        std::os::unix::fs::symlink("../../x.git", trash.join("link")).unwrap();
        assert_eq!(in_trash(&repositories), [""; 0]);
        assert_eq!(repositories.restore(&name("x"), |_| Ok(true)).unwrap(), None);
        assert_eq!(repositories.empty_trash(Duration::MAX, 10).unwrap(), []);
        Repository::open(&repositories.root().join("x.git"), ConfigScope::Git).unwrap();
        assert!(!trash.join("before").exists() && !trash.join("after").exists());
        assert!(trash.join("odd/repository").exists() && trash.join("link").is_symlink(), "nobody can tell how old they are");
    }

    #[test]
    fn what_was_kept_long_enough_goes_for_good() {
        let (_dir, repositories) = served(&[("x.git", &["--bare"]), ("y.git", &["--bare"])]);
        let deleted_s = repositories.delete(&name("x"), "ann", |_| Ok(true)).unwrap().unwrap().deleted_s;
        let day = Duration::from_secs(86_400);
        assert_eq!(repositories.empty_trash(day, deleted_s + 86_399).unwrap(), []);
        assert_eq!(repositories.empty_trash(day, deleted_s - 5).unwrap(), [], "a clock that goes back removes nothing");
        assert_eq!(in_trash(&repositories), ["x"]);
        let gone = repositories.empty_trash(day, deleted_s + 86_400).unwrap();
        assert_eq!(gone.iter().map(|trashed| trashed.name.as_str()).collect::<Vec<_>>(), ["x"]);
        assert_eq!(repositories.restore(&name("x"), |_| Ok(true)).unwrap(), None);
        assert_eq!(std::fs::read_dir(repositories.state_dir().join("new")).unwrap().count(), 0);
    }
}
