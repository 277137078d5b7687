//! The files of an incoming pack in its folder: under temporary names while they grow, gone if anything fails, named at the end.
//!
//! The index gets its name last: a reader takes a pack to be there when its `.idx` is. Nothing is synced: whoever makes the
//! pack visible knows what has to be on disk, and when.

use super::super::Error;
use gix_hash::ObjectId;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// As git's: what a pack holds never changes.
const MODE: u32 = 0o444;
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Removes what it made unless told to keep it.
pub(super) struct Landing<'a> {
    folder: &'a Path,
    made: Vec<PathBuf>,
}

impl<'a> Landing<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self { folder, made: vec![] }
    }

    /// An empty file that will get the ending `ending`.
    pub(super) fn create(&mut self, ending: &str) -> Result<File, Error> {
        // The prefix is git's, whose gc sweeps up what a crash leaves.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("tmp_{ending}_{}_{number}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(&path)?;
        self.made.push(path);
        Ok(file)
    }

    /// Give the files, which were made in the order of `endings`, their names; the common one.
    pub(super) fn keep(mut self, trailer: &ObjectId, endings: [&str; 3]) -> Result<String, Error> {
        let name = format!("pack-{trailer}");
        for (at, ending) in endings.iter().enumerate() {
            let path = self.folder.join(format!("{name}.{ending}"));
            fs::rename(&self.made[at], &path)?;
            self.made[at] = path;
        }
        self.made.clear();
        Ok(name)
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        for path in &self.made {
            // Nothing better can be done here: the folder is a quarantine, which is removed as a whole.
            let _ = fs::remove_file(path);
        }
    }
}
