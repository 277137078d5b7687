//! A file into bytes without copying them: the one place with unsafe code.

use bytes::Bytes;
use std::path::Path;

/// A mapped file; see [`Mapped::open`].
pub struct Mapped(memmap2::Mmap);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapped {
    /// Map the whole file at `path`; an empty file gives empty bytes.
    pub fn open(path: &Path) -> std::io::Result<Bytes> {
        let file = std::fs::File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Bytes::new());
        }
        // SAFETY: the map is read-only and private to this process; packs, indexes and their companions are
        // written under another name and renamed when complete, by git and by us alike, and never changed after.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Bytes::from_owner(Self(map)))
    }
}
