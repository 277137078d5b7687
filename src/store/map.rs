//! A file into bytes without copying them: the one place with unsafe code.
//!
//! Only files that are written once, under another name, and renamed when complete are mapped: packs,
//! their indexes and reverse indexes. Everything small or rewritten in place (`packed-refs`, loose refs
//! and objects, `config`, `shallow`) is read with plain reads.
//!
//! Limits: a mapped file that somebody cuts short while it is being read raises SIGBUS, which ends the
//! process; the test below shows it. git itself has the same weakness, and no program of git's cuts such
//! a file short.

use bytes::Bytes;
use std::io::{Error, ErrorKind};
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
    ///
    /// # Errors
    /// Besides what the system says: the path is no regular file, or its size changed while it was mapped.
    pub fn open(path: &Path) -> std::io::Result<Bytes> {
        let file = std::fs::File::open(path)?;
        let before = file.metadata()?;
        if !before.is_file() {
            return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        if before.len() == 0 {
            return Ok(Bytes::new());
        }
        // SAFETY: the map is read-only and private to this process; packs, indexes and their companions are
        // written under another name and renamed when complete, by git and by us alike, and never changed after.
        let map = unsafe { memmap2::MmapOptions::new().len(before.len() as usize).map(&file)? };
        if map.len() as u64 != before.len() || file.metadata()?.len() != before.len() {
            return Err(Error::new(ErrorKind::InvalidData, "the file changes while it is read"));
        }
        Ok(Bytes::from_owner(Self(map)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_file_is_mapped_whole_and_an_empty_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"").unwrap();
        assert!(Mapped::open(&path).unwrap().is_empty());
        std::fs::write(&path, b"bytes").unwrap();
        let map = Mapped::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(&map[..], b"bytes", "a removed file stays readable");
        assert!(Mapped::open(dir.path()).is_err(), "a folder is no file");
    }

    /// What the next test starts in a process of its own: the signal ends the whole process.
    #[test]
    #[ignore = "ends its process; started by `a_file_cut_short_under_its_reader_ends_the_process`"]
    fn reads_a_map_that_is_cut_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![1u8; 100_000]).unwrap();
        let map = Mapped::open(&path).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
        drop(dir);
        assert_eq!(std::hint::black_box(&map)[90_000], 1);
    }

    #[test]
    fn a_file_cut_short_under_its_reader_ends_the_process() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "store::map::tests::reads_a_map_that_is_cut_short"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        const SIGBUS: i32 = 7;
        assert_eq!(status.signal(), Some(SIGBUS), "{status:?}");
    }
}
