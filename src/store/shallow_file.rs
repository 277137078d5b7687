//! Commits whose parents stay away into the file `shallow`, under git's lock of it.
//!
//! Source: gitrepository-layout, "shallow"; `shallow.c`: `setup_alternate_shallow`, `commit_shallow_file`. The lock is
//! linked from a file of the push's quarantine, so that whoever sweeps after a crash knows whose it was. Lines are only
//! added. The journal has those of a push; what stood there before is in no journal, so the new content is on the disk before
//! the file is replaced.

use super::Error;
use super::owner::{Places, SHALLOW_LOCK_FILE};
use super::ref_lock::{RefLock, Taken};
use gix_hash::ObjectId;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the lock is waited for, in milliseconds: as long as a few pushes hold it; git does not wait.
const TIMEOUT_MS: u64 = 5_000;

/// The file, locked, and its next content, on the disk. Dropped, it changes nothing.
pub(super) struct ShallowEdit {
    lock: RefLock,
    path: PathBuf,
}

impl ShallowEdit {
    /// Lock the file so as to add `commits`; `None` where there are none. `quarantine` is the push's own folder.
    ///
    /// # Errors
    /// [`Error::InTheWay`] when somebody else holds the lock; [`Error::Io`].
    pub(super) fn stage(places: &Places, quarantine: &Path, commits: &[ObjectId]) -> Result<Option<Self>, Error> {
        if commits.is_empty() {
            return Ok(None);
        }
        let path = places.common_dir.join("shallow");
        let writing = || Error::io(format!("write {}", path.display()));
        let staged = quarantine.join(SHALLOW_LOCK_FILE);
        let mut file = File::create_new(&staged).map_err(writing())?;
        let mut this = Self { lock: RefLock::new(staged, places.common_dir.join("shallow.lock")), path: path.clone() };
        match this.lock.take(Instant::now() + Duration::from_millis(TIMEOUT_MS), &mut vec![]).map_err(writing())? {
            Taken::Held => {}
            Taken::ByAnother | Taken::FileInTheWay => {
                return Err(Error::InTheWay("shallow.lock is held by another process; try again".to_owned()));
            }
        }
        let mut write = || {
            let before = match fs::read_to_string(&path) {
                Err(err) if err.kind() == ErrorKind::NotFound => String::new(),
                read => read?,
            };
            let mut lines: BTreeSet<String> = before.lines().map(str::to_owned).collect();
            lines.extend(commits.iter().map(ToString::to_string));
            let text: String = lines.into_iter().map(|line| line + "\n").collect();
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        write().map_err(writing())?;
        Ok(Some(this))
    }

    /// Replace the file; that it is another one now is not synced.
    pub(super) fn commit(self) -> Result<(), Error> {
        fs::rename(self.lock.path(), &self.path).map_err(Error::io(format!("write {}", self.path.display())))
    }
}

impl Drop for ShallowEdit {
    fn drop(&mut self) {
        self.lock.release(); // once renamed it is not there, or somebody else's
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_added_each_once_and_a_foreign_lock_survives() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = || dir.path().to_owned();
        let places = Places { git_dir: path(), common_dir: path(), objects_dir: path() };
        let id = |digit: &str| ObjectId::from_hex(digit.repeat(40).as_bytes()).expect("hex");
        let stage = |ids: &[ObjectId]| {
            let quarantine = tempfile::tempdir_in(&dir).expect("a folder");
            ShallowEdit::stage(&places, quarantine.path(), ids).map(|staged| (staged, quarantine))
        };
        let before = format!("{}\n", id("2"));
        fs::write(dir.path().join("shallow"), &before).expect("written");
        let text = || fs::read_to_string(dir.path().join("shallow")).expect("there");
        let locked = || dir.path().join("shallow.lock").exists();
        assert!(stage(&[]).expect("nothing to do").0.is_none() && !locked());
        let (staged, quarantine) = stage(&[id("3"), id("1"), id("2")]).expect("free");
        assert!(locked() && text() == before);
        drop((staged, quarantine));
        assert!(!locked() && text() == before, "given up");
        let (staged, _quarantine) = stage(&[id("3"), id("1"), id("2")]).expect("free");
        staged.expect("something to do").commit().expect("no fault");
        assert_eq!(text(), format!("{}\n{}\n{}\n", id("1"), id("2"), id("3")));
        assert!(!locked());
        fs::write(dir.path().join("shallow.lock"), "theirs").expect("written");
        assert!(matches!(stage(&[id("4")]), Err(Error::InTheWay(_))));
        assert_eq!(fs::read_to_string(dir.path().join("shallow.lock")).expect("there"), "theirs");
        assert_eq!(text().lines().count(), 3);
    }
}
