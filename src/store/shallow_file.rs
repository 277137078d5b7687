//! Commits whose parents stay away into the file `shallow`, under git's lock of it.
//!
//! Source: gitrepository-layout, "shallow"; `shallow.c`: `setup_alternate_shallow`, `commit_shallow_file`. The lock is
//! linked from a file of the push's quarantine, so that whoever sweeps after a crash knows whose it was. Lines are only
//! added. The journal has those of a push; what stood there before is in no journal, so the new content is on the disk before
//! the file is replaced. Threads of this process take the lock in the order in which they come.

use super::Error;
use super::owner::{Places, SHALLOW_LOCK_FILE};
use super::ref_lock::{RefLock, Taken};
use super::turns::{Turn, Turns};
use gix_hash::ObjectId;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the lock is waited for while a process that may be ours holds it: as long as a few pushes do; git does not wait.
pub(super) const SHALLOW_LOCK_TIMEOUT: Duration = Duration::from_millis(5_000);
/// A thread of this process waits longer for those before it, which come to their end: so many times.
const TURN_FACTOR: u32 = 6;

/// The file, locked, and its next content, once that is on the disk. Dropped, it changes nothing.
pub(super) struct ShallowEdit {
    lock: RefLock,
    path: PathBuf,
    // Let go after the lock.
    _turn: Turn,
}

impl ShallowEdit {
    /// Lock the file, waiting so long for another process; `None` where somebody else still holds it then. `quarantine` is
    /// the push's own folder.
    pub(super) fn lock(places: &Places, quarantine: &Path, timeout: Duration) -> Result<Option<Self>, Error> {
        let path = places.common_dir.join("shallow");
        let writing = || Error::io(format!("write {}", path.display()));
        let Some(turn) = Turns::of(&path).wait(Instant::now() + timeout * TURN_FACTOR) else { return Ok(None) };
        let staged = quarantine.join(SHALLOW_LOCK_FILE);
        File::options().write(true).create(true).truncate(true).open(&staged).map_err(writing())?;
        let lock = RefLock::new(staged, places.common_dir.join("shallow.lock"));
        let mut this = Self { lock, path: path.clone(), _turn: turn };
        let taken = this.lock.take(Instant::now() + timeout, &mut vec![]).map_err(writing())?;
        Ok((taken == Taken::Held).then_some(this))
    }

    /// Bring to the disk what the file shall have: its lines, and `commits`.
    pub(super) fn stage(&self, commits: &[ObjectId]) -> Result<(), Error> {
        let write = || {
            let mut file = File::options().write(true).open(self.lock.staged())?;
            let before = match fs::read_to_string(&self.path) {
                Err(err) if err.kind() == ErrorKind::NotFound => String::new(),
                read => read?,
            };
            let mut lines: BTreeSet<String> = before.lines().map(str::to_owned).collect();
            lines.extend(commits.iter().map(ToString::to_string));
            let text: String = lines.into_iter().map(|line| line + "\n").collect();
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        write().map_err(Error::io(format!("write {}", self.path.display())))
    }

    /// Replace the file with what was staged; that it is another one now is not synced.
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
        let lock = || {
            let quarantine = tempfile::tempdir_in(&dir).expect("a folder");
            ShallowEdit::lock(&places, quarantine.path(), Duration::ZERO).expect("no fault").map(|edit| (edit, quarantine))
        };
        let before = format!("{}\n", id("2"));
        fs::write(dir.path().join("shallow"), &before).expect("written");
        let text = || fs::read_to_string(dir.path().join("shallow")).expect("there");
        let locked = || dir.path().join("shallow.lock").exists();
        let (edit, quarantine) = lock().expect("free");
        edit.stage(&[id("3"), id("1"), id("2")]).expect("no fault");
        assert!(locked() && text() == before && lock().is_none());
        drop((edit, quarantine));
        assert!(!locked() && text() == before, "given up");
        let (edit, _quarantine) = lock().expect("free");
        edit.stage(&[id("3"), id("1"), id("2")]).expect("no fault");
        edit.commit().expect("no fault");
        assert_eq!(text(), format!("{}\n{}\n{}\n", id("1"), id("2"), id("3")));
        assert!(!locked());
        fs::write(dir.path().join("shallow.lock"), "theirs").expect("written");
        assert!(lock().is_none());
        assert_eq!(fs::read_to_string(dir.path().join("shallow.lock")).expect("there"), "theirs");
        assert_eq!(text().lines().count(), 3);
    }

    #[test]
    fn pushes_of_one_process_wait_for_each_other_longer_than_for_strangers() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = || dir.path().to_owned();
        let places = Places { git_dir: path(), common_dir: path(), objects_dir: path() };
        let folders = [(); 2].map(|()| tempfile::tempdir_in(&dir).expect("a folder"));
        let timeout = Duration::from_millis(1_000);
        let held = ShallowEdit::lock(&places, folders[0].path(), timeout).expect("no fault").expect("free");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ShallowEdit::lock(&places, folders[1].path(), timeout).expect("no fault").is_some());
            std::thread::sleep(timeout + timeout / 2);
            drop(held);
            assert!(waiting.join().expect("no panic"));
        });
    }
}
