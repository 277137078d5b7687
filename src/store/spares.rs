//! The emptied quarantine of one push into that of the next one, where pushes come in quick succession.
//!
//! ext4 looks at every inode that was freed within the last seconds before it gives out another: where many pushes make and
//! remove folders, that costs more than all else they do. So a server keeps a quarantine, with the proof of life in it, for the
//! next push into the same repository, if the one before ended less than [`BURST`] ago. It gets a new name then, for
//! journals know pushes by the names of their quarantines. What nobody took within that time goes, and so does everything with
//! its keeper; what a crash leaves is swept like any quarantine of the dead ([`super::owner`]).

use super::owner::{self, Claim, Places, RepositoryLock};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Pushes into one repository that end within this time of one another come in quick succession.
const BURST: Duration = Duration::from_secs(1);
/// How many are kept: each holds a file open.
const SPARES_MAX: usize = 64;
/// How many repositories are remembered as pushed into.
const PUSHED_MAX: usize = 1024;

/// Quarantines that are kept for the next push. Whoever has one calls [`Spares::let_go`] every few seconds.
#[derive(Default)]
pub struct Spares(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    kept: Vec<Spare>,
    /// Per object directory, when a push into it ended last.
    pushed: HashMap<PathBuf, Instant>,
}

struct Spare {
    objects_dir: PathBuf,
    claim: Claim,
    since: Instant,
}

impl Spares {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of this repository's, under a new name.
    pub(super) fn take(&self, lock: &RepositoryLock, places: &Places) -> Option<Claim> {
        let mut inner = self.inner();
        let at = inner.kept.iter().rposition(|spare| spare.objects_dir == places.objects_dir)?;
        let Spare { claim, .. } = inner.kept.swap_remove(at);
        drop(inner);
        match owner::rename_folder(lock, &claim.dir, &places.objects_dir) {
            Ok(dir) => Some(Claim { dir, ..claim }),
            Err(err) => {
                // It is not there any more where somebody cleaned up by hand, or put another repository in this one's place.
                let removed = owner::remove_folder(&claim.dir);
                tracing::debug!(quarantine = %claim.dir.display(), %err, ?removed, "a spare quarantine cannot be taken");
                None
            }
        }
    }

    /// The push that owned `claim` is over, and nothing of it is visible any more: keep it, or let it vanish.
    pub(super) fn keep(&self, places: &Places, claim: Claim) -> std::io::Result<()> {
        let now = Instant::now();
        let is_wanted = {
            let mut inner = self.inner();
            let before = inner.pushed.insert(places.objects_dir.clone(), now);
            if inner.pushed.len() > PUSHED_MAX {
                inner.pushed.retain(|_, when| when.elapsed() < BURST);
            }
            before.is_some_and(|before| before.elapsed() < BURST) && inner.kept.len() < SPARES_MAX
        };
        if is_wanted && empty(&claim.dir).unwrap_or(false) {
            self.inner().kept.push(Spare { objects_dir: places.objects_dir.clone(), claim, since: now });
            return Ok(());
        }
        owner::remove_folder(&claim.dir)
    }

    /// Remove those of the repository with this object directory: it is about to be elsewhere.
    pub fn let_go_of(&self, objects_dir: &Path) {
        let (go, stay) = std::mem::take(&mut self.inner().kept).into_iter().partition(|spare: &Spare| spare.objects_dir == objects_dir);
        self.inner().kept.extend::<Vec<Spare>>(stay);
        remove(go);
    }

    /// Remove those that nobody has taken for a while.
    pub fn let_go(&self) {
        self.let_go_after(BURST);
    }

    fn let_go_after(&self, idle: Duration) {
        let (stay, go) = std::mem::take(&mut self.inner().kept).into_iter().partition(|spare| spare.since.elapsed() < idle);
        self.inner().kept.extend::<Vec<Spare>>(stay);
        remove(go);
    }
}

fn remove(spares: Vec<Spare>) {
    for Spare { claim, .. } in spares {
        if let Err(err) = owner::remove_folder(&claim.dir) {
            tracing::warn!(quarantine = %claim.dir.display(), %err, "a quarantine of ours stays");
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.let_go_after(Duration::ZERO);
    }
}

/// Leave in the quarantine `dir` what a new one has; whether that could be done.
fn empty(dir: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    for entry in fs::read_dir(dir.join("pack"))? {
        fs::remove_file(entry?.path())?;
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() != owner::OWNER_FILE && entry.file_name() != "pack" {
            fs::remove_file(entry.path())?;
        }
    }
    let record = fs::File::options().write(true).open(dir.join(owner::OWNER_FILE))?;
    record.set_len(0)?;
    Ok(record.metadata()?.nlink() == 1) // a `.keep` that is still visible somewhere is the same file
}
