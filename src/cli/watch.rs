//! Files that may change into new readings of them: what is right takes the place of what was, what is not leaves it.

use super::failure::Failure;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// How often files are looked at for changes, in milliseconds.
const LOOK_MS: u64 = 1_000;
/// What could not be read is tried again after so many looks: it may have been no fault of the files.
const RETRY_LOOKS: u32 = 30;

/// Files that never stand still for so many looks are read all the same.
const UNSTEADY_LOOKS_MAX: u32 = 5;

/// Inode, time of the last change of anything (in seconds and nanoseconds) and size; none for what cannot be seen.
type Look = Option<(u64, i64, i64, u64)>;
type Looks = BTreeMap<PathBuf, Look>;

fn look(path: &Path) -> Look {
    path.metadata().ok().map(|data| (data.ino(), data.ctime(), data.ctime_nsec(), data.size()))
}

/// What a reading is made of.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) files: Vec<PathBuf>,
    /// Keys in them (`NAME.pub`) count.
    pub(super) folders: Vec<PathBuf>,
}

/// The same, and how it looked before it was read: what changes meanwhile will look new.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    watched: Watched,
    looks: Looks,
}

impl Watched {
    /// Look at it.
    pub(super) fn see(self) -> Seen {
        Seen { looks: self.look(), watched: self }
    }

    fn look(&self) -> Looks {
        let inside = self.folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
        let keys = inside.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|extension| extension == "pub"));
        let paths = keys.chain(self.files.iter().cloned());
        paths.map(|path| (look(&path), path)).map(|(look, path)| (path, look)).collect()
    }
}

impl Seen {
    /// One file has named the others, and looked so before it was read.
    pub(super) fn with(mut self, first: Seen) -> Self {
        self.looks.extend(first.looks);
        self
    }
}

/// Call `read` on every change of the files after `seen`, and whenever it is `asked` for. It puts in force what it read; when it
/// fails, the log says that `what` was read before stays. A file that changed from one look to the next may still be being
/// written, and waits for the look after.
pub(super) async fn follow<R>(mut seen: Seen, mut asked: Receiver<()>, what: &'static str, read: R)
where
    R: Fn() -> Result<Seen, Failure> + Send + Sync + 'static,
{
    let read = Arc::new(read);
    let mut last = seen.looks.clone();
    let (mut failed, mut looks_since, mut unsteady) = (None::<String>, 0, 0);
    loop {
        let was_asked = tokio::select! {
            Ok(()) = asked.changed() => true,
            () = tokio::time::sleep(Duration::from_millis(LOOK_MS)) => false,
        };
        let looked = seen.watched.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || looked.look()).await else { continue };
        let stands_still = now == last;
        last.clone_from(&now);
        looks_since += 1;
        unsteady = if stands_still { 0 } else { unsteady + 1 };
        let is_retry = failed.is_some() && looks_since >= RETRY_LOOKS;
        if !was_asked && !is_retry && (now == seen.looks || !stands_still && unsteady < UNSTEADY_LOOKS_MAX) {
            continue;
        }
        (seen.looks, looks_since, unsteady) = (now, 0, 0);
        let read = read.clone();
        match tokio::task::spawn_blocking(move || read()).await {
            Ok(Ok(new)) => {
                (seen, failed) = (new, None);
                last.clone_from(&seen.looks);
            }
            Ok(Err(failure)) => {
                let failure = failure.to_string();
                // Once is enough for what stays as wrong as it was.
                if was_asked || failed.as_ref() != Some(&failure) {
                    tracing::error!("the {what} that were read before stay in force: {failure}");
                }
                failed = Some(failure);
            }
            Err(panic) => {
                tracing::error!(%panic, "the {what} that were read before stay in force");
                failed = Some(panic.to_string());
            }
        }
    }
}
