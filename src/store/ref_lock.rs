//! A staged file into `<ref>.lock`, so that the quarantine's record can prove whose it is.
//!
//! git's protocol for a ref is to create `<ref>.lock` exclusively. `link(2)` is as exclusive as `O_EXCL`, and what
//! it makes shares an inode with the staged file: the proof that the `owner` module relies on.

use super::owner::{explain, is_same, remove_if_same};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a ref's lock is waited for (git's default for `core.filesRefLockTimeout`), in milliseconds.
pub(super) const REF_LOCK_TIMEOUT_MS: u64 = 100;
/// How long the lock of `packed-refs` is waited for (git's default for `core.packedRefsTimeout`), in milliseconds.
pub(super) const PACKED_REFS_LOCK_TIMEOUT_MS: u64 = 1_000;
/// Longest pause between two attempts, in milliseconds.
const PAUSE_MS_MAX: u64 = 16;
/// Attempts to make folders that others prune at the same time.
const FOLDER_ATTEMPTS_MAX: usize = 16;

/// One lock: not yet taken, held, or let go.
#[derive(Debug)]
pub(super) struct RefLock {
    staged: PathBuf,
    path: PathBuf,
    held: bool,
}

/// How an attempt to take a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is ours.
    Held,
    /// Somebody else holds it.
    ByAnother,
    /// A folder on the way to it is a file.
    FileInTheWay,
}

impl RefLock {
    /// A lock at `path` that will be linked from `staged`, which exists.
    pub(super) fn new(staged: PathBuf, path: PathBuf) -> Self {
        Self { staged, path, held: false }
    }

    /// The file that the lock is linked from.
    pub(super) fn staged(&self) -> &Path {
        &self.staged
    }

    /// Take it, waiting at most until `deadline`. Folders made for it are added to `made`, outermost first.
    pub(super) fn take(&mut self, deadline: Instant, made: &mut Vec<PathBuf>) -> io::Result<Taken> {
        let mut pause_ms = 1;
        let mut attempts = 0;
        loop {
            match fs::hard_link(&self.staged, &self.path) {
                Ok(()) => {
                    self.held = true;
                    return Ok(Taken::Held);
                }
                Err(err) if err.kind() == ErrorKind::AlreadyExists => {
                    if Instant::now() >= deadline {
                        return Ok(Taken::ByAnother);
                    }
                    std::thread::sleep(Duration::from_millis(pause_ms));
                    pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
                }
                Err(err) if err.kind() == ErrorKind::NotFound && attempts < FOLDER_ATTEMPTS_MAX => {
                    attempts += 1;
                    match make_parent(&self.path, made) {
                        Err(err) if err.kind() == ErrorKind::NotADirectory => return Ok(Taken::FileInTheWay),
                        other => other?,
                    }
                }
                Err(err) if err.kind() == ErrorKind::NotADirectory => return Ok(Taken::FileInTheWay),
                Err(err) => return Err(explain(err)),
            }
        }
    }

    /// Take it over from somebody dead who linked it from `dead`; `false` when it is not theirs. Nobody comes between.
    pub(super) fn inherit(&mut self, dead: &Path) -> io::Result<bool> {
        if !is_same(dead, &self.path)? {
            return Ok(false);
        }
        let spare = self.staged.with_extension("spare");
        fs::hard_link(&self.staged, &spare)?;
        fs::rename(&spare, &self.path)?;
        self.held = true;
        Ok(true)
    }

    /// Where it is taken.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Let it go, if it is held and still ours.
    pub(super) fn release(&mut self) {
        if !std::mem::take(&mut self.held) {
            return;
        }
        if let Err(err) = remove_if_same(&self.staged, &self.path) {
            // The record still names it: whoever sweeps this quarantine tries again.
            tracing::warn!(lock = %self.path.display(), %err, "a lock of ours cannot be removed");
        }
    }
}

/// Make the folders above `path` that are not there. Others may make and prune them meanwhile: the caller's next
/// attempt sees what came of it.
fn make_parent(path: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut missing = vec![];
    for folder in path.ancestors().skip(1) {
        match fs::create_dir(folder) {
            Ok(()) => {
                made.push(folder.to_owned());
                break;
            }
            Err(err) if err.kind() == ErrorKind::AlreadyExists => break,
            Err(err) if err.kind() == ErrorKind::NotFound => missing.push(folder),
            Err(err) => return Err(err),
        }
    }
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => made.push(folder.to_owned()),
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
            Err(err) if err.kind() == ErrorKind::NotFound => break,
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[test]
    fn a_lock_is_exclusive_and_a_foreign_one_is_never_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let staged = dir.path().join("lock-0");
        fs::write(&staged, "x").expect("written");
        let path = dir.path().join("refs/heads/main.lock");
        let mut made = vec![];
        let mut lock = RefLock::new(staged.clone(), path.clone());
        assert_eq!(lock.take(soon(), &mut made).expect("no fault"), Taken::Held);
        assert_eq!(made, [dir.path().join("refs"), dir.path().join("refs/heads")]);
        let mut second = RefLock::new(staged, path.clone());
        assert_eq!(second.take(soon(), &mut made).expect("no fault"), Taken::ByAnother);
        second.release();
        assert!(path.exists(), "what was not taken is not let go");
        fs::remove_file(&path).expect("removed by hand");
        fs::write(&path, "foreign").expect("written");
        lock.release();
        assert!(path.exists(), "the name is the same, the inode is not");
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_is_told_apart_from_a_held_lock() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("a"), "file").expect("written");
        fs::write(dir.path().join("lock-0"), "x").expect("written");
        for name in ["a/b.lock", "a/b/c/d.lock"] {
            let mut lock = RefLock::new(dir.path().join("lock-0"), dir.path().join(name));
            assert_eq!(lock.take(soon(), &mut vec![]).expect("no fault"), Taken::FileInTheWay, "{name}");
        }
    }
}
