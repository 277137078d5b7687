//! Commits whose parents stay away into the file `shallow`, under git's lock of it.
//!
//! Source: gitrepository-layout, "shallow"; `shallow.c`: `setup_alternate_shallow`, `commit_shallow_file`. The lock is
//! linked from a file of the push's quarantine, so that whoever sweeps after a crash knows whose it was. Commits are
//! only added: one too many, left by a push that came to no end, cuts nothing that any ref reaches.

use super::Error;
use super::owner::{self, Places, SHALLOW_LOCK_FILE};
use super::ref_lock::{RefLock, Taken};
use gix_hash::ObjectId;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the lock is waited for; git does not wait.
const TIMEOUT_MS: u64 = 1_000;

/// Add `commits` to the file, durably. `quarantine` is the push's own folder.
///
/// # Errors
/// [`Error::InTheWay`] when somebody else holds the lock; [`Error::Io`].
pub(super) fn add(places: &Places, quarantine: &Path, commits: &[ObjectId]) -> Result<(), Error> {
    let path = places.common_dir.join("shallow");
    let writing = || Error::io(format!("write {}", path.display()));
    let (staged, locked) = (quarantine.join(SHALLOW_LOCK_FILE), places.common_dir.join("shallow.lock"));
    let mut file = File::create_new(&staged).map_err(writing())?;
    let mut lock = RefLock::new(staged, locked.clone());
    match lock.take(Instant::now() + Duration::from_millis(TIMEOUT_MS), &mut vec![]).map_err(writing())? {
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
        file.sync_all()?;
        fs::rename(&locked, &path)?;
        owner::sync_folder(&places.common_dir)
    };
    let written = write();
    lock.release();
    written.map_err(writing())
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
        fs::write(dir.path().join("shallow"), format!("{}\n", id("2"))).expect("written");
        let quarantine = tempfile::tempdir_in(&dir).expect("a folder");
        add(&places, quarantine.path(), &[id("3"), id("1"), id("2")]).expect("free");
        let text = || fs::read_to_string(dir.path().join("shallow")).expect("there");
        assert_eq!(text(), format!("{}\n{}\n{}\n", id("1"), id("2"), id("3")));
        assert!(!dir.path().join("shallow.lock").exists());
        fs::write(dir.path().join("shallow.lock"), "theirs").expect("written");
        let quarantine = tempfile::tempdir_in(&dir).expect("a folder");
        assert!(matches!(add(&places, quarantine.path(), &[id("4")]), Err(Error::InTheWay(_))));
        assert_eq!(fs::read_to_string(dir.path().join("shallow.lock")).expect("there"), "theirs");
        assert_eq!(text().lines().count(), 3);
    }
}
